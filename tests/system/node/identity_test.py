#!/usr/bin/env python3
"""What tells instances of one vdisk from each other, and from the vdisk."""

import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys

sys.path[:0] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"), os.path.dirname(os.path.abspath(__file__))]
from coppice_test import environment, execute, main, new_name, wait_until, world  # noqa: E402
from instances_test import NodeCase  # noqa: E402

KINDS = ("rsa", "ecdsa", "ed25519")
KEYS = [f"/etc/ssh/ssh_host_{kind}_key" for kind in KINDS]
NEW = ["/etc/hostname", "/etc/machine-id", "/var/lib/dbus/machine-id", *KEYS, *(key + ".pub" for key in KEYS)]
REMOVED = ["/var/lib/systemd/random-seed", "/var/lib/systemd/credential.secret"]
FACTS = "for f in " + " ".join(NEW + REMOVED) + "; do echo \"= $f\"; cat $f 2>/dev/null; done; true"


def host_files():
    """That must not change, whatever the roots of instances hold."""
    return {path: os.stat(path).st_ctime_ns for path in ("/etc/machine-id", "/etc/hostname", *KEYS) if os.path.exists(path)}


class Identity(NodeCase):
    def setUp(self):
        if not shutil.which("ssh-keygen"):
            self.skipTest("needs openssh-client")
        super().setUp()
        self.golden = world().path(new_name("golden"))
        shutil.copytree(self.tree, self.golden, symlinks=True)
        self.addCleanup(shutil.rmtree, self.golden)
        for path in (*NEW[:3], *REMOVED):
            self.put(path, "image\n")
        self.put("/etc/machine-id", "0123456789abcdef0123456789abcdef\n")
        os.makedirs(self.golden + "/etc/ssh", exist_ok=True)
        for kind, key in zip(KINDS, KEYS):
            subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "root@image", "-f", self.golden + key], check=True)
        self.text("vdisk", "import", "golden", self.golden, "-q")
        self.host = host_files()

    def tearDown(self):
        super().tearDown()
        self.assertEqual(host_files(), self.host)

    def put(self, path, text):
        place = pathlib.Path(self.golden + path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)

    def facts(self, name, *options):
        """What the instance, started for it, sees."""
        shown = self.text("run", "--name", name, *options, "golden", "--", "sh", "-c", FACTS)
        return dict(part.split("\n", 1) for part in re.split("^= ", shown, flags=re.MULTILINE)[1:])

    def image(self):
        return {path: pathlib.Path(self.golden + path).read_text() for path in (*NEW, *REMOVED)}

    def personalised(self, name):
        told = self.ask(f"/v1/instances/{name}")
        self.check_schema(told, "Instance")
        return sorted(told["personalised"])

    def test_each_is_another(self):
        first, second = new_name("a"), new_name("b")
        a, b, image = self.facts(first), self.facts(second, "--hostname", "box"), self.image()
        for path in NEW:
            self.assertEqual(len({a[path], b[path], image[path]}), 3, path)
        self.assertEqual([a[path] + b[path] for path in REMOVED], ["", ""])
        self.assertEqual((a["/etc/hostname"], b["/etc/hostname"]), (first + "\n", "box\n"))
        self.assertEqual(a["/etc/machine-id"], a["/var/lib/dbus/machine-id"])
        self.assertTrue(re.fullmatch("[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}\n", a["/etc/machine-id"]), a["/etc/machine-id"])
        self.assertEqual(self.personalised(first), sorted(NEW + REMOVED))
        self.assertNotIn("personalised", self.ask("/v1/instances")[0], "each would have to be read")
        self.assertEqual(self.facts(first), a, "it stays what it is")
        owners = self.text("run", "--name", first, "golden", "--", "stat", "-c", "%u:%g %a", *NEW[:2], KEYS[0], KEYS[0] + ".pub")
        self.assertEqual(owners.split("\n")[:4], ["0:0 644", "0:0 444", "0:0 600", "0:0 644"])
        self.assertEqual(self.facts(new_name("k"), "--keep-identity"), image, "the vdisk is what it was")

    def test_its_own_business(self):
        """What a private instance makes of it stays; a rollback to the vdisk brings the identity back, and not the vdisk's."""
        name = new_name("p")
        first = self.facts(name)
        self.text("run", "--name", name, "golden", "--", "sh", "-c", "echo own > /etc/hostname; rm /etc/ssh/*; echo seed > " + REMOVED[0])
        changed = self.facts(name)
        self.assertEqual((changed["/etc/hostname"], changed[KEYS[0]], changed[REMOVED[0]]), ("own\n", "", "seed\n"))
        self.text("snapshot", "create", name)
        self.assertEqual(self.facts(name), changed)
        self.text("rollback", name, "golden")
        self.assertEqual(self.facts(name), first)

    def test_a_clean_one_is_still_itself(self):
        name = new_name("s")
        first = self.facts(name, "--mode", "shared")
        self.assertIn("0 added, 0 removed, 0 changed", self.text("diff", "golden", name), "undone")
        self.assertNotEqual(first["/etc/machine-id"], self.image()["/etc/machine-id"])
        self.assertEqual(self.facts(name, "--mode", "shared"), first)
        self.daemon.end()
        self.daemon = self.begin()
        self.assertEqual(self.facts(name, "--mode", "shared"), first)
        self.text("rm", name)
        self.assertNotEqual(self.facts(name)["/etc/machine-id"], first["/etc/machine-id"], "the name is no identity")

    def test_the_images_is_kept_on_request(self):
        for mode in ("private", "shared"):
            name = new_name(mode)
            self.assertEqual(self.facts(name, "--keep-identity", "--mode", mode), self.image())
            self.assertEqual(self.facts(name, "--mode", mode), self.image(), "it counts at the first start")
            self.assertEqual(self.personalised(name), [])

    def test_nothing_is_left(self):
        name = new_name("rm")
        self.assertNotEqual(self.facts(name, "--rm")["/etc/machine-id"], self.image()["/etc/machine-id"])
        self.assertEqual(os.listdir(self.root + "/instances"), [])
        self.assertEqual(self.coppice("run", "--name", name, "golden", "--", "/no/such").status, 127)
        self.assertEqual(os.listdir(self.root + "/instances"), [])

    def test_a_server_takes_the_keys(self):
        server = shutil.which("sshd") or "/usr/sbin/sshd"
        if not os.path.exists(server):
            self.skipTest("needs openssh-server")
        facts = self.facts(new_name("ssh"))
        d = pathlib.Path(world().path(new_name("keys")))
        d.mkdir(0o700)
        self.addCleanup(shutil.rmtree, d)
        for key in KEYS:
            (d / os.path.basename(key)).write_text(facts[key])
            (d / os.path.basename(key)).chmod(0o600)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        (d / "config").write_text(f"ListenAddress 127.0.0.1\nPort {port}\nUsePAM no\nPidFile none\n" +
                                  "".join(f"HostKey {d}/{os.path.basename(key)}\n" for key in KEYS))
        # sshd wants a directory in /run, which only its service makes.
        command = ["unshare", "-m", "--propagation", "private", "sh", "-c",
                   'mount -t tmpfs none /run && mkdir /run/sshd && exec "$1" -D -e -f "$2"', "sh", server, d / "config"]
        with open(d / "log", "wb") as log, subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment()) as sshd:
            try:
                scan = ["ssh-keyscan", "-T", "5", "-t", ",".join(KINDS), "-p", str(port), "127.0.0.1"]
                seen = set()

                def all_seen():
                    seen.update(line.split()[2] for line in execute(scan).out.splitlines() if line.startswith("["))
                    return len(seen) == len(KINDS)

                self.assertTrue(wait_until(all_seen, 20), (d / "log").read_text())
            finally:
                sshd.terminate()
        self.assertEqual(seen, {facts[key + ".pub"].split()[1] for key in KEYS}, "that it has the secret halves of")


if __name__ == "__main__":
    main()
