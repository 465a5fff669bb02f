#!/usr/bin/env python3
"""What the root of an instance must not be able to do."""

import os
import pathlib
import re
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from coppice_test import (BIN, Case, COPPICE, RUNTIME, SUPERVISOR, coppice, init_pid, main, new_name, read_proc,  # noqa: E402
                          runtime, sha256_file, start, world)

# Source: containers-common, "default_capabilities" (podman 4): these eleven.
PODMAN_CAPABILITIES = {"CHOWN": 0, "DAC_OVERRIDE": 1, "FOWNER": 3, "FSETID": 4, "KILL": 5, "SETGID": 6, "SETUID": 7,
                       "SETPCAP": 8, "NET_BIND_SERVICE": 10, "SYS_CHROOT": 18, "SETFCAP": 31}

# Errors by which an attempt may end; ENOENT only where the host itself may lack the file.
REFUSED = {"EPERM", "EACCES", "ENOSYS", "EROFS", "EAFNOSUPPORT", "EPROTONOSUPPORT"}
MAY_BE_MISSING = {"write-modprobe", "write-sysrq-trigger", "write-uevent_helper", "write-release_agent", "write-core_pattern",
                  "write-core_pattern-by-root-link", "remount-sys-rw", "umount-masked-file", "umount-masked-directory"}


def status_of(text):
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


class Rights(Case):
    def check(self, status):
        allowed = sum(1 << bit for bit in PODMAN_CAPABILITIES.values())
        for field in ("CapBnd", "CapPrm", "CapEff"):
            self.assertEqual(int(status[field], 16) & ~allowed, 0, f"{field} {status[field]}")
        for field in ("CapInh", "CapAmb"):
            self.assertEqual(int(status[field], 16), 0, field)
        self.assertEqual(status["Seccomp"], "2")
        self.assertEqual(status["Groups"].strip(), "")

    def test_capabilities_and_filter_of_run(self):
        self.check(status_of(self.run_in("cat", "/proc/self/status").out))

    def test_capabilities_and_filter_of_exec(self):
        name = self.detached()
        self.check(status_of(coppice("exec", name, "cat", "/proc/self/status").out))

    def test_the_root_of_an_instance_is_nobody_on_the_host(self):
        name = self.detached()
        status = status_of(read_proc(init_pid(name), "status").decode())
        for field in ("Uid", "Gid"):
            self.assertGreaterEqual(min(map(int, status[field].split())), 0x4000_0000)

    def test_no_descriptor_of_the_host_is_open(self):
        read, write = os.pipe()
        directory = os.open("/", os.O_RDONLY)
        for fd in (read, write, directory):
            os.set_inheritable(fd, True)
            self.addCleanup(os.close, fd)
        listing = "for f in /proc/self/fd/*; do echo ${f##*/}; done; readlink /proc/self/fd/3 /proc/self/fd/4 /proc/self/fd/5"
        done = self.sh(listing, close_fds=False)
        # The shell itself opens the directory that it lists.
        self.assertLessEqual(set(done.out.split()), {"0", "1", "2", "3"}, repr(done))
        name = self.detached()
        done = coppice("exec", name, "sh", "-c", listing, close_fds=False)
        self.assertLessEqual(set(done.out.split()), {"0", "1", "2", "3"}, repr(done))
        fds = os.listdir(f"/proc/{init_pid(name)}/fd")
        self.assertEqual(sorted(fds), ["0", "1", "2"])

    def test_working_directory_by_a_leaked_descriptor(self):
        # CVE-2024-21626
        directory = os.open("/", os.O_RDONLY)
        self.addCleanup(os.close, directory)
        os.set_inheritable(directory, True)
        name = self.detached()
        for number in range(3, 25):
            for command in (["run", "--rm", "--name", new_name(), "-w", f"/proc/self/fd/{number}", self.tree, "--"],
                            ["exec", "-w", f"/proc/self/fd/{number}", name]):
                done = coppice(*command, "sh", "-c", "ls -a; pwd", close_fds=False)
                self.assertNotIn("unreachable", done.out)
                self.assertFalse(set(done.out.split()) & {"work", "boot", "lost+found", "vmlinuz"}, repr(done))


class Attacks(Case):
    def refused(self, done):
        attempts = dict(line.split(" ", 1) for line in done.out.splitlines())
        self.assertGreater(len(attempts), 55, repr(done))
        for name, result in attempts.items():
            with self.subTest(attempt=name):
                allowed = REFUSED | ({"ENOENT"} if name in MAY_BE_MISSING else set())
                self.assertIn(result, allowed)

    def test_attempts_of_root(self):
        self.refused(self.run_in("probe", "attack"))

    def test_attempts_of_root_on_an_image(self):
        self.refused(self.run_in("probe", "attack", root=world().image()))

    def test_attempts_by_exec(self):
        name = self.detached()
        self.refused(coppice("exec", name, "probe", "attack"))

    def test_attempts_of_root_over_a_32_bit_call(self):
        # int 0x80 with the numbers of i386: unshare is 310, mount is 21. The filter must know that architecture.
        source = world().path("compat.c")
        pathlib.Path(source).write_text(
            "#include <stdio.h>\nint main(void) { long r;\n"
            '__asm__ volatile("int $0x80" : "=a"(r) : "a"(310), "b"(0x10000000L) : "memory"); printf("unshare %ld\\n", r);\n'
            '__asm__ volatile("int $0x80" : "=a"(r) : "a"(357), "b"(0L) : "memory"); printf("bpf %ld\\n", r); return 0; }\n')
        volume = world().path("compat")
        os.makedirs(volume, exist_ok=True)
        if subprocess.run(["gcc", "-static", "-o", volume + "/compat", source], check=False, capture_output=True).returncode:
            self.skipTest("no gcc")
        done = self.run_in("/v/compat", options=["-v", f"{volume}:/v:ro"])
        for line in done.out.splitlines():
            self.assertIn(int(line.split()[1]), (-1, -38), repr(done))

    def test_masked_paths_show_nothing(self):
        paths = ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/interrupts", "/proc/latency_stats", "/proc/sched_debug",
                 "/proc/1/root/proc/keys", "/proc/self/root/proc/timer_list"]
        done = self.run_in("probe", "read", *paths)
        self.assertNotIn("CONTENT", done.out)
        self.assertEqual(len(done.out.splitlines()), len(paths))
        done = self.sh("ls -A /proc/acpi /proc/scsi /sys/firmware /sys/dev/block 2>/dev/null | grep -v : | grep -c .")
        self.assertEqual(done.out, "0\n")

    def test_read_only_paths_stay_so(self):
        before = pathlib.Path("/proc/sys/kernel/core_pattern").read_text()
        done = self.sh("for f in /proc/sys/kernel/core_pattern /proc/sys/kernel/hostname /proc/sys/vm/overcommit_memory "
                       "/proc/irq/default_smp_affinity /proc/sysrq-trigger; do echo x > $f && echo WROTE $f; done")
        self.assertNotIn("WROTE", done.out)
        self.assertEqual(pathlib.Path("/proc/sys/kernel/core_pattern").read_text(), before)

    def test_no_mount_of_the_instance_is_a_device_carrier(self):
        done = self.run_in("cat", "/proc/self/mountinfo")
        for line in done.out.splitlines():
            fields = line.split()
            if fields[4] == "/":
                self.assertIn("nodev", fields[5])
            if fields[4].startswith(("/proc", "/sys")) and "devtmpfs" not in line and "tmpfs" not in line:
                self.assertIn("nosuid", fields[5])

    def test_device_nodes_in_the_image_do_not_work(self):
        root = pathlib.Path(self.tree)
        os.mknod(root / "zero", 0o666 | 0o020000, os.makedev(1, 5))
        self.addCleanup(os.unlink, root / "zero")
        done = self.sh("head -c 1 /zero | wc -c")
        self.assertEqual(done.out, "0\n", repr(done))
        self.assertIn("ermission denied", done.err)

    def test_setuid_bit_gives_no_host_rights(self):
        done = self.sh("cp /bin/busybox /tmp/id; chown 0:0 /tmp/id; chmod 4755 /tmp/id; grep CapBnd /proc/self/status")
        self.assert_ok(done)

    def test_signals_to_the_host_find_nobody(self):
        done = self.sh(f"kill -0 {os.getpid()}; kill -0 -1; echo end")
        self.assertIn("end", done.out)


class Entering(Case):
    """Processes of ours on their way into a hostile instance."""

    def hunt(self, word, seconds):
        name = self.detached()
        hunter = start("exec", name, "probe", word, str(seconds))
        self.addCleanup(hunter.communicate)
        hunter.stdout.readline()
        return name, hunter

    def test_the_programs_of_the_host_cannot_be_overwritten(self):
        # CVE-2019-5736: an image's program that is a script for /proc/self/exe, executed again and again.
        before = {program: sha256_file(program) for program in (COPPICE, RUNTIME, SUPERVISOR)}
        name, hunter = self.hunt("overwrite", 4)
        self.assert_ok(coppice("exec", name, "sh", "-c", "printf '#!/proc/self/exe\\n' > /bin/trap; chmod 755 /bin/trap"))
        end = time.monotonic() + 4
        while time.monotonic() < end:
            coppice("exec", name, "/bin/trap")
            runtime("--root", world().state + "/runtime", "exec", name, "/bin/trap")
        output, _ = hunter.communicate(timeout=20)
        self.assertNotIn("OPENED", output)
        self.assertEqual({program: sha256_file(program) for program in before}, before)

    def test_who_enters_cannot_be_looked_into(self):
        name, hunter = self.hunt("spy", 3)
        end = time.monotonic() + 3
        while time.monotonic() < end:
            coppice("exec", name, "true")
        output, _ = hunter.communicate(timeout=20)
        self.assertNotIn("LOOKED", output)

    def test_state_directory_of_others_is_refused(self):
        directory = world().path("foreign")
        os.makedirs(directory)
        os.chown(directory, 1000, 1000)
        self.addCleanup(os.rmdir, directory)
        done = runtime("--root", directory, "list")
        self.assert_one_line(done, 1, directory, "belongs to user 1000", program="coppice-runtime")
        open_to_all = world().path("open")
        os.makedirs(open_to_all)
        os.chmod(open_to_all, 0o777)
        self.addCleanup(os.rmdir, open_to_all)
        self.assert_one_line(runtime("--root", open_to_all, "list"), 1, open_to_all, "chmod 700", program="coppice-runtime")

    def test_state_is_for_root_alone(self):
        name = self.detached()
        for directory in ("instances", f"instances/{name}", "runtime", f"runtime/{name}"):
            mode = os.stat(f"{world().state}/{directory}").st_mode & 0o777
            self.assertEqual(mode & 0o077, 0, f"{directory} {mode:o}")


if __name__ == "__main__":
    main()
