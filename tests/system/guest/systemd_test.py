#!/usr/bin/python3
"""The systemd cgroup driver by itself, and for an ordinary user's podman, inside the guest of `run --systemd`: `test systemd`.

podman of root has the scenarios of tests/system/clients: `test clients`.
"""

import json
import os
import pathlib
import pwd
import subprocess
import sys
import tempfile
import time
import unittest

OURS = "/coppice/bin/coppice-runtime"
RUNTIMES = {"ours": OURS, "crun": "/usr/bin/crun"}
IMAGE = "localhost/box"
CGROUP = pathlib.Path("/sys/fs/cgroup")
SCRATCH = pathlib.Path("/scratch")
PATIENCE = 120  # processors are emulated


def execute(*args, status=0, user=None, env=None):
    """Output of a command, which must end with `status` (None: with any)."""
    done = subprocess.run([str(arg) for arg in args], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=PATIENCE, check=False, user=user, env=env)
    if status is not None and done.returncode != status:
        raise AssertionError(f"{' '.join(map(str, args))}: status {done.returncode}, not {status}: {done.stderr}")
    done.out = done.stdout.strip()
    return done


def wait_until(condition, seconds=30.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.2)
    return bool(condition())


def make_tree(directory):
    for name in ("bin", "proc", "dev", "sys", "tmp", "etc"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    execute("cp", "/bin/busybox", directory / "bin/busybox")
    for name in ("sh", "sleep", "cat", "true", "dd", "id", "mknod", "test", "touch", "rm", "echo"):
        (directory / "bin" / name).symlink_to("busybox")
    (directory / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\n")
    directory.chmod(0o755)
    return directory


TREE = make_tree(SCRATCH / "tree")


def image_tar():
    tar = SCRATCH / "tree.tar"
    if not tar.exists():
        execute("tar", "-C", TREE, "-cf", tar, ".")
        tar.chmod(0o644)
    return tar


def units(pattern):
    listed = execute("systemctl", "list-units", "--all", "--no-legend", "--plain", pattern).out
    return [line.split()[0] for line in listed.splitlines()]


def properties(unit, *names):
    shown = execute("systemctl", "show", unit, "-p", ",".join(names)).out
    return dict(line.split("=", 1) for line in shown.splitlines())


class Bundle:
    """A bundle for calling a runtime without a client."""

    def __init__(self, *args, cgroups_path=None, resources=None, annotations=None):
        self.path = pathlib.Path(tempfile.mkdtemp(dir=SCRATCH))
        self.id = self.path.name
        execute("runc", "spec", "--bundle", self.path)
        config = json.loads((self.path / "config.json").read_text())
        config["process"].update({"terminal": False, "args": list(args) or ["sleep", "1000"]})
        config["root"] = {"path": str(TREE), "readonly": True}
        if cgroups_path is not None:
            config["linux"]["cgroupsPath"] = cgroups_path
        config["linux"]["resources"].update(resources or {})
        config["annotations"] = annotations or {}
        (self.path / "config.json").write_text(json.dumps(config))

    def create(self, status=0, driver="systemd"):
        # Not captured: the container keeps what it inherits.
        with open(self.path / "err", "w+", encoding="utf-8") as err:
            done = subprocess.run([OURS, f"--cgroup-manager={driver}", "create", "--bundle", self.path, self.id],
                                  stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=err, check=False,
                                  timeout=PATIENCE)
            err.seek(0)
            text = err.read()
        if done.returncode != status:
            raise AssertionError(f"create: status {done.returncode}: {text}")
        return text

    def pid(self):
        return json.loads(execute(OURS, "state", self.id).out)["pid"]

    def cgroup(self):
        return pathlib.Path(f"/proc/{self.pid()}/cgroup").read_text().strip().removeprefix("0::")

    def delete(self):
        execute(OURS, "delete", "--force", self.id)


class Driver(unittest.TestCase):
    """coppice-runtime --systemd-cgroup by itself."""

    def make(self, *args, **options):
        bundle = Bundle(*args, **options)
        self.addCleanup(bundle.delete)
        return bundle

    def test_default_scope_and_its_end(self):
        bundle = self.make()
        bundle.create()
        unit = f"coppice-{bundle.id}.scope"
        self.assertEqual(bundle.cgroup(), f"/system.slice/{unit}")
        self.assertEqual(properties(unit, "Delegate", "DefaultDependencies", "CollectMode", "ActiveState"),
                         {"Delegate": "yes", "DefaultDependencies": "no", "CollectMode": "inactive-or-failed",
                          "ActiveState": "active"})
        execute(OURS, "start", bundle.id)
        self.assertEqual(execute(OURS, "exec", bundle.id, "cat", "/proc/self/cgroup").out, "0::/")
        execute(OURS, "delete", "--force", bundle.id)
        self.assertTrue(wait_until(lambda: not units(unit), 10), units(unit))
        self.assertFalse((CGROUP / "system.slice" / unit).exists())

    def test_slices_lie_in_each_other(self):
        bundle = self.make(cgroups_path="one-two.slice:pre:name")
        bundle.create()
        self.assertEqual(bundle.cgroup(), "/one.slice/one-two.slice/pre-name.scope")

    def test_limits_outlive_a_reload(self):
        bundle = self.make(
            cgroups_path="machine.slice:test:limits",
            resources={"memory": {"limit": 64 << 20, "swap": 96 << 20, "reservation": 16 << 20},
                       "cpu": {"quota": 12500, "period": 50000, "shares": 2048, "cpus": "1", "mems": "0"},
                       "pids": {"limit": 77}, "unified": {"memory.high": str(48 << 20)}})
        bundle.create()
        expected = {"memory.max": str(64 << 20), "memory.swap.max": str(32 << 20), "memory.low": str(16 << 20),
                    "memory.high": str(48 << 20), "cpu.max": "12500 50000", "cpu.weight": "79", "cpuset.cpus": "1",
                    "cpuset.mems": "0", "pids.max": "77"}
        directory = CGROUP / "machine.slice/test-limits.scope"

        def now():
            return {name: (directory / name).read_text().strip() for name in expected}

        self.assertEqual(now(), expected)
        execute("systemctl", "daemon-reload")
        self.assertEqual(now(), expected)
        execute("systemctl", "set-property", "--runtime", "test-limits.scope", "IOWeight=50")  # makes it write all
        self.assertEqual(now(), expected)
        self.assertEqual(
            properties("test-limits.scope", "MemoryMax", "MemorySwapMax", "MemoryLow", "MemoryHigh", "TasksMax",
                       "CPUWeight", "CPUQuotaPerSecUSec", "CPUQuotaPeriodUSec", "AllowedCPUs", "AllowedMemoryNodes"),
            {"MemoryMax": str(64 << 20), "MemorySwapMax": str(32 << 20), "MemoryLow": str(16 << 20),
             "MemoryHigh": str(48 << 20), "TasksMax": "77", "CPUWeight": "79", "CPUQuotaPerSecUSec": "250ms",
             "CPUQuotaPeriodUSec": "50ms", "AllowedCPUs": "1", "AllowedMemoryNodes": "0"})

    def test_update_tells_systemd(self):
        bundle = self.make(cgroups_path="machine.slice:test:update",
                           resources={"memory": {"limit": 64 << 20, "swap": 96 << 20}, "pids": {"limit": 77}})
        bundle.create()
        execute(OURS, "update", "--memory", 48 << 20, "--pids-limit", 33, bundle.id)
        directory = CGROUP / "machine.slice/test-update.scope"
        for _ in range(2):
            self.assertEqual([(directory / name).read_text().strip() for name in
                              ("memory.max", "memory.swap.max", "pids.max")], [str(48 << 20), str(48 << 20), "33"])
            execute("systemctl", "daemon-reload")
        self.assertEqual(properties("test-update.scope", "MemoryMax", "MemorySwapMax", "TasksMax"),
                         {"MemoryMax": str(48 << 20), "MemorySwapMax": str(48 << 20), "TasksMax": "33"})

    def test_devices_stay_closed_after_a_reload(self):
        disk = os.stat("/dev/vda").st_rdev
        script = f"mknod /tmp/d b {os.major(disk)} {os.minor(disk)} && dd if=/tmp/d of=/dev/null bs=512 count=1"
        bundle = self.make()
        config = json.loads((bundle.path / "config.json").read_text())
        for kind in config["process"]["capabilities"].values():
            kind.append("CAP_MKNOD")
        config["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"})
        config["linux"]["resources"] = {"devices": [{"allow": False, "access": "rwm"},
                                                    {"allow": True, "type": "b", "access": "m"}]}
        (bundle.path / "config.json").write_text(json.dumps(config))
        bundle.create()
        execute(OURS, "start", bundle.id)
        for _ in range(2):
            done = execute(OURS, "exec", bundle.id, "sh", "-c", script, status=None)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("/tmp/d': Operation not permitted", done.stderr)
            execute(OURS, "exec", bundle.id, "sh", "-c", "rm /tmp/d; echo x >/dev/null")
            execute("systemctl", "daemon-reload")

    def test_annotations_are_properties(self):
        bundle = self.make(annotations={"org.systemd.property.TimeoutStopSec": "7",
                                        "org.systemd.property.Description": "'by annotation'"})
        bundle.create()
        self.assertEqual(properties(f"coppice-{bundle.id}.scope", "TimeoutStopUSec", "Description"),
                         {"TimeoutStopUSec": "7s", "Description": "by annotation"})

    def test_refusals_are_one_line_and_leave_nothing(self):
        for words, options in [
                ("SLICE:PREFIX:NAME", {"cgroups_path": "/a/path"}),
                ("is not the name of a slice", {"cgroups_path": "a:b:c"}),
                ("cannot be the name of a scope", {"cgroups_path": "a.slice:b:"}),
                ("org.systemd.property.TimeoutStopUSec", {"annotations": {"org.systemd.property.TimeoutStopUSec": "x y"}}),
                ("NoSuchThing", {"annotations": {"org.systemd.property.NoSuchThing": "true"}})]:
            bundle = Bundle(**options)
            text = bundle.create(status=1)
            self.assertEqual(text.count("\n"), 1, text)
            self.assertIn(words, text)
            self.assertIn("does not exist", execute(OURS, "state", bundle.id, status=1).stderr)
            self.assertEqual(units("coppice-*.scope"), [])

    def test_a_unit_of_that_name_is_a_conflict(self):
        first = self.make(cgroups_path="system.slice:same:name")
        first.create()
        text = Bundle(cgroups_path="system.slice:same:name").create(status=1)
        self.assertIn("is in use by process", text)
        other = Bundle(cgroups_path="machine.slice:same:name").create(status=1)  # one name, whatever the slice
        self.assertIn("UnitExists", other)
        self.assertEqual(execute(OURS, "state", first.id).returncode, 0)

    def test_none_with_cgroup_manager_disabled(self):
        bundle = self.make()
        bundle.create(driver="disabled")
        self.assertEqual(bundle.cgroup(), pathlib.Path("/proc/self/cgroup").read_text().strip().removeprefix("0::"))
        text = Bundle(resources={"pids": {"limit": 5}}).create(status=1, driver="disabled")
        self.assertIn("limits need a cgroup", text)


class Rootless(unittest.TestCase):
    """podman of an ordinary user with a systemd of their own."""

    @classmethod
    def setUpClass(cls):
        execute("useradd", "-m", "-d", "/scratch/home", "-s", "/bin/bash", "kim")
        kim = pwd.getpwnam("kim")
        if "kim" not in pathlib.Path("/etc/subuid").read_text():
            for file in ("/etc/subuid", "/etc/subgid"):
                with open(file, "a", encoding="utf-8") as out:
                    out.write("kim:300000:65536\n")
        execute("loginctl", "enable-linger", "kim")
        cls.uid = kim.pw_uid
        bus = pathlib.Path(f"/run/user/{kim.pw_uid}/bus")
        if not wait_until(bus.exists, 60):
            raise AssertionError("the user's bus does not come up")
        execute(*cls.as_user("podman", "import", "--quiet", image_tar(), IMAGE))

    @classmethod
    def as_user(cls, *command):
        return ("systemd-run", "--quiet", "--user", "--machine=kim@.host", "--pipe", "--wait", "--collect",
                *command)

    def run_as_user(self, runtime, manager):
        script = ("cat /proc/self/uid_map; cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max; id -u;"
                  "echo x >/dev/null && echo written")
        done = execute(*self.as_user(
            "podman", "--runtime", RUNTIMES[runtime], "--cgroup-manager", manager, "run", "--rm", "--network=none",
            "--memory=64m", "--pids-limit=50", IMAGE, "sh", "-c", script), status=None)
        return [done.returncode, done.out.split() if done.returncode == 0 else done.stdout + done.stderr]

    def test_run(self):
        seen = {runtime: self.run_as_user(runtime, "systemd") for runtime in RUNTIMES}
        print(f"rootless: {seen}", flush=True)
        self.assertEqual(seen["ours"], seen["crun"])


if __name__ == "__main__":
    program = unittest.main(exit=False, verbosity=2)
    for test, reason in program.result.skipped:
        print(f"skipped: {test}: {reason}", flush=True)
    sys.exit(0 if program.result.wasSuccessful() else 1)
