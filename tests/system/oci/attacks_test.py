#!/usr/bin/env python3
"""coppice-runtime under attack: bundles and images that were made by an attacker, races, what the kernel offers to a
container, and processes of ours on their way into it. docs/design/attacks.md says which known attack is which test."""

import json
import os
import pathlib
import pty
import re
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from bundle import make_bundle, with_user_namespace  # noqa: E402
from coppice_test import (LONG, MARK, RUNTIME, environment, execute, find_helper, main, make_tree, mounts, new_name,  # noqa: E402
                          our_cgroups, our_processes, runtime, sha256_file, wait_until, world)
from oci_test import PROGRAM, OciCase, strace  # noqa: E402

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../run"))
from security_test import MAY_BE_MISSING, PODMAN_CAPABILITIES, REFUSED, status_of  # noqa: E402

ALL_CAPABILITIES = [  # of Linux 5.9 and later
    "CAP_" + name for name in
    ("AUDIT_CONTROL AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND BPF CHECKPOINT_RESTORE CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID "
     "IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE MKNOD NET_ADMIN NET_BIND_SERVICE NET_BROADCAST NET_RAW "
     "PERFMON SETFCAP SETGID SETPCAP SETUID SYSLOG SYS_ADMIN SYS_BOOT SYS_CHROOT SYS_MODULE SYS_NICE SYS_PACCT SYS_PTRACE SYS_RAWIO "
     "SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG WAKE_ALARM").split()]


def with_capabilities(config, names):
    config["process"]["capabilities"] = {kind: list(names) for kind in ("bounding", "effective", "permitted")}


def like_podman(config):
    """Rights as podman and docker give them by default, without their system call filter."""
    with_capabilities(config, ["CAP_" + name for name in PODMAN_CAPABILITIES])
    config["process"]["noNewPrivileges"] = False
    config["root"]["readonly"] = False


class Attacks(OciCase):
    """Known attacks on runtimes, as bundles whose root file system was made by the attacker."""

    def evil_tree(self):
        path = world().path(new_name("evil"))
        make_tree(path)
        return path

    def test_overwriting_the_runtime_while_it_waits(self):
        # CVE-2019-5736, without a user namespace: the attacker is the host's root, confined.
        before = sha256_file(RUNTIME)
        name = self.started()
        tree = self.evil_tree()
        trap = pathlib.Path(tree, "bin/trap")
        trap.write_text("#!/proc/self/exe\n")
        trap.chmod(0o755)
        hunter = subprocess.Popen([RUNTIME, "--root", world().containers, "exec", name, "probe", "overwrite", "3"],
                                  stdout=subprocess.PIPE, text=True, env=environment(), stdin=subprocess.DEVNULL)
        hunter.stdout.readline()

        other = self.started(["sleep", "1000"], root=tree)
        inside = subprocess.Popen([RUNTIME, "--root", world().containers, "exec", other, "probe", "overwrite", "3"],
                                  stdout=subprocess.PIPE, text=True, env=environment(), stdin=subprocess.DEVNULL)
        inside.stdout.readline()
        end = time.monotonic() + 3
        while time.monotonic() < end:
            runtime("exec", other, "/bin/trap")
            runtime("exec", name, "true")
        for process in (hunter, inside):
            output, _ = process.communicate(timeout=30)
            self.assertNotIn("OPENED", output)
        self.assertEqual(sha256_file(RUNTIME), before)

    def test_executed_again_before_the_c_library_begins(self):
        # What the first image costs: the C library's first steps are brk, arch_prctl and so on.
        if os.statvfs(RUNTIME).f_flag & os.ST_RDONLY:
            self.skipTest("needs the program on a writable mount")
        done = self.assert_ok(execute([*strace("all"), RUNTIME, "create", "--help"]))
        calls = re.findall(r"^(?:\[pid +\d+\] )?(\w+)\(", done.err, re.MULTILINE)
        self.assertEqual(calls[:7], ["execve", "openat", "fstatfs", "open_tree", "mount_setattr", "execveat", calls[6]], repr(calls))
        self.assertIn("brk", calls[6:])
        # Executed by descriptor it keeps its name, whatever the word stands for.
        name = self.started()
        process = subprocess.Popen([RUNTIME, "--root", world().containers, "--log", "create", "events", name], cwd=world().directory,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=environment())
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        comm = pathlib.Path(f"/proc/{process.pid}/comm")
        self.assertTrue(wait_until(lambda: os.path.exists(f"{world().directory}/create")))
        self.assertEqual(comm.read_text().strip(), "coppice-runtime")

    def test_own_program_of_a_waiting_container(self):
        # From the host's side: whatever the waiting init runs, the file behind it cannot be opened for writing.
        name = self.create()
        pid = self.state(name)["pid"]
        with self.assertRaises(OSError):
            os.close(os.open(f"/proc/{pid}/exe", os.O_WRONLY))
        # ... and not because it is merely busy.
        link = os.open(f"/proc/{pid}/exe", os.O_PATH)
        self.addCleanup(os.close, link)
        self.assert_ok(runtime("delete", "--force", name))
        wait_until(lambda: not os.path.exists(f"/proc/{pid}"))
        with self.assertRaises(OSError) as caught:
            os.close(os.open(f"/proc/self/fd/{link}", os.O_WRONLY))
        self.assertEqual(caught.exception.errno, 30, "EROFS")

    def test_working_directory_by_a_leaked_descriptor(self):
        # CVE-2024-21626
        leaked = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
        os.set_inheritable(leaked, True)
        self.addCleanup(os.close, leaked)
        running = self.started()
        # The directory that one is in has a name in the container, and behind that name is this very directory.
        where = 'n=$(readlink /proc/self/cwd); [ "$(stat -c %d:%i "$n")" = "$(stat -c %d:%i .)" ] && echo inside || { echo "OUTSIDE $n"; ls -a; }'
        for number in range(3, 65):
            cwd = f"/proc/self/fd/{number}"
            def change(config, cwd=cwd): config["process"]["cwd"] = cwd
            for done in (self.run_bundle(["sh", "-c", where], change, close_fds=False),
                         runtime("exec", "--cwd", cwd, running, "sh", "-c", where, close_fds=False)):
                if done.status == 0:  # then it must have been a directory of the container
                    self.assertEqual(done.out, "inside\n", repr(done))

    def test_working_directory_by_a_descriptor_that_is_handed_on(self):
        # The same with --preserve-fds: this descriptor is open in the container, and a way to the host.
        preserving = ["bash", "-c", 'exec 3</; exec "$@"', "bash", RUNTIME, "--root", world().containers]
        running = self.started()
        for cwd in ("/proc/self/fd/3", "/proc/self/fd/3/etc"):
            def change(config, cwd=cwd): config["process"]["cwd"] = cwd
            name = new_name("c")
            self.addCleanup(runtime, "delete", "--force", name)
            for status, words in ((1, ["run", "--preserve-fds", "1", "-b", make_bundle(["ls"], change), name]),
                                  (255, ["exec", "--preserve-fds", "1", "--cwd", cwd, running, "ls"])):
                self.assert_one_line(execute([*preserving, *words]), status, cwd, "leads out of the container", program=PROGRAM)

    def test_masking_with_a_null_device_that_is_a_link(self):
        # CVE-2025-31133: the image's /dev/null leads to what is to be written, and no tmpfs covers /dev.
        for target in ("/proc/sys/kernel/core_pattern", "/etc/greeting", "/proc/sysrq-trigger"):
            tree = self.evil_tree()
            os.symlink(target, tree + "/dev/null")
            def change(config):
                config["mounts"] = [mount for mount in config["mounts"] if not mount["destination"].startswith("/dev")]
            pattern = pathlib.Path("/proc/sys/kernel/core_pattern").read_text()
            done = self.run_bundle(["sh", "-c", "cat /proc/keys /proc/kcore 2>/dev/null | head -c 3"], change, root=tree)
            self.assertNotEqual(done.status, 0, repr(done))
            self.assertEqual(pathlib.Path("/proc/sys/kernel/core_pattern").read_text(), pattern)
            self.assert_nothing_left()

    def test_masking_with_a_null_device_that_is_a_file(self):
        tree = self.evil_tree()
        pathlib.Path(tree, "dev/null").write_text("forged")
        def change(config):
            config["mounts"] = [mount for mount in config["mounts"] if not mount["destination"].startswith("/dev")]
        done = self.run_bundle(["cat", "/proc/keys"], change, root=tree)
        self.refused(done, "/dev/null")

    def test_masking_over_a_bind_mounted_dev(self):
        # /dev is bound from outside (the runtime then makes no nodes), and its null is a link.
        dev = world().path(new_name("dev"))
        os.mkdir(dev)
        os.symlink("/proc/sys/kernel/core_pattern", dev + "/null")
        def change(config):
            config["mounts"] = [mount for mount in config["mounts"] if not mount["destination"].startswith("/dev")]
            config["mounts"].append({"destination": "/dev", "type": "bind", "source": dev, "options": ["rbind"]})
        self.refused(self.run_bundle(["cat", "/proc/keys"], change), "mask")
        os.unlink(dev + "/null")
        pathlib.Path(dev, "null").write_text("forged")
        self.refused(self.run_bundle(["cat", "/proc/keys"], change), "/dev/null is not the null device")

    def test_proc_that_is_a_link(self):
        # CVE-2019-16884, CVE-2023-27561
        for target in ("/tmp/elsewhere", "tmp/elsewhere", "/"):
            tree = self.evil_tree()
            os.makedirs(tree + "/tmp/elsewhere", exist_ok=True)
            os.rmdir(tree + "/proc")
            os.symlink(target, tree + "/proc")
            self.refused(self.run_bundle(["true"], root=tree), "/proc")

    def test_sys_that_is_a_link(self):
        tree = self.evil_tree()
        os.rmdir(tree + "/sys")
        os.symlink("/tmp", tree + "/sys")
        self.refused(self.run_bundle(["true"], root=tree), "/sys")

    def test_mount_that_forges_proc(self):
        directory = world().path(new_name("forged"))
        os.mkdir(directory)
        for destination in ("/proc/self", "/proc/sys", "/proc/1", "/proc/thread-self", "/proc", "/proc/"):
            for kind in ({"type": "bind", "source": directory, "options": ["bind"]}, {"type": "tmpfs", "source": "x"}):
                def change(config, mount={"destination": destination, **kind}):
                    config["mounts"].append(mount)
                self.refused(self.run_bundle(["true"], change), "/proc")

    def test_sysctl_goes_to_the_real_proc(self):
        # CVE-2025-52881: whatever covers the file, or leads elsewhere, what is written is the parameter.
        canary = world().path(new_name("canary"))
        pathlib.Path(canary).write_text("untouched")
        def change(config):
            config["mounts"].insert(1, {"destination": "/proc/sys/net/ipv4/ip_forward", "type": "bind", "source": canary, "options": ["bind"]})
            config["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1"}
        done = self.run_bundle(["true"], change)
        self.assertNotEqual(done.status, 0, "nothing covers a part of proc")
        self.assertEqual(pathlib.Path(canary).read_text(), "untouched")
        def without_proc(config):
            config["mounts"] = [mount for mount in config["mounts"] if mount["destination"] != "/proc"]
            config["linux"].update(sysctl={"net.ipv4.ip_forward": "1"}, maskedPaths=[], readonlyPaths=[])
        tree = self.evil_tree()
        os.makedirs(tree + "/proc/sys/net/ipv4")
        os.symlink(canary, tree + "/proc/sys/net/ipv4/ip_forward")
        self.run_bundle(["true"], without_proc, root=tree)
        self.assertEqual(pathlib.Path(canary).read_text(), "untouched")
        for name in ("net/../kernel/core_pattern", "net/ipv4/../../kernel/core_pattern", "net..kernel.core_pattern", "net//../x"):
            # Should it ever be written: by what is in it already.
            present = pathlib.Path("/proc/sys/kernel/core_pattern").read_text().rstrip()
            self.refused(self.run_bundle(["true"], lambda config, name=name: config["linux"].update(sysctl={name: present})), "sysctl")

    def test_dev_that_is_a_link_to_the_host(self):
        # CVE-2026-41579 and others: no file of the host is made, opened or changed.
        canary = world().path(new_name("canary"))
        os.mkdir(canary)
        os.chmod(canary, 0o777)
        for target in (canary, "../" * 20 + canary.lstrip("/")):
            tree = self.evil_tree()
            os.rmdir(tree + "/dev")
            os.symlink(target, tree + "/dev")
            def change(config):
                config["root"]["readonly"] = False
                config["mounts"] = [mount for mount in config["mounts"] if not mount["destination"].startswith("/dev")]
            done = self.run_bundle(["true"], change, root=tree)
            self.assertNotEqual(done.status, 0, repr(done))
            self.assertEqual(os.listdir(canary), [])
            self.assert_nothing_left()

    def test_device_names_that_are_links(self):
        # To the host, or to a file of the image that would be covered, or get another owner.
        canary = world().path(new_name("canary"))
        pathlib.Path(canary).write_text("untouched")
        os.chmod(canary, 0o600)
        root = 1_500_000_000
        for name, target, mapped in ((name, target, mapped) for name in ("null", "tty", "full") for target in (canary, "/etc/greeting")
                                     for mapped in (False, True)):
            tree = self.evil_tree()
            os.symlink(target, f"{tree}/dev/{name}")
            before = os.stat(tree + "/etc/greeting")
            def change(config, mapped=mapped):
                config["root"]["readonly"] = False
                config["mounts"] = [mount for mount in config["mounts"] if not mount["destination"].startswith("/dev")]
                if mapped:
                    with_user_namespace(config, root)
                    os.chown(tree + "/dev", root, root)
            done = self.run_bundle(["true"], change, root=tree)
            self.assert_one_line(done, 1, "device", program="coppice-runtime")
            self.assertEqual(pathlib.Path(canary).read_text(), "untouched")
            self.assertEqual(os.stat(canary).st_mode & 0o777, 0o600)
            after = os.stat(tree + "/etc/greeting")
            self.assertEqual((before.st_mode, before.st_uid, before.st_mtime), (after.st_mode, after.st_uid, after.st_mtime))

    def test_console_name_that_is_a_link(self):
        # CVE-2025-52565
        tree = self.evil_tree()
        canary = world().path(new_name("canary"))
        pathlib.Path(canary).write_text("untouched")
        os.symlink(canary, f"{tree}/dev/console")
        path = world().path(new_name("s"))
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(path)
            listener.listen()
            def change(config):
                config["process"]["terminal"] = True
                config["root"]["readonly"] = False
                config["mounts"] = [mount for mount in config["mounts"] if mount["destination"] != "/dev"]
            os.mkdir(tree + "/dev/pts")
            os.mkdir(tree + "/dev/shm")
            os.mkdir(tree + "/dev/mqueue")
            done = runtime("create", "--console-socket", path, "-b", make_bundle(["true"], change, tree), new_name("c"))
        self.assertNotEqual(done.status, 0, repr(done))
        self.assertEqual(pathlib.Path(canary).read_text(), "untouched")
        self.assert_nothing_left()

    def test_destination_that_leads_out(self):
        # A bind mount's destination through a link of the image stays inside the image.
        canary = world().path(new_name("canary"))
        os.mkdir(canary)
        source = world().path(new_name("source"))
        os.mkdir(source)
        for link in (canary, "/" * 3 + canary, "../" * 20 + canary.lstrip("/")):
            tree = self.evil_tree()
            os.symlink(link, tree + "/mnt/link")
            def change(config):
                config["root"]["readonly"] = False
                config["mounts"].append({"destination": "/mnt/link/made", "type": "bind", "source": source, "options": ["bind"]})
            before = mounts()
            self.run_bundle(["true"], change, root=tree)
            self.assertEqual(os.listdir(canary), [])
            self.assertEqual([line for line in mounts() if line not in before and MARK in line], [])

    def test_destination_with_dots(self):
        canary = world().path(new_name("canary"))
        def change(config):
            config["root"]["readonly"] = False
            config["mounts"].append({"destination": "/../../../../../.." + canary, "type": "tmpfs", "source": "x"})
        tree = self.evil_tree()
        self.run_bundle(["true"], change, root=tree)
        self.assertFalse(os.path.exists(canary))

    def test_files_of_accounts_that_are_traps(self):
        # The runtime reads /etc/passwd of the image: a FIFO must not hold it up, a link must not lead to the host.
        tree = self.evil_tree()
        os.unlink(tree + "/etc/passwd")
        os.mkfifo(tree + "/etc/passwd")
        done = self.run_bundle(["echo", "fine"], root=tree, timeout=20)
        self.assertEqual(done.out, "fine\n", repr(done))

    def test_long_lists_do_not_smuggle_options(self):
        # CVE-2021-43784
        def change(config):
            with_user_namespace(config)
            config["linux"]["uidMappings"] = [{"containerID": i, "hostID": 1_500_000_000 + i, "size": 1} for i in range(20000)]
        self.refused(runtime("create", "-b", make_bundle(["true"], change), new_name("c")), "mapping")
        for kind in ("uts", "ipc", "network"):
            def change_path(config, kind=kind):
                config["linux"]["namespaces"] = [ns for ns in config["linux"]["namespaces"] if ns["type"] != kind]
                config["linux"]["namespaces"].append({"type": kind, "path": "/proc/self/ns/" + "x" * 100000})
            self.refused(runtime("create", "-b", make_bundle(["true"], change_path), new_name("c")), "namespace")


    def test_cgroups_deeper_than_any_path(self):
        """What a container makes in its own cgroups does not keep it from being deleted."""
        name = self.started()
        directory = next(path for path in our_cgroups() if name in path)
        maker = os.fork()
        if maker == 0:
            os.chdir(directory)
            for _ in range(70):
                os.mkdir("d" * 100)
                os.chdir("d" * 100)
            os._exit(0)
        self.assertEqual(os.waitpid(maker, 0)[1], 0)
        self.assert_ok(runtime("delete", "--force", name))
        self.assert_nothing_left()


class Races(OciCase):
    """An attacker changes a volume while another container that has it, too, is made. A bounded number of rounds."""

    ROUNDS = 1000 if LONG else 40

    def flip(self, first, second):
        """Exchanges two names again and again until the end of the test; as fast as the machine can."""
        flipper = subprocess.Popen([find_helper("probe"), "flip", first, second], stdin=subprocess.DEVNULL, env=environment())
        self.addCleanup(flipper.wait)
        self.addCleanup(flipper.kill)

    def race(self, target, destination, kind, root=None):
        """Mounts onto a name that is now a directory, now a link to `target`."""
        volume = pathlib.Path(world().path(new_name("volume")))
        (volume / "name/below").mkdir(parents=True)
        (volume / "link").symlink_to(target)
        self.flip(str(volume / "name"), str(volume / "link"))
        source = world().path(new_name("source"))
        os.mkdir(source)
        what = {"type": "tmpfs", "source": "marker"} if kind == "tmpfs" else {"type": "bind", "source": source, "options": ["bind"]}
        def change(config):
            config["root"]["readonly"] = False
            config["mounts"] += [{"destination": "/mnt", "type": "bind", "source": str(volume), "options": ["rbind", "rw"]},
                                 {"destination": destination, **what}]
        tree = world().path(new_name("tree"))
        make_tree(tree)
        bundle = make_bundle(["cat", "/proc/self/mountinfo"], change, tree)
        before = mounts()
        done = 0
        for _ in range(self.ROUNDS):
            ran = runtime("run", "-b", bundle, new_name("c"))
            done += ran.status == 0
            self.assertEqual([line for line in mounts() if line not in before and MARK in line], [])
        self.assertGreater(done, 0, "not one container could be made")

    def test_mount_target_that_becomes_a_link(self):
        # CVE-2021-30465: nothing is mounted outside
        self.race("/", "/mnt/name/below", "tmpfs")

    def test_directory_that_becomes_a_link_while_something_is_made_in_it(self):
        # CVE-2024-45310: no empty file or directory is made on the host
        for kind in ("tmpfs", "bind"):
            canary = world().path(new_name("canary"))
            os.mkdir(canary)
            self.race(canary, "/mnt/name/made/deep", kind)
            self.assertEqual(os.listdir(canary), [])

    def test_volume_for_proc_that_two_containers_share(self):
        # CVE-2019-19921: a volume at /proc's place, or above it, is refused whatever it holds at the moment
        volume = pathlib.Path(world().path(new_name("volume")))
        (volume / "proc").mkdir(parents=True)
        (volume / "link").symlink_to("/tmp")
        self.flip(str(volume / "proc"), str(volume / "link"))
        def change(config):
            config["mounts"].insert(0, {"destination": "/proc", "type": "bind", "source": str(volume / "proc"), "options": ["bind"]})
        bundle = make_bundle(["sh", "-c", "stat -f -c %T /proc /proc/self/attr; ls /proc/self/ns >/dev/null && echo real"], change)
        for _ in range(self.ROUNDS // 4):
            done = runtime("run", "-b", bundle, new_name("c"))
            if done.status == 0:
                self.assertTrue(done.out.endswith("real\n"), repr(done))

    def test_null_device_that_goes_while_paths_are_masked(self):
        # CVE-2025-31133: the one that is bound is the one that was looked at
        dev = pathlib.Path(world().path(new_name("dev")))
        dev.mkdir()
        os.mknod(dev / "null", 0o666 | 0o020000, os.makedev(1, 3))
        canary = pathlib.Path(world().path(new_name("canary")))
        canary.write_text("untouched")
        (dev / "link").symlink_to(canary)
        self.flip(str(dev / "null"), str(dev / "link"))
        def change(config):
            config["mounts"] = [mount for mount in config["mounts"] if not mount["destination"].startswith("/dev")]
            config["mounts"].append({"destination": "/dev", "type": "bind", "source": str(dev), "options": ["rbind"]})
        script = "for f in /proc/keys /proc/timer_list; do [ -e $f ] && stat -c %t:%T $f; done; cat /proc/keys"
        bundle = make_bundle(["sh", "-c", script], change)
        for _ in range(self.ROUNDS):
            done = runtime("run", "-b", bundle, new_name("c"))
            if done.status == 0:
                self.assertEqual(set(done.out.split()), {"1:3"}, repr(done))
        self.assertEqual(canary.read_text(), "untouched")


class Rights(OciCase):
    """What the program in the container has, and has not."""

    def status(self, name=None, change=None, options=()):
        command = ["cat", "/proc/self/status"]
        done = runtime("exec", *options, name, *command) if name else self.run_bundle(command, change)
        return status_of(self.assert_ok(done).out)

    def test_nothing_is_inheritable(self):
        # CVE-2022-27650, CVE-2022-29162, CVE-2022-24769
        name = self.started(change=like_podman)
        file = world().path(new_name("process"))
        capabilities = {kind: ["CAP_KILL", "CAP_CHOWN"] for kind in ("bounding", "effective", "permitted")}
        pathlib.Path(file).write_text(json.dumps({"user": {"uid": 0, "gid": 0}, "args": ["cat", "/proc/self/status"], "env": ["PATH=/bin"],
                                                  "cwd": "/", "capabilities": capabilities}))
        of_process = status_of(self.assert_ok(runtime("exec", "--process", file, name)).out)
        self.assertEqual(int(of_process["CapPrm"], 16), 1 << 5 | 1)
        for status in (self.status(change=like_podman), self.status(name), self.status(name, options=["--cap", "CAP_NET_RAW"]), of_process):
            for field in ("CapInh", "CapAmb"):
                self.assertEqual(int(status[field], 16), 0, field)

    def test_groups_and_umask_of_the_caller_do_not_come_along(self):
        groups, mask = os.getgroups(), os.umask(0o000)
        self.addCleanup(os.umask, mask)
        os.setgroups([1234, 4321])
        self.addCleanup(os.setgroups, groups)
        name = self.started()
        for done in (self.run_bundle(["sh", "-c", "id -G; umask"]), runtime("exec", name, "sh", "-c", "id -G; umask")):
            self.assertEqual(done.out.split(), ["0", "0022"], repr(done))

    def test_set_user_id_programs(self):
        tree = world().path(new_name("tree"))
        make_tree(tree)
        # busybox itself drops what its applets do not need, so another program tells.
        os.chmod(tree + "/bin/probe", 0o4755)
        def change(config, locked):
            config["process"].update(user={"uid": 1000, "gid": 1000}, noNewPrivileges=locked)
        for locked, wanted in ((True, "1000\n"), (False, "0\n")):
            done = self.run_bundle(["probe", "euid"], lambda config, locked=locked: change(config, locked), root=tree)
            self.assertEqual(done.out, wanted, repr(done))

    def test_session_keyring_is_new(self):
        seen = {self.assert_ok(execute([find_helper("probe"), "keyring"])).out}
        name = self.started()
        for done in (self.run_bundle(["probe", "keyring"]), runtime("exec", name, "probe", "keyring")):
            self.assertNotIn(done.out, seen, repr(done))
            seen.add(done.out)

    def test_nothing_can_be_injected_into_the_callers_terminal(self):
        name = self.started()
        bundle = make_bundle(["probe", "inject", "0"])
        for arguments in (["run", "-b", bundle, new_name("c")], ["exec", name, "probe", "inject", "0"]):
            pid, terminal = pty.fork()  # the terminal is the child's own, and its standard input
            if pid == 0:
                os.execve(RUNTIME, [RUNTIME, "--root", world().containers, *arguments], environment())
            said = b""
            try:
                while more := os.read(terminal, 4096):
                    said += more
            except OSError:
                pass  # the other end has gone
            os.waitpid(pid, 0)
            os.close(terminal)
            words = dict(line.split() for line in said.decode().splitlines() if line.startswith("TIOC"))
            self.assertEqual(len(words), 3, said)
            self.assertNotIn("OK", words.values(), said)

    def test_bombs_stay_inside(self):
        def change(config):
            config["linux"]["resources"].update(pids={"limit": 20}, memory={"limit": 32 << 20, "swap": 32 << 20})
        done = self.run_bundle(["probe", "fork", "100"], change)
        self.assertRegex(done.out, r"^made 1\d EAGAIN", repr(done))
        self.assert_nothing_left()
        done = self.run_bundle(["probe", "eat", "200"], change)
        self.assertEqual((done.status, done.out), (137, ""), repr(done))

    def test_everything_ends_without_a_pid_namespace(self):
        def change(config):
            config["linux"]["namespaces"] = [ns for ns in config["linux"]["namespaces"] if ns["type"] != "pid"]
        script = "for i in 1 2 3 4 5; do (trap '' TERM HUP; setsid sleep 1000) & done; sleep 1000"
        for end in (["kill", "--all"], ["delete", "--force"]):
            name = self.started(["sh", "-c", script], change)
            self.assertTrue(wait_until(lambda: sum("sleep 1000" in line for line in our_processes().values()) >= 6))
            self.assert_ok(runtime(*end, name, *(["KILL"] if end[0] == "kill" else [])))
            self.assertTrue(wait_until(lambda: not [line for line in our_processes().values() if "sleep 1000" in line]))
            self.assert_ok(runtime("delete", "--force", name))


class Defaults(OciCase):
    """What the kernel offers to a container with the usual rights, without a system call filter unless it says so."""

    def attempts(self, done):
        return dict(line.split(" ", 1) for line in done.out.splitlines())

    def all_refused(self, attempts, names):
        for name in names:
            with self.subTest(attempt=name):
                self.assertIn(attempts[name], REFUSED | ({"ENOENT"} if name in MAY_BE_MISSING else set()))

    def test_files_of_the_kernel(self):
        for user in (lambda config: like_podman(config), lambda config: (like_podman(config), with_user_namespace(config))):
            done = self.run_bundle(["probe", "attack"], user)
            attempts = self.attempts(done)
            self.assertGreater(len(attempts), 60, repr(done))
            self.all_refused(attempts, [name for name in attempts if name.startswith(("write-", "create-", "mount-", "remount-", "umount-", "mknod-"))
                                        and name != "write-cgroup-procs"])
            self.all_refused(attempts, ["init_module", "kexec_load", "reboot", "open_by_handle_at", "iopl", "settimeofday", "sethostname"])

    def test_masks_hold_in_a_user_namespace_of_ones_own(self):
        # Whoever may make a user namespace has all rights over the mounts in it. What came from outside is locked there.
        script = """try() { "$@" 2>/dev/null && echo "WORKED $*"; }
            try umount /proc/keys; try umount /proc/sys; try umount -l /proc; try umount /sys/firmware
            try mount -o remount,rw,bind /proc/sys; try mount -o remount,rw,bind /proc/sysrq-trigger; try mount -o remount,rw,bind /sys
            try mount -t proc proc /mnt; try mount -t sysfs sysfs /mnt
            mkdir /tmp/c && for c in memory devices cpu; do try mount -t cgroup -o $c x /tmp/c; done; try mount -t cgroup2 x /tmp/c && ls /tmp/c
            mount -o bind /proc /mnt 2>/dev/null && try cat /mnt/keys | grep . ; mount -o rbind /proc /mnt 2>/dev/null && cat /mnt/keys
            for f in /proc/sys/kernel/core_pattern /proc/self/root/proc/sys/kernel/core_pattern /proc/1/root/proc/sys/kernel/core_pattern; do
                echo x 2>/dev/null >$f && echo "WROTE $f"; done
            find /tmp/c -name release_agent | while read f; do echo x 2>/dev/null >$f && echo "WROTE $f"; done
            echo end"""
        def change(config):
            like_podman(config)
            config["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"})
        before = pathlib.Path("/proc/sys/kernel/core_pattern").read_text()
        done = self.run_bundle(["unshare", "-U", "-r", "-m", "sh", "-c", script], change)
        if "Operation not permitted" in done.err and not done.out:
            self.skipTest("this host lets nobody make user namespaces")
        self.assertEqual(done.out, "end\n", repr(done))
        self.assertEqual(pathlib.Path("/proc/sys/kernel/core_pattern").read_text(), before)

    def test_cgroups_of_the_host_in_a_user_namespace(self):
        # CVE-2023-25809: writable cgroup mounts without a cgroup namespace do not lead to the host's part
        def change(config):
            with_user_namespace(config)
            with_capabilities(config, ALL_CAPABILITIES)
            config["linux"]["namespaces"] = [ns for ns in config["linux"]["namespaces"] if ns["type"] != "cgroup"]
            config["mounts"].append({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev", "rw"]})
        script = """find /sys/fs/cgroup -name release_agent -o -name cgroup.procs -o -name tasks | while read f; do
                 case $f in *release_agent) echo "AGENT $f";; esac; echo 1 2>/dev/null >$f && echo "WROTE $f"; done; echo end"""
        done = self.run_bundle(["sh", "-c", script], change)
        self.assertEqual(done.out, "end\n", repr(done))

    def test_filter_of_podman(self):
        try:
            profile = json.loads(pathlib.Path("/usr/share/containers/seccomp.json").read_text())
        except FileNotFoundError:
            self.skipTest("needs podman's seccomp.json (golang-github-containers-common)")
        has = {"CAP_" + name for name in PODMAN_CAPABILITIES}
        rules = []
        for rule in profile["syscalls"]:
            includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
            if not set(includes.get("caps") or []) <= has or set(excludes.get("caps") or []) & has:
                continue
            if includes.get("arches") and "amd64" not in includes["arches"] or "amd64" in (excludes.get("arches") or []):
                continue
            rules.append({key: value for key, value in rule.items() if key in ("names", "action", "args", "errnoRet") and value is not None})
        seccomp = {"defaultAction": profile["defaultAction"], "syscalls": rules,
                   "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]}
        if "defaultErrnoRet" in profile:
            seccomp["defaultErrnoRet"] = profile["defaultErrnoRet"]
        def change(config):
            like_podman(config)
            config["linux"]["seccomp"] = seccomp
        name = self.started(change=change)
        for done in (self.run_bundle(["probe", "attack"], change), runtime("exec", name, "probe", "attack")):
            attempts = self.attempts(done)
            # What the filter itself allows: keys, since the keyring is new; user namespaces; mounts to whoever has the right.
            allowed = {"keyctl", "add_key", "request_key", "vsock", "write-cgroup-procs", "unshare-user", "clone-user", "clone3-user",
                       "mount_setattr"}
            self.all_refused(attempts, set(attempts) - allowed)
            self.assertIn(attempts["io_uring_setup"], ("EPERM", "ENOSYS"))

    def test_devices_by_detours(self):
        def change(config):
            like_podman(config)
            with_capabilities(config, ["CAP_MKNOD", "CAP_DAC_OVERRIDE", "CAP_SYS_RAWIO"])
        attempts = self.attempts(self.run_bundle(["probe", "attack"], change))
        self.all_refused(attempts, [name for name in attempts if name.startswith("mknod-")])
        self.assertIn("mknod-disk-by-path-descriptor", attempts)


class Entering(OciCase):
    """Processes of ours on their way into a hostile container."""

    def spied(self, change, *options):
        name = self.started(change=change)
        spy = subprocess.Popen([RUNTIME, "--root", world().containers, "exec", *options, name, "probe", "spy", "3"], stdout=subprocess.PIPE,
                               text=True, env=environment(), stdin=subprocess.DEVNULL)
        spy.stdout.readline()
        end = time.monotonic() + 3
        while time.monotonic() < end:
            runtime("exec", name, "true")
        output, _ = spy.communicate(timeout=20)
        self.assertNotIn("LOOKED", output)
        self.assertRegex(output, r"refused [1-9]", "nobody was met on the way in")

    def test_who_enters_cannot_be_looked_into(self):
        self.spied(None)

    def test_who_enters_cannot_be_looked_into_by_root_of_a_user_namespace(self):
        # With all rights in there: over its own processes, not over one that still carries the host's memory.
        def change(config):
            with_user_namespace(config)
            with_capabilities(config, ALL_CAPABILITIES)
        self.spied(change)

    def test_an_init_that_joins_cannot_be_looked_into(self):
        """A second container in the user and pid namespaces of the first, as in a pod."""
        def change(config):
            with_user_namespace(config)
            with_capabilities(config, ALL_CAPABILITIES)

        def joining(config):
            namespaces = [space for space in config["linux"]["namespaces"] if space["type"] != "pid"]
            config["linux"]["namespaces"] = namespaces + [{"type": kind, "path": f"/proc/{pid}/ns/{kind}"} for kind in ("user", "pid")]
        name = self.started(change=change)
        pid = self.state(name)["pid"]
        spy = subprocess.Popen([RUNTIME, "--root", world().containers, "exec", name, "probe", "spy", "3"], stdout=subprocess.PIPE,
                               text=True, env=environment(), stdin=subprocess.DEVNULL)
        spy.stdout.readline()
        bundle = make_bundle(["true"], joining)
        end = time.monotonic() + 3
        while time.monotonic() < end:
            self.assert_ok(runtime("run", "-b", bundle, new_name("c")))
        output, _ = spy.communicate(timeout=20)
        self.assertNotIn("LOOKED", output)
        self.assertRegex(output, r"refused [1-9]", "nobody was met on the way in")

    # In a pid namespace of its own, where numbers can be given out again at will.
    REUSE = """
import os, signal, socket, subprocess, sys, time
program, root, bundle, name, path, canary = sys.argv[1:]
def call(*words): return subprocess.run([program, "--root", root, *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
file = path + ".pid"
assert call("create", "-b", bundle, "--pid-file", file, name).returncode == 0
assert call("start", name).returncode == 0
pid = int(open(file).read())
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen(0)
filling = socket.socket(socket.AF_UNIX)
filling.connect(path)  # whoever comes now waits
exec_ = subprocess.Popen([program, "--root", root, "exec", "-t", "--console-socket", path, name, "touch", canary],
                         stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
while "unix_stream" not in open(f"/proc/{exec_.pid}/wchan").read() and open(f"/proc/{exec_.pid}/syscall").read().split()[0] != "42":
    time.sleep(0.01)
os.kill(pid, signal.SIGKILL)
os.waitpid(pid, 0)
with open("/proc/sys/kernel/ns_last_pid", "w") as last:
    last.write(str(pid - 1))
stranger = subprocess.Popen(["sleep", "1000"])
print("reused", stranger.pid == pid, flush=True)
for _ in range(2):
    listener.accept()
print("status", exec_.wait(20), exec_.stderr.read().strip(), flush=True)
stranger.kill()
call("delete", "--force", name)
"""

    def test_exec_when_the_number_of_the_init_is_given_out_again(self):
        canary = world().path(new_name("canary"))
        done = execute(["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", self.REUSE, RUNTIME, world().containers,
                        make_bundle(["sleep", "1000"]), new_name("c"), world().path(new_name("s")), canary], timeout=40)
        self.assertIn("reused True", done.out, repr(done))
        self.assertRegex(done.out, "status 255 .*stopped container", repr(done))
        self.assertFalse(os.path.exists(canary), "the command ran on the host")


if __name__ == "__main__":
    main()
