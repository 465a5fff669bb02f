#!/usr/bin/env python3
"""Every command of storage against a real daemon: what it does, what it prints, and the same as JSON."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from coppice_daemon import DaemonCase  # noqa: E402
from coppice_test import BIN, execute, main, wait_until  # noqa: E402


class StorageCase(DaemonCase):
    def setUp(self):
        super().setUp()
        self.source = self.root + "-source"
        os.makedirs(self.source + "/etc")
        pathlib.Path(self.source, "etc/motd").write_text("golden\n")
        pathlib.Path(self.source, "etc/doomed").write_text("x\n")
        self.place = self.root + "-place"
        os.mkdir(self.place)
        self.daemon = self.begin()
        self.text("vdisk", "import", "os", self.source, "-q")

    def tearDown(self):
        while subprocess.run(["umount", "-q", self.place], check=False).returncode == 0:
            pass
        super().tearDown()
        for path in (self.source, self.place):
            shutil.rmtree(path)

    def coppice(self, *words, **options):
        return execute([str(BIN / "coppice"), "--root", self.root, *words], **options)

    def text(self, *words, status=0):
        done = self.coppice(*words)
        self.assertEqual(done.status, status, done)
        return done.out

    def fails(self, *words, status=1):
        done = self.coppice(*words)
        self.assertEqual((done.status, done.err.count("\n")), (status, 1), done)
        return done.err

    def json(self, schema, *words):
        document = json.loads(self.text(*words, "--format", "json"))
        for one in document if isinstance(document, list) else [document]:
            if schema:
                self.check_schema(one, schema)
        return document

    def written(self, branch, **files):
        self.text("vdisk", "mount", "--branch", branch, self.place, "-q")
        for name, content in files.items():
            pathlib.Path(self.place, name.replace("__", "/")).write_text(content)
        self.text("vdisk", "umount", self.place)

    def branch(self, name="w", **files):
        self.text("branch", name, "os")
        if files:
            self.written(name, **files)


class Vdisks(StorageCase):
    def test_import_ls_show(self):
        self.assertRegex(self.text("vdisk", "import", "other", self.source, "--state", "test"), r"^other:1 is snapshot [0-9a-f]{12}: ")
        made = self.json("ImportResult", "vdisk", "import", "os", self.source)
        self.assertEqual((made["vdisk"], made["version"], made["new_chunks"]), ("os", 2, 0))
        self.assertEqual(self.text("vdisk", "ls", "-q"), "os\nother\n")
        self.assertEqual([v["name"] for v in self.json("Vdisk", "vdisk", "ls")], ["os", "other"])
        self.assertRegex(self.text("vdisk", "ls"), r"os +1 +2 ")
        self.assertEqual(self.json("Vdisk", "vdisk", "show", "os")["default"], 1)
        self.assertIn("production", self.text("vdisk", "show", "os"))
        self.assertIn("there is no vdisk", self.fails("vdisk", "show", "none"))
        operation = self.text("vdisk", "import", "third", self.source, "--detach").strip()
        self.assertEqual(json.loads(self.text("operation", "wait", operation))["vdisk"], "third")
        waited = self.json("Operation", "operation", "wait", operation)
        self.assertEqual([o["state"] for o in waited], ["succeeded"])

    def test_versions(self):
        self.branch(fresh="new\n")
        self.text("snapshot", "create", "w")
        self.assertEqual(self.text("vdisk", "publish", "os", "w"), "os:2\n")
        self.assertEqual(self.json("Version", "vdisk", "publish", "os", "w", "--state", "test")["state"], "test")
        self.text("vdisk", "schedule", "os:2", "+2h")
        self.assertEqual(self.text("vdisk", "promote", "os:2"), "os:2 is in test\n")
        self.assertEqual(self.json("Version", "vdisk", "promote", "os:2")["state"], "production")
        self.assertEqual(self.json("Vdisk", "vdisk", "show", "os")["default"], 1, "not before its time")
        self.text("vdisk", "schedule", "os:2", "now")
        self.assertEqual(self.json("Vdisk", "vdisk", "show", "os")["default"], 2)
        self.text("vdisk", "pin", "os:1")
        self.assertEqual([v["pinned"] for v in self.json("Version", "vdisk", "versions", "os")], [True, False, False])
        self.text("vdisk", "unpin", "os")
        self.assertEqual(self.text("vdisk", "versions", "os", "-q"), "1\n2\n3\n")
        self.assertEqual(self.text("vdisk", "merge", "os:2", "-q"), "os:4\n")
        merged = self.json("Version", "vdisk", "merge", "os", "-m", "flat", "-q")
        self.assertEqual((merged["number"], merged["state"]), (5, "maintenance"))
        self.assertEqual(self.json("SnapshotDetails", "snapshot", "show", "os:5")["depth"], 1)
        self.assertEqual(self.json(None, "vdisk", "rm", "os:5"), {"removed": ["os:5"]})
        self.text("vdisk", "rm", "os:4")

    def test_rename_and_rm(self):
        self.assertEqual(self.text("vdisk", "rename", "os", "system"), "")
        self.assertEqual(self.json("Vdisk", "vdisk", "rename", "system", "os")["name"], "os")
        self.branch(fresh="new\n")
        self.assertIn("branch w", self.fails("vdisk", "rm", "os"))
        self.assertEqual(self.text("vdisk", "rm", "os", "--cascade"), "")
        self.assertEqual(self.json(None, "vdisk", "ls"), [])

    def test_mounts(self):
        self.assertRegex(self.text("vdisk", "mount", "os", self.place), rf"^{self.place}: snapshot [0-9a-f]{{12}}, .*EROFS")
        self.assertEqual(pathlib.Path(self.place, "etc/motd").read_text(), "golden\n")
        self.assertEqual([m["path"] for m in self.json("Mount", "vdisk", "mounts")], [self.place])
        self.assertEqual(self.text("vdisk", "mounts", "-q"), self.place + "\n")
        self.assertEqual(self.text("vdisk", "umount", self.place), "")
        self.assertIn("nothing of coppice", self.fails("vdisk", "umount", self.place))
        self.assertEqual(self.json("Mount", "vdisk", "mount", "os", self.place)["branch"], None)

    def test_export(self):
        out = self.root + "-out.tar"
        self.addCleanup(lambda: os.path.exists(out) and os.remove(out))
        self.assertEqual(self.json("ExportResult", "vdisk", "export", "os", out, "--as", "tar")["path"], out)
        self.assertTrue(os.path.getsize(out))


class Snapshots(StorageCase):
    def test_create_ls_show_message_seal_rm(self):
        self.branch(fresh="new\n")
        first = self.text("snapshot", "create", "w", "-m", "first", "--tag", "good", "--wait", "frozen").strip()
        self.assertRegex(first, "^[0-9a-f]{32}$")
        self.assertIn("tag good", self.fails("snapshot", "create", "w", "--tag", "good"))
        second = self.json("Snapshot", "snapshot", "create", "w", "--tag", "good", "--force", "--wait", "sealed")
        self.assertEqual((second["state"], second["tags"]), ("sealed", ["good"]))
        self.assertEqual(self.json("Snapshot", "snapshot", "seal", first, "-q")["state"], "sealed")
        self.assertIn("sealed", self.fails("snapshot", "message", first, "other"))
        third = self.text("snapshot", "create", "w", "--wait", "frozen").strip()
        if self.coppice("snapshot", "message", third, "late").status == 0:  # the background may have sealed it before
            self.assertEqual(self.json("SnapshotDetails", "snapshot", "show", third)["message"], "late")
        self.assertEqual(len(self.json("Snapshot", "snapshot", "ls", "os")), 4)
        self.assertEqual(self.text("snapshot", "ls", "-q").split()[0], third)
        self.assertIn("first", self.text("snapshot", "show", first))
        self.assertIn(third, self.fails("snapshot", "rm", second["id"]))
        self.assertIn("stands on", self.text("rollback", "w", first))
        self.assertEqual(self.text("snapshot", "rm", third), third + "\n")
        self.assertEqual(self.json(None, "snapshot", "rm", second["id"], "--cascade"), {"removed": [second["id"]]})

    def test_branch_rollback_checkout(self):
        self.branch(fresh="new\n", etc__motd="changed\n")
        self.assertEqual(self.text("branch", "-q"), "w\n")
        self.assertEqual(self.json("Branch", "branch")[0]["vdisk"], "os")
        made = self.text("snapshot", "create", "w").strip()
        self.written("w", more="x\n")
        self.assertRegex(self.text("rollback", "w", "os"), r"^w stands on [0-9a-f]{12}; what was written in it is gone: 1 added, ")
        self.assertEqual(self.json("Branch", "rollback", "w", "os")["name"], "w")
        self.assertEqual(self.text("checkout", "w", made, "/etc/motd", "fresh"), "/etc/motd\nfresh\n")
        self.assertEqual(self.json("CheckedOut", "checkout", "w", made, "fresh"), {"paths": ["fresh"]})
        self.assertIn("fresh\n", self.text("diff", "w", "--name-only"))
        self.assertEqual(self.text("branch", "-d", "w"), "")
        self.assertEqual(self.json(None, "branch"), [])

    def test_tags_and_merges(self):
        self.branch(fresh="new\n")
        made = self.text("snapshot", "create", "w").strip()
        self.assertEqual(self.text("tag", "os", "good", "w"), "")
        self.assertEqual(self.json("Tag", "tag", "os"), [{"name": "good", "snapshot": made}])
        self.assertEqual(self.text("tag", "-d", "os", "good"), "")
        self.assertEqual(self.json(None, "tag", "os"), [])
        merged = self.json("Snapshot", "merge", "w", "--flatten", "-m", "flat", "-q")
        self.assertEqual((merged["parent"], merged["message"]), (None, "flat"))
        self.assertEqual(self.json("Diff", "diff", "w", "@" + merged["id"])["changes"], [])
        self.assertRegex(self.text("merge", "w", "-q"), "^[0-9a-f]{32}\n$")

    def test_log_diff_cp_verify(self):
        self.branch(fresh="new\n", etc__motd="changed\n")
        made = self.text("snapshot", "create", "w", "-m", "message").strip()
        self.assertIn("message", self.text("log", "--graph", "--oneline", "os"))
        self.assertIn("+changed", self.text("diff", "os", "w", "--patch"))
        names = self.text("diff", "os", "w", "--name-only").splitlines()
        self.assertTrue({"etc/motd", "fresh"} <= set(names) and "" not in names, names)
        self.assertIn("2 changed" if "." not in names else "changed", self.text("diff", "os", "w", "--stat"))
        self.assertEqual(len(self.json("Diff", "diff", "os", "w", "--limit", "1")["changes"]), 1)
        self.text("cp", "-a", "w:/etc", self.place)
        self.assertEqual(pathlib.Path(self.place, "etc/motd").read_text(), "changed\n")
        self.text("snapshot", "seal", made, "-q")
        self.assertEqual([r["result"]["snapshots"] for r in self.json(None, "verify", "-q")], [2])
        self.assertIn(": good: 2 snapshots", self.text("verify", "w", "--deep"))

    def test_the_store(self):
        self.assertEqual(self.json("Usage", "system", "df")["vdisks"][0]["name"], "os")
        self.assertIn("freed", self.text("system", "gc", "--grace", "0s"))
        self.json("CollectResult", "system", "gc")
        self.assertIn("1 snapshots", self.text("system", "fsck", "--full"))
        self.assertEqual(self.json("FsckResult", "system", "fsck")["findings_total"], 0)
        self.json("DoctorReport", "doctor") if self.coppice("doctor").status == 0 else None

    def test_what_is_no_utf8(self):
        self.branch()
        done = subprocess.run([os.fsencode(str(BIN / "coppice")), b"--root", os.fsencode(self.root), b"snapshot", b"create", b"w",
                               b"-m", b"caf\xe9"], capture_output=True, check=False)
        self.assertEqual((done.returncode, done.stderr.count(b"\n")), (2, 1), done)
        self.assertIn(b"is not UTF-8", done.stderr)
        bad = os.fsencode(self.place) + b"/caf\xe9"
        os.mkdir(bad)
        done = subprocess.run([str(BIN / "coppice"), "--root", self.root, "vdisk", "mount", "os", "."], cwd=bad,
                              capture_output=True, check=False)
        self.assertEqual(done.returncode, 1, done)
        self.assertIn(b"not UTF-8", done.stderr)
        self.assertTrue(wait_until(self.daemon.answers, 5))


if __name__ == "__main__":
    main()
