"""A running coppiced, asked over its socket, and cases that start one."""

import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess

from coppice_test import BIN, Case, SOURCE, environment, new_name, wait_until, world

COPPICED = str(BIN / "coppiced")
WITH_WORK = str(BIN.parent / "tests/coppiced_with_work")
DOCUMENT = json.loads((SOURCE / "docs/reference/openapi.json").read_text())


def hear(stream):
    """All that comes until the end; a reset is one, too."""
    heard = b""
    try:
        while piece := stream.recv(65536):
            heard += piece
    except ConnectionResetError:
        pass
    return heard


class Connection(http.client.HTTPConnection):
    def __init__(self, path, timeout=30):
        super().__init__("coppice", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.raw = response.read()
        is_json = "json" in self.headers.get("Content-Type", "")
        self.body = json.loads(self.raw) if self.raw and is_json else None

    def __repr__(self):
        return f"{self.status} {dict(self.headers)} {self.raw[:500]!r}"


class Daemon:
    """A running coppiced; `root` may be used by several, one after the other."""

    def __init__(self, root, program=COPPICED, env=None, preexec=None, **options):
        self.root = root
        self.socket = root + "/coppiced.sock"
        os.makedirs(root, exist_ok=True)
        self.log = open(root + "/log", "ab")
        arguments = [program, "--root", root] if program == COPPICED else [program, root, self.socket]
        self.process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                                        env=environment(env), preexec_fn=preexec, **options)

    def ready(self):
        if not wait_until(lambda: self.process.poll() is not None or self.answers(), 30):
            raise AssertionError("not ready in 30 s: " + self.messages())
        if self.process.poll() is not None:
            raise AssertionError("it ended: " + self.messages())
        return self

    def answers(self):
        try:
            return self.ask("GET", "/v1").status == 200
        except OSError:
            return False

    def messages(self):
        return pathlib.Path(self.root + "/log").read_text()

    def ask(self, method, target, body=None, headers=None, timeout=30):
        connection = Connection(self.socket, timeout)
        try:
            given = {"Content-Type": "application/json"} if body is not None else {}
            connection.request(method, target, json.dumps(body) if body is not None else None, {**given, **(headers or {})})
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def work(self, **body):
        answer = self.ask("POST", "/v1/test/work", {"milliseconds": 60000, **body})
        assert answer.status == 202, answer
        return answer.body["id"]

    def state(self, operation):
        return self.ask("GET", f"/v1/operations/{operation}").body["state"]

    def raw(self, data, timeout=30):
        """Sends bytes and returns all that comes until the end."""
        with socket.socket(socket.AF_UNIX) as stream:
            stream.settimeout(timeout)
            stream.connect(self.socket)
            try:
                stream.sendall(data)
            except OSError:
                pass  # it has answered and closed before all was sent
            return hear(stream)

    def end(self, number=signal.SIGTERM, seconds=30):
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(seconds)


class DaemonCase(Case):
    program = COPPICED

    def setUp(self):
        super().setUp()
        self.root = world().path(new_name("d").rsplit("-", 1)[1])  # Python wants the paths of sockets short
        self.started = []

    def begin(self, **options):
        daemon = Daemon(self.root, program=options.pop("program", self.program), **options)
        self.started.append(daemon)
        return daemon.ready()

    def tearDown(self):
        for daemon in self.started:
            if daemon.process.poll() is None:
                daemon.end(signal.SIGKILL)
            daemon.log.close()
        super().tearDown()

    def check_schema(self, body, schema):
        import jsonschema
        whole = {"$ref": f"#/components/schemas/{schema}", "components": DOCUMENT["components"]}
        jsonschema.Draft202012Validator(whole, format_checker=jsonschema.FormatChecker()).validate(body)

    def check(self, answer, schema, status=200):
        self.assertEqual(answer.status, status, answer)
        self.check_schema(answer.body, schema)
