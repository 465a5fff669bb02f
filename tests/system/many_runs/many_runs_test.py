#!/usr/bin/env python3
"""Many starts in a row and side by side: the host afterwards is the host before. 200 in a row, a thousand with
COPPICE_LONG=1."""

import concurrent.futures
import os
import pathlib
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../oci"))
from bundle import make_bundle, with_user_namespace  # noqa: E402
from coppice_test import Case, LONG, OTHERS_ALLOWED, coppice, loop_devices, main, mounts, new_name, pids, runtime, wait_until, world  # noqa: E402

COUNT = 1000 if LONG else 200


def slab_kib():
    for line in pathlib.Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("Slab:"):
            return int(line.split()[1])
    return 0


def cgroup_count():
    """Groups that the kernel still holds, dying ones of memory included."""
    for line in pathlib.Path("/proc/cgroups").read_text().splitlines():
        if line.startswith("pids"):
            return int(line.split()[2])
    return 0


def living():
    """Processes but for the dead whose parent, the host's init, has not looked yet: how soon it does is its own business."""
    count = 0
    for pid in pids():
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                state, parent = file.read().rsplit(b")", 1)[1].split()[:2]
        except OSError:
            continue
        count += not (state == b"Z" and parent == b"1")
    return count


class ManyRuns(Case):
    def in_a_row(self, what, act, may_stay=()):
        act()  # whatever the first one sets up once
        before = {"mounts": len(mounts()), "loop devices": len(loop_devices()), "processes": living(), "cgroups": cgroup_count()}
        slab, start = slab_kib(), time.monotonic()
        for _ in range(COUNT):
            self.assert_ok(act())
        seconds = time.monotonic() - start
        self.assertEqual([item for item in self.leftovers_after(0 if may_stay else 5) if item not in may_stay], [])
        after = {"mounts": len(mounts()), "loop devices": len(loop_devices()), "processes": living(), "cgroups": cgroup_count()}
        print(f"\n  {COUNT} x {what}: {seconds:.1f} s, slab {slab_kib() - slab:+d} KiB, before {before}, after {after}", flush=True)
        if not OTHERS_ALLOWED:
            for key in ("mounts", "loop devices"):
                self.assertEqual(after[key], before[key], key)
            # A group is dying as long as its dead process waits for the host's init.
            wait_until(lambda: cgroup_count() < before["cgroups"] + 25, 60, 0.5)
            after["cgroups"] = cgroup_count()
            for key in ("processes", "cgroups"):  # the host has a life of its own, too
                self.assertLess(after[key], before[key] + 25, key)
        self.assert_doctor_content()

    def test_coppice_run_in_a_row(self):
        self.in_a_row("coppice run --rm", lambda: coppice("run", "--rm", "--name", new_name(), self.tree, "--", "true"))

    def test_coppice_run_on_an_image_in_a_row(self):
        image = world().image()
        self.in_a_row("coppice run --rm IMAGE", lambda: coppice("run", "--rm", "--name", new_name(), "-m", "64m", image, "--", "true"))

    def test_private_instance_started_again_and_again(self):
        name = new_name()
        self.addCleanup(coppice, "rm", "-f", name)
        self.in_a_row("coppice run --name", lambda: coppice("run", "--name", name, self.tree, "--", "sh", "-c", "echo x >> /tmp/count"),
                      may_stay=[f"in state/instances: {name}"])
        done = coppice("run", "--name", name, self.tree, "--", "wc", "-l", "/tmp/count")
        self.assertEqual(int(done.out.split()[0]), COUNT + 1)
        self.assert_ok(coppice("rm", name))

    def test_runtime_run_in_a_row(self):
        bundle = make_bundle(["true"], with_user_namespace)
        self.in_a_row("coppice-runtime run", lambda: runtime("run", "-b", bundle, new_name("c")))

    def test_runtime_create_and_delete_in_a_row(self):
        bundle = make_bundle(["true"])

        def act():
            name = new_name("c")
            created = runtime("create", "-b", bundle, name)
            return created if created.status else runtime("delete", "--force", name)
        self.in_a_row("coppice-runtime create, delete", act)

    def test_failing_starts_in_a_row(self):
        def act():
            done = coppice("run", "--rm", "--name", new_name(), self.tree, "--", "no-such-command")
            done.status = 0 if done.status == 127 else done.status
            return done
        self.in_a_row("coppice run of what does not exist", act)

    def test_eight_at_once(self):
        def act(number):
            root = world().image() if number % 2 else self.tree
            return coppice("run", "--rm", "--name", new_name(f"p{number}-"), root, "--", "sh", "-c", f"echo {number}; hostname")
        world().image()
        start = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            done = list(pool.map(act, range(COUNT)))
        print(f"\n  {COUNT} x coppice run --rm, 8 at once: {time.monotonic() - start:.1f} s", flush=True)
        for number, one in enumerate(done):
            self.assert_ok(one)
            self.assertEqual(one.out.split()[0], str(number))
        self.assert_nothing_left()
        self.assert_doctor_content()

    def test_runtime_eight_at_once(self):
        bundle = make_bundle(["true"], with_user_namespace)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            for one in pool.map(lambda number: runtime("run", "-b", bundle, new_name(f"c{number}-")), range(COUNT)):
                self.assert_ok(one)
        self.assert_nothing_left()


if __name__ == "__main__":
    main()
