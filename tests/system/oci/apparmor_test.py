#!/usr/bin/env python3
"""coppice-runtime on a kernel with AppArmor: a profile of the container, one of `exec`, one that nobody loaded.

It loads a profile into the kernel, so that it is meant for the machine of tests/system/guest.
"""

import os
import pathlib
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from coppice_test import MARK, main, runtime, skip_all  # noqa: E402
from oci_test import PROGRAM, OciCase  # noqa: E402

PROFILE = f"coppice-test-{MARK}"
# All is allowed but one file.
TEXT = f"""
profile {PROFILE} flags=(attach_disconnected, mediate_deleted) {{
  file,
  capability,
  network,
  mount,
  umount,
  signal,
  ptrace,
  unix,
  deny /etc/greeting r,
}}
"""
LOOK = "cat /proc/self/attr/current; cat /etc/greeting 2>&1"
CONFINED = [f"{PROFILE} (enforce)", "cat: can't open '/etc/greeting': Permission denied"]
FREE = ["unconfined", "from the image"]


def parser(option):
    subprocess.run(["apparmor_parser", "--quiet", "--skip-cache", option], input=TEXT, text=True, check=True)


def confined(config):
    config["process"]["apparmorProfile"] = PROFILE


class AppArmor(OciCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        parser("--add")
        cls.addClassCleanup(parser, "--remove")

    def test_profile_of_the_container(self):
        done = self.run_bundle(["sh", "-c", LOOK], confined)
        self.assertEqual(done.out.splitlines(), CONFINED, repr(done))
        self.assertEqual(self.run_bundle(["sh", "-c", LOOK]).out.splitlines(), FREE)

    def test_exec_takes_the_profile_of_the_container(self):
        name = self.started(change=confined)
        self.assertEqual(runtime("exec", name, "sh", "-c", LOOK).out.splitlines(), CONFINED)

    def test_profile_of_exec(self):
        name = self.started()
        self.assertEqual(runtime("exec", name, "sh", "-c", LOOK).out.splitlines(), FREE)
        self.assertEqual(runtime("exec", "--apparmor", PROFILE, name, "sh", "-c", LOOK).out.splitlines(), CONFINED)

    def test_unconfined_by_name(self):
        name = self.started(change=lambda config: config["process"].update(apparmorProfile="unconfined"))
        self.assertEqual(runtime("exec", name, "sh", "-c", LOOK).out.splitlines(), FREE)

    def test_profile_that_nobody_loaded(self):
        def change(config):
            config["process"]["apparmorProfile"] = "no-such-profile"
        words = ("process.apparmorProfile", "'no-such-profile'", "is not loaded", "apparmor_parser")
        self.assert_one_line(self.run_bundle(["true"], change), 1, *words, program=PROGRAM)
        name = self.started()
        self.assert_one_line(runtime("exec", "--apparmor", "no-such-profile", name, "true"), 255, *words, program=PROGRAM)


if __name__ == "__main__":
    if not pathlib.Path("/sys/kernel/security/apparmor/profiles").exists():
        skip_all("needs a kernel with AppArmor")
    if not shutil.which("apparmor_parser"):
        skip_all("apparmor_parser is missing: install apparmor")
    main()
