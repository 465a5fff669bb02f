#!/usr/bin/env python3
"""`coppice logs` and what is behind it: streams, times, rotation, following, full disks, killed supervisors."""

import os
import pathlib
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from coppice_test import Case, coppice, init_pid, main, read_proc, start, wait_until, world  # noqa: E402

SMALL = ("--log-opt", "max-size=64k", "--log-opt", "max-file=3")
RECORD = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z (stdout|stderr) [PF] "


class Logs(Case):
    def logged(self, script, options=()):
        """A detached instance that has run to its end."""
        name = self.detached("sh", "-c", script, options=options)
        self.wait_for_end(name)
        return name

    def wait_for_end(self, name):
        self.assertTrue(wait_until(lambda: name not in coppice("ps", "-q").out, 60))

    def files(self, name):
        return sorted(pathlib.Path(world().state, "instances", name).glob("log*"))

    def supervisor(self, name):
        """The parent of its first process."""
        return int(read_proc(init_pid(name), "stat").rpartition(b")")[2].split()[1])


class Form(Logs):
    def test_file_is_as_kubernetes_tools_read_it(self):
        name = self.logged("echo out; echo err >&2; printf part; sleep 0.2; echo ' end'")
        lines = self.files(name)[0].read_text().splitlines()
        for line in lines:
            self.assertRegex(line, RECORD)
        self.assertCountEqual([line[31:] for line in lines],
                              ["stdout F out", "stderr F err", "stdout P part", "stdout F  end"])

    def test_streams_are_apart(self):
        done = coppice("logs", self.logged("for i in 1 2 3; do echo out $i; echo err $i >&2; done; printf 'no end'"))
        self.assertEqual((done.status, done.out, done.err),
                         (0, "out 1\nout 2\nout 3\nno end", "err 1\nerr 2\nerr 3\n"))

    def test_terminal_is_one_stream(self):
        name = self.logged("echo out; echo err >&2", ["-t"])
        done = coppice("logs", name)
        self.assertEqual((done.out, done.err), ("out\r\nerr\r\n", ""))

    def test_all_bytes_but_the_end_of_a_line_pass(self):
        name = self.logged("i=0; while [ $i -lt 256 ]; do printf \"\\\\$(printf %o $i)\"; i=$((i+1)); done")
        self.assertEqual(coppice("logs", name, text=False).out, bytes(range(256)))

    def test_long_line_is_joined(self):
        name = self.logged("head -c 1000000 /dev/zero | tr '\\0' x; echo end")
        self.assertEqual(coppice("logs", name).out, "x" * 1000000 + "end\n")
        self.assertEqual(coppice("logs", "-n", "1", name).out, "x" * 1000000 + "end\n")


class Choice(Logs):
    def test_times(self):
        name = self.logged("echo one; sleep 1.2; echo two")
        first, second = coppice("logs", "-t", name).out.splitlines()
        self.assertRegex(first, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z one$")
        since, until = second.split()[0], first.split()[0]
        self.assertEqual(coppice("logs", "--since", since, name).out, "two\n")
        self.assertEqual(coppice("logs", "--until", until, name).out, "one\n")
        self.assertEqual(coppice("logs", "--since", until, "--until", since, name).out, "one\ntwo\n")
        self.assertEqual(coppice("logs", "--since", "1h", name).out, "one\ntwo\n")
        self.assertEqual(coppice("logs", "--until", "1h", name).out, "")
        self.assertEqual(coppice("logs", "--since", f"{time.time() + 5:.3f}", name).out, "")
        self.assertEqual(coppice("logs", "--since", "0", name).out, "one\ntwo\n")

    def test_tail(self):
        name = self.logged("seq 1 20000", SMALL)
        for count in (0, 1, 7, 1500):
            self.assertEqual(coppice("logs", "--tail", count, name).out.split(),
                             [str(i) for i in range(20001 - count, 20001)])
        self.assertEqual(coppice("logs", "-n", "all", name).out, coppice("logs", name).out)

    def test_refused(self):
        name = self.logged("true")
        for option, value in (("--since", "yesterday"), ("--until", "12 o'clock"), ("--tail", "-1"), ("--tail", "many"), ("--since", "")):
            done = coppice("logs", option, value, name)
            self.assertIn(done.status, (1, 2), repr(done))
            self.assertIn(option, done.err)
        for option in ("max-size=1k", "max-size=x", "max-file=0", "max-file=1000", "mode=non-blocking", "max-size"):
            self.assert_one_line(coppice("run", "--log-opt", option, self.tree), 125, "--log-opt " + option)


class Rotation(Logs):
    def most_memory_until_the_end(self, name):
        """Of its supervisor's own, in KiB."""
        supervisor, most = self.supervisor(name), 0
        while name in coppice("ps", "-q").out:
            status = read_proc(supervisor, "status").decode().splitlines()
            most = max([most, *(int(line.split()[1]) for line in status if line.startswith("RssAnon:"))])
        return most

    def test_flood_is_bounded_in_files_and_memory(self):
        for word, count in (("0123456789012345678901234567890123456789", 40_000_000), ("''", 2_000_000)):
            with self.subTest(word=word):
                name = self.detached("sh", "-c", f"yes {word} | head -c {count}; echo last")
                self.assertLess(self.most_memory_until_the_end(name), 1500)
                self.assertEqual([file.name for file in self.files(name)], ["log", "log.1", "log.2"])
                for file in self.files(name):
                    self.assertLessEqual(file.stat().st_size, 10 << 20)
                done = coppice("logs", name)
                self.assertTrue(done.out.endswith("last\n"))
                self.assertEqual(done.err, "", "no record was torn")

    def test_limits(self):
        name = self.logged("seq 1 100000", ["--log-opt", "max-size=100k", "--log-opt", "max-file=2"])
        self.assertEqual([file.name for file in self.files(name)], ["log", "log.1"])
        self.assertGreater(self.files(name)[1].stat().st_size, (100 << 10) - 100)
        self.assertLessEqual(self.files(name)[1].stat().st_size, 100 << 10)

    def test_follow_sees_every_line_once(self):
        name = self.detached("sh", "-c", "i=0; while [ $i -lt 40 ]; do seq $((i*500+1)) $((i*500+500)); sleep 0.05; i=$((i+1)); done; exit 3",
                             options=["--log-opt", "max-size=64k", "--log-opt", "max-file=4"])
        done = coppice("logs", "-f", name)
        self.assertEqual(done.err, "")
        self.assertEqual(done.out.split(), [str(i) for i in range(1, 20001)])
        self.assertTrue(self.files(name)[-1].name == "log.3", "it was rotated")

    def test_follow_ends_with_an_instance_that_leaves_nothing(self):
        name = self.detached("sh", "-c", "for i in 1 2 3 4 5; do echo line $i; sleep 0.2; done; echo end", options=["--rm"])
        done = coppice("logs", "-f", name)
        self.assertEqual((done.status, done.out), (0, "line 1\nline 2\nline 3\nline 4\nline 5\nend\n"))

    def test_follow_from_the_end(self):
        name = self.detached("sh", "-c", "echo before; trap 'echo after; exit' TERM; while :; do sleep 0.1; done")
        self.assertTrue(wait_until(lambda: coppice("logs", name).out == "before\n"))
        follower = start("logs", "-f", "-n", "0", name)
        time.sleep(0.3)
        coppice("stop", name)
        self.assertEqual(follower.communicate(timeout=20), ("after\n", ""))
        self.assertEqual(coppice("logs", "-f", name).out, "before\nafter\n")


class Trouble(Logs):
    def test_killed_supervisor_leaves_a_log(self):
        name = self.detached("sh", "-c", "i=0; while :; do echo $((i=i+1)); done", options=SMALL)
        self.assertTrue(wait_until(lambda: len(self.files(name)) == 3))
        os.kill(self.supervisor(name), signal.SIGKILL)
        self.wait_for_end(name)
        numbers = [int(line) for line in coppice("logs", name).out.split()]
        self.assertEqual(numbers, list(range(numbers[0], numbers[0] + len(numbers))))
        self.assertGreater(len(numbers), 1000)
        self.assert_ok(coppice("run", "-d", "--name", name, *SMALL, self.tree, "--", "echo", "again"))
        self.wait_for_end(name)
        self.assertTrue(coppice("logs", name).out.endswith("\nagain\n"))

    def test_reader_that_goes_away(self):
        name = self.detached("sh", "-c", "while echo word; do :; done", options=SMALL)
        follower = start("logs", "-f", name)
        follower.stdout.readline()
        follower.stdout.close()
        follower.stderr.close()
        follower.wait(20)
        coppice("stop", "-t", "0", name)


if __name__ == "__main__":
    main()
