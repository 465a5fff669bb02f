#!/usr/bin/env python3
"""What is kept of instances: snapshots by the clock, another name, one file for another machine."""

import hashlib
import io
import json
import os
import pathlib
import signal
import socket
import sqlite3
import sys
import tarfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from coppice_node import NodeCase  # noqa: E402
from coppice_test import main, new_name, wait_until  # noqa: E402


class KeepingCase(NodeCase):
    def make(self, *options, word="s"):
        name = new_name(word)
        self.text("create", "--name", name, *options, "os", "--", "sh", "-c", "cat /f; cat /etc/hostname; hostname")
        return name

    def write(self, name, text, path="f"):
        """Into the branch of one that has stopped."""
        pathlib.Path(self.root, "working", name, "layer/upper", path).write_text(text)

    def taken(self, name):
        """Snapshots of the instance, oldest first, with the schedule that had them made."""
        with sqlite3.connect(f"file:{self.root}/store.db?mode=ro", uri=True) as database:
            rows = database.execute("SELECT lower(hex(o.snapshot)), o.schedule FROM origin o JOIN snapshot s ON s.id = o.snapshot "
                                    "WHERE o.working = ? ORDER BY s.seq", (name,)).fetchall()
        return rows

    def count(self, name, schedule="1s"):
        return [one[1] for one in self.taken(name)].count(schedule)


class Schedules(KeepingCase):
    def test_made_when_there_is_something_new(self):
        name = self.make("--snapshots", "1s:3,daily:7")
        self.assertEqual(self.config(name)["snapshots"], "1s:3,daily:7")
        self.write(name, "one")
        self.assertTrue(wait_until(lambda: self.count(name) == 1, 5))
        time.sleep(2.5)
        self.assertEqual(self.count(name), 1, "nothing has been written since")
        self.write(name, "two")
        self.assertTrue(wait_until(lambda: self.count(name) == 2, 5))
        self.assertEqual(self.count(name, "daily"), 0)
        log = self.text("log", name)
        self.assertIn("schedule 1s", log)

    def test_of_one_that_runs(self):
        """Each is what it held then, and goes when its time is over: they stand beside each other."""
        name = new_name("r")
        self.text("run", "-d", "--name", name, "--snapshots", "1s:2", "os", "--", "sh", "-c", "trap exit TERM; while :; do echo x >> /f; sleep 0.05; done")
        self.assertTrue(wait_until(lambda: self.count(name) == 2, 10))
        first = self.taken(name)[0][0]
        self.assertTrue(wait_until(lambda: first not in [one[0] for one in self.taken(name)], 10), "old ones go")
        self.text("update", "--snapshots", "none", name)
        self.text("stop", name)
        sizes = [len(self.read(one[0], "/f")) for one in self.taken(name)]
        self.assertEqual(sizes, sorted(set(sizes)), "each later one has more")
        self.assertGreaterEqual(len(self.read(name, "/f")), sizes[-1])
        self.assertNotIn("level=error", self.daemon.messages())

    def test_several_due_at_once(self):
        """Each has its own, though one would do: what the one removes, the other may have to keep."""
        name = self.make("--snapshots", "2s:5,4s:5")
        self.assertTrue(wait_until(lambda: int(time.time()) % 4 == 1, 6, 0.1))
        self.write(name, "one")
        self.assertTrue(wait_until(lambda: self.count(name, "2s") >= 1, 8))
        self.write(name, "two")
        self.assertTrue(wait_until(lambda: self.count(name, "4s") >= 1, 8), self.taken(name))

    def test_what_was_missed_is_made_up_for_once(self):
        period = 8
        until_due = lambda number: number * period - time.time() % period  # noqa: E731 # counted from 1970 on
        name = self.make("--snapshots", f"{period}s:5")
        count = lambda: self.count(name, f"{period}s")  # noqa: E731
        self.write(name, "one")
        self.assertTrue(wait_until(lambda: count() == 1, 2 * period))
        self.daemon.end(signal.SIGKILL)
        self.write(name, "two")
        time.sleep(until_due(2) + 0.2)
        rest = until_due(1)
        self.daemon = self.begin()
        self.assertTrue(wait_until(lambda: count() == 2, rest - 1), "at its start, not when the next is due")
        self.write(name, "three")
        time.sleep(until_due(1) - 0.5)
        self.assertEqual(count(), 2, "once")
        self.assertTrue(wait_until(lambda: count() == 3, 2 * period), "and then as ever")

    def test_old_ones_go_unless_something_needs_them(self):
        name = self.make("--snapshots", "1s:1")

        def next_one(text):
            self.text("rollback", name, "os")  # the one before has no child then
            before = self.count(name)
            last = self.taken(name)[-1][0] if before else None
            self.write(name, text)
            self.assertTrue(wait_until(lambda: self.taken(name) and self.taken(name)[-1][0] != last, 5))
            return self.taken(name)[-1][0]

        first = next_one("one")
        self.text("tag", "os", "keep", first)
        second = next_one("two")
        third = next_one("three")
        self.assertTrue(wait_until(lambda: [one[0] for one in self.taken(name)] == [first, third], 3), f"{first} {second} {third}: {self.taken(name)}")
        self.text("tag", "-d", "os", "keep")
        self.assertTrue(wait_until(lambda: [one[0] for one in self.taken(name)] == [third], 3), "tried again")
        self.write(name, "child")
        self.assertTrue(wait_until(lambda: self.count(name) == 2, 3))
        time.sleep(1.5)
        self.assertEqual(self.count(name), 2, "the later one stands on it")
        self.assertNotIn("level=error", self.daemon.messages())

    def test_others_snapshots_are_left_alone(self):
        name = self.make("--snapshots", "1h:1")
        self.write(name, "one")
        self.text("snapshot", "create", name)
        self.text("update", "--snapshots", "1s:1", name)
        self.write(name, "two")
        self.assertTrue(wait_until(lambda: self.count(name) == 1, 5))
        self.assertEqual(self.count(name, ""), 1)
        self.text("update", "--snapshots", "none", name)
        self.assertNotIn("snapshots", self.config(name))
        self.write(name, "three")
        time.sleep(2.2)
        self.assertEqual(self.count(name), 1)

    def test_refused(self):
        for options, word in ((("--snapshots", "hourly"), "how many"), (("--snapshots", "1s:0"), "1 to 1000"),
                              (("--snapshots", "100ms:1"), "whole seconds"), (("--snapshots", "1s:1,1s:2"), "twice"),
                              (("--snapshots", "yearly:1"), "yearly"), (("--mode", "shared", "--snapshots", "1s:1"), "private")):
            self.assertIn(word, self.fails("create", "--name", new_name(), *options, "os", "true"))
        self.assertIn("vdisk", self.fails("create", "--name", new_name(), "--snapshots", "1s:1", self.tree, "true"))
        self.assertEqual(self.names("ps", "-aq"), [])


class Renames(KeepingCase):
    def assert_is(self, name, content):
        self.assertEqual((self.branches(), self.names("ps", "-aq")), ([name], [name]))
        self.assertEqual(self.config(name)["name"], name)
        self.assertEqual(pathlib.Path(self.root, "working", name, "layer/upper/f").read_text(), content)
        self.assertFalse(os.path.lexists(f"{self.root}/working/{name}/renaming") or os.path.lexists(f"{self.root}/instances/{name}/renaming"))

    def test_all_of_it_has_the_new_name(self):
        name, new = new_name("old"), new_name("new")
        self.text("run", "--name", name, "os", "--", "sh", "-c", "test -e /f || echo 1 > /f; cat /f; hostname")
        self.text("snapshot", "create", name, "-m", "one")
        self.write(name, "2\n")
        self.text("rename", name, new)
        self.assert_is(new, "2\n")
        self.assertEqual((len(self.taken(new)), self.taken(name)), (1, []))
        self.assertEqual(self.text("start", "-a", new), f"2\n{name}\n")
        self.text("rollback", new, new)
        again = self.daemon.ask("POST", f"/v1/instances/{new}/rename", {"name": name})
        self.assertEqual((again.status, again.body["name"]), (200, name))
        self.check_schema(again.body, "Instance")
        self.assertIn("does not exist", self.fails("rename", new, "other"))

    def test_on_a_path(self):
        name, new = new_name("old"), new_name("new")
        self.text("run", "--name", name, self.tree, "--", "sh", "-c", "echo 1 > /f")
        self.text("rename", name, new)
        self.assertEqual(self.text("run", "--name", new, self.tree, "--", "cat", "/f"), "1\n")
        self.assertEqual(self.names("ps", "-aq"), [new])

    def test_refused(self):
        name, runs = self.make(), self.begin_instance()
        self.text("branch", "taken", "os")
        for new, word in (("os", "vdisk os"), ("taken", "branch taken"), (runs, runs), (name, "there already"), ("../x", "instance name")):
            self.assertIn(word, self.fails("rename", name, new))
        self.assertIn("stop it first", self.fails("rename", runs, "free"))
        self.assertIn("does not exist", self.fails("rename", "absent", "free"))
        self.assertEqual(sorted(self.branches()), sorted([name, runs, "taken"]))
        self.text("rename", name, "free-again")

    def test_cut_off_before_the_database_knew(self):
        name, new = self.make(), new_name("new")
        self.write(name, "x")
        self.daemon.end(signal.SIGKILL)
        for where in ("working", "instances"):
            os.symlink(new, f"{self.root}/{where}/{name}/renaming")
        self.daemon = self.begin()
        self.assert_is(name, "x")

    def test_cut_off_after_the_database_knew(self):
        for step in ("branch", "directory", "description"):
            name, new = self.make(), new_name("new")
            self.write(name, "x")
            before = json.dumps(self.config(name))
            self.text("rename", name, new)
            self.daemon.end(signal.SIGKILL)
            here = pathlib.Path(self.root, "instances", new)
            (here / "instance.json").write_text(before)
            os.symlink(new, here / "renaming")
            if step != "description":
                here.rename(here.parent / name)
            if step == "branch":
                branch = pathlib.Path(self.root, "working", new)
                os.symlink(new, branch / "renaming")
                branch.rename(branch.parent / name)
            self.daemon = self.begin()
            self.assert_is(new, "x")
            self.text("rm", new)

    def test_the_daemon_is_killed_while_it_renames(self):
        """The old name or the new one, with all that belongs to it."""
        outcomes = set()
        for round_ in range(20):
            name, new = self.make(), new_name("new")
            self.write(name, "x")
            with socket.socket(socket.AF_UNIX) as link:
                link.connect(self.daemon.socket)
                body = json.dumps({"name": new}).encode()
                link.sendall(b"POST /v1/instances/%b/rename HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                             % (name.encode(), len(body), body))
                time.sleep(0.001 * round_)
                self.daemon.end(signal.SIGKILL)
            self.daemon = self.begin()
            now = self.names("ps", "-aq")
            self.assertIn(now, ([name], [new]), f"round {round_}")
            outcomes.add(now == [new])
            self.assert_is(now[0], "x")
            self.text("rm", now[0])
        print("seen to have the new name after the kill:", outcomes)
        self.assertEqual(self.coppice("system", "fsck").status, 0)


class Archives(KeepingCase):
    def setUp(self):
        super().setUp()
        self.file = self.root + "/one.coppice"

    def export(self, *options):
        name = new_name("x")
        self.text("run", "--name", name, "-e", "A=b", "--label", "l=m", "-m", "64m", *options, "os", "--", "sh", "-c", "cat /f; echo $A; test ! -e /etc/gone")
        self.write(name, "kept\n")
        (pathlib.Path(self.root) / "working" / name / "layer/upper/etc").mkdir(exist_ok=True)
        self.said = self.text("export", name, self.file, *(["--with-volumes"] if options else []))
        return name

    def again(self, change):
        """The same file, its parts changed by `change(parts)`; the list is made anew."""
        with tarfile.open(self.file) as archive:
            parts = {one.name: archive.extractfile(one).read() for one in archive.getmembers()}
        del parts["archive.json"]
        change(parts)
        listed = [{"name": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in parts.items()]
        return self.put({"archive.json": json.dumps({"type": "application/vnd.coppice.instance.v1+json", "parts": listed}).encode(), **parts})

    def put(self, parts):
        path = self.root + "/changed.coppice"
        with tarfile.open(path, "w") as archive:
            for name, data in parts.items():
                one = tarfile.TarInfo(name)
                one.size = len(data)
                archive.addfile(one, io.BytesIO(data))
        return path

    def state_of_all(self):
        return (self.names("ps", "-aq"), self.branches(), self.names("vdisk", "ls", "-q"), [one for one in os.listdir(self.root + "/tmp") if one.startswith("volumes")])

    def test_there_and_back(self):
        name = self.export()
        before = self.config(name)
        self.text("rm", name)
        self.assertEqual(self.text("import", self.file), name + "\n")
        config = self.config(name)
        self.assertEqual((config["env"], config["labels"], config["memoryBytes"], config["command"]),
                         (before["env"], before["labels"], before["memoryBytes"], before["command"]))
        self.assertEqual((config["root"], config["started"], self.state(name)), (f"{name}-image:1", "", "created"))
        self.assertEqual(self.text("start", "-a", name), "kept\nb\n")
        self.assertEqual(self.text("import", self.file, "--name", "second"), "second\n")
        self.assertEqual(self.config("second")["root"], f"{name}-image:1", "the vdisk is there already")
        self.assertIn("there already", self.fails("import", "-q", self.file, "--name", "second"))
        self.assertIn("vdisk os", self.fails("import", "-q", self.file, "--name", "os"))
        self.assertIn("there already", self.fails("export", "-q", "second", self.file))

    def test_another_node(self):
        name = self.export()
        self.daemon.end()
        first, self.root = self.root, self.root + "2"
        self.daemon = self.begin()
        try:
            self.assertEqual(self.text("import", self.file), name + "\n")
            self.assertEqual(self.text("start", "-a", name), "kept\nb\n")
            self.text("rm", name)
        finally:
            self.daemon.end()
            self.root = first
            self.daemon = self.begin()

    def test_privileges_are_not_taken_over(self):
        name = self.export()
        self.text("rm", name)
        more = {"capAdd": ["CAP_SYS_ADMIN"], "seccomp": "unconfined"}

        def change(parts):
            parts["instance.json"] = json.dumps({**json.loads(parts["instance.json"]), **more}).encode()
        path = self.again(change)
        self.assertEqual(self.text("import", path, "--name", "plain"), "plain; left out: capability CAP_SYS_ADMIN, seccomp filter\n")
        self.assertEqual([key for key in more if key in self.config("plain")], [])
        self.assertEqual(self.text("import", path, "--name", "trusted", "--keep-privileges"), "trusted\n")
        self.assertEqual({key: self.config("trusted")[key] for key in more}, more)

    def test_one_that_runs(self):
        runs = self.begin_instance()
        self.text("exec", runs, "sh", "-c", "echo running > /f")
        self.text("export", runs, self.file)
        self.assertEqual(self.state(runs), "running")
        self.text("import", self.file, "--name", "other")
        self.assertEqual(self.read("other", "/f"), b"running\n")

    def test_volumes(self):
        data = pathlib.Path(self.root, "data")
        data.mkdir(mode=0o750)
        os.chown(data, 5, 6)
        (data / "file").write_text("in the volume\n")
        os.symlink("/etc/passwd", data / "link")
        name = self.export("-v", f"{data}:/data", "-v", f"{data}/file:/one", "--device", "/dev/null:/dev/other")
        self.assertIn("left out: device /dev/other, volume /one", self.said)
        self.text("import", self.file, "--name", "with")
        volumes = self.config("with")["volumes"]
        self.assertEqual([one["destination"] for one in volumes], ["/data"])
        there = os.stat(volumes[0]["source"])
        self.assertEqual((there.st_uid, there.st_gid, there.st_mode & 0o7777), (5, 6, 0o750))
        self.assertIn("share it", self.fails("branch", "with", "branch-of-it"))
        self.text("rename", "with", "renamed")
        self.assertEqual(self.text("run", "--name", "renamed", "-v", self.config("renamed")["volumes"][0]["source"] + ":/data",
                                   self.config("renamed")["root"], "--", "sh", "-c", "cat /data/file; readlink /data/link"), "in the volume\n/etc/passwd\n")
        source = self.config("renamed")["volumes"][0]["source"]
        self.text("rm", "renamed")
        self.assertFalse(os.path.exists(source), "they go with it")
        self.assertTrue((data / "file").exists())
        self.text("export", name, self.root + "/two.coppice")
        self.text("import", self.root + "/two.coppice", "--name", "without")
        self.assertEqual(self.config("without").get("volumes", []), [])

    def test_damaged(self):
        name = self.export()
        self.text("rm", name)
        before = self.state_of_all()
        whole = pathlib.Path(self.file).read_bytes()
        bad = pathlib.Path(self.root, "bad.coppice")
        for cut in (0, 100, 512, 2000, len(whole) // 2, len(whole) - 1024):
            bad.write_bytes(whole[:cut])
            self.fails("import", "-q", str(bad))
        at = whole.index(b"kept\n")
        for where in (at, whole.index(b'"memoryBytes"') + 1):
            bad.write_bytes(whole[:where] + b"X" + whole[where + 1:])
            self.assertIn("damaged", self.fails("import", "-q", str(bad)))
        self.assertIn("no file", self.fails("import", "-q", self.root))
        self.assertEqual(self.state_of_all(), before)

    def test_hostile(self):
        name = self.export()
        self.text("rm", name)
        before = self.state_of_all()

        def description(**members):
            def change(parts):
                parts["instance.json"] = json.dumps({**json.loads(parts["instance.json"]), **members}).encode()
            return change

        volume = {"source": "/etc", "destination": "/host"}
        device = {"source": "/dev/null", "destination": "/dev/other", "access": "rwm"}
        for change, word in ((description(volumes=[volume]), "path of this machine"), (description(devices=[device]), "devices of this machine"),
                             (description(root="/"), "path of this machine"), (description(name="../x"), "instance.json"),
                             (description(memoryBytes=1 << 70), "memoryBytes"), (description(name="os"), "vdisk os"),
                             (description(seccomp=json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/x"})), "socket of this machine"),
                             (description(volumes=[{**volume, "source": "volumes/0.tar"}]), "volumes/0.tar"),
                             (lambda parts: parts.pop("content.tar"), "content.tar"), (lambda parts: parts.pop("instance.json"), "instance.json"),
                             (lambda parts: parts.update({"content.tar": b"no archive" * 100}), "content.tar"),
                             (lambda parts: parts.update({"content.tar": self.climbing()}), "content.tar")):
            said = self.fails("import", "-q", self.again(change))
            self.assertIn(word, said)
            self.assertEqual(self.state_of_all(), before, said)
        more = self.again(lambda parts: None)
        with tarfile.open(more, "a") as archive:
            archive.addfile(tarfile.TarInfo("../../more"))
        self.assertIn("not in the list", self.fails("import", "-q", more))
        link = tarfile.TarInfo("instance.json")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/shadow"
        with tarfile.open(more, "w") as archive:
            archive.addfile(link)
        self.assertIn("no plain file", self.fails("import", "-q", more))
        self.assertIn("type", self.fails("import", "-q", self.put({"archive.json": b'{"type": "other", "parts": []}'})))
        self.assertEqual(self.state_of_all(), before)
        self.assertFalse(os.path.exists(os.path.dirname(self.root) + "/more"))

    @staticmethod
    def climbing():
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as archive:
            archive.addfile(tarfile.TarInfo("../../climbed"))
        return out.getvalue()

    def test_refused(self):
        self.text("create", "--name", "on-path", self.tree, "true")
        self.assertIn("on no vdisk", self.fails("export", "-q", "on-path", self.file))
        self.assertIn("does not exist", self.fails("export", "-q", "absent", self.file))
        self.assertFalse(os.path.exists(self.file))


if __name__ == "__main__":
    main()
