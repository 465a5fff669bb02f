#!/usr/bin/env python3
"""coppice-runtime and those who listen to a container: the agent of a system call filter, and NOTIFY_SOCKET."""

import array
import contextlib
import json
import os
import socket
import struct
import subprocess
import sys
import threading
from fcntl import ioctl

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from bundle import make_bundle  # noqa: E402
from coppice_test import RUNTIME, environment, main, new_name, runtime, wait_until, world  # noqa: E402
from oci_test import PROGRAM, OciCase  # noqa: E402

RECEIVE, SEND = 0xC0502100, 0xC0182101  # SECCOMP_IOCTL_NOTIF_RECV and _SEND


class Agent:
    """Answers every call that it is asked about with an errno."""

    def __init__(self, number):
        self.path = world().path(new_name("agent"))
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(self.path)
        self.socket.listen()
        self.number, self.states, self.asked = number, [], 0
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            connection, _ = self.socket.accept()
            text, rights, _, _ = connection.recvmsg(65536, socket.CMSG_SPACE(16))
            fds = array.array("i")
            for _, _, data in rights:
                fds.frombytes(data[:len(data) - len(data) % fds.itemsize])
            self.states.append(json.loads(text))
            threading.Thread(target=self.answer, args=(fds[0],), daemon=True).start()

    def answer(self, fd):
        while True:
            request = bytearray(80)
            try:
                ioctl(fd, RECEIVE, request)
                ioctl(fd, SEND, struct.pack("QqiI", struct.unpack_from("Q", request)[0], 0, -self.number, 0))
            except OSError:
                return
            self.asked += 1


class SeccompListener(OciCase):
    def change(self, agent, names=("mkdir", "mkdirat"), **more):
        def change(config):
            config["root"]["readonly"] = False
            config["linux"]["seccomp"] = {
                "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "listenerPath": agent.path,
                "listenerMetadata": "hello \"agent\"", "syscalls": [{"names": list(names), "action": "SCMP_ACT_NOTIFY"}], **more}
        return change

    def test_agent_answers(self):
        for new_privileges in (False, True):  # the filter comes at another moment then
            agent = Agent(122)  # EDQUOT: nobody else gives that

            def change(config):
                self.change(agent)(config)
                config["process"]["noNewPrivileges"] = not new_privileges
            name = self.started(["sh", "-c", "mkdir /tmp/x; sleep 1000"], change)
            self.assertTrue(wait_until(lambda: agent.asked == 1), agent.states)
            state = agent.states[0]
            self.assertEqual((state["fds"], state["metadata"], state["pid"]),
                             (["seccompFd"], "hello \"agent\"", self.state(name)["pid"]))
            self.assertEqual((state["state"]["id"], state["state"]["pid"]), (name, state["pid"]))
            done = runtime("exec", name, "mkdir", "/tmp/y")
            self.assertIn("quota", done.err.lower(), repr(done))
            self.assertEqual(len(agent.states), 2)
            self.assertNotEqual(agent.states[1]["pid"], state["pid"])
            self.assertFalse(os.path.exists(self.tree + "/tmp/x"))

    def test_agent_that_is_asked_about_our_own_calls(self):
        agent = Agent(122)
        # read is what the runtime itself waits in until the descriptor has been handed over.
        name = self.create(["sleep", "1000"], self.change(agent, ["mkdir"], flags=["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]))
        self.assert_ok(runtime("start", name))

    def test_nobody_listens(self):
        # A process that is asked about read waits for an answer in the very call that would tell it that there is none:
        # it holds the listener open itself.
        for asked in ("mkdir", "read"):
            with self.subTest(asked=asked):
                agent = Agent(1)
                name = self.create(change=self.change(agent, [asked]))
                agent.socket.close()
                os.unlink(agent.path)
                self.assert_one_line(runtime("start", name), 1, "listenerPath", agent.path, program=PROGRAM)
                self.assertTrue(wait_until(lambda name=name: self.state(name)["status"] == "stopped"), self.state(name))

    def test_refusals(self):
        agent = Agent(1)
        self.refused(self.run_bundle(["true"], self.change(agent, listenerPath="")), "listenerPath")
        self.refused(self.run_bundle(["true"], self.change(agent, defaultAction="SCMP_ACT_NOTIFY")), "default action")
        self.refused(self.run_bundle(["true"], self.change(agent, flags=["SECCOMP_FILTER_FLAG_NO"])), "SECCOMP_FILTER_FLAG_NO")


class Notify(OciCase):
    def listener(self):
        path = world().path(new_name("n"))
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        receiver.bind(path)
        receiver.settimeout(20)
        self.addCleanup(receiver.close)
        return path, receiver

    def received(self, receiver, acknowledge=os.close):
        words = []
        while True:
            text, rights, _, _ = receiver.recvmsg(4096, socket.CMSG_SPACE(4))
            words.append(text.decode().strip())
            for _, _, data in rights:
                for fd in array.array("i", data[:4]):
                    acknowledge(fd)  # by closing it
            if words[-1] == "BARRIER=1":
                return words

    def run_in_foreground(self, script, path):
        name = new_name("c")
        self.addCleanup(runtime, "delete", "--force", name)
        bundle = make_bundle(["sh", "-c", script], lambda c: c["mounts"].append(
            {"destination": "/run", "type": "tmpfs", "source": "tmpfs"}))
        process = subprocess.Popen([RUNTIME, "--root", world().containers, "run", "-b", bundle, name], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment({"NOTIFY_SOCKET": path}))
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return name, process

    def test_what_is_too_long_is_not_for_us(self):
        path, receiver = self.listener()
        name = new_name("c")
        self.addCleanup(runtime, "delete", "--force", name)
        script = "probe notify $(head -c 9000 /dev/zero | tr '\\0' x); probe notify READY=1; sleep 1000"
        self.assert_ok(runtime("create", "-b", make_bundle(["sh", "-c", script], lambda c: c["mounts"].append(
            {"destination": "/run", "type": "tmpfs", "source": "tmpfs"})), name, env={"NOTIFY_SOCKET": path}))
        words = []
        thread = threading.Thread(target=lambda: words.extend(self.received(receiver)), daemon=True)
        thread.start()
        done = self.assert_ok(runtime("start", name, env={"NOTIFY_SOCKET": path}))
        self.assertEqual(done.err, "")
        thread.join(20)
        self.assertEqual(words[0], "READY=1")

    def test_a_caller_that_does_not_read(self):
        path, _ = self.listener()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as full:
            full.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    full.sendto(b"STATUS=full", path)
        _, process = self.run_in_foreground("probe notify READY=1; exit 7", path)
        _, said = process.communicate(timeout=30)
        self.assertEqual(process.returncode, 7, said)
        self.assertIn("NOTIFY_SOCKET", said)
        # The container that `start` started runs, whatever its caller does.
        name = new_name("c")
        self.addCleanup(runtime, "delete", "--force", name)
        self.assert_ok(runtime("create", "-b", make_bundle(["sh", "-c", "probe notify READY=1; sleep 1000"], lambda c: c["mounts"].append(
            {"destination": "/run", "type": "tmpfs", "source": "tmpfs"})), name, env={"NOTIFY_SOCKET": path}))
        done = self.assert_ok(runtime("start", name, env={"NOTIFY_SOCKET": path}, timeout=30))
        self.assertIn("NOTIFY_SOCKET", done.err)
        self.assertEqual(self.state(name)["status"], "running")

    def test_signals_are_handed_on_while_the_caller_is_silent(self):
        path, receiver = self.listener()
        kept = []
        _, process = self.run_in_foreground("trap 'echo got; exit 7' TERM; probe notify READY=1; probe notify READY=1; while :; do sleep 0.05; done",
                                            path)
        words = self.received(receiver, kept.append)
        self.assertEqual(words, ["READY=1", f"MAINPID={process.pid}", "BARRIER=1"])
        process.terminate()
        self.assertEqual(process.stdout.readline(), "got\n")
        for fd in kept:
            os.close(fd)
        _, said = process.communicate(timeout=20)
        self.assertEqual(process.returncode, 7, said)

    def test_ready_is_handed_on(self):
        path, receiver = self.listener()
        name = new_name("c")
        self.addCleanup(runtime, "delete", "--force", name)
        script = ("echo $NOTIFY_SOCKET > /dev/shm/name; ls -l $NOTIFY_SOCKET > /dev/shm/list; probe notify READY=1; sleep 1000")
        done = runtime("create", "-b", make_bundle(["sh", "-c", script], lambda c: c["mounts"].append(
            {"destination": "/run", "type": "tmpfs", "source": "tmpfs"})), name, env={"NOTIFY_SOCKET": path})
        self.assert_ok(done)
        words = []
        thread = threading.Thread(target=lambda: words.extend(self.received(receiver)), daemon=True)
        thread.start()
        self.assert_ok(runtime("start", name, env={"NOTIFY_SOCKET": path}))
        thread.join(20)
        self.assertEqual(words, ["READY=1", f"MAINPID={self.state(name)['pid']}", "BARRIER=1"])
        self.assertEqual(runtime("exec", name, "cat", "/dev/shm/name").out, "/run/notify/notify.sock\n")

    def test_end_without_ready(self):
        path, _ = self.listener()
        name = new_name("c")
        self.addCleanup(runtime, "delete", "--force", name)
        bundle = make_bundle(["sh", "-c", "sleep 0.5"], lambda c: c["mounts"].append(
            {"destination": "/run", "type": "tmpfs", "source": "tmpfs"}))
        self.assert_ok(runtime("create", "-b", bundle, name, env={"NOTIFY_SOCKET": path}))
        self.assert_ok(runtime("start", name, env={"NOTIFY_SOCKET": path}))

    def test_start_without_the_socket_goes_on(self):
        path, _ = self.listener()
        name = new_name("c")
        self.addCleanup(runtime, "delete", "--force", name)
        bundle = make_bundle(["sleep", "1000"], lambda c: c["mounts"].append(
            {"destination": "/run", "type": "tmpfs", "source": "tmpfs"}))
        self.assert_ok(runtime("create", "-b", bundle, name, env={"NOTIFY_SOCKET": path}))
        self.assert_ok(runtime("start", name))


if __name__ == "__main__":
    main()
