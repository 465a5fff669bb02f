#!/usr/bin/env python3
"""coppice-runtime: members of `process` and `linux` that few configurations have, and the flags of `exec`."""

import json
import os
import pathlib
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from bundle import make_bundle  # noqa: E402
from coppice_test import cgroup_mounts, execute, find_helper, main, new_name, runtime, world  # noqa: E402
from oci_test import PROGRAM, OciCase  # noqa: E402


def field(pid, number):
    """A field of /proc/PID/stat, counted as in proc(5)."""
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[number - 3]


class FieldCase(OciCase):
    def complains(self, done, *words):
        self.assert_one_line(done, 1, *words, program=PROGRAM)


class Scheduling(FieldCase):
    def with_process(self, **members):
        return lambda config: config["process"].update(members)

    def test_nice_and_batch(self):
        name = self.started(change=self.with_process(scheduler={"policy": "SCHED_BATCH", "nice": 7}))
        pid = self.state(name)["pid"]
        self.assertEqual((field(pid, 19), field(pid, 41)), ("7", "3"))
        self.assertEqual(os.sched_getscheduler(pid), os.SCHED_BATCH)

    def test_idle_and_flags(self):
        name = self.started(change=self.with_process(scheduler={"policy": "SCHED_IDLE", "flags": ["SCHED_FLAG_RESET_ON_FORK"]}))
        self.assertEqual(os.sched_getscheduler(self.state(name)["pid"]), os.SCHED_IDLE | os.SCHED_RESET_ON_FORK)

    def test_exec_has_it_too(self):
        name = self.started(change=self.with_process(scheduler={"policy": "SCHED_OTHER", "nice": 3}))
        self.assertEqual(runtime("exec", name, "cut", "-d", " ", "-f", "19", "/proc/self/stat").out, "3\n")

    def test_words_and_ranges(self):
        for scheduler, word in (({"policy": "SCHED_NO"}, "SCHED_NO"), ({}, "policy"), ({"policy": "SCHED_OTHER", "nice": 20}, "nice"),
                                ({"policy": "SCHED_OTHER", "priority": 5}, "priority"),
                                ({"policy": "SCHED_FIFO", "runtime": 5}, "runtime"),
                                ({"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_NO"]}, "SCHED_FLAG_NO")):
            with self.subTest(scheduler=scheduler):
                self.complains(self.run_bundle(["true"], self.with_process(scheduler=scheduler)), "scheduler", word)

    def test_io_priority(self):
        name = self.started(change=self.with_process(ioPriority={"class": "IOPRIO_CLASS_BE", "priority": 6}))
        done = runtime("exec", name, "ionice", "-p", "1")
        self.assertEqual(done.out.strip(), "best-effort: prio 6", repr(done))
        self.complains(self.run_bundle(["true"], self.with_process(ioPriority={"class": "IOPRIO_CLASS_NO"})), "IOPRIO_CLASS_NO")

    def test_affinity_of_exec(self):
        name = self.started(change=self.with_process(execCPUAffinity={"initial": "0-1", "final": "1"}))
        if os.cpu_count() < 2:
            self.skipTest("needs two processors")
        self.assertEqual(runtime("exec", name, "sh", "-c", "grep Cpus_allowed_list /proc/self/status").out.split()[1], "1")
        self.assertNotEqual(os.sched_getaffinity(self.state(name)["pid"]), {1}, "the init itself has no affinity")
        self.complains(self.run_bundle(["true"], self.with_process(execCPUAffinity={"final": "3-1"})), "final", "3-1")

    def test_personality(self):
        name = self.started(change=lambda config: config["linux"].update(personality={"domain": "LINUX32"}))
        self.assertEqual(runtime("exec", name, "uname", "-m").out, "i686\n")
        self.assertEqual(pathlib.Path(f"/proc/{self.state(name)['pid']}/personality").read_text(), "00000008\n")
        self.complains(self.run_bundle(["true"], lambda config: config["linux"].update(personality={"domain": "BSD"})), "BSD")


class Labels(FieldCase):
    def test_apparmor(self):
        change = lambda config: config["process"].update(apparmorProfile="no-such-profile")  # noqa: E731
        if os.path.exists("/sys/module/apparmor/parameters/enabled"):
            self.complains(self.run_bundle(["true"], change), "no-such-profile")
            done = self.run_bundle(["cat", "/proc/self/attr/current"],
                                   lambda config: config["process"].update(apparmorProfile="unconfined"))
            self.assertIn("unconfined", done.out, repr(done))
        else:
            self.complains(self.run_bundle(["true"], change), "no-such-profile", "CONFIG_SECURITY_APPARMOR")
            self.assert_ok(self.run_bundle(["true"], lambda config: config["process"].update(apparmorProfile="unconfined")))

    def test_selinux(self):
        if os.path.exists("/sys/fs/selinux/enforce"):
            self.skipTest("SELinux is on: this is about kernels without")
        self.complains(self.run_bundle(["true"], lambda config: config["process"].update(selinuxLabel="a:b:c:d")), "a:b:c:d",
                     "CONFIG_SECURITY_SELINUX")
        self.assert_ok(self.run_bundle(["true"], lambda config: config["linux"].update(mountLabel="a:b:c:d")))

    def test_resctrl(self):
        if os.path.exists("/sys/fs/resctrl/schemata"):
            self.skipTest("resctrl is there: this is about machines without")
        self.complains(self.run_bundle(["true"], lambda config: config["linux"].update(intelRdt={"closID": "x"})), "resctrl",
                     "CONFIG_X86_CPU_RESCTRL")
        self.complains(self.run_bundle(["true"], lambda config: config["linux"].update(intelRdt={"closID": "../x"})), "closID")


class Exec(OciCase):
    def test_oom_score(self):
        name = self.started(change=lambda config: config["process"].update(oomScoreAdj=321))
        self.assertEqual(self.assert_ok(runtime("exec", name, "cat", "/proc/self/oom_score_adj")).out, "321\n")

    def test_keyring_is_the_container_s_choice(self):
        def keyring(name): return self.assert_ok(runtime("exec", name, "probe", "keyring")).out
        own = self.assert_ok(execute([find_helper("probe"), "keyring"])).out
        self.assertNotEqual(keyring(self.started()), own)
        self.assertEqual(keyring(self.started(options=["--no-new-keyring"])), own)

    def test_groups_and_labels(self):
        name = self.started()
        self.assertEqual(runtime("exec", "-g", "7", "--additional-gids", "8,9", name, "id", "-G").out.split(), ["0", "7", "8", "9"])
        self.assertEqual(runtime("exec", "-u", "1000", "-g", "7", name, "id", "-G").out.split(), ["1000", "7", "2000"])
        self.assert_one_line(runtime("exec", "-g", "-1", name, "id"), 1, "additional-gids", program=PROGRAM)
        if not os.path.exists("/sys/module/apparmor"):
            self.assert_one_line(runtime("exec", "--apparmor", "p", name, "id"), 255, "AppArmor", program=PROGRAM)
        if not os.path.exists("/sys/fs/selinux/enforce"):
            self.assert_one_line(runtime("exec", "--process-label", "l", name, "id"), 255, "SELinux", program=PROGRAM)
        self.assert_ok(runtime("exec", "--no-subreaper", "--ignore-paused", name, "true"))

    def test_sub_cgroup(self):
        name = self.started()
        # As with runc, a path without a controller is meant in every hierarchy that the container has joined.
        joined = [f"{point}{path}" for line in pathlib.Path(f"/proc/{self.state(name)['pid']}/cgroup").read_text().splitlines()
                  for path in [line.split(":", 2)[2]] if path.endswith("/" + name)
                  for point in cgroup_mounts() if os.path.isdir(f"{point}{path}")]
        joined = sorted(set(joined))
        for directory in joined:
            os.mkdir(f"{directory}/below")
        script = "grep -c /below$ /proc/self/cgroup"
        self.assertEqual(runtime("exec", "--cgroup", "below", name, "sh", "-c", script).out, f"{len(joined)}\n")
        os.mkdir(f"{joined[0]}/here")
        if len(joined) > 1:
            self.assert_one_line(runtime("exec", "--cgroup", "here", name, "true"), 255, "/here", program=PROGRAM)
        for path, word in (("none", "none"), ("", "--cgroup"), ("nosuch:below", "nosuch")):
            self.assert_one_line(runtime("exec", "--cgroup", path, name, "true"), 255, word, program=PROGRAM)
        # There are cgroups behind these.
        for path in ("..", "../..", "below/../..", "below/../../..", f"../{name}", f"below/../../{name}/below"):
            self.assert_one_line(runtime("exec", "--cgroup", path, name, "true"), 255, f"--cgroup {path}:", "below the container's",
                                 program=PROGRAM)


class Commands(OciCase):
    def test_spec(self):
        directory = pathlib.Path(world().path(new_name("spec")))
        directory.mkdir()
        self.assert_ok(runtime("spec", "-b", directory))
        config = json.loads((directory / "config.json").read_text())
        self.assertEqual(config["process"]["args"], ["sh"])
        self.assertTrue(config["process"]["terminal"])
        self.assert_one_line(runtime("spec", "--bundle", directory), 1, "exists already", program=PROGRAM)
        config["process"].update(terminal=False, args=["cat", "/etc/greeting"])
        config["root"]["path"] = self.tree
        (directory / "config.json").write_text(json.dumps(config))
        self.assertEqual(runtime("run", "-b", directory, new_name("c")).out, "from the image\n")
        (directory / "config.json").unlink()
        self.assert_ok(runtime("spec", "--rootless", cwd=directory))
        config = json.loads((directory / "config.json").read_text())
        self.assertIn({"type": "user"}, config["linux"]["namespaces"])
        self.assertNotIn("resources", config["linux"])

    def test_config_elsewhere(self):
        directory = pathlib.Path(world().path(new_name("spec")))
        directory.mkdir()
        self.assert_ok(runtime("spec", "-b", directory))
        config = json.loads((directory / "config.json").read_text())
        config["process"].update(terminal=False, args=["echo", "elsewhere"])
        config["root"]["path"] = self.tree
        (directory / "other.json").write_text(json.dumps(config))
        done = runtime("run", "-b", directory, "--config", directory / "other.json", "--no-subreaper", new_name("c"))
        self.assertEqual(done.out, "elsewhere\n", repr(done))

    def test_features(self):
        features = json.loads(self.assert_ok(runtime("features")).out)
        self.assertEqual(features["ociVersionMin"], "1.0.0")
        for option in ("rro", "tmpcopyup", "ridmap", "runbindable", "nosymfollow"):
            self.assertIn(option, features["mountOptions"])
        self.assertIn("time", features["linux"]["namespaces"])
        self.assertIn("SCMP_ACT_NOTIFY", features["linux"]["seccomp"]["actions"])
        self.assertIn("SECCOMP_FILTER_FLAG_LOG", features["linux"]["seccomp"]["supportedFlags"])
        self.assertIn("SCMP_ARCH_X86_64", features["linux"]["seccomp"]["archs"])

    def test_version(self):
        lines = runtime("--version").out.splitlines()
        self.assertRegex(lines[0], r"^coppice-runtime version \d")
        self.assertEqual(lines[1], "spec: 1.2.1")
        self.assertRegex(lines[-1], r"^libseccomp: 2\.")

    def test_global_rootless(self):
        self.assert_ok(runtime("--rootless", "true", "list"))
        self.assert_one_line(runtime("--rootless", "maybe", "list"), 1, "maybe", program=PROGRAM)

    def test_words_that_clients_look_for(self):
        """In lower case: docker compares so."""
        log = world().path(new_name("log"))
        for command, words in (("no-such", "executable file not found in $PATH"), ("/no/such", "no such file or directory"),
                               ("/bin/not-executable", "permission denied"), ("/bin", "is a directory")):
            done = runtime("--log", log, "--log-format", "json", "create", "-b",
                           make_bundle([command]), new_name("c"))
            self.assert_status(done, 1)
            last = json.loads(pathlib.Path(log).read_text().splitlines()[-1])
            self.assertEqual(last["level"], "error")
            for text in (last["msg"], done.err):
                self.assertIn(words, text)
                self.assertIn(command, text)


if __name__ == "__main__":
    main()
