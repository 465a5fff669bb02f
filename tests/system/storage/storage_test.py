#!/usr/bin/env python3
"""vdisks, snapshots, branches and mounts through the daemon's API: real images, real mounts, real kills."""

import concurrent.futures
import contextlib
import hashlib
import http.client
import io
import json
import os
import pathlib
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from coppice_daemon import Connection, DaemonCase, DOCUMENT  # noqa: E402
from coppice_test import main, wait_until  # noqa: E402


# Schema of an operation's result, by its kind.
RESULTS = {kind: reference.rsplit("/", 1)[1]
           for kind, reference in DOCUMENT["components"]["schemas"]["Operation"]["properties"]["result"]["x-by-kind"].items()}


def kernel():
    return tuple(int(part) for part in os.uname().release.split(".")[:2])


def tree(path):
    """All of a tree but the times, for comparing."""
    lines = {}
    for directory, names, files in os.walk(path):
        for name in names + files:
            full = os.path.join(directory, name)
            status = os.lstat(full)
            what = [oct(status.st_mode), status.st_uid, status.st_gid]
            if os.path.islink(full):
                what.append(os.readlink(full))
            elif os.path.isfile(full):
                what.append(hashlib.sha256(pathlib.Path(full).read_bytes()).hexdigest())
            lines[os.path.relpath(full, path)] = what
    return lines


class StorageCase(DaemonCase):
    def setUp(self):
        super().setUp()
        self.source = self.root + "-source"
        os.makedirs(self.source + "/etc")
        os.makedirs(self.source + "/usr/share")
        for name, text in {"etc/motd": "golden\n", "etc/doomed": "x\n", "usr/share/big": "0123456789abcdef" * 50_000}.items():
            pathlib.Path(self.source, name).write_text(text)
        os.symlink("etc/motd", self.source + "/link")
        self.mounted = []

    def tearDown(self):
        for path in reversed(self.mounted):
            subprocess.run(["umount", "-q", path], check=False)  # most are gone already
        super().tearDown()
        shutil.rmtree(self.source)

    def ask(self, method, target, body=None, status=None, **headers):
        answer = self.daemon.ask(method, target, body, {name.replace("_", "-"): value for name, value in headers.items()})
        wanted = status if status is not None else {"GET": 200, "DELETE": 204, "PUT": 204, "PATCH": 200}.get(method, 201)
        self.assertEqual(answer.status, wanted, f"{method} {target}: {answer}")
        return answer.body

    def work(self, method, target, body=None, state="succeeded", **headers):
        """A long-running request, waited for."""
        began = self.ask(method, target, body, 202, **headers)
        over = self.ask("GET", f"/v1/operations/{began['id']}/wait?timeout=60")
        self.check_schema(over, "Operation")
        self.assertEqual(over["state"], state, over)
        if state == "succeeded":
            self.check_schema(over["result"], RESULTS[over["kind"]])
        return over["result"] if state == "succeeded" else over["error"]

    def start(self):
        self.daemon = self.begin()
        return self.daemon

    def imported(self, name="os", **more):
        return self.work("POST", "/v1/vdisks", {"name": name, "source": self.source, **more})

    def make_large(self, megabytes):
        """What takes so long that it can be interrupted."""
        with open(self.source + "/large", "wb") as file:
            for _ in range(megabytes):
                file.write(os.urandom(1 << 20))

    def mount(self, **what):
        path = f"{self.root}-m{len(self.mounted)}"
        os.mkdir(path)
        self.mounted.append(path)
        record = self.ask("POST", "/v1/mounts", {"path": path, **what})
        self.check_schema(record, "Mount")
        return path, record

    def unmount(self, record):
        self.ask("DELETE", f"/v1/mounts/{record['id']}")

    def written(self, branch, **files):
        """Writes into a branch, by a mount of its own; a name's "__" stands for a slash, None removes."""
        path, record = self.mount(branch=branch)
        for name, text in files.items():
            target = pathlib.Path(path, name.replace("__", "/"))
            if text is None:
                target.unlink()
            else:
                target.write_text(text)
        self.unmount(record)

    def snapshot(self, branch, **more):
        return self.ask("POST", f"/v1/branches/{branch}/snapshots", more)

    def text(self, reference, path):
        answer = self.daemon.ask("GET", f"/v1/snapshots/{reference}/files?path={path}")
        self.assertEqual(answer.status, 200, answer)
        return answer.raw.decode()


class Answers(StorageCase):
    """Every answer has the shape that the document gives it, and says what is so."""

    def test_a_whole_life(self):
        self.start()
        self.assertEqual(self.ask("GET", "/v1/vdisks"), [])
        made = self.imported()
        self.assertEqual((made["vdisk"], made["version"]), ("os", 1))
        vdisk = self.ask("GET", "/v1/vdisks/os")
        self.check_schema(vdisk, "Vdisk")
        self.assertEqual((vdisk["default"], vdisk["versions"][0]["state"]), (1, "production"))
        path, record = self.mount(ref="os")
        self.assertIn("EROFS", record["how"])
        self.assertEqual(tree(path), tree(self.source))
        with self.assertRaises(OSError):
            open(path + "/etc/motd", "w")
        self.unmount(record)

        self.check_schema(self.ask("POST", "/v1/branches", {"name": "w", "from": "os"}), "Branch")
        self.written("w", etc__motd="changed\n", etc__doomed=None, fresh="new\n")
        own = self.ask("GET", "/v1/diff?from=w")
        self.check_schema(own, "Diff")
        self.assertEqual({c["path"]: c["kind"] for c in own["changes"] if c["path"] not in ("", "etc")},
                         {"etc/motd": "content", "etc/doomed": "removed", "fresh": "added"})
        made = self.snapshot("w", message="first", tag="one")
        self.check_schema(made, "Snapshot")
        self.assertIn(made["state"], ("durable", "sealed"))
        self.assertEqual(self.ask("GET", "/v1/diff?from=w")["changes"], [])
        self.assertEqual(self.ask("GET", "/v1/diff?from=os&to=w")["changes"], own["changes"])
        self.assertEqual(self.text("os@one", "etc/motd"), "changed\n")
        self.assertEqual(self.text("os:1", "etc/motd"), "golden\n")
        details = self.ask("GET", f"/v1/snapshots/{made['id'][:8]}")
        self.check_schema(details, "SnapshotDetails")
        self.assertEqual((details["id"], details["depth"]), (made["id"], 2))
        sealed = self.work("POST", "/v1/snapshots/w/seal", {})
        self.check_schema(sealed, "Snapshot")
        self.assertEqual(self.work("POST", "/v1/snapshots/w/verify", {"deep": True})["snapshots"], 2)

        self.check_schema(self.ask("POST", "/v1/vdisks/os/versions", {"snapshot": "w"}), "Version")
        self.ask("PATCH", "/v1/vdisks/os/versions/2", {"scheduled": "2060-01-01T00:00:00Z"})
        for state in ("test", "production"):
            self.assertEqual(self.ask("POST", "/v1/vdisks/os/versions/2/promote", status=200)["state"], state)
            self.assertEqual(self.ask("GET", "/v1/vdisks/os")["default"], 1, "not before its time")
        self.ask("POST", "/v1/vdisks/os/versions/2/promote", status=409)
        self.ask("PATCH", "/v1/vdisks/os/versions/2", {"scheduled": None})
        self.assertEqual(self.ask("GET", "/v1/vdisks/os")["default"], 2)
        self.check_schema(self.ask("PATCH", "/v1/vdisks/os/versions/2", {"scheduled": None, "pinned": True}), "Version")
        self.assertEqual(self.ask("GET", "/v1/vdisks/os")["pinned"], 2)
        self.ask("DELETE", "/v1/vdisks/os/versions/2", status=409)

        branch = self.ask("POST", "/v1/branches/w/rollback", {"to": "os:1"}, 200)
        self.check_schema(branch, "Branch")
        self.assertEqual(branch["snapshot"], vdisk["versions"][0]["snapshot"])
        self.assertEqual(self.ask("POST", "/v1/branches/w/checkout", {"from": "os@one", "paths": ["etc/motd", "/fresh"]}, 200)["paths"],
                         ["etc/motd", "/fresh"])
        archive = self.daemon.ask("GET", "/v1/snapshots/os@one/files?path=etc&tar=true")
        with tarfile.open(fileobj=io.BytesIO(archive.raw)) as tar:
            self.assertEqual(sorted(tar.getnames()), ["etc", "etc/motd"])
        out = self.root + "-out"
        self.addCleanup(lambda: os.path.exists(out) and os.remove(out))
        self.work("POST", "/v1/snapshots/os@one/export", {"format": "tar", "path": out})
        again = self.work("POST", "/v1/vdisks", {"name": "os2", "source": out})
        self.assertEqual(self.ask("GET", f"/v1/diff?from=os@one&to={again['snapshot']}")["changes"], [])
        self.ask("DELETE", "/v1/vdisks/os2")
        merged = self.work("POST", "/v1/snapshots/os@one/merge", {"flatten": True, "message": "flat"})
        self.check_schema(merged, "Snapshot")
        self.assertIsNone(merged["parent"])
        self.assertEqual([c for c in self.ask("GET", f"/v1/diff?from=os@one&to={merged['id']}")["changes"]], [])
        version = self.work("POST", "/v1/vdisks/os/versions/2/merge", {"message": "one layer"})
        self.assertEqual((version["number"], version["state"]), (3, "maintenance"))
        self.assertIsNone(self.ask("GET", "/v1/snapshots/os:3")["parent"])
        self.assertEqual(self.ask("GET", "/v1/diff?from=os:2&to=os:3")["changes"], [])
        self.assertEqual(self.ask("GET", "/v1/vdisks/os/versions/3"), version)
        self.check_schema(self.ask("GET", "/v1/system/df"), "Usage")
        report = self.work("POST", "/v1/system/fsck", {"level": "crypto"})
        self.assertEqual((report["findings"], report["exit_status"]), ([], 0))
        self.work("POST", "/v1/system/gc", {"grace_seconds": 0})
        report = self.work("POST", "/v1/system/fsck", {"level": "full"})
        self.assertEqual((report["findings"], report["exit_status"]), ([], 0))

        self.ask("DELETE", "/v1/vdisks/os", status=409)
        self.ask("DELETE", "/v1/branches/w")
        self.ask("DELETE", "/v1/vdisks/os?cascade=true")
        self.assertEqual((self.ask("GET", "/v1/vdisks"), self.ask("GET", "/v1/snapshots")), ([], []))
        self.work("POST", "/v1/system/gc", {"grace_seconds": 0})
        self.work("POST", "/v1/system/gc", {"grace_seconds": 0})
        self.assertEqual(self.ask("GET", "/v1/system/df")["chunks"], 0)

    def test_references(self):
        self.start()
        made = self.imported()
        for word, status in {"os:9": 404, "os:x": 400, "os@none": 404, "none": 404, "@0000": 404, "@xyz": 400, "os:test": 404,
                             "none:1": 404}.items():
            problem = self.ask("GET", f"/v1/snapshots/{word}", status=status)
            self.check_schema(problem, "Problem")
        for word in ("os", "os:1", "os:production", made["snapshot"], "@" + made["snapshot"][:6]):
            self.assertEqual(self.ask("GET", f"/v1/snapshots/{word}")["id"], made["snapshot"])

    def test_names_mean_one_thing(self):
        self.start()
        self.imported()
        self.ask("POST", "/v1/branches", {"name": "os", "from": "os"}, 409)
        self.ask("POST", "/v1/branches", {"name": "w", "from": "os"})
        self.assertIn("branch", self.work("POST", "/v1/vdisks", {"name": "w", "source": self.source}, "failed")["detail"])
        self.ask("PATCH", "/v1/vdisks/os", {"name": "w"}, 409)
        self.assertEqual(self.ask("PATCH", "/v1/vdisks/os", {"name": "system"})["name"], "system")
        self.ask("GET", "/v1/vdisks/os", status=404)

    def test_wrong_requests(self):
        self.start()
        self.imported()
        self.ask("POST", "/v1/branches", {"name": "w", "from": "os"})
        for method, target, body in (("POST", "/v1/vdisks", {"name": "x", "source": self.source, "sources": 1}),
                                     ("POST", "/v1/vdisks", {"name": "../x", "source": self.source}),
                                     ("POST", "/v1/vdisks", {"name": "x"}),
                                     ("POST", "/v1/branches", {"name": ".w", "from": "os"}),
                                     ("POST", "/v1/branches/w/snapshots", {"wait": "forever"}),
                                     ("POST", "/v1/branches/w/snapshots", {"tag": "a/b"}),
                                     ("POST", "/v1/mounts", {"path": "/tmp"}), ("POST", "/v1/mounts", {"path": "tmp", "ref": "os"}),
                                     ("GET", "/v1/diff?from=os", None), ("GET", "/v1/snapshots/os/files", None),
                                     ("GET", "/v1/snapshots/os/files?path=etc", None),
                                     ("DELETE", "/v1/vdisks/os?cascade=perhaps", None),
                                     ("POST", "/v1/system/fsck", {"level": "some"})):
            with self.subTest(target=target, body=body):
                if target == "/v1/vdisks" and body.get("name") == "../x":  # what is wrong with it is found at the end
                    self.work(method, target, body, "failed")
                    continue
                self.check_schema(self.ask(method, target, body, 400), "Problem")
        self.ask("POST", "/v1/vdisks", {"name": "x", "source": "/no/such/thing"}, 404)
        self.ask("GET", "/v1/snapshots/os/files?path=none", status=404)
        self.ask("POST", "/v1/branches/w/checkout", {"from": "os", "paths": ["none"]}, 404)
        self.assertEqual(self.ask("GET", "/v1/snapshots"), [s for s in self.ask("GET", "/v1/snapshots") if s["vdisk"] == "os"])

    def test_the_etag_of_an_answer_is_that_of_the_resource(self):
        """Whoever repeats it in If-Match may go on; whoever has an older one may not, and it counts for nothing nowhere."""
        self.start()
        self.imported()
        self.ask("POST", "/v1/branches", {"name": "w", "from": "os"})
        path = f"{self.root}-m"
        os.mkdir(path)
        self.mounted.append(path)

        def ask(method, target, body=None, etag=None):
            return self.daemon.ask(method, target, body, {"If-Match": etag} if etag else {})

        def goes_on(first, method, target, body, wanted, more=()):
            """`first` answered with an ETag; a change with it succeeds, and so does the next one with that one's."""
            self.assertEqual(ask(method, target, body, '"other"').status, 412, target)
            etag = first.headers["ETag"]
            for next_body in (body, *more):
                answer = ask(method, target, next_body, etag)
                self.assertEqual(answer.status, wanted, answer)
                self.assertEqual(ask(method, target, next_body, '"other"').status, 412)
                etag = answer.headers["ETag"]
            return etag

        version = "/v1/vdisks/os/versions/1"
        etag = goes_on(ask("GET", version), "PATCH", version, {"pinned": True}, 200, [{"pinned": False}])
        self.assertEqual(ask("GET", version).headers["ETag"], etag)
        self.assertEqual(ask("PATCH", "/v1/vdisks/os", {"name": "system"}, '"other"').status, 412)
        renamed = ask("PATCH", "/v1/vdisks/os", {"name": "system"}, ask("GET", "/v1/vdisks/os").headers["ETag"])
        self.assertEqual(ask("PATCH", "/v1/vdisks/system", {"name": "os"}, renamed.headers["ETag"]).status, 200)
        made = ask("POST", "/v1/branches/w/snapshots", {"wait": "frozen"})
        snapshot = made.headers["Location"]
        goes_on(ask("GET", "/v1/branches/w"), "POST", "/v1/branches/w/rollback", {"to": "os"}, 200, [{"to": "os"}])
        self.assertTrue(wait_until(lambda: ask("GET", snapshot).body["state"] == "sealed", 30))
        self.assertEqual(ask("DELETE", snapshot, etag='"other"').status, 412)
        self.assertEqual(ask("DELETE", snapshot, etag=ask("GET", snapshot).headers["ETag"]).status, 200)
        mounted = ask("POST", "/v1/mounts", {"ref": "os", "path": path})
        place = mounted.headers["Location"]
        self.check(ask("GET", place), "Mount")
        self.assertEqual(ask("GET", place).headers["ETag"], mounted.headers["ETag"])
        self.assertEqual(ask("DELETE", place, etag='"other"').status, 412)
        self.assertEqual(ask("DELETE", place, etag=mounted.headers["ETag"]).status, 204)
        self.assertEqual(ask("GET", place).status, 404)
        published = ask("POST", "/v1/vdisks/os/versions", {"snapshot": "os"})
        self.assertEqual(ask("GET", published.headers["Location"]).headers["ETag"], published.headers["ETag"])
        self.assertEqual(ask("DELETE", published.headers["Location"], etag=published.headers["ETag"]).status, 204)
        self.assertEqual(ask("POST", "/v1/branches", {"name": "v", "from": "os"}, '"x"').status, 400)
        self.assertEqual(ask("GET", "/v1/vdisks?name=os").status, 400)

    def test_what_is_no_utf8_ends_nothing(self):
        self.start()
        self.imported()
        bad = os.fsencode(self.root) + b"-caf\xe9"
        os.mkdir(bad)
        self.addCleanup(os.rmdir, bad)
        link = self.root + "-link"
        os.symlink(bad, link)
        self.addCleanup(os.remove, link)
        self.assertIn("not UTF-8", self.ask("POST", "/v1/mounts", {"ref": "os", "path": link}, 400)["detail"])
        self.assertEqual(self.ask("GET", "/v1/mounts"), [])
        self.ask("GET", "/v1/snapshots/caf%E9", status=404)
        self.daemon.end()
        with contextlib.closing(sqlite3.connect(self.root + "/store.db", isolation_level=None)) as database:
            database.execute("UPDATE snapshot SET author = CAST(x'636166e9' AS TEXT)")
        self.start()
        self.assertEqual(len(self.ask("GET", "/v1/snapshots")), 1)
        self.ask("GET", "/v1/snapshots/os")

    def test_a_page_of_a_comparison(self):
        self.start()
        self.imported()
        self.ask("POST", "/v1/branches", {"name": "w", "from": "os"})
        self.written("w", a="1", b="2", c="3", etc__motd="4")
        whole = self.ask("GET", "/v1/diff?from=w")
        paged, after = [], ""
        while True:
            page = self.ask("GET", f"/v1/diff?from=w&limit=2{after}")
            self.assertEqual((page["added"], page["changed"]), (whole["added"], whole["changed"]), "counts are of all")
            paged += page["changes"]
            if not page["truncated"]:
                break
            after = f"&after={page['changes'][-1]['path']}"
        self.assertEqual(paged, whole["changes"])
        self.ask("GET", "/v1/diff?from=w&after=none", status=409)

    def test_a_tag_comes_with_its_snapshot(self):
        self.start()
        self.imported()
        self.ask("POST", "/v1/branches", {"name": "w", "from": "os"})
        first = self.snapshot("w", tag="good")
        self.written("w", fresh="1")
        self.assertIn("tag good", self.ask("POST", "/v1/branches/w/snapshots", {"tag": "good"}, 409)["detail"])
        self.assertEqual(self.ask("GET", "/v1/snapshots/os@good")["id"], first["id"])
        self.assertEqual(len(self.ask("GET", "/v1/snapshots")), 2, "neither snapshot nor tag")
        self.assertEqual(self.ask("GET", "/v1/branches/w")["snapshot"], first["id"])
        second = self.snapshot("w", tag="good", force=True)
        self.assertEqual((second["tags"], self.text("os@good", "fresh")), (["good"], "1"))

    def test_what_comes_while_a_removal_waits_is_not_removed(self):
        """Behind a seal it may wait for long; a tag that was acknowledged meanwhile is somebody's."""
        self.start()
        self.imported("other")
        self.ask("POST", "/v1/branches", {"name": "w", "from": "other"})
        for size in (64, 128, 256, 512):
            made = self.imported()
            path, record = self.mount(branch="w")
            with open(path + f"/large{size}", "wb") as file:
                for _ in range(size):
                    file.write(os.urandom(1 << 20))
            self.unmount(record)
            self.snapshot("w", wait="frozen")  # which is sealed now
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                removing = pool.submit(self.daemon.ask, "DELETE", "/v1/vdisks/os", timeout=120)
                concurrent.futures.wait([removing], timeout=0.2)
                tagged = self.daemon.ask("PUT", "/v1/vdisks/os/tags/mine", {"snapshot": made["snapshot"]}).status
                removed = removing.result().status
            if tagged == 204:
                self.assertEqual(removed, 409, "what was acknowledged is gone")
                self.assertEqual(self.ask("GET", "/v1/snapshots/os@mine")["id"], made["snapshot"])
                return
            self.assertEqual((tagged, removed), (404, 204))  # it did not wait: once more, with more to seal
        self.skipTest("sealing was too fast for a removal to wait")

    def test_etags(self):
        self.start()
        self.imported()
        answer = self.daemon.ask("GET", "/v1/vdisks/os")
        self.assertEqual(self.daemon.ask("GET", "/v1/vdisks/os", headers={"If-None-Match": answer.headers["ETag"]}).status, 304)
        self.ask("PUT", "/v1/vdisks/os/tags/t", {"snapshot": "os"})
        self.assertEqual(self.daemon.ask("GET", "/v1/vdisks/os", headers={"If-None-Match": answer.headers["ETag"]}).status, 200)
        self.ask("DELETE", "/v1/vdisks/os/versions/1", status=412, If_Match=answer.headers["ETag"])
        self.ask("DELETE", "/v1/vdisks/os/tags/t")
        self.ask("DELETE", "/v1/vdisks/os/tags/t", status=404)


class Trees(StorageCase):
    """Branches, snapshots and what depends on what."""

    def test_a_mounted_branch(self):
        self.start()
        self.imported()
        self.ask("POST", "/v1/branches", {"name": "w", "from": "os"})
        path, record = self.mount(branch="w")
        pathlib.Path(path, "one").write_text("1")
        first = self.snapshot("w", wait="frozen")
        self.assertEqual(pathlib.Path(path, "one").read_text(), "1", "it is mounted again")
        pathlib.Path(path, "two").write_text("2")
        with open(path + "/two"):  # whoever has something open there is not pulled away from it
            self.ask("POST", "/v1/branches/w/snapshots", {}, 409)
        second = self.snapshot("w")
        self.ask("POST", "/v1/branches/w/rollback", {"to": first["id"]}, 200)
        self.assertEqual((os.path.exists(path + "/one"), os.path.exists(path + "/two")), (True, False))
        self.ask("POST", "/v1/branches/w/checkout", {"from": second["id"], "paths": ["two"]}, 200)
        self.assertEqual(pathlib.Path(path, "two").read_text(), "2")
        self.ask("DELETE", "/v1/branches/w", status=409)
        self.unmount(self.ask("GET", "/v1/mounts")[0])
        self.ask("DELETE", "/v1/branches/w")

    @unittest.skipIf(kernel() < (6, 5), "needs mounting beneath a mount (Linux 6.5)")
    def test_what_is_below_is_never_seen(self):
        """A program that looks for its files while snapshots are made finds them, or gets an error; never another tree."""
        self.start()
        self.imported()
        self.ask("POST", "/v1/branches", {"name": "w", "from": "os"})
        path, record = self.mount(branch="w")
        self.unmount(record)
        pathlib.Path(path, "below").write_text("of the host")
        self.ask("POST", "/v1/mounts", {"branch": "w", "path": path})
        self.mounted.append(path)
        pathlib.Path(path, "own").write_text("of the branch")
        looks, seen, done = 0, [], threading.Event()

        def look():
            nonlocal looks
            while not done.is_set():
                looks += 1
                names = os.listdir(path)
                if "below" in names or "own" not in names:
                    seen.append(names)

        looker = threading.Thread(target=look)
        looker.start()
        made = refused = 0
        try:
            while made < 40:
                status = self.daemon.ask("POST", "/v1/branches/w/snapshots", {"wait": "frozen"}).status
                self.assertIn(status, (201, 409))  # it may have been looked at just then
                made, refused = made + (status != 409), refused + (status == 409)
        finally:
            done.set()
            looker.join()
        print(f"{looks} looks during {made} snapshots, {refused} refused", flush=True)
        self.assertEqual(seen, [])
        self.assertGreater(looks, 100)
        self.unmount(self.ask("GET", "/v1/mounts")[0])
        self.assertEqual(os.listdir(path), ["below"])

    def test_a_branch_that_is_mounted_at_two_places(self):
        """Whoever writes through the second one would write into a snapshot."""
        self.start()
        self.imported()
        self.ask("POST", "/v1/branches", {"name": "w", "from": "os"})
        path, record = self.mount(branch="w")
        other = self.root + "-other"
        os.mkdir(other)
        self.mounted.append(other)
        subprocess.run(["mount", "--bind", path, other], check=True)
        self.assertIn(other, self.ask("POST", "/v1/branches/w/snapshots", {}, 409)["detail"])
        subprocess.run(["umount", path], check=True)
        self.ask("POST", "/v1/branches/w/snapshots", {}, 409)  # it is still there
        self.ask("POST", "/v1/branches/w/rollback", {"to": "os"}, 409)
        self.ask("DELETE", "/v1/branches/w", status=409)
        subprocess.run(["umount", other], check=True)
        # In a mount namespace of somebody else's.
        path, record = self.mount(branch="w")
        held = subprocess.Popen(["unshare", "-m", "--propagation", "private", "sleep", "100"])
        self.addCleanup(held.kill)
        self.assertTrue(wait_until(lambda: os.readlink(f"/proc/{held.pid}/ns/mnt") != os.readlink("/proc/self/ns/mnt"), 10))
        self.assertIn(f"process {held.pid}", self.ask("POST", "/v1/branches/w/snapshots", {}, 409)["detail"])
        held.kill()
        held.wait()
        self.snapshot("w")
        # Covered by another mount.
        subprocess.run(["mount", "-t", "tmpfs", "none", path], check=True)
        self.mounted.append(path)  # twice
        self.ask("POST", "/v1/branches/w/snapshots", {}, 409)
        subprocess.run(["umount", path], check=True)
        self.snapshot("w")
        self.unmount(self.ask("GET", "/v1/mounts")[0])

    def test_a_mount_that_was_propagated(self):
        """As on every machine with systemd: the root is shared, and services have slaves of it."""
        shared = self.root + "-shared"
        os.mkdir(shared)
        self.mounted.append(shared)
        subprocess.run(["mount", "--bind", shared, shared], check=True)
        subprocess.run(["mount", "--make-shared", shared], check=True)
        place = os.path.join(shared, "w")
        os.mkdir(place)
        self.start()
        self.imported()
        self.ask("POST", "/v1/branches", {"name": "w", "from": "os"})
        service = subprocess.Popen(["unshare", "-m", "--propagation", "slave", "sleep", "100"])
        nested = subprocess.Popen(["unshare", "-m", "--propagation", "shared", "unshare", "-m", "--propagation", "slave", "sleep", "100"])
        for process in (service, nested):
            self.addCleanup(process.kill)
            self.assertTrue(wait_until(lambda p=process: pathlib.Path(f"/proc/{p.pid}/comm").read_text() == "sleep\n", 10))
        self.ask("POST", "/v1/mounts", {"path": place, "branch": "w"})
        self.mounted.append(place)
        theirs = pathlib.Path(f"/proc/{service.pid}/root{place}")
        (theirs / "through").write_text("1")  # who can see it can write
        for number in range(3):
            made = self.snapshot("w", wait=("frozen", "durable", "frozen")[number])["id"]
            self.assertEqual(self.text(made, "through"), str(number + 1))
            for root in ("", f"/proc/{service.pid}/root", f"/proc/{nested.pid}/root"):
                self.assertEqual(pathlib.Path(root + place, "through").read_text(), str(number + 1))
            (theirs / "through").write_text(str(number + 2))
            self.assertEqual(pathlib.Path(place, "through").read_text(), str(number + 2), "it shows the same as ours")
        # Somebody writes there: as if it were here. What was read-only by its owner's wish stays so.
        subprocess.run(["nsenter", "-t", str(nested.pid), "-m", "mount", "-o", "remount,bind,ro", place], check=True)
        with open(theirs / "held", "w"):
            detail = self.ask("POST", "/v1/branches/w/snapshots", {}, 409)["detail"]
            self.assertIn("process", detail)
        with self.assertRaises(OSError):
            pathlib.Path(f"/proc/{nested.pid}/root{place}", "through").write_text("forbidden")
        (theirs / "through").write_text("again")
        pathlib.Path(place, "through").write_text("and again")
        self.ask("POST", "/v1/branches/w/rollback", {"to": "os"}, 200)
        self.assertFalse((theirs / "through").exists())
        self.assertFalse(pathlib.Path(place, "through").exists())
        for process in (service, nested):
            process.kill()
            process.wait()
        self.snapshot("w")
        self.unmount(self.ask("GET", "/v1/mounts")[0])

    def test_ten_branches_of_one(self):
        self.start()
        self.imported()
        with concurrent.futures.ThreadPoolExecutor(10) as pool:
            list(pool.map(lambda i: self.ask("POST", "/v1/branches", {"name": f"w{i}", "from": "os"}), range(10)))
        for i in range(10):
            self.written(f"w{i}", fresh=f"of {i}\n")
        with concurrent.futures.ThreadPoolExecutor(10) as pool:
            list(pool.map(lambda i: self.snapshot(f"w{i}", wait="frozen", message=f"m{i}"), range(10)))
        for i in range(10):
            self.assertEqual(self.text(f"w{i}", "fresh"), f"of {i}\n")
        everything = self.ask("GET", "/v1/snapshots?vdisk=os")
        self.assertEqual(len(everything), 11)
        self.assertEqual({s["parent"] for s in everything}, {None, everything[-1]["id"]})
        self.assertTrue(wait_until(lambda: all(s["state"] == "sealed" for s in self.ask("GET", "/v1/snapshots")), 30))

    def test_removal_loses_no_other(self):
        self.start()
        self.imported()
        self.ask("POST", "/v1/branches", {"name": "w", "from": "os"})
        ids = []
        for i in range(4):
            self.written("w", fresh=f"{i}\n")
            ids.append(self.snapshot("w", tag=f"t{i}", wait="frozen")["id"])
        problem = self.ask("DELETE", f"/v1/snapshots/{ids[1]}", status=409)
        self.assertIn(ids[2], problem["detail"])
        self.assertIn("tag t1", problem["detail"])
        self.ask("DELETE", f"/v1/snapshots/{ids[1]}?cascade=true", status=409)  # the branch stands on the last one
        self.assertEqual(len(self.ask("GET", "/v1/snapshots")), 5)
        self.ask("POST", "/v1/branches/w/rollback", {"to": ids[0]}, 200)
        removed = self.ask("DELETE", f"/v1/snapshots/{ids[1]}?cascade=true", status=200)
        self.check_schema(removed, "RemovedSnapshots")
        self.assertEqual(removed["removed"], [ids[3], ids[2], ids[1]])
        self.assertEqual(self.text("os@t0", "fresh"), "0\n")
        self.work("POST", "/v1/system/gc", {"grace_seconds": 0})
        self.work("POST", "/v1/system/gc", {"grace_seconds": 0})
        self.assertTrue(wait_until(lambda: all(s["state"] == "sealed" for s in self.ask("GET", "/v1/snapshots")), 30))
        self.assertEqual(self.work("POST", "/v1/snapshots/os@t0/verify", {"deep": True})["snapshots"], 2)
        self.assertEqual(self.work("POST", "/v1/system/fsck", {"level": "full"})["findings"], [])

    def test_a_vdisk_goes_whole_or_not_at_all(self):
        self.start()
        self.imported()
        self.ask("POST", "/v1/branches", {"name": "w", "from": "os"})
        self.written("w", fresh="precious")
        problem = self.ask("DELETE", "/v1/vdisks/os", status=409)
        self.assertIn("branch w", problem["detail"])
        path, record = self.mount(ref="os")
        self.ask("POST", "/v1/mounts", {"ref": "w", "path": path}, 400)  # which of the two is meant?
        self.ask("DELETE", "/v1/vdisks/os?cascade=true", status=409)  # somebody reads it
        self.assertIn("fresh", {c["path"] for c in self.ask("GET", "/v1/diff?from=w")["changes"]}, "the branch is whole")
        self.unmount(record)
        self.ask("DELETE", "/v1/vdisks/os?cascade=true")
        self.assertEqual((self.ask("GET", "/v1/branches"), self.ask("GET", "/v1/snapshots")), ([], []))
        self.imported()
        self.ask("PUT", "/v1/vdisks/os/tags/keep", {"snapshot": "os"})
        self.assertIn("tag keep", self.ask("DELETE", "/v1/vdisks/os", status=409)["detail"])
        self.ask("DELETE", "/v1/vdisks/os/tags/keep")
        self.ask("DELETE", "/v1/vdisks/os")

    def test_numbers_are_given_once(self):
        self.start()
        self.imported()
        self.imported()
        self.ask("DELETE", "/v1/vdisks/os/versions/2")
        self.assertEqual(self.imported()["version"], 3)
        self.ask("GET", "/v1/snapshots/os:2", status=404)

    def test_a_hole_stays_a_hole(self):
        """However long it is: no copy of it may fill a disk."""
        self.start()
        with open(self.source + "/holes", "wb") as file:
            file.truncate(1 << 38)
            file.seek(1 << 37)
            file.write(b"in the middle")
        self.imported()
        self.ask("POST", "/v1/branches", {"name": "w", "from": "os"})
        path, record = self.mount(branch="w")
        os.remove(path + "/holes")
        self.ask("POST", "/v1/branches/w/checkout", {"from": "os", "paths": ["holes"]}, 200)
        status = os.stat(path + "/holes")
        self.assertEqual(status.st_size, 1 << 38)
        self.assertLess(status.st_blocks * 512, 1 << 21)
        with open(path + "/holes", "rb") as file:
            file.seek(1 << 37)
            self.assertEqual(file.read(13), b"in the middle")
        self.unmount(record)

    def test_the_record_of_a_mount_is_damaged(self):
        """A power cut can leave it without content: the mount is forgotten, nothing else."""
        self.start()
        self.imported()
        path, _ = self.mount(ref="os")
        self.daemon.end(signal.SIGKILL)
        subprocess.run(["umount", path], check=True)
        for record in pathlib.Path(self.root, "mounts").glob("*.json"):
            record.write_text("")
        self.start()
        self.assertEqual(self.ask("GET", "/v1/mounts"), [])
        self.ask("DELETE", "/v1/vdisks/os")

    def test_a_mount_that_is_taken_away(self):
        """By umount(8): nobody reads the snapshot any more."""
        self.start()
        self.imported()
        path, _ = self.mount(ref="os")
        self.assertIn(f"reader at {path}", self.ask("DELETE", "/v1/vdisks/os", status=409)["detail"])
        subprocess.run(["umount", path], check=True)
        self.assertEqual(self.ask("GET", "/v1/mounts"), [])
        self.ask("DELETE", "/v1/vdisks/os")

    def test_a_file_of_many_bytes(self):
        """It is sent as it is read, and is whole."""
        self.start()
        noise = os.urandom(1 << 20)
        with open(self.source + "/large", "wb") as file:
            for i in range(64):
                file.write(noise[i:] + noise[:i])
        self.imported()
        connection = Connection(self.daemon.socket, 60)
        connection.request("GET", "/v1/snapshots/os/files?path=large")
        response = connection.getresponse()
        got = hashlib.sha256()
        while piece := response.read(1 << 20):
            got.update(piece)
        connection.close()
        self.assertEqual(got.hexdigest(), hashlib.sha256(pathlib.Path(self.source, "large").read_bytes()).hexdigest())


class Repeats(StorageCase):
    """A repeated request takes effect once, whatever came between."""

    def test_with_its_key(self):
        self.start()
        key = {"Idempotency_Key": "import-1"}
        first = self.work("POST", "/v1/vdisks", {"name": "os", "source": self.source}, **key)
        self.assertEqual(self.work("POST", "/v1/vdisks", {"name": "os", "source": self.source}, **key), first)
        self.ask("POST", "/v1/branches", {"name": "w", "from": "os"}, Idempotency_Key="b")
        made = self.ask("POST", "/v1/branches/w/snapshots", {}, Idempotency_Key="s")
        self.ask("POST", "/v1/vdisks/os/versions", {"snapshot": "w"}, Idempotency_Key="v")
        promoted = self.ask("POST", "/v1/vdisks/os/versions/2/promote", status=200, Idempotency_Key="p")
        self.work("POST", "/v1/vdisks", {"name": "another", "source": self.source}, Idempotency_Key="import-2")
        # A daemon that has forgotten its answers: killed before it could write them down.
        self.daemon.end(signal.SIGKILL)
        os.remove(self.root + "/daemon/answers.journal")
        self.start()
        self.assertEqual(self.work("POST", "/v1/vdisks", {"name": "os", "source": self.source}, **key)["snapshot"], first["snapshot"])
        self.ask("POST", "/v1/branches", {"name": "w", "from": "os"}, Idempotency_Key="b")
        self.assertEqual(self.ask("POST", "/v1/branches/w/snapshots", {}, Idempotency_Key="s")["id"], made["id"])
        self.assertEqual(self.ask("POST", "/v1/vdisks/os/versions", {"snapshot": "w"}, Idempotency_Key="v")["number"], 2)
        self.assertEqual(self.ask("POST", "/v1/vdisks/os/versions/2/promote", status=200, Idempotency_Key="p"), promoted)
        self.ask("POST", "/v1/branches/w/snapshots", {"message": "another"}, 422, Idempotency_Key="s")
        refused = self.work("POST", "/v1/vdisks", {"name": "another", "source": self.source + "/usr"}, "failed", Idempotency_Key="import-2")
        self.assertIn("used for another request", str(refused))
        self.assertEqual((len(self.ask("GET", "/v1/snapshots")), len(self.ask("GET", "/v1/vdisks/os")["versions"])), (3, 2))


class Kills(StorageCase):
    """kill -9 of the daemon: what was acknowledged is there, mounts live on, branches keep what was written."""

    def test_between_requests(self):
        self.start()
        self.imported()
        self.ask("POST", "/v1/branches", {"name": "w", "from": "os"})
        path, record = self.mount(branch="w")
        known = []
        for i in range(6):
            pathlib.Path(path, "n").write_text(str(i))
            known.append(self.snapshot("w", wait=("frozen", "durable")[i % 2])["id"])
            pathlib.Path(path, "unsaved").write_text(str(i))
            self.daemon.end(signal.SIGKILL)
            self.assertEqual(pathlib.Path(path, "unsaved").read_text(), str(i), "the mount lives on")
            self.start()
            self.assertEqual(self.ask("GET", "/v1/branches/w")["mounts"], [path])
            for number, snapshot in enumerate(known):
                self.assertEqual(self.text(snapshot, "n"), str(number))
        self.assertTrue(wait_until(lambda: all(s["state"] == "sealed" for s in self.ask("GET", "/v1/snapshots")), 30))
        self.assertEqual(self.work("POST", "/v1/system/fsck", {"level": "full"})["findings"], [])
        self.unmount(self.ask("GET", "/v1/mounts")[0])

    def test_while_a_mounted_branch_becomes_a_snapshot(self):
        """Whenever the daemon is killed, the mount is there at its next start, with what was written, and can be written."""
        self.start()
        self.imported()
        self.ask("POST", "/v1/branches", {"name": "w", "from": "os"})
        path, record = self.mount(branch="w")
        answered = []

        def ask(daemon):
            with contextlib.suppress(OSError, http.client.HTTPException):  # it is killed
                answered.append(daemon.ask("POST", "/v1/branches/w/snapshots", {"wait": "frozen"}).status)

        for i in range(40):
            pathlib.Path(path, "n").write_text(str(i))
            client = threading.Thread(target=ask, args=(self.daemon,))
            client.start()
            time.sleep(random.uniform(0.0, 0.012))
            self.daemon.end(signal.SIGKILL)
            client.join()
            self.start()
            self.assertEqual(self.ask("GET", "/v1/branches/w")["mounts"], [path], f"round {i}")
            self.assertEqual(pathlib.Path(path, "n").read_text(), str(i))
            self.assertEqual(sum(line.split()[4] == path for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines()), 1)
        print(f"{len(answered)} of 40 were answered before the kill", flush=True)
        self.assertEqual(set(answered) - {201}, set())
        self.assertLess(len(answered), 40)
        self.assertEqual(self.work("POST", "/v1/system/fsck", {"level": "quick"})["findings"], [])
        self.unmount(self.ask("GET", "/v1/mounts")[0])

    def test_before_anything_has_begun_with_a_mounted_branch(self):
        """What a killed daemon was about to do is told by its record: here it had done nothing of it yet."""
        self.start()
        self.imported()
        self.ask("POST", "/v1/branches", {"name": "w", "from": "os"})
        path, mount = self.mount(branch="w")
        record = pathlib.Path(self.root, "mounts", mount["id"] + ".json")

        def kill_and_note():
            self.daemon.end(signal.SIGKILL)
            noted = json.loads(record.read_text())
            record.write_text(json.dumps({**noted, "replaces": noted["device"]}))

        with open(path + "/log", "w") as file:  # somebody works in it, and goes on
            kill_and_note()
            self.start()
            self.assertEqual(json.loads(record.read_text())["replaces"], 0)
            file.write("more")
        self.assertEqual(pathlib.Path(path, "log").read_text(), "more")
        # Somebody has mounted something over it meanwhile: that is theirs.
        kill_and_note()
        subprocess.run(["mount", "-o", "remount,bind,ro", path], check=True)
        subprocess.run(["mount", "-t", "tmpfs", "theirs", path], check=True)
        self.mounted.append(path)  # twice
        pathlib.Path(path, "precious").write_text("x")
        self.start()
        self.assertEqual(pathlib.Path(path, "precious").read_text(), "x")
        self.ask("POST", "/v1/branches/w/snapshots", {}, 409)
        subprocess.run(["umount", path], check=True)
        self.daemon.end(signal.SIGKILL)
        self.start()
        pathlib.Path(path, "log").write_text("it can be written again")
        self.snapshot("w")
        # It was moved: not there any more, but the daemon starts.
        kill_and_note()
        subprocess.run(["umount", path], check=True)
        os.rename(path, path + "-old")
        self.start()
        self.assertEqual(self.ask("GET", "/v1/mounts"), [])
        os.rename(path + "-old", path)

    def test_while_importing(self):
        """The same request goes on where it was; before it is done nobody sees anything."""
        self.make_large(200)
        self.start()
        began = self.ask("POST", "/v1/vdisks", {"name": "os", "source": self.source}, 202, Idempotency_Key="i")
        self.assertTrue(wait_until(lambda: any(p.stat().st_size > 20 << 20 for p in pathlib.Path(self.root, "packs").glob("*.pack")), 30))
        self.daemon.end(signal.SIGKILL)
        self.start()
        self.assertEqual(self.ask("GET", "/v1/vdisks"), [])
        self.assertEqual(self.ask("GET", f"/v1/operations/{began['id']}")["state"], "interrupted")
        again = self.work("POST", "/v1/vdisks", {"name": "os", "source": self.source}, Idempotency_Key="i")
        self.assertLess(again["new_chunks"], again["chunks"], "what was stored is found again")
        self.assertEqual(self.work("POST", "/v1/snapshots/os/verify", {"deep": True})["snapshots"], 1)

    def test_cancelled_import(self):
        self.make_large(100)
        self.start()
        began = self.ask("POST", "/v1/vdisks", {"name": "os", "source": self.source}, 202)
        self.ask("DELETE", f"/v1/operations/{began['id']}", status=200)
        over = self.ask("GET", f"/v1/operations/{began['id']}/wait?timeout=60")
        self.assertEqual(over["state"], "cancelled", over)
        self.assertEqual(self.ask("GET", "/v1/vdisks"), [])

    def test_a_checkout_ends_with_its_client(self):
        """Who waits for the branch waits no longer than that."""
        for number in range(200):
            pathlib.Path(self.source, f"file-{number}").write_bytes(os.urandom(1 << 20))
        self.start()
        self.imported()
        self.ask("POST", "/v1/branches", {"name": "w", "from": "os"})
        there = pathlib.Path(self.root, "working/w/layer/upper")

        def written():
            return len(list(there.glob("file-*")))

        connection = Connection(self.daemon.socket)
        connection.request("POST", "/v1/branches/w/checkout", json.dumps({"from": "os", "paths": ["/"]}),
                           {"Content-Type": "application/json"})
        self.assertTrue(wait_until(written, 30, 0.001))
        connection.close()
        _, record = self.mount(branch="w")  # waits for it
        names = os.listdir(there)
        self.assertLess(len(names), 200)
        self.assertEqual([name for name in names if name.startswith(".")], [], "nothing is there by half")
        self.unmount(record)

    def test_cancelled_work_changes_nothing(self):
        self.make_large(200)
        self.start()
        self.imported()
        before = self.ask("GET", "/v1/snapshots")
        for target, body in (("/v1/system/fsck", {"level": "full"}), ("/v1/snapshots/os/verify", {"deep": True}),
                             ("/v1/snapshots/os/merge", {"flatten": True}),
                             ("/v1/vdisks/os/versions/1/merge", {})):
            began = self.ask("POST", target, body, 202)
            self.ask("DELETE", f"/v1/operations/{began['id']}", status=200)
            over = self.ask("GET", f"/v1/operations/{began['id']}/wait?timeout=60")
            self.assertEqual(over["state"], "cancelled", over)
            self.assertEqual(self.ask("GET", "/v1/snapshots"), before, target)
            whole = self.work("POST", target, body)
            before = self.ask("GET", "/v1/snapshots")
            self.assertTrue(whole)
        self.assertEqual(self.work("POST", "/v1/system/fsck", {"level": "full"})["findings"], [])


if __name__ == "__main__":
    main()
