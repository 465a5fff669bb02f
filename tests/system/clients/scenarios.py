"""The table of scenarios. Each does something with a client and tells what it saw and what it should have seen.

`see(what, got, expected)`: values must be JSON, and the same at each run: numbers that vary are judged here.
"""

import contextlib
import json
import os
import pathlib
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
import fcntl

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from coppice_test import PATIENCE, environment, read_proc, wait_until  # noqa: E402
from clients import LIMITS, SUBORDINATE, USER, Lacks  # noqa: E402
from image import IMAGE  # noqa: E402

SCENARIOS = []


class Scenario:
    def __init__(self, name, act, sorts, clients, long):
        self.name, self.act, self.sorts, self.clients, self.long = name, act, sorts, clients, long


def scenario(*sorts, clients=(), long=False):
    """Marks a function as a scenario of clients with these command lines; `clients`: only of these.
    `long`: only with COPPICE_LONG=1, or when named."""
    def add(act):
        SCENARIOS.append(Scenario(act.__name__, act, sorts, clients, long))
        return act
    return add


# --- what several scenarios need


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, client, *args, size=(31, 97)):
        child, self.master = pty.fork()
        if child == 0:
            try:
                fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
                command = [str(arg) for arg in client.command(*args)]
                os.execvpe(command[0], command, environment(client.environment()))
            finally:
                os._exit(99)
        self.child, self.seen, self.status = child, "", None

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text):
        os.write(self.master, text.encode())

    def read(self, until=None, seconds=PATIENCE):
        """Reads until the text was seen, or to the end."""
        end = time.monotonic() + seconds
        while not (until and re.search(until, self.seen)) and time.monotonic() < end:
            if select.select([self.master], [], [], 0.2)[0]:
                try:
                    data = os.read(self.master, 65536)
                except OSError:
                    data = b""
                if not data:
                    break
                self.seen += data.decode(errors="replace")
        return self.seen

    def close(self):
        """Its exit status, after reading to the end; killed when that does not come."""
        self.read()
        if os.waitid(os.P_PID, self.child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None and not wait_until(
                lambda: os.waitid(os.P_PID, self.child, os.WEXITED | os.WNOHANG | os.WNOWAIT), 5):
            os.kill(self.child, signal.SIGKILL)
        _, status = os.waitpid(self.child, 0)
        os.close(self.master)
        return os.waitstatus_to_exitcode(status)


def lines(text):
    """Without the empty ones: some clients end the output of a terminal with one."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def cgroup_directory(pid, controller):
    """Where this host keeps a controller for a process."""
    for line in read_proc(pid, "cgroup").decode().splitlines():
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            for name in (controller, names):
                if os.path.isdir(f"/sys/fs/cgroup/{name}{path}"):
                    return pathlib.Path(f"/sys/fs/cgroup/{name}{path}")
        if not names:
            unified = path
    return pathlib.Path("/sys/fs/cgroup" + unified)


def limit(pid, controller, v1, v2):
    directory = cgroup_directory(pid, controller)
    for name in (v1, v2):
        if (directory / name).exists():
            return (directory / name).read_text().strip()
    return f"neither {v1} nor {v2} in {directory}"


def memory_limit(pid):
    return limit(pid, "memory", "memory.limit_in_bytes", "memory.max")


def pids_limit(pid):
    return limit(pid, "pids", "pids.max", "pids.max")


def cpu_share(pid):
    """Processors that the limit allows."""
    directory = cgroup_directory(pid, "cpu")
    if (directory / "cpu.max").exists():
        quota, period = (directory / "cpu.max").read_text().split()
    else:
        quota, period = ((directory / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
    return "none" if quota.strip() in ("max", "-1") else int(quota) / int(period)


def first_words(text, *patterns):
    """Which of the patterns the text has: messages differ in the rest."""
    return [pattern for pattern in patterns if re.search(pattern, text, re.IGNORECASE)]


def has_words(done, pattern):
    return bool(re.search(pattern, done.err + done.out, re.IGNORECASE))


def answer(port, text):
    """A server in this network namespace that says `text` to whoever connects, once."""
    import socket
    listener = socket.create_server(("0.0.0.0", port))

    def serve():
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            connection.sendall(text.encode())
            connection.close()
    threading.Thread(target=serve, daemon=True).start()
    return listener


# --- podman and docker


@scenario("docker")
def exit_statuses(c, see):
    see("true", c.run("--", "true").status, 0)
    see("exit 3", c.sh("exit 3").status, 3)
    missing = c.run("--", "no-such-command")
    see("no such command", [missing.status, has_words(missing, "not found|no such file")], [127, True])
    denied = c.run("--", "/bin/not-executable")
    see("not executable", [denied.status, has_words(denied, "permission denied")], [126, True])
    see("no such option", c.run("--no-such-option", "--", "true").status, 125)
    directory = c.run("--workdir", "/etc/greeting", "--", "true")
    see("working directory that is a file", directory.status != 0, True)


@scenario("docker")
def input_and_output(c, see):
    done = c.sh("cat; echo to stderr >&2", "-i", stdin="typed\n")
    see("stdin, stdout, stderr", [done.status, done.out, done.err], [0, "typed\n", "to stderr\n"])
    see("a megabyte", len(c.run("-i", "--", "cat", stdin="x" * 1_000_000).out), 1_000_000)


@scenario("docker")
def many_options(c, see):
    script = ("hostname; echo $WORD $FROM_IMAGE; id -u; id -g; id -G; pwd; ulimit -n; ulimit -c; cat /proc/sys/net/ipv4/ip_default_ttl; "
              "cat /proc/sys/kernel/msgmax; df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2; "
              "touch /scratch/a && echo written; grep -c ' /scratch tmpfs ' /proc/mounts; grep ' /scratch ' /proc/mounts | grep -c noexec; "
              "touch /x 2>&1; touch /etc/y 2>&1; test -c /dev/fuse-as && echo device; head -c 4 /dev/fuse-as | wc -c; umask; "
              "cat /proc/self/oom_score_adj")
    done = c.sh(script, "--hostname", "some-host", "--env", "WORD=a b", "--user", "1000:1000", "--group-add", "2000", "--workdir", "/home/user",
                "--ulimit", "nofile=512:600", "--ulimit", "core=0:0", "--ulimit", "nproc=1000:1000", "--sysctl", "net.ipv4.ip_default_ttl=99", "--sysctl", "kernel.msgmax=9000",
                "--shm-size", "12m", "--tmpfs", "/scratch:rw,mode=1777,noexec,size=1m", "--read-only", "--device", "/dev/zero:/dev/fuse-as:r",
                "--oom-score-adj", "500")
    refusal = "Read-only file system"
    see("status", [done.status, done.err], [0, ""])
    see("output", lines(done.out), [
        "some-host", "a b yes", "1000", "1000", "1000 2000", "/home/user", "512", "0", "99", "9000", "12288", "written", "1", "1",
        f"touch: /x: {refusal}", f"touch: /etc/y: {refusal}", "device", "4", "0022", "500"])


@scenario("docker")
def devices(c, see):
    see("only those that are given", lines(c.sh("cat /dev/null && echo null; head -c 1 /dev/full | wc -c; mknod /tmp/disk b 254 0 && "
                                                "(head -c 1 /tmp/disk 2>&1 | tail -1); echo > /dev/readable 2>&1; head -c 1 /dev/readable | wc -c",
                                                "--device", "/dev/zero:/dev/readable:r").out),
        ["null", "1", "head: /tmp/disk: Operation not permitted", "1"])


@scenario("docker")
def capabilities(c, see):
    show = "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status"

    def sets(done):
        return [line.split()[-1] for line in lines(done.out)]

    see("none", sets(c.sh(show, "--cap-drop", "all")), ["0000000000000000"] * 5 + ["0", "2"])
    one = "0000000000000001"
    see("one", sets(c.sh(show, "--cap-drop", "all", "--cap-add", "chown")), ["0" * 16, one, one, one, "0" * 16, "0", "2"])
    see("of another user", sets(c.sh(show, "--user", "1000", "--security-opt", "no-new-privileges"))[1:3] +
        sets(c.sh(show, "--user", "1000", "--security-opt", "no-new-privileges"))[5:], ["0" * 16, "0" * 16, "1", "2"])


@scenario("docker")
def seccomp_profiles(c, see):
    profile = c.path("seccomp.json")
    pathlib.Path(profile).write_text(json.dumps({
        "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95},
                     {"names": ["chmod", "fchmodat", "fchmodat2"], "action": "SCMP_ACT_KILL_PROCESS"}]}))
    done = c.sh("mkdir /tmp/a 2>&1; chmod 700 /tmp; echo $?", "--security-opt", f"seccomp={profile}")
    see("own profile", lines(done.out)[-2:], ["mkdir: can't create directory '/tmp/a': Operation not supported", "159"])
    see("none", c.sh("grep ^Seccomp: /proc/self/status", "--security-opt", "seccomp=unconfined").out.split(), ["Seccomp:", "0"])
    see("the client's own", c.run("--", "unshare", "-m", "true").status != 0, True)


@scenario("docker")
def terminals(c, see):
    # podman sends the signal as well, by the runtime, which has something to say when all is over by then.
    terminal = Terminal(c, "run", "-it", *c.defaults(), IMAGE, "sh", "-c",
                        "tty; sleep 1; stty size; trap 'trap \"\" WINCH; stty size; exit 7' WINCH; echo ready; while :; do sleep 0.1; done")
    terminal.read("ready")
    terminal.resize(40, 111)
    status = terminal.close()
    see("terminal of run", [lines(terminal.seen)[:4], status], [["/dev/pts/0", "31 97", "ready", "40 111"], 7])
    name = c.detached()
    terminal = Terminal(c, "exec", "-it", name, "sh")
    terminal.read("[#$] ")
    terminal.type("tty; echo $((6 * 7)); exit 5\n")
    status = terminal.close()
    see("terminal of exec", [first_words(terminal.seen, "/dev/pts/", r"\b42\b"), status], [["/dev/pts/", r"\b42\b"], 5])
    terminal = Terminal(c, "run", "-it", *c.defaults(), IMAGE, "sh", "-c", "trap 'exit 8' INT; echo ready; while :; do sleep 0.1; done")
    terminal.read("ready")
    terminal.type("\x03")
    see("interrupt key", terminal.close(), 8)


@scenario("docker")
def commands_inside(c, see):
    name = c.detached("--env", "A=b", "--workdir", "/etc")
    done = c.cli("exec", name, "sh", "-c", "echo $A; pwd; cat; exit 9")
    see("exec", [done.status, lines(done.out)], [9, ["b", "/etc"]])
    done = c.cli("exec", "-i", "--user", "1000", "--env", "A=c", "--workdir", "/home/user", name, "sh", "-c", "cat; echo $A; id -u; pwd", stdin="in\n")
    see("with options", [done.status, lines(done.out)], [0, ["in", "c", "1000", "/home/user"]])
    see("no such command", c.cli("exec", name, "no-such-command").status in (126, 127), True)  # docker 20.10 says 126
    see("not executable", c.cli("exec", name, "/bin/not-executable").status, 126)
    c.must("exec", "-d", name, "sh", "-c", "echo done > /tmp/done; sleep 1000")
    see("exec -d", wait_until(lambda: c.cli("exec", name, "cat", "/tmp/done").out == "done\n"), True)
    see("same cgroups", c.cli("exec", name, "sh", "-c", "cmp /proc/1/cgroup /proc/self/cgroup && echo same").out.strip(), "same")
    see("same namespaces", c.cli("exec", name, "sh", "-c", "for i in cgroup ipc mnt net pid uts; do readlink /proc/1/ns/$i; done | sort > /tmp/1; "
                                 "for i in cgroup ipc mnt net pid uts; do readlink /proc/self/ns/$i; done | sort | cmp - /tmp/1").status, 0)
    see("capabilities", c.cli("exec", name, "grep", "CapInh", "/proc/self/status").out.split()[1:], ["0000000000000000"])
    privileged = c.cli("exec", "--user", "user", name, "id", "-un")
    see("user by name", privileged.out.strip(), "user")


@scenario("docker")
def processes(c, see):
    name = c.detached(command=("sh", "-c", "sleep 1000 & sleep 1001 & wait"))

    def commands():
        return sorted(line.split()[-2:] for line in lines(c.must("top", name))[1:])
    wanted = [["&", "wait"], ["sleep", "1000"], ["sleep", "1001"]]
    wait_until(lambda: commands() == wanted)
    see("top", commands(), wanted)


@scenario("docker")
def logs(c, see):
    name = c.detached(command=("sh", "-c", "echo one; echo two >&2; sleep 0.3; echo three"))
    c.must("wait", name)
    done = c.cli("logs", name)
    see("logs", [lines(done.out), lines(done.err)], [["one", "three"], ["two"]])


@scenario("docker")
def life(c, see):
    name = c.detached(command=("sh", "-c", "trap 'echo usr1' USR1; trap 'echo term; exit 5' TERM; echo up; while :; do sleep 0.1; done"))
    see("running", c.status(name), "running")
    wait_until(lambda: "up" in c.cli("logs", name).out)
    c.must("kill", "--signal", "USR1", name)
    see("signal", wait_until(lambda: "usr1" in c.cli("logs", name).out), True)
    c.must("pause", name)
    see("paused", c.status(name), "paused")
    see("exec in a paused one", c.cli("exec", name, "true").status != 0, True)
    c.must("unpause", name)
    see("running again", c.status(name), "running")
    c.must("stop", name)
    see("stopped in its own way", [c.status(name), int(c.inspect(name, ".State.ExitCode")), "term" in c.cli("logs", name).out], ["exited", 5, True])
    c.must("start", name)
    see("started again", c.status(name), "running")
    first = c.pid(name)
    c.must("restart", "-t", "1", name)
    see("restarted", [c.status(name), c.pid(name) != first], ["running", True])
    c.must("kill", name)
    wait_until(lambda: c.status(name) == "exited")
    see("killed", [c.status(name), int(c.inspect(name, ".State.ExitCode"))], ["exited", 137])
    see("kill of a dead one", c.cli("kill", name).status != 0, True)
    c.remove(name)
    see("removed", c.cli("inspect", name).status != 0, True)


@scenario("docker")
def stop_by_force(c, see):
    name = c.detached(command=("sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.1; done"))
    wait_until(lambda: "up" in c.cli("logs", name).out)
    start = time.monotonic()
    c.must("stop", "-t", "1", name)
    see("stopped after the grace", [int(c.inspect(name, ".State.ExitCode")), 0.9 < time.monotonic() - start < 9], [137, True])


@scenario("docker")
def removal(c, see):
    running, paused, created = c.detached(), c.detached(), c.name()
    c.must("create", "--name", created, *c.defaults(), IMAGE, "true")
    c.must("pause", paused)
    see("rm without -f", c.cli("rm", running).status != 0, True)
    volatile = c.name()
    c.must("run", "--rm", "--name", volatile, *c.defaults(), IMAGE, "sleep", "1")
    see("run --rm", wait_until(lambda: c.cli("inspect", volatile).status != 0), True)
    for what, name in (("running", running), ("paused", paused), ("created", created)):
        done = c.force_removal(name)
        see(what, [done.status, c.cli("inspect", name).status != 0], [0, True])


@scenario("docker")
def limits(c, see):
    name = c.detached("--memory", "64m", "--memory-reservation", "32m", "--cpus", "0.5", "--pids-limit", "40", "--cpu-shares", "512")
    pid = c.pid(name)
    see("set", [memory_limit(pid), cpu_share(pid), pids_limit(pid)], [str(64 << 20), 0.5, "40"])
    seen = c.cli("exec", name, "sh", "-c", "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null").out.strip()
    see("seen from inside", seen, str(64 << 20))


@scenario("docker")
def update(c, see):
    name = c.detached("--memory", "64m", "--memory-swap", "-1")
    pid = c.pid(name)
    options = ["--cpus", "0.25", "--memory", "48m", "--memory-swap", "-1"]
    has_pids = "--pids-limit" in c.must("update", "--help")  # podman 4.3 lacks it
    if has_pids:
        options += ["--pids-limit", "30"]
    done = c.cli("update", *options, name)
    see("update", [done.status, done.err], [0, ""])
    see("limits", [cpu_share(pid), memory_limit(pid)], [0.25, str(48 << 20)])
    if has_pids:
        see("limit of processes", pids_limit(pid), "30")
    see("still running", c.status(name), "running")


@scenario("docker")
def statistics(c, see):
    # A buffer of dd, which nobody takes over: podman 4.3 counts nothing but anonymous memory on cgroup v2.
    name = c.detached("--memory", "200m", command=("sh", "-c", "dd if=/dev/zero bs=80M count=2 2>/dev/null | sleep 1000 & while :; do :; done"))
    wait_until(lambda: int(limit(c.pid(name), "memory", "memory.usage_in_bytes", "memory.current")) > 80 << 20)
    time.sleep(1)
    used, percent, tasks = [], [], []
    for _ in range(2):
        values = c.must("stats", "--no-stream", "--format", "{{.MemUsage}};{{.CPUPerc}};{{.PIDs}};{{.MemPerc}}", name).split(";")
        number, unit = re.match(r"([\d.]+)([kMG]i?)B", values[0]).groups()
        used.append(float(number) * {"M": 1e6, "Mi": 2**20, "k": 1e3, "ki": 2**10, "G": 1e9, "Gi": 2**30}[unit] / 2**20)
        percent.append(float(values[1].rstrip("%")))
        tasks.append(values[2])
    see("memory of 80 MiB", 79 < used[-1] < 90 or used[-1], True)
    # Two of these run at once, beside others; podman's first figure is a mean since the start.
    see("a busy processor", 15 < max(percent) < 130 or max(percent), True)
    see("processes", tasks[-1], "3")


@scenario("docker")
def out_of_memory(c, see):
    name = c.name()
    done = c.cli("run", "--name", name, *c.defaults(), "--memory", "16m", "--memory-swap", "16m", IMAGE, "tail", "/dev/zero")
    see("status", done.status, 137)
    see("reported", c.inspect(name, ".State.OOMKilled"), "true")
    # systemd removes a cgroup as soon as it is empty, and conmon may be too late to look at it; not so here.
    name = c.name()
    done = c.cli("run", "--name", name, *c.defaults(), "--memory", "16m", "--memory-swap", "16m", IMAGE,
                 "sh", "-c", "tail /dev/zero; code=$?; sleep 2; exit $code")
    see("of a child", [done.status, c.inspect(name, ".State.OOMKilled")], [137, "true"])


@scenario("docker")
def fork_bomb(c, see):
    name = c.detached("--pids-limit", "20", command=("sh", "-c", "i=0; while [ $i -lt 60 ]; do sleep 1000 & i=$((i+1)); done; wait"))
    wait_until(lambda: "fork" in (done := c.cli("logs", name)).err + done.out)
    done = c.cli("logs", name)
    see("refused", "can't fork" in done.err, True)
    see("the host is well", subprocess.run(["true"], check=False).returncode, 0)
    start = time.monotonic()
    c.remove(name)
    see("removed", time.monotonic() - start < 20, True)


@scenario("docker")
def volumes(c, see):
    directory = pathlib.Path(c.path("volume"))
    directory.mkdir(exist_ok=True)
    directory.chmod(0o777)
    (directory / "file").write_text("host\n")
    done = c.sh("cat /v/file /f; touch /v/new 2>&1; echo x > /f; echo $?; touch /w/new && echo written; ls /named", "-v", f"{directory}:/v:ro",
                "-v", f"{directory}/file:/f", "-v", f"{directory}:/w/", "-v", f"{c.name('v')}:/named")
    see("ro, file, rw, named", lines(done.out), ["host", "host", "touch: /v/new: Read-only file system", "0", "written"])
    see("on the host", [(directory / "file").read_text(), (directory / "new").exists()], ["x\n", True])
    done = c.sh("cat /deep/er/file; cat /proc/mounts | grep ' /deep/er ' | cut -d' ' -f4 | cut -d, -f1", "--mount",
                f"type=bind,source={directory},target=/deep/er,readonly")
    see("--mount", lines(done.out), ["x", "ro"])
    see("missing source", c.run("--mount", f"type=bind,source={directory}/missing,target=/m", "--", "true").status, 125)


@scenario("docker")
def propagation(c, see):
    directory = pathlib.Path(c.path("shared"))
    (directory / "sub").mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "--bind", directory, directory], check=True)
    subprocess.run(["mount", "--make-shared", directory], check=True)
    try:
        slave = c.detached("-v", f"{directory}:/v:rslave")
        private = c.detached("-v", f"{directory}:/v:rprivate")
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", directory / "sub"], check=True)
        (directory / "sub/late").write_text("late")
        see("rslave sees later mounts", c.cli("exec", slave, "cat", "/v/sub/late").out, "late")
        see("rprivate does not", c.cli("exec", private, "ls", "/v/sub").out, "")
        c.remove(slave, private)
    finally:
        subprocess.run(["umount", "-R", directory], check=True)
    see("nothing is left", subprocess.run(["mountpoint", "-q", directory], check=False).returncode, 32)


@scenario("docker")
def networks(c, see):
    see("none", lines(c.run("--network", "none", "--", "ls", "/sys/class/net").out), ["lo"])
    host = os.readlink("/proc/self/ns/net")
    see("host", c.run("--network", "host", "--", "readlink", "/proc/self/ns/net").out.strip() == host, True)
    with answer(18080, "from the host\n"):
        done = c.sh("ip -4 -o addr show eth0 | wc -l; gateway=$(ip route | sed -n 's/default via \\([^ ]*\\).*/\\1/p'); nc $gateway 18080 < /dev/null", "--network", "bridge")
        see("bridge", lines(done.out), ["1", "from the host"])
    server = c.detached("--network", "bridge", "-p", "127.0.0.1:18081:80", command=("sh", "-c", "while :; do echo from inside | nc -l -p 80; done"))
    see("published port", wait_until(lambda: "from inside" in subprocess.run(
        ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/18081 && timeout 5 head -n 1 <&3"], capture_output=True, text=True, check=False).stdout, 10, 0.3), True)
    see("of another container", c.sh("ls /sys/class/net; readlink /proc/self/ns/net", "--network", f"container:{server}").out ==
        c.must("exec", server, "sh", "-c", "ls /sys/class/net; readlink /proc/self/ns/net") + "\n", True)


@scenario("docker")
def shared_namespaces(c, see):
    see("--pid=host", c.run("--pid", "host", "--", "readlink", "/proc/self/ns/pid").out.strip() == os.readlink("/proc/self/ns/pid"), True)
    other = c.detached("--ipc", "shareable")
    see("--pid=container", c.run("--pid", f"container:{other}", "--", "cat", "/proc/1/comm").out.strip(), "sleep")
    see("--ipc=container", c.run("--ipc", f"container:{other}", "--", "readlink", "/proc/self/ns/ipc").out ==
        c.cli("exec", other, "readlink", "/proc/1/ns/ipc").out, True)
    see("--ipc=host", c.run("--ipc", "host", "--", "readlink", "/proc/self/ns/ipc").out.strip() == os.readlink("/proc/self/ns/ipc"), True)
    see("--uts=host", c.run("--uts", "host", "--", "readlink", "/proc/self/ns/uts").out.strip() == os.readlink("/proc/self/ns/uts"), True)
    see("--cgroupns=host", c.run("--cgroupns", "host", "--", "readlink", "/proc/self/ns/cgroup").out.strip() == os.readlink("/proc/self/ns/cgroup"), True)


@scenario("docker")
def init_process(c, see):
    done = c.sh("cat /proc/1/comm; sleep 0.1 & exec true", "--init")
    see("--init", [done.status, re.sub("catatonit|(docker|podman)-init|tini", "init", done.out.strip())], [0, "init"])
    done = c.sh("exit 4", "--init")
    see("its status", done.status, 4)


@scenario("docker")
def created_then_started(c, see):
    name = c.name()
    c.must("create", "-i", "--name", name, *c.defaults(), IMAGE, "cat")
    see("created", c.status(name), "created")
    done = c.cli("start", "-a", "-i", name, stdin="attached\n")
    see("attached", [done.status, done.out], [0, "attached\n"])


@scenario("docker")
def files(c, see):
    name = c.detached()
    source = pathlib.Path(c.path("copied"))
    source.write_text("copied\n")
    c.must("cp", str(source), f"{name}:/tmp/there")
    see("into", c.cli("exec", name, "cat", "/tmp/there").out, "copied\n")
    c.must("cp", f"{name}:/etc/greeting", c.path("back"))
    see("from", pathlib.Path(c.path("back")).read_text(), "from the image\n")
    see("changes", first_words(c.must("diff", name), "A /tmp/there"), ["A /tmp/there"])


@scenario("docker", long=True)
def privileged(c, see):
    done = c.sh("grep -c '^/dev' /proc/mounts >/dev/null; mount -t tmpfs none /mnt && echo mounted; touch /proc/sys/net/ipv4/ip_default_ttl && echo writable",
                "--privileged")
    see("may mount", [done.status, lines(done.out)], [0, ["mounted", "writable"]])


@scenario("docker", long=True)
def many_at_once(c, see):
    names = []
    workers = [threading.Thread(target=lambda: names.append(c.run("--network", "none", "--", "echo", "here"))) for _ in range(12)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    see("twelve at once", [[done.status, done.out] for done in names], [[0, "here\n"]] * 12)


@scenario("docker", long=True)
def restart_policy(c, see):
    name = c.detached("--restart", "on-failure:2", command=("sh", "-c", "sleep 0.2; exit 1"))
    see("restarted twice", wait_until(lambda: c.inspect(name, ".RestartCount") == "2" and c.status(name) == "exited", 20, 0.2), True)


# --- podman alone


@scenario("docker", clients=("podman",))
def user_namespaces(c, see):
    done = c.sh("cat /proc/self/uid_map; id -u; touch /tmp/a; stat -c %u /tmp/a /etc/passwd", "--userns", "auto:size=2048")
    words = [line.split() for line in lines(done.out)]
    see("auto", [done.status, words and words[0][0], words and words[0][2], words[1:]], [0, "0", "2048", [["0"], ["0"], ["0"]]])
    done = c.sh("cat /proc/self/uid_map; id -u; ls /sys/class/net", "--uidmap", "0:1300000000:5000", "--gidmap", "0:1300000000:5000", "--network", "none")
    see("--uidmap", [done.status, [line.split() for line in lines(done.out)]], [0, [["0", "1300000000", "5000"], ["0"], ["lo"]]])
    see("exec", c.cli("exec", c.detached("--userns", "auto"), "id", "-u").out, "0\n")


@scenario("docker", clients=("podman",))
def health_checks(c, see):
    name = c.detached("--health-cmd", "test -e /tmp/healthy", "--health-interval", "disable", "--health-retries", "1")
    see("unhealthy", c.cli("healthcheck", "run", name).status, 1)
    c.must("exec", name, "touch", "/tmp/healthy")
    see("healthy", [c.cli("healthcheck", "run", name).status, c.inspect(name, ".State.Healthcheck.Status")], [0, "healthy"])


@scenario("docker", clients=("podman",))
def scheduled_health_checks(c, see):
    if not c.has_systemd:
        raise Lacks("no systemd here, whose timers run the checks")
    name = c.detached("--health-cmd", "test -e /tmp/healthy", "--health-interval", "2s", "--health-retries", "1",
                      command=("sh", "-c", "touch /tmp/healthy; sleep 1000"))

    def becomes(status):
        return wait_until(lambda: c.inspect(name, ".State.Healthcheck.Status") == status, PATIENCE / 3, 0.3)

    see("healthy", becomes("healthy"), True)
    c.must("exec", name, "rm", "/tmp/healthy")
    see("unhealthy", becomes("unhealthy"), True)
    c.remove(name)


@scenario("docker", clients=("podman",))
def systemd_scope(c, see):
    """systemd knows the scope and its limits, and undoes nothing when it writes them again."""
    if not c.has_systemd:
        raise Lacks("no systemd here, which makes the cgroups")
    name = c.detached("--memory", "64m", "--memory-swap", "96m", "--cpus", "0.5", "--pids-limit", "50", "--cpu-shares", "512", "--cpuset-cpus", "0")
    unit, directory = f"libpod-{c.inspect(name, '.ID')}.scope", cgroup_directory(c.pid(name), "memory")

    def files(*names):
        return [(directory / file).read_text().strip() for file in names]

    def with_reload(*names):
        before = files(*names)
        subprocess.run(["systemctl", "daemon-reload"], check=True)
        return [before, files(*names)]

    shown = subprocess.run(["systemctl", "show", unit, "-p", "Slice,Delegate,ActiveState"], capture_output=True, text=True, check=True).stdout
    see("scope", [directory.name == unit, sorted(lines(shown.replace(c.cgroup_parent, "mine")))], [True, ["ActiveState=active", "Delegate=yes", "Slice=mine"]])
    limits = [str(64 << 20), str(32 << 20), "50000 100000", "50", "20", "0"]
    see("limits", with_reload("memory.max", "memory.swap.max", "cpu.max", "pids.max", "cpu.weight", "cpuset.cpus"), [limits, limits])
    c.must("update", "--memory", "48m", "--cpus", "0.25", name)
    see("updated", with_reload("memory.max", "cpu.max"), [[str(48 << 20), "25000 100000"]] * 2)
    c.remove(name)
    see("gone", wait_until(lambda: not directory.exists()), True)


@scenario("docker", clients=("podman",))
def preserved_descriptors(c, see):
    reader, writer = os.pipe()
    os.write(writer, b"by descriptor\n")
    os.close(writer)
    if reader != 3:
        os.dup2(reader, 3)
        os.close(reader)
    try:
        done = c.sh("cat <&3; ls /proc/self/fd | wc -l", "--preserve-fds", "1", pass_fds=(3,))
    finally:
        os.close(3)
    see("the third", [done.status, lines(done.out)], [0, ["by descriptor", "5"]])


@scenario("docker", clients=("podman",))
def lost_monitor(c, see):
    name = c.detached()
    see("exists", c.cli("container", "exists", name).status, 0)
    pid, container = c.pid(name), c.inspect(name, ".ID")
    monitor = int(c.inspect(name, ".State.ConmonPid"))
    os.kill(monitor, signal.SIGKILL)
    wait_until(lambda: not os.path.exists(f"/proc/{monitor}"))
    see("still there", [c.cli("container", "exists", name).status, os.path.exists(f"/proc/{pid}")], [0, True])
    see("removed", [c.force_removal(name).status, c.cli("container", "exists", name).status], [0, 1])
    see("its process", wait_until(lambda: read_proc(pid, "stat").rpartition(b") ")[2][:1] in (b"", b"Z", b"X")), True)
    # podman 4.3 forgets to tell the runtime then.
    see("what podman leaves", subprocess.run([c.runtime, "delete", "--force", container], check=False).returncode, 0)


@scenario("docker", clients=("podman",))
def prepared(c, see):
    """`podman init` leaves a container that is created, and not started, for the runtime."""
    name = c.name()
    c.must("create", "--name", name, *c.defaults(), IMAGE, "echo", "started")
    c.must("init", name)
    see("initialized", c.status(name), "initialized")
    see("start", c.cli("start", "-a", name).out, "started\n")
    other = c.name()
    c.must("create", "--name", other, *c.defaults(), IMAGE, "true")
    c.must("init", other)
    see("rm -f", c.force_removal(other).status, 0)


@scenario("docker", clients=("podman",))
def inspection(c, see):
    name = c.detached("--label", "a=b")
    values = json.loads(c.must("inspect", name))[0]
    see("runtime", values["OCIRuntime"], os.path.basename(c.runtime))
    see("state", [values["State"]["Running"], values["State"]["Paused"], values["State"]["Pid"] > 0], [True, False, True])
    generated = c.must("generate", "kube", name)
    see("generate kube", first_words(generated, "kind: Pod", IMAGE), ["kind: Pod", IMAGE])


@scenario("docker", clients=("podman",))
def build(c, see):
    context, built = pathlib.Path(c.path("context")), c.name("built")
    context.mkdir(exist_ok=True)
    (context / "Containerfile").write_text(f"FROM {IMAGE}\nRUN echo built > /built && id -u > /uid\nUSER user\nWORKDIR /tmp\n"
                                           "RUN id -un > who; test ! -w /etc\nENV A=b\nCMD cat /built /uid /tmp/who\n")
    done = c.cli("build", "-q", "--isolation", "oci", "--runtime", c.runtime, "--network", "none", "--cgroup-parent", c.cgroup_parent, "-t", built, str(context))
    see("build", done.status, 0)
    see("what it made", lines(c.cli("run", *c.defaults(), built).out), ["built", "0", "user"])
    (context / "Containerfile").write_text(f"FROM {IMAGE}\nRUN exit 6\n")
    done = c.cli("build", "-q", "--isolation", "oci", "--runtime", c.runtime, "--network", "none", "--cgroup-parent", c.cgroup_parent, str(context))
    see("a step that fails", [done.status != 0, has_words(done, "exit status 6")], [True, True])


@scenario("docker", clients=("podman",), long=True)
def pods(c, see):
    pod = c.name("pod")
    c.must("pod", "create", "--name", pod, "--infra-image", IMAGE, "--infra-command", "sleep 1000")
    try:
        see("member", c.cli("run", "--rm", "--pod", pod, *c.defaults()[:0], IMAGE, "hostname").out.strip(), pod)
    finally:
        c.must("pod", "rm", "-f", pod)


# --- podman of an ordinary user


@scenario("rootless")
def rootless_run(c, see):
    see("statuses", [c.run("--", "true").status, c.sh("exit 3").status, c.run("--", "no-such-command").status,
                     c.run("--", "/bin/not-executable").status], [0, 3, 127, 126])
    done = c.sh("id -u; cat /proc/self/uid_map; stat -c %u /etc/greeting; cat; ls /sys/class/net", "-i", stdin="in\n")
    see("as root inside", [line.split() for line in lines(done.out)],
        [["0"], ["0", str(USER), "1"], ["1", str(SUBORDINATE), "65536"], ["0"], ["in"], ["lo"]])
    see("another user", c.run("--user", "user", "--", "id", "-u").out, "1000\n")
    terminal = Terminal(c, "run", "-it", *c.defaults(), IMAGE, "sh", "-c", "tty; sleep 1; stty size; exit 7")
    see("terminal", [terminal.close(), lines(terminal.seen)], [7, ["/dev/pts/0", "31 97"]])


@scenario("rootless")
def rootless_life(c, see):
    name = c.detached(command=("sh", "-c", "trap 'echo term; exit 5' TERM; echo up; while :; do sleep 0.1; done"))
    see("running", c.status(name), "running")
    see("logs", wait_until(lambda: "up" in c.cli("logs", name).out), True)
    done = c.cli("exec", "-i", "--user", "1000", "--env", "A=c", name, "sh", "-c", "cat; echo $A; id -u; exit 9", stdin="in\n")
    see("exec", [done.status, lines(done.out)], [9, ["in", "c", "1000"]])
    c.must("stop", name)
    see("stopped in its own way", [c.status(name), int(c.inspect(name, ".State.ExitCode"))], ["exited", 5])
    c.must("start", name)
    see("started again", c.status(name), "running")
    see("rm -f", [c.force_removal(name).status, c.cli("container", "exists", name).status], [0, 1])


@scenario("rootless")
def rootless_volumes(c, see):
    directory = pathlib.Path(c.path("volume"))
    directory.mkdir(exist_ok=True)
    os.chown(directory, USER, USER)
    done = c.sh("touch /v/new /named/new && stat -c %u /v/new; touch /ro/x 2>&1", "-v", f"{directory}:/v", "-v", f"{c.name('v')}:/named", "-v", f"{directory}:/ro:ro")
    see("inside", lines(done.out), ["0", "touch: /ro/x: Read-only file system"])
    see("owner on the host", (directory / "new").stat().st_uid, USER)
    done = c.sh("id -u; touch /v/kept && stat -c %u /v/kept /etc/greeting", "--userns", "keep-id", "-v", f"{directory}:/v")
    see("--userns=keep-id", [done.status, lines(done.out)], [0, [str(USER), str(USER), "0"]])
    see("its owner on the host", (directory / "kept").stat().st_uid, USER)


@scenario("rootless")
def rootless_build(c, see):
    context = pathlib.Path(c.path("context"))
    context.mkdir(exist_ok=True)
    (context / "Containerfile").write_text(f"FROM {IMAGE}\nRUN echo built > /built && id -u > /uid\nCMD cat /built /uid\n")
    done = c.cli("build", "-q", "--isolation", "oci", "--runtime", c.runtime, "--network", "none", "-t", "built", str(context))
    see("build", [done.status, [line for line in lines(done.err) if "rror" in line]], [0, []])
    see("what it made", lines(c.cli("run", *c.defaults(), "built").out), ["built", "0"])


# --- buildah


@scenario("buildah")
def working_container(c, see):
    container = c.container()
    see("status", [c.run(container, "--", "true").status, c.run(container, "--", "sh", "-c", "exit 3").status], [0, 3])
    see("no such command", c.run(container, "--", "no-such-command").status != 0, True)
    volume = pathlib.Path(c.path("volume"))
    volume.mkdir(exist_ok=True)
    (volume / "file").write_text("host\n")
    done = c.run(container, "--user", "1000:1000", "--hostname", "h", "-v", f"{volume}:/v:ro", "--env", "A=b", "--workingdir", "/home/user", "--",
                 "sh", "-c", "cat /v/file; id -u; hostname; echo $A; pwd; touch /v/x 2>&1")
    see("options", lines(done.out), ["host", "1000", "h", "b", "/home/user", "touch: /v/x: Read-only file system"])
    done = c.run(container, "--cap-drop", "all", "--", "grep", "CapEff", "/proc/self/status")
    see("capabilities", done.out.split()[1:], ["0" * 16])
    see("written", [c.run(container, "--", "sh", "-c", "echo kept > /kept").status, c.run(container, "--", "cat", "/kept").out], [0, "kept\n"])
    terminal = Terminal(c, "run", *c.isolation(), "--tty", container, "--", "tty")
    see("terminal", [terminal.close(), lines(terminal.seen)], [0, ["/dev/pts/0"]])
    see("input", c.run(container, "--", "cat", stdin="typed\n").out, "typed\n")
    see("no network", lines(c.run(container, "--network", "none", "--", "ls", "/sys/class/net").out), ["lo"])
    see("host's network", c.run(container, "--network", "host", "--", "readlink", "/proc/self/ns/net").out.strip() == os.readlink("/proc/self/ns/net"), True)


@scenario("buildah")
def build_file(c, see):
    context = pathlib.Path(c.path("context"))
    context.mkdir(exist_ok=True)
    (context / "Containerfile").write_text(f"FROM {IMAGE}\nRUN echo built > /built && ls / | wc -l\nUSER user\nWORKDIR /tmp\nRUN id -un > who\n")
    done = c.cli("bud", *c.isolation(), "--cgroup-parent", c.cgroup_parent, "--ulimit", LIMITS[0], "--ulimit", LIMITS[1], "--pull-never", "--network", "none", "-t", "built", str(context))
    see("build", [done.status, [line for line in lines(done.err) if "rror" in line]], [0, []])
    container = c.must("from", "--pull-never", "localhost/built")
    see("what it made", c.run(container, "--network", "none", "--", "cat", "/built", "/tmp/who").out, "built\nuser\n")
    (context / "Containerfile").write_text(f"FROM {IMAGE}\nRUN exit 6\n")
    done = c.cli("bud", *c.isolation(), "--cgroup-parent", c.cgroup_parent, "--ulimit", LIMITS[0], "--ulimit", LIMITS[1], "--pull-never", "--network", "none", str(context))
    see("a step that fails", [done.status != 0, has_words(done, "exit status 6")], [True, True])


# --- containerd with ctr


@scenario("ctr")
def ctr_run(c, see):
    see("statuses", [c.run("--", "true").status, c.sh("exit 3").status], [0, 3])
    missing = c.run("--", "no-such-command")
    see("no such command", [missing.status != 0, has_words(missing, "not found|no such file")], [True, True])
    directory = pathlib.Path(c.path("volume"))
    directory.mkdir(exist_ok=True)
    (directory / "file").write_text("host\n")
    done = c.sh("cat /v/file; touch /v/x 2>&1; touch /x 2>&1; echo $A; id -u; pwd; ls /sys/class/net; head -n 1", "--mount",
                f"type=bind,src={directory},dst=/v,options=rbind:ro", "--read-only", "--env", "A=b", "--cwd", "/home/user", stdin="in\n")
    see("options", lines(done.out), ["host", "touch: /v/x: Read-only file system", "touch: /x: Read-only file system", "b", "0", "/home/user", "lo", "in"])
    see("host's network", c.run("--net-host", "--", "readlink", "/proc/self/ns/net").out.strip() == os.readlink("/proc/self/ns/net"), True)


@scenario("ctr")
def ctr_terminals(c, see):
    terminal = Terminal(c, "run", "--rm", "-t", *c.defaults(), IMAGE, c.name(), "sh", "-c", "tty; sleep 1; stty size; exit 7")
    see("terminal of run", [terminal.close(), lines(terminal.seen)], [7, ["/dev/pts/0", "31 97"]])
    name = c.detached()
    terminal = Terminal(c, "task", "exec", "-t", "--exec-id", "e", name, "sh", "-c", "sleep 1; stty size; exit 5")
    see("terminal of exec", [terminal.close(), lines(terminal.seen)], [5, ["31 97"]])


@scenario("ctr")
def ctr_life(c, see):
    name = c.detached(command=("sh", "-c", "trap 'exit 5' TERM; sleep 1000 & while :; do sleep 0.1; done"))
    see("running", c.status(name), "RUNNING")
    done = c.exec(name, "sh", "-c", "echo inside; exit 9")
    see("exec", [done.status, done.out], [9, "inside\n"])
    see("with options", c.exec(name, "sh", "-c", "id -u; pwd", options=("--user", "1000", "--cwd", "/home/user")).out, "1000\n/home/user\n")
    see("no such command", c.exec(name, "no-such-command").status != 0, True)
    see("ps", len(lines(c.must("task", "ps", name))) >= 3, True)
    c.must("task", "pause", name)
    see("paused", c.status(name), "PAUSED")
    c.must("task", "resume", name)
    see("running again", c.status(name), "RUNNING")
    c.must("task", "kill", "--signal", "TERM", name)
    see("stopped", wait_until(lambda: c.status(name) == "STOPPED"), True)
    see("deleted", c.cli("task", "delete", name).status, 5)
    # The same container again: create with the same id, after delete.
    c.must("task", "start", "-d", name)
    see("started again", c.status(name), "RUNNING")
    c.must("task", "kill", "--signal", "KILL", "--all", name)
    see("all killed", wait_until(lambda: c.status(name) == "STOPPED"), True)
    c.remove(name)


@scenario("ctr")
def ctr_limits(c, see):
    name = c.detached("--memory-limit", str(64 << 20), "--cpus", "0.5",
                      command=("sh", "-c", "dd if=/dev/zero of=/dev/shm/x bs=1M count=20 2>/dev/null; sleep 1000"))
    pid = c.pid(name)
    see("set", [memory_limit(pid), cpu_share(pid)], [str(64 << 20), 0.5])
    wait_until(lambda: "20971520" in c.exec(name, "stat", "-c", "%s", "/dev/shm/x").out)
    metrics = dict(line.split()[:2] for line in lines(c.must("task", "metrics", name)) if len(line.split()) >= 2)
    see("metrics: memory", 20 << 20 <= int(metrics.get("memory.usage_in_bytes", metrics.get("memory.usage", 0))) <= 30 << 20, True)
    see("metrics: processes", metrics.get("pids.current"), "2" if "sh" in read_proc(pid, "comm").decode() else "1")
    see("killed for memory", c.run("--memory-limit", str(16 << 20), "--", "tail", "/dev/zero").status, 137)


@scenario("ctr", long=True)
def ctr_privileged(c, see):
    done = c.sh("mount -t tmpfs none /mnt && echo mounted", "--privileged")
    see("mounted", done.out, "mounted\n")


@scenario("ctr", long=True)
def ctr_snapshotters(c, see):
    done = c.cli("run", "--rm", "--runc-binary", c.runtime, "--snapshotter", "native", IMAGE, c.name(), "cat", "/etc/greeting")
    see("native", done.out, "from the image\n")
