"""Namespaces for a whole test: what it starts and mounts ends with it, whatever goes wrong."""

import ctypes
import os
import signal
import sys
import traceback

NEWNS, NEWNET, NEWPID = 0x20000, 0x40000000, 0x20000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE, MS_SLAVE, MS_SHARED = 2, 4, 8, 0x1000, 0x4000, 1 << 18, 1 << 19, 1 << 20
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result, what):
    if result != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def mount(source, target, kind=None, flags=0, data=None):
    _check(_libc.mount(source.encode(), target.encode(), kind and kind.encode(), flags, data and data.encode()), f"mount {target}")


def unshare(flags):
    _check(_libc.unshare(flags), "unshare")


def inside(act, flags=0):
    """Runs `act` in a process with mount and pid namespaces of its own; `flags` asks for more. Returns its exit status.

    When it ends, or this process does, the kernel ends all others in there.
    """
    sys.stdout.flush()
    outer = os.getpid()
    child = os.fork()  # this process stays where it is
    if child == 0:
        _end_with(outer)
        unshare(NEWNS | NEWPID | flags)
        mount("none", "/", flags=MS_REC | MS_PRIVATE)
        first = os.fork()
        if first == 0:
            os._exit(_first_process(act))
        os._exit(os.waitstatus_to_exitcode(os.waitpid(first, 0)[1]) & 0xFF)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _end_with(parent):
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() not in (parent, 0):  # it is gone already; 0: in another pid namespace
        os._exit(1)


def _first_process(act):
    """The init of the pid namespace: does nothing but wait, also for orphans of others."""
    _end_with(0)
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    worker = os.fork()
    if worker == 0:
        status = 1
        try:
            status = act() or 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
        except BaseException:  # noqa: BLE001: the exit handlers are the parent's
            traceback.print_exc()
        sys.stdout.flush()
        os._exit(status)
    while True:
        pid, status = os.wait()
        if pid == worker:
            return max(os.waitstatus_to_exitcode(status), -1) & 0xFF
