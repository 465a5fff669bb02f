#!/usr/bin/env python3
"""What can be seen of running instances from outside, and files in and out of them."""

import csv
import io
import json
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from coppice_node import NodeCase  # noqa: E402
from coppice_test import BIN, environment, main, wait_until  # noqa: E402


class Usage(NodeCase):
    def stats(self, *names):
        return {s["name"]: s for s in json.loads(self.text("stats", "--no-stream", "--format", "json", *names))}

    def top(self, name):
        return json.loads(self.text("top", "--format", "json", name))

    def test_what_they_take(self):
        # One that is busy in a loop, one that holds memory, one that does nothing.
        busy = self.begin_instance("--cpus", "0.9", "--pids", "30", script="while :; do :; done")
        idle = self.begin_instance("-m", "128m")
        eater = self.begin_instance("-m", "256m", script="head -c 48000000 /dev/zero > /dev/shm/f; echo > /full; sleep 1000")
        self.assertTrue(wait_until(lambda: self.coppice("exec", eater, "test", "-e", "/full").status == 0, 20))
        self.assertTrue(wait_until(lambda: self.stats(busy)[busy]["cpuPercent"] > 50, 60), "others may want the processor, too")
        seen = self.stats()
        self.assertEqual(set(seen), {busy, idle, eater})
        self.assertLess(seen[idle]["cpuPercent"], 20)
        self.assertEqual((seen[busy]["processes"], seen[busy]["processLimit"]), (1, 30))
        self.assertIsNone(seen[busy]["memoryLimitBytes"])
        if seen[eater]["memoryBytes"] is not None:
            self.assertGreater(seen[eater]["memoryBytes"], 47000000)
            self.assertLess(seen[idle]["memoryBytes"], 40000000)
            self.assertEqual(seen[eater]["memoryLimitBytes"], 256 << 20)
            self.assertGreater(seen[eater]["memoryPercent"], 15)
        sample = self.ask(f"/v1/instances/{eater}/stats")
        self.assertEqual(set(seen[eater]) - set(sample), {"name", "cpuPercent"})
        self.assertAlmostEqual(sample["memoryBytes"], seen[eater]["memoryBytes"], delta=8 << 20)
        self.text("stop", "-t", "0", busy)
        self.assertNotIn(busy, self.stats())
        self.assertIn("is not running", self.fails("stats", "--no-stream", busy))
        self.assertIn("does not exist", self.fails("stats", "absent"))
        self.assertEqual(self.daemon.ask("GET", f"/v1/instances/{busy}/stats").status, 409)
        self.assertEqual(self.daemon.ask("GET", "/v1/instances/absent/stats").status, 404)

    def test_one_line_for_each_sample(self):
        name = self.begin_instance()
        watching = subprocess.Popen([str(BIN / "coppice"), "--root", self.root, "stats", "--format", "csv", name], stdout=subprocess.PIPE, text=True,
                                    env=environment())
        lines = [watching.stdout.readline() for _ in range(3)]
        self.assertTrue(lines[0].startswith("name,cpu %") and all(line.startswith(name + ",") for line in lines[1:]), lines)
        self.text("stop", "-t", "0", name)
        watching.communicate(timeout=20)
        self.assertEqual(watching.returncode, 0, "it ends with the last that was named")

    def test_their_processes(self):
        name = self.begin_instance("-u", "7:7", script="sleep 2000 & exec sleep 1000")
        found = []
        self.assertTrue(wait_until(lambda: found.__setitem__(slice(None), self.top(name)) or len(found) == 2, 10))
        first, second = found
        self.assertEqual((first["pid"], first["user"], first["command"]), (1, 7, "sleep 1000"))
        self.assertEqual((second["user"], second["command"]), (7, "sleep 2000"))
        self.assertEqual(os.readlink(f"/proc/{first['hostPid']}/ns/pid"), os.readlink(f"/proc/{second['hostPid']}/ns/pid"))
        self.assertIn("sleep 2000", self.text("top", name))
        self.assertEqual(self.ask(f"/v1/instances/{name}/processes")[0]["hostPid"], first["hostPid"])
        self.text("stop", "-t", "0", name)
        self.assertIn("is not running", self.fails("top", name))
        self.assertEqual(self.daemon.ask("GET", f"/v1/instances/{name}/processes").status, 409)

    def test_names_that_would_command_a_terminal(self):
        evil = "x\033[2J\n\x9b\u009b2J"
        name = self.begin_instance(script="exec sleep 1000")
        there = subprocess.Popen([str(BIN / "coppice"), "--root", self.root, "exec", name, "sh", "-c", "sleep 1000; :", evil],
                                 stdout=subprocess.DEVNULL, env=environment())
        self.assertTrue(wait_until(lambda: len(self.top(name)) >= 2, 10))
        for form in ("table", "csv", "json"):
            text = self.text("top", "--format", form, name)
            self.assertNotIn("\033", text)
            self.assertNotIn("\u009b", text.replace("\\u009b", "") if form != "json" else "")
        self.assertEqual(len(list(csv.DictReader(io.StringIO(self.text("top", "--format", "csv", name))))), len(self.top(name)))
        self.text("stop", "-t", "0", name)
        there.wait(timeout=20)

    def test_processes_that_come_and_go(self):
        name = self.begin_instance("--pids", "40", script="while :; do (true) & (true) & wait; done")
        for _ in range(30):
            self.assertEqual(self.top(name)[0]["pid"], 1)


class Copies(NodeCase):
    def setUp(self):
        super().setUp()
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        os.chmod(holder.name, 0o755)
        self.here = pathlib.Path(holder.name)

    def inside(self, name, script):
        return self.text("exec", name, "sh", "-c", script)

    def test_out_of_a_running_one(self):
        name = self.begin_instance(script="mkdir -p /d/e; echo one > /d/f; echo two > /d/e/g; chmod 640 /d/f; chown 33:44 /d/f; ln -s f /d/l; "
                                          "truncate -s 1G /d/sparse; touch /up; sleep 1000")
        self.assertTrue(wait_until(lambda: self.coppice("exec", name, "test", "-e", "/up").status == 0, 10))
        self.text("cp", f"{name}:/d", str(self.here))
        self.assertEqual((self.here / "d/f").read_text() + (self.here / "d/e/g").read_text(), "one\ntwo\n")
        self.assertEqual(os.readlink(self.here / "d/l"), "f")
        self.assertEqual((os.stat(self.here / "d/f").st_uid, os.stat(self.here / "d/sparse").st_size), (0, 1 << 30))
        self.assertLess(os.stat(self.here / "d/sparse").st_blocks, 1000, "holes stay holes")
        self.text("cp", "-a", f"{name}:/d", str(self.here / "new"))
        status = os.stat(self.here / "new/f")
        self.assertEqual((status.st_uid, status.st_gid, status.st_mode & 0o7777), (33, 44, 0o640), "owners as they are inside")
        self.text("cp", f"{name}:/d/f", str(self.here / "single"))
        self.assertEqual((self.here / "single").read_text(), "one\n")
        done = subprocess.run([str(BIN / "coppice"), "--root", self.root, "cp", f"{name}:/d/e", "-"], capture_output=True, check=True, env=environment())
        self.assertEqual(tarfile.open(fileobj=io.BytesIO(done.stdout)).getnames(), ["e", "e/g"])
        self.assertIn("is not there", self.fails("cp", f"{name}:/absent", str(self.here)))
        self.assertEqual(sorted(os.listdir(self.here)), ["d", "new", "single"], "nothing is left of what failed")

    def test_interrupted(self):
        name = self.begin_instance(script="mkdir /d; head -c 400000000 /dev/zero > /d/f; echo > /up; sleep 1000")
        self.assertTrue(wait_until(lambda: self.coppice("exec", name, "test", "-s", "/up").status == 0, 60))
        copying = subprocess.Popen([str(BIN / "coppice"), "--root", self.root, "cp", f"{name}:/d", str(self.here / "new")],
                                   stderr=subprocess.PIPE, text=True, env=environment())
        self.assertTrue(wait_until(lambda: os.listdir(self.here), 10))
        copying.terminate()
        error = copying.communicate(timeout=20)[1]
        self.assertEqual((copying.returncode, os.listdir(self.here)), (1, []), error)
        self.assertIn("interrupted", error)

    def test_into_a_running_one(self):
        name = self.begin_instance()
        tree = self.here / "t"
        (tree / "sub").mkdir(parents=True)
        (tree / "sub/f").write_text("in\n")
        os.chown(tree / "sub/f", 33, 44)
        os.chmod(tree / "sub/f", 0o4750)
        os.symlink("sub/f", tree / "l")
        with open(tree / "sparse", "wb") as file:
            file.truncate(1 << 30)
        self.text("cp", str(tree), f"{name}:/etc")
        self.assertEqual(self.inside(name, "cat /etc/t/l; stat -c '%u %g %a' /etc/t/sub/f; stat -c %s /etc/t/sparse"), "in\n0 0 750\n1073741824\n")
        self.text("cp", "-a", str(tree), f"{name}:/new")
        self.assertEqual(self.inside(name, "stat -c '%u %g %a' /new/sub/f"), "33 44 4750\n")
        self.text("cp", f"{tree}/.", f"{name}:/etc")
        self.assertEqual(self.inside(name, "cat /etc/sub/f"), "in\n")
        self.text("cp", str(tree / "sub/f"), f"{name}:/etc/other")
        self.assertEqual(self.inside(name, "cat /etc/other; ln -s /etc/other /link; echo x > /file"), "in\n")
        (tree / "sub/f").write_text("again\n")
        self.text("cp", str(tree / "sub/f"), f"{name}:/link")
        self.assertEqual(self.inside(name, "cat /etc/other; test -L /link"), "again\n", "links are followed, inside")
        self.assertIn("onto the file", self.fails("cp", str(tree), f"{name}:/file"))
        self.fails("cp", str(tree / "sub/f"), f"{name}:/absent/")
        self.fails("cp", str(tree / "absent"), f"{name}:/etc")
        archive = subprocess.run(["tar", "-C", str(tree), "-c", "sub"], capture_output=True, check=True).stdout
        self.assertEqual((self.unpack(archive, f"{name}:/etc/t").returncode, self.inside(name, "cat /etc/t/sub/f")), (0, "again\n"))

    def unpack(self, archive, place):
        return subprocess.run([str(BIN / "coppice"), "--root", self.root, "cp", "-", place], input=archive, capture_output=True, check=False,
                              env=environment())

    def test_archives_that_lead_elsewhere(self):
        name = self.begin_instance()
        for path in ("../evil", "sub/../../evil"):
            archive = io.BytesIO()
            with tarfile.open(fileobj=archive, mode="w") as writer:
                writer.addfile(tarfile.TarInfo(path))
            self.assertEqual(self.unpack(archive.getvalue(), f"{name}:/home/user").returncode, 1)
        self.assertEqual(self.unpack(b"no archive at all" * 100, f"{name}:/home/user").returncode, 1)
        self.assertEqual(self.inside(name, "find / -xdev -name evil"), "")

    def test_of_those_that_do_not_run(self):
        name = self.begin_instance(script="echo kept > /f; sleep 1000")
        self.assertTrue(wait_until(lambda: self.coppice("exec", name, "test", "-s", "/f").status == 0, 10))
        self.text("stop", "-t", "0", name)
        self.text("cp", f"{name}:/f", str(self.here / "f"))
        self.assertEqual((self.here / "f").read_text(), "kept\n")
        self.assertIn("does not run", self.fails("cp", str(self.here / "f"), f"{name}:/g"))
        self.assertIn("is no instance", self.fails("cp", str(self.here / "f"), "os:/g"))
        self.text("create", "--name", name + "p", self.tree, "true")
        self.assertIn("is on a path", self.fails("cp", f"{name}p:/etc", str(self.here)))

    def test_links_lead_nowhere_else(self):
        secret = self.here / "host"
        secret.mkdir()
        os.chmod(secret, 0o777)
        (secret / "secret").write_text("of the host\n")
        os.chmod(secret / "secret", 0o666)
        name = self.begin_instance(script=f"ln -s {secret} /l; ln -s {secret}/secret /s; ln -s ../../../../../../../..{secret} /up; sleep 1000")
        self.assertTrue(wait_until(lambda: self.coppice("exec", name, "test", "-L", "/up").status == 0, 10))
        out = self.here / "out"
        out.mkdir()
        for path in ("/l/secret", "/up/secret", "/l/.", str(secret / "secret"), "/s/."):
            self.fails("cp", f"{name}:{path}", str(out))
        (self.here / "mine").write_text("mine\n")
        for path in ("/l/new", "/l/secret", "/up/secret", "/s"):
            self.coppice("cp", str(self.here / "mine"), f"{name}:{path}")
        self.assertEqual((os.listdir(secret), (secret / "secret").read_text(), os.listdir(out)), (["secret"], "of the host\n", []))

    def test_links_that_change_meanwhile(self):
        secret = self.here / "host"
        secret.mkdir()
        os.chmod(secret, 0o777)
        (secret / "f").write_text("of the host\n")
        os.chmod(secret / "f", 0o666)
        name = self.begin_instance(script=f"mkdir -p /t/d /t/x; echo inside > /t/d/f; ln -s {secret} /t/x/l; "
                                          "while :; do mv /t/d /t/x/d; mv /t/x/l /t/d; mv /t/d /t/x/l; mv /t/x/d /t/d; done")
        (self.here / "f").write_text("mine\n")
        end = time.monotonic() + 6
        rounds = 0
        while time.monotonic() < end:
            out = self.here / f"out{rounds}"
            out.mkdir()
            self.coppice("cp", f"{name}:/t/.", str(out))
            self.coppice("cp", f"{name}:/t/d/f", str(out))
            self.coppice("cp", str(self.here / "f"), f"{name}:/t/d/f")
            self.coppice("cp", str(self.here / "f"), f"{name}:/t/d")
            for directory, _, files in os.walk(out):
                for file in files:
                    self.assertNotIn("of the host", (pathlib.Path(directory) / file).read_text())
            self.assertEqual((os.listdir(secret), (secret / "f").read_text()), (["f"], "of the host\n"))
            rounds += 1
        self.assertGreater(rounds, 3)


if __name__ == "__main__":
    main()
