#!/usr/bin/env python3
"""What the options of `coppice run` that docker made known do inside, and what they refuse."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from coppice_test import Case, cgroup_file, coppice, main, new_name, wait_until, world  # noqa: E402

CAPABILITIES = {"KILL": 5, "NET_ADMIN": 12, "SYS_CHROOT": 18, "SYS_ADMIN": 21}
USUAL = 0x800405FB  # podman's eleven


def write(name, text):
    path = world().path(name)
    pathlib.Path(path).write_text(text)
    return path


def mask(*names):
    return sum(1 << CAPABILITIES[name] for name in names)


class EnvFile(Case):
    def test_files_and_e(self):
        one = write("one.env", "# comment\n\nA=one\n  B= two words \"quoted\" # kept\nFROM_HOST\nNOT_SET\nEMPTY=\n")
        two = write("two.env", "A=two\nC=file\n")
        done = self.run_in("env", options=["--env-file", one, "-e", "C=option", "--env-file", two],
                           env={"FROM_HOST": "host value"})
        lines = self.assert_ok(done).out.splitlines()
        for line in ("A=two", "B= two words \"quoted\" # kept", "FROM_HOST=host value", "EMPTY=", "C=option"):
            self.assertIn(line, lines)
        self.assertEqual([line for line in lines if line.startswith(("NOT_SET", "#")) or line == "A=one"], [])

    def test_refused(self):
        self.assert_one_line(self.run_in("true", options=["--env-file", "/no/such"]), 125, "--env-file", "/no/such")
        for text, *words in (("A=1\n=2\n", "line 2", "no variable name"), ("export A=1\n", "line 1", "'export A'", "blank")):
            file = write("bad.env", text)
            self.assert_one_line(self.run_in("true", options=["--env-file", file]), 125, "--env-file", file, *words)


class Limits(Case):
    def test_swap(self):
        for swap, both in (("16m", 64 << 20), ("0", 48 << 20), ("-1", None)):
            with self.subTest(swap=swap):
                name = self.detached(options=["-m", "48m", "--swap", swap])
                v2 = cgroup_file(name, "memory.swap.max", "memory")
                v1 = cgroup_file(name, "memory.memsw.limit_in_bytes", "memory")
                if v2:
                    self.assertEqual(v2.read_text().strip(), str(both - (48 << 20)) if both is not None else "max")
                elif v1:
                    limit = int(v1.read_text())
                    self.assertEqual(limit, both) if both is not None else self.assertGreater(limit, 1 << 60)
                else:
                    self.skipTest("this kernel does not account for swap")

    def test_cpu_weight(self):
        for weight, shares in (("100", "1024"), ("1", "10"), ("10000", "102400")):
            name = self.detached(options=["--cpu-weight", weight])
            v2 = cgroup_file(name, "cpu.weight", "cpu")
            file = v2 or cgroup_file(name, "cpu.shares", "cpu")
            self.assertEqual(file.read_text().strip(), weight if v2 else shares)

    def test_io_weight(self):
        name = new_name()
        done = coppice("run", "-d", "--name", name, "--io-weight", "500", self.tree, "--", "sleep", "1000")
        self.addCleanup(coppice, "rm", "-f", name)
        files = [cgroup_file(name, file, controller) for file, controller in
                 (("io.bfq.weight", "io"), ("io.weight", "io"), ("blkio.bfq.weight", "blkio"), ("blkio.weight", "blkio"))]
        there = next((file for file in files if file), None)
        if done.status == 0:
            self.assertIn(there.read_text().split()[-1], ("60", "506"), there)  # OCI's scale, or that turned back
        else:  # said, not left out
            self.assert_one_line(done, 125, "blockIO weight", "BFQ")
            self.assertNotIn(name, coppice("ps", "-a").out)

    def test_ulimit(self):
        done = self.sh("ulimit -Sn; ulimit -Hn; ulimit -c", options=["--ulimit", "nofile=99:199", "--ulimit", "core=0"])
        self.assertEqual(done.out.split(), ["99", "199", "0"], repr(done))
        name = self.detached(options=["--ulimit", "nofile=98", "--ulimit", "nofile=97"])
        self.assertEqual(coppice("exec", name, "sh", "-c", "ulimit -n").out, "97\n", "the last one counts, and for exec too")

    def test_ulimit_beyond_our_own(self):
        name = new_name()
        done = coppice("run", "--name", name, "--ulimit", "nofile=1073741825", self.tree, "--", "true")
        self.assert_one_line(done, 125, "RLIMIT_NOFILE", "1073741825")
        self.assertNotIn(name, coppice("ps", "-a").out, "nothing half-made")


class Rights(Case):
    def capabilities(self, *options):
        status = self.assert_ok(self.run_in("grep", "Cap", "/proc/self/status", options=options)).out.split()
        masks = dict(zip(status[::2], (int(value, 16) for value in status[1::2])))
        self.assertEqual(masks["CapEff:"], masks["CapBnd:"])
        self.assertEqual(masks["CapPrm:"], masks["CapBnd:"])
        self.assertEqual(masks["CapInh:"] | masks["CapAmb:"], 0)
        return masks["CapEff:"]

    def test_capabilities(self):
        self.assertEqual(self.capabilities(), USUAL)
        self.assertEqual(self.capabilities("--cap-drop", "KILL", "--cap-drop", "cap_sys_chroot"),
                         USUAL & ~mask("KILL", "SYS_CHROOT"))
        self.assertEqual(self.capabilities("--cap-add", "NET_ADMIN"), USUAL | mask("NET_ADMIN"))
        self.assertEqual(self.capabilities("--cap-drop", "ALL"), 0)
        self.assertEqual(self.capabilities("--cap-drop", "ALL", "--cap-add", "CAP_KILL"), mask("KILL"))
        last = int(pathlib.Path("/proc/sys/kernel/cap_last_cap").read_text())
        everything = min((2 << last) - 1, (1 << 41) - 1)
        self.assertEqual(self.capabilities("--cap-add", "all", "--cap-drop", "KILL"), everything & ~mask("KILL"))

    def test_what_capabilities_do(self):
        self.assertEqual(self.sh("chroot / echo in").out, "in\n")
        self.assertIn("not permitted", self.sh("chroot / echo in", options=["--cap-drop", "SYS_CHROOT"]).err)
        self.assertIn("not permitted", self.sh("ip link set lo down").err)
        self.assert_ok(self.sh("ip link set lo down", options=["--cap-add", "NET_ADMIN"]))
        self.assertNotEqual(self.sh("mount -t tmpfs none /mnt").status, 0)
        done = self.sh("mkdir -p /mnt && mount -t tmpfs none /mnt && echo mounted", options=["--cap-add", "SYS_ADMIN"])
        self.assertEqual(done.out, "mounted\n", "the system call filter follows the capabilities")

    def test_exec_has_the_same(self):
        name = self.detached(options=["--cap-drop", "ALL", "--cap-add", "KILL", "--security-opt", "no-new-privileges"])
        status = coppice("exec", name, "cat", "/proc/self/status").out
        self.assertIn(f"CapEff:\t{mask('KILL'):016x}\n", status)
        self.assertIn("NoNewPrivs:\t1\n", status)

    def test_no_new_privileges(self):
        self.assertIn("NoNewPrivs:\t0\n", self.run_in("cat", "/proc/self/status").out)
        done = self.run_in("cat", "/proc/self/status", options=["--security-opt", "no-new-privileges"])
        self.assertIn("NoNewPrivs:\t1\n", done.out)

    def test_system_call_filters(self):
        done = self.run_in("cat", "/proc/self/status", options=["--security-opt", "seccomp=unconfined"])
        self.assertIn("Seccomp:\t0\n", done.out)
        rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95,
                "excludes": {"caps": ["CAP_NET_ADMIN"]}}
        profile = write("profile.json", json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))
        options = ["--security-opt", f"seccomp={profile}"]
        self.assertIn("not supported", self.sh("mkdir /new", options=options).err)
        self.assert_ok(self.sh("mkdir /new", options=[*options, "--cap-add", "NET_ADMIN"]))

    def test_apparmor(self):
        enabled = pathlib.Path("/sys/module/apparmor/parameters/enabled")
        self.assert_ok(self.run_in("true", options=["--security-opt", "apparmor=unconfined"]))
        if enabled.exists() and enabled.read_text().startswith("Y"):
            self.skipTest("what a profile does is tested with the runtime")
        done = self.run_in("true", options=["--security-opt", "apparmor=no-such-profile"])
        self.assert_one_line(done, 125, "apparmorProfile", "no-such-profile")

    def test_refused(self):
        for options, *words in ((["--cap-add", "NET"], "--cap-add", "'NET'", "capabilities(7)"),
                                (["--cap-drop", "CAP_X"], "--cap-drop", "'CAP_X'"),
                                (["--security-opt", "label=type:x"], "label=type:x", "not supported"),
                                (["--security-opt", "systempaths=unconfined"], "systempaths=unconfined", "not supported"),
                                (["--security-opt", "seccomp=/no/such"], "seccomp profile", "/no/such"),
                                (["--security-opt", "seccomp=/dev/null"], "seccomp profile", "/dev/null")):
            with self.subTest(options=options):
                self.assert_one_line(self.run_in("true", options=options), 125, *words)


class Files(Case):
    def test_read_only(self):
        script = ("for d in / /etc /home/user /bin; do touch $d/new 2>&1; done; for d in /run /tmp /var/tmp /dev/shm; do "
                  "touch $d/new && echo $d; done; cat /etc/greeting")
        done = self.sh(script, options=["--read-only"])
        lines = done.out.splitlines()
        self.assertEqual(lines[-5:], ["/run", "/tmp", "/var/tmp", "/dev/shm", "from the image"], repr(done))
        self.assertEqual(len([line for line in lines if "Read-only" in line]), len(lines) - 5, repr(done))
        self.assertGreaterEqual(len(lines), 8)

    def test_places_in_memory_of_a_read_only_root(self):
        done = self.sh("stat -c '%a %n' /run /tmp /var/tmp; grep -E ' (/run|/tmp|/var/tmp) ' /proc/mounts",
                       options=["--read-only", "--tmpfs", "/tmp:size=64k,mode=700"])
        self.assertEqual(done.out.splitlines()[:3], ["755 /run", "700 /tmp", "1777 /var/tmp"], repr(done))
        mounts = {line.split()[1]: line.split()[3].split(",") for line in done.out.splitlines()[3:]}
        self.assertIn("size=64k", mounts["/tmp"])
        for place in ("/run", "/tmp", "/var/tmp"):
            self.assertLessEqual({"rw", "nosuid", "nodev"}, set(mounts[place]), place)

    def test_volume_on_a_read_only_root(self):
        source = world().path("writable")
        os.makedirs(source, exist_ok=True)
        os.chmod(source, 0o777)
        self.assert_ok(self.sh("echo x > /data/new", options=["--read-only", "-v", f"{source}:/data"]))
        self.assertEqual(os.listdir(source), ["new"])

    def test_tmpfs(self):
        done = self.sh("grep ' /cache ' /proc/mounts; cp /bin/busybox /cache/echo; /cache/echo ran; rm /cache/echo; "
                       "head -c 3000000 /dev/zero > /cache/big; stat -c %s /cache/big",
                       options=["--tmpfs", "/cache:size=2m,mode=1777"])
        options = set(done.out.split()[3].split(","))
        self.assertLessEqual({"rw", "nosuid", "nodev", "noexec", "size=2048k"}, options)
        self.assertNotIn("ran", done.out)
        self.assertIn("ermission denied", done.err)
        self.assertEqual(done.out.split()[-1], str(2 << 20), "it is full then")
        done = self.sh("cp /bin/busybox /cache/echo; /cache/echo ran", options=["--tmpfs", "/cache:exec"])
        self.assertEqual(done.out, "ran\n", repr(done))
        self.assertIn("Read-only", self.sh("touch /cache/new", options=["--tmpfs", "/cache:ro"]).err)

    def test_tmpfs_over_a_volume(self):
        source = world().path("below")
        os.makedirs(source + "/deep", exist_ok=True)
        pathlib.Path(source, "deep/file").write_text("host\n")
        done = self.sh("ls /data /data/deep", options=["--tmpfs", "/data/deep", "-v", f"{source}:/data"])
        self.assertEqual(done.out.split(), ["/data:", "deep", "/data/deep:"], "neither hides the other")

    def loop_device(self):
        file = write("disk", "\0" * 65536)
        device = subprocess.run(["losetup", "--find", "--show", file], check=True, capture_output=True, text=True).stdout.strip()
        self.addCleanup(subprocess.run, ["losetup", "--detach", device], check=True)
        os.chmod(device, 0o600)
        return device, file

    def test_device(self):
        device, file = self.loop_device()
        done = self.sh("stat -c '%F %u %a' /dev/disk && echo written | dd of=/dev/disk conv=fsync 2>/dev/null && head -c 8 /dev/disk",
                       options=["--device", f"{device}:/dev/disk"])
        self.assertEqual(done.out, "block special file 0 600\nwritten\n", repr(done))
        subprocess.run(["blockdev", "--flushbufs", device], check=True)
        self.assertEqual(pathlib.Path(file).read_bytes()[:8], b"written\n")

    def test_device_of_every_kind_of_path(self):
        done = self.sh("for d in /dev/zero2 /mnt/deep/zero; do head -c 3 $d | wc -c; done; echo x > /dev/zero2",
                       options=["--device", "/dev/zero:/dev/zero2", "--device", "/dev/zero:/mnt/deep/zero", "--read-only"])
        self.assertEqual((done.status, done.out), (0, "3\n3\n"), repr(done))

    def test_device_to_read_only_and_for_exec(self):
        device, _ = self.loop_device()
        name = self.detached(options=["--device", f"{device}:/dev/disk:r"])
        self.assertEqual(coppice("exec", name, "sh", "-c", "head -c 5 /dev/disk | wc -c").out, "5\n")
        self.assertIn("not permitted", coppice("exec", name, "sh", "-c", "echo x > /dev/disk").err)

    def test_no_device_without_the_option(self):
        device, _ = self.loop_device()
        done = self.sh(f"test -e {device} || echo none")
        self.assertEqual(done.out, "none\n")

    def test_device_of_an_instance_that_starts_again(self):
        device, _ = self.loop_device()
        name = new_name()
        self.addCleanup(coppice, "rm", "-f", name)
        for _ in range(2):
            done = coppice("run", "--name", name, "--device", f"{device}:/dev/disk", self.tree, "--", "head", "-c", "1", "/dev/disk")
            self.assertEqual(done.out, "\0", repr(done))
        self.assertFalse(os.path.exists(f"{world().state}/instances/{name}/devices"))

    def test_refused(self):
        for options, *words in ((["--device", "/no/such"], "--device", "/no/such", "must exist"),
                                (["--device", "/etc/passwd"], "--device", "no device"),
                                (["--device", "/dev/null:/dev/x:rx"], "--device", "'rx'"),
                                (["--tmpfs", "relative"], "--tmpfs", "absolute"),
                                (["--tmpfs", "/t:size=huge"], "--tmpfs", "'size=huge'"),
                                (["--tmpfs", "/t", "--tmpfs", "/t/"], "two things", "/t inside"),
                                (["--tmpfs", "/proc"], "/proc", "not the kernel's own"),
                                (["--tmpfs", "/dev/x", "--device", "/dev/zero:/dev/x"], "two things", "/dev/x inside")):
            with self.subTest(options=options):
                self.assert_one_line(self.run_in("true", options=options), 125, *words)


class LabelsAndStop(Case):
    def config(self, name):
        return json.loads(pathlib.Path(f"{world().state}/instances/{name}/instance.json").read_text())

    def test_labels(self):
        name = self.detached(options=["--label", "who=me=you", "--label", "empty", "--label", "who=last"])
        self.assertEqual(self.config(name)["labels"], {"who": "last", "empty": ""})
        record = json.loads(pathlib.Path(f"{world().state}/runtime/{name}/state.json").read_text())
        self.assertEqual(record["annotations"]["who"], "last")

    def test_stop_signal(self):
        name = self.detached("probe", "signals", str(int(signal.SIGUSR1)), options=["--stop-signal", "SIGUSR1"])
        self.assertTrue(wait_until(lambda: "ready" in coppice("logs", name).out))
        self.assert_ok(coppice("stop", name))
        self.assertIn("USR1", coppice("logs", name).out)
        self.assertIn("exited 0", coppice("ps", "-a").out)

    def test_stop_timeout(self):
        script = "trap '' TERM; echo ready; while :; do sleep 0.1; done"
        name = self.detached("sh", "-c", script, options=["--stop-timeout", "0"])
        before = time.monotonic()
        self.assert_ok(coppice("stop", name))
        self.assertLess(time.monotonic() - before, 8, "the default would be 10 seconds")

    def test_stop_can_be_told_otherwise(self):
        name = self.detached("probe", "signals", str(int(signal.SIGUSR2)),
                             options=["--stop-signal", "KILL", "--stop-timeout", "0"])
        self.assertTrue(wait_until(lambda: "ready" in coppice("logs", name).out))
        self.assert_ok(coppice("stop", "-s", "USR2", "-t", "20", name))
        self.assertIn("exited 0", coppice("ps", "-a").out)

    def test_refused(self):
        for options, *words in ((["--label", "=x"], "--label", "no name"),
                                (["--label", "coppice.mode=x"], "--label", "coppice.mode"),
                                (["--stop-signal", "NONE"], "--stop-signal", "NONE"),
                                (["--stop-timeout", "-1"], "--stop-timeout"),
                                (["--swap", "1m"], "--swap", "--memory"),
                                (["-m", "64m", "--swap", "-2"], "--swap", "-2"),
                                (["--cpu-weight", "0"], "--cpu-weight"), (["--cpu-weight", "10001"], "--cpu-weight"),
                                (["--io-weight", "x"], "--io-weight"),
                                (["--ulimit", "nofile"], "--ulimit", "NAME=SOFT[:HARD]"),
                                (["--ulimit", "nofile=2:1"], "--ulimit", "above"),
                                (["--ulimit", "files=1"], "--ulimit", "'files'")):
            with self.subTest(options=options):
                self.assert_one_line(self.run_in("true", options=options), 125, *words)


if __name__ == "__main__":
    main()
