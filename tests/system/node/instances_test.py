#!/usr/bin/env python3
"""Instances on vdisks: started by the daemon, and independent of it from then on."""

import concurrent.futures
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from coppice_node import NodeCase  # noqa: E402
from coppice_test import BIN, environment, main, new_name, wait_until  # noqa: E402


class Lives(NodeCase):
    def test_runs_on_a_vdisk(self):
        done = self.coppice("run", "--rm", "--name", new_name(), "os", "--", "sh", "-c", "echo out; echo err >&2; touch /new; exit 7")
        self.assertEqual((done.status, done.out, done.err), (7, "out\n", "err\n"))
        self.assertEqual(self.branches(), [])
        self.assertEqual(self.names("ps", "-aq"), [])
        self.assertEqual(self.text("run", "-i", "--rm", "--name", new_name(), "os", "cat", stdin="through"), "through")
        self.assertEqual(self.coppice("run", "--rm", "--name", new_name(), "os:1", "/no/such").status, 127)
        self.assertEqual(self.branches(), [], "nothing is left of one that did not start")

    def test_keeps_its_writes_or_undoes_them(self):
        for mode, kept in (("private", "x\n"), ("shared", "")):
            name = new_name(mode)
            self.text("run", "--name", name, "--mode", mode, "os", "--", "sh", "-c", "echo x >> /etc/fresh")
            self.assertEqual(self.text("run", "--name", name, "--mode", mode, "os", "--", "sh", "-c", "cat /etc/fresh 2>/dev/null; true"), kept)
            self.assertEqual(self.branches(), [name])
            self.text("rm", name)
            self.assertEqual(self.branches(), [])
        self.assertFalse(list(pathlib.Path(self.root, "working").glob("*")) and self.branches())

    def test_a_stopped_one_is_a_branch(self):
        name = self.begin_instance(script="echo 1 > /etc/fresh; sleep 1000")
        self.assertTrue(wait_until(lambda: self.coppice("exec", name, "test", "-s", "/etc/fresh").status == 0, 10))
        self.assertIn("stop", self.fails("rollback", name, "os"), "it is in use")
        self.assertEqual(self.daemon.ask("DELETE", f"/v1/branches/{name}").status, 409)
        self.text("stop", "-t", "0", name)
        self.assertIn(f"coppice rm {name}", self.fails("branch", "-d", name), "it is the instance's")
        self.text("snapshot", "create", name, "-m", "one")
        self.assertIn("etc/fresh", self.text("diff", "os", name))
        self.text("run", "--name", name, "os", "--", "sh", "-c", "echo 2 > /etc/fresh")
        self.text("rollback", name, name)
        self.assertEqual(self.text("run", "--name", name, "os", "--", "cat", "/etc/fresh"), "1\n")

    def test_log_over_the_api(self):
        name = self.begin_instance("--log-opt", "max-file=2",
                                   script="echo one; sleep 0.2; echo two >&2; sleep 0.2; echo three; sleep 1000")
        self.assertEqual(self.config(name)["logMaxFiles"], 2)
        target = f"/v1/instances/{name}/logs"
        self.assertTrue(wait_until(lambda: self.daemon.ask("GET", target).raw == b"one\ntwo\nthree\n", 10))
        answer = self.daemon.ask("GET", target + "?tail=2&since=1h&timestamps=true")
        self.assertEqual((answer.status, answer.headers["Content-Type"]), (200, "text/plain"))
        times, words = zip(*(line.split() for line in answer.raw.decode().splitlines()))
        self.assertEqual(words, ("two", "three"))
        self.assertEqual(self.daemon.ask("GET", f"{target}?until={times[0]}&tail=1").raw, b"two\n")
        for query, word in (("tail=-1", "tail"), ("since=never", "since"), ("timestamps=1", "timestamps"), ("follow=true", "follow")):
            answer = self.daemon.ask("GET", f"{target}?{query}")
            self.assertEqual(answer.status, 400, answer)
            self.assertIn(word, answer.body["detail"])
        self.assertEqual(self.daemon.ask("GET", "/v1/instances/absent/logs").status, 404)

    def test_log_over_the_api_is_bounded(self):
        name = self.begin_instance(script="yes 0123456789012345678901234567890123456789012345678901234567890123456789 | head -n 90000; echo last; sleep 1000")
        target = f"/v1/instances/{name}/logs?tail="
        self.assertTrue(wait_until(lambda: self.daemon.ask("GET", target + "1").raw == b"last\n", 20))
        text = self.daemon.ask("GET", target + "100000").raw
        self.assertTrue(text.startswith(b"0123") and text.endswith(b"9\nlast\n"))
        self.assertTrue((4 << 20) - 100 < len(text) <= 4 << 20, len(text))

    def test_beside_a_mounted_branch(self):
        """What supervisors copied of the host's mounts is in nobody's way."""
        place = self.root + "/mounted"
        os.mkdir(place)
        self.text("branch", "beside", "os")
        self.text("vdisk", "mount", "--branch", "beside", place)
        self.addCleanup(self.coppice, "vdisk", "umount", place)
        self.begin_instance()
        pathlib.Path(place, "etc/new").write_text("x")
        self.text("snapshot", "create", "beside")
        with open(f"{place}/etc/new", "a", encoding="utf-8"):
            self.assertIn("in use", self.fails("snapshot", "create", "beside"))

    def test_started_with_a_strict_umask(self):
        """That of the service: cgroups that an instance could not look through keep it from starting."""
        self.daemon.end()
        before = os.umask(0o077)
        self.addCleanup(os.umask, before)
        self.daemon = self.begin()
        for root in ("os", self.tree):
            self.assertEqual(self.text("run", "--rm", root, "--", "sh", "-c", "umask; test -e /sys/fs/cgroup/cgroup.procs || ls /sys/fs/cgroup").split()[0], "0022")

    def test_names_and_roots(self):
        self.assertIn("a vdisk is named os", self.fails("run", "-d", "--name", "os", "os", "true", status=125))
        self.text("branch", "taken", "os")
        self.assertIn("there is a branch taken already", self.fails("run", "-d", "--name", "taken", "os", "true", status=125))
        self.assertIn("there is a branch taken already", self.fails("create", "--name", "taken", "os", "true"))
        self.assertEqual(self.branches(), ["taken"])
        self.text("create", "--name", "first", "os", "true")
        for last, word in (("taken", "branch taken"), ("os", "vdisk os is there"), ("first", "instance first is there")):
            refused = self.daemon.ask("POST", "/v1/instances/first/branch", {"names": ["one", "two", last]})
            self.assertEqual(refused.status, 409)
            self.assertIn(word, refused.body["detail"])
            self.assertEqual((self.branches(), self.names("ps", "-aq")), (["first", "taken"], ["first"]), "all or none")
        twice = self.daemon.ask("POST", "/v1/instances/first/branch", {"names": ["one", "one"]})
        self.assertEqual(twice.status, 400)
        self.text("rm", "first")
        self.assertIn("no vdisk, branch or snapshot 'absent'", self.fails("run", "--rm", "absent", "true", status=125))
        done = self.coppice("run", "--rm", os.path.basename(self.tree), "true", cwd=os.path.dirname(self.tree))
        self.assertEqual(done.status, 125)
        self.assertIn(f"./{os.path.basename(self.tree)}", done.err, "a path has a slash")
        name = self.begin_instance()
        self.assertIn("running", self.fails("run", "-d", "--name", name, "os", "true", status=125))
        self.assertIn("running", self.fails("rm", name))
        self.text("vdisk", "import", "other", self.tree, "-q")
        self.text("stop", "-t", "0", name)
        self.assertIn("exists already with the root os", self.fails("run", "--name", name, "other", "true", status=125))
        self.assertEqual(self.config(name)["exitStatus"], 137)

    def test_a_refused_start_undoes_nothing(self):
        for words in (("--mode", "shared"), ("--on-stop", "discard"), ("--rm",)):
            with self.subTest(words=words):
                name = new_name("kept")
                self.text("run", "--name", name, "os", "--", "sh", "-c", "echo mine > /f")
                self.assertIn("exists already", self.fails("run", *words, "--name", name, "os", "true", status=125))
                self.assertEqual(self.read(name, "/f"), b"mine\n")
                self.assertEqual(self.text("run", "--name", name, "os", "cat", "/f"), "mine\n")

    def test_what_it_is_as_the_api_tells(self):
        name = self.begin_instance("-e", "A=b")
        told = self.ask(f"/v1/instances/{name}")
        self.check_schema(told, "Instance")
        self.assertEqual((told["state"], told["root"], told["env"]), ("running", "os", ["A=b"]))
        self.assertEqual([one["name"] for one in self.ask("/v1/instances")], [name])
        self.assertEqual(self.daemon.ask("GET", "/v1/instances/absent").status, 404)
        self.assertEqual(self.daemon.ask("DELETE", f"/v1/instances/{name}").status, 409)
        wrong = self.daemon.ask("POST", "/v1/instances", {"config": {"name": "x", "root": "os", "mode": "private"}, "attach": True})
        self.assertEqual(wrong.status, 400, "attached, without a way to hand a socket over")

    def test_many_at_once(self):
        def one(number):
            return self.coppice("run", "--rm", "--name", new_name(f"m{number}-"), "os", "--", "sh", "-c", f"echo {number} > /f; cat /f")

        with concurrent.futures.ThreadPoolExecutor(20) as pool:
            outcomes = list(pool.map(one, range(40)))
        self.assertEqual([done.out for done in outcomes], [f"{number}\n" for number in range(40)])
        self.assertEqual(self.branches(), [])


class Refusals(NodeCase):
    """What cannot be: one line says why, and nothing of it was made."""

    def all_there_is(self):
        below = [sorted(path.name for path in pathlib.Path(self.root, place).iterdir()) for place in ("instances", "working")]
        return [*below, self.ask("/v1/branches"), self.ask("/v1/snapshots"), self.ask("/v1/vdisks"),
                {one["name"]: (one["state"], one.get("memoryBytes"), one.get("pids")) for one in self.ask("/v1/instances")}]

    def refused(self, *cases):
        before = self.all_there_is()
        for words, status, said in cases:
            with self.subTest(words=words):
                error = self.fails(*words, status=status)
                self.assertEqual(re.sub(r"\bi-[0-9a-f]{8}\b", "NAME", error), f"coppice: {said}\n")
                self.assertEqual(self.all_there_is(), before)

    def test_names(self):
        wrong = "a name may hold only letters, digits and _ - . + and must begin with a letter, a digit or _"
        long = "x" * 129
        self.refused(*((("run", "--rm", "--name", name, "os", "true"), 125, f"--name '{name}': {why}")
                       for name, why in (("../x", wrong), ("a b", wrong), (".x", wrong), ("x/y", wrong), (long, "the name is longer than 128 bytes"))),
                     (("start", "../x"), 1, f"start ../x: instance name '../x': {wrong}"),
                     (("exec", "absent", "true"), 125, "instance absent does not exist (see: coppice ps -a)"),
                     (("stop", "absent"), 1, "stop absent: instance absent does not exist (see: coppice ps -a)"),
                     (("logs", "absent"), 1, "instance absent does not exist (see: coppice ps -a)"),
                     (("snapshot", "create", "absent"), 1, "there is no branch absent"))

    def test_what_it_is_to_run_on(self):
        missing = "there is no vdisk, branch or snapshot 'absent' (see: coppice vdisk ls, coppice branch, coppice log)"
        self.refused((("run", "absent", "true"), 125, f"run NAME: {missing}"),
                     (("create", "absent"), 1, f"create NAME: {missing}"),
                     (("run", "absent:1", "true"), 125, "run NAME: there is no vdisk 'absent' (see: coppice vdisk ls)"),
                     (("run", "os:7", "true"), 125, "run NAME: there is no version 7"),
                     (("run", "os:x", "true"), 125, "run NAME: 'x' is no version: a number, maintenance, test or production is one"),
                     (("run", "os@absent", "true"), 125, "run NAME: vdisk os has no tag 'absent' (see: coppice tag os)"),
                     (("run", "", "true"), 125, "the root is empty"))

    def test_limits(self):
        name = new_name()
        self.text("create", "--name", name, "-m", "64m", "--pids", "50", "os", "true")
        self.refused((("run", "-m", "1k", "os", "true"), 125, "--memory 1k: at least 4 MiB are needed"),
                     (("run", "--cpus", "0.001", "os", "true"), 125, "--cpus 0.001: at least 0.01"),
                     (("run", "--pids", "0", "os", "true"), 125, "--pids: 0 processes cannot run anything (see: coppice run --help)"),
                     (("run", "--log-opt", "max-size=1", "os", "true"), 125, "--log-opt max-size=1: must be from 64 KiB to 1 TiB"),
                     (("update", "-m", "1k", name), 1, f"update {name}: memoryBytes: must be a whole number from 4194304 to 9223372036854775807"),
                     (("update", "--pids", "0", name), 1, f"update {name}: pids: 0 processes cannot run anything"))
        # Whoever asks the API himself is told the same.
        plain = {"name": new_name("api"), "root": "os", "mode": "private"}
        for wrong in ({"memoryBytes": 4096}, {"millicpus": 1}, {"pids": 0}):
            self.assertEqual(self.daemon.ask("POST", "/v1/instances", {"config": {**plain, **wrong}, "start": False}).status, 400, wrong)
        self.assertEqual(self.names("ps", "-aq"), [name])

    def test_what_is_in_use(self):
        name = self.begin_instance()
        self.text("branch", "plain", "os")
        in_use = f"branch {name} is in use: an instance runs on it (stop it first: coppice stop {name})"
        self.refused((("vdisk", "rm", "os"), 1, f"vdisk os has branch plain, branch {name} (remove these first, or all at once with cascade (--cascade))"),
                     (("vdisk", "rm", "os", "--cascade"), 1, f"remove vdisk os: {in_use}"),
                     (("vdisk", "mount", "--branch", name, "/mnt"), 1, in_use),
                     (("rollback", name, "os"), 1, in_use),
                     (("branch", "-d", name), 1, f"branch {name} is what instance {name} writes into (remove both: coppice rm {name})"),
                     (("rename", name, "other"), 1, f"rename {name}: instance {name} is running (stop it first: coppice stop {name})"))
        self.text("vdisk", "rm", "os:1")  # a version is a name: who runs on its snapshot keeps that
        self.assertEqual(self.text("exec", name, "cat", "/etc/greeting"), "from the image\n")
        self.text("restart", "-t", "0", name)
        self.assertEqual(self.text("exec", name, "cat", "/etc/greeting"), "from the image\n")


class Deaths(NodeCase):
    def test_the_daemon_is_killed(self):
        """No instance notices; what ended meanwhile is settled by the next one."""
        names = {mode: self.begin_instance("--mode", mode, script="echo x > /f; trap 'exit 5' TERM; while :; do sleep 0.05; done", word=mode)
                 for mode in ("private", "shared")}
        gone = new_name("gone")
        attached = subprocess.Popen([str(BIN / "coppice"), "--root", self.root, "run", "--rm", "--name", gone, "os", "--", "sh", "-c",
                                     "echo up; sleep 1; echo done; exit 3"], stdout=subprocess.PIPE, text=True, env=environment())
        self.assertEqual(attached.stdout.readline(), "up\n")
        stays = self.begin_instance(script="trap 'exit 6' TERM; while :; do sleep 0.05; done")
        self.daemon.end(signal.SIGKILL)
        self.assertEqual((attached.stdout.read(), attached.wait(20)), ("done\n", 3), "who attends it is not disturbed")
        for name in names.values():
            self.text("stop", name)  # needs no daemon
            self.assertEqual(self.config(name)["exitStatus"], 5)
        self.daemon = self.begin()
        self.assertEqual(sorted(self.branches()), sorted([*names.values(), stays]), "the one with --rm has gone")
        self.assertEqual(self.text("run", "--name", names["private"], "os", "cat", "/f"), "x\n")
        self.text("run", "--name", names["shared"], "--mode", "shared", "os", "--", "test", "!", "-e", "/f")
        self.assertIn("stop it first", self.fails("rollback", stays, "os"), "it is known to run")
        self.text("stop", stays)
        self.assertEqual(self.config(stays)["exitStatus"], 6)
        self.assertTrue(wait_until(lambda: self.coppice("snapshot", "create", stays).status == 0, 5))

    def test_a_supervisor_is_killed(self):
        for mode in ("private", "shared"):
            name = self.begin_instance("--mode", mode, script="echo x > /f; sleep 1000")
            self.assertTrue(wait_until(lambda: self.coppice("exec", name, "test", "-s", "/f").status == 0, 10))
            os.kill(self.supervisor_of(name), signal.SIGKILL)
            self.assertTrue(wait_until(lambda: name not in self.names("ps", "-q"), 10))
            found = f"{name}\n" if mode == "private" else ""
            self.assertTrue(wait_until(lambda: self.coppice("run", "--name", name, "--mode", mode, "os", "--", "sh", "-c",
                                                            "test ! -e /f || hostname").out == found, 10))

    def test_who_attends_it_is_killed(self):
        name = new_name("left")
        attached = subprocess.Popen([str(BIN / "coppice"), "--root", self.root, "run", "--rm", "--name", name, "os", "--", "sh", "-c",
                                     "echo up; sleep 1000"], stdout=subprocess.PIPE, text=True, env=environment())
        self.assertEqual(attached.stdout.readline(), "up\n")
        attached.kill()
        attached.wait()
        self.assertTrue(wait_until(lambda: not self.names("ps", "-aq") and not self.branches(), 10))

    def test_the_daemon_is_killed_while_it_starts_some(self):
        """Whatever came of the start: it runs, or nothing of it is left."""
        outcomes = set()
        for round_ in range(25):
            name = new_name("k")
            starting = subprocess.Popen([str(BIN / "coppice"), "--root", self.root, "--socket", self.daemon.socket, "run", "-d", "--name",
                                         name, "os", "sleep", "1000"],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())
            time.sleep(0.0012 * round_)
            self.daemon.end(signal.SIGKILL)
            starting.wait(30)
            self.daemon = self.begin()
            runs = wait_until(lambda n=name: n in self.names("ps", "-q"), 0.3)
            outcomes.add(runs)
            if runs:
                self.text("stop", "-t", "0", name)
                self.text("rm", name)
            else:
                self.assertTrue(wait_until(lambda n=name: n not in self.names("ps", "-aq") and n not in self.branches(), 10), f"round {round_}")
        self.assertEqual(self.branches(), [])
        print("seen to run after the kill:", outcomes)
        fsck = self.coppice("system", "fsck")
        self.assertEqual(fsck.status, 0, fsck)


if __name__ == "__main__":
    main()
