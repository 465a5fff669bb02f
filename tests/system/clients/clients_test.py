#!/usr/bin/env python3
"""Real clients drive coppice-runtime, and runc beside it: what they see must be the same.

usage: clients_test.py CLIENT... [SCENARIO]...
    clients: podman, systemd (podman with systemd's cgroups), rootless (podman of a user), buildah, containerd, docker

Each client plays the scenarios of scenarios.py twice at once: with runc and with coppice-runtime (worker.py). A value
is good if it is what runc gives. Where runc does not give what was expected, ours must be as expected or as runc's;
both are said. COPPICE_LONG=1 plays all scenarios; by default those marked `long` are left out. COPPICE_BESIDE=crun takes
another runtime than runc.
"""

import itertools
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from coppice_test import LONG, MARK, RUNTIME, environment, make_tree, skip_all, world  # noqa: E402
from clients import CLIENTS  # noqa: E402
from image import save_image  # noqa: E402
from packages import unpacked  # noqa: E402
from scenarios import SCENARIOS  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
BESIDE = os.environ.get("COPPICE_BESIDE", "runc")
RUNTIMES = {"ours": RUNTIME, BESIDE: shutil.which(BESIDE)}


def play(client, names):
    """Yields what the workers told: (with our runtime, with runc), scenario by scenario."""
    workers = []
    for label, runtime in RUNTIMES.items():
        directory = world().path(f"{client}-{label}")
        with open(f"{directory}.err", "wb") as log:
            workers.append(subprocess.Popen([HERE / "worker.py", client, runtime, world().path("image.tar"), directory, *names], stdin=subprocess.DEVNULL,
                                            stdout=subprocess.PIPE, stderr=log, text=True, env=environment()))
    try:
        for ours, theirs in itertools.zip_longest(*(worker.stdout for worker in workers)):
            yield json.loads(ours) if ours else None, json.loads(theirs) if theirs else {}
        for label, worker in zip(RUNTIMES, workers):
            if worker.wait() != 0:
                text = pathlib.Path(world().path(f"{client}-{label}.err")).read_text(errors="replace")
                yield {"scenario": f"worker with {label}", "seen": [], "error": f"ended with {worker.returncode}: {text[-1500:]}", "seconds": 0}, {}
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def judge(ours, theirs):
    """Failures and remarks of one scenario."""
    failures, remarks = [], []
    reference = {what: got for what, got, _ in theirs.get("seen", ())}
    for what, got, expected in ours["seen"]:
        beside = reference.get(what, "nothing")
        if got == expected:
            if beside != expected:
                remarks.append(f"{what}: as expected; with {BESIDE} {beside!r}")
        elif got == beside:
            remarks.append(f"{what}: as with {BESIDE}, but not as expected: {got!r} instead of {expected!r}")
        else:
            failures.append(f"{what}: {got!r}\n        expected {expected!r}, with {BESIDE} {beside!r}")
    if "error" in ours:
        failures.append(f"{ours['error'].strip()}\n        with {BESIDE}: {theirs.get('error', 'no error').strip()}")
    elif "error" in theirs:
        remarks.append(f"with {BESIDE}: {theirs['error'].strip()}")
    return failures, remarks


def report(client, names):
    """Plays and prints; returns how many scenarios were played, how many failed, and the reason if the client cannot be had."""
    try:
        if CLIENTS[client].packages:
            unpacked(*CLIENTS[client].packages)  # now: the workers have no network
        CLIENTS[client].set_up_machine(RUNTIMES, world().path("image.tar"))
    except OSError as error:
        return 0, 0, str(error)
    count = failed = 0
    for ours, theirs in play(client, names):
        if ours is None:
            continue
        if "skipped" in ours:
            return 0, 0, ours["skipped"]
        if "lacks" in ours:
            print(f"lacks    {client:10} {ours['scenario']:24} {ours['lacks']}", flush=True)
            continue
        failures, remarks = judge(ours, theirs)
        count += 1
        failed += bool(failures)
        print(f"{'FAILED' if failures else 'ok':8} {client:10} {ours['scenario']:24} {ours['seconds']:5.1f} s, {BESIDE} {theirs.get('seconds', 0):5.1f} s", flush=True)
        for word, said in (("failed", failures), ("note", remarks)):
            for line in said:
                print(f"    {word}: {line}", flush=True)
    return count, failed, None


def main():
    if os.geteuid() != 0:
        skip_all("needs root")
    if not os.access(RUNTIME, os.X_OK):
        skip_all(f"{RUNTIME} is missing; build it first")
    if not RUNTIMES[BESIDE]:
        skip_all(f"{BESIDE} is missing: scripts/deps test")
    clients = [word for word in sys.argv[1:] if word in CLIENTS] or list(CLIENTS)
    names = [word for word in sys.argv[1:] if word not in CLIENTS]
    known = {scenario.name for scenario in SCENARIOS}
    for name in names:
        if name not in known:
            sys.exit(f"no client and no scenario {name}; scenarios: {' '.join(sorted(known))}")
    if not names:
        names = [scenario.name for scenario in SCENARIOS if LONG or not scenario.long]
    save_image(world().tree(), world().path("image.tar"))
    skipped, failed, count = [], 0, 0
    for client in clients:
        start = time.monotonic()
        played, bad, reason = report(client, names)
        if reason:
            skipped.append(client)
            print(f"skipped: {client}: {reason}", flush=True)
        else:
            print(f"         {client}: {played} scenarios, {bad} failed, {time.monotonic() - start:.0f} s", flush=True)
        count, failed = count + played, failed + bad
    sys.exit(1 if failed else 77 if len(skipped) == len(clients) else 0)


if __name__ == "__main__":
    main()
