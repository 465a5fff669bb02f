#!/usr/bin/env python3
"""What is wrong with a command line is said in one line with exit status 2, before anything is asked of a daemon."""

import os
import subprocess
import sys
import unittest

PROGRAM = os.path.join(os.environ["COPPICE_BIN"], "coppice")
NOBODY = "/nonexistent/socket"  # whoever gets this far fails with status 1


def run(*words):
    return subprocess.run([PROGRAM, "--socket", NOBODY, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=60)


WRONG = [
    ("vdisk", "A subcommand is required"),
    ("vdisk import debian", "source is required"),
    ("vdisk import debian x --state gold", "'gold' is none of maintenance|test|production"),
    ("vdisk import debian x --partition 0", "--partition"),
    ("vdisk import debian x --threads many", "--threads"),
    ("vdisk export debian x --as zip", "'zip' is none of oci|tar|flat"),
    ("vdisk export debian x --as tar --reference a:b", "--reference is for --as oci"),
    ("vdisk ls --format yaml", "'yaml' is none of table|json|csv"),
    ("vdisk ls --format table|json", "is none of"),
    ("vdisk rm debian:x", "is no VDISK:NUMBER"),
    ("vdisk rm debian:1 --cascade", "--cascade is for whole vdisks"),
    ("vdisk promote debian", "is no VDISK:NUMBER"),
    ("vdisk promote debian:0", "is no VDISK:NUMBER"),
    ("vdisk schedule debian:1 tomorrow", "is no time"),
    ("vdisk merge debian:x", "is no VDISK:NUMBER"),
    ("vdisk mount debian", "path is required"),
    ("snapshot create", "branch is required"),
    ("snapshot create web --wait long", "is none of frozen|durable|sealed"),
    ("snapshot create web --detach", "--detach is for --wait sealed"),
    ("snapshot rm", "snapshots is required"),
    ("snapshot message debian", "text is required"),
    ("log -n 0", "-n"),
    ("log a b", "not expected"),
    ("branch web", "branch NAME REF"),
    ("branch -d web other", "-d takes one name"),
    ("rollback web", "rollback BRANCH REF"),
    ("checkout web debian", "paths is required"),
    ("tag debian good", "tag VDISK TAG REF"),
    ("tag -d debian", "tag -d VDISK TAG"),
    ("tag -d debian good web", "tag -d VDISK TAG"),
    ("merge web --flatten --into debian", "excludes"),
    ("diff", "from is required"),
    ("diff a b --stat --patch", "exclude each other"),
    ("diff a b --stat --format json", "have no other --format"),
    ("cp debian x", "is no REF:/PATH"),
    ("cp debian:etc x", "is no REF:/PATH"),
    ("cp a/b:/etc x", "is no REF:/PATH"),
    ("cp a:/etc b:/etc", "path of this machine"),
    ("system gc --grace 5", "--grace"),
    ("system fsck --quick --full", "exclude each other"),
]

# Right, so that they get as far as the daemon that is not there.
RIGHT = [
    "vdisk import debian x -m text --state test --arch amd64 --plain-http --partition 2 --mirror http://x --threads 2",
    "vdisk capture debian root@host --file-system / --file-system /home",
    "vdisk export debian:3 x --as oci --reference a:b",
    "vdisk rm debian --cascade",
    "vdisk schedule debian:1 now",
    "vdisk schedule debian:1 +2h",
    "vdisk mount web / --branch --devices --setuid",
    "snapshot create web --wait sealed --detach --tag good",
    "snapshot rm a b c --cascade",
    "log --graph --oneline -n 3 debian",
    "branch",
    "branch -d web",
    "tag debian",
    "merge web --into debian -q",
    "diff web -p --limit 5",
    "cp debian@good:/etc/. x",
    "verify --deep",
    "system df --format csv",
    "system gc --grace 1h30m --detach",
]


class Arguments(unittest.TestCase):
    def test_wrong_ones_are_named_in_one_line(self):
        for line, words in WRONG:
            with self.subTest(line):
                done = run(*line.split())
                self.assertEqual(done.returncode, 2, done)
                self.assertEqual(done.stdout, "")
                self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
                self.assertTrue(done.stderr.startswith("coppice: "), done.stderr)
                self.assertIn(words, done.stderr)
                self.assertIn("--help)", done.stderr)

    def test_an_empty_name_is_no_name(self):
        for line in (["vdisk", "show", ""], ["branch", "", "debian"], ["cp", "", "x"], ["snapshot", "rm", ""],
                     ["tag", "debian", "", "web"], ["diff", "a", ""]):
            with self.subTest(line):
                self.assertEqual(run(*line).returncode, 2)

    def test_right_ones_reach_for_the_daemon(self):
        for line in RIGHT:
            with self.subTest(line):
                done = run(*line.split())
                self.assertEqual(done.returncode, 1, done)
                self.assertIn("cannot reach coppiced", done.stderr)
                self.assertEqual(done.stderr.count("\n"), 1, done.stderr)

    def test_fsck_that_cannot_look_ends_as_fsck(self):
        done = run("system", "fsck")
        self.assertEqual(done.returncode, 8, done)
        self.assertIn("cannot reach coppiced", done.stderr)

    def test_help_has_all_commands_in_groups(self):
        text = run("--help").stdout
        places = [text.index(f"\n{group}:\n") for group in ("Instances", "Vdisks", "History", "System")]
        self.assertEqual(places, sorted(places))
        self.assertNotIn("Subcommands:", text)


if __name__ == "__main__":
    sys.exit(unittest.main())
