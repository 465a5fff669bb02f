"""What the system tests share: a throw-away world with roots and a state directory, the commands, and the question
whether anything was left on the host.

A test program is a module with unittest classes that derive from `Case`; it ends with `coppice_test.main()`.
COPPICE_BIN names the directory with the programs (default: build/release/bin). COPPICE_LONG=1 asks for the long form.
"""

import atexit
import contextlib
import hashlib
import json
import os
import pathlib
import re
import secrets
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import unittest

SOURCE = pathlib.Path(__file__).resolve().parents[3]
BIN = pathlib.Path(os.environ.get("COPPICE_BIN", SOURCE / "build/release/bin")).resolve()
LONG = os.environ.get("COPPICE_LONG", "") not in ("", "0")
COPPICE, RUNTIME, SUPERVISOR = (str(BIN / name) for name in ("coppice", "coppice-runtime", "coppice-supervisor"))
PATIENCE = int(os.environ.get("COPPICE_PATIENCE", "60"))  # seconds after which a command counts as hung
SCRATCH = os.environ.get("COPPICE_SCRATCH", "/var/tmp")  # must be able to carry id-mapped mounts and overlay layers

# Part of every name we give; processes of ours carry it in their environment, too.
MARK = f"t{os.getpid()}-{os.urandom(2).hex()}"


def skip_all(reason):
    print(f"skipped: {reason}", flush=True)
    sys.exit(77)


def stop_ignoring_signals():
    """A shell has its background jobs ignore some; what we start would inherit that, and not hand such signals on."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGPIPE, signal.SIGXFSZ}:
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


class CountingResult(unittest.TextTestResult):
    """Knows how many tests did something: a class that is skipped as a whole is not among `testsRun`."""

    passed = 0

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed += 1


def main(programs=(COPPICE, RUNTIME, SUPERVISOR)):
    """Runs the tests of the calling module; 77 when nothing but skips came of it."""
    stop_ignoring_signals()
    if os.geteuid() != 0:
        skip_all("needs root")
    for program in programs:
        if not os.access(program, os.X_OK):
            skip_all(f"{program} is missing; build it first")
    runner = unittest.TextTestRunner(verbosity=2, resultclass=CountingResult)
    result = unittest.main(module="__main__", exit=False, verbosity=2, testRunner=runner).result
    for test, reason in result.skipped:
        reason = " ".join(reason.split())  # scripts/test takes each line of this form for a skip
        print(f"skipped: {test}: {reason}", flush=True)
    if not result.wasSuccessful():
        sys.exit(1)
    sys.exit(77 if result.skipped and not result.passed else 0)


# --- the world: made once per program, removed at its end


class World:
    def __init__(self):
        # No random name of tempfile: podman takes no path with "-_" in it for the place of an image.
        self.directory = pathlib.Path(SCRATCH) / f"coppice-test-{MARK}-{secrets.token_hex(4)}"
        self.directory.mkdir()
        self.directory.chmod(0o755)
        self.state = str(self.directory / "state")
        self.containers = str(self.directory / "containers")
        self._images = {}
        self._foreign = None
        self._owner = os.getpid()
        atexit.register(self.destroy)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):  # so that ctest's time limit cleans up as well
            signal.signal(number, lambda *_: sys.exit(1))

    def destroy(self):
        if os.getpid() != self._owner or not self.directory.exists():
            return
        end_everything(self)
        for line in reversed(mounts()):
            point = line.split()[4]
            if point.startswith(str(self.directory)):
                subprocess.run(["umount", "-l", point], stderr=subprocess.DEVNULL, check=False)
        shutil.rmtree(self.directory, ignore_errors=True)

    def path(self, name):
        return str(self.directory / name)

    def foreign_leftovers(self):
        """What `coppice doctor` found before our first test: left by others, for example by a test run that was killed."""
        if self._foreign is None:
            self._foreign = set(doctor_leftovers(self)[0])
        return self._foreign

    def tree(self, name="root"):
        """A small root directory with busybox; made at first use."""
        root = self.directory / name
        if not root.exists():
            make_tree(root)
        return str(root)

    def image(self):
        """The same tree as an EROFS image."""
        if "erofs" not in self._images:
            path = self.path("root.erofs")
            subprocess.run(["mkfs.erofs", "--quiet", path, self.tree()], check=True, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)
            self._images["erofs"] = path
        return self._images["erofs"]


def find_busybox():
    for path in ("/bin/busybox", "/usr/bin/busybox"):
        if os.access(path, os.X_OK):
            return path
    skip_all("needs busybox-static")


def make_tree(root):
    root = pathlib.Path(root)
    for name in ("bin", "dev", "etc", "home/user", "proc", "root", "sys", "tmp", "var", "mnt"):
        (root / name).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    shutil.copy(find_busybox(), root / "bin/busybox")
    applets = subprocess.run([find_busybox(), "--list"], capture_output=True, text=True, check=True).stdout.split()
    for applet in applets:
        if applet != "busybox":
            (root / "bin" / applet).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nuser:x:1000:\nextra:x:2000:user\n")
    (root / "etc/greeting").write_text("from the image\n")
    os.chown(root / "home/user", 1000, 1000)
    os.chown(root / "etc/greeting", 1000, 1000)
    (root / "bin/not-executable").write_text("#!/bin/sh\n")
    (root / "bin/not-executable").chmod(0o644)
    probe = find_helper("probe")
    shutil.copy(probe, root / "bin/probe")


def find_helper(name):
    """A small compiled program: built by CMake beside the other tests, or now."""
    for directory in (os.environ.get("COPPICE_HELPERS"), BIN.parent / "tests", BIN):
        if directory and os.access(pathlib.Path(directory) / name, os.X_OK):
            return str(pathlib.Path(directory) / name)
    source = next((SOURCE / "tests/system").glob(f"*/{name}.cpp"))
    if not shutil.which("g++"):
        skip_all(f"{name} was not built and there is no g++")
    directory = tempfile.mkdtemp(prefix="coppice-helper-", dir="/var/tmp")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    subprocess.run(["g++", "-std=c++20", "-O1", "-static", "-o", f"{directory}/{name}", source], check=True)
    os.environ["COPPICE_HELPERS"] = directory
    return f"{directory}/{name}"


_world = None


def world():
    global _world
    if _world is None:
        _world = World()
    return _world


# --- commands


def environment(extra=None):
    return {**os.environ, "COPPICE_TEST_MARK": MARK, "TERM": "xterm", **(extra or {})}


class Done:
    """A finished command."""

    def __init__(self, args, status, out, err):
        self.args, self.status, self.out, self.err = args, status, out, err

    def __repr__(self):
        return f"\n$ {' '.join(map(str, self.args))}\nstatus {self.status}\nout: {self.out!r}\nerr: {self.err!r}"


def execute(args, *, stdin=None, timeout=PATIENCE, env=None, text=True, **options):
    """Runs a command with its output captured. A hang is a failure of the test."""
    given = {"input": stdin.encode() if isinstance(stdin, str) else stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}
    # Files, not pipes: what a command leaves running on purpose would hold a pipe open.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        done = subprocess.run([str(arg) for arg in args], stdout=out, stderr=err, timeout=timeout, check=False,
                              env=environment(env), **given, **options)
        said = []
        for file in (out, err):
            file.seek(0)
            said.append(file.read().decode(errors="replace") if text else file.read())
    return Done(args, done.returncode, *said)


def coppice(*args, **options):
    return execute([COPPICE, "--root", world().state, *args], **options)


def runtime(*args, **options):
    return execute([RUNTIME, "--root", world().containers, *args], **options)


def start(*args, **options):
    """A `coppice` in the background, with pipes."""
    given = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.Popen([COPPICE, "--root", world().state, *map(str, args)], text=True, env=environment(), **given)


_counter = 0


def new_name(word="i"):
    global _counter
    _counter += 1
    return f"{MARK}-{word}{_counter}"


# --- what a host looks like


def mounts():
    return pathlib.Path("/proc/self/mountinfo").read_text(errors="replace").splitlines()


def wait_until(condition, seconds=PATIENCE / 6, pause=0.02):
    """True as soon as `condition` holds; False when it does not within the time."""
    end = time.monotonic() + seconds
    while True:
        if condition():
            return True
        if time.monotonic() > end:
            return False
        time.sleep(pause)


def pids():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def read_proc(pid, name):
    try:
        return pathlib.Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def our_processes():
    """Processes that carry our mark: in the environment, in the command line or as part of their cgroup's path."""
    found = {}
    mark = MARK.encode()
    for pid in pids():
        if pid == os.getpid() or pid == os.getppid():
            continue
        line = read_proc(pid, "cmdline")
        if (b"COPPICE_TEST_MARK=" + mark in read_proc(pid, "environ") or mark in line
                or mark in read_proc(pid, "cgroup")):
            state = read_proc(pid, "stat").rpartition(b") ")[2][:1]
            if state not in (b"Z", b"X", b""):  # a zombie is its parent's affair
                found[pid] = line.replace(b"\0", b" ").decode(errors="replace").strip() or read_proc(pid, "comm").decode()
    return found


def helpers_of_test(found):
    """Our own children that a test has not ended yet are no leftovers of coppice."""
    return {pid: line for pid, line in found.items() if b"python" not in read_proc(pid, "cmdline")[:80]}


def cgroup_mounts():
    points = []
    for line in mounts():
        left, _, right = line.partition(" - ")
        if right.split()[0] in ("cgroup", "cgroup2"):
            points.append(left.split()[4])
    return points


def our_cgroups():
    found = []
    for point in cgroup_mounts():
        for parent in (pathlib.Path(point) / "coppice", pathlib.Path(point) / "system.slice"):
            with contextlib.suppress(OSError):
                found += [str(parent / name) for name in os.listdir(parent) if MARK in name]
    return found


def our_units():
    """Scopes that systemd still knows, failed ones too."""
    if not os.path.isdir("/run/systemd/system"):
        return []
    listed = subprocess.run(["systemctl", "list-units", "--all", "--no-legend", "--plain", f"*{MARK}*"], capture_output=True, text=True, check=True)
    return listed.stdout.splitlines()


def cgroup_file(name, file, controller):
    """Path of a control file of an instance's cgroup, wherever this host keeps that controller."""
    for point in (f"/sys/fs/cgroup/{controller}", "/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
        for path in pathlib.Path(point).glob(f"coppice/{name}*/{file}"):  # the name may have a suffix for the state root
            if path.parent.name.split("@")[0] == name:
                return path
    return None


def is_cgroup_v2_only():
    return os.path.exists("/sys/fs/cgroup/cgroup.controllers")


def loop_devices():
    found = {}
    for block in os.listdir("/sys/block"):
        with contextlib.suppress(OSError):
            found[block] = pathlib.Path(f"/sys/block/{block}/loop/backing_file").read_text().strip()
    return found


def tree_listing(directory):
    """Paths below a directory, except what a working cache is allowed to keep there."""
    found = set()
    for base, directories, files in os.walk(directory):
        for name in directories + files:
            path = os.path.relpath(os.path.join(base, name), directory)
            if not re.fullmatch(r"(runtime/)?\.seccomp-\d+", path):
                found.add(path)
    return found


def leftovers(known_mounts=frozenset()):
    """All that we know to look for, in words. Empty when the host is as before."""
    found = []
    ours = helpers_of_test(our_processes())
    found += [f"process {pid}: {line}" for pid, line in ours.items()]
    found += [f"cgroup {path}" for path in our_cgroups()]
    found += [f"unit {line}" for line in our_units()]
    found += [f"mount {line}" for line in mounts() if line not in known_mounts and MARK in line]
    if _world is not None:
        found += [f"loop device {block}: {file}" for block, file in loop_devices().items() if MARK in file]
        for place in ("state/instances", "containers", "state/runtime"):
            directory = _world.directory / place
            for path in tree_listing(directory):
                if "/" not in path:
                    found.append(f"in {place}: {path}")
    return found


def end_everything(of_world):
    """Whatever a failed test left running."""
    for root in (of_world.containers, of_world.state + "/runtime"):
        if os.path.isdir(root):
            for name in os.listdir(root):
                if not name.startswith("."):
                    subprocess.run([RUNTIME, "--root", root, "delete", "--force", name], check=False, timeout=PATIENCE,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for pid in our_processes():
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not our_processes(), 5)
    for path in our_cgroups():
        with contextlib.suppress(OSError):
            os.rmdir(path)


def doctor_leftovers(place):
    """The lines of `coppice doctor` about leftovers, and how it ended."""
    done = coppice("doctor", "--runtime-root", place.containers)
    if "leftovers of killed processes: " not in done.out:
        raise AssertionError(f"the doctor says nothing about leftovers: {done}")
    below = done.out.split("leftovers of killed processes: ", 1)[1].splitlines()[1:]
    return [line for line in below if line.startswith("  ") and "->" not in line], [done]


class Case(unittest.TestCase):
    """A test that must leave the host as it found it."""

    maxDiff = None
    longMessage = True
    checks_host = True
    ignored_leftovers = ()

    def setUp(self):
        self.tree = world().tree()
        world().foreign_leftovers()
        self.known_mounts = set(mounts())
        self._before = set(leftovers(self.known_mounts))

    def tearDown(self):
        # Failed or not, the next test starts with an empty state.
        problems = self.leftovers_after(5) if self.checks_host else []
        if problems:
            end_everything(world())
            for place in ("state", "containers"):
                shutil.rmtree(world().path(place), ignore_errors=True)
            self.fail("left on the host:\n  " + "\n  ".join(problems))

    def leftovers_after(self, seconds):
        found = []

        def clean():
            found[:] = [item for item in leftovers(self.known_mounts) if item not in self._before]
            return not found

        wait_until(clean, seconds, 0.05)
        return found

    def assert_nothing_left(self, message="", seconds=5):
        self.assertEqual(self.leftovers_after(seconds), [], message)

    def assert_doctor_content(self, message=""):
        """`coppice doctor` finds nothing of ours. What others left or do on this host is not ours."""
        done = []

        def content():
            lines, done[:] = doctor_leftovers(world())
            if not lines:
                return done[0].status == 0 and "leftovers of killed processes: 0" in done[0].out
            lines = [line for line in lines if line not in world().foreign_leftovers()]
            return not [line for line in lines if not OTHERS_ALLOWED or MARK in line or world().state in line]

        self.assertTrue(wait_until(content, 5, 0.2), f"{message}{done[0]}")

    def assert_status(self, done, status):
        self.assertEqual(done.status, status, repr(done))

    def assert_ok(self, done):
        self.assert_status(done, 0)
        return done

    def assert_one_line(self, done, status, *words, program="coppice"):
        """The form of every failure: one line that names what, where and what to do."""
        self.assert_status(done, status)
        self.assertEqual(done.err.count("\n"), 1, f"not one line: {done}")
        self.assertTrue(done.err.endswith("\n"), repr(done))
        self.assertTrue(done.err.startswith(program + ":"), repr(done))
        for word in words:
            self.assertIn(word, done.err, repr(done))

    def run_in(self, *command, options=(), root=None, **more):
        """`coppice run --rm` with a name of ours."""
        return coppice("run", "--rm", "--name", new_name(), *options, root or self.tree, "--", *command, **more)

    def sh(self, script, options=(), root=None, **more):
        return self.run_in("sh", "-c", script, options=options, root=root, **more)

    def detached(self, *command, options=(), root=None, word="d"):
        """A detached instance that is removed at the end of the test."""
        name = new_name(word)
        self.assert_ok(coppice("run", "-d", "--name", name, *options, root or self.tree, "--", *(command or ("sleep", "1000"))))
        self.addCleanup(coppice, "rm", "-f", name)
        return name

    def run(self, result=None):
        # Cleanups come after tearDown in unittest; ours must come before the host is looked at.
        original = self.tearDown

        def ordered():
            self.doCleanups()
            original()

        self.tearDown = ordered
        return super().run(result)


# Set COPPICE_TEST_SHARED_HOST=1 where other people use coppice on this host at the same time.
OTHERS_ALLOWED = os.environ.get("COPPICE_TEST_SHARED_HOST", "") not in ("", "0")


def init_pid_below(root, name):
    return json.loads(pathlib.Path(f"{root}/runtime/{name}/state.json").read_text())["pid"]


def init_pid(name):
    return init_pid_below(world().state, name)


def hash_tree(directory):
    """Everything of a tree that a program could change."""
    digest = hashlib.sha256()
    for base, directories, files in os.walk(directory):
        directories.sort()
        for name in sorted(directories + files):
            path = os.path.join(base, name)
            status = os.lstat(path)
            digest.update(f"{path} {status.st_mode} {status.st_uid} {status.st_gid} {status.st_size} "
                          f"{status.st_mtime_ns} {status.st_nlink}\n".encode())
            if stat.S_ISREG(status.st_mode):
                digest.update(pathlib.Path(path).read_bytes())
            elif stat.S_ISLNK(status.st_mode):
                digest.update(os.readlink(path).encode())
            for attribute in os.listxattr(path, follow_symlinks=False):
                digest.update(attribute.encode())
    return digest.hexdigest()


def sha256_file(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()
