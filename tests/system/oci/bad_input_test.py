#!/usr/bin/env python3
"""coppice-runtime and what it should not be given: hostile configurations, strange bundles and names, commands in the
wrong order, limits that cannot be, a full disk. Always one clear line, the right status, and nothing left behind."""

import copy
import json
import os
import pathlib
import shutil
import socket
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from bundle import BASE, base_config, make_bundle, with_user_namespace  # noqa: E402
from coppice_test import RUNTIME, execute, main, new_name, runtime, wait_until, world  # noqa: E402
from oci_test import PROGRAM, OciCase  # noqa: E402

FULL = {**copy.deepcopy(BASE)}
FULL["process"] |= {"consoleSize": {"width": 80, "height": 25}, "oomScoreAdj": 10, "scheduler": {"policy": "SCHED_OTHER", "nice": 1},
                    "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4}, "execCPUAffinity": {"initial": "0", "final": "0"}}
FULL["hooks"] = {"createRuntime": [{"path": "/bin/true", "args": ["true"], "env": ["A=b"], "timeout": 5}]}
FULL["annotations"] = {"a": "b"}
FULL["domainname"] = "domain"
FULL["linux"] |= {"sysctl": {"net.ipv4.ip_forward": "0"}, "rootfsPropagation": "private", "cgroupsPath": "", "personality": {"domain": "LINUX"},
                  "timeOffsets": {}, "uidMappings": [], "gidMappings": [],
                  "devices": [{"path": "/dev/full", "type": "c", "major": 1, "minor": 7, "fileMode": 0o666, "uid": 0, "gid": 0}],
                  "seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "flags": [],
                              "syscalls": [{"names": ["reboot"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1,
                                            "args": [{"index": 0, "value": 1, "valueTwo": 2, "op": "SCMP_CMP_EQ"}]}]}}
FULL["linux"]["resources"] |= {"memory": {"limit": 64 << 20, "reservation": 32 << 20}, "pids": {"limit": 50},
                               "cpu": {"shares": 100, "quota": 50000, "period": 100000}}


def places(value, path=()):
    """Every place in a document, as the way there."""
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list):
        for index in range(len(value)):
            yield from places(value[index], (*path, index))


def replaced(document, path, value):
    document = copy.deepcopy(document)
    if not path:
        return value
    at = document
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return document


class BadInput(OciCase):
    def refused_and_logged(self, done, log, *words, status=1):
        """One line on standard error; the same in the log, as JSON."""
        self.assert_one_line(done, status, *words, program=PROGRAM)
        lines = pathlib.Path(log).read_text().splitlines()
        last = json.loads(lines[-1])
        self.assertEqual(last["level"], "error")
        self.assertIn(last["msg"].split("(")[0].strip(), done.err)
        self.assertIn("time", last)
        os.unlink(log)

    def logged(self, *arguments, **options):
        log = world().path("bad-input.log")
        return runtime("--log", log, "--log-format", "json", *arguments, **options), log


class Configurations(BadInput):
    def bundle_of(self, text):
        directory = pathlib.Path(world().path(new_name("bundle")))
        directory.mkdir()
        (directory / "config.json").write_bytes(text if isinstance(text, bytes) else text.encode())
        self.addCleanup(shutil.rmtree, directory)
        return str(directory)

    def config(self, change=None):
        config = base_config(["true"])
        config["root"]["path"] = self.tree
        if change:
            change(config)
        return config

    def test_what_is_no_document(self):
        good = json.dumps(self.config())
        for name, text in {"depth of lists": "[" * 1_000_000, "depth of objects": '{"a":' * 200_000,
                           "deep annotation": good[:-1] + ',"annotations":' + '{"a":' * 5000 + "1" + "}" * 5001,
                           "NUL behind": good + "\0", "NUL inside": good.replace("true", "tr\0ue", 1), "two documents": good + good,
                           "cut": good[:-1], "not UTF-8": good.encode().replace(b"bundle", b"bun\xff\xfe"),
                           "a comment": "/* */" + good, "too large": good[:-1] + " " * (20 << 20) + "}"}.items():
            with self.subTest(name):
                done, log = self.logged("create", "-b", self.bundle_of(text), new_name("c"))
                self.refused_and_logged(done, log)

    def test_doubled_members(self):
        """The second of two must not hide the first from whoever else looks at the document."""
        config = self.config()
        text = json.dumps(config)
        other = json.dumps({"path": "/"})
        done, log = self.logged("create", "-b", self.bundle_of(text[:-1] + f', "root": {other}}}'), new_name("c"))
        self.refused_and_logged(done, log, "two members")

    def test_values(self):
        def ns(config): config["linux"]["namespaces"].append({"type": "pid"})
        def many(count, step=1): return [{"containerID": i, "hostID": 1_500_000_000 + i * step, "size": 1} for i in range(count)]
        def mapped(maps): return lambda config: (with_user_namespace(config), config["linux"].update(uidMappings=maps))
        def resources(**what): return lambda config: config["linux"]["resources"].update(what)
        changes = {
            "NUL in an argument": lambda config: config["process"].update(args=["true", "a\0b"]),
            "NUL in the environment": lambda config: config["process"].update(env=["A=\0"]),
            "NUL in a path": lambda config: config["root"].update(path=self.tree + "\0/etc"),
            "NUL in the host name": lambda config: config.update(hostname="a\0b"),
            "a long host name": lambda config: config.update(hostname="x" * 100_000),
            "a namespace twice": ns,
            "64 KiB of mappings": mapped(many(4000)), "mappings that overlap": mapped(many(2, 0)),
            "a negative size": mapped([{"containerID": 0, "hostID": 1_500_000_000, "size": -1}]),
            "a mapping past the end": mapped([{"containerID": 0, "hostID": 4_294_967_000, "size": 65536}]),
            "a huge memory limit": resources(memory={"limit": 1 << 70}), "a limit beyond doubles": resources(memory={"limit": 10 ** 400}),
            "a fractional limit": resources(pids={"limit": 1.5}),
            "a negative memory limit": resources(memory={"limit": -2}),
            "swap below memory": resources(memory={"limit": 64 << 20, "swap": 32 << 20}),
            "no such processor": resources(cpu={"cpus": "4095"}), "a processor that is none": resources(cpu={"cpus": "a-b"}),
            "a period past the kernel's": resources(cpu={"quota": 1000, "period": 10_000_000_000}),
            "a cgroup upwards": lambda config: config["linux"].update(cgroupsPath="/../../x"),
            "a user past the end": lambda config: config["process"]["user"].update(uid=1 << 32),
            "no user": lambda config: config["process"]["user"].update(uid=4294967295),
            "a huge argument": lambda config: config["process"].update(args=["true", "x" * 200_000]),
            "a very long path": lambda config: config["process"].update(cwd="/" + "x" * 5000),
            "a very deep path": lambda config: config["mounts"].append({"destination": "/a" * 3000, "type": "tmpfs", "source": "x"}),
            "a tmpfs of a negative size": lambda config: config["mounts"].append(
                {"destination": "/mnt", "type": "tmpfs", "source": "x", "options": ["size=-5"]}),
            "an rlimit upside down": lambda config: config["process"].update(rlimits=[{"type": "RLIMIT_NOFILE", "soft": 10, "hard": 5}]),
            "a version of the future": lambda config: config.update(ociVersion="2.0.0"),
        }
        for name, change in changes.items():
            with self.subTest(name):
                done, log = self.logged("run", "-b", self.bundle_of(json.dumps(self.config(change))), new_name("c"), timeout=20)
                self.refused_and_logged(done, log)
                self.assert_nothing_left(name)

    def test_every_member_with_every_type(self):
        """No value in no place makes it crash, hang, or speak more than a line."""
        document = copy.deepcopy(FULL)
        document["root"]["path"] = self.tree
        good, log = self.logged("run", "-b", self.bundle_of(json.dumps(document)), new_name("c"))
        self.assert_ok(good)
        strange = [None, True, -1, 1 << 63, 0.5, "", "\x01", [], {}, [[]]]
        bundle = pathlib.Path(self.bundle_of("{}"))
        for number, path in enumerate(places(document)):
            for value in strange[number % 2::2]:  # half of them in each place: the two halves alternate
                (bundle / "config.json").write_text(json.dumps(replaced(document, path, value)))
                done = runtime("run", "-b", bundle, new_name("c"), timeout=20)
                if done.status:
                    self.assertIn(done.status, (1, 126, 127), f"{path} {value!r} {done}")
                    self.assertTrue(done.err.startswith(PROGRAM + ":"), f"{path} {value!r} {done}")
                    self.assertEqual(done.err.count("\n"), 1, f"{path} {value!r} {done}")
        self.assert_nothing_left()


class Bundles(BadInput):
    def test_what_is_no_bundle(self):
        base = pathlib.Path(world().path(new_name("odd")))
        base.mkdir()
        file = base / "file"
        file.write_text("")
        for name in ("empty", "directory", "fifo", "socket", "loop", "dangling"):
            (base / name).mkdir()
        (base / "directory/config.json").mkdir()
        os.mkfifo(base / "fifo/config.json")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(base / "socket/config.json"))
        os.symlink("config.json", base / "loop/config.json")
        os.symlink("/no/such", base / "dangling/config.json")
        for bundle, words in ((base / "missing", ["No such file"]), (file, [str(file)]), (base / "empty", ["config.json not found"]),
                              (base / "directory", ["config.json"]), (base / "fifo", ["config.json"]), (base / "socket", ["config.json"]),
                              (base / "loop", ["config.json"]), (base / "dangling", ["config.json"]), ("x" * 5000, []), ("", [])):
            with self.subTest(bundle=bundle):
                done, log = self.logged("create", "-b", bundle, new_name("c"), timeout=10)
                self.refused_and_logged(done, log, *words)
        for file in ("/dev/zero", "/dev/null", "/proc/self/mem"):
            done, log = self.logged("create", "-b", make_bundle(["true"]), "--config", file, new_name("c"), timeout=30)
            self.refused_and_logged(done, log, file)

    def test_names(self):
        bundle = make_bundle(["true"])
        for name in ("../x", "", ".", "..", "a/b", "/", "/etc", "a\nb", "a b", "\x1b[31m", "é", "x" * 131_000, "a/../b"):
            for command in (["create", "-b", bundle], ["run", "-b", bundle], ["start"], ["state"], ["kill"], ["delete"], ["delete", "--force"],
                            ["pause"], ["resume"], ["update", "--pids-limit", "5"], ["events", "--stats"], ["ps"]):
                done, log = self.logged(*command, name)
                self.refused_and_logged(done, log, "id")
            done, log = self.logged("exec", name, "true")
            self.refused_and_logged(done, log, "id", status=255)

    def test_places_that_cannot_be_written(self):
        bundle = make_bundle(["true"])
        for options in (["--pid-file", "/no/such/pid"], ["--pid-file", "/proc/self/pid"], ["--console-socket", "/no/such/socket"]):
            done, log = self.logged("create", "-b", bundle, *options, new_name("c"))
            self.refused_and_logged(done, log, options[1] if "pid" in options[0] else "socket")
            self.assert_nothing_left()
        done = runtime("--log", "/no/such/log", "create", "-b", bundle, new_name("c"))
        self.assert_one_line(done, 1, "/no/such/log", program=PROGRAM)
        done = execute([RUNTIME, "--root", "/proc/no", "create", "-b", bundle, new_name("c")])
        self.assert_one_line(done, 1, "/proc/no", program=PROGRAM)


class Order(BadInput):
    """Commands at the wrong time, with the words that clients look for, and beside runc where it is installed."""

    # (state, command, the status, words that containerd, podman and docker know from runc)
    WRONG = [
        ("none", ["state"], 1, "container does not exist"), ("none", ["start"], 1, "container does not exist"),
        ("none", ["kill", "ID", "KILL"], 1, "container does not exist"), ("none", ["delete"], 1, "container does not exist"),
        ("none", ["delete", "--force"], 0, ""), ("none", ["pause"], 1, "container does not exist"),
        ("none", ["exec", "ID", "true"], 255, "container does not exist"), ("none", ["update", "--pids-limit", "5"], 1, "container does not exist"),
        ("created", ["create"], 1, "container with given ID already exists"), ("created", ["resume"], 1, "container not paused"),
        ("running", ["create"], 1, "container with given ID already exists"), ("running", ["run"], 1, "container with given ID already exists"),
        ("running", ["start"], 1, "cannot start an already running container"), ("running", ["resume"], 1, "container not paused"),
        ("running", ["delete"], 1, "that is not stopped: running"),
        ("running", ["exec", "ID", "no-such"], 255, "executable file not found in $PATH"),
        ("running", ["exec", "ID", "/etc"], 255, "permission denied"), ("running", ["exec", "ID", "/no/such"], 255, "no such file or directory"),
        ("running", ["kill", "ID", "NOSUCH"], 1, "NOSUCH"),
        ("paused", ["exec", "ID", "true"], 255, "cannot exec in a paused container"), ("paused", ["pause"], 1, "container not running"),
        ("paused", ["delete"], 1, "that is not stopped: paused"),
        ("stopped", ["start"], 1, "cannot start a container that has stopped"), ("stopped", ["kill", "ID", "TERM"], 1, "container not running"),
        ("stopped", ["kill", "ID", "KILL"], 1, "container not running"), ("stopped", ["kill", "--all", "ID", "KILL"], 0, ""),
        ("stopped", ["pause"], 1, "container not running"), ("stopped", ["resume"], 1, "container not paused"),
        ("stopped", ["exec", "ID", "true"], 255, "cannot exec in a stopped container"),
        ("stopped", ["update", "--pids-limit", "5"], 1, "container not running"), ("stopped", ["events", "--stats"], 1, "not running"),
        ("stopped", ["create"], 1, "container with given ID already exists"), ("stopped", ["state"], 0, ""),
    ]

    def checked(self, program, root):
        def call(*arguments):
            return execute([program, "--root", root, *arguments], timeout=20)
        bundle = make_bundle(["sleep", "1000"], lambda config: config["linux"].update(cgroupsPath=f"/coppice/{new_name('order')}"))
        ids = {state: new_name("c") for state in ("none", "created", "running", "paused", "stopped")}
        try:
            for state, name in ids.items():
                if state == "none":
                    continue
                config = json.loads(pathlib.Path(bundle, "config.json").read_text())
                config["linux"]["cgroupsPath"] = f"/coppice/{name}"
                pathlib.Path(bundle, "config.json").write_text(json.dumps(config))
                self.assert_ok(call("create", "-b", bundle, name))
                if state != "created":
                    self.assert_ok(call("start", name))
                if state == "paused":
                    self.assert_ok(call("pause", name))
                if state == "stopped":
                    self.assert_ok(call("kill", name, "KILL"))
                    self.assertTrue(wait_until(lambda name=name: '"stopped"' in call("state", name).out))
            for state, command, status, words in self.WRONG:
                arguments = [ids[state] if word == "ID" else word for word in command]
                if command[0] in ("create", "run"):
                    arguments += ["-b", bundle]
                if "ID" not in command:
                    arguments.append(ids[state])
                done = call(*arguments)
                with self.subTest(program=os.path.basename(program), state=state, command=command):
                    self.assert_status(done, status)
                    self.assertIn(words.lower(), done.err.lower(), repr(done))
                    if program == RUNTIME and status:
                        self.assertEqual(done.err.count("\n"), 1, repr(done))
            for name in ids.values():
                self.assert_ok(call("delete", "--force", name))
        finally:
            for name in ids.values():
                call("delete", "--force", name)

    def test_words_and_statuses(self):
        self.checked(RUNTIME, world().containers)

    def test_runc_says_the_same(self):
        program = shutil.which("runc", path="/usr/sbin:/usr/bin")
        if not program:
            self.skipTest("needs runc")
        self.checked(program, world().path("runc-root"))


class Remains(BadInput):
    def test_state_that_cannot_be_read(self):
        name = self.started()
        pid = self.state(name)["pid"]
        state = pathlib.Path(world().containers, name, "state.json")
        for damage in ("{}", "no state"):
            state.write_text(damage)
            self.assert_one_line(runtime("delete", name), 1, "state", program=PROGRAM)
            self.assertTrue(os.path.isdir(f"/proc/{pid}"))
            self.assert_one_line(runtime("list", "-f", "json"), 0, name, "cannot be read", program=PROGRAM)
        self.assert_ok(runtime("delete", "--force", name))
        self.assert_nothing_left()

    def test_early_end_of_a_creation_when_systemd_cannot_be_asked(self):
        # Killed before systemd made the scope: nothing is there but a record.
        name = self.started()
        state = pathlib.Path(world().containers, name, "state.json")
        record = json.loads(state.read_text())
        self.assert_ok(runtime("kill", name, "KILL"))
        self.assertTrue(wait_until(lambda: self.state(name)["status"] == "stopped"))
        self.assert_ok(runtime("delete", name))
        state.parent.mkdir(mode=0o700)
        state.write_text(json.dumps({**record, "complete": False, "cgroup": f"/sys/fs/cgroup/coppice.slice/{name}.scope", "cgroupV1": {},
                                     "systemdUnit": f"{name}.scope", "systemdOfUser": True}))
        nobody = {"XDG_RUNTIME_DIR": "", "DBUS_SESSION_BUS_ADDRESS": ""}
        done = runtime("delete", "--force", name, env=nobody)
        self.assert_one_line(done, 0, "warning", f"{name}.scope", program=PROGRAM)
        self.assertFalse(state.parent.exists())

    def test_errors_of_the_command_line_are_logged(self):
        log = world().path(new_name("log"))
        self.assertEqual(runtime("--log", log, "--log-format", "json", "create", "--nonsense", "x").status, 1)
        line = json.loads(pathlib.Path(log).read_text())
        self.assertEqual(line["level"], "error")
        self.assertIn("--nonsense", line["msg"])


class FullDisk(BadInput):
    """The state directory's file system has no room: refused in one line, everything undone."""

    SCRIPT = """mount -t tmpfs -o "$1" none "$2" && chmod 700 "$2" || exit 99
        "$3" --root "$2" create -b "$4" "$5"; echo "status $?"
        [ -e "$2/$5" ] && { "$3" --root "$2" exec "$5" true || echo "exec failed"; "$3" --root "$2" start "$5" || echo "start failed"; }
        "$3" --root "$2" delete --force "$5" || echo "delete failed"
        ls -A "$2" | sed 's/^/left /' | grep -v .seccomp-"""

    def sweep(self, limits):
        place = pathlib.Path(world().path("full"))
        place.mkdir(exist_ok=True)
        def change(config):
            config["annotations"] = {"padding": "x" * 20_000}
        statuses = []
        for limit in limits:
            done = execute(["unshare", "-m", "sh", "-c", self.SCRIPT, "sh", limit, place, RUNTIME,
                            make_bundle(["sleep", "1000"], change), new_name("c")], timeout=30)
            with self.subTest(limit=limit):
                words = done.out.split()
                self.assertEqual(words[0], "status", repr(done))
                self.assertEqual(len(words), 2, repr(done))
                statuses.append(int(words[1]))
                if statuses[-1]:
                    self.assert_one_line(type(done)(done.args, statuses[-1], done.out, done.err), 1, "No space left", program=PROGRAM)
                else:
                    self.assertEqual(done.err, "", repr(done))
                self.assert_nothing_left(limit)
        return statuses

    def test_no_more_files(self):
        statuses = self.sweep([f"size=4m,nr_inodes={count}" for count in range(1, 12)])
        self.assertEqual((statuses[0], statuses[-1]), (1, 0))
        self.assertEqual(statuses, sorted(statuses, reverse=True))

    def test_no_more_bytes(self):
        statuses = self.sweep([f"size={pages * 4}k,nr_inodes=100" for pages in range(1, 20)])
        self.assertEqual((statuses[0], statuses[-1]), (1, 0))


if __name__ == "__main__":
    main()
