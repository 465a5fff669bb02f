#!/usr/bin/env python3
"""coppice-runtime for an ordinary user, without any right on the host but what /etc/subuid gives."""

import json
import os
import pathlib
import shutil
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from attacks_test import ALL_CAPABILITIES, with_capabilities  # noqa: E402
from bundle import base_config  # noqa: E402
from coppice_test import LONG, RUNTIME, execute, find_helper, main, make_tree, new_name, skip_all, wait_until, world  # noqa: E402
from oci_test import PROGRAM, OciCase  # noqa: E402

USER = 64_321  # listed nowhere on the host: the account exists in a mount namespace of the test only
SUBORDINATE = 1_600_000_000
OWN = [{"containerID": 0, "hostID": USER, "size": 1}]
RANGE = [*OWN, {"containerID": 1, "hostID": SUBORDINATE, "size": 65536}]


class Rootless(OciCase):
    @classmethod
    def setUpClass(cls):
        for program in ("newuidmap", "setpriv"):
            if not shutil.which(program):
                skip_all(f"needs {program}")
        cls.home = pathlib.Path(world().path("home"))
        for name in ("etc", "run", "bundles"):
            (cls.home / name).mkdir(parents=True)
        # Some hosts' build directories are closed to others.
        cls.program = cls.home / "coppice-runtime"
        shutil.copy(RUNTIME, cls.program)
        line = f"cop:x:{USER}:{USER}::{cls.home}:/bin/sh\n"
        (cls.home / "etc/passwd").write_text(pathlib.Path("/etc/passwd").read_text() + line)
        for name in ("subuid", "subgid"):
            (cls.home / "etc" / name).write_text(f"cop:{SUBORDINATE}:65536\n")
        cls.root = world().path("rootless-root")
        make_tree(cls.root)
        for base, directories, files in os.walk(cls.root):
            for name in [".", *directories, *files]:
                os.chown(os.path.join(base, name), USER, USER, follow_symlinks=False)
        for name in ("run", "bundles"):
            os.chown(cls.home / name, USER, USER)

    def as_user(self, *args, root=True, words=None, **options):
        """A command of the user; the account files are the host's with one line more."""
        files = " && ".join(f"touch /etc/{name} && mount --bind {self.home}/etc/{name} /etc/{name}"
                            for name in ("passwd", "subuid", "subgid") if os.path.exists(f"/etc/{name}"))
        words = words or ([self.program, "--root", self.home / "run/state"] if root else [self.program])
        return execute(["unshare", "-m", "sh", "-c", f'{files} && exec setpriv --reuid {USER} --regid {USER} --clear-groups "$@"', "sh",
                        *words, *args], env={"XDG_RUNTIME_DIR": str(self.home / "run"), "HOME": str(self.home)}, **options)

    def make(self, args, ids=None, change=None):
        directory = self.home / "bundles" / new_name("b")
        directory.mkdir(mode=0o755)
        config = base_config(args)
        config["root"]["path"] = self.root
        config["linux"]["namespaces"].append({"type": "user"})
        config["linux"]["uidMappings"] = config["linux"]["gidMappings"] = ids or OWN
        for mount in config["mounts"]:  # group 5 need not be mapped
            if mount["type"] == "devpts":
                mount["options"].remove("gid=5")
        if change:
            change(config)
        (directory / "config.json").write_text(json.dumps(config))
        return str(directory)

    def run_as_user(self, args, ids=None, change=None, **options):
        return self.as_user("run", "-b", self.make(args, ids, change), new_name("r"), **options)

    def test_own_id_alone(self):
        done = self.assert_ok(self.run_as_user(["sh", "-c", "id -u; cat /proc/self/uid_map; stat -c %u:%g /etc/greeting"]))
        self.assertEqual(done.out.split(), ["0", "0", str(USER), "1", "0:0"], done)

    def test_ranges_of_the_user(self):
        done = self.assert_ok(self.run_as_user(["sh", "-c", "cat /proc/self/uid_map; id -u; id -g"], RANGE,
                                               lambda config: config["process"].update(user={"uid": 1000, "gid": 1000})))
        self.assertEqual(done.out.split(), ["0", str(USER), "1", "1", str(SUBORDINATE), "65536", "1000", "1000"], done)

    def test_ranges_of_others_are_refused(self):
        for ids in ([*OWN, {"containerID": 1, "hostID": SUBORDINATE, "size": 65537}], [{"containerID": 0, "hostID": 0, "size": 1}],
                    [*OWN, {"containerID": 1, "hostID": 0, "size": 1}]):
            done = self.run_as_user(["true"], ids)
            # newuidmap says a line of its own before ours.
            self.assertEqual(done.status, 1, done)
            self.assertRegex(done.err.splitlines()[-1], f"^{PROGRAM}: user namespace: map .*id", done)
            self.assert_nothing_left(repr(done))

    def test_life_cycle(self):
        name = new_name("c")
        self.addCleanup(self.as_user, "delete", "--force", name)
        self.assert_ok(self.as_user("create", "-b", self.make(["sleep", "1000"], RANGE), name))
        self.assertEqual(json.loads(self.as_user("state", name).out)["status"], "created")
        self.assert_ok(self.as_user("start", name))
        done = self.assert_ok(self.as_user("exec", name, "sh", "-c", "id -u; cat /proc/1/cmdline | tr '\\0' ' '"))
        self.assertEqual(done.out.split(), ["0", "sleep", "1000"], done)
        self.assertEqual(self.as_user("exec", "-u", "1000", name, "id", "-u").out, "1000\n")
        self.assertEqual(self.as_user("exec", name, "sh", "-c", "exit 7").status, 7)
        self.assert_ok(self.as_user("kill", name, "KILL"))
        self.assertTrue(wait_until(lambda: json.loads(self.as_user("state", name).out)["status"] == "stopped"))
        self.assert_ok(self.as_user("delete", name))
        self.assertEqual(self.as_user("list", "-q").out, "")

    def test_who_enters_cannot_be_looked_into(self):
        """Not by a program with every right over the container's user namespace."""
        name = new_name("c")
        self.addCleanup(self.as_user, "delete", "--force", name)
        self.assert_ok(self.as_user("create", "-b", self.make(["sh", "-c", "probe spy 4 > /dev/shm/seen; sleep 1000"], change=lambda config:
                                                              with_capabilities(config, ALL_CAPABILITIES)), name))
        self.assert_ok(self.as_user("start", name))
        end = time.monotonic() + 3
        while time.monotonic() < end:
            self.as_user("exec", name, "true")
        self.assertTrue(wait_until(lambda: "refused" in self.as_user("exec", name, "cat", "/dev/shm/seen").out))
        seen = self.as_user("exec", name, "cat", "/dev/shm/seen").out
        self.assertNotIn("LOOKED", seen)
        self.assertRegex(seen, r"refused [1-9]", "nobody was met on the way in")

    def test_exec_by_root_of_a_user_namespace(self):
        """As in the one that podman makes for its user: there is no way back into the host's other namespaces."""
        def change(config):
            config["linux"]["namespaces"].pop()
            del config["linux"]["uidMappings"], config["linux"]["gidMappings"]
        script = ('run="$1 --root $2"; $run create -b $3 $4 && $run start $4 && $run exec $4 sh -c "cat /etc/greeting; exit 3"; '
                  'echo "status $?"; $run delete --force $4')
        done = self.as_user("sh", self.program, self.home / "run/inner", self.make(["sleep", "1000"], change=change), new_name("c"),
                            words=["unshare", "--user", "--mount", "--map-root-user", "sh", "-c", script])
        self.assertEqual(done.out, "from the image\nstatus 3\n", repr(done))

    def test_own_place_for_the_state(self):
        self.assert_ok(self.as_user("list", root=False))
        place = os.stat(self.home / "run/coppice-runtime")
        self.assertEqual((place.st_uid, place.st_mode & 0o777), (USER, 0o700))

    def test_devices_are_the_hosts_own(self):
        done = self.assert_ok(self.run_as_user(["sh", "-c", "echo x > /dev/null; head -c 4 /dev/zero | wc -c; "
                                                "mknod /dev/sda b 8 0 2>/dev/null || echo no; mkfifo /dev/shm/f && echo fifo"]))
        self.assertEqual(done.out.split(), ["4", "no", "fifo"], done)

    def test_fifo_among_the_devices(self):
        fifo = {"type": "p", "path": "/dev/pipe", "fileMode": 0o600}
        done = self.assert_ok(self.run_as_user(["sh", "-c", "test -p /dev/pipe && stat -c %a /dev/pipe"],
                                               change=lambda config: config["linux"].update(devices=[fifo])))
        self.assertEqual(done.out, "600\n")

    def test_no_rights_on_the_host(self):
        secret = self.home / "secret"
        secret.write_text("x")
        secret.chmod(0o600)
        bind = {"destination": "/mnt", "type": "bind", "source": str(self.home), "options": ["rbind"]}
        done = self.run_as_user(["sh", "-c", "cat /mnt/secret; chown 0 /mnt/secret; hostname other; mount -t tmpfs t /mnt"],
                                change=lambda config: config["mounts"].append(bind))
        self.assertEqual([line.split(":")[0] for line in done.err.splitlines()], ["cat", "chown", "hostname", "mount"], done)
        self.assertEqual(os.stat(secret).st_uid, 0)

    def test_limits_need_a_cgroup(self):
        done = self.run_as_user(["true"], change=lambda config: config["linux"]["resources"].update(memory={"limit": 64 << 20}))
        self.assert_one_line(done, 1, "cgroup", "delegated", program=PROGRAM)
        self.assert_nothing_left()

    def test_cgroups_that_it_could_not_join_are_not_shown(self):
        """As podman has it on v1 hosts: no cgroup namespace."""
        def change(config):
            config["linux"]["namespaces"] = [ns for ns in config["linux"]["namespaces"] if ns["type"] != "cgroup"]
            config["mounts"] = [mount for mount in config["mounts"] if mount["destination"] != "/sys/fs/cgroup"]
            config["mounts"].append({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]})
        done = self.assert_ok(self.run_as_user(["ls", "/sys/fs/cgroup"], change=change))
        if os.path.isdir("/sys/fs/cgroup/memory"):
            self.assertEqual(done.out, "")

    def test_without_a_user_namespace(self):
        def change(config):
            config["linux"]["namespaces"].pop()
            del config["linux"]["uidMappings"], config["linux"]["gidMappings"]
        self.assert_one_line(self.run_as_user(["true"], change=change), 1, "user namespace", program=PROGRAM)

    def test_program_file_cannot_be_written(self):
        """What waits for its start inside is a sealed copy, not the file on the disk."""
        name = new_name("c")
        self.addCleanup(self.as_user, "delete", "--force", name)
        self.assert_ok(self.as_user("create", "-b", self.make(["true"]), name))
        pid = json.loads(self.as_user("state", name).out)["pid"]
        self.assertIn("memfd:", os.readlink(f"/proc/{pid}/exe"))
        with self.assertRaises(OSError), open(f"/proc/{pid}/exe", "r+b") as program:
            program.write(b"spoiled")

    def test_killed_creator_leaves_nothing(self):
        for seconds in ("0.002", "0.005", "0.01", "0.015", "0.02", "0.03"):
            execute(["timeout", "-s", "KILL", seconds, "setpriv", "--reuid", str(USER), "--regid", str(USER), "--clear-groups", self.program,
                     "--root", self.home / "run/state", "create", "-b", self.make(["sleep", "1000"]), new_name("k")])
            left = self.as_user("list", "-q").out.split()
            for name in left:  # it was faster than its killer
                self.assertIn(json.loads(self.as_user("state", name).out)["status"], ("created", "stopped"))
                self.assert_ok(self.as_user("delete", "--force", name))
            self.assert_nothing_left(f"after {seconds} s")

    def test_creator_killed_at_each_step(self):
        """By SIGKILL at one system call after the other, until it ends unharmed: what is not complete undoes itself."""
        killer, report = self.home / "kill_at", self.home / "run/report"
        shutil.copy(find_helper("kill_at"), killer)
        number, stride, kills = 1, 3 if LONG else 17, 0
        while True:
            name = new_name("k")
            bundle = self.make(["sleep", "1000"], RANGE)
            # As `as_user` has it, with the killer around.
            self.as_user(report, number, self.program, "--root", self.home / "run/state", "create", "-b", bundle, name,
                         words=[killer, "--report"])
            words = report.read_text().split()
            report.unlink()
            kills += words[0] == "killed"
            self.assertTrue(wait_until(lambda: "creating" not in self.as_user("list").out, 5), "its guard undoes what it left")
            self.assert_ok(self.as_user("delete", "--force", name))
            self.assert_nothing_left(f"killed at call {number} ({' '.join(words)})")
            if words[0] != "killed":
                break
            number += stride
        self.assertEqual((words[0], words[2]), ("completed", "0"))
        self.assertGreater(kills, 5)


if __name__ == "__main__":
    main()
