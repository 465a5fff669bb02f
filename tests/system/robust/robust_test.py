#!/usr/bin/env python3
"""Whatever goes wrong: one clear line (what, where, what to do), the right exit status, and nothing left behind."""

import concurrent.futures
import os
import pathlib
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from coppice_test import (BIN, COPPICE, Case, RUNTIME, coppice, execute, is_cgroup_v2_only, main, new_name, start,  # noqa: E402
                          wait_until, world)

HOW_TO_MAKE_ONE = "mkfs.erofs"


class Refusal(Case):
    """Every test here ends with a look at the host (Case.tearDown) and with a content `coppice doctor`."""

    def tearDown(self):
        try:
            if os.path.isdir(world().state):
                self.assert_doctor_content()
        finally:
            super().tearDown()

    def refused(self, *arguments, words, status=125, **options):
        done = coppice(*arguments, **options)
        self.assert_one_line(done, status, *words)
        self.assertEqual(done.out, "")
        self.assert_nothing_left(repr(done))
        return done


class BrokenRoot(Refusal):
    def file(self, name, content):
        path = world().path(name)
        pathlib.Path(path).write_bytes(content)
        self.addCleanup(os.unlink, path)
        return path

    def image_bytes(self):
        return pathlib.Path(world().image()).read_bytes()

    def test_missing(self):
        self.refused("run", "--rm", "/no/such/root", words=["/no/such/root", "No such file", HOW_TO_MAKE_ONE])

    def test_missing_with_a_name(self):
        self.refused("run", "--name", new_name(), "/no/such/root", words=["/no/such/root"])

    def test_empty_word(self):
        self.refused("run", "--rm", "", words=["root"])

    def test_file_that_is_no_image(self):
        path = self.file("text", b"just text\n" * 1000)
        self.refused("run", "--rm", path, words=[path, "neither a directory nor an EROFS image", HOW_TO_MAKE_ONE])

    def test_empty_file(self):
        path = self.file("empty", b"")
        self.refused("run", "--rm", path, words=[path, HOW_TO_MAKE_ONE])

    def test_garbage(self):
        path = self.file("garbage", os.urandom(1 << 20))
        self.refused("run", "--rm", path, words=[path, HOW_TO_MAKE_ONE])

    def test_truncated_image(self):
        path = self.file("short.erofs", self.image_bytes()[: 1 << 16])
        self.refused("run", "--rm", path, words=[path, "cut short", "copy or build it again"])

    def test_image_of_one_block(self):
        path = self.file("tiny.erofs", self.image_bytes()[:2000])
        self.refused("run", "--rm", path, words=[path])

    def test_damaged_superblock(self):
        content = bytearray(self.image_bytes())
        content[1024 + 12] = 200  # bits of the block size
        path = self.file("super.erofs", bytes(content))
        self.refused("run", "--rm", path, words=[path])

    def test_features_of_the_future(self):
        content = bytearray(self.image_bytes())
        content[1024 + 80 : 1024 + 84] = b"\xff\xff\xff\xff"  # feature_incompat
        path = self.file("future.erofs", bytes(content))
        self.refused("run", "--rm", path, words=[path, "newer kernel"])

    def test_damage_anywhere_never_hangs_or_leaks(self):
        content = bytearray(self.image_bytes())
        for offset in range(0, min(len(content), 1 << 16), 4096):
            damaged = bytearray(content)
            damaged[offset : offset + 512] = os.urandom(512)
            path = world().path("damaged.erofs")
            pathlib.Path(path).write_bytes(damaged)
            done = coppice("run", "--rm", "--name", new_name(), path, "--", "true")
            self.assertLessEqual(done.err.count("\n"), 1, repr(done))
            # The program itself may be what was damaged: then it may die of anything.
            self.assertTrue(done.status in (0, 1, 125, 126, 127) or done.status > 128, repr(done))
            os.unlink(path)
        self.assert_nothing_left()

    def test_fifo(self):
        path = world().path("fifo")
        os.mkfifo(path)
        self.addCleanup(os.unlink, path)
        self.refused("run", "--rm", path, words=[path, "neither a directory nor an EROFS image"], timeout=10)

    def test_device_and_socket(self):
        self.refused("run", "--rm", "/dev/null", words=["/dev/null", "neither a directory"])

    def test_root_below_a_file(self):
        path = self.file("plain", b"x")
        self.refused("run", "--rm", path + "/below", words=[path, "Not a directory"])

    def test_link_to_nowhere_and_loop(self):
        for target in ("/no/such/target", world().path("link")):
            link = world().path("link")
            os.symlink(target, link)
            self.refused("run", "--rm", link, words=[link])
            os.unlink(link)

    def test_empty_directory(self):
        path = world().path("nothing")
        os.mkdir(path)
        self.addCleanup(os.rmdir, path)
        self.refused("run", "--rm", path, "--", "true", words=['"true"', "not found"], status=127)
        self.assertEqual(os.listdir(path), [])

    def test_name_too_long(self):
        self.refused("run", "--rm", "/" + "x" * 5000, words=["too long"])

    def test_root_on_a_file_system_without_mapped_ids(self):
        # procfs never has id-mapped mounts.
        self.refused("run", "--rm", "/proc", words=["/proc", "file system"])


class BrokenCommand(Refusal):
    def test_missing(self):
        for options in (["--rm"], ["--name", new_name()], ["--rm", "-d"]):
            self.refused("run", *options, self.tree, "--", "no-such-command", words=["no-such-command", "not found"], status=127)

    def test_not_executable(self):
        self.refused("run", "--rm", self.tree, "--", "/bin/not-executable", words=["/bin/not-executable", "denied"], status=126)

    def test_directory(self):
        self.refused("run", "--rm", self.tree, "--", "/etc", words=["/etc", "irectory"], status=126)

    def test_interpreter_is_missing(self):
        script = pathlib.Path(self.tree, "bin/script")
        script.write_text("#!/no/such/interpreter\n")
        script.chmod(0o755)
        self.addCleanup(script.unlink)
        self.refused("run", "--rm", self.tree, "--", "script", words=["script"], status=127)

    def test_file_of_no_known_format(self):
        file = pathlib.Path(self.tree, "bin/noise")
        file.write_bytes(b"\x00\x01\x02" * 100)
        file.chmod(0o755)
        self.addCleanup(file.unlink)
        self.refused("run", "--rm", self.tree, "--", "noise", words=["noise", "ormat"], status=126)

    def test_empty_word(self):
        self.refused("run", "--rm", self.tree, "--", "", words=["empty"])

    def test_unknown_user_and_directory(self):
        self.refused("run", "--rm", "-u", "stranger", self.tree, "--", "true", words=["stranger", "/etc/passwd"])
        self.refused("run", "--rm", "-w", "/etc/greeting", self.tree, "--", "true", words=["/etc/greeting", "ot a directory"])

    def test_arguments_too_long(self):
        self.refused("run", "--rm", self.tree, "--", "echo", "x" * 130000, *["y" * 120000 for _ in range(20)],
                     words=["echo"], status=126) if os.sysconf("SC_ARG_MAX") > 3 << 20 else self.skipTest("small ARG_MAX")


class NoRights(Refusal):
    def as_nobody(self, *arguments):
        # The programs must be reachable for nobody wherever the build directory is.
        directory = world().path("bin")
        if not os.path.isdir(directory):
            os.makedirs(directory)
            for name in ("coppice", "coppice-runtime", "coppice-supervisor"):
                subprocess.run(["cp", str(BIN / name), directory], check=True)
        return execute(["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", directory + "/coppice", *arguments],
                       cwd="/")

    def test_run(self):
        self.assert_one_line(self.as_nobody("run", "--rm", self.tree), 125, "root", "sudo")

    def test_the_others(self):
        os.makedirs(world().state, exist_ok=True)
        for arguments in (["ps"], ["stop", "x"], ["rm", "x"], ["logs", "x"]):
            done = self.as_nobody("--root", world().state, *arguments)
            self.assert_one_line(done, 1, "denied")
        self.assert_one_line(self.as_nobody("--root", world().state, "exec", "x", "true"), 125)


class FullDisk(Refusal):
    """The state directory on a file system of its own that is full. Mounted in a mount namespace that ends with the
    command."""

    def on_small_disk(self, prepare, script, size="2M"):
        """Runs `script` in a shell where $S is a full disk and $C is coppice with its state there."""
        image = world().path("disk.img")
        with open(image, "wb") as file:
            file.truncate(8 << 20)
        self.addCleanup(os.unlink, image)
        subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", image, size], check=True,
                       env={**os.environ, "PATH": os.environ["PATH"] + ":/sbin:/usr/sbin"})
        point = world().path("disk")
        os.makedirs(point, exist_ok=True)
        text = (f"set -e; mount -o loop {image} {point}; S={point}; C='{COPPICE} --root {point}/state'; T={self.tree}; "
                f"fill() {{ dd if=/dev/zero of=$S/filler bs=4k 2>/dev/null || true; dd if=/dev/zero of=$S/filler2 bs=512 2>/dev/null || true; }}; "
                f"{prepare}; set +e; {script}")
        return execute(["unshare", "-m", "--propagation", "private", "sh", "-c", text], timeout=120)

    def test_start_on_a_full_disk(self):
        done = self.on_small_disk("mkdir $S/state; fill; find $S/state | sort > /tmp/$$.before",
                                  f"$C run --rm --name {new_name()} $T -- true; echo status $? >&2; "
                                  "find $S/state -mindepth 2 >&2; rm /tmp/$$.before")
        lines = done.err.splitlines()
        self.assertEqual(len([line for line in lines if line.startswith("coppice:")]), 1, repr(done))
        self.assertIn("No space left", lines[0], repr(done))
        self.assertIn("status 125", lines[1], repr(done))
        self.assertEqual(lines[2:], [], "left in the state directory")

    def test_disk_that_fills_at_every_point_of_a_start(self):
        """Leaves a little more room each time, until the start works."""
        script = f"""
        worked=
        for blocks in 0 1 2 3 4 5 6 7 8 10 12 14 16 20 24 32; do
            rm -rf $S/state $S/filler*; mkdir $S/state
            dd if=/dev/zero of=$S/reserve bs=1k count=$blocks 2>/dev/null
            fill
            rm $S/reserve
            error=$($C run --rm --name {new_name()} $T -- true 2>&1); status=$?
            [ $status = 0 ] && worked=yes
            [ $status = 0 ] || [ $status = 125 ] || echo "with $blocks: status $status: $error"
            [ $status = 0 ] || [ "$(echo "$error" | wc -l)" = 1 ] || echo "with $blocks: not one line: $error"
            [ $status = 0 ] || case $error in *"No space left"*) ;; *) echo "with $blocks: $error" ;; esac
            left=$(find $S/state -mindepth 2 ! -name '.seccomp-*')
            [ -z "$left" ] || echo "with $blocks: left $left"
        done
        echo worked $worked"""
        done = self.on_small_disk("true", script)
        self.assertEqual(done.out, "worked yes\n", repr(done))

    def test_instance_that_fills_the_disk_itself(self):
        done = self.on_small_disk("mkdir $S/state", f"""
            $C run --rm --name {new_name()} $T -- sh -c 'dd if=/dev/zero of=/tmp/big bs=64k; echo status $?'
            echo run $?; find $S/state -mindepth 2 ! -name '.seccomp-*'""")
        self.assertIn("No space left", done.err)
        self.assertEqual(done.out, "status 1\nrun 0\n", repr(done))

    def test_private_instance_that_filled_the_disk_can_be_removed(self):
        name = new_name()
        done = self.on_small_disk("mkdir $S/state", f"""
            $C run --name {name} $T -- sh -c 'dd if=/dev/zero of=/tmp/big bs=64k 2>/dev/null; true'; echo run $?
            $C rm {name}; echo rm $?; find $S/state -mindepth 2 ! -name '.seccomp-*'""")
        self.assertEqual(done.out.splitlines()[-2:], [name, "rm 0"], repr(done))

    def test_log_on_a_full_disk_does_not_stop_the_instance(self):
        name = new_name()
        signs = world().path("signs")
        os.makedirs(signs, exist_ok=True)
        script = "until test -e /signs/full; do sleep 0.05; done; seq 1 200000; touch /signs/written; until test -e /signs/room; do sleep 0.05; done; exit 3"
        done = self.on_small_disk("mkdir $S/state", f"""
            $C run -d --name {name} -v {signs}:/signs $T -- sh -c '{script}' >/dev/null; fill; chmod 777 {signs}; touch {signs}/full
            for i in $(seq 300); do test -e {signs}/written && break; sleep 0.1; done
            rm -f $S/filler*; touch {signs}/room
            for i in $(seq 300); do $C ps -q | grep -q . || break; sleep 0.1; done
            $C ps -a | grep -o 'exited [0-9]*\\|stopped\\|running'; $C logs {name} | wc -l; ls {signs}; $C rm -f {name} >/dev/null; echo rm $?""")
        self.assertEqual(done.err, "", repr(done))
        status, lines, *rest = done.out.splitlines()
        self.assertEqual((status, rest), ("exited 3", ["full", "room", "written", "rm 0"]), repr(done))
        self.assertLess(int(lines), 200000, "the disk was full")

    def test_log_goes_on_when_the_disk_has_room_again(self):
        name = new_name()
        script = "i=0; while [ $i -lt 400 ]; do echo $((i=i+1)) %s; sleep 0.01; done; exit 3" % ("x" * 100)
        done = self.on_small_disk("mkdir $S/state", f"""
            $C run -d --name {name} $T -- sh -c '{script}' >/dev/null; sleep 0.3; fill; sleep 1; rm -f $S/filler*
            for i in $(seq 300); do $C ps -q | grep -q . || break; sleep 0.1; done
            $C logs {name}; $C ps -a | grep -o 'exited [0-9]*'; $C rm {name} >/dev/null""")
        self.assertEqual(done.err, "", repr(done))
        *lines, status = done.out.splitlines()
        self.assertEqual(status, "exited 3")
        numbers = [int(line.split()[0]) for line in lines]
        self.assertEqual(numbers, sorted(set(numbers)))
        self.assertEqual((numbers[0], numbers[-1]), (1, 400))
        self.assertLess(len(numbers), 390, "the disk was full for a time")


class UnwritableState(Refusal):
    def test_read_only_state_directory(self):
        directory = world().path("readonly")
        os.makedirs(directory, exist_ok=True)
        done = execute(["unshare", "-m", "--propagation", "private", "sh", "-c",
                        f"mount --bind {directory} {directory} && mount -o remount,bind,ro {directory} && "
                        f"exec {COPPICE} --root {directory}/state run --rm {self.tree} -- true"])
        self.assert_one_line(done, 125, directory, "Read-only file system")
        self.assertEqual(os.listdir(directory), [])

    def test_read_only_after_it_was_made(self):
        directory = world().path("readonly-later")
        os.makedirs(directory + "/state/instances", exist_ok=True)
        os.makedirs(directory + "/state/runtime", mode=0o700, exist_ok=True)
        os.chmod(directory + "/state/runtime", 0o700)
        done = execute(["unshare", "-m", "--propagation", "private", "sh", "-c",
                        f"mount --bind {directory} {directory} && mount -o remount,bind,ro {directory} && "
                        f"exec {COPPICE} --root {directory}/state run --rm {self.tree} -- true"])
        self.assert_one_line(done, 125, directory, "Read-only file system")
        self.assertEqual(os.listdir(directory + "/state/instances"), [])

    def test_file_in_the_way(self):
        path = world().path("in-the-way")
        pathlib.Path(path).write_text("")
        self.addCleanup(os.unlink, path)
        for root in (path, path + "/below"):
            done = execute([COPPICE, "--root", root, "run", "--rm", self.tree, "--", "true"])
            self.assert_one_line(done, 125, path)
            done = execute([COPPICE, "--root", root, "ps"])
            self.assert_one_line(done, 1, path)

    def test_instances_is_a_file(self):
        directory = world().path("half")
        os.makedirs(directory, exist_ok=True)
        pathlib.Path(directory, "instances").write_text("")
        done = execute([COPPICE, "--root", directory, "run", "--rm", self.tree, "--", "true"])
        self.assert_one_line(done, 125, directory)

    def test_id_lock_directory_is_a_file(self):
        done = execute(["unshare", "-m", "--propagation", "private", "sh", "-c",
                        f"mount -t tmpfs none /run && touch /run/coppice && "
                        f"exec {COPPICE} --root {world().state} run --rm --name {new_name()} {self.tree} -- true"])
        self.assert_one_line(done, 125, "/run/coppice")

    def test_state_on_a_file_system_that_cannot_carry_layers(self):
        # tmpfs before Linux 6.3 has no mapped ids: either it works, or one line says what to do.
        done = execute(["unshare", "-m", "--propagation", "private", "sh", "-c",
                        f"mount -t tmpfs none /mnt && {COPPICE} --root /mnt/state run --rm --name {new_name()} {self.tree} -- true; "
                        f"status=$?; find /mnt/state -mindepth 2 ! -name '.seccomp-*'; exit $status"])
        self.assertEqual(done.out, "", repr(done))
        if done.status != 0:
            self.assert_one_line(done, 125, "file system such as")

    def test_damaged_instance_record(self):
        name = new_name()
        self.assert_ok(coppice("run", "--name", name, self.tree, "--", "true"))
        record = pathlib.Path(world().state, "instances", name, "instance.json")
        for content in (b"", b"{", b"\x00" * 100, b"{}", b'{"name": 5}'):
            record.write_bytes(content)
            self.assert_one_line(coppice("run", "--name", name, self.tree, "--", "true"), 125, name)
            self.assert_ok(coppice("ps", "-a"))
        self.assert_ok(coppice("rm", "-f", name))


class Names(Refusal):
    def test_bad_names(self):
        for name in ("../x", ".", "..", "a/b", "-x", ".hidden", "a b", "a\nb", "ü", "x" * 2000, "", "a;b", "@x"):
            with self.subTest(name=name):
                if name:
                    self.refused("run", f"--name={name}", self.tree, "--", "true", words=["name"])
                for command in ("stop", "rm", "logs"):
                    done = coppice(command, "--", name) if name.startswith("-") else coppice(command, name)
                    self.assertNotEqual(done.status, 0)
                    self.assertEqual(done.err.count("\n"), 1, repr(done))

    def test_name_of_a_running_instance(self):
        name = self.detached()
        done = coppice("run", "--name", name, self.tree, "--", "true")
        self.assert_one_line(done, 125, name, "running", "coppice stop")
        self.assert_ok(coppice("exec", name, "true"))

    def test_rm_on_a_private_instance(self):
        name = new_name()
        self.addCleanup(coppice, "rm", "-f", name)
        self.assert_ok(coppice("run", "--name", name, "--mode", "shared", self.tree, "--", "true"))
        self.assert_one_line(coppice("run", "--rm", "--name", name, self.tree, "--", "true"), 125, name, "--rm")
        self.assert_ok(coppice("rm", name))
        self.assert_ok(coppice("run", "--name", name, self.tree, "--", "sh", "-c", "echo kept > /tmp/f"))
        self.assert_one_line(coppice("run", "--rm", "--name", name, self.tree, "--", "true"), 125, name, "private")
        self.assertEqual(coppice("run", "--name", name, self.tree, "--", "cat", "/tmp/f").out, "kept\n")

    def test_another_root_or_mode_for_a_name(self):
        name = new_name()
        self.addCleanup(coppice, "rm", "-f", name)
        self.assert_ok(coppice("run", "--name", name, self.tree, "--", "true"))
        self.assert_one_line(coppice("run", "--name", name, world().image(), "--", "true"), 125, name, self.tree, "coppice rm")
        self.assert_one_line(coppice("run", "--name", name, "--mode", "shared", self.tree, "--", "true"), 125, name, "private")

    def test_twenty_at_once_with_one_name(self):
        for options in ([], ["--rm"]):
            name = new_name()
            with concurrent.futures.ThreadPoolExecutor(20) as pool:
                tries = [pool.submit(coppice, "run", "-d", *options, "--name", name, self.tree, "--", "sleep", "1000")
                         for _ in range(20)]
                done = [future.result() for future in tries]
            winners = [one for one in done if one.status == 0]
            self.assertEqual(len(winners), 1, repr(done))
            for one in done:
                if one.status != 0:
                    self.assert_one_line(one, 125, name)
            self.assert_ok(coppice("exec", name, "true"))
            self.assert_ok(coppice("rm", "-f", name))
            self.assert_nothing_left()

    def test_twenty_at_once_with_one_container_id(self):
        # The same on the level below.
        from coppice_test import runtime
        sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../oci"))
        from bundle import make_bundle
        bundle = make_bundle(["sleep", "1000"])
        name = new_name("c")
        with concurrent.futures.ThreadPoolExecutor(20) as pool:
            done = list(pool.map(lambda _: runtime("create", "-b", bundle, name), range(20)))
        self.assertEqual(len([one for one in done if one.status == 0]), 1, repr(done))
        for one in done:
            if one.status != 0:
                self.assert_one_line(one, 1, name, program="coppice-runtime")
        self.assert_ok(runtime("delete", "--force", name))


class Limits(Refusal):
    def test_values_that_make_no_sense(self):
        for options, words in ((["--memory", "1"], ["--memory 1", "at least"]), (["--memory", "0"], ["--memory"]),
                               (["--memory", "-5m"], ["--memory"]), (["--memory", "lots"], ["--memory"]),
                               (["--memory", "9999999999t"], ["--memory"]), (["--memory", "5q"], ["--memory", "unit"]),
                               (["--cpus", "0"], ["--cpus"]), (["--cpus", "0.001"], ["--cpus"]), (["--cpus", "-1"], ["--cpus"]),
                               (["--cpus", "many"], ["--cpus"]), (["--cpus", "1e9"], ["--cpus"]),
                               (["--cpus", "nan"], ["--cpus"]), (["--pids", "-2"], ["--pids"]),
                               (["--pids", "99999999999999999999"], ["--pids"])):
            with self.subTest(options=options):
                self.refused("run", "--rm", *options, self.tree, "--", "true", words=words)

    def test_values_that_the_kernel_refuses(self):
        done = coppice("run", "--rm", "--name", new_name(), "--cpus", "999999", self.tree, "--", "true")
        if done.status == 0:
            self.skipTest("this kernel takes a quota of 999999 CPUs")
        self.assert_one_line(done, 125, "limit", "cpu")

    def test_memory_that_is_too_little_to_start(self):
        done = coppice("run", "--rm", "--name", new_name(), "--memory", "4m", self.tree, "--", "true")
        if done.status not in (0, 137):
            self.assert_one_line(done, 125, "memory limit")

    def test_one_process_is_enough_for_one(self):
        self.assert_ok(coppice("run", "--rm", "--name", new_name(), "--pids", "1", self.tree, "--", "true"))


class BrokenInstallation(Refusal):
    def test_supervisor_is_missing(self):
        directory = world().path("lonely")
        os.makedirs(directory)
        subprocess.run(["cp", COPPICE, directory], check=True)
        done = execute([directory + "/coppice", "--root", world().state, "run", "--rm", self.tree, "--", "true"])
        self.assert_one_line(done, 125, "coppice-supervisor", "incomplete")

    def test_supervisor_that_cannot_run(self):
        directory = world().path("broken")
        os.makedirs(directory)
        subprocess.run(["cp", COPPICE, directory], check=True)
        pathlib.Path(directory, "coppice-supervisor").write_bytes(b"\x7fELF")
        os.chmod(directory + "/coppice-supervisor", 0o755)
        done = execute([directory + "/coppice", "--root", world().state, "run", "--rm", "--name", new_name(), self.tree, "--", "true"])
        self.assert_one_line(done, 125, "coppice-supervisor")

    def test_nothing_to_talk_to(self):
        # The supervisor as a program of its own, started by nobody.
        done = execute([str(BIN / "coppice-supervisor")], timeout=10)
        self.assertNotEqual(done.status, 0)

    def test_no_cgroups(self):
        done = execute(["unshare", "-m", "--propagation", "private", "sh", "-c",
                        f"umount -R /sys/fs/cgroup && exec {COPPICE} --root {world().state} run --rm --name {new_name()} "
                        f"{self.tree} -- echo fine"])
        self.assert_one_line(done, 125, "no cgroup hierarchy is mounted", "mount -t cgroup2")
        self.assertEqual(done.out, "", repr(done))

    def test_too_few_descriptors(self):
        refused = 0
        for limit in range(3, 40):
            done = execute(["sh", "-c", f"ulimit -Sn {limit}; exec {COPPICE} --root {world().state} run --rm --name {new_name()} "
                            f"{self.tree} -- true"])
            if done.status == 0:
                break
            self.assertIn(done.status, (125, 126, 127), repr(done))
            self.assertEqual(done.err.count("\n"), 1, repr(done))
            refused += 1
        self.assertEqual(done.status, 0, "39 are enough")
        self.assertGreater(refused, 0, "3 are not")
        self.assert_nothing_left()


if __name__ == "__main__":
    main()
