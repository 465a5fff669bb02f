#!/usr/bin/env python3
"""Kills a command of ours by SIGKILL at each of its system calls in turn, and looks whether anything is left.

Each scenario is swept from its first system call until the command ends unharmed. The long form (COPPICE_LONG=1) takes
every call, the short one every so many, with a start that differs from scenario to scenario.
COPPICE_SWEEP_STRIDE overrides the stride of the short form.
"""

import json
import os
import pathlib
import shlex
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../oci"))
from bundle import make_bundle, with_user_namespace  # noqa: E402
from coppice_test import (COPPICE, Case, LONG, RUNTIME, coppice, end_everything, environment, execute, find_helper, is_cgroup_v2_only, main, new_name, our_processes,  # noqa: E402
                          runtime, wait_until, world)

STRIDE = 1 if LONG else int(os.environ.get("COPPICE_SWEEP_STRIDE") or 0)
MOST_CALLS = 5000
SECONDS_TO_CLEAN_UP = 8
delivered = {}


def full_bundle():
    """Everything that leaves traces: user namespace, limits on several hierarchies, hooks, seccomp, an id-mapped mount."""
    def change(config):
        with_user_namespace(config)
        config["linux"]["resources"].update({"memory": {"limit": 64 << 20}, "cpu": {"quota": 50000, "period": 100000}, "pids": {"limit": 50}})
        config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["reboot"], "action": "SCMP_ACT_ERRNO"}]}
        config["hooks"] = {point: [{"path": "/bin/true"}] for point in ("prestart", "createRuntime", "createContainer", "poststart", "poststop")}
        config["mounts"].append({"destination": "/mnt", "type": "bind", "source": world().tree(), "options": ["rbind", "idmap", "ro"]})
    return make_bundle(["true"], change)


class Sweep(Case):
    checks_host = False  # each step looks by itself

    def kill_at(self, number, arguments, argv0=None, before=None):
        """Returns the report's words, and what the command said."""
        report = world().path("report")
        pathlib.Path(report).unlink(missing_ok=True)
        command = [find_helper("kill_at"), *(["--argv0", argv0] if argv0 else []), *(["--before", before] if before else []), "--report", report, str(number), *arguments]
        # Output to a file: a pipe would be held open by whoever is left, and hide it behind our waiting.
        said = world().path("said")
        with open(said, "wb") as output:
            subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment(), timeout=60, check=False)
        return pathlib.Path(report).read_text().split(), pathlib.Path(said).read_text(errors="replace")

    def sweep(self, scenario, arguments, *, argv0=None, prepare=None, before=None, settle=None, stride=10, allowed_statuses=(0,), speaks=False):
        """`arguments`, `prepare`, `before` and `settle` get the name of this step's instance. What `before` returns is run by
        sh at the call, while the command is held there. settle brings a state that may rightly be there (a private
        instance, a created container) to its end before the host is looked at."""
        stride = STRIDE or stride
        count, number = 0, 1 + (0 if stride == 1 else len(scenario) % stride)
        problems = []
        while True:
            self.assertLess(number, MOST_CALLS, f"{scenario} does not come to an end")
            name = new_name("k")
            if prepare:
                prepare(name)
            words, said = self.kill_at(number, arguments(name), argv0, before(name) if before else None)
            step = f"{scenario}, killed at call {number} ({' '.join(words)})"
            if words[0] == "killed":
                count += 1
                if speaks and said.count("\n") > 1:
                    problems.append(f"{step}: said more than one line: {said!r}")
            if settle:
                complaint = settle(name)
                if complaint:
                    problems.append(f"{step}: {complaint}")
            left = self.leftovers_after(SECONDS_TO_CLEAN_UP)
            if left:
                problems.append(f"{step}: left\n    " + "\n    ".join(left))
                end_everything(world())
                coppice("doctor", "--repair", "--runtime-root", world().containers)
                subprocess.run(["rm", "-rf", world().state, world().containers], check=False)
            elif count % 10 == 1 or LONG:
                done = coppice("doctor", "--runtime-root", world().containers)
                mine = [line for line in done.out.splitlines() if "k" in line and (world().state in line or name in line)]
                if mine:
                    problems.append(f"{step}: doctor says {mine}")
            if words[0] != "killed":
                break
            if len(problems) > 12:
                problems.append("... and no further")
                break
            number += stride
        delivered[scenario] = count
        print(f"\n  {scenario}: {count} kills delivered, {number} system calls, stride {stride}", flush=True)
        self.assertEqual(problems, [], "\n".join(problems))
        self.assertEqual(words[0], "completed", said)
        self.assertIn(int(words[2]), allowed_statuses, said)
        self.assertGreater(count, 0, "no kill was delivered")

    def settle_private(self, name):
        """It may be there whole, or not at all; then it starts, and goes."""
        wait_until(lambda: not our_processes(), 5)  # the supervisor notices, whatever it was about to do
        if name not in coppice("ps", "-aq").out:
            return None
        again = coppice("run", "--name", name, world().tree(), "--", "true")
        gone = coppice("rm", "-f", name)
        return None if (again.status, gone.status) == (0, 0) else f"{again} {gone}"

    def settle_deletion(self, name):
        """What is left of a deletion that was killed, by whom it may be found and removed: its owner, then the doctor."""
        done = runtime("delete", "--force", name)
        if done.status != 0:
            return repr(done)
        rest = [entry for entry in os.listdir(world().containers) if entry.startswith(".new-")]
        wait_until(lambda: not our_processes(), 2)
        if rest and any(os.path.isdir(f"{world().containers}/{entry}") for entry in rest):
            found = coppice("doctor", "--runtime-root", world().containers)
            if world().containers not in found.out:
                return f"the doctor does not see {rest}: {found}"
            coppice("doctor", "--repair", "--runtime-root", world().containers)
        return None

    def settle_complete(self, name):
        """Killed when all was done: then the container is complete and its owner's to delete. What is not complete must
        go by itself."""
        try:
            record = json.loads(pathlib.Path(world().containers, name, "state.json").read_text())
        except FileNotFoundError:
            if os.path.isdir(f"{world().containers}/{name}"):
                # Killed while it deleted: its record has gone first. Nobody is left but the owner here, too.
                record = {"complete": True}
            else:
                return self.settle_deletion(name)
        if not record["complete"]:
            return None
        done = runtime("delete", "--force", name)
        return None if done.status == 0 else repr(done)

    def status(self, name):
        done = runtime("state", name)
        return json.loads(done.out)["status"] if done.status == 0 else None

    @classmethod
    def tearDownClass(cls):
        print(f"\n{sum(delivered.values())} kills delivered in {len(delivered)} sweeps so far", flush=True)


class Runtime(Sweep):
    """coppice-runtime"""

    def test_runtime_create(self):
        bundle = full_bundle()

        self.sweep("coppice-runtime create", lambda name: [RUNTIME, "--root", world().containers, "create", "-b", bundle, name],
                   settle=self.settle_complete)

    def test_runtime_create_of_an_id_that_is_taken(self):
        """Whoever has the id keeps it, whenever the second creator dies."""
        mine = make_bundle(["sleep", "1000"])
        other = make_bundle(["true"], lambda config: config["linux"].update(cgroupsPath=f"/coppice/{new_name('other')}"))

        def prepare(name):
            self.assert_ok(runtime("create", "-b", mine, name))

        def settle(name):
            wait_until(lambda: False, 0.2)  # time for a guard to do wrong
            status = self.status(name)
            runtime("delete", "--force", name)
            return None if status == "created" else f"the container that was there is {status}"
        self.sweep("coppice-runtime create, id taken", lambda name: [RUNTIME, "--root", world().containers, "create", "-b", other, name],
                   prepare=prepare, settle=settle, stride=4, allowed_statuses=(1,))

    def test_runtime_create_of_an_id_that_is_taken_meanwhile(self):
        """Between the first look and the last word: the guard of the one who was killed leaves the container alone that
        somebody else has made under the id."""
        mine = make_bundle(["sleep", "1000"])
        other = make_bundle(["true"], lambda config: config["linux"].update(cgroupsPath=f"/coppice/{new_name('other')}"))
        taken, outcomes = pathlib.Path(world().path("taken")), []

        def before(name):
            taken.unlink(missing_ok=True)
            create = shlex.join([RUNTIME, "--root", world().containers, "create", "-b", mine, name])
            return f"{create} > /dev/null 2>&1 < /dev/null; echo $? > {taken}"

        def settle(name):
            outcomes.append(taken.read_text().strip() if taken.exists() else "not tried")
            if outcomes[-1] != "0":
                return self.settle_complete(name)
            wait_until(lambda: False, 0.2)  # time for a guard to do wrong
            status = self.status(name)
            runtime("delete", "--force", name)
            return None if status == "created" else f"the container that was made meanwhile is {status}"
        self.sweep("coppice-runtime create, id taken meanwhile",
                   lambda name: [RUNTIME, "--root", world().containers, "create", "-b", other, name],
                   before=before, settle=settle, stride=4)
        self.assertIn("0", outcomes, "the id was never free")
        self.assertIn("1", outcomes, "the id was never taken")

    def test_runtime_run(self):
        bundle = full_bundle()

        self.sweep("coppice-runtime run", lambda name: [RUNTIME, "--root", world().containers, "run", "-b", bundle, name],
                   settle=self.settle_complete)

    def test_runtime_start(self):
        bundle = make_bundle(["true"])

        def prepare(name):
            self.assert_ok(runtime("create", "-b", bundle, name))

        def settle(name):
            done = runtime("delete", "--force", name)
            return None if done.status == 0 else repr(done)
        self.sweep("coppice-runtime start", lambda name: [RUNTIME, "--root", world().containers, "start", name],
                   prepare=prepare, settle=settle, stride=5)

    def test_runtime_delete(self):
        bundle = full_bundle()

        def prepare(name):
            self.assert_ok(runtime("create", "-b", bundle, name))

        self.sweep("coppice-runtime delete --force", lambda name: [RUNTIME, "--root", world().containers, "delete", "--force", name],
                   prepare=prepare, settle=self.settle_deletion)

    def settle_running(self, name):
        """Whatever a command was about to do with it, the container is its owner's to delete."""
        status = self.status(name)
        if status not in ("running", "paused"):
            return f"the container is {status}"
        if status == "paused":
            self.assert_ok(runtime("resume", name))
        again = runtime("exec", name, "true")
        done = runtime("delete", "--force", name)
        return None if (again.status, done.status) == (0, 0) else f"{again} {done}"

    def sweep_running(self, command, *before, stride=7):
        """A command on a running container; `before` is called on it first."""
        bundle = make_bundle(["sleep", "1000"], lambda config: config["linux"]["resources"].update(
            {"memory": {"limit": 64 << 20}, "pids": {"limit": 50}, "cpu": {"quota": 50000, "period": 100000}}))

        def prepare(name):
            for arguments in (["create", "-b", bundle, name], ["start", name], *([*words, name] for words in before)):
                self.assert_ok(runtime(*arguments))

        self.sweep(f"coppice-runtime {' '.join(command)}",
                   lambda name: [RUNTIME, "--root", world().containers, *(name if word == "ID" else word for word in command)],
                   prepare=prepare, settle=self.settle_running, stride=stride)

    def test_runtime_exec(self):
        self.sweep_running(["exec", "ID", "true"])

    def test_runtime_exec_detached(self):
        self.sweep_running(["exec", "-d", "--pid-file", world().path("sweep-pid"), "ID", "sleep", "1000"], stride=11)

    def test_runtime_pause(self):
        self.sweep_running(["pause", "ID"], stride=3)

    def test_runtime_resume(self):
        self.sweep_running(["resume", "ID"], ["pause"], stride=3)

    def test_runtime_update(self):
        self.sweep_running(["update", "--memory", "40m", "--memory-swap", "40m", "--pids-limit", "30", "--cpu-quota", "20000", "ID"], stride=6)

    def test_runtime_kill(self):
        """Killed before or behind the signal."""
        bundle = make_bundle(["sleep", "1000"])

        def prepare(name):
            self.assert_ok(runtime("create", "-b", bundle, name))
            self.assert_ok(runtime("start", name))

        def settle(name):
            done = runtime("delete", "--force", name)
            return None if done.status == 0 else repr(done)
        self.sweep("coppice-runtime kill --all", lambda name: [RUNTIME, "--root", world().containers, "kill", "--all", name, "KILL"],
                   prepare=prepare, settle=settle, stride=3)

    def test_init_of_a_creation(self):
        """The process inside, killed while it sets itself up: the creator undoes and says one line. It is found by its
        name, since it never executes anything before the start."""
        bundle = full_bundle()
        for _ in range(3 if not LONG else 30):
            name = new_name("k")
            with open(world().path("said"), "w+b") as said:
                process = subprocess.Popen([RUNTIME, "--root", world().containers, "create", "-b", bundle, name], stdin=subprocess.DEVNULL,
                                           stdout=said, stderr=said, env=environment())
                time.sleep(0.001 * (_ + 1))
                children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=False).stdout.split()
                for child in children[-1:]:
                    subprocess.run(["kill", "-KILL", child], check=False, stderr=subprocess.DEVNULL)
                process.wait(20)
                runtime("delete", "--force", name)
                self.assertEqual(self.leftovers_after(SECONDS_TO_CLEAN_UP), [])


class Systemd(Sweep):
    """coppice-runtime with the systemd driver"""

    @classmethod
    def setUpClass(cls):
        if not is_cgroup_v2_only() or not os.path.isdir("/run/systemd/system"):
            raise unittest.SkipTest("needs systemd and cgroup v2 alone: tests/system/guest/test sweep")

    def arguments(self, *words):
        return [RUNTIME, "--root", world().containers, "--systemd-cgroup", *words]

    def create(self, bundle, name):
        self.assert_ok(execute(self.arguments("create", "-b", bundle, name)))

    def settle_forced(self, name):
        done = runtime("delete", "--force", name)
        return None if done.status == 0 else repr(done)

    def test_create(self):
        bundle = full_bundle()
        self.sweep("--systemd-cgroup create", lambda name: self.arguments("create", "-b", bundle, name), settle=self.settle_complete)

    def test_run(self):
        bundle = full_bundle()
        self.sweep("--systemd-cgroup run", lambda name: self.arguments("run", "-b", bundle, name), settle=self.settle_complete)

    def test_start(self):
        bundle = make_bundle(["true"])
        self.sweep("--systemd-cgroup start", lambda name: self.arguments("start", name),
                   prepare=lambda name: self.create(bundle, name), settle=self.settle_forced, stride=5)

    def test_update(self):
        bundle = make_bundle(["sleep", "1000"], lambda config: config["linux"]["resources"].update({"memory": {"limit": 64 << 20}}))
        self.sweep("--systemd-cgroup update", lambda name: self.arguments("update", "--memory", "40m", "--pids-limit", "30", name),
                   prepare=lambda name: self.create(bundle, name), settle=self.settle_forced)

    def test_delete(self):
        bundle = full_bundle()
        self.sweep("--systemd-cgroup delete --force", lambda name: self.arguments("delete", "--force", name),
                   prepare=lambda name: self.create(bundle, name), settle=self.settle_deletion)


class Run(Sweep):
    """coppice run, the command itself"""

    def test_run_rm(self):
        self.sweep("coppice run --rm", lambda name: [COPPICE, "--root", world().state, "run", "--rm", "--name", name, "-m", "64m",
                                                     world().tree(), "--", "true"], stride=4)

    def test_run_rm_on_an_image(self):
        self.sweep("coppice run --rm IMAGE", lambda name: [COPPICE, "--root", world().state, "run", "--rm", "--name", name,
                                                           world().image(), "--", "true"], stride=12)

    def test_run_private(self):
        self.sweep("coppice run --name", lambda name: [COPPICE, "--root", world().state, "run", "--name", name, world().tree(), "--", "true"],
                   settle=self.settle_private, stride=8)

    def test_run_detached(self):
        self.sweep("coppice run -d", lambda name: [COPPICE, "--root", world().state, "run", "-d", "--name", name, world().tree(), "--", "true"],
                   settle=self.settle_private, stride=8)


class Supervisor(Sweep):
    """coppice run, the supervisor behind it"""

    def test_supervisor_of_run_rm(self):
        self.sweep("coppice run --rm, its supervisor", lambda name: [COPPICE, "--root", world().state, "run", "--rm", "--name", name,
                                                                     "-m", "64m", world().tree(), "--", "true"],
                   argv0="coppice-supervisor", speaks=True)

    def test_supervisor_of_run_private(self):
        self.sweep("coppice run --name, its supervisor", lambda name: [COPPICE, "--root", world().state, "run", "--name", name,
                                                                       world().tree(), "--", "true"],
                   argv0="coppice-supervisor", settle=self.settle_private, speaks=True, stride=20)

    def test_supervisor_of_run_on_an_image(self):
        self.sweep("coppice run --rm IMAGE, its supervisor", lambda name: [COPPICE, "--root", world().state, "run", "--rm", "--name", name,
                                                                           world().image(), "--", "true"],
                   argv0="coppice-supervisor", speaks=True, stride=20)


class Sisters(Sweep):
    """exec, stop, rm"""

    def test_exec(self):
        def prepare(name):
            self.assert_ok(coppice("run", "-d", "--name", name, world().tree(), "--", "sleep", "1000"))

        def settle(name):
            done = coppice("exec", name, "true")
            gone = coppice("rm", "-f", name)
            return None if (done.status, gone.status) == (0, 0) else f"{done} {gone}"
        self.sweep("coppice exec", lambda name: [COPPICE, "--root", world().state, "exec", name, "true"],
                   prepare=prepare, settle=settle, stride=12)

    def test_stop(self):
        def prepare(name):
            self.assert_ok(coppice("run", "-d", "--name", name, world().tree(), "--", "sleep", "1000"))

        def settle(name):
            done = coppice("stop", "-t", "0", name)
            gone = coppice("rm", name)
            return None if (done.status, gone.status) == (0, 0) else f"{done} {gone}"
        self.sweep("coppice stop", lambda name: [COPPICE, "--root", world().state, "stop", "-t", "0", name],
                   prepare=prepare, settle=settle, stride=12)

    def test_rm(self):
        """Nobody is left to go on with a deletion: the doctor finds what remains, and repairs it."""
        def prepare(name):
            self.assert_ok(coppice("run", "--name", name, world().tree(), "--", "sh", "-c", "mkdir -p /a/b/c; touch /a/b/c/d"))

        def settle(name):
            if name in coppice("ps", "-aq").out:
                again = coppice("rm", name)
                if again.status != 0:
                    return repr(again)
            if os.listdir(world().state + "/instances"):
                found = coppice("doctor", "--runtime-root", world().containers)
                if world().state not in found.out:
                    return f"the doctor does not see {os.listdir(world().state + '/instances')}: {found}"
                coppice("doctor", "--repair", "--runtime-root", world().containers)
            return None
        self.sweep("coppice rm", lambda name: [COPPICE, "--root", world().state, "rm", name], prepare=prepare, settle=settle, stride=8)


if __name__ == "__main__":
    main()
