"""Coppice and podman as the benchmarks of instances use them: all of their state is below the work directory."""

import contextlib
import os
import pathlib
import subprocess
import time

from harness import PROGRAMS, Connection, Unavailable, find_program, last_line

IMAGE = "bench"
PATIENCE_SECONDS = 120
ULIMITS = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]  # need no rights beyond root's usual ones


def run(*command):
    done = subprocess.run([str(word) for word in command], check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise Unavailable(f"{' '.join(map(str, command))}: {last_line(done.stderr)}")
    return done.stdout


def wait_until(question, what):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not question():
        if time.monotonic() > deadline:
            raise Unavailable(f"in vain waited for {PATIENCE_SECONDS} s: {what}")
        time.sleep(0.005)


class Coppice:
    """A daemon of its own, in a session of its own: Ctrl-C is for us, who clean up first."""

    def __init__(self, work):
        self.root = work / "coppice"
        self.root.mkdir()
        self.command = [PROGRAMS / "coppice", "--root", self.root]
        with open(work / "coppiced.log", "ab") as log:
            self.process = subprocess.Popen([PROGRAMS / "coppiced", "--root", self.root], stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, start_new_session=True)
        try:
            wait_until(self._answers, "coppiced")
        except BaseException:
            self.close()
            raise

    def _answers(self):
        if self.process.poll() is not None:
            raise Unavailable(f"coppiced has ended: {last_line((self.root.parent / 'coppiced.log').read_text())}")
        try:
            return self.ask("GET", "/v1")
        except OSError:
            return False

    def run(self, *words):
        return run(*self.command, *words)

    def import_root(self, root, name=IMAGE):
        self.run("vdisk", "import", name, root, "-q")

    def options(self, limits):
        """Those of a run; `limits` maps memory, cpus, pids."""
        return [*ULIMITS, *(f"--{key}={value}" for key, value in limits.items())]

    def connect(self):
        return Connection(self.root / "coppiced.sock")

    def ask(self, *request):
        """By a connection of its own: the daemon closes one that is idle for long."""
        with contextlib.closing(self.connect()) as api:
            return api.ask(*request)

    def wait_for_end(self, name):
        wait_until(lambda: self.ask("GET", f"/v1/instances/{name}")["state"] == "exited", f"the end of {name}")

    def remove_all(self):
        names = self.run("ps", "-aq").split()
        if names:
            self.run("rm", "-f", *names)

    def settle_store(self):
        """Sealing goes on in the background, and would take half of the machine."""
        wait_until(lambda: all(one["state"] == "sealed" for one in self.ask("GET", "/v1/snapshots")), "snapshots to be sealed")

    def drop_all(self):
        """All instances, and the snapshots that were made of them."""
        self.remove_all()
        for one in self.ask("GET", "/v1/snapshots"):
            if not one["versions"]:
                self.run("snapshot", "rm", one["id"])

    def _has_removed_all(self):
        try:
            self.remove_all()
            return True
        except Unavailable:
            return False  # `rm -f` may meet one that is just ending

    def close(self):
        """Also after the daemon's own death: the commands start another one."""
        try:
            wait_until(self._has_removed_all, "the instances to be removed")
            self.run("system", "shutdown")
        finally:
            self.process.terminate()
            self.process.wait()


class Podman:
    """crun where that works, else runc; its own storage, with overlayfs."""

    def __init__(self, work, root, probe):
        """`probe` is a program that ends by itself."""
        self.work = work
        config = work / "containers.conf"
        config.touch()
        os.environ["CONTAINERS_CONF"] = str(config)
        self.runtime, reason = None, None
        archive = work / "root.tar"
        run("tar", "-C", root, "-cf", archive, ".")
        try:
            for self.runtime in ("crun", "runc"):
                try:
                    run(*self.command, "import", archive, IMAGE)
                    run(*self.command, "run", "--rm", *self.options({}), IMAGE, *probe)
                    self.driver = run(*self.command, "info", "--format", "{{.Store.GraphDriverName}}").strip()
                    return
                except Unavailable as why:
                    reason = why
            raise reason
        except BaseException:
            self.close()
            raise
        finally:
            archive.unlink()

    @property
    def command(self):
        return [find_program("podman"), "--root", self.work / "podman", "--runroot", self.work / "podman-run", "--tmpdir",
                self.work / "podman-tmp", "--storage-driver", "overlay", "--cgroup-manager", "cgroupfs",
                "--events-backend", "file", "--runtime", self.runtime]

    def run(self, *words):
        return run(*self.command, *words)

    def options(self, limits):
        names = {"pids": "pids-limit"}
        return ["--network", "none", *ULIMITS, *(f"--{names.get(key, key)}={value}" for key, value in limits.items())]

    def remove_all(self):
        self.run("rm", "--all", "--force", "--time", "0")

    def close(self):
        """Its helpers go on for a while after a container's end, and mount the storage once more."""
        try:
            self.remove_all()
        except Unavailable:
            pass  # there may be none yet; what is left is seen below
        os.environ.pop("CONTAINERS_CONF", None)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            with open("/proc/self/mountinfo", encoding="utf-8") as file:
                targets = [line.split()[4] for line in file]
            for target in sorted((one for one in targets if one.startswith(f"{self.work}/podman")), reverse=True):
                subprocess.run(["umount", "--lazy", target], check=False)
            removed = subprocess.run(["rm", "-rf", "--one-file-system", self.work / "podman", self.work / "podman-run"],
                                     capture_output=True, text=True, check=False)
            if removed.returncode == 0:
                return
            if time.monotonic() > deadline:
                raise Unavailable(f"podman's storage cannot be removed: {last_line(removed.stderr)}")
            time.sleep(0.2)


def children():
    """Processes by their parents."""
    found = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found.setdefault(int((entry / "stat").read_text().rpartition(")")[2].split()[1]), []).append(int(entry.name))
            except OSError:
                pass  # it has ended
    return found


def pss_kib(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Pss:"))
