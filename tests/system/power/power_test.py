#!/usr/bin/env python3
"""Pulls the plug of a machine that works on a store, again and again, and looks whether anything acknowledged is lost.

The machine is a user-mode Linux; its only program (power_worker) says each acknowledgement before it goes on. It is
killed at random moments, and right after acknowledgements; then its disk loses what a disk may lose that was not told to
flush (volatile_disk.cpp, cut.py). The next life of the machine mounts the same image, which replays ext4's journal,
recovers, and compares with everything that was said in all lives before.

    power_test.py                 20 cuts and the control, a few minutes
    power_test.py --long [CUTS]   200
    power_test.py --control       only the control: a worker that never syncs must be found out

The seed of a run is printed; --seed N repeats its choices, though not its moments.
"""

import argparse
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import cut  # noqa: E402

SOURCE = HERE.parents[2]
HELPERS = pathlib.Path(os.environ.get("COPPICE_HELPERS") or pathlib.Path(os.environ.get("COPPICE_BIN", SOURCE / "build/release/bin")).resolve().parent / "tests")
KERNEL = shutil.which("linux.uml")
MODULES = pathlib.Path("/usr/lib/uml/modules")
IMAGE_BYTES = 384 << 20
MOST_SECONDS_TO_CHECK = 90
BEFORE_READY = 0.1  # share of cuts that come while the machine still recovers
AFTER_WORD = 0.45  # share that comes right after an acknowledgement
MOST_SECONDS_OF_WORK = 4.0


class Lost(Exception):
    """The worker found something that is not as it was acknowledged."""


class Machine:
    """One life: from power on to the cut."""

    def __init__(self, directory, worker, seed):
        self.lines, self.first_bad, self.ready, self.ended = [], None, threading.Event(), threading.Event()
        self._changed = threading.Condition()
        environment = {"PATH": os.environ["PATH"], "HOME": str(directory), "TMPDIR": "/dev/shm", "LD_PRELOAD": str(HELPERS / "volatile_disk.so"), "COPPICE_DISK": str(directory / "share/disk"), "COPPICE_DISK_NOTES": str(directory / "notes")}
        command = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", KERNEL, "mem=256M", f"uml_dir={directory}/uml", "root=/dev/root", "rootfstype=hostfs", f"rootflags={directory}/root", "ro", f"init=/{worker}", "con=null", "con0=null,fd:1", "quiet", "loglevel=3", "panic=-1", "--", str(seed), f"{directory}/share"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, start_new_session=True)
        self.log = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        for raw in self.process.stdout:
            line = raw.decode(errors="replace").strip()
            with self._changed:
                self.log.append(line)
                if line.startswith("@ "):
                    self.lines.append(line[2:])
                    if line.startswith("@ BAD") and not self.first_bad:
                        self.first_bad = line[2:]
                    if line == "@ ready":
                        self.ready.set()
                self._changed.notify_all()
        self.ended.set()
        with self._changed:
            self._changed.notify_all()

    def wait(self, condition, seconds):
        with self._changed:
            return self._changed.wait_for(lambda: condition() or self.first_bad or self.ended.is_set(), seconds)

    def cut(self):
        """All processes at once: the namespace goes with its first process. What they said until then counts."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        if not self.ended.wait(30):
            raise RuntimeError("the machine's processes do not end")


class Disk:
    """The image and what was acknowledged on it, over many lives."""

    def __init__(self, worker, seed):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="coppice-power-", dir=os.environ.get("COPPICE_SCRATCH", "/var/tmp")))
        self.random, self.worker, self.lives, self.counts = random.Random(seed), worker, 0, {}
        self.image = self.directory / "share/disk"
        for name in ("root/proc", "root/tmp", "root/disk", "root/dev", "root/share", "share"):
            (self.directory / name).mkdir(parents=True)
        shutil.copy(HELPERS / worker, self.directory / "root" / worker)
        shutil.copy(next(MODULES.glob("*/kernel/drivers/block/loop.ko")), self.directory / "root")
        self.ledger = self.directory / "root/ledger"
        self.ledger.write_text("")
        with open(self.image, "wb") as file:
            file.truncate(IMAGE_BYTES)
        subprocess.run(["mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(self.image)], check=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.directory)

    def count(self, what, number=1):
        self.counts[what] = self.counts.get(what, 0) + number

    def wait_for_unflushed(self, machine):
        """On a quick machine the disk's cache is empty most of the time: a cut then takes nothing back."""
        notes, deadline = self.directory / "notes", time.monotonic() + 3
        while not machine.ended.is_set() and time.monotonic() < deadline:
            if notes.exists() and notes.stat().st_size > 0:
                return
            time.sleep(0.0002)

    def mend_superblock(self):
        """The file system's own block of two sectors may have been torn: then no kernel mounts it, and every machine mends
        that as it starts, from one of the copies. That is all that is mended: the journal is the kernel's business."""
        if subprocess.run(["dumpe2fs", "-h", self.image], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0:
            return
        mended = subprocess.run(["e2fsck", "-fy", self.image], capture_output=True, text=True, check=False)
        if mended.returncode not in (0, 1):
            raise RuntimeError(f"the file system cannot be mended: {mended.stdout} {mended.stderr}")
        self.count("torn superblocks mended")

    def one_life(self):
        """Power on, check, work, cut. Raises Lost."""
        self.lives += 1
        machine = Machine(self.directory, self.worker, self.random.randrange(1 << 32))
        kind = self.random.random()
        try:
            if kind < BEFORE_READY and self.lives > 1:
                machine.wait(lambda: "mounted" in machine.lines, 30)
                machine.wait(machine.ready.is_set, self.random.random() * 0.5)
            else:
                machine.wait(machine.ready.is_set, MOST_SECONDS_TO_CHECK)
                if not machine.ready.is_set() and not machine.first_bad:
                    raise RuntimeError(f"the machine did not become ready: {machine.log[-20:]}")
                begin = len(machine.lines)
                if kind < BEFORE_READY + AFTER_WORD:
                    word, number = self.random.choice(("durable", "sealed", "removed", "tag", "version", "working", "snapshot")), self.random.randrange(1, 6)
                    machine.wait(lambda: sum(line.split()[0] == word for line in machine.lines[begin:]) >= number, MOST_SECONDS_OF_WORK * 2)
                else:
                    machine.wait(lambda: False, self.random.random() * MOST_SECONDS_OF_WORK)
                    self.wait_for_unflushed(machine)
        finally:
            machine.cut()
        if machine.first_bad:
            raise Lost("; ".join(line for line in machine.lines if line.startswith("BAD"))[:2000])
        with self.ledger.open("a") as file:
            for line in machine.lines:
                file.write(line + "\n")
        way, writes, sectors = cut.cut(self.image, self.directory / "notes", self.random)
        self.mend_superblock()
        for line in machine.lines:
            words = line.split()
            if words[0] in ("snapshot", "durable", "sealed", "removed"):
                self.count(words[0])
            if words[0] in ("compared", "doubtful", "acknowledged"):
                for name, number in zip(words[::2], words[1::2]):
                    self.count(name, int(number))
        self.count("writes in the disk's cache at a cut", writes)
        self.count("sectors taken back", sectors)
        return f"life {self.lives}: {len(machine.lines)} lines, cut with {writes} writes in the cache ({way}: {sectors} sectors lost)"


def run(worker, cuts, seed, quiet=False):
    with Disk(worker, seed) as disk:
        try:
            for _ in range(cuts):
                said = disk.one_life()
                if not quiet:
                    print(said, flush=True)
            # One more, only to look.
            machine = Machine(disk.directory, worker, 1)
            machine.wait(machine.ready.is_set, MOST_SECONDS_TO_CHECK)
            machine.cut()
            if machine.first_bad:
                raise Lost(machine.first_bad)
            if not machine.ready.is_set():
                raise RuntimeError(f"the machine did not become ready: {machine.log[-20:]}")
        finally:
            print(", ".join(f"{name}: {number}" for name, number in disk.counts.items()), flush=True)
        return disk.counts


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--long", type=int, nargs="?", const=200, default=0, metavar="CUTS")
    parser.add_argument("--control", action="store_true")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "little"))
    options = parser.parse_args()
    if KERNEL is None or os.geteuid() != 0:
        print(f"skipped: needs {'linux.uml (package user-mode-linux)' if KERNEL is None else 'root'}")
        sys.exit(77)
    for name in ("power_worker", "power_worker_no_sync", "volatile_disk.so"):
        if not (HELPERS / name).exists():
            print(f"skipped: {name} is missing; build it first")
            sys.exit(77)
    print(f"seed {options.seed}", flush=True)
    begin = time.monotonic()
    if not options.control:
        cuts = options.long or (200 if os.environ.get("COPPICE_LONG", "0") != "0" else 20)
        counts = run("power_worker", cuts, options.seed)
        for name in ("snapshot", "durable", "sealed", "removed", "compared", "sectors taken back"):
            if counts.get(name, 0) == 0:
                sys.exit(f"FAILED: {cuts} cuts, and nothing was counted as '{name}'")
        print(f"{cuts} cuts in {time.monotonic() - begin:.0f} s: nothing acknowledged was lost", flush=True)
    for attempt in range(8):
        try:
            run("power_worker_no_sync", 5, options.seed + attempt, quiet=True)
        except Lost as lost:
            print(f"the control is found out: {str(lost)[:300]}")
            return
    sys.exit("FAILED: a worker that never syncs was not found out: this test sees nothing")


if __name__ == "__main__":
    main()
