#!/usr/bin/env python3
"""Kills the daemon, a supervisor or the first process of an instance by SIGKILL at each of its steps in turn, and looks
whether all is as it was, or as it was to be, and nothing is left.

A step is a call that changes something outside of the process (kill_at --attach). The long form (COPPICE_LONG=1) takes
every one, the short form some that are spread evenly; COPPICE_SWEEP_KILLS says how many.
"""

import os
import pathlib
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from coppice_node import NodeCase  # noqa: E402
from coppice_test import BIN, LONG, environment, find_helper, leftovers, main, new_name, wait_until, world  # noqa: E402

KILLS = int(os.environ.get("COPPICE_SWEEP_KILLS", "6"))
SECONDS_TO_SETTLE = 30
MOST_STEPS = 3000
SUPERVISOR = ("--argv0", "coppice-supervisor")
INIT = ("--init", )

# What may have become of the instance, whoever was killed when.
STAYS, MAY_GO, GOES, IS_RENAMED = "is there", "is there or not", "is gone", "is there by the one name or the other"

# What is written at the first start is there at each later one. In shared mode each start is the first.
SCRIPT = "if test -e /first; then touch /again; else echo written > /first; fi; echo up > /up; exec sleep 1000"


class Sweep(NodeCase):
    def setUp(self):
        super().setUp()
        self.spectator = self.begin_instance(script="i=0; while :; do echo $((i=i+1)) > /count; sleep 0.02; done", word="spectator")
        self.daemon.end()
        # It runs all the time, without a daemon, too. What is there now is there after each kill, and nothing else.
        self.before_all, self._before = self._before, set(leftovers(self.known_mounts))
        self.daemon = self.begin()

    def tearDown(self):
        self._before = self.before_all
        super().tearDown()

    # --- instances to be swept

    def running(self, *options):
        name = self.begin_instance(*options, script=SCRIPT, word="k")
        self.assertTrue(wait_until(lambda: self.coppice("exec", name, "test", "-s", "/up").status == 0, 30))
        return name

    def stopped(self, *options):
        name = self.running(*options)
        self.text("stop", "-t", "0", name)
        return name

    # --- one kill

    def kill_at(self, number, pid, who, words):
        """Returns what came of it, and what the command said."""
        report, said = pathlib.Path(world().path("report")), world().path("said")
        report.unlink(missing_ok=True)
        with open(said, "wb") as output:
            subprocess.run([find_helper("kill_at"), "--attach", str(pid), *who, "--report", report, str(number), str(BIN / "coppice"),
                            "--root", self.root, "--socket", self.daemon.socket, *words],
                           stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment(), timeout=120, check=False)
        return report.read_text().split(), pathlib.Path(said).read_text(errors="replace")

    def instances(self):
        return {one["name"]: one["state"] for one in self.ask("/v1/instances") if one["name"] != self.spectator}

    def is_usable(self, name):
        """What is said to run does run."""
        return self.state(name) == "running" and self.coppice("exec", name, "cat", "/first").out == "written\n"

    def complaints(self, name, outcome):
        """What is not as it must be after a kill."""
        if self.daemon.process.poll() is not None:
            self.daemon = self.begin()
        # Who was killed leaves processes that notice a moment later.
        if not wait_until(lambda: all(state != "running" or self.is_usable(one) for one, state in self.instances().items()), SECONDS_TO_SETTLE, 0.1):
            return [f"cannot be used: {self.instances()}"]
        wrong = []
        if outcome == GOES:
            wait_until(lambda: name not in self.instances(), SECONDS_TO_SETTLE, 0.1)
        found = self.instances()
        is_there = {STAYS: name in found, MAY_GO: True, GOES: name not in found, IS_RENAMED: (name in found) != (name + "-new" in found)}
        if not is_there[outcome]:
            wrong.append(f"{name} is not as it should be ({outcome}): {found}")
        strange = set(found.values()) - {"created", "running", "exited", "stopped"}
        if strange:
            wrong.append(f"states {found}")
        # Each is a branch, and there is no other.
        if not wait_until(lambda: sorted(self.branches()) == sorted([self.spectator, *self.instances()]), SECONDS_TO_SETTLE, 0.1):
            wrong.append(f"branches {self.branches()} of instances {self.instances()}")
        for one, state in found.items():
            if state != "running":
                started = self.coppice("start", one)
                if started.status != 0:
                    wrong.append(f"{one}, {state}, does not start: {started}")
                elif not wait_until(lambda o=one: self.is_usable(o), SECONDS_TO_SETTLE, 0.05):
                    wrong.append(f"{one}, {state}, has lost what it had written")
                elif self.config(one)["mode"] == "shared" and self.coppice("exec", one, "test", "-e", "/again").status == 0:
                    wrong.append(f"{one}, {state}, has what it wrote the time before")
        wrong += self.doctor()
        for one in found:
            removed = self.coppice("rm", "-f", one)
            if removed.status != 0:
                wrong.append(repr(removed))
        return wrong

    def doctor(self):
        done = self.coppice("doctor", "--runtime-root", world().containers)
        return [f"the doctor says {line}" for line in done.out.splitlines() if self.root in line or "spectator" in line]

    def count(self):
        return int(self.text("exec", self.spectator, "cat", "/count") or 0)

    def remains(self):
        """After all that was swept has been removed, and the daemon has ended."""
        wrong = self.doctor()
        fsck = self.coppice("system", "fsck")
        if fsck.status != 0:
            wrong.append(f"fsck: {fsck}")
        before = self.count()
        if not wait_until(lambda: self.count() > before, 30):
            wrong.append("another instance does not go on")
        self.daemon.end()
        for place in ("instances", "working", "runtime"):
            names = {path.name for path in pathlib.Path(self.root, place).iterdir() if not path.name.startswith(".seccomp-")}
            if names != {self.spectator}:
                wrong.append(f"in {place}: {sorted(names)}")
        wrong += [f"left: {one}" for one in self.leftovers_after(SECONDS_TO_SETTLE)]
        self.daemon = self.begin()
        return wrong

    def sweep(self, prepare, command, victim=None, who=(), outcome=STAYS):
        """Kills at steps of the daemon, of who is below it, or of the process that `victim` names."""
        problems, delivered, number, total = [], 0, 0, 0
        while number < MOST_STEPS and len(problems) < 5:
            name = prepare()
            pid = victim(name) if victim else self.daemon.process.pid
            words, said = self.kill_at(number, pid, who, command(name))
            if words[0] == "killed" and pid == self.daemon.process.pid and not who:
                self.daemon.process.wait(30)
            step = f"killed at step {number}: {' '.join(words)}"
            delivered += words[0] == "killed"
            if number == 0:
                self.assertEqual((words[0], words[-1]), ("completed", "0"), said)
                total = int(words[1])
                self.assertGreater(total, 0, "there is nothing to sweep")
            problems += [f"{step}: {one}" for one in [*self.complaints(name, outcome), *self.remains()]]
            if words[0] != "killed" and number > 0:
                break
            # Which steps there are differs a little from time to time, so the long form ends where none was left.
            number = number + 1 if LONG else 1 + delivered * (total - 1) // max(KILLS - 1, 1)
            if not LONG and delivered == KILLS:
                break
        print(f"\n  {self.id().rsplit('.', 1)[1]}: {delivered} kills at {total} steps", flush=True)
        self.assertEqual(problems, [], "\n".join(problems))
        self.assertGreater(delivered, 0, "no kill was delivered")


class Daemon(Sweep):
    """The daemon"""

    def test_run(self):
        self.sweep(lambda: new_name("k"), lambda name: ["run", "-d", "--name", name, "os", "--", "sh", "-c", SCRIPT], outcome=MAY_GO)

    def test_run_of_one_that_goes(self):
        self.sweep(lambda: new_name("k"), lambda name: ["run", "--rm", "--name", name, "os", "true"], outcome=GOES)

    def test_start(self):
        self.sweep(self.stopped, lambda name: ["start", name])

    def test_stop(self):
        self.sweep(self.running, lambda name: ["stop", "-t", "0", name])

    def test_stop_of_a_shared_one(self):
        self.sweep(lambda: self.running("--mode", "shared"), lambda name: ["stop", "-t", "0", name])

    def test_restart(self):
        self.sweep(self.running, lambda name: ["restart", "-t", "0", name])

    def test_snapshot(self):
        self.sweep(self.running, lambda name: ["snapshot", "create", name])

    def test_branch(self):
        self.sweep(self.stopped, lambda name: ["branch", name, name + "-new"])

    def test_rm(self):
        self.sweep(self.stopped, lambda name: ["rm", name], outcome=MAY_GO)

    def test_rename(self):
        self.sweep(self.stopped, lambda name: ["rename", name, name + "-new"], outcome=IS_RENAMED)


class Below(Sweep):
    """Supervisors, and who they start"""

    def test_supervisor_of_a_new_one(self):
        self.sweep(lambda: new_name("k"), lambda name: ["run", "-d", "--name", name, "os", "--", "sh", "-c", SCRIPT], who=SUPERVISOR, outcome=MAY_GO)

    def test_supervisor_that_starts(self):
        self.sweep(self.stopped, lambda name: ["start", name], who=SUPERVISOR)

    def test_supervisor_that_stops(self):
        self.sweep(self.running, lambda name: ["stop", "-t", "0", name], victim=self.supervisor_of)

    def test_supervisor_that_stops_a_shared_one(self):
        self.sweep(lambda: self.running("--mode", "shared"), lambda name: ["stop", "-t", "0", name], victim=self.supervisor_of)

    def test_supervisor_that_starts_again(self):
        self.sweep(self.running, lambda name: ["restart", "-t", "0", name], who=SUPERVISOR)

    def test_init(self):
        self.sweep(self.stopped, lambda name: ["start", name], who=INIT)


if __name__ == "__main__":
    main()
