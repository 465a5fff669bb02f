#!/usr/bin/env python3
"""The daily life of instances: made, started, stopped, halted, changed, attached to, started again by themselves."""

import contextlib
import datetime
import json
import os
import pathlib
import pty
import select
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from coppice_node import NodeCase  # noqa: E402
from coppice_test import BIN, environment, main, new_name, wait_until  # noqa: E402


def sockets_of(process):
    """How many it has open. One that attends an instance has that to the supervisor first, then those of the output."""
    count = 0
    for fd in pathlib.Path(f"/proc/{process}/fd").iterdir():
        with contextlib.suppress(OSError):
            count += os.readlink(fd).startswith("socket:")
    return count


class Steps(NodeCase):
    def test_made_and_started(self):
        name = new_name("c")
        self.assertEqual(self.text("create", "--name", name, "-e", "A=b", "os", "--", "sh", "-c", "echo $A >> /f; cat /f; sleep 1000"), name + "\n")
        self.assertEqual((self.state(name), self.branches()), ("created", [name]))
        self.assertIn("exists already", self.fails("create", "--name", name, "os", "true"))
        self.restart()
        self.assertEqual(self.state(name), "created", "it does not need the daemon that made it")
        self.assertEqual(self.text("start", name), name + "\n")
        self.assertEqual(self.state(name), "running")
        self.assertIn("is running", self.fails("start", name))
        self.text("stop", "-t", "0", name)
        self.assertEqual((self.state(name), self.config(name)["exitStatus"]), ("exited", 137))
        self.assertGreater(self.config(name)["finished"], self.config(name)["started"])
        self.text("start", name)
        self.assertTrue(wait_until(lambda: self.text("exec", name, "cat", "/f") == "b\nb\n", 10), "its writes are there")
        self.assertIn("does not exist", self.fails("start", "absent"))
        told = json.loads(self.text("inspect", name))[0]
        self.assertEqual((told["name"], told["state"], told["env"]), (name, "running", ["A=b"]))

    def test_one_that_leaves_nothing(self):
        name = new_name("c")
        self.text("create", "--rm", "--name", name, "os", "--", "sh", "-c", "echo up; exit 3")
        done = self.coppice("start", "-a", name)
        self.assertEqual((done.status, done.out), (3, "up\n"))
        self.assertEqual((self.names("ps", "-aq"), self.branches()), ([], []))

    def test_a_start_that_fails_takes_nothing_away(self):
        name = new_name("c")
        self.text("create", "--name", name, "os", "/no/such")
        self.assertIn("/no/such", self.fails("start", name))
        self.assertEqual((self.state(name), self.branches()), ("created", [name]))

    def test_on_a_path(self):
        name = new_name("p")
        self.text("create", "--name", name, self.tree, "--", "sh", "-c", "echo x >> /f; cat /f")
        for lines in ("x\n", "x\nx\n"):
            self.assertEqual(self.text("start", "-a", name), lines)
        self.assertEqual(self.branches(), [])
        again = new_name("p")
        self.text("run", "-d", "--name", again, "--restart", "on-failure:2", self.tree, "--", "sh", "-c", "exit 4")
        self.assertTrue(wait_until(lambda: self.config(again).get("restarts") == 2 and self.state(again) == "exited", 15))

    def test_halted(self):
        name = self.begin_instance(script="while :; do date +%s%N > /tick; sleep 0.02; done")
        tick = lambda: self.text("exec", name, "cat", "/tick")  # noqa: E731
        self.assertTrue(wait_until(lambda: self.coppice("exec", name, "test", "-s", "/tick").status == 0, 10))
        self.text("pause", name)
        self.assertEqual(self.state(name), "paused")
        self.assertIn("paused", self.text("ps"))
        self.fails("pause", name)
        self.text("resume", name)
        self.assertEqual(self.state(name), "running")
        self.fails("resume", name)
        before = tick()
        self.assertTrue(wait_until(lambda: tick() not in (before, ""), 5), "it goes on")
        self.text("pause", name)
        self.text("stop", name)
        self.assertEqual(self.state(name), "exited", "a halted one can be stopped")

    def test_signals_and_ends(self):
        name = self.begin_instance(script="trap 'exit 9' USR1; echo up > /up; while :; do sleep 0.05; done")
        self.assertTrue(wait_until(lambda: self.coppice("exec", name, "test", "-s", "/up").status == 0, 10))
        waiting = subprocess.Popen([str(BIN / "coppice"), "--root", self.root, "wait", name], stdout=subprocess.PIPE, text=True, env=environment())
        self.assertTrue(wait_until(lambda: sockets_of(waiting.pid) > 0, 10))
        self.assertIsNone(waiting.poll())
        self.restart()  # whoever waits does not notice
        self.text("kill", "-s", "USR1", name)
        self.assertEqual((waiting.communicate(timeout=20)[0], waiting.returncode), ("9\n", 0))
        self.assertEqual(self.text("wait", name), "9\n", "and of one that has ended")
        self.fails("kill", name)
        self.fails("kill", "-s", "NOSUCH", name)
        self.fails("wait", "absent")

    def test_changed_while_it_runs(self):
        name = self.begin_instance("-m", "64m", "--pids", "50")
        self.text("update", "-m", "32m", "--pids", "20", "--cpus", "0.5", "--restart", "always", name)
        config = self.config(name)
        self.assertEqual((config["memoryBytes"], config["pids"], config["millicpus"], config["restart"]), (32 << 20, 20, 500, "always"))
        self.assertNotEqual(self.coppice("exec", name, "sh", "-c", "dd if=/dev/zero of=/dev/null bs=60M count=1").status, 0, "the new limit holds")
        self.text("update", "-m", "none", "--restart", "no", name)
        self.assertNotIn("memoryBytes", self.config(name))
        self.text("exec", name, "sh", "-c", "dd if=/dev/zero of=/dev/null bs=60M count=1")
        self.assertIn("nothing to change", self.fails("update", name))
        answer = self.daemon.ask("PATCH", f"/v1/instances/{name}", {"name": "other"})
        self.assertEqual(answer.status, 400)
        before = self.config(name)
        answer = self.daemon.ask("PATCH", f"/v1/instances/{name}", {"memoryBytes": 4096})
        if answer.status != 200:  # less than it has: the kernel says no, and nothing has changed
            self.assertEqual(self.config(name), before)

    def test_undecided(self):
        name = new_name("ask")
        run = ("run", "--name", name, "--on-stop", "ask", "os", "--", "sh", "-c")
        self.text(*run, "echo 1 > /f")
        self.assertEqual(self.state(name), "undecided")
        self.assertIn("coppice keep", self.fails(*run, "true", status=125))
        self.assertIn("A  f", self.text("diff", name))
        self.text("keep", name)
        self.assertEqual(self.state(name), "exited")
        self.fails("keep", name)
        self.text(*run, "cat /f; echo 2 > /f")
        self.restart()
        self.text("undo", name)
        self.assertEqual(self.text(*run, "cat /f 2>/dev/null || echo none"), "none\n", "all that it had written has gone")

    def test_asks_at_the_terminal(self):
        name = new_name("ask")
        # What the run before left is what this one finds. All is told that its branch has over its snapshot.
        for answer, state, found in ((b"what\ny\n", "exited", b"none"), (b"n\n", "exited", b"1"), (b"l\n", "undecided", b"none")):
            pid, fd = pty.fork()
            if pid == 0:
                os.environ.update(environment())
                os.execv(str(BIN / "coppice"), ["coppice", "--root", self.root, "run", "--name", name, "--on-stop", "ask", "os", "--", "sh", "-c",
                                                "cat /f 2>/dev/null || echo none; echo 1 > /f"])
            seen = b""
            while b"[l]ater" not in seen:
                seen += os.read(fd, 4096)
            shown = seen
            os.write(fd, answer)
            with contextlib.suppress(OSError):
                while more := os.read(fd, 4096):
                    seen += more
            os.close(fd)
            self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0)
            self.assertEqual(self.state(name), state)
            self.assertTrue(shown.startswith(found), shown)
            self.assertRegex(shown, rb"A  f +2 B")
        self.text("undo", name)

    def test_branches_off(self):
        name = new_name("off")
        for round_ in ("1", "2"):
            self.text("run", "--name", name, "--on-stop", "branch", "os", "--", "sh", "-c", f"test ! -e /f && echo {round_} > /f")
        written = [s for s in self.ask("/v1/snapshots") if f"what {name} had written" in s["message"]]
        self.assertEqual(len(written), 2)
        found = {self.text("run", "--rm", s["id"], "cat", "/f") for s in written}
        self.assertEqual(found, {"1\n", "2\n"})

    def test_options_that_do_not_go_together(self):
        for words in (("--rm", "--on-stop", "keep"), ("--mode", "private", "--on-stop", "discard"), ("--rm", "--restart", "always"),
                      ("--on-stop", "never"), ("--restart", "sometimes"), ("--restart", "always:3"), ("--health-interval", "1s"),
                      ("--health-cmd", "true", "--health-interval", "0s")):
            self.fails("run", "-d", *words, "os", "true", status=125)
        self.assertEqual(self.branches(), [])
        # By the API, too; and what has become of an instance is nobody's to say.
        plain = {"name": new_name("api"), "root": "os", "mode": "private"}
        for wrong in ({"removeAtEnd": True, "restart": "always"}, {"mode": "shared", "onStop": "ask"}, {"root": "/", "onStop": "branch"}, {"restart": "always", "onStop": "ask"},
                      {"restart": "sometimes"}, {"health": {"command": [""]}}):
            self.assertEqual(self.daemon.ask("POST", "/v1/instances", {"config": {**plain, **wrong}, "start": False}).status, 400, wrong)
        made_up = {"undecided": True, "stopAsked": True, "started": "2020-01-01T00:00:00Z", "exitStatus": 3, "restarts": 7}
        self.assertEqual(self.daemon.ask("POST", "/v1/instances", {"config": {**plain, **made_up}, "start": False}).status, 201)
        told = self.ask(f"/v1/instances/{plain['name']}")
        self.assertEqual((told["state"], [key for key in ("undecided", "stopAsked", "exitStatus", "restarts") if key in told]), ("created", []))


class Trees(NodeCase):
    """An instance's history while it is stopped."""

    def written(self, name, text):
        self.text("run", "--name", name, "os", "--", "sh", "-c", f"echo {text} > /f")

    def content(self, name):
        return self.text("run", "--name", name, "os", "--", "sh", "-c", "cat /f 2>/dev/null || echo none")

    def test_branches_of_an_instance(self):
        name = new_name("b")
        self.text("create", "--name", name, "--pids", "77", "-e", "A=b", "os", "--", "sh", "-c", "echo $(hostname) $A; cat /f; echo mine > /f")
        self.coppice("start", "-a", name)
        new = name + "x"
        self.assertEqual(self.text("branch", "-n", "3", name, new).split(), [f"{new}-{i}" for i in (1, 2, 3)])
        for i in (1, 2, 3):
            self.assertEqual(self.state(f"{new}-{i}"), "created")
            self.assertEqual(self.text("start", "-a", f"{new}-{i}"), f"{new}-{i} b\nmine\n", "described as the first, with what that has written")
        self.assertEqual(self.config(f"{new}-1")["pids"], 77)
        self.assertIn("already", self.fails("branch", "-n", "3", name, new), "all of them, or none")
        self.text("rm", f"{new}-1")
        self.fails("branch", "-n", "3", name, new)
        self.assertNotIn(f"{new}-1", self.branches())
        self.assertIn("is none", self.fails("branch", "-n", "2", "nothing", "os"))

    def test_back_by_name_and_by_time(self):
        name = new_name("b")
        self.written(name, "one")
        first = json.loads(self.text("snapshot", "create", name, "--tag", "before", "--format", "json"))
        time.sleep(5)  # so long the rollback by age below may take to begin
        self.written(name, "two")
        self.text("snapshot", "create", name)
        self.written(name, "three")
        self.text("rollback", f"{name}@before")
        self.assertEqual(self.content(name), "one\n")
        self.text("rollback", f"{name}@-0s")
        self.assertEqual(self.content(name), "two\n", "newer snapshots stay")
        age = time.time() - datetime.datetime.fromisoformat(first["created"]).timestamp()
        self.text("rollback", f"{name}@-{int(age * 1000) - 50}ms")  # a moment after it; the next one is seconds younger
        self.assertEqual(self.content(name), "one\n")
        self.assertIn("is as old as 99h", self.fails("rollback", f"{name}@-99h"))
        self.fails("rollback", f"{name}@-soon")
        self.fails("rollback", name, status=2)
        self.text("branch", f"{name}@before", name + "y")
        self.assertEqual(self.content(name + "y"), "one\n")

    def test_a_version_of_it(self):
        name = new_name("b")
        self.written(name, "shipped")
        self.assertEqual(self.text("commit", name, "-m", "first of its kind"), "os:2\n")
        self.assertEqual(self.text("run", "--rm", "os:2", "cat", "/f"), "shipped\n")


class Attaching(NodeCase):
    def attach(self, name, *words, **options):
        return subprocess.Popen([str(BIN / "coppice"), "--root", self.root, "attach", *words, name], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                text=True, env=environment(), **options)

    def wait_attached(self, *processes):
        for process in processes:
            self.assertTrue(wait_until(lambda: sockets_of(process) > 1, 10))

    def test_input_and_output(self):
        name = new_name("a")
        self.text("run", "-d", "-i", "--name", name, "os", "--", "sh", "-c", "while read -r x; do echo out $x; echo err $x >&2; test $x != end || exit 8; done")
        one = self.attach(name, stdin=subprocess.PIPE)
        two = self.attach(name, "--no-stdin", stdin=subprocess.DEVNULL)
        self.wait_attached(one.pid, two.pid)
        one.stdin.write("first\n")
        one.stdin.flush()
        self.assertEqual((one.stdout.readline(), one.stderr.readline()), ("out first\n", "err first\n"))
        self.assertEqual((two.stdout.readline(), two.stderr.readline()), ("out first\n", "err first\n"))
        self.restart()
        out, err = one.communicate("end\n", timeout=20)
        self.assertEqual((out, err, one.returncode), ("out end\n", "err end\n", 8))
        self.assertEqual((two.communicate(timeout=20), two.returncode), (("out end\n", "err end\n"), 8))
        self.assertEqual(self.text("logs", name).count("out "), 2, "it is in the log, too")

    def test_one_that_does_not_read(self):
        """It loses what it does not read; the instance goes on."""
        name = self.begin_instance(script="while ! test -e /go; do sleep 0.05; done; dd if=/dev/zero bs=1M count=20 2>/dev/null; touch /done; sleep 1000")
        deaf = self.attach(name, stdin=subprocess.DEVNULL)
        self.wait_attached(deaf.pid)
        os.kill(deaf.pid, signal.SIGSTOP)
        self.text("exec", name, "touch", "/go")
        self.assertTrue(wait_until(lambda: self.coppice("exec", name, "test", "-e", "/done").status == 0, 20))
        os.kill(deaf.pid, signal.SIGKILL)
        deaf.communicate()
        self.assertEqual(self.state(name), "running")

    def test_not_possible(self):
        name = self.begin_instance()
        self.text("stop", "-t", "0", name)
        self.assertIn("is not running", self.fails("attach", name))
        self.fails("attach", "absent")
        attended = subprocess.Popen([str(BIN / "coppice"), "--root", self.root, "run", "--rm", "--name", name + "x", "os", "--", "sh", "-c", "echo up; sleep 1000"],
                                    stdout=subprocess.PIPE, text=True, env=environment())
        self.assertEqual(attended.stdout.readline(), "up\n")
        self.assertIn("is attended by who started it", self.fails("attach", name + "x"))
        attended.kill()
        attended.communicate()

    def read_until(self, fd, text, seconds=15):
        seen = b""
        deadline = time.monotonic() + seconds
        while text not in seen and time.monotonic() < deadline:
            if select.select([fd], [], [], 0.2)[0]:
                try:
                    seen += os.read(fd, 4096)
                except OSError:
                    break
        self.assertIn(text, seen)
        return seen

    def test_a_terminal_is_left_and_taken_up_again(self):
        name = new_name("t")
        pid, fd = pty.fork()
        if pid == 0:
            os.environ.update(environment())
            os.execv(str(BIN / "coppice"), ["coppice", "--root", self.root, "run", "-it", "--name", name, "os", "--", "sh"])
        self.read_until(fd, b"#")
        os.write(fd, b"echo on''e; V=kept\n")
        self.read_until(fd, b"one")
        os.write(fd, b"\x10\x11")
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0)
        os.close(fd)
        self.assertEqual(self.state(name), "running")
        pid, fd = pty.fork()
        if pid == 0:
            os.environ.update(environment())
            os.execv(str(BIN / "coppice"), ["coppice", "--root", self.root, "attach", name])
        self.wait_attached(pid)
        os.write(fd, b"echo still $V\n")
        self.read_until(fd, b"still kept")
        os.write(fd, b"exit 5\n")
        self.assertTrue(wait_until(lambda: self.state(name) == "exited", 10))
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 5)
        os.close(fd)


class Again(NodeCase):
    """Restart policies and health checks."""

    def runs(self, name):
        return self.config(name).get("restarts", 0)

    def test_policies(self):
        failing = self.begin_instance("--restart", "on-failure:3", script="exit 7")
        fine = self.begin_instance("--restart", "on-failure", script="exit 0")
        always = self.begin_instance("--restart", "always", script="sleep 0.1; exit 0")
        self.assertTrue(wait_until(lambda: self.runs(failing) == 3 and self.state(failing) == "exited", 20), self.config(failing))
        self.assertTrue(wait_until(lambda: self.runs(always) >= 3, 20))
        self.assertEqual((self.state(fine), self.runs(fine)), ("exited", 0))
        self.text("stop", always)
        stopped = self.runs(always)
        time.sleep(2)
        self.assertEqual((self.state(always), self.runs(always)), ("exited", stopped), "who stops it means it")

    def test_writes_are_kept_or_undone(self):
        for mode, lines in (("private", "3"), ("shared", "1")):
            name = self.begin_instance("--restart", "on-failure:2", "--mode", mode, script="echo x >> /f; wc -l < /f; exit 1")
            self.assertTrue(wait_until(lambda: self.runs(name) == 2 and self.state(name) == "exited", 20))
            self.assertEqual(self.text("logs", name).split()[-1], lines, mode)

    def test_when_the_daemon_starts(self):
        """What happened while nobody was there to act: also what a reboot does, which ends all at once."""
        names = {policy: self.begin_instance("--restart", policy) for policy in ("no", "on-failure", "always", "unless-stopped")}
        stopped = {policy: self.begin_instance("--restart", policy) for policy in ("always", "unless-stopped")}
        for name in stopped.values():
            self.text("stop", "-t", "0", name)
        supervisors = [self.supervisor_of(name) for name in names.values()]
        self.daemon.end(signal.SIGKILL)
        for pid in supervisors:
            os.kill(pid, signal.SIGKILL)
        self.assertTrue(wait_until(lambda: not self.names("ps", "-q"), 10))
        self.daemon = self.begin()
        for policy in ("on-failure", "always", "unless-stopped"):
            self.wait_state(names[policy], "running")
        self.wait_state(stopped["always"], "running")
        time.sleep(0.5)
        self.assertEqual((self.state(names["no"]), self.state(stopped["unless-stopped"])), ("stopped", "exited"))

    def test_restart_on_request(self):
        name = self.begin_instance("--mode", "shared", script="test ! -e /f; echo $? ; touch /f; sleep 1000")
        clean_starts = lambda number: wait_until(lambda: self.text("logs", name).split() == ["0"] * number, 10)  # noqa: E731
        self.assertTrue(clean_starts(1))
        started = self.config(name)["started"]
        self.text("restart", "-t", "0", name)
        self.assertEqual(self.state(name), "running")
        self.assertGreater(self.config(name)["started"], started)
        self.assertTrue(clean_starts(2))
        self.assertEqual(self.daemon.ask("POST", f"/v1/instances/{name}/restart", {"timeoutSeconds": 0}).status, 204)
        self.assertTrue(clean_starts(3))
        self.text("stop", "-t", "0", name)
        self.text("restart", name)
        self.assertEqual(self.state(name), "running", "one that does not run is started")

    def test_health(self):
        name = self.begin_instance("--health-cmd", "cat /well", "--health-interval", "100ms", "--health-timeout", "1s", "--health-retries", "2")
        health = lambda: self.ask(f"/v1/instances/{name}")["healthReport"]  # noqa: E731
        self.assertTrue(wait_until(lambda: health()["status"] == "unhealthy", 15))
        probe = health()["probes"][-1]
        self.assertEqual(probe["exitStatus"], 1)
        self.assertIn("No such file", probe["output"])
        self.text("exec", name, "sh", "-c", "echo fine > /well")
        self.assertTrue(wait_until(lambda: health()["status"] == "healthy", 15))
        self.assertIn("(healthy)", self.text("ps"))
        self.text("exec", name, "sh", "-c", "rm /well; mkfifo /well")
        self.assertTrue(wait_until(lambda: health()["probes"][-1]["exitStatus"] == -1, 15), "one that hangs has failed")
        self.check_schema(self.ask(f"/v1/instances/{name}"), "Instance")
        self.text("stop", "-t", "0", name)
        self.assertFalse(pathlib.Path(self.root, "instances", name, "health.json").exists())


if __name__ == "__main__":
    main()
