#!/usr/bin/env python3
"""Instances at the edges of their lives: starts that fail, ends in between, names and references of others."""

import os
import pathlib
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from coppice_node import NodeCase  # noqa: E402
from coppice_test import main, new_name, wait_until  # noqa: E402


class Edges(NodeCase):
    def crash_loop(self, **options):
        return self.begin_instance("--restart", "always", script="sleep 0.05; exit 1", **options)

    # --- starts that fail

    def test_a_failed_start_leaves_the_description(self):
        name = new_name("f")
        self.text("run", "--name", name, "-m", "64m", "-e", "KEEP=1", "os", "--", "sh", "-c", "echo $KEEP > /f")
        before = self.config(name)
        self.assertEqual(self.coppice("run", "--name", name, "os", "--", "nosuchcommand").status, 127)
        self.assertEqual(self.config(name), before)
        self.text("start", "-a", name)

    def test_one_that_never_ran_is_left_by_a_failed_start(self):
        name = new_name("c")
        self.text("create", "--name", name, "os", "--", "nosuchcommand")
        for _ in range(2):
            self.coppice("start", "-a", name)
            self.assertEqual(self.state(name), "created")
        self.assertEqual(self.branches(), [name])

    # --- ends

    def test_stopped_while_its_policy_starts_it(self):
        for round_ in range(12):
            name = self.crash_loop(word=f"s{round_}-")
            self.assertTrue(wait_until(lambda: self.config(name).get("restarts", 0) >= 1, 20))
            time.sleep(0.013 * round_)  # somewhere between its end and its next start
            self.text("stop", "-t", "0", name)
            self.assertTrue(wait_until(lambda: self.state(name) in ("exited", "stopped"), 5), f"round {round_}: {self.state(name)}")
            restarts = self.config(name).get("restarts", 0)
            time.sleep(0.5)
            self.assertEqual(self.config(name).get("restarts", 0), restarts, f"round {round_}")
            self.text("rm", name)

    def test_the_daemon_ends_while_policies_start_others(self):
        names = [self.crash_loop(word=f"d{i}-") for i in range(6)]
        for round_ in range(5):
            time.sleep(0.3 + 0.05 * round_)
            self.assertEqual(self.daemon.end(), 0)
            self.daemon = self.begin()
        self.text("rm", "-f", *names)

    def test_several_are_asked_at_once(self):
        names = [self.begin_instance(script="trap '' TERM; while :; do sleep 0.1; done") for _ in range(4)]
        begin = time.monotonic()
        self.text("stop", "-t", "3", *names)
        self.assertLess(time.monotonic() - begin, 11, "one after another they would take twelve seconds")
        self.assertEqual({self.state(name) for name in names}, {"exited"})
        self.text("rm", "-f", *names)

    def test_restarts_that_would_end_otherwise(self):
        for options, word in ((("--rm",), "--rm"), (("--on-stop", "ask"), "decided")):
            name = self.begin_instance(*options)
            self.assertIn(word, self.fails("restart", name))
            self.assertEqual(self.daemon.ask("POST", f"/v1/instances/{name}/restart", {}).status, 409)
            self.assertEqual(self.state(name), "running")
            self.text("rm", "-f", name)

    def test_killed_for_its_memory(self):
        name = self.begin_instance("-m", "16m", script="dd if=/dev/zero of=/dev/null bs=100M count=1; exit 5")
        self.wait_state(name, "exited")
        self.assertIn("memory limit of 16 MiB", self.config(name)["endNote"])
        self.assertIn("exited 5 (!)", self.text("ps", "-a"))
        self.text("run", "--name", name, "os", "--", "true")
        self.assertNotIn("endNote", self.config(name))

    def test_changed_while_it_runs_for_its_end(self):
        name = self.begin_instance(script="trap exit TERM; echo kept > /f; while :; do sleep 0.05; done")
        self.assertTrue(wait_until(lambda: self.coppice("exec", name, "test", "-s", "/f").status == 0, 10))
        self.assertEqual(self.daemon.ask("PATCH", f"/v1/instances/{name}", {"onStop": "branch"}).status, 200)
        self.text("stop", name)
        self.assertEqual([s["message"] for s in self.ask("/v1/snapshots") if name in s["message"]], [f"what {name} had written when it stopped"])

    def test_who_branches_off_goes_back_to_where_it_began(self):
        name = new_name("o")
        self.text("create", "--name", name, "--on-stop", "branch", "os", "--", "sh", "-c", "cat /f 2>/dev/null; echo 1 > /f")
        self.text("start", "-a", name)
        first = next(s["id"] for s in self.ask("/v1/snapshots") if name in s["message"])
        self.text("rollback", name, first)
        for _ in range(2):
            self.assertEqual(self.text("start", "-a", name), "1\n", "it stands on what it was rolled back to")

    # --- names and references

    def test_tags_of_others(self):
        one, other = (new_name(word) for word in "ab")
        for name in (one, other):
            self.text("run", "--name", name, "os", "--", "sh", "-c", f"echo {name} > /f")
            self.text("snapshot", "create", name, "--tag", "ok", "--force")
        self.assertIn(f"not of {one}", self.fails("rollback", f"{one}@ok"))
        self.assertIn(f"not of {one}", self.fails("branch", f"{one}@ok", "third"))
        self.assertEqual(self.read(one, "/f"), f"{one}\n".encode())
        self.text("rollback", f"{other}@ok")
        snapshot = self.names("log", "-q", one)[0]
        self.text("rollback", f"{one}@{snapshot[:12]}")
        self.assertEqual(self.read(one, "/f"), f"{one}\n".encode())

    def test_renamed_before_it_is_started_again(self):
        name, new = self.crash_loop(), new_name("new")
        self.assertTrue(wait_until(lambda: self.config(name).get("restarts", 0) >= 2, 20))
        self.assertTrue(wait_until(lambda: self.coppice("rename", name, new).status == 0, 20, 0.01))
        before = self.config(new)["restarts"]
        self.assertTrue(wait_until(lambda: self.config(new)["restarts"] > before, 20), "its policy goes on")
        self.text("rm", "-f", new)

    def test_a_failed_branch_leaves_no_snapshot(self):
        name = self.begin_instance(script="echo 1 > /f; sleep 1000")
        before = self.names("log", "-q", "os")
        self.fails("branch", name, name)
        self.assertEqual(self.names("log", "-q", "os"), before)

    # --- one more command

    def test_a_command_that_nobody_waits_for(self):
        name = self.begin_instance()
        variables = pathlib.Path(self.root, "variables")
        variables.write_text("A=from-file\nB=b\n")
        begin = time.monotonic()
        self.assertEqual(self.text("exec", "-d", "--env-file", str(variables), "-e", "B=own", name, "sh", "-c", "sleep 2; echo $A $B > /done; echo lost"), "")
        self.assertLess(time.monotonic() - begin, 2)
        self.assertTrue(wait_until(lambda: self.coppice("exec", name, "cat", "/done").out == "from-file own\n", 10))
        self.assertIn("go with", self.fails("exec", "-d", "-i", name, "true", status=125))
        self.assertEqual(self.coppice("exec", "-d", name, "nosuchcommand").status, 127)

    def test_limits_that_mean_nothing(self):
        name = self.begin_instance()
        self.assertEqual(self.daemon.ask("PATCH", f"/v1/instances/{name}", {"swapBytes": 1 << 20}).status, 400)
        self.assertNotIn("swapBytes", self.config(name))


if __name__ == "__main__":
    main()
