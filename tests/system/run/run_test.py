#!/usr/bin/env python3
"""`coppice run` and its sisters as a user meets them: output, exit statuses, signals, input, modes, options."""

import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from coppice_test import (Case, COPPICE, cgroup_file, coppice, environment, hash_tree, is_cgroup_v2_only, main,  # noqa: E402
                          new_name, start, wait_until, world)


class ExitStatus(Case):
    def test_every_status_of_the_command_is_handed_on(self):
        name = self.detached()
        for status in [*range(0, 256, 17), 1, 2, 124, 125, 126, 127, 128, 255]:
            with self.subTest(status=status):
                self.assert_status(coppice("exec", name, "sh", "-c", f"exit {status}"), status)

    def test_statuses_of_run(self):
        for status in (0, 1, 42, 125, 255):
            with self.subTest(status=status):
                self.assert_status(self.sh(f"exit {status}"), status)

    def test_missing_command_is_127(self):
        self.assert_one_line(self.run_in("no-such-command"), 127, "no-such-command", "not found")
        self.assert_one_line(self.run_in("/no/such/file"), 127, "/no/such/file")

    def test_command_that_cannot_be_executed_is_126(self):
        self.assert_one_line(self.run_in("/bin/not-executable"), 126, "/bin/not-executable", "denied")
        self.assert_one_line(self.run_in("/etc"), 126, "/etc", "directory")

    def test_missing_and_not_executable_in_exec(self):
        name = self.detached()
        self.assert_one_line(coppice("exec", name, "no-such-command"), 127, "no-such-command")
        self.assert_one_line(coppice("exec", name, "/bin/not-executable"), 126, "/bin/not-executable")

    def test_death_by_signal_is_128_plus_its_number(self):
        for number in (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT):
            with self.subTest(signal=number.name):
                name = self.detached()
                done = coppice("exec", name, "probe", "die", int(number))
                self.assert_status(done, 128 + number)

    def test_init_that_is_killed(self):
        name = new_name()
        process = start("run", "--name", name, self.tree, "--", "sleep", "1000")
        self.addCleanup(coppice, "rm", "-f", name)
        self.assertTrue(wait_until(lambda: "running" in coppice("ps", "-a").out))
        wait_until(lambda: coppice("exec", name, "true").status == 0)
        self.assertEqual(coppice("stop", "-t", "0", name).status, 0)
        process.communicate(timeout=20)
        self.assertEqual(process.returncode, 128 + signal.SIGKILL)

    def test_wrong_options_are_125_and_one_line(self):
        for arguments in (["run"], ["run", "--no-such-option", self.tree], ["run", "--pids", "x", self.tree],
                          ["run", "--mode", "other", self.tree],
                          ["run", "--rm", "--mode", "private", self.tree], ["run", "-w", "relative", self.tree],
                          ["run", "-v", "nonsense", self.tree], ["run", "-v", "/no/such:/mnt", self.tree],
                          ["run", "-e", "=x", self.tree], ["run", "--hostname", "x" * 65, self.tree]):
            with self.subTest(arguments=arguments):
                self.assert_one_line(coppice(*arguments), 125)


class Streams(Case):
    def test_output_and_error_are_apart(self):
        done = self.sh("echo out; echo err >&2")
        self.assertEqual((done.out, done.err), ("out\n", "err\n"))

    def test_bytes_pass_unchanged(self):
        payload = bytes(range(256)) * 4096
        done = self.run_in("cat", options=["-i"], stdin=payload, text=False)
        self.assertEqual(done.out, payload)

    def test_without_i_there_is_no_input(self):
        done = self.run_in("cat", stdin="must not arrive")
        self.assertEqual((done.status, done.out), (0, ""))

    def test_end_of_input_reaches_the_command(self):
        done = self.run_in("wc", "-c", options=["-i"], stdin="12345")
        self.assertEqual(done.out.strip(), "5")

    def test_exec_takes_input_with_i_only(self):
        name = self.detached()
        self.assertEqual(coppice("exec", "-i", name, "cat", stdin="text").out, "text")
        self.assertEqual(coppice("exec", name, "cat", stdin="text").out, "")

    def test_reader_that_goes_away(self):
        process = start("run", "--rm", "--name", new_name(), self.tree, "--", "sh", "-c", "while echo word; do :; done")
        process.stdout.readline()
        process.stdout.close()
        process.stderr.close()
        process.wait(20)  # that it ends is what counts


class Signals(Case):
    def test_signals_are_forwarded(self):
        process = start("run", "--rm", "--name", new_name(), self.tree, "--", "probe", "signals", str(int(signal.SIGTERM)))
        self.assertEqual(process.stdout.readline(), "ready\n")
        for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
            process.send_signal(number)
            self.assertEqual(process.stdout.readline().strip(), number.name.removeprefix("SIG"))
        self.assertEqual(process.wait(20), 0)
        process.communicate()

    def test_default_action_of_a_signal_ends_exec_with_128_plus_it(self):
        name = self.detached()
        process = start("exec", name, "sh", "-c", "echo ready; exec sleep 1000")
        process.stdout.readline()
        process.terminate()
        process.communicate(timeout=20)
        self.assertEqual(process.returncode, 128 + signal.SIGTERM)

    def test_killed_starter_takes_its_instance_along(self):
        process = start("run", "--rm", "--name", new_name(), self.tree, "--", "sh", "-c", "echo ready; sleep 1000")
        process.stdout.readline()
        process.kill()
        process.communicate(timeout=20)
        self.assert_nothing_left("after SIGKILL of the starter")
        self.assert_doctor_content()


class Roots(Case):
    def test_directory(self):
        self.assertEqual(self.run_in("cat", "/etc/greeting").out, "from the image\n")

    def test_erofs_image(self):
        done = self.run_in("cat", "/etc/greeting", root=world().image())
        self.assertEqual(done.out, "from the image\n", repr(done))

    def test_erofs_image_is_writable_inside(self):
        done = self.sh("echo new > /etc/greeting && cat /etc/greeting && rm -r /home && mkdir /home && ls /home | wc -l",
                       root=world().image())
        self.assertEqual(done.out.split(), ["new", "0"], repr(done))

    def test_owners_are_those_of_the_image(self):
        for root in (self.tree, world().image()):
            done = self.run_in("stat", "-c", "%u:%g", "/etc/greeting", "/home/user", "/bin", "/", root=root)
            self.assertEqual(done.out.split(), ["1000:1000", "1000:1000", "0:0", "0:0"], repr(done))

    def test_nothing_that_an_instance_does_changes_the_image(self):
        tree, image = hash_tree(self.tree), pathlib.Path(world().image()).read_bytes()
        script = ("echo x > /etc/greeting; chmod 777 /etc; chown 5:5 /bin/busybox; rm -rf /home /var; touch /bin/sh; "
                  "mkdir /new; ln /bin/busybox /bin/hard; mv /etc/passwd /etc/passwd2; : > /etc/group; echo done")
        for root in (self.tree, world().image()):
            for options in ([], ["--mode", "shared"]):
                self.assertIn("done", self.sh(script, root=root, options=options).out)
        name = new_name()
        self.addCleanup(coppice, "rm", "-f", name)
        self.assertIn("done", coppice("run", "--name", name, self.tree, "--", "sh", "-c", script).out)
        self.assertEqual(hash_tree(self.tree), tree)
        self.assertEqual(pathlib.Path(world().image()).read_bytes(), image)

    def test_one_loop_device_for_all_instances_of_an_image(self):
        names = [self.detached(root=world().image()) for _ in range(3)]
        backing = [pathlib.Path(f"/sys/block/{block}/loop/backing_file") for block in os.listdir("/sys/block")]
        ours = [file for file in backing if file.exists() and file.read_text().strip() == world().image()]
        self.assertLessEqual(len(ours), 1)
        for name in names:
            self.assertEqual(coppice("exec", name, "cat", "/etc/greeting").out, "from the image\n")

    def test_relative_root_and_root_by_link(self):
        self.assertEqual(self.run_in("echo", "ok", root="./root", cwd=world().directory).out, "ok\n")
        link = world().path("link")
        os.symlink(self.tree, link)
        self.addCleanup(os.unlink, link)
        self.assertEqual(self.run_in("echo", "ok", root=link).out, "ok\n")

    def test_root_with_special_characters_in_its_path(self):
        # Overlayfs treats these characters in option strings specially.
        odd = world().path('a:b,c\\d "e"')
        os.makedirs(odd)
        os.rename(self.tree, odd + "/root")
        self.addCleanup(os.rmdir, odd)
        self.addCleanup(os.rename, odd + "/root", self.tree)
        self.assertEqual(self.run_in("cat", "/etc/greeting", root=odd + "/root").out, "from the image\n")


class Modes(Case):
    def run_named(self, name, script, *options, root=None):
        return coppice("run", "--name", name, *options, root or self.tree, "--", "sh", "-c", script)

    def test_private_keeps_its_writes(self):
        name = new_name()
        self.addCleanup(coppice, "rm", "-f", name)
        for root in (self.tree,):
            self.assert_ok(self.run_named(name, "echo kept > /etc/mine; rm /etc/greeting; mkdir /d; echo 1 > /d/f", root=root))
            done = self.run_named(name, "cat /etc/mine /d/f; test -e /etc/greeting || echo gone", root=root)
            self.assertEqual(done.out.split(), ["kept", "1", "gone"], repr(done))

    def test_private_keeps_owners_though_its_ids_change(self):
        name = new_name()
        self.addCleanup(coppice, "rm", "-f", name)
        self.assert_ok(self.run_named(name, "echo x > /tmp/f; chown 1000:2000 /tmp/f; chmod 640 /tmp/f"))
        for _ in range(3):
            self.assertEqual(self.run_named(name, "stat -c '%u:%g:%a' /tmp/f").out, "1000:2000:640\n")

    def test_shared_undoes_its_writes(self):
        name = new_name()
        self.addCleanup(coppice, "rm", "-f", name)
        self.assert_ok(self.run_named(name, "echo gone > /etc/mine; rm /etc/greeting", "--mode", "shared"))
        done = self.run_named(name, "test -e /etc/mine || echo undone; cat /etc/greeting", "--mode", "shared")
        self.assertEqual(done.out.splitlines(), ["undone", "from the image"], repr(done))

    def test_rm_leaves_no_instance(self):
        name = new_name()
        self.assert_ok(self.run_named(name, "echo x > /etc/mine", "--rm"))
        self.assertNotIn(name, coppice("ps", "-a").out)
        self.assertEqual(os.listdir(world().state + "/instances"), [])

    def test_rm_deletes_trees_that_resist(self):
        # A deep tree, names with special bytes, directories without rights, an immutable-looking mode.
        script = ("d=/tmp/deep; mkdir $d; cd $d; i=0; while [ $i -lt 300 ]; do mkdir x; cd x; i=$((i+1)); done; "
                  "mkdir -m 0 /tmp/closed; touch '/tmp/a\nb'; mkfifo /tmp/fifo; ln -s / /tmp/link; echo ok")
        self.assertEqual(self.sh(script).out, "ok\n")

    def test_generated_names(self):
        done = self.assert_ok(coppice("run", "-d", self.tree, "--", "true"))
        name = done.out.strip()
        self.assertRegex(name, r"^i-[0-9a-f]{8}$")
        self.assertTrue(wait_until(lambda: f'{name}' not in coppice("ps", "-q").out))
        self.assert_ok(coppice("rm", name))


class Lifecycle(Case):
    def test_detached_logs_stop_rm(self):
        name = self.detached("sh", "-c", "echo out; echo err >&2; trap 'echo term; exit 7' TERM; while :; do sleep 0.1; done")
        self.assertTrue(wait_until(lambda: coppice("logs", name).err == "err\n"), repr(coppice("logs", name)))
        self.assertIn("running", coppice("ps").out)
        self.assert_ok(coppice("stop", name))
        self.assertEqual(coppice("logs", name).out, "out\nterm\n")
        self.assertIn("exited 7", coppice("ps", "-a").out)
        self.assertNotIn(name, coppice("ps").out)
        self.assert_ok(coppice("rm", name))
        self.assertNotIn(name, coppice("ps", "-a").out)

    def test_logs_follow_until_the_end(self):
        name = self.detached("sh", "-c", "for i in 1 2 3 4 5; do echo line $i; sleep 0.2; done")
        done = coppice("logs", "-f", name)
        self.assertEqual(done.out, "".join(f"line {i}\n" for i in range(1, 6)))

    def test_stop_kills_who_does_not_listen(self):
        name = self.detached("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done")
        wait_until(lambda: "ready" in coppice("logs", name).out)
        before = time.monotonic()
        self.assert_ok(coppice("stop", "-t", "1", name))
        self.assertLess(time.monotonic() - before, 30)
        self.assertIn("exited 137", coppice("ps", "-a").out)

    def test_stop_with_another_signal(self):
        name = self.detached("probe", "signals", str(int(signal.SIGUSR1)))
        wait_until(lambda: "ready" in coppice("logs", name).out)
        self.assert_ok(coppice("stop", "-s", "USR1", name))
        self.assertIn("USR1", coppice("logs", name).out)

    def test_stop_twice_and_stop_of_several(self):
        names = [self.detached("sleep", "1000") for _ in range(3)]
        done = self.assert_ok(coppice("stop", "-t", "0", *names))
        self.assertEqual(done.out.split(), names)
        self.assert_ok(coppice("stop", names[0]))

    def test_rm_of_a_running_one_is_refused_without_force(self):
        name = self.detached()
        self.assert_one_line(coppice("rm", name), 1, name, "running", "stop")
        self.assert_ok(coppice("rm", "-f", name))

    def test_names_that_do_not_exist(self):
        for arguments in (["stop", "nobody"], ["rm", "nobody"], ["logs", "nobody"]):
            self.assert_one_line(coppice(*arguments), 1, "nobody", "does not exist")
        self.assert_one_line(coppice("exec", "nobody", "true"), 125, "nobody", "does not exist")

    def test_exec_in_a_stopped_one(self):
        name = self.detached("true")
        wait_until(lambda: name not in coppice("ps", "-q").out)
        self.assert_one_line(coppice("exec", name, "true"), 125, name, "not running")

    def test_ps_formats(self):
        import csv
        import io
        import json
        name = self.detached()
        rows = json.loads(coppice("ps", "--format", "json").out)
        self.assertEqual([(row["name"], row["status"], row["mode"]) for row in rows], [(name, "running", "private")])
        self.assertEqual(next(csv.DictReader(io.StringIO(coppice("ps", "--format", "csv").out)))["name"], name)
        self.assertEqual(coppice("ps", "-q").out, name + "\n")

    def test_stopped_instance_starts_again_with_another_command(self):
        name = self.detached("sh", "-c", "echo one > /tmp/file")
        wait_until(lambda: name not in coppice("ps", "-q").out)
        self.assertEqual(coppice("run", "--name", name, self.tree, "--", "cat", "/tmp/file").out, "one\n")

    def test_background_processes_end_with_the_instance(self):
        self.assertEqual(self.sh("sleep 1000 & setsid sleep 1000 & echo done").out, "done\n")
        self.assert_nothing_left()

    def test_exec_ends_with_the_instance(self):
        name = self.detached()
        process = start("exec", name, "sh", "-c", "echo ready; sleep 1000")
        process.stdout.readline()
        self.assert_ok(coppice("stop", "-t", "0", name))
        process.communicate(timeout=20)
        self.assertEqual(process.returncode, 137)


    def test_killed_supervisor_takes_a_detached_instance_along(self):
        from coppice_test import init_pid, our_processes
        for user in ("root", "user"):  # a change of the user id makes the kernel forget whom to die with
            name = self.detached(options=["-u", user])
            init = init_pid(name)
            supervisor = next(pid for pid, line in our_processes().items() if line.startswith("coppice-supervisor"))
            os.kill(supervisor, signal.SIGKILL)
            self.assertTrue(wait_until(lambda pid=init: not os.path.isdir(f"/proc/{pid}")), "the instance must not run on without it")
            # Both sides are dead: the next command that needs the instance cleans up.
            self.assertEqual(coppice("run", "--name", name, self.tree, "--", "echo", "again").out, "again\n")
            self.assert_ok(coppice("rm", name))


class Options(Case):
    def test_environment(self):
        done = self.run_in("env", options=["-e", "A=1", "-e", "B=x=y z", "-e", "PATH=/bin", "-e", "FROM_HOST", "-e", "NOT_SET"],
                           env={"FROM_HOST": "host value"})
        lines = done.out.splitlines()
        for line in ("A=1", "B=x=y z", "PATH=/bin", "FROM_HOST=host value", "HOME=/root", "container=coppice"):
            self.assertIn(line, lines)
        self.assertEqual([line for line in lines if line.startswith(("NOT_SET", "COPPICE_TEST_MARK", "TERM"))], [])
        self.assertEqual(len([line for line in lines if line.startswith("PATH=")]), 1)

    def test_exec_overrides_the_environment(self):
        name = self.detached(options=["-e", "A=run", "-e", "B=run"])
        done = coppice("exec", "-e", "A=exec", name, "env")
        self.assertEqual([line for line in done.out.splitlines() if line.startswith("A=")], ["A=exec"], repr(done))
        self.assertIn("B=run\n", done.out)

    def test_working_directory(self):
        self.assertEqual(self.run_in("pwd").out, "/\n")
        self.assertEqual(self.run_in("pwd", options=["-w", "/home/user"]).out, "/home/user\n")
        self.assertEqual(self.run_in("pwd", options=["-w", "/made/on/the/way"]).out, "/made/on/the/way\n")
        name = self.detached()
        self.assertEqual(coppice("exec", "-w", "/etc", name, "pwd").out, "/etc\n")

    def test_user(self):
        done = self.sh("id -u; id -g; id -G; echo $HOME", options=["-u", "user"])
        self.assertEqual(done.out.splitlines(), ["1000", "1000", "1000 2000", "/home/user"], repr(done))
        self.assertEqual(self.sh("id -u; id -g", options=["-u", "1234:4321"]).out.split(), ["1234", "4321"])
        self.assertEqual(self.sh("id -u; id -g", options=["-u", "user:extra"]).out.split(), ["1000", "2000"])
        name = self.detached()
        self.assertEqual(coppice("exec", "-u", "user", name, "id", "-u").out, "1000\n")

    def test_users_that_are_none_are_refused(self):
        for user in ("nobody-here", "-1", "99999999999", "1x", ":", "user:", ":5", "70000"):
            with self.subTest(user=user):
                done = self.run_in("id", options=[f"--user={user}"])
                self.assert_one_line(done, 125)
                self.assertEqual(done.out, "")

    def test_user_has_no_capabilities(self):
        done = self.run_in("grep", "Cap", "/proc/self/status", options=["-u", "user"])
        for line in done.out.splitlines():
            if not line.startswith("CapBnd"):
                self.assertEqual(int(line.split()[1], 16), 0, line)

    def test_hostname(self):
        name = new_name()
        self.assertEqual(coppice("run", "--rm", "--name", name, self.tree, "--", "hostname").out, name + "\n")
        self.assertEqual(self.run_in("hostname", options=["--hostname", "green"]).out, "green\n")

    def test_volumes(self):
        source = world().path("volume")
        os.makedirs(source + "/sub", exist_ok=True)
        pathlib.Path(source, "file").write_text("host\n")
        os.chown(source + "/file", 1000, 1000)
        os.chmod(source, 0o777)
        done = self.sh("cat /data/file; stat -c %u:%g /data/file; echo new > /data/from-inside; chown 7:8 /data/from-inside",
                       options=["-v", f"{source}:/data"])
        self.assertEqual(done.out.split(), ["host", "1000:1000"], repr(done))
        status = os.stat(source + "/from-inside")
        self.assertEqual((status.st_uid, status.st_gid), (7, 8), "files keep their owners' numbers, whatever ids the instance has")
        self.assert_ok(self.sh("cat /data/from-inside && rm /data/from-inside", options=["-v", f"{source}:/data"]))

    def test_read_only_volume(self):
        source = world().path("volume-ro")
        os.makedirs(source, exist_ok=True)
        pathlib.Path(source, "file").write_text("host\n")
        done = self.sh("cat /data/file; echo x > /data/file; mkdir /data/d; mount -o remount,rw /data",
                       options=["-v", f"{source}:/data:ro"])
        self.assertEqual(done.out, "host\n")
        self.assertIn("Read-only", done.err)
        self.assertEqual(os.listdir(source), ["file"])
        self.assertEqual(pathlib.Path(source, "file").read_text(), "host\n")

    def test_read_only_volume_with_mounts_below(self):
        source = world().path("volume-deep")
        os.makedirs(source + "/below", exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "none", source + "/below"], check=True)
        self.addCleanup(subprocess.run, ["umount", source + "/below"], check=False)
        if is_cgroup_v2_only():
            self.skipTest("this kernel has no id-mapped tmpfs")
        done = self.sh("echo x > /data/below/file", options=["-v", f"{source}:/data:ro"])
        self.assertNotEqual(done.status, 0, repr(done))
        self.assertEqual(os.listdir(source + "/below"), [])

    def test_volume_of_a_file(self):
        file = world().path("a-file")
        pathlib.Path(file).write_text("one\n")
        self.assertEqual(self.run_in("cat", "/etc/greeting", options=["-v", f"{file}:/etc/greeting:ro"]).out, "one\n")

    def test_devices_on_volumes_do_not_work(self):
        source = world().path("volume-dev")
        os.makedirs(source, exist_ok=True)
        os.mknod(source + "/null", 0o666 | 0o020000, os.makedev(1, 3))
        self.addCleanup(os.unlink, source + "/null")
        done = self.sh("echo x > /data/null", options=["-v", f"{source}:/data"])
        self.assertIn("ermission denied", done.err)

    def test_command_behind_dashes_and_without(self):
        self.assertEqual(coppice("run", "--rm", "--name", new_name(), self.tree, "echo", "-n", "a").out, "a")
        self.assertEqual(self.run_in("echo", "--", "-x").out, "-- -x\n")
        self.assertEqual(self.run_in("echo", "--rm", "--help").out, "--rm --help\n")


class Limits(Case):
    def test_memory(self):
        name = new_name()
        done = coppice("run", "--rm", "--name", name, "--memory", "32m", self.tree, "--", "probe", "eat", "256")
        self.assert_status(done, 137)
        self.assertIn("memory limit of 32 MiB", done.err)
        self.assertNotIn("eaten", done.out)
        self.assert_ok(self.run_in("probe", "eat", "16", options=["--memory", "64m"]))

    def test_memory_by_tail(self):
        done = self.run_in("tail", "/dev/zero", options=["-m", "32m"])
        self.assert_status(done, 137)

    def test_memory_file(self):
        name = self.detached(options=["--memory", "48m"])
        file = cgroup_file(name, "memory.max", "memory") or cgroup_file(name, "memory.limit_in_bytes", "memory")
        self.assertEqual(int(file.read_text()), 48 << 20)

    def test_child_that_is_killed_for_memory_is_told_of(self):
        done = self.sh("probe eat 256; echo status $?", options=["--memory", "32m"])
        self.assertEqual((done.status, done.out), (0, "Killed\nstatus 137\n" if "Killed" in done.out else "status 137\n"))
        self.assertIn("memory limit", done.err)

    def test_pids(self):
        done = self.run_in("probe", "fork", "200", options=["--pids", "20"])
        self.assertEqual(done.out, "made 19 EAGAIN\n", repr(done))
        done = self.run_in("probe", "fork", "10", options=["--pids", "20"])
        self.assertEqual(done.out, "made 10 all\n")

    def test_default_pids(self):
        name = self.detached()
        file = cgroup_file(name, "pids.max", "pids")
        self.assertEqual(file.read_text(), "2048\n")

    def test_exec_counts_too(self):
        name = self.detached(options=["--pids", "10", "--memory", "32m"])
        self.assertRegex(coppice("exec", name, "probe", "fork", "50").out, r"made [78] EAGAIN")
        self.assert_status(coppice("exec", name, "probe", "eat", "256"), 137)

    def test_cpus(self):
        name = self.detached(options=["--cpus", "0.25"])
        v2 = cgroup_file(name, "cpu.max", "cpu")
        if v2:
            self.assertEqual(v2.read_text(), "25000 100000\n")
            return
        self.assertEqual(cgroup_file(name, "cpu.cfs_quota_us", "cpu").read_text(), "25000\n")
        self.assertEqual(cgroup_file(name, "cpu.cfs_period_us", "cpu").read_text(), "100000\n")

    def test_instance_sees_its_own_cgroup_as_root(self):
        done = self.run_in("cat", "/proc/self/cgroup", options=["-m", "64m", "--cpus", "1"])
        self.assertEqual([line for line in done.out.splitlines() if "coppice" in line], [])


class Isolation(Case):
    def test_own_namespaces(self):
        kinds = ("user", "pid", "mnt", "net", "ipc", "uts", "cgroup")
        host = {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in kinds}
        seen = [host]
        for name in (self.detached(), self.detached()):
            done = coppice("exec", name, "sh", "-c", "for k in " + " ".join(kinds) + "; do readlink /proc/self/ns/$k; done")
            seen.append(dict(zip(kinds, done.out.split())))
        for kind in kinds:
            self.assertEqual(len({namespaces.get(kind) for namespaces in seen}), 3, f"{kind}: {seen}")

    def test_only_loopback_and_it_is_up(self):
        done = self.sh("ls /sys/class/net; ip -o addr show lo; nc 127.0.0.1 1 2>&1")
        self.assertEqual(done.out.splitlines()[0], "lo")
        self.assertIn("127.0.0.1/8", done.out)
        self.assertIn("efused", done.out, "lo is up: there is somebody who refuses")

    def test_two_instances_do_not_see_each_other(self):
        one, two = self.detached("sleep", "7777"), self.detached("sleep", "8888")
        self.assert_ok(coppice("exec", one, "sh", "-c", "echo secret > /tmp/secret; echo secret > /dev/shm/secret; hostname"))
        self.assertNotIn("7777", coppice("exec", two, "ps").out)
        self.assertIn("8888", coppice("exec", two, "ps").out)
        self.assertEqual(coppice("exec", two, "sh", "-c", "ls /tmp /dev/shm | grep -c secret").out, "0\n")
        self.assertEqual(coppice("exec", one, "hostname").out.strip(), one)
        self.assertEqual(coppice("exec", two, "hostname").out.strip(), two)

    def test_system_v_memory_is_their_own(self):
        one, two = self.detached(), self.detached()
        self.assert_ok(coppice("exec", one, "probe", "shm", "make", "4711"))
        self.assert_ok(coppice("exec", one, "probe", "shm", "find", "4711"))
        self.assertEqual(coppice("exec", two, "probe", "shm", "find", "4711").out, "shm ENOENT\n")

    def test_network_ports_are_their_own(self):
        one, two = self.detached(), self.detached()
        for name in (one, two):  # the same port, in both
            listening = coppice("exec", name, "sh", "-c", "nc -l -p 80 >/dev/null 2>&1 & sleep 0.3; netstat -ltn")
            self.assertIn(":80 ", listening.out, repr(listening))
            self.assertNotIn("in use", listening.err)

    def test_different_host_ids(self):
        from coppice_test import init_pid, read_proc
        starts = {read_proc(init_pid(name), "uid_map").split()[1] for name in (self.detached(), self.detached())}
        self.assertEqual(len(starts), 2)
        self.assertNotIn(b"0", starts)

    def test_mounts_do_not_reach_the_host(self):
        from coppice_test import mounts
        before = mounts()
        name = self.detached(root=world().image())
        during = mounts()
        self.assertEqual([line for line in during if line not in before and name in line], [])

    def test_host_files_and_processes_are_out_of_sight(self):
        done = self.sh("ls /; cat /proc/1/cmdline | tr '\\0' ' '; ls -d /proc/[0-9]* | wc -l; cat /proc/self/mountinfo")
        self.assertNotIn(str(world().directory), done.out)
        self.assertNotIn(world().state, done.out)


if __name__ == "__main__":
    main()
