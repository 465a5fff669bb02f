#!/usr/bin/env python3
"""`-t` and `-it`: echo, size, raw mode, Ctrl-C, and what the instance cannot do to our own terminal."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from coppice_test import COPPICE, Case, coppice, environment, main, new_name, wait_until, world  # noqa: E402


class Terminal:
    """A command whose standard streams are a terminal of 30 rows and 90 columns that we hold the other end of."""

    def __init__(self, *arguments):
        self.master, slave = pty.openpty()
        self.resize(30, 90)
        self.before = termios.tcgetattr(self.master)
        self.process = subprocess.Popen([COPPICE, "--root", world().state, *arguments], stdin=slave, stdout=slave,
                                        stderr=slave, env=environment(), start_new_session=True,
                                        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(slave)
        self.seen = ""

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text):
        os.write(self.master, text.encode())

    def expect(self, text, seconds=20):
        end = time.monotonic() + seconds
        while text not in self.seen:
            ready = select.select([self.master], [], [], max(0, end - time.monotonic()))[0]
            if not ready:
                raise AssertionError(f"{text!r} did not come within {seconds} s; there was: {self.seen!r}")
            try:
                self.seen += os.read(self.master, 65536).decode(errors="replace")
            except OSError as error:  # EIO: the other end is closed
                raise AssertionError(f"{text!r} did not come before the end; there was: {self.seen!r}") from error
        position = self.seen.index(text) + len(text)
        found, self.seen = self.seen[:position], self.seen[position:]
        return found

    def end(self, seconds=20):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            ended = self.process.poll() is not None  # asked before the last look
            if select.select([self.master], [], [], 0.02)[0]:
                try:
                    self.seen += os.read(self.master, 65536).decode(errors="replace")
                    continue
                except OSError:  # EIO: the other end is closed
                    time.sleep(0.02)
            if ended:
                return self.process.returncode
        raise AssertionError(f"does not end; there was: {self.seen!r}")

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)


class TerminalCase(Case):
    def open(self, *arguments):
        terminal = Terminal(*arguments)
        self.addCleanup(terminal.close)
        return terminal

    def shell(self, *options):
        terminal = self.open("run", "--rm", "--name", new_name(), "-it", *options, self.tree, "--", "sh")
        terminal.expect("# ")
        return terminal


class Interactive(TerminalCase):
    def test_echo_and_status(self):
        terminal = self.shell()
        terminal.type("echo $((6*7))\n")
        terminal.expect("echo $((6*7))")  # the terminal inside echoes, once
        terminal.expect("42")
        terminal.type("tty; exit 5\n")
        terminal.expect("/dev/pts/0")
        self.assertEqual(terminal.end(), 5)

    def test_raw_mode_is_undone(self):
        terminal = self.shell()
        during = termios.tcgetattr(terminal.master)
        self.assertEqual(during[3] & (termios.ECHO | termios.ICANON), 0, "our own terminal is raw meanwhile")
        terminal.type("exit\n")
        terminal.end()
        self.assertEqual(termios.tcgetattr(terminal.master), terminal.before)

    def test_raw_mode_is_undone_when_the_start_fails(self):
        terminal = self.open("run", "--rm", "--name", new_name(), "-it", self.tree, "--", "no-such-command")
        self.assertEqual(terminal.end(), 127)
        self.assertEqual(termios.tcgetattr(terminal.master), terminal.before)

    def test_size_at_the_start_and_after_a_change(self):
        terminal = self.shell()
        terminal.type("stty size\n")
        terminal.expect("30 90")
        terminal.resize(50, 132)
        terminal.process.send_signal(signal.SIGWINCH)
        time.sleep(0.3)
        terminal.type("stty size\n")
        terminal.expect("50 132")
        terminal.type("exit\n")
        terminal.end()

    def test_program_is_told_of_a_new_size(self):
        terminal = self.open("run", "--rm", "--name", new_name(), "-it", self.tree, "--", "sh", "-c",
                             "trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.1; done")
        terminal.expect("ready")
        terminal.resize(41, 77)
        terminal.expect("41 77")
        terminal.end()

    def test_interrupt_reaches_the_program_and_not_us(self):
        terminal = self.shell()
        terminal.type("trap 'echo caught' INT; echo set\n")
        terminal.expect("set\r\n")
        terminal.type("sleep 1000\n")
        time.sleep(0.5)
        terminal.type("\x03")
        terminal.type("echo still here\n")
        terminal.expect("still here\r\n")
        terminal.type("exit 0\n")
        self.assertEqual(terminal.end(), 0)

    def test_quit_suspend_and_end_of_file_reach_the_program(self):
        terminal = self.open("run", "--rm", "--name", new_name(), "-it", self.tree, "--", "cat")
        terminal.type("a line\n")
        terminal.expect("a line\r\na line\r\n")
        terminal.type("\x04")
        self.assertEqual(terminal.end(), 0)

    def test_much_output_arrives_whole(self):
        terminal = self.open("run", "--rm", "--name", new_name(), "-it", self.tree, "--", "seq", "1", "50000")
        terminal.end(60)
        self.assertIn("\r\n50000\r\n", terminal.seen[-20:])
        self.assertEqual(terminal.seen.count("\n"), 50000)

    def test_exec_with_a_terminal(self):
        name = self.detached()
        terminal = self.open("exec", "-it", name, "sh")
        terminal.expect("# ")
        terminal.type("stty size; tty; exit 9\n")
        terminal.expect("30 90")
        terminal.expect("/dev/pts/")
        self.assertEqual(terminal.end(), 9)
        self.assertEqual(termios.tcgetattr(terminal.master), terminal.before)

    def test_terminal_that_is_hung_up(self):
        terminal = self.shell()
        os.close(terminal.master)
        terminal.master = os.open("/dev/null", os.O_RDONLY)
        self.assertTrue(wait_until(lambda: terminal.process.poll() is not None, 20), "a hang-up ends it")

    def test_console_and_size_of_a_detached_terminal(self):
        name = self.detached("sh", "-c", "tty; test -c /dev/console && echo console; sleep 1000", options=["-t"])
        self.assertTrue(wait_until(lambda: "console" in coppice("logs", name).out))
        self.assertIn("/dev/pts/0", coppice("logs", name).out)


class Without(TerminalCase):
    def test_it_needs_a_terminal(self):
        done = coppice("run", "--rm", "-it", self.tree, "--", "true")
        self.assert_one_line(done, 125, "terminal")

    def test_instance_without_terminal_has_none(self):
        self.assertEqual(self.sh("tty; cat /dev/tty 2>/dev/null || echo none").out.splitlines(), ["not a tty", "none"])

    def test_nothing_can_be_injected_into_our_terminal(self):
        # With -i alone the instance has our own terminal as a descriptor. TIOCSTI on it would type for us.
        terminal = self.open("run", "--rm", "--name", new_name(), "-i", self.tree, "--", "probe", "inject", "0")
        terminal.expect("TIOCSTI-again")
        terminal.end()
        output = terminal.seen
        self.assertNotIn("OK", output)

    def test_interrupt_without_a_terminal_inside(self):
        terminal = self.open("run", "--rm", "--name", new_name(), self.tree, "--", "probe", "signals", str(int(signal.SIGINT)))
        terminal.expect("ready")
        terminal.type("\x03")
        terminal.expect("INT")
        self.assertEqual(terminal.end(), 0)


if __name__ == "__main__":
    main()
