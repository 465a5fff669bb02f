#!/usr/bin/env python3
"""Snapshots of instances that run: consistent, with a short pause, and nobody stays halted."""

import json
import os
import pathlib
import signal
import struct
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from coppice_node import NodeCase  # noqa: E402
from coppice_test import BIN, environment, find_helper, main, new_name, wait_until  # noqa: E402

WRITER = find_helper("capture_writer")


class CaptureCase(NodeCase):
    def begin_writer(self, what, *options):
        name = new_name(what)
        self.text("run", "-d", "--name", name, "-v", f"{WRITER}:/writer:ro", *options, "os", "--", "sh", "-c", f"mkdir /data; exec /writer {what} /data")
        return name

    def begin_busy(self):
        """One that always has 200 MB to be copied while it is halted."""
        name = self.begin_instance(script="dd if=/dev/zero of=/big bs=1M count=200 2>/dev/null; while :; do touch /big /tick; done")
        self.assertTrue(wait_until(lambda: self.coppice("exec", name, "test", "-e", "/tick").status == 0, 30))
        return name

    def snapshot(self, name, *options):
        return json.loads(self.text("snapshot", "create", name, "--format", "json", *options))

    def is_alive(self, name):
        before = self.text("exec", name, "stat", "-c", "%z", "/tick")
        return wait_until(lambda: self.text("exec", name, "stat", "-c", "%z", "/tick") != before, 10)

    def is_clean(self, name):
        """Nothing is left of copies, and nothing is halted."""
        layers = pathlib.Path(self.root, "working", name)
        self.assertTrue(wait_until(lambda: sorted(path.name for path in layers.iterdir()) == ["layer", "lower"], 15), list(layers.iterdir()))
        self.assertFalse(pathlib.Path(self.root, "instances", name, "halted").exists())

    def halted(self, name):
        mark = f"{self.root}/instances/{name}/halted"
        self.assertTrue(wait_until(lambda: os.path.exists(mark), 30, 0), "it was never halted")


class Running(CaptureCase):
    def test_two_files_agree(self):
        name = self.begin_writer("counters")
        self.assertTrue(wait_until(lambda: self.coppice("exec", name, "test", "-s", "/data/second").status == 0, 10))
        seen = set()
        for _ in range(12):
            made = self.snapshot(name)
            first, second = (struct.unpack("<Q", self.read(made["id"], f"/data/{file}"))[0] for file in ("first", "second"))
            self.assertIn(first - second, (0, 1))
            seen.add(first)
            before = self.text("exec", name, "stat", "-c", "%z", "/data/second")
            self.assertTrue(wait_until(lambda: self.text("exec", name, "stat", "-c", "%z", "/data/second") != before, 10))
        self.assertEqual(len(seen), 12, "it went on in between")
        self.assertEqual(len(self.names("log", "-q", name)), 13, "what was taken of it, and what it stands on")
        self.assertEqual(len(self.names("log", "-q", "-n", "5", name)), 5)
        self.is_clean(name)

    def test_a_mapped_file(self):
        name = self.begin_writer("mapped")
        self.assertTrue(wait_until(lambda: self.coppice("exec", name, "test", "-s", "/data/mapped").status == 0, 10))
        last = 0
        for _ in range(12):
            content = self.read(self.snapshot(name)["id"], "/data/mapped")
            numbers = [struct.unpack_from("<Q", content, page)[0] for page in range(0, len(content), 4096)]
            self.assertEqual(numbers, sorted(numbers, reverse=True))
            self.assertLessEqual(numbers[0] - numbers[-1], 1)
            self.assertGreater(numbers[0], last)
            last = numbers[0]

    def test_what_is_told(self):
        name = self.begin_instance(script="echo one > /f; while :; do sleep 0.05; done")
        self.assertTrue(wait_until(lambda: self.coppice("exec", name, "test", "-s", "/f").status == 0, 10))
        answer = self.daemon.ask("POST", f"/v1/branches/{name}/snapshots", {"message": "m", "tag": "t"}, {"Idempotency-Key": "k"})
        self.check(answer, "CreatedSnapshot", 201)
        made = answer.body
        self.assertGreater(made["pauseMicroseconds"], 0)
        self.assertLess(made["pauseMicroseconds"], 5_000_000)
        self.assertEqual((made["how"], made["state"], made["tags"]), ("copy", "durable", ["t"]))
        self.assertGreaterEqual(made["copiedBytes"], 4)
        again = self.daemon.ask("POST", f"/v1/branches/{name}/snapshots", {"message": "m", "tag": "t"}, {"Idempotency-Key": "k"})
        self.assertEqual(again.body["id"], made["id"])
        self.assertEqual(self.state(name), "running")
        done = self.coppice("snapshot", "create", name, "--wait", "sealed")
        self.assertEqual(done.status, 0, done)
        self.assertRegex(done.err, r"halted for \d+ ms")
        self.assertRegex(done.out, r"^[0-9a-f]{32}\n$")
        base = self.ask("/v1/branches")[0]["snapshot"]
        parents = {one["parent"] for one in self.ask("/v1/snapshots") if one["parent"]}
        self.assertEqual(parents, {base}, "they stand beside the branch, not below it")
        self.assertEqual(self.text("run", "--rm", "--name", new_name(), made["id"], "cat", "/f"), "one\n")
        self.text("stop", "-t", "0", name)
        done = self.coppice("snapshot", "create", name)
        self.assertEqual((done.status, done.err), (0, ""), "one that does not run is not halted")

    def test_shared_and_kept_out(self):
        name = self.begin_instance("--mode", "shared", script="echo shared > /f; sleep 1000")
        self.assertTrue(wait_until(lambda: self.coppice("exec", name, "test", "-s", "/f").status == 0, 10))
        made = self.snapshot(name)
        self.text("stop", "-t", "0", name)
        self.assertEqual(self.read(made["id"], "/f"), b"shared\n", "it is kept when the instance's own writes are undone")
        path = new_name("p")
        self.text("run", "-d", "--name", path, self.tree, "sleep", "1000")
        self.assertIn("is on a path", self.fails("snapshot", "create", path))
        self.assertIn("stop it first", self.fails("rollback", self.begin_instance(), "os"))

    def test_paused_by_its_user(self):
        name = self.begin_busy()
        self.text("pause", name)
        made = self.snapshot(name)
        self.assertEqual((made["pauseMicroseconds"], self.state(name)), (0, "paused"))
        self.text("resume", name)
        self.assertTrue(self.is_alive(name))

    def test_a_command_inside(self):
        """It begins a moment later than it would."""
        name = self.begin_busy()
        for _ in range(3):
            thread = threading.Thread(target=self.coppice, args=("snapshot", "create", name))
            thread.start()
            self.halted(name)
            self.assertEqual(self.text("exec", name, "echo", "x"), "x\n")
            thread.join()

    def test_others_wait_for_their_turn(self):
        """Who pauses, resumes or stops it while it is halted does not spoil the copy."""
        name = self.begin_busy()
        for command, state in ((("pause", name), "paused"), (("resume", name), "running"), (("stop", "-t", "0", name), "exited")):
            done = []
            thread = threading.Thread(target=lambda: done.append(self.coppice("snapshot", "create", name)))
            thread.start()
            if state != "running":
                self.halted(name)
            self.text(*command)
            thread.join()
            self.assertTrue(wait_until(lambda s=state: self.state(name) == s, 10), self.state(name))
            if state != "exited":
                self.assertEqual(done[0].status, 0, done)
        self.is_clean(name)


class Ends(CaptureCase):
    def test_the_daemon_is_killed_while_it_is_halted(self):
        name = self.begin_busy()
        for paused in (False, True):
            if paused:
                self.text("pause", name)
            asking = subprocess.Popen([str(BIN / "coppice"), "--root", self.root, "--socket", self.daemon.socket, "snapshot", "create", name],
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())
            if paused:
                self.assertTrue(wait_until(pathlib.Path(self.root, "working", name, "capture").exists, 10, 0))
            else:
                self.halted(name)
            self.daemon.end(signal.SIGKILL)
            self.daemon = self.begin()
            asking.wait(60)
            self.is_clean(name)
            self.assertEqual(self.state(name), "paused" if paused else "running", "who has paused it says when it goes on")
            if paused:
                self.text("resume", name)
            self.assertTrue(self.is_alive(name))
        self.assertIn(self.coppice("system", "fsck").status, (0, ))
        self.text("snapshot", "create", name)

    def test_who_asked_has_gone(self):
        name = self.begin_busy()
        for delay in (0, 0.05, 0.1, 0.2):
            asking = subprocess.Popen([str(BIN / "coppice"), "--root", self.root, "snapshot", "create", name], stdout=subprocess.DEVNULL,
                                      stderr=subprocess.DEVNULL, env=environment())
            if not delay:
                self.halted(name)
            time.sleep(delay)
            asking.kill()
            asking.wait()
            self.assertTrue(self.is_alive(name))
        self.is_clean(name)

    def test_the_instance_ends(self):
        name = self.begin_busy()
        done = []
        thread = threading.Thread(target=lambda: done.append(self.coppice("snapshot", "create", name)))
        thread.start()
        self.assertTrue(wait_until(pathlib.Path(self.root, "working", name, "capture").exists, 10, 0))
        self.text("kill", "-s", "KILL", name)
        self.assertTrue(wait_until(lambda: self.state(name) == "exited", 10))
        thread.join()
        if done[0].status != 0:
            self.assertRegex(done[0].err, "has ended|no instance runs|not running|no processes|No such file")
        self.is_clean(name)
        self.text("snapshot", "create", name)

    def test_its_end_undoes_what_was_captured(self):
        """One in shared mode: its end and a capture do not meet in one directory."""
        for _ in range(5):
            name = self.begin_instance("--mode", "shared", "--rm", script="dd if=/dev/zero of=/big bs=1M count=50 2>/dev/null; touch /up; sleep 1000")
            self.assertTrue(wait_until(lambda n=name: self.coppice("exec", n, "test", "-e", "/up").status == 0, 20))
            thread = threading.Thread(target=lambda n=name: self.coppice("snapshot", "create", n))
            thread.start()
            self.text("stop", "-t", "0", name)
            thread.join()
            self.assertTrue(wait_until(lambda: self.branches() == [], 10))
        self.assertEqual(self.coppice("system", "fsck").status, 0)


if __name__ == "__main__":
    main()
