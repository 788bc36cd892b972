"""The end of every process of a PID namespace, and of the connections that they leave behind.

A connection whose program has gone goes on by itself, for minutes where nobody answers its FIN.  Through the route of
the last packet that it got it may hold an interface; then who removes that interface waits as long, be it a process
that is being killed and has a TAP open: it stays, and its cgroup with it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from topologies import system

_PAUSE_SECONDS = 0.02


def end_connections(namespace: Path) -> None:
    """The TCP connections of a network namespace end, whoever has them, and without a word.

    A kernel without INET_DIAG_DESTROY leaves them.  Raises `OSError` where there is no `ss`, and
    `subprocess.CalledProcessError` where it fails."""
    with system.network_namespace(namespace):
        subprocess.run(["ss", "--kill", "--tcp", "--all"], stdout=subprocess.DEVNULL, check=True)


def end_all(patience: float) -> None:
    """For process 1 of a PID namespace, and its /proc: all others end, and so do the connections in the network
    namespaces that they are in.  Gives up after `patience` seconds."""
    with _namespaces() as namespaces:
        deadline = time.monotonic() + patience
        while _others() and time.monotonic() < deadline:
            with contextlib.suppress(ProcessLookupError):  # the last has just ended
                os.kill(-1, signal.SIGKILL)
            time.sleep(_PAUSE_SECONDS)
            _reap()
            if not _others():
                break
            for namespace in namespaces:
                with contextlib.suppress(OSError, subprocess.CalledProcessError):  # then they end in their own time
                    end_connections(namespace)


@contextlib.contextmanager
def _namespaces() -> Iterator[list[Path]]:
    """The network namespaces of all processes; they stay for the length of the block."""
    found: dict[int, int] = {}
    try:
        for pid in (1, *_others()):
            with contextlib.suppress(OSError):  # it has just ended
                fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
                number = os.fstat(fd).st_ino
                if number in found:
                    os.close(fd)
                else:
                    found[number] = fd
        yield [Path(f"/proc/self/fd/{fd}") for fd in found.values()]
    finally:
        for fd in found.values():
            os.close(fd)


def _others() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and entry.name != "1"]


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
