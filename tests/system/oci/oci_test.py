#!/usr/bin/env python3
"""coppice-runtime on OCI bundles: life cycle, state, terminal, hooks, limits."""

import array
import json
import os
import pathlib
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from bundle import make_bundle, with_user_namespace  # noqa: E402
from coppice_test import (COPPICE, Case, MARK, RUNTIME, cgroup_mounts, environment, execute, is_cgroup_v2_only, main, make_tree, mounts,  # noqa: E402
                          new_name, read_proc, runtime, sha256_file, wait_until, world)

PROGRAM = "coppice-runtime"


def strace(*calls):
    """The beginning of a command line that shows these calls on standard error."""
    if not shutil.which("strace"):
        raise unittest.SkipTest("needs strace")
    return ["strace", "-f", "-qq", "-e", "trace=" + ",".join(calls)]


class OciCase(Case):
    def create(self, args=("sleep", "1000"), change=None, options=(), root=None, **more):
        name = new_name("c")
        self.addCleanup(runtime, "delete", "--force", name)
        self.assert_ok(runtime("create", "-b", make_bundle(args, change, root), *options, name, **more))
        return name

    def started(self, args=("sleep", "1000"), change=None, options=(), root=None):
        name = self.create(args, change, options, root)
        self.assert_ok(runtime("start", name))
        return name

    def run_bundle(self, args, change=None, options=(), root=None, **more):
        return runtime("run", "-b", make_bundle(args, change, root), *options, new_name("c"), **more)

    def state(self, name):
        return json.loads(self.assert_ok(runtime("state", name)).out)

    def refused(self, done, *words):
        self.assert_one_line(done, 1, *words, program=PROGRAM)
        self.assert_nothing_left(repr(done))


class LifeCycle(OciCase):
    def test_states(self):
        bundle = make_bundle(["sleep", "1000"], lambda config: config.update(annotations={"a.b": "c"}))
        name = new_name("c")
        self.addCleanup(runtime, "delete", "--force", name)
        self.assert_ok(runtime("create", "-b", bundle, name))
        state = self.state(name)
        self.assertEqual({key: state[key] for key in ("id", "status", "bundle", "annotations")},
                         {"id": name, "status": "created", "bundle": bundle, "annotations": {"a.b": "c"}})
        self.assertRegex(state["ociVersion"], r"^1\.\d+\.\d+")
        self.assertTrue(os.path.isdir(f"/proc/{state['pid']}"))
        self.assert_ok(runtime("start", name))
        self.assertEqual(self.state(name)["status"], "running")
        self.assertEqual(self.state(name)["pid"], state["pid"])
        self.assert_ok(runtime("kill", name, "KILL"))
        self.assertTrue(wait_until(lambda: self.state(name)["status"] == "stopped"))
        self.assert_ok(runtime("delete", name))
        self.assert_one_line(runtime("state", name), 1, name, "container does not exist", program=PROGRAM)
        self.assertTrue(os.path.isdir(bundle), "the bundle is not ours to delete")

    def test_program_does_not_run_before_start(self):
        def change(config):
            config["root"]["readonly"] = False
            config["mounts"].append({"destination": "/out", "type": "bind", "source": out, "options": ["rbind", "rw"]})
        out = world().path(new_name("out"))
        os.mkdir(out)
        os.mkdir(pathlib.Path(self.tree, "out"))
        self.addCleanup(os.rmdir, pathlib.Path(self.tree, "out"))
        name = self.create(["touch", "/out/ran"], change)
        time.sleep(0.3)
        self.assertEqual(os.listdir(out), [])
        self.assert_ok(runtime("start", name))
        self.assertTrue(wait_until(lambda: os.listdir(out) == ["ran"]))

    def test_same_id_twice(self):
        name = self.create()
        done = runtime("create", "-b", make_bundle(["true"]), name)
        self.assert_one_line(done, 1, name, "container with given ID already exists", program=PROGRAM)
        self.assertEqual(self.state(name)["status"], "created")

    def test_start_twice(self):
        name = self.started()
        self.assert_one_line(runtime("start", name), 1, name, "cannot start an already running container", program=PROGRAM)
        self.assertEqual(self.state(name)["status"], "running")

    def test_start_of_a_stopped_one(self):
        name = self.started(["true"])
        wait_until(lambda: self.state(name)["status"] == "stopped")
        self.assert_one_line(runtime("start", name), 1, name, "cannot start a container that has stopped", program=PROGRAM)

    def test_start_of_an_init_that_does_not_answer(self):
        name = self.create()
        os.kill(self.state(name)["pid"], signal.SIGSTOP)
        self.assert_one_line(runtime("start", name, timeout=30), 1, name, "does not answer", program=PROGRAM)
        os.kill(self.state(name)["pid"], signal.SIGCONT)
        self.assert_ok(runtime("start", name))

    def test_somebody_who_connects_and_says_nothing(self):
        name = self.create()
        silent = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.addCleanup(silent.close)
        silent.connect(f"{world().containers}/{name}/start.sock")
        self.assert_ok(runtime("start", name, timeout=30))
        self.assertEqual(self.state(name)["status"], "running")

    def test_start_that_is_slow(self):
        # Between its connection and its word init has hung up.
        name = self.create()
        done = execute([*strace("sendmsg"), "-e", "inject=sendmsg:delay_enter=2000000:when=1", RUNTIME, "--root", world().containers,
                        "start", name])
        self.assert_ok(done)
        self.assertEqual(done.err.count("EPIPE"), 1, repr(done))
        self.assertEqual(self.state(name)["status"], "running")

    def test_kill_of_a_stopped_one(self):
        name = self.started(["true"])
        wait_until(lambda: self.state(name)["status"] == "stopped")
        self.assert_one_line(runtime("kill", name, "TERM"), 1, name, "container not running", program=PROGRAM)

    def test_kill_of_a_created_one(self):
        name = self.create()
        self.assert_ok(runtime("kill", name, "KILL"))
        self.assertTrue(wait_until(lambda: self.state(name)["status"] == "stopped"))

    def test_delete_of_a_running_one(self):
        name = self.started()
        self.assert_one_line(runtime("delete", name), 1, name, "running", program=PROGRAM)
        self.assertEqual(self.state(name)["status"], "running")
        self.assert_ok(runtime("delete", "--force", name))

    def test_delete_of_what_does_not_exist(self):
        self.assert_one_line(runtime("delete", "nobody"), 1, "nobody", "does not exist", program=PROGRAM)
        self.assert_ok(runtime("delete", "--force", "nobody"))

    def test_kill_by_name_number_and_all(self):
        script = "trap 'echo usr1 >> /dev/shm/got' USR1; sleep 1000 & echo ready > /dev/shm/got; while :; do sleep 0.05; done"
        name = self.started(["sh", "-c", script])

        def got(*lines):
            return wait_until(lambda: runtime("exec", name, "cat", "/dev/shm/got").out.split() == list(lines))
        self.assertTrue(got("ready"))
        for count, word in enumerate(("USR1", "SIGUSR1", "10"), 1):
            self.assert_ok(runtime("kill", name, word))
            self.assertTrue(got("ready", *["usr1"] * count), word)
        self.assert_ok(runtime("kill", "--all", name, "KILL"))
        self.assertTrue(wait_until(lambda: self.state(name)["status"] == "stopped"))
        self.assert_one_line(runtime("kill", name, "NOSUCH"), 1, "NOSUCH", program=PROGRAM)

    def test_list(self):
        name = self.started()
        rows = json.loads(runtime("list", "-f", "json").out)
        self.assertEqual([(row["id"], row["status"]) for row in rows], [(name, "running")])
        self.assertEqual(runtime("list", "-q").out, name + "\n")
        self.assertIn("running", runtime("list").out)

    def test_statuses_of_run(self):
        for status in (0, 1, 7, 255):
            self.assert_status(self.run_bundle(["sh", "-c", f"exit {status}"]), status)
        self.assert_status(self.run_bundle(["sh", "-c", "sh -c 'kill -9 $$'; exit $?"]), 137)

    def test_run_detached_with_pid_file(self):
        name, file = new_name("c"), world().path(new_name("pid"))
        self.addCleanup(runtime, "delete", "--force", name)
        self.assert_ok(runtime("run", "-d", "--pid-file", file, "-b", make_bundle(["sleep", "1000"]), name))
        self.assertEqual(int(pathlib.Path(file).read_text()), self.state(name)["pid"])

    def test_bad_ids(self):
        bundle = make_bundle(["true"])
        for name in ("../x", "", ".", "..", "a/b", "-x", "x" * 100000):
            for command in (["create", "-b", bundle], ["delete", "--force"], ["state"], ["kill"], ["start"]):
                done = runtime(*command, "--", name) if name.startswith("-") else runtime(*command, name)
                self.assertEqual(done.status, 1, repr(done)[:300])
                self.assertEqual(done.err.count("\n"), 1, repr(done)[:300])

    def test_broken_bundles(self):
        bundle = pathlib.Path(world().path(new_name("broken")))
        self.refused(runtime("create", "-b", bundle, new_name("c")), str(bundle))
        bundle.mkdir()
        self.refused(runtime("create", "-b", bundle, new_name("c")), "config.json")
        for text in ("", "{", "[]", '{"ociVersion": 5}', "\0" * 10, "{" * 100000, '{"ociVersion":"1.0.2","process":{"args":[]}}'):
            (bundle / "config.json").write_text(text)
            self.refused(runtime("create", "-b", bundle, new_name("c")), "config.json")

    def test_broken_values(self):
        def set_root(config): config["root"]["path"] = "/no/such/root"
        def set_root_file(config): config["root"]["path"] = "/etc/passwd"
        def set_namespace(config): config["linux"]["namespaces"][0]["path"] = "/no/such/ns"
        def set_wrong_namespace(config): config["linux"]["namespaces"][0]["path"] = "/proc/self/ns/uts"
        def set_mount(config): config["mounts"].append({"destination": "/x", "type": "bind", "source": "/no/such", "options": ["bind"]})
        def set_type(config): config["mounts"].append({"destination": "/mnt", "type": "nosuchfs", "source": "x"})
        def set_rlimit(config): config["process"]["rlimits"] = [{"type": "RLIMIT_NO_SUCH", "hard": 1, "soft": 1}]
        def set_sysctl(config): config["linux"]["sysctl"] = {"kernel.core_pattern": "|/evil"}
        def set_hook(config): config["hooks"] = {"createRuntime": [{"path": "/no/such/hook"}]}
        def set_failing_hook(config): config["hooks"] = {"createRuntime": [{"path": "/bin/false"}]}
        def set_slow_hook(config): config["hooks"] = {"prestart": [{"path": "/bin/sleep", "args": ["sleep", "100"], "timeout": 1}]}
        def set_memory(config): config["linux"]["resources"]["memory"] = {"limit": -5}
        def set_command(config): config["process"]["args"] = ["no-such-command"]
        def set_directory(config): config["process"]["cwd"] = "relative"
        def set_seccomp(config): config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_NO_SUCH"}
        for change in [value for key, value in sorted(locals().items()) if key.startswith("set_")]:
            with self.subTest(change=change.__name__):
                done = runtime("create", "-b", make_bundle(["true"], change), new_name("c"), timeout=20)
                self.assertEqual(done.status, 1, repr(done))
                self.assertTrue(done.err.startswith(PROGRAM + ":"), repr(done))
                self.assert_nothing_left(change.__name__)


class Process(OciCase):
    def test_hostname_rlimits_and_directory(self):
        def change(config):
            config["hostname"] = "green"
            config["process"]["cwd"] = "/etc"
            config["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "hard": 333, "soft": 222}]
        done = self.run_bundle(["sh", "-c", "hostname; pwd; ulimit -Sn; ulimit -Hn"], change)
        self.assertEqual(done.out.split(), ["green", "/etc", "222", "333"], repr(done))

    def test_user_groups_umask(self):
        def change(config):
            config["process"]["user"] = {"uid": 1000, "gid": 1001, "additionalGids": [5, 6], "umask": 0o77}
        done = self.run_bundle(["sh", "-c", "id -u; id -g; id -G; umask"], change)
        self.assertEqual(done.out.splitlines(), ["1000", "1001", "1001 5 6", "0077"], repr(done))

    def test_capabilities_and_no_new_privileges(self):
        done = self.run_bundle(["cat", "/proc/self/status"])
        status = dict(line.split(":\t", 1) for line in done.out.splitlines() if ":\t" in line)
        wanted = 1 << 29 | 1 << 5 | 1 << 10
        for field in ("CapBnd", "CapPrm", "CapEff"):
            self.assertEqual(int(status[field], 16), wanted, field)
        for field in ("CapInh", "CapAmb"):
            self.assertEqual(int(status[field], 16), 0, field)
        self.assertEqual(status["NoNewPrivs"], "1")

    def test_capability_that_this_kernel_does_not_know(self):
        done = self.run_bundle(["true"], lambda config: config["process"]["capabilities"].update(bounding=["CAP_NO_SUCH"]))
        self.assertIn("CAP_NO_SUCH", done.err, "a warning, or a refusal: never in silence")

    def test_inheritable_capabilities_of_exec(self):
        # CVE-2022-29162
        name = self.started()
        done = runtime("exec", "--cap", "CAP_NET_RAW", name, "cat", "/proc/self/status")
        status = dict(line.split(":\t", 1) for line in done.out.splitlines() if ":\t" in line)
        self.assertEqual(int(status["CapInh"], 16), 0)
        self.assertTrue(int(status["CapBnd"], 16) & 1 << 13)

    def test_seccomp(self):
        def change(config):
            config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [
                {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95},
                {"names": ["chmod", "fchmodat"], "action": "SCMP_ACT_KILL_PROCESS"}]}
        done = self.run_bundle(["sh", "-c", "grep Seccomp: /proc/self/status; mkdir /dev/shm/x; chmod 1 /dev/shm; echo $?"], change)
        self.assertIn("Seccomp:\t2", done.out)
        self.assertIn("not supported", done.err)
        self.assertTrue(done.out.endswith("159\n"), repr(done))

    def test_seccomp_conditions_on_one_argument_are_alternatives(self):
        def change(config):
            modes = [{"index": 1, "value": mode, "op": "SCMP_CMP_EQ"} for mode in (0o600, 0o700)]
            config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [
                {"names": ["chmod"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95, "args": modes}]}
        done = self.run_bundle(["sh", "-c", "cd /dev/shm; touch f; for mode in 600 640 700; do chmod $mode f && echo $mode; done; true"], change)
        self.assertEqual(done.out.split(), ["640"], repr(done))

    def test_preserved_descriptors(self):
        read, write = os.pipe()
        self.addCleanup(os.close, read)
        bundle = make_bundle(["sh", "-c", "echo hello >&3; ls /proc/self/fd"])
        text = f"exec 3>&{write} 4</dev/null; exec {RUNTIME} --root {world().containers} run --preserve-fds 1 -b {bundle} {new_name('c')}"
        done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, pass_fds=[write], timeout=30, check=False,
                              env=environment())
        os.close(write)
        self.assertEqual(os.read(read, 100), b"hello\n", repr(done))
        self.assertEqual(done.stdout.split(), ["0", "1", "2", "3", "4"], "and 4 is what ls opens itself")
        refused = runtime("create", "--preserve-fds", "5", "-b", bundle, new_name("c"))
        self.refused(refused, "--preserve-fds")

    def test_preserved_descriptors_are_not_for_hooks(self):
        log = world().path(new_name("log"))

        def change(config):
            points = ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
            config["hooks"] = {point: [{"path": "/bin/sh", "args": ["sh", "-c", f"echo {point} /proc/self/fd/* >> {log}"]}] for point in points}
            config["hooks"]["startContainer"] = [{"path": "/bin/sh", "args": ["sh", "-c", "echo startContainer /proc/self/fd/* >&2"]}]
        bundle = make_bundle(["sh", "-c", "echo /proc/self/fd/*"], change)
        with open("/etc/hostname", encoding="utf-8") as file:
            text = f'exec 3<&{file.fileno()} 4</dev/null 5</dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"'
            done = execute(["bash", "-c", text, "bash", RUNTIME, "--root", world().containers, "run", "--preserve-fds", "2", "-b", bundle,
                            new_name("c")], pass_fds=[file.fileno()])
        names = [f"/proc/self/fd/{fd}" for fd in range(6)]
        self.assertEqual(set(names) - set(done.out.split()), set(), repr(done))
        for line in [*pathlib.Path(log).read_text().splitlines(), *done.err.splitlines()]:
            point, *found = line.split()
            found = set(found) - {"/proc/self/fd/3"}  # the shell's own, for the list
            self.assertEqual(found, set(names[:3]), point)
        self.assertEqual(len(pathlib.Path(log).read_text().splitlines()), 5)
        self.assertIn("startContainer", done.err)

    def test_sockets_of_systemd(self):
        # LISTEN_FDS as systemd sets it: a socket as descriptor 3; what --preserve-fds means comes behind it.
        bundle = make_bundle(["sh", "-c", "echo $LISTEN_FDS $LISTEN_PID; readlink /proc/self/fd/3; cat <&4; ls /proc/self/fd"])
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(world().path(new_name("s")))
            listening.listen()

            def started(pid, *options):
                text = f'exec 3>&{listening.fileno()} 4</etc/hostname 5</dev/null; LISTEN_FDS=1 LISTEN_PID={pid} exec "$@"'
                return execute(["bash", "-c", text, "bash", RUNTIME, "--root", world().containers, "run", *options, "-b", bundle,
                                new_name("c")], pass_fds=[listening.fileno()]).out.splitlines()
            lines = started("$$", "--preserve-fds", "1")
            self.assertEqual(lines[0], "1 1")
            self.assertTrue(lines[1].startswith("socket:"), lines)
            self.assertEqual(lines[2:], [pathlib.Path("/etc/hostname").read_text().strip(), "0", "1", "2", "3", "4", "5"])
            lines = started("1")  # as podman has conmon start us
            self.assertEqual(lines[0], "1 1")
            self.assertTrue(lines[1].startswith("socket:"), lines)
            for pid in ("$PPID", "11", ""):
                self.assertEqual(started(pid)[0], "", "meant for somebody else")

    def test_no_descriptor_leaks(self):
        leaked = os.open("/", os.O_RDONLY)
        os.set_inheritable(leaked, True)
        self.addCleanup(os.close, leaked)
        name = new_name("c")
        self.addCleanup(runtime, "delete", "--force", name)
        self.assert_ok(runtime("create", "-b", make_bundle(["sleep", "1000"]), name, close_fds=False))
        # Not even while it waits: a process that joins could reach through it.
        waiting = f"/proc/{self.state(name)['pid']}/fd"
        self.assertEqual([fd for fd in os.listdir(waiting) if os.readlink(f"{waiting}/{fd}") == "/" and
                          os.path.samefile(f"{waiting}/{fd}", "/")], [], "the host's root directory is open in the container")
        self.assert_ok(runtime("start", name, close_fds=False))
        self.assertEqual(sorted(os.listdir(f"/proc/{self.state(name)['pid']}/fd")), ["0", "1", "2"])
        done = runtime("exec", name, "sh", "-c", "ls /proc/self/fd", close_fds=False)
        self.assertEqual(done.out.split(), ["0", "1", "2", "3"])

    def test_exec_with_process_file(self):
        name = self.started()
        file = world().path(new_name("process"))
        pathlib.Path(file).write_text(json.dumps({
            "terminal": False, "user": {"uid": 7, "gid": 8, "additionalGids": [9]}, "args": ["sh", "-c", "id -u; id -g; id -G; pwd; echo $X; grep CapEff /proc/self/status"],
            "env": ["PATH=/bin", "X=y"], "cwd": "/tmp", "noNewPrivileges": True}))
        done = runtime("exec", "--process", file, name)
        self.assertEqual(done.out.splitlines()[:5], ["7", "8", "8 9", "/tmp", "y"], repr(done))
        self.assertEqual(int(done.out.split()[-1], 16), 0)

    def test_exec_statuses_detach_and_pid_file(self):
        name = self.started()
        self.assert_status(runtime("exec", name, "sh", "-c", "exit 33"), 33)
        self.assert_status(runtime("exec", name, "sh", "-c", "kill -15 $$"), 143)
        file = world().path(new_name("pid"))
        self.assert_ok(runtime("exec", "-d", "--pid-file", file, name, "sleep", "555"))
        self.assertIn(b"555", read_proc(int(pathlib.Path(file).read_text()), "cmdline"))

    def test_exec_users(self):
        # CVE-2026-30892: a strange user is an error, never root.
        name = self.started()
        for user, wanted in (("1000", "1000 1000"), ("5:6", "5 6"), ("user", "1000 1000"), ("user:extra", "1000 2000"), ("0", "0 0")):
            done = runtime("exec", "--user", user, name, "sh", "-c", "echo $(id -u) $(id -g)")
            self.assertEqual(done.out.strip(), wanted, repr(done))
        for user in ("", "-1", "99999999999", "1x", "x", ":", "1:", ":1", "4294967295", " 1", "0x10"):
            with self.subTest(user=user):
                done = runtime("exec", f"--user={user}", name, "id", "-u")
                self.assertNotEqual(done.status, 0, repr(done))
                self.assertEqual(done.out, "")


class Consoles(OciCase):
    def setUp(self):
        super().setUp()
        self.unread = {}

    def receive(self, listener):
        connection, _ = listener.accept()
        with connection:
            _, ancillary, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(4))
        fds = array.array("i")
        fds.frombytes(ancillary[0][2][:4])
        self.addCleanup(os.close, fds[0])
        return fds[0]

    def listener(self):
        path = world().path(new_name("s"))
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(path)
        listener.listen()
        listener.settimeout(20)
        self.addCleanup(listener.close)
        return path, listener

    def read_until(self, fd, text):
        seen = self.unread.pop(fd, b"")
        end = time.monotonic() + 20
        while text not in seen and select.select([fd], [], [], max(0, end - time.monotonic()))[0]:
            try:
                seen += os.read(fd, 4096)
            except OSError:
                break
        self.assertIn(text, seen)
        self.unread[fd] = seen[seen.index(text) + len(text):]

    def test_create_with_a_terminal(self):
        def change(config):
            config["process"]["terminal"] = True
            config["process"]["consoleSize"] = {"height": 33, "width": 99}
        path, listener = self.listener()
        name = self.create(["sh", "-c", "stty size; tty; ls -l /dev/console; cat"], change, ["--console-socket", path])
        master = self.receive(listener)
        self.assert_ok(runtime("start", name))
        self.read_until(master, b"33 99")
        self.read_until(master, b"/dev/pts/0")
        self.read_until(master, b"/dev/console\r\n")
        os.write(master, b"typed\n")
        self.read_until(master, b"typed\r\ntyped")

    def test_exec_with_a_terminal(self):
        name = self.started()
        path, listener = self.listener()
        process = subprocess.Popen([RUNTIME, "--root", world().containers, "exec", "-t", "--console-socket", path, name, "sh", "-c",
                                    "tty; read x; echo got $x"], env=environment(), stdin=subprocess.DEVNULL)
        master = self.receive(listener)
        self.read_until(master, b"/dev/pts/")
        os.write(master, b"word\n")
        self.read_until(master, b"got word")
        self.assertEqual(process.wait(20), 0)

    def test_terminal_without_socket_and_socket_without_terminal(self):
        def change(config): config["process"]["terminal"] = True
        self.refused(runtime("create", "-b", make_bundle(["true"], change), new_name("c")), "--console-socket")
        self.refused(runtime("create", "-b", make_bundle(["true"]), "--console-socket", "/no/such", new_name("c")), "terminal")
        self.refused(runtime("create", "-b", make_bundle(["true"], change), "--console-socket", "/no/such", new_name("c")), "terminal")


class Hooks(OciCase):
    def test_all_hooks_in_order_with_the_right_state(self):
        log = world().path(new_name("hooks"))
        directory = world().path(new_name("hookdir"))
        os.mkdir(directory)

        def hook(point, inside=False):
            where = "/hooks/log" if inside else f"{directory}/log"
            shell = "/bin/sh"
            return [{"path": shell, "args": ["sh", "-c", f"printf '%s %s %s\\n' {point} \"$MARK\" \"$(cat)\" >> {where}"],
                     "env": ["MARK=m", "PATH=/bin:/usr/bin"], "timeout": 10}]

        def change(config):
            config["hooks"] = {point: hook(point) for point in ("prestart", "createRuntime", "createContainer", "poststart", "poststop")}
            config["hooks"]["startContainer"] = hook("startContainer", inside=True)
            config["mounts"].append({"destination": "/hooks", "type": "bind", "source": directory, "options": ["rbind", "rw"]})
        os.mkdir(pathlib.Path(self.tree, "hooks"))
        self.addCleanup(os.rmdir, pathlib.Path(self.tree, "hooks"))
        del log
        name = self.started(["sleep", "1000"], change)
        pid = self.state(name)["pid"]
        self.assert_ok(runtime("delete", "--force", name))
        entries = [line.split(" ", 2) for line in pathlib.Path(directory, "log").read_text().replace("\n}", "}").splitlines() if line]
        self.assertEqual([entry[0] for entry in entries],
                         ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"])
        statuses = {}
        for point, mark, text in entries:
            self.assertEqual(mark, "m")
            state = json.loads(text)
            self.assertEqual(state["id"], name)
            statuses[point] = state["status"]
            if point in ("prestart", "createRuntime", "poststart"):
                self.assertEqual(state["pid"], pid, point)
        self.assertIn(statuses["prestart"], ("creating", "created"))  # the specification says the one, runc the other
        statuses["prestart"] = "creating"
        self.assertEqual(statuses, {"prestart": "creating", "createRuntime": "creating", "createContainer": "creating",
                                    "startContainer": "created", "poststart": "running", "poststop": "stopped"})

    def test_hook_that_cannot_be_executed(self):
        for path, why in (("/no/such/hook", "No such file"), ("/etc/passwd", "Permission denied")):
            self.refused(runtime("create", "-b", make_bundle(["true"], lambda config, path=path: config.update(
                hooks={"createRuntime": [{"path": path}]})), new_name("c")), "createRuntime hook", path, why)

    def test_failing_hook_undoes_everything(self):
        for point in ("prestart", "createRuntime", "createContainer"):
            def change(config, at=point):
                config["hooks"] = {at: [{"path": "/bin/false" if at != "createContainer" else "/bin/false"}]}
            self.refused(runtime("create", "-b", make_bundle(["true"], change), new_name("c")), point, "false")


class Mounts(OciCase):
    def test_read_only_root(self):
        done = self.run_bundle(["sh", "-c", "echo x > /file; mkdir /d; rm /bin/sh; mount -o remount,rw /"])
        self.assertEqual(done.err.count("Read-only file system"), 3, repr(done))
        self.assertFalse(os.path.exists(self.tree + "/file"))

    def test_masked_and_read_only_paths(self):
        pattern = pathlib.Path("/proc/sys/kernel/core_pattern").read_text()
        done = self.run_bundle(["probe", "read", "/proc/kcore", "/proc/keys", "/proc/timer_list"])
        self.assertNotIn("CONTENT", done.out)
        done = self.run_bundle(["sh", "-c", "echo x > /proc/sys/kernel/core_pattern; echo h > /proc/sysrq-trigger; ls -A /sys/firmware | wc -l"])
        self.assertEqual(done.out.split(), ["0"])
        self.assertIn("Read-only file system", done.err)
        self.assertEqual(pathlib.Path("/proc/sys/kernel/core_pattern").read_text(), pattern)

    def test_user_namespace_and_mapped_bind_mount(self):
        source = world().path(new_name("mapped"))
        os.mkdir(source)
        os.chmod(source, 0o777)
        pathlib.Path(source, "f").write_text("x")
        os.chown(source + "/f", 1000, 1000)
        os.mkdir(pathlib.Path(self.tree, "data"))
        self.addCleanup(os.rmdir, pathlib.Path(self.tree, "data"))

        def change(config):
            with_user_namespace(config)
            config["process"]["capabilities"] = {kind: ["CAP_CHOWN", "CAP_DAC_OVERRIDE"] for kind in ("bounding", "effective", "permitted")}
            config["mounts"].append({"destination": "/data", "type": "bind", "source": source, "options": ["rbind", "idmap"]})
        done = self.run_bundle(["sh", "-c", "cat /proc/self/uid_map; stat -c %u /data/f; touch /data/new; chown 5 /data/new; stat -c %u /bin"], change)
        self.assertEqual(done.out.split(), ["0", "1500000000", "65536", "1000", "65534"], repr(done))
        self.assertEqual(os.stat(source + "/new").st_uid, 5)

    def test_mapping_of_a_single_mount(self):
        source = world().path(new_name("mapped"))
        os.mkdir(source)
        pathlib.Path(source, "f").write_text("x")
        os.chown(source + "/f", 2000, 2000)
        os.mkdir(pathlib.Path(self.tree, "data"))
        self.addCleanup(os.rmdir, pathlib.Path(self.tree, "data"))
        mapping = [{"containerID": 2000, "hostID": 3000, "size": 1}]

        def change(config):
            config["mounts"].append({"destination": "/data", "type": "bind", "source": source, "options": ["bind"],
                                     "uidMappings": mapping, "gidMappings": mapping})
        done = self.run_bundle(["stat", "-c", "%u:%g", "/data/f"], change)
        self.assertEqual(done.out, "3000:3000\n", repr(done))

    def test_sysctl(self):
        def change(config): config["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1", "kernel.shmmax": "4096", "net/ipv4/ping_group_range": "0 7"}
        before = pathlib.Path("/proc/sys/net/ipv4/ip_forward").read_text(), pathlib.Path("/proc/sys/kernel/shmmax").read_text()
        done = self.run_bundle(["cat", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/shmmax", "/proc/sys/net/ipv4/ping_group_range"], change)
        self.assertEqual(done.out.split(), ["1", "4096", "0", "7"], repr(done))
        after = pathlib.Path("/proc/sys/net/ipv4/ip_forward").read_text(), pathlib.Path("/proc/sys/kernel/shmmax").read_text()
        self.assertEqual(before, after)

    def test_mounts_inside_do_not_reach_the_host(self):
        # The host's mounts may be shared; what a privileged container mounts must stay inside.
        point = world().path(new_name("shared"))
        os.mkdir(point)
        subprocess.run(["mount", "-t", "tmpfs", "none", point], check=True)
        self.addCleanup(subprocess.run, ["umount", "-R", point], check=False)
        subprocess.run(["mount", "--make-shared", point], check=True)
        os.mkdir(point + "/below")
        os.mkdir(pathlib.Path(self.tree, "data"))
        self.addCleanup(os.rmdir, pathlib.Path(self.tree, "data"))

        def change(config):
            config["process"]["capabilities"] = {kind: ["CAP_SYS_ADMIN"] for kind in ("bounding", "effective", "permitted")}
            config["mounts"].append({"destination": "/data", "type": "bind", "source": point, "options": ["rbind"]})
        before = mounts()
        done = self.run_bundle(["sh", "-c", "mount -t tmpfs none /data/below && touch /data/below/inside && umount /dev/shm && echo mounted"], change)
        self.assertIn("mounted", done.out, repr(done))
        self.assertEqual(os.listdir(point + "/below"), [])
        self.assertEqual([line for line in mounts() if line not in before and MARK in line], [])

    def test_root_of_the_container_on_a_shared_mount(self):
        point = world().path(new_name("shared-root"))
        os.mkdir(point)
        subprocess.run(["mount", "-t", "tmpfs", "none", point], check=True)
        self.addCleanup(subprocess.run, ["umount", "-R", point], check=False)
        subprocess.run(["mount", "--make-shared", point], check=True)
        make_tree(point + "/root")
        before = mounts()
        name = self.started(["sleep", "1000"], root=point + "/root")
        self.assertEqual([line for line in mounts() if line not in before and MARK in line], [], "while it runs")
        self.assert_ok(runtime("delete", "--force", name))
        self.assertEqual([line for line in mounts() if line not in before and MARK in line], [], "afterwards")


class Cgroups(OciCase):
    def limits(self, config):
        config["linux"]["resources"].update({"memory": {"limit": 64 << 20}, "cpu": {"shares": 512, "quota": 30000, "period": 100000},
                                             "pids": {"limit": 50}})

    def file(self, name, *candidates):
        path = pathlib.Path(f"{world().containers}/{name}/state.json")
        record = json.loads(path.read_text())
        for directory in [record["cgroup"], *record["cgroupV1"].values()]:
            for candidate in candidates:
                if directory and os.path.exists(f"{directory}/{candidate}"):
                    return pathlib.Path(directory, candidate).read_text().strip()
        return None

    def test_limits(self):
        name = self.started(change=self.limits)
        self.assertEqual(self.file(name, "memory.max", "memory.limit_in_bytes"), str(64 << 20))
        self.assertEqual(self.file(name, "pids.max"), "50")
        self.assertIn(self.file(name, "cpu.max", "cpu.cfs_quota_us"), ("30000 100000", "30000"))
        record = json.loads(pathlib.Path(f"{world().containers}/{name}/state.json").read_text())
        pid = self.state(name)["pid"]
        for directory in [record["cgroup"], *record["cgroupV1"].values()]:
            self.assertIn(str(pid), pathlib.Path(directory, "cgroup.procs").read_text().split(), directory)

    def test_exec_joins_the_cgroups(self):
        name = self.started(change=self.limits)
        file = world().path(new_name("pid"))
        self.assert_ok(runtime("exec", "-d", "--pid-file", file, name, "sleep", "1000"))
        pid = pathlib.Path(file).read_text()
        record = json.loads(pathlib.Path(f"{world().containers}/{name}/state.json").read_text())
        for directory in [record["cgroup"], *record["cgroupV1"].values()]:
            self.assertIn(pid, pathlib.Path(directory, "cgroup.procs").read_text().split(), directory)

    def test_own_cgroups_path(self):
        path = f"/{new_name('group')}/a/b"
        name = self.started(change=lambda config: config["linux"].update(cgroupsPath=path))
        record = json.loads(pathlib.Path(f"{world().containers}/{name}/state.json").read_text())
        self.assertTrue(record["cgroup"].endswith(path), record)
        self.assert_ok(runtime("delete", "--force", name))
        self.assertFalse(os.path.exists(record["cgroup"]))
        for parent in (os.path.dirname(record["cgroup"]), os.path.dirname(os.path.dirname(record["cgroup"]))):
            if os.path.exists(parent):  # parents that the specification named are the caller's
                os.rmdir(parent)

    def test_cgroup_in_use_is_refused(self):
        path = f"/coppice/{new_name('group')}"
        def change(config): config["linux"].update(cgroupsPath=path)
        self.started(change=change)
        done = runtime("create", "-b", make_bundle(["true"], change), new_name("c"))
        self.assert_one_line(done, 1, "in use", program=PROGRAM)

    def test_devices(self):
        def change(config):
            config["root"]["readonly"] = False
            config["process"]["capabilities"] = {kind: ["CAP_MKNOD", "CAP_DAC_OVERRIDE"] for kind in ("bounding", "effective", "permitted")}
        script = ("mknod /dev/kmsg c 1 11 && head -c1 /dev/kmsg >/dev/null && echo kmsg-open; mknod /dev/disk b 254 0; head -c1 /dev/disk >/dev/null && echo disk-open; "
                  "for d in null zero full random urandom; do head -c1 /dev/$d >/dev/null || echo $d-shut; done; echo x > /dev/null; ls -l /dev/fd /dev/stdin /dev/ptmx | wc -l")
        done = self.run_bundle(["sh", "-c", script], change)
        self.assertEqual(done.out, "3\n", repr(done))
        self.assertIn("not permitted", done.err)

    def test_one_more_device(self):
        def change(config):
            config["linux"]["devices"] = [{"path": "/dev/more", "type": "c", "major": 10, "minor": 237, "fileMode": 0o20600, "uid": 0, "gid": 0}]
            config["linux"]["resources"]["devices"].append({"allow": True, "type": "c", "major": 10, "minor": 237, "access": "r"})
        done = self.run_bundle(["sh", "-c", "stat -c '%t:%T %a' /dev/more; : < /dev/more && echo read; : > /dev/more"], change)
        self.assertEqual(done.out.split(), ["a:ed", "600", "read"], repr(done))
        self.assertIn("not permitted", done.err)


if __name__ == "__main__":
    main()
