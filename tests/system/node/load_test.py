#!/usr/bin/env python3
"""Instances and clients that take all they can get: others go on, memory stays bounded, and no descriptor is left open.

No test measures time. The long form (COPPICE_LONG=1) goes on for longer, and counts higher.
"""

import collections
import concurrent.futures
import contextlib
import http.client
import json
import os
import pathlib
import random
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from coppice_daemon import Answer, Connection  # noqa: E402
from coppice_node import NodeCase  # noqa: E402
from coppice_test import LONG, cgroup_file, main, new_name, pids, read_proc, wait_until  # noqa: E402

MEBIBYTE = 1 << 20
FLOOD_SECONDS = 60 if LONG else 4
EXECS = 10_000 if LONG else 300
CLIENTS = 50
HAMMER_SECONDS = 120 if LONG else 5
DATABASE_DESCRIPTORS = 24  # of eight readers and a writer: the database, its log and its index


def memory_of(pid):
    """Its own memory in bytes: what it maps of files is not counted."""
    line = next(line for line in read_proc(pid, "status").decode().splitlines() if line.startswith("RssAnon:"))
    return int(line.split()[1]) * 1024


def descriptors_of(pid):
    """Open ones: those of the database, of which a bounded number is kept for readers, and the others."""
    database = others = 0
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            if "/store.db" in os.readlink(f"/proc/{pid}/fd/{fd}"):
                database += 1
            else:
                others += 1
    return database, others


def dead_children_of(pid):
    fields = (read_proc(child, "stat").rpartition(b") ")[2].split() for child in pids())
    return sum(1 for words in fields if words[:2] == [b"Z", str(pid).encode()])


class LoadCase(NodeCase):
    def setUp(self):
        super().setUp()
        self.neighbour = self.begin_instance(script="echo mine > /f; exec sleep 1000", word="neighbour")
        self.assertTrue(wait_until(self.is_unharmed, 30))

    def is_unharmed(self):
        return self.coppice("exec", self.neighbour, "cat", "/f").out == "mine\n"

    def everybody(self, *names):
        return [self.daemon.process.pid, *(self.supervisor_of(name) for name in [self.neighbour, *names])]

    def end(self, name):
        """It can be ended, whatever it does, and nothing stays."""
        self.text("rm", "-f", name)
        self.assertIsNone(cgroup_file(name, "cgroup.procs", "pids"))


class Bombs(LoadCase):
    def test_of_processes(self):
        name = self.begin_instance("--pids", "40", "--cpus", "0.5", script="probe bomb & exec sleep 1000")
        refused = cgroup_file(name, "pids.events", "pids")
        self.assertTrue(wait_until(lambda: int(refused.read_text().split()[1]) > 1000, 60), "it never reached its limit")
        for _ in range(20):
            self.assertLessEqual(len((refused.parent / "cgroup.procs").read_text().split()), 41)  # with one that enters
            self.assertTrue(self.is_unharmed())
        self.coppice("exec", name, "true")  # may fail, but ends
        self.assertEqual(self.state(name), "running")
        self.end(name)
        self.assertTrue(self.is_unharmed())

    def test_of_memory(self):
        # One in its own memory and one in files that are in memory.
        for what in ("probe eat 500", "dd if=/dev/zero of=/dev/shm/x bs=1M count=500"):
            name = self.begin_instance("-m", "32m", script=f"while :; do {what} 2>/dev/null; echo status $?; rm -f /dev/shm/x; done")
            self.assertTrue(wait_until(lambda n=name: len(self.text("logs", n).split("status")) > 4, 60), what)
            self.assertEqual(set(self.text("logs", name).replace("status", "").split()) & {"0"}, set(), "it got what it wanted")
            self.assertTrue(self.is_unharmed())
            peak = cgroup_file(name, "memory.max_usage_in_bytes", "memory") or cgroup_file(name, "memory.peak", "memory")
            self.assertLessEqual(int(peak.read_text()), 32 * MEBIBYTE)
            self.assertEqual(self.state(name), "running", "only who takes too much is ended")
            self.end(name)


class Floods(LoadCase):
    def test_of_output(self):
        options = ("--log-opt", "max-size=1m", "--log-opt", "max-file=3")
        names = [self.begin_instance(*options, script=script) for script in ("yes some line", "cat /dev/zero", "yes error >&2 & yes x")]
        watched = self.everybody(*names)
        before = {pid: memory_of(pid) for pid in watched}
        written = lambda name: int(read_proc(self.supervisor_of(name), "io").split()[3])  # noqa: E731
        end = time.monotonic() + FLOOD_SECONDS
        rounds = 0
        while time.monotonic() < end or min(written(name) for name in names) < 20 * MEBIBYTE:
            rounds += 1
            self.assertLess(rounds, 10_000, "the flood does not come")
            self.assertTrue(self.is_unharmed())
            for name in names:
                sizes = []
                for path in pathlib.Path(self.root, "instances", name).glob("log*"):
                    with contextlib.suppress(FileNotFoundError):  # rotated away
                        sizes.append(path.stat().st_size)
                self.assertLessEqual(len(sizes), 4)  # one more while they change their names
                self.assertLessEqual(max(sizes), MEBIBYTE + (128 << 10))
            for pid in watched:
                self.assertLess(memory_of(pid) - before[pid], 2 * MEBIBYTE, read_proc(pid, "cmdline"))
        for name in names:
            print(f"\n  {written(name) / MEBIBYTE:.0f} MiB written to the log of {name}", flush=True)
            self.assertEqual(self.state(name), "running")
            last = self.coppice("logs", "-n", "1", name)
            self.assertTrue(last.status == 0 and last.out + last.err, last)
            self.end(name)


class Commands(LoadCase):
    def test_many_in_one_instance(self):
        def one(number):
            return self.coppice("exec", self.neighbour, "echo", str(number)).out == f"{number}\n"

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            self.assertTrue(all(pool.map(one, range(50))))  # whatever is set up once
            watched = self.everybody()
            before = {pid: (descriptors_of(pid), memory_of(pid)) for pid in watched}
            self.assertTrue(all(pool.map(one, range(EXECS))))
        processes = cgroup_file(self.neighbour, "cgroup.procs", "pids")
        self.assertTrue(wait_until(lambda: len(processes.read_text().split()) == 1, 30), "only its first process is left")
        for pid in watched:
            descriptors, memory = before[pid]
            self.assertTrue(wait_until(lambda p=pid, d=descriptors: descriptors_of(p)[1] <= d[1], 30), (read_proc(pid, "cmdline"), descriptors, descriptors_of(pid)))
            self.assertLess(memory_of(pid) - memory, MEBIBYTE, read_proc(pid, "cmdline"))
            self.assertEqual(dead_children_of(pid), 0)
        self.assertEqual(self.text("exec", self.neighbour, "sh", "-c", "cat /proc/[0-9]*/stat | grep -c ' Z '; true"), "0\n")


class Client:
    """Asks for this and that until it is told to stop."""

    def __init__(self, case, number):
        self.case, self.random = case, random.Random(number)
        self.name = new_name(f"c{number}x")
        self.statuses, self.wrong = collections.Counter(), []
        self.held = []

    def ask(self, method, target, body=None):
        connection = Connection(self.case.daemon.socket, timeout=120)
        try:
            connection.request(method, target, json.dumps(body) if body is not None else None, {"Content-Type": "application/json"} if body is not None else {})
            answer = Answer(connection.getresponse())
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.wrong.append(f"{method} {target}: {error!r}")
            return None
        finally:
            connection.close()
        self.statuses[answer.status] += 1
        # Either what was asked for, or an error in its form; it was too busy at most.
        problem = answer.status >= 400 and (not isinstance(answer.body, dict) or answer.body.get("status") != answer.status or not answer.body.get("detail"))
        if problem or answer.status >= 500 and answer.status != 503:
            self.wrong.append(f"{method} {target}: {answer}")
        return answer

    def look(self):
        self.ask("GET", self.random.choice(["/v1", "/v1/instances", "/v1/branches", "/v1/vdisks", "/v1/snapshots", "/v1/operations", "/v1/system/df",
                                            f"/v1/instances/{self.case.neighbour}", f"/v1/instances/{self.case.neighbour}/logs",
                                            f"/v1/instances/{self.case.neighbour}/stats", "/v1/instances/absent", "/v1/nowhere"]))

    def act(self):
        path = f"/v1/instances/{self.name}"
        config = {"name": self.name, "root": "os", "mode": self.random.choice(["private", "shared"]), "command": ["sleep", "1000"]}
        self.random.choice([
            lambda: self.ask("POST", "/v1/instances", {"config": config}),
            lambda: self.ask("POST", "/v1/instances", {"config": config, "start": False}),
            lambda: self.ask("POST", path + "/start", {}),
            lambda: self.ask("POST", path + "/stop", {"timeoutSeconds": 0}),
            lambda: self.ask("POST", path + "/kill", {"signal": "KILL"}),
            lambda: self.ask("POST", path + "/branch", {"names": [self.name + "-b"]}),
            lambda: self.ask("POST", f"/v1/branches/{self.name}/snapshots", {}),
            lambda: self.ask("DELETE", path),
            lambda: self.ask("DELETE", path + "-b"),
        ])()

    def talk_nonsense(self):
        self.random.choice([
            lambda: self.ask("POST", "/v1/instances", {"config": {"name": "../x", "root": "os", "mode": "private"}}),
            lambda: self.ask("POST", "/v1/instances", [1, 2, 3]),
            lambda: self.ask("DELETE", "/v1/instances"),
            lambda: self.ask("PATCH", f"/v1/instances/{self.case.neighbour}", {"name": "x"}),
            lambda: self.say(b"\0\1\2\3\r\n\r\n"),
            lambda: self.say(b"POST /v1/instances HTTP/1.1\r\nContent-Length: 100\r\n\r\n{"),
            lambda: self.say(b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n"),
            lambda: self.say(b"GET /v1/instances HTTP/1.1\r\nHost: x\r\n\r\n" * 20),
            lambda: self.say(b"GET /v1 HTT"),
        ])()

    def say(self, text):
        """And does not wait for what comes back. Some stay connected for a while."""
        stream = socket.socket(socket.AF_UNIX)
        with contextlib.suppress(BlockingIOError, ConnectionError):  # it is busy
            stream.setblocking(False)
            stream.connect(self.case.daemon.socket)
            stream.send(text)
        self.held.append(stream)
        if len(self.held) > 2:
            self.held.pop(0).close()

    def go_on_until(self, stop):
        while not stop.is_set():
            self.random.choice([self.look, self.look, self.act, self.talk_nonsense])()
        for stream in self.held:
            stream.close()


class Hammers(LoadCase):
    def hammer(self, first_number):
        """All clients at once, then what they have made is removed. Returns the daemon's descriptors and memory, and what was answered."""
        clients = [Client(self, first_number + number) for number in range(CLIENTS)]
        stop = threading.Event()
        threads = [threading.Thread(target=client.go_on_until, args=(stop, )) for client in clients]
        for thread in threads:
            thread.start()
        end = time.monotonic() + HAMMER_SECONDS
        harmed = 0
        while time.monotonic() < end:
            harmed += not self.is_unharmed()
            time.sleep(0.2)
        stop.set()
        for thread in threads:
            thread.join(300)
            self.assertFalse(thread.is_alive(), "a client waits for ever")
        self.assertEqual([wrong for client in clients for wrong in client.wrong], [])
        self.assertEqual(harmed, 0)
        for name in self.names("ps", "-aq"):
            if name != self.neighbour:
                self.text("rm", "-f", name)
        self.assertEqual(self.branches(), [self.neighbour])
        return sum((client.statuses for client in clients), collections.Counter())

    def test_of_the_api(self):
        pid = self.daemon.process.pid
        _, descriptors = descriptors_of(pid)
        memory, answered = [], set()
        for number in range(3):
            statuses = self.hammer(number * CLIENTS)
            memory.append(memory_of(pid))
            # Those who have hung up are noticed, and layers that nobody uses are let go, a moment later.
            quiet = wait_until(lambda: descriptors_of(pid)[1] <= descriptors, 30, 0.5)
            print(f"\n  {sum(statuses.values())} answers {dict(statuses)}, descriptors {descriptors} -> {descriptors_of(pid)}, "
                  f"memory {memory[-1] >> 10} KiB", flush=True)
            self.assertTrue(quiet, "descriptors stay open")
            self.assertLessEqual(descriptors_of(pid)[0], DATABASE_DESCRIPTORS)
            answered |= set(statuses)
        self.assertLessEqual({200, 201, 204, 400, 404, 405, 409}, answered)
        # The first time whatever is set up once comes to it.
        self.assertLess(memory[0], 64 * MEBIBYTE)
        self.assertLess(memory[-1], memory[0] + 8 * MEBIBYTE)
        self.assertEqual(dead_children_of(self.daemon.process.pid), 0)
        self.assertEqual(self.coppice("system", "fsck").status, 0)


if __name__ == "__main__":
    main()
