#!/usr/bin/env python3
"""coppiced and its API as clients see them: real programs, real sockets, real signals."""

import concurrent.futures
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from coppice_daemon import COPPICED, DOCUMENT, WITH_WORK, Answer, Connection, Daemon, DaemonCase, hear  # noqa: E402
from coppice_test import (BIN, SOURCE, coppice, environment, execute, main, new_name, read_proc, pids, wait_until, world)  # noqa: E402


class Documents(DaemonCase):
    """Real answers are what the document says."""

    def test_document_is_served_as_it_is(self):
        answer = self.begin().ask("GET", "/v1/openapi.json")
        self.assertEqual(answer.raw, (SOURCE / "docs/reference/openapi.json").read_bytes())
        again = self.started[0].ask("GET", "/v1/openapi.json", headers={"If-None-Match": answer.headers["ETag"]})
        self.assertEqual((again.status, again.raw), (304, b""))

    def test_references_lead_somewhere(self):
        text = json.dumps(DOCUMENT)
        for kind, name in set(re.findall(r'"#/components/(\w+)/(\w+)"', text)):
            self.assertIn(name, DOCUMENT["components"][kind])
        for kind, members in DOCUMENT["components"].items():
            for name in members:
                self.assertTrue(f'"#/components/{kind}/{name}"' in text or name == "Event", f"{name} is not used")

    def test_answers(self):
        daemon = self.begin(program=WITH_WORK)
        self.check(daemon.ask("GET", "/v1"), "Server")
        self.check(daemon.ask("GET", "/v1/system/doctor"), "DoctorReport")
        good, bad, long = daemon.work(milliseconds=0), daemon.work(milliseconds=0, fails=True), daemon.work()
        for operation in (good, bad):
            self.check(daemon.ask("GET", f"/v1/operations/{operation}/wait"), "Operation")
        self.check(daemon.ask("GET", f"/v1/operations/{long}"), "Operation")
        self.check(daemon.ask("DELETE", f"/v1/operations/{long}"), "Operation")
        self.check(daemon.ask("GET", "/v1/operations/none"), "Problem", 404)
        self.check(daemon.ask("PATCH", "/v1"), "Problem", 405)
        self.check(daemon.ask("GET", f"/v1/operations/{good}/wait?timeout=x"), "Problem", 400)
        everything = daemon.ask("GET", "/v1/operations")
        self.assertEqual({o["id"] for o in everything.body}, {good, bad, long})
        self.check(daemon.ask("POST", "/v1/system/shutdown"), "Shutdown")
        self.assertEqual(daemon.process.wait(20), 0)


class Hostile(DaemonCase):
    program = WITH_WORK

    def test_fifty_clients_at_once(self):
        daemon = self.begin()

        def client(number):
            connection = Connection(daemon.socket)
            for _ in range(20):
                connection.request("GET", "/v1")
                assert Answer(connection.getresponse()).body["name"] == "coppiced"
            connection.close()
            return number

        with concurrent.futures.ThreadPoolExecutor(50) as pool:
            self.assertEqual(sorted(pool.map(client, range(50))), list(range(50)))

    def test_oversized(self):
        daemon = self.begin()
        self.assertIn(b" 431 ", daemon.raw(b"GET /v1 HTTP/1.1\r\nX: " + b"x" * 100_000 + b"\r\n\r\n")[:20])
        self.assertIn(b" 431 ", daemon.raw(b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n")[:20])
        big = daemon.ask("POST", "/v1/test/work", {"x": "x" * (2 << 20)})
        self.assertEqual((big.status, big.body["type"]), (413, "urn:coppice:error:invalid"))
        self.assertIn(b" 413 ", daemon.raw(b"POST /v1/test/work HTTP/1.1\r\nContent-Length: 18446744073709551615\r\n\r\n")[:20])
        self.assertIn(b" 400 ", daemon.raw(b"POST /v1 HTTP/1.1\r\nContent-Length: -1\r\n\r\n")[:20])
        self.assertTrue(daemon.answers())

    def test_slow_loris(self):
        daemon = self.begin()
        slow = []
        for _ in range(60):
            stream = socket.socket(socket.AF_UNIX)
            stream.connect(daemon.socket)
            stream.sendall(b"GET /v1 HTTP/1.1\r\n")
            slow.append(stream)
        began = time.monotonic()
        while time.monotonic() - began < 2.5:  # a byte now and then gains nothing
            for stream in slow:
                try:
                    stream.sendall(b"X")
                except OSError:
                    pass
            self.assertTrue(daemon.answers())
            time.sleep(0.2)
        for stream in slow:
            stream.settimeout(5)
            self.assertIn(b" 408 ", hear(stream)[:20])
            stream.close()

    def test_more_connections_than_there_is_room_for(self):
        daemon = self.begin()
        held = []
        for _ in range(100):
            stream = socket.socket(socket.AF_UNIX)
            stream.connect(daemon.socket)
            held.append(stream)
        self.assertTrue(wait_until(lambda: b" 503 " in daemon.raw(b"GET /v1 HTTP/1.1\r\nHost: x\r\n\r\n")[:20], 2))
        for stream in held:
            stream.close()
        self.assertTrue(wait_until(daemon.answers, 5))

    def test_another_user(self):
        daemon = self.begin()
        ask = ("import socket,sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
               "s.sendall(b'GET /v1 HTTP/1.0\\r\\n\\r\\n'); print(s.recv(65536).decode())")
        run = ["python3", "-c", ask, daemon.socket]

        def as_nobody():
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)

        done = execute(run, preexec_fn=as_nobody)
        self.assertIn("PermissionError", done.err, "the socket's mode keeps it out")
        # Even where the mode was changed, the daemon looks who is there.
        os.chmod(daemon.socket, 0o666)
        for directory in (world().directory, pathlib.Path(self.root)):
            directory.chmod(0o711)
        done = execute(run, preexec_fn=as_nobody)
        self.assertIn(" 403 ", done.out)
        self.assertIn("user id 65534 may not look at /v1", done.out)
        self.assertIn("sudo", done.out)

    def test_too_much_work(self):
        daemon = self.begin()
        for _ in range(6):
            daemon.work()
        answer = daemon.ask("POST", "/v1/test/work", {"milliseconds": 1})
        self.assertEqual(answer.status, 503)
        self.assertIn("waiting already", answer.body["detail"])


class Lives(DaemonCase):
    program = WITH_WORK

    def test_only_one_per_root_and_the_files_are_its_own(self):
        daemon = self.begin()
        second = execute([WITH_WORK, self.root, self.root + "/other.sock"])
        self.assertEqual(second.status, 1)
        self.assertIn("a coppiced runs already for " + self.root, second.err)
        other_root = execute([WITH_WORK, self.root + "-2", daemon.socket])
        self.assertEqual(other_root.status, 1)
        self.assertIn("another coppiced listens at " + daemon.socket, other_root.err)
        self.assertTrue(daemon.answers())
        self.assertEqual(os.stat(daemon.socket).st_mode & 0o777, 0o600)
        for name in os.listdir(self.root + "/daemon"):
            self.assertEqual(os.stat(f"{self.root}/daemon/{name}").st_mode & 0o077, 0, name)

    def test_killed_and_started_again(self):
        daemon = self.begin()
        done, running = daemon.work(milliseconds=0), daemon.work()
        daemon.ask("GET", f"/v1/operations/{done}/wait")
        wait_until(lambda: daemon.state(running) == "running")
        key = {"Idempotency-Key": "once"}
        cancelled = daemon.work()
        first = daemon.ask("DELETE", f"/v1/operations/{cancelled}", headers=key)
        daemon.end(signal.SIGKILL)
        self.assertTrue(os.path.exists(daemon.socket), "a killed one leaves its socket")
        daemon = self.begin()
        self.assertEqual(daemon.state(done), "succeeded")
        self.assertEqual(daemon.state(running), "interrupted")
        again = daemon.ask("DELETE", f"/v1/operations/{cancelled}", headers=key)
        self.assertEqual(again.raw, first.raw)
        self.assertEqual(again.headers["Idempotent-Replayed"], "true")
        other = daemon.ask("DELETE", f"/v1/operations/{done}", headers=key)
        self.assertEqual(other.status, 422)

    def test_killed_at_any_moment(self):
        """Whatever was acknowledged is there, and repeated with its key it is there once."""
        acknowledged_ever = 0
        for pause in (0.02, 0.04, 0.08, 0.15, 0.3):
            daemon = self.begin()
            before = {o["id"] for o in daemon.ask("GET", "/v1/operations").body}
            asked, acknowledged = [], {}

            def submit():
                try:
                    while len(asked) < 8:  # it remembers the newest 20
                        asked.append(f"{pause}-{len(asked)}")
                        answer = daemon.ask("POST", "/v1/test/work", {"milliseconds": 0}, {"Idempotency-Key": asked[-1]})
                        if answer.status == 202:
                            acknowledged[asked[-1]] = answer.body["id"]
                except (OSError, http.client.HTTPException):
                    pass

            thread = threading.Thread(target=submit)
            thread.start()
            time.sleep(pause)
            daemon.end(signal.SIGKILL)
            thread.join()
            acknowledged_ever += len(acknowledged)
            daemon = self.begin()
            after = {o["id"]: o["state"] for o in daemon.ask("GET", "/v1/operations").body}
            for operation in acknowledged.values():
                self.assertIn(operation, after)
            again = {key: [daemon.ask("POST", "/v1/test/work", {"milliseconds": 0}, {"Idempotency-Key": key}).body["id"]
                           for _ in range(2)] for key in asked}
            for key, (first, second) in again.items():
                self.assertEqual(first, second, f"{key} had two effects")
            now = {o["id"] for o in daemon.ask("GET", "/v1/operations").body} - before
            # Each request has the one of this life; what a killed one had begun is interrupted or done, and told apart.
            self.assertEqual(now - set(after), {first for first, _ in again.values()})
            self.assertEqual(daemon.end(), 0)
        self.assertGreater(acknowledged_ever, 0)

    def test_a_stop_ends_well(self):
        daemon = self.begin()
        operation = daemon.work()
        wait_until(lambda: daemon.state(operation) == "running")
        heard = []
        waiting = threading.Thread(target=lambda: heard.append(daemon.ask("GET", f"/v1/operations/{operation}/wait")))
        waiting.start()
        time.sleep(0.3)
        self.assertEqual(daemon.end(signal.SIGTERM), 0)
        waiting.join()
        self.assertEqual(heard[0].body["state"], "running")
        self.assertFalse(os.path.exists(daemon.socket))
        self.assertEqual(self.begin().state(operation), "interrupted")

    def test_a_stop_does_not_wait_for_ever(self):
        daemon = self.begin()
        operation = daemon.work(ignores_stop=True)
        wait_until(lambda: daemon.state(operation) == "running")
        began = time.monotonic()
        self.assertEqual(daemon.end(signal.SIGTERM), 1)
        self.assertLess(time.monotonic() - began, 15)
        self.assertIn("did not stop in time", daemon.messages())
        self.assertEqual(self.begin().state(operation), "interrupted")

    def test_a_stop_does_not_wait_for_a_request_for_ever(self):
        daemon = self.begin()
        stream = socket.socket(socket.AF_UNIX)
        stream.connect(daemon.socket)
        stream.sendall(b"GET /v1/test/block HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.5)
        began = time.monotonic()
        self.assertEqual(daemon.end(signal.SIGTERM), 1)
        self.assertLess(time.monotonic() - began, 20)
        self.assertIn("did not stop in time and is cut off", daemon.messages())
        stream.close()
        self.begin()

    def test_an_operation_that_failed_is_begun_anew(self):
        daemon = self.begin()
        key = {"Idempotency-Key": "k"}
        ask = {"milliseconds": 0, "fails": True}
        first = daemon.ask("POST", "/v1/test/work", ask, key)
        daemon.ask("GET", f"/v1/operations/{first.body['id']}/wait")
        second = daemon.ask("POST", "/v1/test/work", ask, key)
        self.assertNotEqual(second.body["id"], first.body["id"])
        self.assertEqual(second.headers["Location"], f"/v1/operations/{second.body['id']}")

    def test_a_hang_up_is_ignored(self):
        daemon = self.begin()
        daemon.process.send_signal(signal.SIGHUP)
        time.sleep(0.2)
        self.assertTrue(daemon.answers())

    def test_journal_that_is_damaged(self):
        os.makedirs(self.root + "/daemon")
        pathlib.Path(self.root + "/daemon/operations.journal").write_text('{"id": \n{}\n')
        done = execute([WITH_WORK, self.root, self.root + "/coppiced.sock"])
        self.assertEqual(done.status, 1)
        self.assertIn("operations.journal line 1", done.err)
        self.assertIn("move it away", done.err)


class ServiceManager(DaemonCase):
    program = COPPICED

    def test_it_says_when_it_is_ready_and_takes_a_socket(self):
        os.makedirs(self.root)
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify.bind(self.root + "/notify")
        notify.settimeout(30)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.root + "/coppiced.sock")
        listener.listen(10)

        def hand_over():
            os.dup2(listener.fileno(), 3)
            os.environ["LISTEN_PID"] = str(os.getpid())

        script = 'export LISTEN_PID=$$; exec "$@"'
        daemon = Daemon.__new__(Daemon)
        daemon.root, daemon.socket = self.root, self.root + "/coppiced.sock"
        daemon.log = open(self.root + "/log", "ab")
        daemon.process = subprocess.Popen(["sh", "-c", script, "sh", COPPICED, "--root", self.root], pass_fds=[3],
                                          preexec_fn=hand_over, stdout=daemon.log, stderr=daemon.log,
                                          env=environment({"LISTEN_FDS": "1", "NOTIFY_SOCKET": self.root + "/notify"}))
        self.started.append(daemon)
        self.assertEqual(notify.recv(100), b"READY=1\n")
        self.assertTrue(daemon.answers())
        self.assertIn("of the service manager", daemon.messages())
        self.assertEqual(daemon.end(), 0)
        self.assertEqual(notify.recv(100), b"STOPPING=1\n")
        self.assertTrue(os.path.exists(daemon.socket), "it is the manager's")
        notify.close()
        listener.close()


class Events(DaemonCase):
    program = WITH_WORK

    def listen(self, daemon, after=None, until="operation.ended", seconds=20):
        stream = socket.socket(socket.AF_UNIX)
        stream.settimeout(seconds)
        stream.connect(daemon.socket)
        header = f"Last-Event-ID: {after}\r\n" if after is not None else ""
        stream.sendall(f"GET /v1/events HTTP/1.1\r\nHost: x\r\n{header}\r\n".encode())
        heard, buffer = [], b""
        while not heard or heard[-1]["type"] != until:
            piece = stream.recv(65536)
            if not piece:
                break
            buffer += piece
            *blocks, buffer = buffer.split(b"\n\n")
            for block in blocks:
                data = [line[6:] for line in block.split(b"\n") if line.startswith(b"data: ")]
                heard += [json.loads(data[0])] if data else []
        stream.close()
        return heard

    def test_goes_on_where_it_was(self):
        daemon = self.begin()
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            listening = pool.submit(self.listen, daemon)
            time.sleep(0.3)
            daemon.work(milliseconds=500)
            heard = listening.result()
        types = [event["type"] for event in heard]
        self.assertEqual(types[:2], ["operation.created", "operation.started"])
        self.assertIn("operation.progress", types)
        again = self.listen(daemon, heard[0]["id"])
        self.assertEqual([e["id"] for e in again], [e["id"] for e in heard[1:]])
        self.assertIsNone(heard[-1]["data"]["result"], "results are for who asks for them")
        operation = heard[-1]["data"]["id"]
        self.assertEqual(daemon.ask("GET", f"/v1/operations/{operation}").body["result"], {"milliseconds": 500})
        self.assertIsNone(daemon.ask("GET", "/v1/operations").body[0]["result"])
        self.assertEqual(daemon.ask("GET", "/v1/operations?state=none").status, 400)

    def test_what_is_lost_is_said(self):
        daemon = self.begin()
        self.assertEqual(self.listen(daemon, 5, until="events.lost")[0]["data"]["after"], 5)
        daemon.end()
        last = self.begin()
        self.assertEqual(self.listen(last, 7, until="events.lost")[0]["type"], "events.lost")

    def test_heartbeat(self):
        daemon = self.begin()
        stream = socket.socket(socket.AF_UNIX)
        stream.settimeout(5)
        stream.connect(daemon.socket)
        stream.sendall(b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
        heard = b""
        while heard.count(b": still here") < 2:
            heard += stream.recv(4096)
        stream.close()

    def test_the_command_follows_over_a_restart(self):
        daemon = self.begin()
        following = subprocess.Popen([str(BIN / "coppice"), "--root", self.root, "events"], text=True,
                                     stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
        try:
            time.sleep(1)
            daemon.ask("GET", f"/v1/operations/{daemon.work(milliseconds=0)}/wait")
            self.assertIn("operation.created", following.stdout.readline())
            daemon.end()
            daemon = self.begin()
            lines = []
            reader = threading.Thread(target=lambda: lines.extend(following.stdout))
            reader.start()
            time.sleep(1)
            daemon.work(milliseconds=0)
            self.assertTrue(wait_until(lambda: sum("operation.created" in line for line in lines) == 1, 20), lines)
        finally:
            following.kill()
            following.wait()
            reader.join()
            following.stdout.close()
            following.stderr.close()


class Commands(DaemonCase):
    program = WITH_WORK

    def coppice(self, *arguments, **options):
        return execute([str(BIN / "coppice"), "--root", self.root, *arguments], **options)

    def test_operations(self):
        daemon = self.begin()
        good, bad, long = daemon.work(milliseconds=300), daemon.work(milliseconds=0, fails=True), daemon.work()
        done = self.coppice("operation", "wait", good)
        self.assertEqual(done.status, 0, done)
        self.assertEqual(json.loads(done.out), {"milliseconds": 300})
        failed = self.coppice("operation", "wait", bad)
        self.assertEqual(failed.status, 1)
        self.assertIn(f"operation {bad} failed: the work was bad (do better)", failed.err)
        late = self.coppice("operation", "wait", "-q", "--timeout", "200ms", long)
        self.assertEqual((late.status, late.out), (1, ""))
        self.assertIn("not over within the time", late.err)
        listed = json.loads(self.coppice("operation", "ls", "--format", "json").out)
        for row in listed:
            self.check_schema(row, "Operation")
        self.assertEqual({row["id"]: row["state"] for row in listed}, {good: "succeeded", bad: "failed", long: "running"})
        self.assertEqual(self.coppice("operation", "ls", "-q", "--state", "running").out, long + "\n")
        self.assertEqual(self.coppice("operation", "cancel", "--wait", long).status, 0)
        self.assertEqual(json.loads(self.coppice("operation", "show", long).out)["state"], "cancelled")
        self.assertIn("there is no operation ../x", self.coppice("operation", "show", "../x").err)
        self.assertIn("over already", self.coppice("operation", "cancel", good).err)

    def test_interrupted(self):
        """The first Ctrl-C says how to go on, the second one stops the work."""
        daemon = self.begin()
        operation = daemon.work()
        waiting = subprocess.Popen([str(BIN / "coppice"), "--root", self.root, "operation", "wait", "-q", operation],
                                   stderr=subprocess.PIPE, text=True, env=environment(None))
        time.sleep(1)
        waiting.send_signal(signal.SIGINT)
        self.assertIn(f"coppice operation cancel {operation}", waiting.stderr.readline())
        self.assertEqual(daemon.state(operation), "running")
        waiting.send_signal(signal.SIGINT)
        self.assertEqual(waiting.wait(20), 1)
        self.assertIn("cancelled", waiting.stderr.read())
        waiting.stderr.close()
        self.assertEqual(daemon.state(operation), "cancelled")

    def test_progress_in_lines_and_on_a_terminal(self):
        daemon = self.begin()
        lines = self.coppice("operation", "wait", daemon.work(milliseconds=600)).err
        self.assertRegex(lines, r"working +\d+ %  [\d.]+ (MiB|B) of 600 MiB")
        self.assertNotIn("\r", lines)
        quiet = self.coppice("operation", "wait", "-q", daemon.work(milliseconds=300))
        self.assertEqual((quiet.out, quiet.err), ("", ""))
        command = f"{BIN / 'coppice'} --root {self.root} operation wait {daemon.work(milliseconds=2500)}"
        shown = execute(["script", "-qec", "stty cols 100; " + command, "/dev/null"]).out
        self.assertRegex(shown, r"working \[#+\.+\] +\d+ %  [\d.]+ [MG]iB of 2.4 GiB  [\d.]+ MiB/s  \ds left")

    def test_completion_of_operations(self):
        daemon = self.begin()
        operation = daemon.work(milliseconds=0)
        offered = self.coppice("__complete").out
        self.assertEqual(offered, "")  # --root stands before it: that is no completion
        done = execute([str(BIN / "coppice"), "__complete", "--root", self.root, "operation", "show", ""])
        self.assertIn(operation + "\t", done.out)


class Autostart(DaemonCase):
    def coppice(self, *arguments, **options):
        return execute([str(BIN / "coppice"), "--root", self.root, *arguments], **options)

    def daemons(self):
        return [pid for pid in pids() if read_proc(pid, "cmdline").startswith(COPPICED.encode() + b"\0")
                or read_proc(pid, "cmdline").startswith(b"coppiced\0--root\0" + self.root.encode() + b"\0")]

    def tearDown(self):
        self.coppice("system", "shutdown")
        super().tearDown()

    def test_twenty_at_once_start_one(self):
        with concurrent.futures.ThreadPoolExecutor(20) as pool:
            done = list(pool.map(lambda _: self.coppice("system", "info", "--format", "json", timeout=120), range(20)))
        self.assertEqual([d.status for d in done], [0] * 20, done)
        self.assertEqual(len({json.loads(d.out)["pid"] for d in done}), 1)
        self.assertEqual(len(self.daemons()), 1)
        log = pathlib.Path(self.root + "/daemon/coppiced.log").read_text()
        self.assertEqual(log.count("ready"), 1, log)
        self.assertEqual(self.coppice("system", "shutdown").status, 0)
        self.assertEqual(self.daemons(), [])

    def test_it_belongs_to_no_terminal(self):
        info = json.loads(self.coppice("system", "info", "--format", "json").out)
        stat = read_proc(info["pid"], "stat").rpartition(b") ")[2].split()
        self.assertEqual(int(stat[3]), info["pid"], "a session of its own")
        self.assertEqual(int(stat[4]), 0, "no terminal")
        self.assertEqual(os.readlink(f"/proc/{info['pid']}/cwd"), "/")
        self.assertEqual(os.readlink(f"/proc/{info['pid']}/fd/0"), "/dev/null")

    def test_why_it_did_not_start(self):
        os.makedirs(self.root + "/daemon")
        pathlib.Path(self.root + "/daemon/answers.journal").write_text("x\n")
        done = self.coppice("system", "info")
        self.assertEqual(done.status, 1)
        self.assertIn("coppiced did not start: ", done.err)
        self.assertIn("answers.journal line 1", done.err)
        self.assertIn("coppiced.log", done.err)

    def test_it_is_not_started_where_it_was_not_asked_for(self):
        for arguments in (("--socket", self.root + "/x", "system", "info"), ("system", "shutdown"), ("ps",)):
            self.coppice(*arguments)
            self.assertEqual(self.daemons(), [], arguments)
        done = self.coppice("--socket", self.root + "/x", "system", "info")
        self.assertEqual(done.status, 1)
        self.assertIn("cannot reach coppiced: connect to " + self.root + "/x: ", done.err)
        self.assertIn("No such file", done.err)

    def test_a_killed_one_is_replaced(self):
        first = json.loads(self.coppice("system", "info", "--format", "json").out)["pid"]
        os.kill(first, signal.SIGKILL)
        self.assertTrue(wait_until(lambda: not self.daemons()))
        second = json.loads(self.coppice("system", "info", "--format", "json").out)["pid"]
        self.assertNotEqual(first, second)


if __name__ == "__main__":
    main()
