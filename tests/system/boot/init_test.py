#!/usr/bin/env python3
"""`--init`: a small process 1 that hands signals on, takes dead processes away, and otherwise is not noticed."""

import os
import pathlib
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../node"))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../run"))
from coppice_test import coppice, init_pid, main, new_name, read_proc, wait_until, world  # noqa: E402
from instances_test import NodeCase  # noqa: E402
from terminal_test import TerminalCase  # noqa: E402

INIT = ["--init"]


class Init(TerminalCase):
    def test_is_the_first_process(self):
        done = self.sh("cat /proc/1/comm; echo $$", options=INIT)
        self.assertEqual(done.out, "coppice-init\n2\n", repr(done))
        self.assertEqual(self.sh("cat /proc/1/comm; echo $$").out, "sh\n1\n", "only when it is asked for")

    def test_takes_orphans_away(self):
        script = "for i in 1 2 3; do (sleep 0.1 &); done; sleep 0.6; grep -c '^State:.Z' /proc/[0-9]*/status | grep -c ':1$'"
        self.assertEqual(self.sh(script, options=INIT).out, "0\n")

    def test_statuses(self):
        for script, status in (("exit 7", 7), ("kill -KILL $$", 137), ("kill -TERM $$", 143)):
            self.assert_status(self.sh(script, options=INIT), status)
        done = self.run_in("/no/such", options=INIT)
        self.assertEqual((done.status, done.err), (127, "coppice-init: /no/such: No such file or directory\n"))
        done = self.run_in("/bin/not-executable", options=INIT)
        self.assertEqual((done.status, done.err), (126, "coppice-init: /bin/not-executable: Permission denied\n"))

    def test_hands_signals_on(self):
        name = self.detached("sh", "-c", "trap 'exit 9' TERM; trap 'echo usr' USR1; echo up; while :; do sleep 0.05; done", options=INIT)
        self.assertTrue(wait_until(lambda: "up" in coppice("logs", name).out))
        os.kill(init_pid(name), 10)
        self.assertTrue(wait_until(lambda: "usr" in coppice("logs", name).out))
        begin = time.monotonic()
        self.assert_ok(coppice("stop", name))
        self.assertLess(time.monotonic() - begin, 5)
        self.assertIn('"exitStatus": 9', pathlib.Path(world().state, "instances", name, "instance.json").read_text())

    def test_what_ends_a_program_without_it(self):
        """Process 1 is spared by signals that it does not handle; a command below it is none."""
        begin = time.monotonic()
        self.assert_ok(coppice("stop", "-t", "20", self.detached("sleep", "1000", options=INIT)))
        self.assertLess(time.monotonic() - begin, 10)

    def test_interrupt_reaches_the_command_once(self):
        terminal = self.open("run", "--rm", "--name", new_name(), "-it", "--init", self.tree, "--", "sh", "-c",
                             "trap 'echo caught' INT; trap 'exit 3' QUIT; echo ready; while :; do sleep 0.1; done")
        terminal.expect("ready")
        terminal.type("\x03")
        terminal.expect("caught")
        time.sleep(0.5)
        terminal.type("\x1c")  # quit
        self.assertEqual(terminal.end(), 3)
        self.assertNotIn("caught", terminal.seen)

    def test_leaves_no_file_and_cannot_be_written_to(self):
        name = self.detached(options=INIT)
        done = coppice("exec", name, "sh", "-c", "for f in /dev/coppice-init /proc/1/exe; do (echo x >> $f) 2> /dev/null && echo WROTE; done; "
                       "rm /dev/coppice-init 2> /dev/null && echo REMOVED; grep coppice-init /proc/self/mountinfo | cut -d' ' -f6")
        self.assertRegex(done.out, r"\Aro,nosuid,nodev[a-z,]*\n\Z")
        upper = pathlib.Path(world().state, "instances", name, "layer/upper")
        self.assertEqual([str(path) for path in upper.rglob("*coppice-init*")], [])

    def test_needs_little(self):
        name = self.detached(options=INIT)
        dirty = [line.split()[1] for line in read_proc(init_pid(name), "smaps_rollup").decode().splitlines() if line.startswith("Private_Dirty")]
        self.assertLess(int(dirty[0]), 100, "kB")


class OnVdisks(NodeCase):
    def test_first_processes(self):
        self.assertEqual(self.text("run", "--rm", "--init", "--name", new_name(), "os", "cat", "/proc/1/comm"), "coppice-init\n")
        name = self.begin_instance("--boot", script="test $container = coppice && exec sleep 1000")
        told = self.ask(f"/v1/instances/{name}")
        self.check_schema(told, "Instance")
        self.assertEqual((told["boot"], told["terminal"], told["stopSignal"], told["stopTimeoutSeconds"]), (True, True, "RTMIN+3", 90))
        self.text("stop", "-t", "0", name)
        self.assertIn("/sbin/init", self.fails("run", "--rm", "--boot", "--name", new_name(), "os", status=127), "the image's own is not taken")


if __name__ == "__main__":
    main()
