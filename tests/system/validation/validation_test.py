#!/usr/bin/env python3
"""The OCI runtime-tools validation programs against coppice-runtime.

Each program creates containers by itself. All run in mount and pid namespaces of their own: some programs mount over
bundles without one, and a runtime that fails must leave nothing on the host. `known-bad` lists what no runtime can pass.

usage: validation_test.py [PROGRAM]...      COPPICE_RUNTIME=/usr/sbin/runc tries another runtime, without the list

COPPICE_BESIDE="crun runc" takes these runtimes for the list: a program that fails has to fail with each of them.
COPPICE_VALIDATION_SUITE names the directory with the programs, where they cannot be built.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from coppice_test import MARK, PATIENCE, RUNTIME, SCRATCH, cgroup_mounts, environment, skip_all  # noqa: E402
from namespaces import inside  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
SECONDS = PATIENCE  # for one program; the slowest takes a few
OTHER = os.environ.get("COPPICE_RUNTIME")
BESIDE = os.environ.get("COPPICE_BESIDE", "").split()

# They print results only when something is wrong; all others print at least one "ok".
SILENT = {"hooks", "poststart", "poststart_fail", "poststop", "poststop_fail", "prestart", "prestart_fail", "process_rlimits_fail"}


def has_capability(name):
    numbers = {"cap_sys_resource": 24}
    bounding = re.search(r"CapBnd:\s*(\w+)", pathlib.Path("/proc/self/status").read_text())[1]
    return bool(int(bounding, 16) >> numbers[name] & 1)


def known_bad():
    found = {}
    for line in (HERE / "known-bad").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        program, condition, reason = re.fullmatch(r"(\w+)(?: unless (\S+))?: (.+)", line).groups()
        if condition and (has_capability(condition) if condition.startswith("cap_") else os.path.exists(condition)):
            continue
        found[program] = reason
    return found


def verdict(program, status, out, err):
    """None for a pass, "skip", or what is wrong."""
    results = re.findall(r"^(ok|not ok) \d+ - (.*)", out, re.MULTILINE)
    bad = [name for result, name in results if result == "not ok" and not name.endswith("# TODO")]
    if bad:
        return f"{len(bad)} of {len(results)} results are bad: {bad[0]}"
    if status != 0:
        return f"ended with {status}: {(err.strip().splitlines() or ['no message'])[-1]}"
    error = re.search(r'"error":"((?:[^"\\]|\\.)*)', out)
    if not results and error:
        return error[1]
    if not results and program not in SILENT:
        return "printed no result"
    if results and all("# SKIP" in name for _, name in results):
        return "skip"
    return None


def run_program(path, directory, runtime):
    start = time.monotonic()
    try:
        done = subprocess.run([path], cwd=directory / "work", stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                              timeout=SECONDS, check=False, env=environment({"RUNTIME": str(runtime), "TMPDIR": str(directory / "tmp")}))
        found = verdict(path.name, done.returncode, done.stdout, done.stderr)
        text = done.stdout + done.stderr
    except subprocess.TimeoutExpired as late:
        found, text = f"did not end within {SECONDS} seconds", (late.stdout or b"").decode() + (late.stderr or b"").decode()
    return found, text, time.monotonic() - start


def end_containers(state, runtime):
    """What a failed program left: containers, and the cgroups it asked for by an absolute path."""
    for name in os.listdir(state) if state.is_dir() else []:
        if not name.startswith("."):
            subprocess.run([runtime, "delete", "--force", name], check=False, timeout=SECONDS, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def main():
    if os.geteuid() != 0:
        skip_all("needs root")
    runtime = OTHER or RUNTIME
    if not os.access(runtime, os.X_OK):
        skip_all(f"{runtime} is missing; build it first")
    suite = os.environ.get("COPPICE_VALIDATION_SUITE")
    if not suite:
        built = subprocess.run([HERE / "build"], stdout=subprocess.PIPE, text=True, check=False)
        if built.returncode:
            sys.exit(built.returncode)
        suite = built.stdout.strip()
    suite = pathlib.Path(suite)
    for name in BESIDE:
        if not shutil.which(name):
            skip_all(f"{name} is missing: scripts/deps test")
    programs = sys.argv[1:] or sorted(os.listdir(suite / "programs"))

    directory = pathlib.Path(tempfile.mkdtemp(prefix=f"coppice-test-{MARK}-", dir=SCRATCH))
    directory.chmod(0o755)
    before = cgroups()
    status = inside(lambda: judge(programs, suite, directory, runtime))
    # Gone with the namespaces: whatever was mounted below, and all processes.
    if subprocess.run(["rm", "-rf", "--one-file-system", directory], check=False).returncode:
        status = 1
    left = cgroups() - before
    for path in sorted(left, reverse=True):
        print(f"removed: cgroup {path}, which a program asked for")
        for directory, _, _ in os.walk(path, topdown=False):
            os.rmdir(directory)  # fails while a process is in it
    sys.exit(status)


def cgroups():
    """Those that the programs ask for: below the default parent or by the names that they use. No runtime removes the
    parents in a path, and some programs end without a `delete`."""
    names = re.compile(r"^(runtime-tools|testdir|cgroupstest|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]+)$")
    own = {line.split(":", 2)[2] for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines()}  # relative ones are below it
    bases = {os.path.join(point, path.lstrip("/")) for point in cgroup_mounts() for path in ("/", *own)}
    return {os.path.join(base, name) for base in bases if os.path.isdir(base) for name in os.listdir(base) if names.match(name)}


class Runtime:
    """A runtime with a state directory of its own, to find again what a failed program leaves."""

    def __init__(self, program, directory):
        self.directory = directory
        self.state = directory / f"state-{os.path.basename(program)}"
        self.wrapper = directory / os.path.basename(program)
        self.wrapper.write_text(f'#!/bin/sh\nexec "{program}" --root "{self.state}" "$@"\n')
        self.wrapper.chmod(0o755)

    def run(self, program):
        outcome = run_program(program, self.directory, self.wrapper)
        end_containers(self.state, self.wrapper)
        return outcome


def fails_everywhere(beside):
    """What only we fail at is ours. A runtime beside with which a program skips says nothing for us."""
    return bool(beside) and not {"passes", "skip"} & set(beside.values())


def judge(programs, suite, directory, runtime):
    for name in ("work", "tmp"):
        (directory / name).mkdir()
    (directory / "tmp").chmod(0o1777)
    for file in suite.iterdir():
        if file.is_file():
            shutil.copy(file, directory / "work")
    judged, others = Runtime(runtime, directory), [Runtime(shutil.which(name), directory) for name in BESIDE]

    excused = {} if OTHER or BESIDE else known_bad()
    counts = dict.fromkeys(("pass", "skip", "known bad", "FAILED", "STALE"), 0)
    start = time.monotonic()
    for name in programs:
        program = suite / "programs" / name
        found, text, seconds = judged.run(program)
        beside = {}
        if found not in (None, "skip") and name not in excused:
            beside = {other.wrapper.name: other.run(program)[0] or "passes" for other in others}
            if not fails_everywhere(beside):
                # Some send a signal before their shell has set its trap, or look for what a process has written before
                # it had the time: what is the runtime's fault fails each time.
                for _ in range(3):
                    print(f"{name}: {found}; once more", flush=True)
                    found, text, seconds = judged.run(program)
                    if found in (None, "skip"):
                        break
        word, detail = "pass", ""
        if found == "skip":
            word = "skip"
        elif found and name in excused:
            word, detail = "known bad", excused[name]
        elif found:
            word = "known bad" if fails_everywhere(beside) else "FAILED"
            detail = "; ".join([found, *(f"{other}: {outcome}" for other, outcome in beside.items())])
        elif name in excused:
            word, detail = "STALE", "passes: take it off the list tests/system/validation/known-bad"
        counts[word] += 1
        print(f"{word:9} {name:34} {seconds:5.1f} s  {detail}".rstrip(), flush=True)
        if word == "FAILED":
            print("    " + "\n    ".join(text.strip().splitlines()[-15:]), flush=True)
    print(", ".join(f"{count} {word}" for word, count in counts.items()) + f", {time.monotonic() - start:.0f} s")
    return 1 if counts["FAILED"] or counts["STALE"] else 0


if __name__ == "__main__":
    main()
