#!/usr/bin/env python3
"""`--boot`: Debian with its systemd, from the first message on the console to the end that `coppice stop` asks for.

COPPICE_BOOT_IMAGE names an image to boot (default: the one that boot-image makes)."""

import json
import os
import pathlib
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../run"))
from coppice_test import PATIENCE, cgroup_file, coppice, init_pid, is_cgroup_v2_only, main, new_name, skip_all, wait_until, world  # noqa: E402
from terminal_test import TerminalCase  # noqa: E402


def boot_image():
    if "COPPICE_BOOT_IMAGE" in os.environ:
        return os.environ["COPPICE_BOOT_IMAGE"]
    made = subprocess.run([pathlib.Path(__file__).with_name("boot-image")], capture_output=True, text=True, check=False)
    if made.returncode == 77:
        skip_all(made.stderr.strip())
    assert made.returncode == 0, made
    return made.stdout.strip()


class BootCase(TerminalCase):
    @classmethod
    def setUpClass(cls):
        cls.image = boot_image()

    def booted(self, *options):
        """A running system; `detached` waits for nothing but its start."""
        name = self.detached("/sbin/init", options=["--boot", *options], root=self.image, word="b")
        self.assertEqual(self.state(name), "running\n", self.inside(name, "systemctl --failed --no-pager; journalctl -p warning --no-pager").out)
        return name

    def inside(self, name, script, **options):
        return coppice("exec", name, "sh", "-c", script, **options)

    def state(self, name):
        """What it says of itself when it has started; at first there is nobody to ask."""
        said = []
        wait_until(lambda: said.append(self.inside(name, "systemctl is-system-running --wait").out) or
                   said[-1] not in ("", "offline\n", "initializing\n", "starting\n"), PATIENCE, 0.2)
        return said[-1]

    def config(self, name):
        return json.loads(pathlib.Path(world().state, "instances", name, "instance.json").read_text())


class Systems(BootCase):
    def test_runs_and_stops_as_asked(self):
        name = new_name("b")
        self.assert_ok(coppice("run", "-d", "--boot", "--name", name, self.image))
        self.addCleanup(coppice, "rm", "-f", name)
        self.assertEqual(self.state(name), "running\n", self.inside(name, "systemctl --failed --no-pager; journalctl -p warning --no-pager").out)
        self.assertEqual(self.inside(name, "systemctl --failed --no-legend --no-pager").out, "")
        self.assertEqual(self.inside(name, "cat /run/host/container-manager; tr '\\0' '\\n' < /proc/1/environ | grep ^container=").out,
                         "coppice\ncontainer=coppice\n")
        self.assertEqual(self.inside(name, "stat -f -c %T /run /run/lock /tmp /sys/fs/cgroup").out, "tmpfs\ntmpfs\ntmpfs\ncgroup2fs\n")
        self.assertTrue(wait_until(lambda: f"{name} login: " in coppice("logs", name).out, PATIENCE), "the console is in the log")
        self.assert_ok(self.inside(name, "systemd-run --quiet --unit=witness -p ExecStop='/bin/sh -c \"echo stopped > /var/witness\"' sleep 1000"))
        config = self.config(name)
        self.assertEqual((config["boot"], config["command"], config["stopSignal"], config["stopTimeoutSeconds"]),
                         (True, ["/sbin/init"], "RTMIN+3", 90))
        begin = time.monotonic()
        self.assert_ok(coppice("stop", name, timeout=max(PATIENCE, 100)))
        print(f"stopped after {time.monotonic() - begin:.1f} s", flush=True)
        self.assertEqual(self.config(name)["exitStatus"], 0, "it was not killed")
        self.assertTrue(coppice("logs", name).out.rstrip().endswith("Exiting container."))
        self.assertEqual(pathlib.Path(world().state, "instances", name, "layer/upper/var/witness").read_text(), "stopped\n")
        self.assert_ok(coppice("rm", name))
        self.assert_nothing_left()

    def test_login_on_the_console(self):
        name = new_name("b")
        terminal = self.open("run", "--rm", "--name", name, "-it", "--boot", self.image)
        terminal.expect("Welcome to ", PATIENCE)
        terminal.expect(f"{name} login: ", PATIENCE)
        terminal.type("root\n")
        terminal.expect("# ", PATIENCE)
        terminal.type("tty; id -un; loginctl --no-legend list-sessions | grep -q root && echo session; systemctl is-active user@0.service; echo d''one\n")
        told = terminal.expect("done", PATIENCE).split("\r\n")[1:5]
        self.assertEqual([line.rpartition("\r")[2] for line in told], ["/dev/console", "root", "session", "active"])
        terminal.type("exit\n")
        terminal.expect(" login: ", PATIENCE)  # the getty comes back: the console was not hung up
        self.inside(name, "systemctl poweroff")
        self.assertEqual(terminal.end(PATIENCE), 0)

    def test_status_of_its_init(self):
        name = self.booted()
        self.inside(name, "systemctl exit 7")
        self.assertTrue(wait_until(lambda: self.config(name).get("exitStatus") == 7, PATIENCE), self.config(name))

    def test_units_with_sandboxes(self):
        name = self.booted()
        options = "-p ProtectSystem=strict -p PrivateTmp=yes -p NoNewPrivileges=yes -p MemoryMax=50M -p TasksMax=20"
        done = self.inside(name, f"systemd-run --quiet --wait --pipe {options} cat /proc/self/cgroup")
        self.assertIn("0::/system.slice/run-", done.out, repr(done))
        if is_cgroup_v2_only():
            done = self.inside(name, "systemd-run --quiet --wait --pipe -p MemoryMax=50M sh -c 'cat /sys/fs/cgroup/$(cut -d: -f3 /proc/self/cgroup)/memory.max'")
            self.assertEqual(done.out, f"{50 << 20}\n", repr(done))

    def test_limits_hold(self):
        name = self.booted("-m", "256m", "--pids", "150")
        done = self.inside(name, "systemd-run --quiet --wait -p Type=exec sh -c 'head -c 600m /dev/zero | tail -c 500m'")
        self.assertNotEqual(done.status, 0, "more memory than there is")
        self.assertEqual(self.inside(name, "echo still there").out, "still there\n")
        file = cgroup_file(name, "pids.max", "pids")
        self.assertEqual(file.read_text(), "150\n")
        self.inside(name, "systemd-run --quiet --wait -p TasksMax=infinity sh -c 'for i in $(seq 400); do sleep 20 & done'")
        self.assertLessEqual(int(file.with_name("pids.current").read_text()), 150)

    def test_a_command_of_ones_own(self):
        done = coppice("run", "--rm", "--name", new_name(), "--boot", self.image, "--", "sh", "-c", "echo pid $$ of $container; tty > /dev/null && exit 5")
        self.assertEqual((done.status, done.out.split("\r\n")[0]), (5, "pid 1 of coppice"))

    def test_two_inits_are_refused(self):
        self.assert_one_line(coppice("run", "--boot", "--init", self.image), 125, "--boot and --init")


class Attacks(BootCase):
    """Its root has a cgroup of its own, and no way to another one. What it may does not depend on what its init is."""

    def idle(self, *options):
        return self.detached("sleep", "1000", options=["--boot", *options], root=self.image, word="b")

    attempts = """
        cd /sys/fs/cgroup
        for file in *; do
            if [ -f "$file" ] && (: >> "$file") 2> /dev/null; then echo "open $file"; fi
        done
        mkdir /sys/fs/cgroup/own && echo $$ > /sys/fs/cgroup/own/cgroup.procs && echo moved
        mkdir -p /mnt/v2 /mnt/v1
        mount -t cgroup2 none /mnt/v2 2> /dev/null && (echo 0 >> /mnt/v2/cgroup.max.depth) 2> /dev/null && echo "wrote a limit"
        for hierarchy in none,name=systemd none,name=coppice memory devices rdma; do
            mount -t cgroup -o $hierarchy none /mnt/v1 2> /dev/null || continue
            for file in release_agent notify_on_release cgroup.procs tasks; do
                (echo 1 >> /mnt/v1/$file) 2> /dev/null && echo "wrote $file of $hierarchy"
            done
            mkdir /mnt/v1/child 2> /dev/null && echo "made a cgroup in $hierarchy"
            mount -o remount,release_agent=/x /mnt/v1 2> /dev/null && echo "remounted $hierarchy"
            umount /mnt/v1
        done
        echo end
    """

    def test_cgroups_of_others(self):
        delegated = set(pathlib.Path("/sys/kernel/cgroup/delegate").read_text().split())
        for options in ((), ("--cap-add", "SYS_ADMIN")):
            with self.subTest(options=options):
                name = self.idle(*options)
                done = self.inside(name, self.attempts)
                lines = done.out.splitlines()
                opened = {line.split()[1] for line in lines if line.startswith("open ")}
                self.assertIn("cgroup.procs", opened, repr(done))
                self.assertLessEqual(opened, delegated, "limits are the host's")
                self.assertEqual([line for line in lines if not line.startswith("open ")], ["moved", "end"], repr(done))
                self.assert_ok(coppice("rm", "-f", name))
                self.assert_nothing_left("a cgroup that it made goes with it")

    def test_it_sees_one_hierarchy_and_nothing_above_it(self):
        name = self.idle()
        done = self.inside(name, "grep cgroup /proc/self/mountinfo; find / -xdev -name release_agent; grep ^0: /proc/1/cgroup")
        lines = done.out.splitlines()
        self.assertEqual([(line.split()[3], line.split()[4], line.split(" - ")[1].split()[0]) for line in lines if " - " in line],
                         [("/", "/sys/fs/cgroup", "cgroup2")], repr(done))
        self.assertNotIn("release_agent", done.out)
        self.assertIn("0::/", lines)

    def test_owner_outside(self):
        name = self.idle()
        own = cgroup_file(name, "cgroup.procs", "unified").parent
        root = os.stat(f"/proc/{init_pid(name)}").st_uid
        self.assertEqual((own.stat().st_uid, own.parent.stat().st_uid), (root, 0))
        self.assertEqual((own / "cgroup.max.descendants").stat().st_uid, 0)
        ordinary = cgroup_file(self.detached(), "cgroup.procs", "unified")
        self.assertEqual((ordinary.stat().st_uid, ordinary.parent.stat().st_uid), (0, 0), "what is no whole system owns none")


if __name__ == "__main__":
    main()
