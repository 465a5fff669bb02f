"""Programs from Debian packages that are unpacked, not installed: installing a server would start it on the host."""

import fcntl
import hashlib
import os
import pathlib
import shutil
import subprocess
import tempfile

CACHE = pathlib.Path(os.environ.get("COPPICE_TEST_CACHE", "/var/tmp/coppice-test"))


def unpacked(*packages):
    """The directory with the files of these packages, or an OSError that says why there is none."""
    known = {}
    for package in packages:
        policy = subprocess.run(["apt-cache", "policy", package], capture_output=True, text=True, check=False,
                                env={**os.environ, "LC_ALL": "C"}).stdout
        version = next((line.split()[1] for line in policy.splitlines() if line.startswith("  Candidate:")), "(none)")
        if version == "(none)":
            raise OSError(f"apt knows no package {package}: run apt-get update")
        known[package] = version
    key = hashlib.sha256(repr(sorted(known.items())).encode()).hexdigest()[:16]
    target = CACHE / f"packages-{key}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "packages.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.is_dir():
            return target
        work = pathlib.Path(tempfile.mkdtemp(prefix="packages-", dir=CACHE))
        try:
            done = subprocess.run(["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", *(f"{name}={version}" for name, version in known.items())],
                                  cwd=work, capture_output=True, text=True, check=False)
            if done.returncode:
                raise OSError(f"cannot download {' '.join(packages)}: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}")
            for file in work.glob("*.deb"):
                subprocess.run(["dpkg-deb", "-x", file, work / "root"], check=True)
            (work / "root").rename(target)
        finally:
            shutil.rmtree(work)
    return target
