"""What the benchmarks have in common: compiling helpers, running the driver, statistics, tables."""

import collections
import datetime
import http.client
import json
import os
import pathlib
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

SOURCE = pathlib.Path(__file__).resolve().parent
PROGRAMS = pathlib.Path(os.environ.get("COPPICE_BIN", SOURCE.parent / "build/release/bin")).resolve()

STATIC_TRUE = "int main(void) { return 0; }\n"


class Unavailable(Exception):
    """A contender cannot run here; the text says why."""


Contender = collections.namedtuple("Contender", "name steps hide_unified", defaults=(False,))
Rated = collections.namedtuple("Rated", "per_second runs_us")
Measured = collections.namedtuple("Measured", "totals steps resident_kib")


def quit_with(message):
    sys.exit(f"{os.path.basename(sys.argv[0])}: {message}")


def work_directory():
    """On a disk (not a tmpfs: overlayfs and id-mapped mounts differ there); removed at the end, SIGTERM's included."""
    signal.signal(signal.SIGTERM, lambda *_: quit_with("ended by SIGTERM"))
    return tempfile.TemporaryDirectory(prefix="coppice-bench-", dir=os.environ.get("COPPICE_BENCH_DIR", "/var/tmp"))


def compile_c(source, output):
    """Static, so that the driver's own memory, which children start from, stays below theirs."""
    subprocess.run(["cc", "-O2", "-Wall", "-static", "-o", output, "-x", "c", source], check=True)
    return output


def find_program(name):
    found = shutil.which(name)
    if found is None:
        raise Unavailable(f"{name} is not installed")
    return found


def make_bundle(directory, root, program="/bin/true", resources=None, seccomp=None, readonly=True):
    """`runc spec`, with a program in place of a shell: the same for all runtimes. `seccomp` makes a filter of capabilities."""
    directory.mkdir()
    subprocess.run([find_program("runc"), "spec"], cwd=directory, check=True)
    path = directory / "config.json"
    config = json.loads(path.read_text())
    config["process"].update(terminal=False, args=program.split())
    config["root"] = {"path": str(root), "readonly": readonly}
    config["linux"]["resources"].update(resources or {})
    if seccomp:
        config["linux"]["seccomp"] = seccomp(set(config["process"]["capabilities"]["bounding"]))
    path.write_text(json.dumps(config))
    return directory


class Connection(http.client.HTTPConnection):
    """A client of coppiced, which keeps its connection."""

    def __init__(self, path):
        super().__init__("localhost")
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        try:
            self.sock.connect(str(self.path))
        except OSError:
            self.close()
            raise

    def ask(self, method, target, body=None):
        """The answer's object, or text, of a request that is done when it is answered."""
        headers = {} if body is None else {"content-type": "application/json"}
        self.request(method, target, None if body is None else json.dumps(body), headers)
        answer = self.getresponse()
        text = answer.read().decode()
        if answer.status not in (200, 201, 204):
            raise Unavailable(f"{method} {target}: {answer.status} {text.strip()}")
        return json.loads(text) if "json" in answer.headers.get("content-type", "") else text


def last_line(text):
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no message"


class Driver:
    def __init__(self, work):
        self.work = pathlib.Path(work)
        self.program = str(compile_c(SOURCE / "driver.c", self.work / "driver"))
        self.missing = {}  # name: reason

    def _run(self, contenders, *options):
        tasks = []
        for one in contenders:
            tasks.append("\t".join(["contender", one.name] + (["hide-unified"] if one.hide_unified else [])))
            tasks += ["\t".join(["step", *map(str, step)]) for step in one.steps]
        done = subprocess.run([self.program, *map(str, options)], input="\n".join(tasks) + "\n", text=True,
                              capture_output=True, check=False)
        if done.returncode != 0:
            raise Unavailable(" / ".join(line.strip() for line in done.stderr.splitlines()[-2:]) or f"exit {done.returncode}")
        return [line.split("\t") for line in done.stdout.splitlines()]

    def available(self, contenders):
        """Those that run here; the others' reasons go to `missing`."""
        usable = []
        for one in contenders:
            try:
                self._run([one], "-n", 1, "-w", 0)
                usable.append(one)
            except Unavailable as why:
                self.missing[one.name] = str(why)
        return usable

    def measure(self, contenders, rounds, pause_ms=0):
        """By turns, so that a busy moment of the machine hits everyone."""
        collected = {}
        for name, total, resident, *steps in self._run(contenders, "-n", rounds, "-p", pause_ms):
            entry = collected.setdefault(name, Measured([], [[] for _ in steps], []))
            entry.totals.append(int(total))
            entry.resident_kib.append(int(resident))
            for durations, step in zip(entry.steps, steps):
                durations.append(int(step))
        return collected

    def rates(self, contenders, count, jobs, repetitions):
        """Runs per second of wall-clock time with `jobs` at once, and each run's time in their order, for each repetition."""
        collected = {}
        for _ in range(repetitions):
            for name, wall_us, *runs_us in self._run(contenders, "-n", count, "-j", jobs):
                entry = collected.setdefault(name, Rated([], []))
                entry.per_second.append(len(runs_us) * 1e6 / int(wall_us))
                entry.runs_us.append([int(one) for one in runs_us])
        return collected


def quantile(values, fraction):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(fraction * (len(ordered) - 1)))]


def median(values):
    return quantile(values, 0.5)


def table(header, rows):
    """Markdown, the columns in line."""
    cells = [list(map(str, row)) for row in [header, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in cells]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    print("\n".join(lines) + "\n", flush=True)


def table_of_times(measured, reference, step_names=()):
    def ms(values):
        return f"{median(values) / 1000:.1f}"

    base = median(measured[reference].totals) if reference in measured else None
    rows = []
    for name, entry in sorted(measured.items(), key=lambda item: median(item[1].totals)):
        rows.append([name, f"{median(entry.totals) / base:.2f}" if base else "-", ms(entry.totals),
                     f"{quantile(entry.totals, 0.1) / 1000:.1f}-{quantile(entry.totals, 0.9) / 1000:.1f}",
                     *([ms(step) for step in entry.steps] if len(entry.steps) == len(step_names) else ["-"] * len(step_names)),
                     f"{max(entry.resident_kib) / 1024:.1f}"])
    table(["", f"{reference} = 1", "median ms", "p10-p90", *step_names, "peak MiB"], rows)


def table_of_rates(rates, reference):
    base = median(rates[reference].per_second) if reference in rates else None
    rows = [[name, f"{median(entry.per_second) / base:.2f}" if base else "-", f"{median(entry.per_second):.0f}",
             f"{min(entry.per_second):.0f}-{max(entry.per_second):.0f}",
             f"{median([quantile(runs, 0.99) for runs in entry.runs_us]) / 1000:.1f}"]
            for name, entry in sorted(rates.items(), key=lambda item: -median(item[1].per_second))]
    table(["", f"{reference} = 1", "per second", "lowest-highest", "p99 ms"], rows)


def version_of(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return last_line("\n".join((done.stdout + done.stderr).splitlines()[:1]))
    except OSError:
        return f"{command[0]} is not installed"


def print_machine(*commands):
    cgroups = "hybrid" if os.path.isdir("/sys/fs/cgroup/unified") else \
        "v2" if os.path.exists("/sys/fs/cgroup/cgroup.controllers") else "v1"
    print(f"{datetime.date.today()}, kernel {platform.release()}, {os.cpu_count()} CPUs, cgroups {cgroups}, "
          f"load average {os.getloadavg()[0]:.1f}")
    print("; ".join(version_of(*command) for command in commands) + "\n")


def print_missing(driver):
    for name, reason in driver.missing.items():
        print(f"{name}: not available: {reason}")
    if driver.missing:
        print()
