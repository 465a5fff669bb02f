#!/usr/bin/python3
"""What becomes of instances when the machine reboots, in the guest of `run --systemd --reboots`: `test reboot`.

This program is run again after each reboot; what it has to remember is on the scratch disk.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

SCRATCH = pathlib.Path("/scratch")
STAGE = SCRATCH / "stage"
UNITS = pathlib.Path("/run/systemd/system")
HERE = pathlib.Path(__file__).resolve().parent
PATIENCE = 180  # processors are emulated
# Counts its starts and says that it runs; asked to stop, it does.
COUNTS = 'trap "exit 0" TERM; echo x >> /starts; echo started; while :; do sleep 0.2; done'
LASTING = {"always": ["--restart", "always"], "unless-stopped": ["--restart", "unless-stopped"],
           "shared": ["--mode", "shared", "--restart", "always"]}
LEFT_ALONE = {"no": ["exited", "stopped"], "stopped": ["exited"], "undecided": ["undecided", "stopped"]}


def coppice(*words, status=0):
    done = subprocess.run(["coppice", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False)
    if done.returncode != status:
        raise AssertionError(f"coppice {' '.join(words)}: status {done.returncode}, not {status}: {done.stdout}{done.stderr}")
    return done.stdout


def expect(what, expected, got):
    if expected != got:
        raise AssertionError(f"{what}: expected {expected!r}, got {got!r}")
    print(f"ok: {what}", flush=True)


def wait_until(what, condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {PATIENCE} s")
        time.sleep(0.5)
    print(f"ok: {what}", flush=True)


def state(name):
    return json.loads(coppice("inspect", name))[0]["state"]


def starts(name):
    """As it counted them, inside, where its writes are."""
    done = subprocess.run(["coppice", "exec", name, "cat", "/starts"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=PATIENCE, check=False)
    return len(done.stdout.split()) if done.returncode == 0 else None  # it is just being started


def begin_daemon():
    """The service of the package, as it is at each boot where it is enabled."""
    UNITS.mkdir(parents=True, exist_ok=True)
    for unit in ("coppiced.socket", "coppiced.service"):
        text = (HERE / "units" / unit).read_text()
        (UNITS / unit).write_text(text.replace("ExecStart=coppiced", "ExecStart=/coppice/bin/coppiced"))
    subprocess.run(["systemctl", "daemon-reload"], check=True, timeout=PATIENCE)
    subprocess.run(["systemctl", "start", "coppiced.service"], check=True, timeout=PATIENCE)


def make_instances():
    tree = SCRATCH / "tree"
    for name in ("bin", "proc", "dev", "sys", "tmp", "etc"):
        (tree / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", tree / "bin/busybox")
    for name in ("sh", "sleep", "cat", "echo"):
        (tree / "bin" / name).symlink_to("busybox")
    (tree / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\n")
    coppice("vdisk", "import", "os", str(tree), "-q")
    for name, options in {**LASTING, "no": [], "undecided": ["--on-stop", "ask"], "stopped": ["--restart", "unless-stopped"]}.items():
        coppice("run", "-d", "--name", name, *options, "os", "--", "sh", "-c", COUNTS)
    coppice("run", "-d", "--rm", "--name", "gone", "os", "--", "sh", "-c", COUNTS)
    coppice("create", "--name", "never", "--restart", "always", "os", "--", "sh", "-c", COUNTS)
    coppice("stop", "stopped")
    for name in LASTING:
        wait_until(f"{name} runs", lambda name=name: coppice("logs", name) == "started\n")
    coppice("snapshot", "create", "always", "-m", "before the reboot")


def check_instances(boots):
    """@param boots: of the machine since they were made"""
    for name in LASTING:
        wait_until(f"{name} was started by its policy", lambda name=name: state(name) == "running")
    for name in ("always", "unless-stopped"):
        wait_until(f"{name} goes on with what it had written", lambda name=name: starts(name) == 1 + boots)
    wait_until("shared begins with the image", lambda: starts("shared") == 1)
    for name, states in LEFT_ALONE.items():
        expect(f"{name} is left alone", True, state(name) in states)
    expect("never was not started", "created", state("never"))
    expect("--rm has left nothing", ["always", "never", "no", "shared", "stopped", "undecided", "unless-stopped"],
           sorted(coppice("ps", "-aq").split()))
    expect("the snapshot is there", True, "before the reboot" in coppice("log", "always"))
    coppice("system", "fsck")
    found = subprocess.run(["coppice", "doctor"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False)
    expect("the doctor finds nothing left over", True, "leftovers of killed processes: 0" in found.stdout)


def reboot(stage, *command):
    STAGE.write_text(str(stage))
    os.sync()
    pathlib.Path("/run/reboots").touch()
    print(f"== {' '.join(command)}", flush=True)
    subprocess.run(command, check=True, timeout=PATIENCE)
    time.sleep(PATIENCE)
    raise AssertionError("the machine does not reboot")


def main():
    stage = int(STAGE.read_text()) if STAGE.exists() else 0
    print(f"== boot {stage}", flush=True)
    begin_daemon()
    if stage == 0:
        make_instances()
        reboot(1, "systemctl", "--no-block", "reboot")
    check_instances(stage)
    if stage == 1:
        coppice("exec", "always", "sh", "-c", "sync")
        reboot(2, "sh", "-c", "echo b > /proc/sysrq-trigger")  # as a power cut: nobody is told
    print("== done", flush=True)


if __name__ == "__main__":
    sys.exit(main())
