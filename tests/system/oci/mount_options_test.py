#!/usr/bin/env python3
"""coppice-runtime: every option of mounts, and their order."""

import os
import pathlib
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from bundle import with_user_namespace  # noqa: E402
from coppice_test import main, new_name, world  # noqa: E402
from oci_test import OciCase  # noqa: E402


class MountOptions(OciCase):
    def mounted(self, *given, script="true", change=None, root=None):
        """Mounts, runs a script, returns its output and the lines of mountinfo by mount point."""
        def all_changes(config):
            config["mounts"] += [{"destination": where, "type": kind, "source": source, "options": list(options)}
                                 for where, kind, source, options in given]
            if change:
                change(config)
        done = self.run_bundle(["sh", "-c", script + "; echo ---; cat /proc/self/mountinfo"], all_changes, root=root)
        self.assert_ok(done)
        out, _, table = done.out.partition("---\n")
        return out, [line.split() for line in table.splitlines()]

    def line(self, table, point):
        return next(fields for fields in table if fields[4] == point)

    def source(self):
        directory = pathlib.Path(world().path(new_name("source")))
        directory.mkdir()
        (directory / "file").write_text("of the host\n")
        return str(directory)

    def test_order_is_that_of_the_configuration(self):
        source = self.source()
        _, table = self.mounted(("/mnt", "bind", source, ["bind"]), ("/tmp", "tmpfs", "tmpfs", []), ("/var", "bind", source, ["bind"]),
                                ("/home", "tmpfs", "tmpfs", []))
        points = [fields[4] for fields in table if fields[4] in ("/dev", "/mnt", "/tmp", "/var", "/home")]
        self.assertEqual(points, ["/dev", "/mnt", "/tmp", "/var", "/home"])

    def test_attributes(self):
        options = {"ro": "ro", "nosuid": "nosuid", "nodev": "nodev", "noexec": "noexec", "noatime": "noatime",
                   "nodiratime": "nodiratime", "nosymfollow": "nosymfollow", "sync": "sync", "dirsync": "dirsync",
                   "mand": "mand", "lazytime": "lazytime"}
        for option, seen in options.items():
            with self.subTest(option=option):
                _, table = self.mounted(("/mnt", "tmpfs", "tmpfs", [option, "X-note=1", "x-systemd.automount", "iversion", "silent"]))
                fields = self.line(table, "/mnt")
                self.assertIn(seen, (fields[5] + "," + fields[-1]).split(","))

    def test_recursive_attributes(self):
        source = self.source()
        inner = [("/mnt", "bind", source, ["rbind"]), ("/mnt/sub", "tmpfs", "tmpfs", [])]
        os.mkdir(source + "/sub")
        for option, seen in (("rro", "ro"), ("rnosuid", "nosuid"), ("rnoexec", "noexec"), ("rnodev", "nodev"),
                             ("rnosymfollow", "nosymfollow"), ("rnoatime", "noatime"), ("rnodiratime", "nodiratime")):
            with self.subTest(option=option):
                _, table = self.mounted(*inner, ("/mnt", "none", "none", ["remount", "bind", option]))
                for point in ("/mnt", "/mnt/sub"):
                    self.assertIn(seen, self.line(table, point)[5].split(","))

    def test_remount(self):
        out, table = self.mounted(("/mnt", "tmpfs", "tmpfs", ["size=64k"]), ("/mnt", "tmpfs", "tmpfs", ["remount", "ro", "nosuid", "size=128k"]),
                                  script="touch /mnt/x 2>&1")
        self.assertIn("Read-only", out)
        self.assertIn("nosuid", self.line(table, "/mnt")[5])
        self.assertIn("size=128k", self.line(table, "/mnt")[-1])

    def test_type_none_and_files(self):
        source = self.source()
        out, _ = self.mounted(("/mnt", "none", source, ["bind"]), ("/etc/greeting", "none", source + "/file", ["bind", "ro"]),
                              script="cat /mnt/file /etc/greeting")
        self.assertEqual(out, "of the host\n" * 2)

    def test_tmpcopyup(self):
        root = world().tree("copyup")
        etc = pathlib.Path(root, "etc")
        if not (etc / "deep").exists():
            (etc / "deep/er").mkdir(parents=True)
            (etc / "deep/er/file").write_text("x" * 3000)
            (etc / "link").symlink_to("/etc/passwd")
            (etc / "deep").chmod(0o2751)
            os.chown(etc / "deep", 1000, 1000)
            os.mkfifo(etc / "fifo")
        out, table = self.mounted(("/etc", "tmpfs", "tmpfs", ["tmpcopyup", "size=1m"]), root=root,
                                  script="cat /etc/greeting; stat -c '%a %u' /etc/deep; readlink /etc/link; wc -c < /etc/deep/er/file;"
                                         " stat -c %F /etc/fifo; echo more > /etc/greeting; touch /etc/new")
        self.assertEqual(out.splitlines(), ["from the image", "2751 1000", "/etc/passwd", "3000", "fifo"])
        self.assertEqual((etc / "greeting").read_text(), "from the image\n")
        self.assertFalse((etc / "new").exists())
        out, _ = self.mounted(("/etc", "tmpfs", "tmpfs", ["tmpcopyup", "ro"]), root=root, script="cat /etc/greeting; touch /etc/new 2>&1")
        self.assertIn("from the image", out)
        self.assertIn("Read-only", out)
        self.refused(self.run_bundle(["true"], lambda config: config["mounts"].append(
            {"destination": "/mnt", "type": "mqueue", "source": "x", "options": ["tmpcopyup"]})), "tmpcopyup")

    def test_mode_of_a_tmpfs(self):
        out, _ = self.mounted(("/tmp", "tmpfs", "tmpfs", []), ("/mnt", "tmpfs", "tmpfs", ["mode=700"]), script="stat -c %a /tmp /mnt")
        self.assertEqual(out.split(), ["1777", "700"])

    def test_mapped_ids(self):
        source = self.source()
        mapping = [{"containerID": 0, "hostID": 5000, "size": 1000}]

        def change(config):
            for mount in config["mounts"][-2:]:
                mount.update(uidMappings=mapping, gidMappings=mapping)
        out, _ = self.mounted(("/mnt", "bind", source, ["bind"]), ("/tmp", "tmpfs", "tmpfs", ["mode=755"]),
                              script="stat -c %u /mnt/file /tmp", change=change)
        self.assertEqual(out.split(), ["5000", "5000"])

    def test_idmap_of_the_container(self):
        source = self.source()
        out, _ = self.mounted(("/mnt", "bind", source, ["bind", "idmap"]), ("/var", "bind", source, ["rbind", "ridmap"]),
                              script="stat -c %u /mnt/file /var/file", change=with_user_namespace)
        self.assertEqual(out.split(), ["0", "0"])

    def test_propagation_of_the_root(self):
        for word, seen in (("shared", "shared:"), ("rshared", "shared:"), ("private", ""), ("rprivate", ""),
                           ("unbindable", "unbindable"), ("runbindable", "unbindable")):
            with self.subTest(word=word):
                _, table = self.mounted(change=lambda config, word=word: config["linux"].update(rootfsPropagation=word))
                fields = self.line(table, "/")
                optional = " ".join(fields[6:fields.index("-")])
                self.assertTrue(optional.startswith(seen) if seen else optional == "", optional)


if __name__ == "__main__":
    main()
