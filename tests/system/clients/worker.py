#!/usr/bin/env python3
"""Runs the scenarios of one client with one runtime and prints what was seen, one JSON object a line.

usage: worker.py CLIENT RUNTIME IMAGE DIRECTORY [SCENARIO]...

Everything happens in mount, network and pid namespaces of its own, with an empty /run: clients keep files, locks, network
namespaces and firewall rules there, and none may reach the host. A client that lives in the open has only the network
namespace, for its ports and firewall rules.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from coppice_test import MARK, cgroup_mounts, our_processes, wait_until  # noqa: E402
from namespaces import MS_BIND, MS_REC, MS_SHARED, NEWNET, inside, mount, unshare  # noqa: E402
from clients import AUTO_RANGE, CLIENTS, SUBORDINATE, USER, Lacks  # noqa: E402
from scenarios import SCENARIOS  # noqa: E402


def prepare(directory):
    """Called in the new namespaces."""
    mount("none", "/", flags=MS_REC | MS_SHARED)  # as systemd has it, but among ourselves
    mount("tmpfs", "/run", "tmpfs", data="mode=755")
    mount("tmpfs", "/dev/shm", "tmpfs", data="mode=1777")  # podman's locks
    ranges = f"{AUTO_RANGE}cop:{SUBORDINATE}:65536\n"  # the second is the ordinary user
    accounts = {"passwd": pathlib.Path("/etc/passwd").read_text() + f"cop:x:{USER}:{USER}::{directory}:/bin/sh\n",
                "group": pathlib.Path("/etc/group").read_text() + f"cop:x:{USER}:\n", "subuid": ranges, "subgid": ranges}
    for file, text in accounts.items():
        path = directory / file
        path.write_text(text)
        if not os.path.exists(f"/etc/{file}"):
            raise OSError(f"/etc/{file} is missing: install uidmap")
        mount(str(path), f"/etc/{file}", flags=MS_BIND)


def tell(**values):
    print(json.dumps(values), flush=True)


def play(client, scenario):
    """All that one scenario saw: [what, got, expected]."""
    seen = []
    start = time.monotonic()
    outcome = {"seen": seen}
    try:
        scenario.act(client, lambda what, got, expected: seen.append([what, got, expected]))
    except Lacks as lack:
        outcome["lacks"] = str(lack)
    except Exception as error:  # noqa: BLE001: whatever a client does wrong is an outcome, and the others go on
        outcome["error"] = f"{type(error).__name__}: {error}"
    outcome["seconds"] = round(time.monotonic() - start, 1)
    return outcome


def own_cgroups():
    parents = (MARK, f"{MARK.partition('-')[0]}.slice/{MARK}.slice")
    return [path for point in cgroup_mounts() for parent in parents if os.path.isdir(path := os.path.join(point, parent))]


def remove_cgroups():
    for top in own_cgroups():
        for directory, _, _ in os.walk(top, topdown=False):
            try:
                os.rmdir(directory)
            except OSError:
                pass


def containers_left():
    """Cgroups of containers below ours; the parents that clients make for all containers stay with the clients."""
    return sorted({os.path.basename(base) for top in own_cgroups() for base, _, _ in os.walk(top)
                   if re.search(r"(^|-)[0-9a-f]{64}(\.scope)?$", os.path.basename(base))})


def main():
    client_name, runtime, image, directory, *wanted = sys.argv[1:]
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True)
    directory.chmod(0o755)
    client_class = CLIENTS[client_name]
    if client_class.lives_in_the_open:
        unshare(NEWNET)
        work(client_class, runtime, image, directory, wanted)
        sys.exit(0)

    def hidden():
        prepare(directory)
        work(client_class, runtime, image, directory, wanted)
    status = inside(hidden, NEWNET)
    remove_cgroups()
    sys.exit(status)


def work(client_class, runtime, image, directory, wanted):
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    try:
        client = client_class(directory, runtime, image)
    except OSError as error:
        tell(skipped=str(error))
        return
    except AssertionError as error:
        tell(scenario="set-up", seen=[], error=str(error), seconds=0)
        return
    try:
        for scenario in SCENARIOS:
            if client.sort not in scenario.sorts or wanted and scenario.name not in wanted:
                continue
            if scenario.clients and client.program not in scenario.clients:
                tell(scenario=scenario.name, seen=[], lacks=f"{client.program} has no such thing", seconds=0)
                continue
            tell(scenario=scenario.name, long=scenario.long, **play(client, scenario))
            client.remove_all()
    finally:
        client.close()
    wait_until(lambda: not our_processes() and not containers_left())
    left = [f"process {pid}: {line}" for pid, line in our_processes().items()]
    left += [f"cgroup {name}" for name in containers_left()]
    left += [f"entry of the state directory: {entry}" for entry in state_entries(runtime)]
    tell(scenario="leftovers", seen=[["left", left, []]], seconds=0)


def state_entries(runtime):
    for base in ("/run", "/run/user"):
        directory = os.path.join(base, os.path.basename(runtime))
        if os.path.isdir(directory):
            return [name for name in os.listdir(directory) if not name.startswith(".")]
    return []


if __name__ == "__main__":
    main()
