#!/usr/bin/env python3
"""What the root of an instance must not reach: another instance, the store, the daemon, the host.

The same script of attacks runs twice: in instances, where each must be refused, and as the host's root in a plain chroot,
where each must succeed. So none of them is refused only because it would not work anywhere.
"""

import contextlib
import ctypes
import os
import pathlib
import re
import socket
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from coppice_node import NodeCase  # noqa: E402
from coppice_test import MARK, cgroup_file, execute, init_pid_below, main, new_name, wait_until, world  # noqa: E402

MEBIBYTE = 1 << 20
TOKEN = f"token-of-{MARK}"

# Of each attack one line: its name, and whether it has reached what it was after.
ATTACKS = """
trap '' USR1
tell() { if [ "$2" = 0 ]; then echo "$1 reached"; else echo "$1 refused"; fi; }
finds() { name=$1; shift; "$@" 2>/dev/null | grep -q -a TOKEN; tell "$name" $?; }
works() { name=$1; shift; "$@" > /tmp/said 2>&1; tell "$name" $?; }

# By each way that may lead to the host's root.
everywhere() { for way in "" /proc/1/root /proc/1/cwd /proc/VICTIM/root /proc/DAEMON/root /proc/SUPERVISOR/cwd ../../../../../..; do cat "$way$1" && return; done; }
connect_everywhere() { for way in "" /proc/1/root /proc/DAEMON/root; do (cd "$way$1" && probe connect $2) && return; done; return 1; }
finds file-of-another-by-path everywhere ROOT/working/NAME/layer/upper/secret
finds file-of-another-by-escape probe escape .ROOT/working/NAME/layer/upper/secret
finds file-of-another-by-handle probe handle HANDLE
finds file-of-another-by-its-process cat /proc/PROCESSES/root/secret
finds open-file-of-another cat /proc/PROCESSES/fd/5
finds environment-of-another cat /proc/PROCESSES/environ
finds description-of-another everywhere ROOT/instances/NAME/instance.json
store() { everywhere ROOT/store.db | head -c 15 | grep -q 'SQLite format'; }
works database store
keys() { for file in KEYS; do everywhere $file | grep -q . && return; done; return 1; }
works keys keys
works socket-of-the-daemon connect_everywhere ROOT coppiced.sock
works control-socket-of-another connect_everywhere ROOT/instances/NAME control
works abstract-socket probe connect @ABSTRACT
works names-of-sockets grep -q MARK /proc/net/unix
tcp() { nc -w 2 127.0.0.1 PORT < /dev/null | grep -q TOKEN; }
works port-of-the-host tcp
works signal-to-another kill -USR1 VICTIM
works signal-to-the-daemon kill -0 DAEMON
works signal-to-a-supervisor kill -0 SUPERVISOR
limits() { done=1; for file in /sys/fs/cgroup/coppice/NAME*/pids.max /sys/fs/cgroup/*/coppice/NAME*/pids.max; do echo 78 > $file && done=0; done; return $done; }
works limits-of-another limits
node() { rm -f /tmp/node; mknod /tmp/node $1 $2 $3 && head -c 512 /tmp/node; }
finds disk node b DISK
open_node() { rm -f /tmp/node; mknod /tmp/node c 10 237 && : < /tmp/node; }
works loop-devices open_node
mounts() { mount -t tmpfs none /mnt && umount /mnt; }
works mount mounts
works namespace unshare -u true
"""


class Isolation(NodeCase):
    def setUp(self):
        super().setUp()
        script = f"echo {TOKEN} > /secret; exec 5<> /unlinked; echo {TOKEN} >&5; rm /unlinked; " \
            "trap 'touch /signalled' USR1; touch /up; while :; do sleep 0.1; done"
        self.victim = self.begin_instance("-e", f"SECRET={TOKEN}", "--pids", "77", script=script, word="victim")
        self.assertTrue(wait_until(lambda: self.coppice("exec", self.victim, "test", "-e", "/up").status == 0, 30))
        self.secret = f"{self.root}/working/{self.victim}/layer/upper/secret"
        self.assertEqual(pathlib.Path(self.secret).read_text(), TOKEN + "\n")
        self.abstract = new_name("socket")
        self.listen(socket.AF_UNIX, "\0" + self.abstract)
        self.port = self.listen(socket.AF_INET, ("127.0.0.1", 0))[1]

    def listen(self, family, address):
        """Somebody on the host who tells the token to who connects. Returns the address."""
        listener = socket.create_server(address) if family == socket.AF_INET else socket.socket(family)
        if family == socket.AF_UNIX:
            listener.bind(address)
            listener.listen()

        def serve():
            while True:
                try:
                    stream, _ = listener.accept()
                except OSError:  # the test is over
                    break
                with stream, contextlib.suppress(ConnectionError):  # it may want no more than to connect
                    stream.sendall(TOKEN.encode() + b"\n")
            listener.close()
        server = threading.Thread(target=serve)
        server.start()
        self.addCleanup(server.join)
        self.addCleanup(listener.shutdown, socket.SHUT_RDWR)
        return listener.getsockname()

    def handle(self):
        """Of the secret file, as the kernel gives it to the host's root."""
        buffer = ctypes.create_string_buffer(8 + 128)
        ctypes.c_uint.from_buffer(buffer).value = 128
        mount = ctypes.c_int()
        result = ctypes.CDLL(None, use_errno=True).name_to_handle_at(-100, self.secret.encode(), buffer, ctypes.byref(mount), 0)
        self.assertEqual(result, 0, os.strerror(ctypes.get_errno()))
        length, kind = ctypes.c_uint.from_buffer(buffer).value, ctypes.c_int.from_buffer(buffer, 4).value
        return f"{kind} {buffer.raw[8:8 + length].hex()}"

    def disk(self):
        """A block device of the host with the token on it."""
        image = pathlib.Path(world().path("disk"))
        image.write_text(TOKEN.ljust(MEBIBYTE))
        device = self.assert_ok(execute(["losetup", "--find", "--show", image])).out.strip()
        self.addCleanup(execute, ["losetup", "--detach", device])
        number = os.stat(device).st_rdev
        return f"{os.major(number)} {os.minor(number)}"

    def attacks(self, processes):
        keys = [str(path) for path in pathlib.Path(self.root).rglob("*key*") if path.is_file()]
        self.assertTrue(keys)
        words = {"TOKEN": TOKEN, "ROOT": self.root, "NAME": self.victim, "HANDLE": self.handle(), "ABSTRACT": self.abstract, "MARK": MARK, "PORT": self.port, "DISK": self.disk(),
                 "VICTIM": init_pid_below(self.root, self.victim), "DAEMON": self.daemon.process.pid,
                 "SUPERVISOR": self.supervisor_of(self.victim), "KEYS": " ".join(keys)}
        script = ATTACKS.replace("PROCESSES", processes)
        return re.sub("|".join(words), lambda found: str(words[found.group()]), script)

    def outcome(self, done):
        lines = dict(line.split() for line in done.out.splitlines())
        self.assertGreater(len(lines), 20, done)
        return lines

    def limit(self):
        return cgroup_file(self.victim, "pids.max", "pids").read_text()

    def was_signalled(self):
        return self.coppice("exec", self.victim, "test", "-e", "/signalled").status == 0

    def test_attacks_work_without_isolation(self):
        # Nobody else's processes are looked into: who reads their pipes takes what is in them.
        script = f"mount -t proc none {self.tree}/proc && mount --rbind /sys {self.tree}/sys && exec chroot {self.tree} /bin/sh -c \"$0\""
        done = execute(["unshare", "-m", "--propagation", "private", "sh", "-c", script, self.attacks("VICTIM")])
        self.assertEqual({name for name, what in self.outcome(done).items() if what != "reached"}, set(), done)
        self.assertTrue(wait_until(self.was_signalled, 30))
        self.assertEqual(self.limit(), "78\n")

    def test_attacks_are_refused(self):
        maps = {pathlib.Path(f"/proc/{init_pid_below(self.root, self.victim)}/uid_map").read_text()}
        attacks = self.attacks("[0-9]*")
        for number, options in enumerate(((), ("--mode", "shared"), ("--boot", ), ("--cap-add", "SYS_ADMIN"))):
            with self.subTest(options=options):
                name = self.begin_instance(*options, word="attacker")
                done = self.coppice("exec", name, "sh", "-c", attacks)
                reached = {attack for attack, what in self.outcome(done).items() if what != "refused"}
                # Who was given CAP_SYS_ADMIN may mount, in its own namespace.
                self.assertEqual(reached - ({"mount", "namespace"} if "--cap-add" in options else set()), set(), done)
                maps.add(pathlib.Path(f"/proc/{init_pid_below(self.root, name)}/uid_map").read_text())
                self.assertEqual(len(maps), number + 2, "ids of its own")
                self.assertFalse(self.was_signalled())
                self.assertEqual(self.limit(), "77\n")
                self.coppice("exec", name, "sh", "-c", "kill -USR1 -1; kill -KILL -1")
                self.assertTrue(self.daemon.answers())
                self.assertFalse(self.was_signalled())
        ranges = sorted((int(first), int(count)) for _, first, count in (text.split() for text in maps))
        for (first, count), (second, _) in zip(ranges, ranges[1:]):
            self.assertLessEqual(first + count, second, "no id of the host stands for two instances")
        self.assertGreaterEqual(ranges[0][0], 0x4000_0000)


if __name__ == "__main__":
    main()
