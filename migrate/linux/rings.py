"""Sockets that io_uring may be at work on.

The freezer does not hold io_uring still: what wakes a request that waits for a socket makes its program's thread go on
with it, frozen or not.  In the middle of a rebind that request would end with an error that the program was never to
see (EPERM, from repair mode).  The kernel tells what kinds of requests a ring has waiting, not on which files; so every
socket of a program counts that has one which may be on a socket.  A ring without a descriptor is not seen.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from migrate.linux.borrow import processes

RING = "anon_inode:[io_uring]"
_SOCKET = "socket:["
# enum io_uring_op: those that wait for a connected socket to be ready, or that can.
_READV, _WRITEV, _READ_FIXED, _WRITE_FIXED, _POLL_ADD, _SENDMSG, _RECVMSG, _READ, _WRITE = 1, 2, 4, 5, 6, 9, 10, 22, 23
_SEND, _RECV, _SEND_ZC, _SENDMSG_ZC, _READ_MULTISHOT, _RECV_ZC = 26, 27, 47, 48, 49, 58
_ON_SOCKETS = frozenset(
    (
        *(_READV, _WRITEV, _READ_FIXED, _WRITE_FIXED, _POLL_ADD, _SENDMSG, _RECVMSG, _READ, _WRITE),
        *(_SEND, _RECV, _SEND_ZC, _SENDMSG_ZC, _READ_MULTISHOT, _RECV_ZC),
    )
)
_SHARE = 0.1
"""Of the time, at most, goes into looking."""


class Rings:
    """The programs of a host that have rings.  All that it tells are inodes of sockets with such a request waiting."""

    def __init__(self, cgroup: Path) -> None:
        self._cgroup = cgroup
        self._programs: list[tuple[list[Path], set[int]]] = []  # fdinfo of its rings, and its sockets
        self._busy: set[int] = set()
        self._again = 0.0

    def look(self) -> set[int]:
        """Looks through all descriptors."""
        began = time.monotonic()
        programs = map(_descriptors, processes(self._cgroup))
        self._programs = [(rings, sockets) for rings, sockets in programs if rings]
        self._busy = self.now()
        now = time.monotonic()
        self._again = now + (now - began) / _SHARE
        return self._busy

    def recent(self) -> set[int]:
        """As it was a moment ago: for many questions in a row."""
        return self._busy if time.monotonic() < self._again else self.look()

    def now(self) -> set[int]:
        """Of the rings and sockets that the last look has found, which costs nothing where there are no rings."""
        return set().union(*(sockets for rings, sockets in self._programs if any(map(_waits, rings))))


def _descriptors(pid: int) -> tuple[list[Path], set[int]]:
    """The fdinfo of its rings, and the inodes of its sockets."""
    rings, sockets = [], set()
    base = f"/proc/{pid}/fd"
    try:
        names = os.listdir(base)
    except (FileNotFoundError, ProcessLookupError):
        return [], set()  # it has just ended
    for name in names:
        try:
            target = os.readlink(f"{base}/{name}")
        except OSError:
            continue  # just closed
        if target == RING:
            rings.append(Path(f"/proc/{pid}/fdinfo/{name}"))
        elif target.startswith(_SOCKET):
            sockets.add(int(target[len(_SOCKET) : -1]))
    return rings, sockets


def _waits(fdinfo: Path) -> bool:
    try:
        text = fdinfo.read_text()
    except OSError:
        return False  # just closed
    _, _, waiting = text.partition("PollList:\n")
    for line in waiting.splitlines():
        name, _, rest = line.strip().partition("=")
        if name != "op":
            break
        if int(rest.partition(",")[0]) in _ON_SOCKETS:
            return True
    return False
