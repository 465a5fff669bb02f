"""What the tests of instances on vdisks share: a daemon with a vdisk `os`, and the commands."""

import io
import json
import os
import pathlib
import signal
import subprocess
import tarfile

from coppice_daemon import DaemonCase
from coppice_test import BIN, environment, execute, new_name, our_processes, read_proc, wait_until


class NodeCase(DaemonCase):
    def setUp(self):
        super().setUp()
        self.daemon = self.begin()
        self.text("vdisk", "import", "os", self.tree, "-q")

    def tearDown(self):
        if self.started[-1].process.poll() is not None:
            self.daemon = self.begin()
        for name in self.names("ps", "-aq"):
            self.coppice("rm", "-f", name)
        super().tearDown()

    def coppice(self, *words, **options):
        return execute([str(BIN / "coppice"), "--root", self.root, *words], **options)

    def text(self, *words, status=0, **options):
        done = self.coppice(*words, **options)
        self.assertEqual(done.status, status, done)
        return done.out

    def fails(self, *words, status=1):
        done = self.coppice(*words)
        self.assertEqual((done.status, done.err.count("\n")), (status, 1), done)
        return done.err

    def read(self, reference, path):
        """A file of a snapshot or of an instance that has stopped."""
        done = subprocess.run([str(BIN / "coppice"), "--root", self.root, "cp", f"{reference}:{path}", "-"], capture_output=True,
                              env=environment(), check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
            return archive.extractfile(archive.getmembers()[0]).read()

    def names(self, *words):
        return self.text(*words).split()

    def ask(self, target):
        answer = self.daemon.ask("GET", target)
        self.assertEqual(answer.status, 200, answer)
        return answer.body

    def branches(self):
        return [branch["name"] for branch in self.ask("/v1/branches")]

    def begin_instance(self, *options, script="sleep 1000", word="n"):
        name = new_name(word)
        self.text("run", "-d", "--name", name, *options, "os", "--", "sh", "-c", script)
        return name

    def config(self, name):
        return json.loads(pathlib.Path(self.root, "instances", name, "instance.json").read_text())

    def supervisor_of(self, name):
        """Its pid: the one that holds the instance's lock."""
        lock = os.stat(f"{self.root}/instances/{name}/lock").st_ino
        for pid in our_processes():
            if b"coppice-superv" in read_proc(pid, "comm"):
                for fd in os.listdir(f"/proc/{pid}/fd"):
                    try:
                        if os.stat(f"/proc/{pid}/fd/{fd}").st_ino == lock:
                            return pid
                    except OSError:
                        pass
        self.fail("no supervisor of " + name)

    def restart(self, number=signal.SIGKILL):
        self.daemon.end(number)
        self.daemon = self.begin()

    def state(self, name):
        return self.ask(f"/v1/instances/{name}")["state"]

    def wait_state(self, name, *states):
        self.assertTrue(wait_until(lambda: self.state(name) in states, 15), f"{name} is {self.state(name)}")
