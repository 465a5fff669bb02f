#!/usr/bin/env python3
"""Sources of vdisks as they are outside, and what is exported, as other programs see it: a registry, mmdebstrap, sshd,
disks with real file systems, podman, GNU tar. Driven by store_tool, without the daemon."""

import base64
import contextlib
import hashlib
import http.server
import json
import os
import pathlib
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from coppice_test import (BIN, LONG, MARK, SOURCE, environment, execute, find_busybox, main, mounts, new_name, wait_until, world)  # noqa: E402

TOOL = os.environ.get("COPPICE_STORE_TOOL", str(BIN.parent / "tests/store_tool"))
DEBIAN_ROOT = SOURCE / "tests/root/vdisk/debian-root"
SUITE = "bookworm"
PASSWORD = "secret: of the test"
ROOT_TYPE = {"x86_64": "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709", "aarch64": "B921B045-1DF0-41C3-AF44-4C6F280D3FAE"}
LINUX_TYPE = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"


def needs(*programs):
    missing = [name for name in programs if not shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")]
    if missing:
        raise unittest.SkipTest(f"{', '.join(missing)} missing: scripts/deps test")


def run(*args, **options):
    done = execute(args, **options)
    if done.status != 0:
        raise AssertionError(f"failed: {done}")
    return done.out


def in_own_mounts(script, *args, **options):
    """A shell script in a mount namespace of its own; `args` are $1 and so on."""
    return run("unshare", "-m", "--propagation", "private", "sh", "-ec", script, "sh", *args, **options)


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def answers(port):
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    return False


def make_tree(name):
    """A small root with everything in it. Whole seconds: not every file system has more."""
    root = pathlib.Path(world().path(name))
    for directory in ("bin", "etc", "usr/lib", "var/empty"):
        (root / directory).mkdir(parents=True)
    shutil.copy(find_busybox(), root / "bin/busybox")
    (root / "bin/sh").symlink_to("busybox")
    (root / "bin/cat").symlink_to("busybox")
    (root / "etc/greeting").write_text("from the image\n")
    os.link(root / "etc/greeting", root / "etc/same")
    (root / "etc/passwd").write_text("root:x:0:0:root:/:/bin/sh\nuser:x:7:7::/:/bin/sh\n")
    (root / "usr/lib" / ("long-" * 40)).write_bytes(os.urandom(700_000))
    (root / "usr/set-uid").write_text("x")
    os.chown(root / "usr/set-uid", 70_000, 80_000)
    os.chmod(root / "usr/set-uid", 0o4711)
    os.mknod(root / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    os.mkfifo(root / "fifo", 0o600)
    os.setxattr(root / "etc/passwd", "user.note", b"n=\0")
    run("setfacl", "-m", "u:7:r,g:100000:rw", root / "etc/passwd")
    run("setfacl", "-d", "-m", "u::rwx,g::rx,o::-", root / "var/empty")
    run("setfacl", "-d", "-m", "u:7:rwx", root / "var")
    with open(root / "usr/holes", "wb") as holes:
        holes.seek(30 << 20)
        holes.write(b"middle")
        holes.truncate(50 << 20)
    for base, directories, files in os.walk(root, topdown=False):
        for entry in files + directories + ["."]:
            os.utime(os.path.join(base, entry), (1_700_000_000, 1_700_000_001), follow_symlinks=False)
    return str(root)


class StoreCase(unittest.TestCase):
    longMessage = True

    def setUp(self):
        self.store = world().path(new_name("store"))

    def tearDown(self):
        self.assertEqual([line for line in mounts() if MARK in line], [])
        if os.path.isdir(self.store):
            self.assertEqual(os.listdir(self.store + "/tmp"), [])
            shutil.rmtree(self.store)

    def tree(self):
        path = world().path("tree")
        return path if os.path.exists(path) else make_tree("tree")

    def load(self, source, *options, **more):
        done = execute([TOOL, "import", self.store, new_name("disk"), source, *options], **more)
        self.assertEqual(done.status, 0, done)
        return json.loads(done.out)

    def refuse(self, kind, words, source, *options, **more):
        done = execute([TOOL, "import", self.store, "disk", source, *options], **more)
        self.assertEqual(done.status, 1, done)
        self.assertTrue(done.err.startswith(kind + ": "), done)
        self.assertEqual(done.err.count("\n"), 1, done)
        for word in [words] if isinstance(words, str) else words:
            self.assertIn(word, done.err, done)

    def write(self, snapshot, form, path, *reference, **more):
        done = execute([TOOL, "export", self.store, snapshot, form, path, *reference], **more)
        self.assertEqual(done.status, 0, done)
        return json.loads(done.out)


class Service:
    """A program of the test in the background; ended with the block."""

    def __init__(self, args, port, **options):
        self.args, self.port, self.options = args, port, options

    def __enter__(self):
        self.log = open(world().path(new_name("log")), "w+b")
        self.process = subprocess.Popen([str(arg) for arg in self.args], stdin=subprocess.DEVNULL, stdout=self.log,
                                        stderr=self.log, env=environment(self.options.get("env")))
        if not wait_until(lambda: answers(self.port) or self.process.poll() is not None) or self.process.poll() is not None:
            self.__exit__()
            raise AssertionError(f"{self.args} does not run: {pathlib.Path(self.log.name).read_text()}")
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(20)
        self.log.close()


class Registry(StoreCase):
    @classmethod
    def setUpClass(cls):
        needs("docker-registry", "skopeo", "htpasswd", "openssl")
        cls.directory = pathlib.Path(world().path("registry"))
        cls.directory.mkdir()
        d = str(cls.directory)
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
            "-subj", "/CN=authority of the test", "-keyout", d + "/ca.key", "-out", d + "/ca.crt")
        run("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj",
            "/CN=registry", "-keyout", d + "/server.key", "-out", d + "/server.csr")
        (cls.directory / "ext").write_text("subjectAltName=IP:127.0.0.1\n")
        run("openssl", "x509", "-req", "-days", "2", "-in", d + "/server.csr", "-CA", d + "/ca.crt", "-CAkey", d + "/ca.key",
            "-CAcreateserial", "-extfile", d + "/ext", "-out", d + "/server.crt")
        (cls.directory / "htpasswd").write_text(run("htpasswd", "-Bbn", "user", PASSWORD))

    def registry(self, secure):
        port = free_port()
        name = new_name("registry")
        config = {"version": 0.1, "log": {"accesslog": {"disabled": True}, "level": "warn"},
                  "storage": {"filesystem": {"rootdirectory": str(self.directory / name)}},
                  "http": {"addr": f"127.0.0.1:{port}"}}
        if secure:
            config["http"]["tls"] = {"certificate": str(self.directory / "server.crt"), "key": str(self.directory / "server.key")}
            config["auth"] = {"htpasswd": {"realm": "test", "path": str(self.directory / "htpasswd")}}
        path = self.directory / (name + ".yml")
        path.write_text(json.dumps(config))  # which is YAML, too
        return Service(["docker-registry", "serve", path], port)

    def authfile(self, port, password):
        path = self.directory / new_name("auth")
        words = base64.b64encode(f"user:{password}".encode()).decode()
        path.write_text(json.dumps({"auths": {f"127.0.0.1:{port}": {"auth": words}}}))
        return f"authfile={path}"

    def image(self):
        """An exported image, and the layer that it is."""
        made = self.load("dir:" + self.tree())
        layout = world().path(new_name("layout"))
        self.write(made["snapshot"], "oci", layout, "web:1")
        return layout, made["layer"]

    def test_an_image_comes_with_credentials_and_an_authority_of_ones_own(self):
        layout, layer = self.image()
        trusting = {"env": {"SSL_CERT_FILE": str(self.directory / "ca.crt")}}
        with self.registry(True) as service:
            auth, wrong = self.authfile(service.port, PASSWORD), self.authfile(service.port, "wrong")
            place = f"127.0.0.1:{service.port}/team/web"
            run("skopeo", "copy", "--quiet", auth.replace("authfile=", "--authfile="), "oci:" + layout, f"docker://{place}:1", **trusting)
            digest = json.loads(run("skopeo", "inspect", auth.replace("authfile=", "--authfile="), f"docker://{place}:1", **trusting))["Digest"]
            for reference in (f"{place}:1", f"{place}@{digest}"):
                made = self.load("docker://" + reference, auth, **trusting)
                self.assertEqual(made["layer"], layer)
                self.assertEqual(json.loads(made["config"])["os"], "linux")
            self.refuse("Denied", "credentials", f"docker://{place}:1", wrong, **trusting)
            self.refuse("Denied", "credentials", f"docker://{place}:1", f"authfile={self.directory}/none", **trusting)
            self.refuse("NotFound", "no such image", f"docker://{place}:2", auth, **trusting)
            self.refuse("NotFound", "no such image", f"docker://{place}-else:1", auth, **trusting)
            self.refuse("NotFound", "", f"docker://{place}:1", auth, "architecture=s390x", **trusting)
            self.refuse("Unavailable", ["not trusted", "authority"], f"docker://{place}:1", auth)
            self.refuse("Invalid", "image reference", "docker://--help")
            gone = service.port
        self.refuse("Unavailable", "does not answer", f"docker://127.0.0.1:{gone}/team/web:1", auth, **trusting)

    def test_plain_http_must_be_asked_for(self):
        layout, layer = self.image()
        with self.registry(False) as service:
            place = f"docker://127.0.0.1:{service.port}/web:1"
            run("skopeo", "copy", "--quiet", "--dest-tls-verify=false", "oci:" + layout, place)
            self.refuse("Unavailable", ["no TLS", "--plain-http"], place)
            self.assertEqual(self.load(place, "plain_http=1")["layer"], layer)

    def test_a_layer_that_the_registry_has_damaged(self):
        layout, _ = self.image()
        with self.registry(False) as service:
            place = f"docker://127.0.0.1:{service.port}/web:1"
            run("skopeo", "copy", "--quiet", "--dest-tls-verify=false", "oci:" + layout, place)
            largest = max((path for path in self.directory.glob("*registry*/**/data")), key=lambda path: path.stat().st_size)
            with open(largest, "r+b") as blob:
                blob.seek(5000)
                blob.write(b"damage")
            self.refuse("Corrupt", "not what the manifest says", place, "plain_http=1")
            self.assertEqual(os.listdir(self.store + "/tmp"), [])

    def test_a_registry_that_does_not_end(self):
        config = json.dumps({"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "0" * 64]}}).encode()

        def described(kind, data):
            return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": "sha256:" + hashlib.sha256(data).hexdigest(), "size": len(data)}
        manifest = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                               "config": described("config.v1+json", config), "layers": [described("layer.v1.tar+gzip", b"x")]}).encode()

        class Endless(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                known = {"manifests": manifest, described("", config)["digest"]: config}
                body = b"{}" if self.path == "/v2/" else next((data for word, data in known.items() if word in self.path), None)
                self.send_response(200)
                self.send_header("Content-Type", "application/vnd.oci.image.manifest.v1+json")
                if body is not None:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.wfile.write(body or b"")
                    for _ in range(3000 if body is None else 0):  # a minute
                        self.wfile.write(os.urandom(1 << 20))
                        time.sleep(0.02)

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endless)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            self.refuse("Corrupt", "more than the manifest says", f"docker://127.0.0.1:{server.server_address[1]}/web:1", "plain_http=1", "architecture=amd64")
        finally:
            server.shutdown()
            server.server_close()


class Suite(StoreCase):
    @unittest.skipUnless(LONG, "takes a minute: COPPICE_LONG=1")
    def test_a_suite_becomes_a_root(self):
        needs("mmdebstrap")
        sources = subprocess.run([DEBIAN_ROOT, "--sources"], capture_output=True, text=True)
        if sources.returncode != 0:
            self.skipTest(sources.stderr.strip())
        suite, mirror = min(((words[2], words[1]) for words in map(str.split, sources.stdout.splitlines())), key=lambda pair: len(pair[0]))
        try:
            urllib.request.urlopen(f"{mirror}/dists/{suite}/InRelease", timeout=10).close()
        except OSError as error:  # of which urllib's own is one
            self.skipTest(f"no {mirror}: {error}")
        made = self.load(f"debian:{suite}", f"mirror={mirror}", timeout=240)
        self.assertGreater(made["inodes"], 3000)
        out = subprocess.run([TOOL, "files", self.store, made["snapshot"], "usr/lib/os-release"], capture_output=True, check=True).stdout
        self.assertIn(f"VERSION_CODENAME={suite}".encode(), out)

    def test_what_mmdebstrap_cannot_do_is_told_in_its_words(self):
        needs("mmdebstrap")
        self.refuse("Os", "mmdebstrap ended with", f"debian:{SUITE}", f"mirror=http://127.0.0.1:{free_port()}/debian")
        self.refuse("Invalid", "suite", "debian:--help")


class Machine(StoreCase):
    def names(self, snapshot):
        return subprocess.run(f"{TOOL} files '{self.store}' {snapshot} | tar -t", shell=True, capture_output=True,
                              text=True, check=True).stdout.splitlines()

    def test_this_machine(self):
        tree = self.tree()
        made = self.load("machine:", f"file_system={tree}", "file_system=/etc")
        names = self.names(made["snapshot"])
        self.assertIn("etc/passwd", names)
        self.assertIn(tree[1:] + "/etc/greeting", names)
        self.assert_same_part(made["snapshot"], tree)

    def place_of_a_store(self):
        """A directory with a file and, behind a link and with odd names, the store."""
        place = pathlib.Path(world().path(new_name("machine")))
        (place / "real [*]").mkdir(parents=True)
        (place / "file").write_text("x")
        (place / "link").symlink_to("real [*]")
        self.store = str(place / "link/store")
        return place

    def assert_no_key(self, snapshot, place):
        names = self.names(snapshot)
        inside = str(place / "real [*]/store")[1:]
        self.assertIn(str(place / "file")[1:], names)
        self.assertIn(inside + "/", names)
        self.assertEqual([name for name in names if name.startswith(inside + "/") and name != inside + "/"], [])

    def test_a_store_stays_at_home(self):
        place = self.place_of_a_store()
        made = self.load("machine:", f"file_system={place}")
        self.assertTrue(os.path.exists(self.store + "/keys/node.key"))
        self.assert_no_key(made["snapshot"], place)

    def assert_same_part(self, snapshot, tree):
        """What is in the snapshot at the tree's place is the tree."""
        place = world().path(new_name("part"))
        os.mkdir(place)
        subprocess.run(f"{TOOL} files {self.store} {snapshot} {tree} | tar -x --numeric-owner -p --xattrs --xattrs-include=* --acls -C {place}",
                       shell=True, check=True)
        part = self.load("dir:" + os.path.join(place, os.path.basename(tree)))
        self.assertEqual(part["layer"], self.load("dir:" + tree)["layer"])

    @contextlib.contextmanager
    def sshd(self):
        needs("sshd", "ssh", "ssh-keygen")
        d = world().path(new_name("ssh"))
        os.mkdir(d, 0o700)
        for key in ("host", "user", "other"):
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{d}/{key}")
        shutil.copy(d + "/user.pub", d + "/authorized")
        port = free_port()
        pathlib.Path(d + "/sshd").write_text(
            f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {d}/host\nAuthorizedKeysFile {d}/authorized\nUsePAM no\nPidFile none\n"
            "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nStrictModes no\n")
        host_key = pathlib.Path(d + "/host.pub").read_text()
        pathlib.Path(d + "/known").write_text(f"[127.0.0.1]:{port} {host_key}")
        for name in ("user", "other"):  # `ssh` with a configuration of ours
            os.mkdir(f"{d}/with-{name}")
            wrapper = pathlib.Path(f"{d}/with-{name}/ssh")
            wrapper.write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F none -i {d}/{name} -o IdentitiesOnly=yes -o UserKnownHostsFile={d}/known "$@"\n')
            wrapper.chmod(0o755)
        # sshd wants a directory in /run, which only its service makes.
        command = ["unshare", "-m", "--propagation", "private", "sh", "-c",
                   'mount -t tmpfs none /run && mkdir /run/sshd && exec "$(command -v sshd || echo /usr/sbin/sshd)" -D -e -f "$1"', "sh", d + "/sshd"]
        with Service(command, port):
            yield port, {name: {"env": {"PATH": f"{d}/with-{name}:{os.environ['PATH']}"}} for name in ("user", "other")}

    def test_another_machine(self):
        tree = self.tree()
        with self.sshd() as (port, ways):
            host = f"ssh://root@127.0.0.1:{port}"
            made = self.load(host, f"file_system={tree}", **ways["user"])
            self.assert_same_part(made["snapshot"], tree)
            there, self.store = self.store, None
            place = self.place_of_a_store()
            self.assert_no_key(self.load(host, f"file_system={place}", **ways["user"])["snapshot"], place)
            shutil.rmtree(place)
            self.store = there
            self.refuse("Denied", "ermission denied", host, **ways["other"])
            self.refuse("Os", "no-such-directory", host, "file_system=/no-such-directory", **ways["user"])
            self.refuse("Unavailable", "refused", f"ssh://root@127.0.0.1:{free_port()}", **ways["user"])
            self.refuse("Unavailable", "verification failed", f"ssh://root@localhost:{port}", **ways["user"])
        self.refuse("Invalid", "host", "ssh://-oProxyCommand=true")


class Disks(StoreCase):
    SIZES = {"ext4": 64, "xfs": 320, "btrfs": 160}

    def setUp(self):
        super().setUp()
        needs("mkfs.ext4", "mkfs.xfs", "mkfs.btrfs", "mksquashfs", "qemu-img", "sfdisk", "setfacl")
        self.directory = world().path(new_name("disks"))
        os.mkdir(self.directory)
        self.addCleanup(shutil.rmtree, self.directory)

    def make(self, kind):
        """A file system that holds the tree and nothing else."""
        path = f"{self.directory}/{kind}"
        if kind == "squashfs":
            plain = world().path("without-acls")  # SquashFS has none
            if not os.path.exists(plain):
                run("cp", "-a", self.tree(), plain)
                run("setfacl", "-bR", plain)
            run("mksquashfs", plain, path, "-quiet", "-no-progress", "-comp", "gzip")
            return path
        run("truncate", "-s", f"{self.SIZES[kind]}M", path)
        run(f"mkfs.{kind}", "-q", path)
        in_own_mounts('mount -o loop "$1" /mnt; rm -rf /mnt/lost+found; cp -a --sparse=always "$2/." /mnt; umount /mnt', path, self.tree())
        return path

    def test_file_systems(self):
        wanted = self.load("dir:" + self.tree())
        for kind in ("ext4", "xfs", "btrfs", "squashfs"):
            with self.subTest(kind):
                path = self.make(kind)
                made = self.load(path if kind == "xfs" else "disk:" + path)  # also recognised by itself
                if kind == "squashfs":
                    self.assertEqual(made["layer"], self.load("dir:" + world().path("without-acls"))["layer"])
                else:
                    self.assertEqual(made["layer"], wanted["layer"])
                self.assertFalse([line for line in run("losetup", "-a").splitlines() if path in line])

    def disk(self, file_system):
        """GPT: an ESP, /home, the root."""
        path = f"{self.directory}/disk"
        bytes_ = os.path.getsize(file_system)
        run("truncate", "-s", str(bytes_ + (16 << 20)), path)
        run("sfdisk", "-q", path, stdin="label: gpt\nstart=2048, size=4096, type=U\n"
            f"start=8192, size=8192, type={LINUX_TYPE}\nstart=16384, size={bytes_ // 512}, type={ROOT_TYPE[os.uname().machine]}\n")
        run("dd", f"if={file_system}", f"of={path}", "bs=1M", "seek=8", "conv=notrunc,sparse")
        return path

    def test_partitions_qcow2_and_devices(self):
        wanted = self.load("dir:" + self.tree())["layer"]
        raw = self.disk(self.make("ext4"))
        self.assertEqual(self.load(raw)["layer"], wanted)
        self.assertEqual(self.load(raw, "partition=3")["layer"], wanted)
        self.refuse("Unsupported", "partition 2", raw, "partition=2")
        self.refuse("Invalid", "partition 3 (64 MiB ext4)", raw, "partition=9")
        packed, over = self.directory + "/disk.qcow2", self.directory + "/over.qcow2"
        run("qemu-img", "convert", "-q", "-c", "-O", "qcow2", raw, packed)
        self.assertEqual(self.load(packed)["layer"], wanted)
        run("qemu-img", "create", "-q", "-f", "qcow2", "-b", packed, "-F", "qcow2", over)
        self.refuse("Unsupported", ["backing file", "qemu-img convert"], over)
        with open(packed, "r+b") as image:
            image.truncate(os.path.getsize(packed) // 2)
        self.refuse("Os", "qemu-img ended with 1", packed)
        device = run("losetup", "--find", "--show", "--read-only", raw).strip()
        try:
            self.assertEqual(self.load("disk:" + device)["layer"], wanted)
        finally:
            run("losetup", "-d", device)

    def test_a_disk_whose_machine_was_not_shut_down(self):
        path, copy = self.make("ext4"), self.directory + "/copy"
        in_own_mounts('mount -o loop "$1" /mnt; touch /mnt/new; sync; cp --sparse=always "$1" "$2"; umount /mnt', path, copy)
        self.refuse("Denied", ["ext4", "shut down cleanly"], "disk:" + copy)

    def test_a_damaged_file_system(self):
        path = self.make("ext4")
        with open(path, "r+b") as image:
            image.seek(1024 + 0x68)  # the superblock's UUID
            image.write(os.urandom(16))
        self.refuse("Corrupt", ["ext4", "fsck"], "disk:" + path)


class Exports(StoreCase):
    def snapshot(self):
        made = self.load("dir:" + self.tree())
        return made["snapshot"], made["layer"]

    def test_gnu_tar_unpacks_the_archive(self):
        snapshot, layer = self.snapshot()
        archive, place = world().path("out.tar"), world().path("unpacked")
        self.write(snapshot, "tar", archive)
        self.assertLess(os.path.getsize(archive), 8 << 20, "holes are not in it")
        os.mkdir(place)
        run("tar", "-xpf", archive, "--numeric-owner", "--xattrs", "--xattrs-include=*", "--acls", "-C", place)
        self.assertEqual(self.load("dir:" + place)["layer"], layer)
        self.assertEqual(self.load(archive)["layer"], layer)
        os.unlink(archive)

    def test_the_flat_image_mounts(self):
        snapshot, layer = self.snapshot()
        image, place = world().path("flat"), world().path("copied")
        self.write(snapshot, "flat", image)
        in_own_mounts('mount -o loop,ro -t erofs "$1" /mnt; cp -a --sparse=always /mnt "$2"; umount /mnt', image, place)
        self.assertEqual(self.load("dir:" + place)["layer"], layer)
        self.assertEqual(self.load("disk:" + image)["layer"], layer)
        os.unlink(image)

    def test_podman_runs_the_image(self):
        needs("podman", "skopeo")
        snapshot, layer = self.snapshot()
        layout = world().path("layout")
        self.write(snapshot, "oci", layout, "example.org/web:1.0")
        run("skopeo", "copy", "--quiet", "oci:" + layout, "dir:" + world().path("copied-by-skopeo"))
        self.assertEqual(self.load("oci:" + layout)["layer"], layer)
        self.assertEqual(self.load(f"oci:{layout}:example.org/web:1.0")["layer"], layer)
        place = tempfile.mkdtemp(prefix="cp-", dir="/var/tmp")  # podman wants a short one
        self.addCleanup(shutil.rmtree, place)
        podman = ["podman", "--root", place + "/root", "--runroot", place + "/run", "--storage-driver", "vfs",
                  "--cgroup-manager", "cgroupfs"]
        limits = ["--ulimit", "nofile=512:512", "--ulimit", "nproc=1000:1000"]  # podman's own may be more than is ours to give
        name = run(*podman, "pull", "-q", "oci:" + layout).strip()
        said = run(*podman, "--runtime", "runc", "run", "--rm", "--network", "none", *limits, name, "/bin/cat", "/etc/greeting")
        self.assertEqual(said, "from the image\n")
        owner = run(*podman, "--runtime", "runc", "run", "--rm", "--network", "none", *limits, name, "/bin/busybox", "stat", "-c", "%u:%g %a", "/usr/set-uid")
        self.assertEqual(owner, "70000:80000 4711\n")
        root = run(*podman, "image", "mount", name).strip()  # containers are copies here, which vfs makes without ACLs
        for path in ("etc/passwd", "var"):  # (var/empty inherits of podman's var, which is there first)
            self.assertEqual(run("getfacl", "-nc", f"{root}/{path}"), run("getfacl", "-nc", f"{self.tree()}/{path}"))
        run(*podman, "image", "unmount", name)
        run(*podman, "rmi", "-f", name)

    def test_neither_a_full_disk_nor_a_kill_leaves_something_half_done(self):
        snapshot, _ = self.snapshot()
        for form in ("oci", "tar", "flat"):
            with self.subTest(form):
                said = in_own_mounts('mount -t tmpfs -o size=500k none /mnt; "$1" export "$2" "$3" "$4" /mnt/out 2>&1 || ls -A /mnt',
                                     TOOL, self.store, snapshot, form)
                self.assertTrue(said.startswith("Unavailable: ") and said.count("\n") == 1, said)
                place = world().path(new_name("killed"))
                os.mkdir(place)
                running = subprocess.Popen([TOOL, "export", self.store, snapshot, form, place + "/out"], stdout=subprocess.DEVNULL)
                self.assertTrue(wait_until(lambda: os.listdir(place), pause=0.0005))
                running.kill()
                killed = running.wait() == -signal.SIGKILL
                self.assertEqual([name for name in os.listdir(place) if not name.startswith(".out.partial-")], [] if killed else ["out"])
                shutil.rmtree(place)


if __name__ == "__main__":
    main(programs=(TOOL,))
