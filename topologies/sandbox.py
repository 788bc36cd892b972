"""Run a command in namespaces of its own, and leave nothing behind however it ends.

    python -m topologies.sandbox [--] COMMAND [ARGUMENT...]

COMMAND gets new network, mount, PID, UTS, IPC and cgroup namespaces. In them: a fresh /proc and /sys, an empty bpffs at
/sys/fs/bpf, the run's own cgroup v2 tree at /sys/fs/cgroup, a tmpfs at /run, and the loopback interface up. The exit
status passes through (128 + N for a command that signal N killed); 125 means that the sandbox could not be made.

Four processes, so that a kill -9 of any one of them leaves nothing:

    outer   what the caller started: passes signals on, cleans up, returns the status
    reaper  its own session; waits for the outer process to end, and cleans up if that could not
    init    process 1 of the PID namespace: ends when COMMAND or the outer process has, and all of the namespace with it
    COMMAND

All but the first two are in a cgroup of this run, which is killed and removed at the end.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from topologies import cgroup2, system
from topologies.ending import end_all
from topologies.reaper import Reaper, ReaperError

NAMESPACES = (
    system.CLONE_NEWNS | system.CLONE_NEWNET | system.CLONE_NEWUTS | system.CLONE_NEWIPC | system.CLONE_NEWCGROUP
)
FAILED = 125
GRACE_SECONDS = 15.0
END_SECONDS = 5.0
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_MARK = Path("/run/migrate-lab-sandbox")
_USAGE = "usage: python -m topologies.sandbox [--] COMMAND [ARGUMENT...]"


class SandboxError(Exception):
    """The sandbox cannot be made here; the text is one sentence that says what to do."""


def run_in_sandbox(argv: Sequence[str], **popen: Any) -> subprocess.Popen[Any]:
    """Start `argv` in a new sandbox; keyword arguments are those of `subprocess.Popen`.

    The process returned is the sandbox's outer one: its return code is the command's, `terminate()` reaches the
    command, and `kill()` ends the whole sandbox at once. Safe to call from any thread, several times side by side.
    """
    home = str(Path(__file__).resolve().parent.parent)
    start = f"import sys; sys.path.insert(0, {home!r}); from topologies.sandbox import main; sys.exit(main())"
    return subprocess.Popen([sys.executable, "-c", start, "--", *argv], **popen)


def is_inside() -> bool:
    """Whether this process runs in a sandbox."""
    return _MARK.exists()


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    command = list(sys.argv[1:] if argv is None else argv)
    if command[:1] in (["-h"], ["--help"]):
        print(__doc__)
        return 0
    if command[:1] == ["--"]:
        command = command[1:]
    elif command and command[0].startswith("-"):
        print(f"sandbox: unknown option {command[0]}; {_USAGE}", file=sys.stderr)
        return FAILED
    if not command:
        print(f"sandbox: no command given; {_USAGE}", file=sys.stderr)
        return FAILED
    try:
        return _outer(command)
    except (SandboxError, ReaperError, cgroup2.NoCgroup2) as error:
        print(f"sandbox: {error}", file=sys.stderr)
        return FAILED


# --- outer ------------------------------------------------------------------------------------------------------------


def _outer(command: list[str]) -> int:
    if os.geteuid() != 0:
        raise SandboxError("network namespaces need root: run it with sudo, or as root")
    signal.pthread_sigmask(signal.SIG_BLOCK, {*_FORWARDED, signal.SIGCHLD})
    directory = cgroup2.root() / f"migrate-lab-{os.getpid()}-{secrets.token_hex(4)}"
    reaper = Reaper(directory)
    try:
        init, orders = _start_init(command, directory)
        return _supervise(init, orders, reaper)
    finally:
        if cgroup2.remove(directory):
            reaper.end()  # else it goes on


def _supervise(init: int, orders: int, reaper: Reaper) -> int:
    """Pass signals on until init ends; returns the exit status."""
    deadline: float | None = None
    while True:
        patience = 3600.0 if deadline is None else max(0.0, deadline - time.monotonic())
        arrived = signal.sigtimedwait({*_FORWARDED, signal.SIGCHLD}, patience)
        if arrived is None:
            if deadline is not None:
                os.kill(init, signal.SIGKILL)
                deadline = None
        elif arrived.si_signo == signal.SIGCHLD:
            pid, status = os.waitpid(init, os.WNOHANG)
            if pid == init:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code
            if reaper.has_ended():
                reaper.start()
        else:
            with contextlib.suppress(BrokenPipeError):  # init has just ended; SIGCHLD follows
                os.write(orders, bytes([arrived.si_signo]))
            if deadline is None and arrived.si_signo != signal.SIGHUP:
                deadline = time.monotonic() + GRACE_SECONDS


# --- init -------------------------------------------------------------------------------------------------------------


def _start_init(command: list[str], directory: Path) -> tuple[int, int]:
    """Start process 1 of a new PID namespace; returns its pid, and a pipe that takes the numbers of signals for it."""
    orders_in, orders_out = os.pipe()
    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        system.unshare(system.CLONE_NEWPID)
    except OSError as error:
        raise SandboxError(
            f"a PID namespace cannot be made ({error.strerror}): run as root on the machine itself, "
            "or in a container started with --privileged"
        ) from error
    pid = os.fork()
    if pid == 0:
        with _never_return():
            os.close(orders_out)
            os.close(own)
            _furnish(directory)
            _init(command, orders_in)
    system.setns(own, system.CLONE_NEWPID)  # so that a new reaper would be born outside
    for fd in (own, orders_in):
        os.close(fd)
    return pid, orders_out


@contextlib.contextmanager
def _never_return() -> Iterator[None]:
    """A forked child ends here, whatever happens: 0 after the block, 125 with the sentence if that raised."""
    status = FAILED
    try:
        yield
        status = 0
    except (OSError, SandboxError) as error:
        print(f"sandbox: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(status)


def _furnish(directory: Path) -> None:
    """Make the namespaces and file systems that the command finds."""
    cgroup2.join(directory)
    try:
        system.unshare(NAMESPACES)
        _keep_mounts_private()
        safe = system.MS_NOSUID | system.MS_NODEV | system.MS_NOEXEC
        system.mount("proc", "/proc", "proc", safe)
        with contextlib.suppress(OSError):  # it would only be hidden, and still be listed with all below it
            system.detach("/sys")
        system.mount("sysfs", "/sys", "sysfs", safe)
        system.mount("cgroup2", "/sys/fs/cgroup", "cgroup2", safe)
        system.mount("bpf", "/sys/fs/bpf", "bpf", safe, "mode=700")
        system.mount("tmpfs", "/run", "tmpfs", system.MS_NOSUID | system.MS_NODEV, "mode=755")
        system.interface_up("lo")
        _MARK.touch()
    except OSError as error:
        raise SandboxError(
            f"{error}: this kernel or container does not allow it; "
            "run as root on the machine itself, or in a container started with --privileged"
        ) from error
    # Controllers and threads want the tree's root empty of processes.
    inner = Path("/sys/fs/cgroup/init")
    inner.mkdir()
    cgroup2.join(inner)


def _keep_mounts_private() -> None:
    """What is mounted from here on is seen in this mount namespace only, also from within a chroot.

    A chroot's root need be no mount point: then there is nothing to set private, here or by what Mininet starts. The
    one outside is reached by entering the own namespace once more, which leads to its very root.
    """
    here = Path.cwd()
    inside, own = os.open("/", os.O_PATH | os.O_CLOEXEC), os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    system.setns(own, system.CLONE_NEWNS)
    root = os.readlink(f"/proc/self/fd/{inside}")
    system.mount("none", "/", None, system.MS_REC | system.MS_PRIVATE)
    if not Path(root).is_mount():
        system.mount(root, root, None, system.MS_BIND | system.MS_REC)
    os.chroot(root)
    os.chdir(here)
    for fd in (inside, own):
        os.close(fd)


def _init(command: list[str], orders: int) -> NoReturn:
    """Process 1: start the command, reap orphans, pass signals on, end with the command."""
    wake_in, wake_out = os.pipe()
    os.set_blocking(wake_out, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_out, warn_on_full_buffer=False)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    child = os.fork()
    if child == 0:
        _become(command)
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            pid, status = 0, 0
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            end_all(END_SECONDS)
            os._exit(code if code >= 0 else 128 - code)
        if pid:
            continue
        ready = select.select([wake_in, orders], [], [])[0]
        if wake_in in ready:
            os.read(wake_in, 512)
        if orders in ready:
            order = os.read(orders, 1)
            if not order:  # the outer process has gone
                end_all(END_SECONDS)
                os._exit(FAILED)
            _pass_on(child, order[0])


def _pass_on(child: int, signum: int) -> None:
    """Signal the command, unless it got that signal with us: a Ctrl-C goes to the whole process group at once."""
    time.sleep(0.02)
    if signum in signal.sigpending() and os.getpgid(child) == os.getpgid(0):
        signal.sigwait({signum})
        return
    os.kill(child, signum)


def _become(command: list[str]) -> NoReturn:
    signal.set_wakeup_fd(-1)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {*_FORWARDED, signal.SIGCHLD})
    # Python ignores these two, and ignored signals stay so in what it starts.
    for signum in (signal.SIGPIPE, signal.SIGXFSZ, *_FORWARDED, signal.SIGCHLD):
        signal.signal(signum, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)
    except FileNotFoundError:
        print(f"sandbox: {command[0]}: no such program; install it or correct the name", file=sys.stderr, flush=True)
        os._exit(127)
    except OSError as error:
        print(f"sandbox: {command[0]}: {error.strerror}; it cannot be run", file=sys.stderr, flush=True)
        os._exit(126)


if __name__ == "__main__":
    sys.exit(main())
