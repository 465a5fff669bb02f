#!/usr/bin/env python3
"""coppice-runtime with namespaces that exist already, with few of its own, and without pivot_root."""

import os
import pathlib
import signal
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from bundle import make_bundle, with_user_namespace  # noqa: E402
from coppice_test import RUNTIME, environment, execute, main, mounts, new_name, our_processes, runtime, wait_until, world  # noqa: E402
from oci_test import OciCase  # noqa: E402


def drop_namespaces(config, *kinds):
    config["linux"]["namespaces"] = [ns for ns in config["linux"]["namespaces"] if ns["type"] not in kinds]


def join(config, kind, path):
    drop_namespaces(config, kind)
    config["linux"]["namespaces"].append({"type": kind, "path": path})


def inode(pid, kind):
    return os.readlink(f"/proc/{pid}/ns/{kind}")


class NamespaceCase(OciCase):
    def holder(self, *options):
        """A process in namespaces of its own; returns its pid."""
        process = subprocess.Popen(["unshare", *options, "--fork", "--kill-child", "sleep", "1000"], env=environment(),
                                   stdin=subprocess.DEVNULL)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
        self.assertTrue(wait_until(lambda: children.read_text().split()))
        pid = int(children.read_text().split()[0])
        self.addCleanup(os.kill, pid, signal.SIGKILL)
        self.assertTrue(wait_until(lambda: pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"sleep")))
        return pid


class WithoutMountNamespace(NamespaceCase):
    def change(self, config):
        drop_namespaces(config, "mount")
        config["mounts"].append({"destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": ["size=64k"]})

    def test_nothing_appears_on_the_host(self):
        before = sorted(mounts())
        name = self.started(change=self.change)
        pid = self.state(name)["pid"]
        self.assertEqual(inode(pid, "mnt"), inode("self", "mnt"))
        self.assertEqual(sorted(mounts()), before)
        self.assertEqual(os.readlink(f"/proc/{pid}/root"), "/")  # of the detached tree
        done = runtime("exec", name, "sh", "-c", "cat /etc/greeting; ls -d /proc/self/ns /mnt; stat -f -c %T /mnt; pwd; ls /")
        self.assertIn("from the image", done.out, repr(done))
        self.assertIn("tmpfs", done.out, repr(done))
        self.assertEqual(set(done.out.split("\n/\n")[1].split()), set(os.listdir(self.tree)), repr(done))
        runtime("delete", "--force", name)
        self.assertEqual(sorted(mounts()), before)

    def test_masks_and_read_only_paths_hold(self):
        done = self.run_bundle(["sh", "-c", "head -c 1 /proc/kcore | wc -c; echo 1 > /proc/sys/vm/swappiness; touch /x"], self.change)
        self.assertEqual(done.out.strip(), "0", repr(done))
        self.assertEqual(done.err.count("Read-only file system"), 2, repr(done))

    def test_what_is_unbindable_is_refused(self):
        # The copy of the tree that the container gets would be without it.
        for option in ("unbindable", "runbindable"):
            for mount in ({"type": "tmpfs", "source": "tmpfs", "options": ["size=64k", option]},
                          {"type": "bind", "source": self.tree, "options": ["rbind", option]}):
                def change(config, mount=mount):
                    self.change(config)
                    config["mounts"].append({"destination": "/var", **mount})
                self.refused(runtime("create", "-b", make_bundle(["true"], change), new_name("c")), "/var", "unbindable")

    def test_no_namespace_at_all(self):
        def change(config):
            config["linux"]["namespaces"] = []
            config["hostname"] = ""
        name = self.started(change=change)
        pid = self.state(name)["pid"]
        for kind in ("mnt", "pid", "net", "ipc", "uts", "cgroup", "user"):
            self.assertEqual(inode(pid, kind), inode("self", kind), kind)
        self.assertEqual(runtime("exec", name, "cat", "/etc/greeting").out, "from the image\n")

    def test_user_namespace_needs_a_mount_namespace(self):
        def change(config):
            self.change(with_user_namespace(config))
        self.refused(self.run_bundle(["true"], change), "user namespace", "mount namespace")


class ByPath(NamespaceCase):
    def test_mount_namespace(self):
        holder = self.holder("--mount", "--propagation", "private")
        before = pathlib.Path(f"/proc/{holder}/mountinfo").read_text()
        name = self.started(change=lambda config: join(config, "mount", f"/proc/{holder}/ns/mnt"))
        pid = self.state(name)["pid"]
        self.assertEqual(inode(pid, "mnt"), inode(holder, "mnt"))
        self.assertEqual(pathlib.Path(f"/proc/{holder}/mountinfo").read_text(), before, "what others are in was changed")
        self.assertEqual(runtime("exec", name, "cat", "/etc/greeting").out, "from the image\n")

    def test_user_namespace(self):
        holder = self.holder("--user")
        for kind in ("uid", "gid"):
            pathlib.Path(f"/proc/{holder}/{kind}_map").write_text("0 1500000000 65536\n")

        def change(config):
            join(config, "user", f"/proc/{holder}/ns/user")
        name = self.started(["sh", "-c", "id -u; sleep 1000"], change)
        pid = self.state(name)["pid"]
        self.assertEqual(inode(pid, "user"), inode(holder, "user"))
        self.assertNotEqual(inode(pid, "mnt"), inode("self", "mnt"))
        self.assertEqual(os.stat(f"/proc/{pid}").st_uid, 1500000000)
        self.assertEqual(runtime("exec", name, "sh", "-c", "id -u; hostname").out.split(), ["0", "bundle"])
        # Its other namespaces belong to that user namespace, or it could not have mounted anything.
        self.assertIn("proc", runtime("exec", name, "stat", "-f", "-c", "%T", "/proc").out)

    def test_groups_of_the_caller_do_not_come_along(self):
        """In a user namespace that forbids changing them they could not be dropped any more."""
        holder = self.holder("--user")
        pathlib.Path(f"/proc/{holder}/setgroups").write_text("deny")
        for kind in ("uid", "gid"):
            pathlib.Path(f"/proc/{holder}/{kind}_map").write_text("0 1500000000 65536\n")
        self.addCleanup(os.setgroups, os.getgroups())
        os.setgroups([1234, 4321])
        name = self.started(["sh", "-c", "id -G > /dev/shm/groups; sleep 1000"],
                            lambda config: join(config, "user", f"/proc/{holder}/ns/user"))
        done = runtime("exec", name, "sh", "-c", "cat /dev/shm/groups; id -G")
        self.assertEqual(done.out.split(), ["0", "0"], repr(done))

    def test_own_user_namespace_is_refused(self):
        self.refused(self.run_bundle(["true"], lambda config: join(config, "user", "/proc/self/ns/user")), "own user namespace")

    def test_callers_own_with_parameters_of_another(self):
        def run(parameter):
            def change(config):
                join(config, "ipc", "/proc/self/ns/ipc")
                config["linux"]["sysctl"] = {parameter: "1"}
            # The caller is not in the host's, which would be changed where the defence is missing.
            return execute(["unshare", "--ipc", RUNTIME, "--root", world().containers, "run", "-b",
                            make_bundle(["cat", "/proc/sys/net/ipv4/ip_forward"], change), new_name("c")])
        self.assertEqual(self.assert_ok(run("net.ipv4.ip_forward")).out, "1\n")
        self.refused(run("kernel.shm_rmid_forced"), "ipc", "caller's own")

    def test_time_and_cgroup_namespaces(self):
        holder = self.holder("--time", "--boottime", "1000000", "--cgroup")

        def change(config):
            join(config, "time", f"/proc/{holder}/ns/time")
            join(config, "cgroup", f"/proc/{holder}/ns/cgroup")
        name = self.started(change=change)
        pid = self.state(name)["pid"]
        for kind in ("time", "cgroup"):
            self.assertEqual(inode(pid, kind), inode(holder, kind), kind)
        self.assertGreater(float(runtime("exec", name, "cat", "/proc/uptime").out.split()[0]), 1000000)


class WithoutPivot(NamespaceCase):
    def test_root_is_changed(self):
        done = self.run_bundle(["sh", "-c", "cat /etc/greeting; ls /; cut -d' ' -f5 /proc/self/mountinfo"], options=["--no-pivot"])
        self.assert_ok(done)
        self.assertIn("from the image", done.out)
        self.assertNotIn("/sys/kernel", done.out)

    def test_host_file_systems_that_show_the_kernel_are_gone(self):
        """The host's tree is still there below; with its /proc the masks could be undone."""
        odd = world().path(new_name("a b\tc"))
        os.mkdir(odd)
        subprocess.run(["mount", "-t", "proc", "proc", odd], check=True)
        self.addCleanup(subprocess.run, ["umount", odd], check=False)
        word = new_name("hook")
        # What the hook leaves behind keeps the host's root as its own, in the container's mount namespace.
        script = f"exec -a {word} sleep 1000 >/dev/null 2>&1 &"
        name = self.started(change=lambda config: config.update(hooks={"createContainer": [
            {"path": "/bin/bash", "args": ["bash", "-c", script], "env": ["PATH=/bin:/usr/bin"]}]}), options=["--no-pivot"])
        left = [pid for pid, line in our_processes().items() if line.startswith(word)]
        self.assertEqual(len(left), 1)
        self.assertEqual(inode(left[0], "mnt"), inode(self.state(name)["pid"], "mnt"))
        shown = {line.split()[2] for line in pathlib.Path(f"/proc/{left[0]}/mountinfo").read_text().splitlines()}
        hosts = {line.split()[2] for line in mounts() if line.partition(" - ")[2].split()[0] in ("proc", "sysfs")}
        self.assertGreater(len(shown), 5)
        self.assertEqual(shown & hosts, set())


if __name__ == "__main__":
    main()
