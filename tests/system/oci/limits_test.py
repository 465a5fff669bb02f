#!/usr/bin/env python3
"""Limits of containers and the commands around them: update, pause, resume, events, ps. On hybrid hosts and on v2 alone."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from coppice_test import RUNTIME, environment, is_cgroup_v2_only, main, new_name, runtime, wait_until, world  # noqa: E402
from bundle import make_bundle  # noqa: E402
from oci_test import PROGRAM, OciCase  # noqa: E402

MIB = 1 << 20
READ_BY_CLIENTS = ("memory", "cpu", "cpuacct", "pids", "blkio")
V2 = is_cgroup_v2_only()


def resources(**parts):
    def change(config):
        config["linux"]["resources"].update(parts)
    return change


class LimitsCase(OciCase):
    def record(self, name):
        return json.loads(pathlib.Path(f"{world().containers}/{name}/state.json").read_text())

    def directory(self, name, controller):
        record = self.record(name)
        return pathlib.Path(record["cgroup"] if V2 else record["cgroupV1"][controller])

    def value(self, name, controller, v1, v2):
        return (self.directory(name, controller) / (v2 if V2 else v1)).read_text().strip()

    def memory(self, name):
        return self.value(name, "memory", "memory.limit_in_bytes", "memory.max")

    def pids_limit(self, name):
        return self.value(name, "pids", "pids.max", "pids.max")

    def swap(self, name):
        """Memory and swap together, as v1 counts."""
        text = self.value(name, "memory", "memory.memsw.limit_in_bytes", "memory.swap.max")
        return text if not V2 or text == "max" else str(int(text) + int(self.memory(name)))

    def status(self, name):
        return self.state(name)["status"]

    def update(self, name, *options, **more):
        return self.assert_ok(runtime("update", *options, name, **more))


class Cgroups(LimitsCase):
    def test_statistics_can_be_read_without_limits(self):
        name = self.started()
        pid = str(self.state(name)["pid"])
        for controller in READ_BY_CLIENTS:
            if not V2 and not os.path.isdir(f"/sys/fs/cgroup/{controller}"):
                continue
            directory = self.directory(name, controller)
            self.assertIn(pid, (directory / "cgroup.procs").read_text().split(), directory)
        self.assertGreater(int(self.value(name, "memory", "memory.usage_in_bytes", "memory.current")), 0)
        self.assertEqual(self.value(name, "pids", "pids.current", "pids.current"), "1")

    def test_device_list_of_v1(self):
        if V2:
            self.skipTest("cgroup v2 has no list")
        if not os.path.isdir("/sys/fs/cgroup/devices"):
            self.skipTest("no v1 devices controller")
        bare = self.started()
        self.assertNotIn("devices", self.record(bare)["cgroupV1"], "a bare \"deny all\" needs no list")
        name = self.started(change=lambda config: config["linux"]["resources"]["devices"].append(
            {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"}))
        listed = (self.directory(name, "devices") / "devices.list").read_text().splitlines()
        self.assertIn("c 10:229 rw", listed)
        self.assertIn("c 1:3 rwm", listed)
        self.assertNotIn("a *:* rwm", listed)

    def test_many_limits(self):
        name = self.started(change=resources(
            memory={"limit": 64 * MIB, "swap": 96 * MIB, "reservation": 32 * MIB, "kernel": 5, "kernelTCP": 5,
                    "checkBeforeUpdate": True, "useHierarchy": True, **({} if V2 else {"swappiness": 10})},
            cpu={"shares": 512, "quota": 30000, "period": 60000, "burst": 10000, "cpus": "0", "mems": "0"},
            pids={"limit": 33}))
        self.assertEqual(self.memory(name), str(64 * MIB))
        self.assertEqual(self.value(name, "memory", "memory.soft_limit_in_bytes", "memory.low"), str(32 * MIB))
        self.assertEqual(self.pids_limit(name), "33")
        if V2:
            self.assertEqual(self.value(name, "cpu", "", "cpu.max"), "30000 60000")
            self.assertEqual(self.value(name, "cpu", "", "cpu.weight"), "20")
        else:
            self.assertEqual(self.value(name, "memory", "memory.swappiness", ""), "10")
            self.assertEqual(self.value(name, "cpu", "cpu.cfs_period_us", ""), "60000")
            self.assertEqual(self.value(name, "cpu", "cpu.cfs_quota_us", ""), "30000")
            self.assertEqual(self.value(name, "cpu", "cpu.shares", ""), "512")
        self.assertEqual(self.value(name, "cpu", "cpu.cfs_burst_us", "cpu.max.burst"), "10000")
        self.assertEqual(self.value(name, "cpuset", "cpuset.cpus", "cpuset.cpus"), "0")

    def test_what_the_kernel_lacks_is_named(self):
        if V2:
            self.refused(self.run_bundle(["true"], resources(memory={"disableOOMKiller": True})), "disableOOMKiller", "cgroup v1")
            self.refused(self.run_bundle(["true"], resources(cpu={"realtimeRuntime": 5})), "realtimeRuntime", "cgroup v1")
        elif not os.path.isdir("/sys/fs/cgroup/net_cls"):
            self.refused(self.run_bundle(["true"], resources(network={"classID": 5})), "net_cls")
            self.refused(self.run_bundle(["true"], resources(unified={"memory.high": "1"})), "v2")
        self.refused(self.run_bundle(["true"], resources(hugepageLimits=[{"pageSize": "3MB", "limit": 1}])), "huge" if V2 else "hugetlb")
        # A device that nobody has
        self.refused(self.run_bundle(["true"], resources(blockIO={"throttleReadBpsDevice": [{"major": 500, "minor": 9, "rate": 1}]})),
                     "throttleReadBpsDevice")


class Update(LimitsCase):
    def test_options(self):
        name = self.started(change=resources(memory={"limit": 64 * MIB, "swap": 64 * MIB}))
        self.update(name, "--memory", "100m", "--memory-swap", "200m", "--memory-reservation", "50m", "--pids-limit", "22",
                    "--cpu-quota", "40000", "--cpu-share", "2048", "--cpu-burst", "1000")
        self.assertEqual((self.memory(name), self.swap(name), self.pids_limit(name)), (str(100 * MIB), str(200 * MIB), "22"))
        self.update(name, "--memory", "30m", "--memory-swap", "40m")  # down again: the other order on v1
        self.assertEqual((self.memory(name), self.swap(name)), (str(30 * MIB), str(40 * MIB)))
        self.update(name, "--cpu-period", "50000", "--pids-limit", "-1")
        self.assertEqual(self.pids_limit(name), "max")
        if V2:
            self.assertEqual(self.value(name, "cpu", "", "cpu.max"), "40000 50000", "the quota stays")
        else:
            self.assertEqual(self.value(name, "cpu", "cpu.cfs_quota_us", ""), "40000")
            self.assertEqual(self.value(name, "cpu", "cpu.cfs_period_us", ""), "50000")
            self.assertEqual(self.value(name, "cpu", "cpu.shares", ""), "2048")
        self.update(name, "--memory", "-1")
        self.assertIn(self.memory(name), ("max", "9223372036854771712"))
        self.assertIn(self.swap(name), ("max", "9223372036854771712"))
        self.assertEqual(self.status(name), "running")

    def test_resources_as_docker_sends_them(self):
        name = self.started(change=resources(memory={"limit": 64 * MIB}, cpu={"shares": 512}))
        sent = {"blockIO": {"weight": 0}, "memory": {"limit": 70 * MIB, "reservation": 0, "swap": 0, "kernel": 0},
                "cpu": {"shares": 0, "period": 0, "quota": 0, "cpus": "", "mems": ""}, "pids": {"limit": 0}, "devices": [{"allow": True}]}
        self.update(name, "--resources", "-", stdin=json.dumps(sent))
        self.assertEqual(self.memory(name), str(70 * MIB))
        self.assertEqual(self.value(name, "cpu", "cpu.shares", "cpu.weight"), "20" if V2 else "512")
        file = world().path(new_name("resources"))
        pathlib.Path(file).write_text(json.dumps({"pids": {"limit": 9}}))
        self.update(name, f"--resources={file}")
        self.assertEqual(self.pids_limit(name), "9")

    def test_limits_hold_for_later_programs_and_are_remembered(self):
        name = self.started()
        self.update(name, "--pids-limit", "3", "--memory", "40m")
        remembered = json.loads(self.record(name)["resources"])
        self.assertEqual((remembered["pids"]["limit"], remembered["memory"]["limit"]), (3, 40 * MIB))
        done = runtime("exec", name, "sh", "-c", "for i in 1 2 3 4; do sleep 5 & done; wait")
        self.assertIn("fork", done.err, repr(done))
        self.update(name, "--memory-swap", "60m")  # v2 needs the limit of the first update for that
        self.assertEqual(self.swap(name), str(60 * MIB))

    def test_a_controller_that_was_not_joined(self):
        name = self.started(["sh", "-c", "sleep 1000 & exec sleep 1000"])
        self.assertTrue(wait_until(lambda: len(json.loads(runtime("ps", "--format", "json", name).out)) == 2))
        self.update(name, "--cpuset-cpus", "0")
        for pid in json.loads(runtime("ps", "--format", "json", name).out):
            self.assertIn("Cpus_allowed_list:\t0\n", pathlib.Path(f"/proc/{pid}/status").read_text())
        done = self.assert_ok(runtime("exec", name, "grep", "Cpus_allowed_list", "/proc/self/status"))
        self.assertEqual(done.out.split(), ["Cpus_allowed_list:", "0"])

    def test_of_a_container_that_keeps_forking(self):
        name = self.started(["sh", "-c", "while :; do /bin/true; done"])
        self.assert_ok(self.update(name, "--memory", "64m", "--cpuset-cpus", "0"))
        self.assert_ok(self.update(name, "--memory", "65m", "--pids-limit", "50"))
        self.assertEqual(self.memory(name), str(65 << 20))

    def test_all_or_nothing(self):
        name = self.started(change=resources(memory={"limit": 64 * MIB, "swap": 128 * MIB}, pids={"limit": 50}))
        before = self.record(name)
        for options in (("--memory", "32m", "--pids-limit", "10", "--cpuset-cpus", "4000"),
                        ("--memory", "80m", "--memory-swap", "90m", "--pids-limit", "9000000000000"),
                        ("--memory", "80m", "--cpu-quota", "1")):
            done = runtime("update", *options, name)
            self.assert_one_line(done, 1, name, "nothing was changed", program=PROGRAM)
            self.assertEqual((self.memory(name), self.swap(name), self.pids_limit(name)), (str(64 * MIB), str(128 * MIB), "50"), repr(done))
        self.assertEqual(self.record(name)["resources"], before["resources"])

    def test_more_in_use_than_a_limit_allows(self):
        name = self.started(["sh", "-c", "dd if=/dev/zero of=/dev/shm/x bs=1M count=30 2>/dev/null; touch /dev/shm/done; sleep 1000"])
        self.assertTrue(wait_until(lambda: runtime("exec", name, "test", "-e", "/dev/shm/done").status == 0))
        done = runtime("update", "--resources", "-", name, stdin=json.dumps({"memory": {"limit": 8 * MIB, "checkBeforeUpdate": True}}))
        self.assert_one_line(done, 1, "in use", program=PROGRAM)
        self.assertEqual(self.status(name), "running")

    def test_bad_requests(self):
        name = self.started()
        for options, words in ((("--memory", "12q"), ["--memory", "unit"]), (("--pids-limit", "x"), ["--pids-limit"]),
                               (("--cpuset-cpus", "all"), ["cpus"]), (("--blkio-weight", "5"), ["weight"]),
                               (("--resources", "/nonexistent"), ["--resources", "/nonexistent"]), (("--nonsense", "1"), ["--nonsense"])):
            self.assert_one_line(runtime("update", *options, name), 1, *words, program=PROGRAM)
        for text in ("", "[]", "{", '{"memory": 5}', '{"memory": {"limit": "1"}}'):
            self.assert_one_line(runtime("update", "-r", "-", name, stdin=text), 1, "resources", program=PROGRAM)
        self.assert_one_line(runtime("update", "--memory", "5m", "nobody"), 1, "nobody", "does not exist", program=PROGRAM)
        done = self.assert_ok(runtime("update", "--kernel-memory", "5m", name))
        self.assertIn("ignored", done.err)
        self.assert_ok(runtime("kill", name, "KILL"))
        self.assertTrue(wait_until(lambda: self.status(name) == "stopped"))
        self.assert_one_line(runtime("update", "--pids-limit", "5", name), 1, "stopped", program=PROGRAM)

    def test_of_a_created_and_of_a_paused_container(self):
        name = self.create()
        self.update(name, "--pids-limit", "7")
        self.assert_ok(runtime("start", name))
        self.assert_ok(runtime("pause", name))
        self.update(name, "--pids-limit", "8", "--cpuset-cpus", "0")
        self.assertEqual((self.pids_limit(name), self.status(name)), ("8", "paused"))


class WithoutCgroup(OciCase):
    def test_every_process_by_the_init(self):
        name = new_name("c")
        self.addCleanup(runtime, "delete", "--force", name)
        self.assert_ok(runtime("--cgroup-manager=disabled", "create", "-b", make_bundle(["sleep", "1000"]), name))
        self.assert_ok(runtime("start", name))
        pid = self.state(name)["pid"]
        self.assert_ok(runtime("kill", "--all", name, "KILL"))
        self.assertTrue(wait_until(lambda: self.state(name)["status"] == "stopped"), pid)
        self.assert_one_line(runtime("kill", "--all", name, "KILL"), 1, "not running", program="coppice-runtime")


class Pause(LimitsCase):
    def ticks(self, name):
        """CPU time of the container's init so far."""
        fields = pathlib.Path(f"/proc/{self.state(name)['pid']}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    def test_pause_and_resume(self):
        name = self.started(["sh", "-c", "while :; do :; done"])
        self.assert_ok(runtime("pause", name))
        self.assertEqual(self.status(name), "paused")
        self.assertIn("paused", self.assert_ok(runtime("list")).out)
        self.assertEqual(json.loads(runtime("list", "-f", "json").out)[0]["status"], "paused")
        before = self.ticks(name)
        time.sleep(0.3)
        self.assertEqual(self.ticks(name), before, "nothing runs")
        self.assert_one_line(runtime("pause", name), 1, "paused", program=PROGRAM)
        self.assert_one_line(runtime("exec", name, "true"), 255, "cannot exec in a paused container", program=PROGRAM)
        waiting = subprocess.Popen([RUNTIME, "--root", world().containers, "exec", "--ignore-paused", name, "echo", "resumed"],
                                   stdout=subprocess.PIPE, text=True, env=environment(), stdin=subprocess.DEVNULL)
        with self.assertRaises(subprocess.TimeoutExpired):
            waiting.wait(0.3)
        self.assert_one_line(runtime("delete", name), 1, "paused", program=PROGRAM)
        self.assert_ok(runtime("resume", name))
        self.assertEqual(waiting.communicate(timeout=20)[0], "resumed\n")
        self.assertEqual(self.status(name), "running")
        self.assertTrue(wait_until(lambda: self.ticks(name) > before))
        self.assert_one_line(runtime("resume", name), 1, "not paused", program=PROGRAM)

    def test_a_waiting_container(self):
        name = self.create()
        self.assert_ok(runtime("pause", name))
        self.assertEqual(self.status(name), "paused")
        self.assert_one_line(runtime("start", name, timeout=10), 1, "paused", program=PROGRAM)
        self.assert_ok(runtime("resume", name))
        self.assertEqual(self.status(name), "created")
        self.assert_ok(runtime("start", name))

    def test_kill_and_delete(self):
        killed = self.started()
        self.assert_ok(runtime("pause", killed))
        self.assert_ok(runtime("kill", killed, "KILL"))
        self.assertTrue(wait_until(lambda: self.status(killed) == "stopped"))
        self.assert_ok(runtime("delete", killed))
        for options in (["--all"], []):
            name = self.started(["sh", "-c", "sleep 1000 & sleep 1000"])
            self.assert_ok(runtime("pause", name))
            if options:
                self.assert_ok(runtime("kill", *options, name, "KILL"))
                self.assertTrue(wait_until(lambda: self.status(name) == "stopped"))
            self.assert_ok(runtime("delete", "--force", name))
            self.assert_nothing_left()

    def test_a_gentle_signal_waits(self):
        name = self.started(["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.05; done"])
        self.assert_ok(runtime("pause", name))
        self.assert_ok(runtime("kill", name, "TERM"))
        time.sleep(0.2)
        self.assertEqual(self.status(name), "paused")
        self.assert_ok(runtime("resume", name))
        self.assertTrue(wait_until(lambda: self.status(name) == "stopped"))

    def test_stopped_and_unknown_ones(self):
        name = self.started(["true"])
        self.assertTrue(wait_until(lambda: self.status(name) == "stopped"))
        for command in ("pause", "resume"):
            self.assert_one_line(runtime(command, name), 1, "stopped", program=PROGRAM)
            self.assert_one_line(runtime(command, "nobody"), 1, "does not exist", program=PROGRAM)
            self.assert_one_line(runtime(command), 1, "one container id", program=PROGRAM)

    def test_a_frozen_cgroup_is_refused(self):
        path = f"/coppice/{new_name('frozen')}"
        point = "/sys/fs/cgroup" if V2 else "/sys/fs/cgroup/unified"
        if not os.path.isdir(point):
            self.skipTest("no cgroup v2 hierarchy")
        os.makedirs(point + path, exist_ok=True)
        self.addCleanup(lambda: [os.path.isdir(point + path) and os.rmdir(point + path)])
        pathlib.Path(point + path, "cgroup.freeze").write_text("1")
        done = self.run_bundle(["true"], lambda config: config["linux"].update(cgroupsPath=path), timeout=10)
        self.assert_one_line(done, 1, "frozen", program=PROGRAM)


class Events(LimitsCase):
    def watch(self, *arguments):
        process = subprocess.Popen([RUNTIME, "--root", world().containers, "events", *arguments], stdout=subprocess.PIPE, text=True,
                                   env=environment(), stdin=subprocess.DEVNULL)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def test_statistics_once(self):
        name = self.started(["sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; sleep 1000"],
                            resources(memory={"limit": 64 * MIB}, pids={"limit": 44}))
        time.sleep(0.2)
        done = self.assert_ok(runtime("events", "--stats", name))
        event = json.loads(done.out)
        self.assertEqual(list(event), ["type", "id", "data"])
        self.assertEqual((event["type"], event["id"]), ("stats", name))
        data = event["data"]
        self.assertEqual(list(data), ["cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "intel_rdt", "network_interfaces"])
        self.assertGreater(data["cpu"]["usage"]["total"], 1000)
        self.assertEqual(data["memory"]["usage"]["limit"], 64 * MIB)
        self.assertGreater(data["memory"]["usage"]["usage"], 0)
        self.assertEqual(data["pids"]["limit"], 44)
        self.assertGreaterEqual(data["pids"]["current"], 1)
        self.assertIn("pgfault", data["memory"]["raw"])

    def test_statistics_again_and_again_until_the_end(self):
        name = self.started()
        process = self.watch("--interval", "50ms", name)
        lines = [json.loads(process.stdout.readline()) for _ in range(3)]
        self.assertEqual({line["type"] for line in lines}, {"stats"})
        self.assert_ok(runtime("kill", name, "KILL"))
        process.stdout.read()
        self.assertEqual(process.wait(10), 0)

    def test_end_between_two_statistics(self):
        for _ in range(10):
            name = self.started()
            process = self.watch("--interval", "1ms", name)
            process.stdout.readline()
            self.assert_ok(runtime("delete", "--force", name))
            process.stdout.read()
            self.assertEqual(process.wait(10), 0)

    def test_where_memory_is_not_counted(self):
        if V2:
            self.skipTest("cgroup v2 counts it, or nobody has the file")
        name = self.started()
        state = pathlib.Path(world().containers, name, "state.json")
        record = json.loads(state.read_text())
        without = {**record, "cgroupV1": {kind: path for kind, path in record["cgroupV1"].items() if kind != "memory"}}
        state.write_text(json.dumps(without))
        process = self.watch("--interval", "20ms", name)
        self.assertEqual(json.loads(process.stdout.readline())["type"], "stats")
        state.write_text(json.dumps(record))

    def test_a_lack_of_memory(self):
        script = "sleep 0.7; dd if=/dev/zero of=/dev/null bs=200M count=1; echo; sleep 0.2"
        name = self.started(["sh", "-c", script], resources(memory={"limit": 32 * MIB, "swap": 32 * MIB}))
        process = self.watch("--interval", "60s", name)
        event = json.loads(process.stdout.readline())
        self.assertEqual(event, {"type": "oom", "id": name})
        process.stdout.read()
        self.assertEqual(process.wait(10), 0)

    def test_a_lack_of_memory_that_ends_the_container(self):
        name = self.started(["sh", "-c", "sleep 0.7; exec dd if=/dev/zero of=/dev/null bs=200M count=1"],
                            resources(memory={"limit": 32 * MIB, "swap": 32 * MIB}))
        process = self.watch("--interval", "60s", name)
        self.assertEqual([json.loads(line)["type"] for line in process.stdout.read().splitlines()], ["oom"])

    def test_bad_requests(self):
        name = self.started(["true"])
        self.assertTrue(wait_until(lambda: self.status(name) == "stopped"))
        self.assert_one_line(runtime("events", "--stats", name), 1, "not running", program=PROGRAM)
        self.assert_one_line(runtime("events", name), 1, "not running", program=PROGRAM)
        for interval in ("0s", "5", "-1s", "soon"):
            self.assert_one_line(runtime("events", f"--interval={interval}", name), 1, "--interval", program=PROGRAM)


class Ps(LimitsCase):
    def test_forms(self):
        name = self.started(["sh", "-c", "sleep 1000 & exec sleep 1001"])
        self.assertTrue(wait_until(lambda: len(json.loads(runtime("ps", "-f", "json", name).out)) == 2))
        pids = json.loads(self.assert_ok(runtime("ps", "--format", "json", name)).out)
        self.assertIn(self.state(name)["pid"], pids)
        if not any(os.access(f"{directory}/ps", os.X_OK) for directory in ("/bin", "/usr/bin")):
            self.assert_one_line(runtime("ps", name), 1, "ps", "json", program=PROGRAM)
            return
        table = self.assert_ok(runtime("ps", name)).out.splitlines()
        self.assertEqual(len(table), 3, table)
        self.assertIn("PID", table[0])
        own = self.assert_ok(runtime("ps", name, "-o", "pid,args")).out
        self.assertEqual(sorted(line.split(None, 1)[1] for line in own.splitlines()[1:]), ["sleep 1000", "sleep 1001"])
        self.assert_one_line(runtime("ps", name, "-o", "args"), 1, "PID", program=PROGRAM)
        self.assert_one_line(runtime("ps", "-f", "xml", name), 1, "xml", program=PROGRAM)
        self.assert_one_line(runtime("ps"), 1, "container id", program=PROGRAM)
        self.assert_ok(runtime("kill", name, "KILL"))
        self.assertTrue(wait_until(lambda: runtime("ps", "-f", "json", name).out == "[]\n"))


if __name__ == "__main__":
    main()
