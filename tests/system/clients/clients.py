"""The clients: how each is told to use a runtime, and to do what a scenario asks for.

An object of a client lives in a worker, that is in mount and network namespaces of its own (worker.py).
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from coppice_test import MARK, PATIENCE, environment, execute, wait_until  # noqa: E402
from image import IMAGE  # noqa: E402
from packages import unpacked  # noqa: E402

LIMITS = ("nofile=1024:1024", "nproc=1024:1024")  # what any host lets the clients set


# An ordinary user whom only the account files of the worker know (worker.py).
USER = 64_321
SUBORDINATE = 1_600_000_000
AUTO_RANGE = "containers:1200000000:1048576\n"  # for --userns=auto


class Lacks(Exception):
    """The client has no such feature: said, and not taken for a pass."""


class Client:
    """What scenarios use. `sort` names the kind of command line: "docker" (podman, too), "ctr" or "buildah"."""

    sort = "docker"
    program = None  # of the sort "docker": podman or docker
    packages = ()  # Debian packages that are unpacked for it, not installed
    cgroup_parent = f"/{MARK}"
    has_systemd = False  # which makes the cgroups, and runs timers
    lives_in_the_open = False  # no mount and pid namespaces around it: only for a machine that is thrown away

    @classmethod
    def set_up_machine(cls, runtimes, image):
        """Called once before the workers start; an OSError says why there is no such client."""

    def __init__(self, directory, runtime, image):
        self.directory, self.runtime, self.image = pathlib.Path(directory), runtime, image
        self.servers = []
        self.counter = 0

    def path(self, name):
        return str(self.directory / name)

    def name(self, word="c"):
        self.counter += 1
        return f"{MARK}-{word}{self.counter}"

    def command(self, *args):
        raise NotImplementedError

    def environment(self):
        return {}

    def cli(self, *args, **options):
        return execute(self.command(*args), env=self.environment(), **options)

    def must(self, *args, **options):
        done = self.cli(*args, **options)
        if done.status != 0:
            raise AssertionError(repr(done))
        return done.out.strip()

    def serve(self, name, args, ready):
        """Starts a server and waits until `ready` holds."""
        log = open(self.path(f"{name}.log"), "wb")
        server = subprocess.Popen([str(arg) for arg in args], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                  env=environment(self.environment()), start_new_session=True)
        self.servers.append(server)
        if not wait_until(lambda: ready() or server.poll() is not None, PATIENCE, 0.1) or server.poll() is not None:
            raise AssertionError(f"{name} did not start: {pathlib.Path(self.path(name + '.log')).read_text()[-2000:]}")

    def close(self):
        for server in reversed(self.servers):
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


# --- podman and docker: nearly one command line


class DockerLike(Client):
    def run(self, *args, **options):
        """`run` of the image: options first, then "--", then the command. The worker removes the container after the scenario."""
        split = args.index("--")
        return self.cli("run", *self.defaults(), *args[:split], IMAGE, *args[split + 1:], **options)

    def sh(self, script, *options, **more):
        return self.run(*options, "--", "sh", "-c", script, **more)

    def detached(self, *options, command=("sleep", "1000")):
        name = self.name()
        self.must("run", "-d", "--name", name, *self.defaults(), *options, IMAGE, *command)
        return name

    def defaults(self):
        return ()

    def inspect(self, name, template):
        return self.must("inspect", "--format", "{{" + template + "}}", name)

    def pid(self, name):
        return int(self.inspect(name, ".State.Pid"))

    def status(self, name):
        return self.inspect(name, ".State.Status")

    def force_removal(self, *names):
        return self.cli("rm", "-f", *names)

    def remove(self, *names):
        done = self.force_removal(*names)
        if done.status != 0:
            raise AssertionError(repr(done))

    def remove_all(self):
        names = self.must("ps", "-aq").split()
        if names:
            self.force_removal(*names)


def podman_configuration(manager, runtimes, networks, netns="bridge"):
    """A containers.conf; the first of the runtimes is the one that podman takes."""
    if not shutil.which("podman"):
        raise OSError("podman is missing: scripts/deps test")
    limits = ", ".join(f'"{limit}"' for limit in LIMITS)
    known = {os.path.basename(runtime): runtime for runtime in runtimes}
    return (f'[containers]\ndefault_ulimits = [{limits}]\nnetns = "{netns}"\n'
            f'[engine]\ncgroup_manager = "{manager}"\nevents_logger = "file"\nruntime = "{next(iter(known))}"\n'
            f'runtime_supports_json = ["crun", "runc", "coppice-runtime"]\n'
            f'[engine.runtimes]\n' + "".join(f'"{name}" = ["{path}"]\n' for name, path in known.items()) +
            f'[network]\nnetwork_backend = "netavark"\nnetwork_config_dir = "{networks}"\n')


class Podman(DockerLike):
    program = "podman"

    def __init__(self, directory, runtime, image):
        super().__init__(directory, runtime, image)
        pathlib.Path(self.path("containers.conf")).write_text(podman_configuration("cgroupfs", [runtime], self.path("networks")))
        # podman's clean-up refuses a runroot of more than 50 characters, and podman then waits for it for 20 seconds.
        pathlib.Path(self.path("storage.conf")).write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{self.path("storage")}"\nrunroot = "/run/containers"\n')
        pathlib.Path(self.path("policy.json")).write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        os.makedirs(self.path("networks"), exist_ok=True)
        self.must("load", "-q", "-i", self.image)

    def environment(self):
        return {"CONTAINERS_CONF": self.path("containers.conf"), "CONTAINERS_STORAGE_CONF": self.path("storage.conf")}

    def command(self, *args):
        return ["podman", *args]

    def defaults(self):
        return ("--cgroup-parent", self.cgroup_parent)

    def force_removal(self, *names):
        return self.cli("rm", "-f", "-t", "0", *names)  # or it waits 10 seconds for programs that do not heed SIGTERM

    def close(self):
        self.remove_all()
        super().close()


class SystemdPodman(Podman):
    """podman with --cgroup-manager=systemd. systemd must see its processes, and its timers must find its containers:
    both workers use the machine as it is, with one storage, and tell their containers apart by a label."""

    cgroup_parent = f"{MARK}.slice"
    has_systemd = True
    lives_in_the_open = True

    @classmethod
    def set_up_machine(cls, runtimes, image):
        if not os.environ.get("COPPICE_GUEST") or not os.path.isdir("/run/systemd/system"):
            raise OSError("needs a machine of its own with systemd: tests/system/guest/test clients")
        os.makedirs("/etc/containers", exist_ok=True)
        pathlib.Path("/etc/containers/containers.conf").write_text(
            podman_configuration("systemd", runtimes.values(), "/etc/containers/networks", "none"))  # a bridge takes its time there
        pathlib.Path("/etc/containers/policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        for file in ("/etc/subuid", "/etc/subgid"):
            with open(file, "a", encoding="utf-8") as ranges:
                ranges.write(AUTO_RANGE)
        done = execute(["podman", "load", "-q", "-i", image])
        if done.status != 0:
            raise AssertionError(repr(done))

    def __init__(self, directory, runtime, image):
        DockerLike.__init__(self, directory, runtime, image)

    def environment(self):
        return {}

    def command(self, *args):
        return ["podman", "--runtime", os.path.basename(self.runtime), *args]

    def defaults(self):
        return (*super().defaults(), "--label", f"worker={MARK}")

    def remove_all(self):
        names = self.must("ps", "-aq", "--filter", f"label=worker={MARK}").split()
        if names:
            self.force_removal(*names)


class RootlessPodman(Podman):
    """podman of an ordinary user; without a network: not every host lets users have a tap device."""

    sort = "rootless"

    def __init__(self, directory, runtime, image):
        for program in ("newuidmap", "newgidmap", "setpriv"):
            if not shutil.which(program):
                raise OSError(f"{program} is missing: scripts/deps test")
        self.directory = pathlib.Path(directory)
        program = self.directory / os.path.basename(runtime)  # some hosts' build directories are closed to others
        shutil.copy(runtime, program)
        for place in (directory, self.path("networks"), "/run/user", "/run/containers"):
            os.makedirs(place, exist_ok=True)
            os.chown(place, USER, USER)
        super().__init__(directory, str(program), image)

    def environment(self):
        return {**super().environment(), "HOME": self.path(""), "XDG_RUNTIME_DIR": "/run/user", "USER": "cop"}

    def command(self, *args):
        return ["setpriv", "--reuid", str(USER), "--regid", str(USER), "--clear-groups", *super().command(*args)]

    def defaults(self):
        return ("--network", "none")

    def close(self):
        super().close()
        self.cli("system", "migrate")  # ends the process that holds the user namespace


class Docker(DockerLike):
    program = "docker"
    packages = ("containerd", "docker.io", "tini")

    def __init__(self, directory, runtime, image):
        super().__init__(directory, runtime, image)
        root = unpacked(*self.packages)
        self.programs = f"{root}/usr/bin:{root}/usr/sbin:{root}/sbin"
        start_containerd(self, root)
        configuration = {
            "data-root": self.path("docker"), "exec-root": self.path("docker-run"), "pidfile": self.path("docker.pid"),
            "hosts": [f"unix://{self.path('docker.sock')}"], "containerd": self.path("containerd.sock"), "cgroup-parent": self.cgroup_parent,
            "storage-driver": "overlay2", "exec-opts": ["native.cgroupdriver=cgroupfs"], "ipv6": False,
            "default-runtime": "judged", "runtimes": {"judged": {"path": runtime}}, "init-path": f"{root}/usr/bin/docker-init"}
        pathlib.Path(self.path("daemon.json")).write_text(json.dumps(configuration))
        self.docker = f"{root}/usr/bin/docker"
        self.serve("dockerd", [f"{root}/usr/sbin/dockerd", "--config-file", self.path("daemon.json")],
                   lambda: self.cli("version").status == 0)
        self.must("load", "-q", "-i", self.image)

    def environment(self):
        return {"PATH": f"{self.programs}:{os.environ['PATH']}", "DOCKER_CONFIG": self.path("docker-client"), "HOME": self.path("")}

    def command(self, *args):
        return [self.docker, "-H", f"unix://{self.path('docker.sock')}", *args]

    def close(self):
        self.remove_all()
        super().close()


def start_containerd(client, root):
    """containerd with nothing of the host's, for `ctr` and for dockerd."""
    pathlib.Path(client.path("containerd.toml")).write_text(
        f'version = 2\nroot = "{client.path("containerd")}"\nstate = "{client.path("containerd-run")}"\n'
        f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "{client.path("containerd.sock")}"\n')
    client.serve("containerd", [f"{root}/usr/bin/containerd", "--config", client.path("containerd.toml")],
                 lambda: execute([f"{root}/usr/bin/ctr", "-a", client.path("containerd.sock"), "version"],
                                 env=client.environment()).status == 0)


class Ctr(Client):
    sort = "ctr"
    packages = ("containerd",)

    def __init__(self, directory, runtime, image):
        super().__init__(directory, runtime, image)
        self.root = unpacked(*self.packages)
        start_containerd(self, self.root)
        self.must("image", "import", "--snapshotter", "overlayfs", self.image)

    def environment(self):
        return {"PATH": f"{self.root}/usr/bin:{os.environ['PATH']}"}

    def command(self, *args):
        # The cgroups are named after the namespace.
        return [f"{self.root}/usr/bin/ctr", "-a", self.path("containerd.sock"), "-n", MARK, *args]

    def run(self, *args, **options):
        split = args.index("--")
        return self.cli("run", "--rm", *self.defaults(), *args[:split], IMAGE, self.name(), *args[split + 1:], **options)

    def sh(self, script, *options, **more):
        return self.run(*options, "--", "sh", "-c", script, **more)

    def defaults(self):
        return ("--runc-binary", self.runtime, "--snapshotter", "overlayfs")

    def detached(self, *options, command=("sleep", "1000")):
        name = self.name()
        self.must("run", "-d", *self.defaults(), *options, IMAGE, name, *command)
        return name

    def exec(self, name, *command, options=(), **more):
        return self.cli("task", "exec", "--exec-id", self.name("e"), *options, name, *command, **more)

    def tasks(self):
        """Status by name."""
        return {line.split()[0]: line.split()[2] for line in self.must("task", "ls").splitlines()[1:]}

    def status(self, name):
        return self.tasks().get(name)

    def pid(self, name):
        return next(int(line.split()[1]) for line in self.must("task", "ls").splitlines()[1:] if line.split()[0] == name)

    def remove(self, *names):
        for name in names:
            self.cli("task", "delete", "--force", name)
            self.must("container", "delete", name)

    def remove_all(self):
        names = self.must("container", "ls", "-q").split()
        for name in names:
            self.cli("task", "delete", "--force", name)
            self.cli("container", "delete", name)

    def close(self):
        self.remove_all()
        super().close()


class Buildah(Client):
    sort = "buildah"

    def __init__(self, directory, runtime, image):
        super().__init__(directory, runtime, image)
        if not shutil.which("buildah"):
            raise OSError("buildah is missing: scripts/deps test")
        self.must("pull", "-q", f"docker-archive:{self.image}")

    def command(self, *args):
        return ["buildah", "--root", self.path("storage"), "--runroot", self.path("run"), "--storage-driver", "overlay", *args]

    def isolation(self):
        return ("--isolation", "oci", "--runtime", self.runtime)

    def container(self):
        return self.must("from", "--pull-never", "--cgroup-parent", self.cgroup_parent, "--ulimit", LIMITS[0], "--ulimit", LIMITS[1], IMAGE)

    def run(self, container, *args, **options):
        split = args.index("--")
        return self.cli("run", *self.isolation(), *args[:split], container, "--", *args[split + 1:], **options)

    def remove_all(self):
        self.cli("rm", "-a")


CLIENTS = {"podman": Podman, "systemd": SystemdPodman, "rootless": RootlessPodman, "buildah": Buildah, "containerd": Ctr, "docker": Docker}
