"""What the programs of a host have open: where their sockets are, and which of them io_uring may be at work on.

The freezer does not hold io_uring still: what wakes a request that waits for a socket makes its program's thread go on
with it, frozen or not.  In the middle of a rebind that request would end with an error that the program was never to
see (EPERM, from repair mode).  The kernel tells what kinds of requests a ring has waiting, not on which files; so every
socket of a program counts that has one which may be on a socket.  A ring without a descriptor is not seen.

To look through all descriptors takes longer than all else that a host does for a move.  So it is done once in a move,
before the host says its first word; what has become of a few programs by the time of the rebind is seen at a glance.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from migrate.linux.borrow import Holder, processes

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


@dataclass(frozen=True, slots=True)
class _Program:
    """What one process has open: all names, those of rings, and the sockets, inode and name."""

    names: list[str]
    rings: list[str]
    sockets: dict[int, int]


class Descriptors:
    """Of the programs in a cgroup and below it."""

    def __init__(self, cgroup: Path) -> None:
        self._cgroup = cgroup
        self._programs: dict[int, _Program] = {}
        self._busy: set[int] = set()
        self._again = 0.0

    def look(self) -> set[int]:
        """Looks through all of them; the inodes of the sockets that io_uring may be at work on."""
        began = time.monotonic()
        self._programs = {pid: _program(pid) for pid in processes(self._cgroup)}
        self._busy = self._at_work()
        now = time.monotonic()
        self._again = now + (now - began) / _SHARE
        return self._busy

    def recent(self) -> set[int]:
        """As `look`, as it was a moment ago: for many questions in a row."""
        return self._busy if time.monotonic() < self._again else self.look()

    def now(self, pids: Iterable[int]) -> set[int]:
        """As `look`, of the rings and sockets that the last one has found: costs nothing where there are no rings.
        Programs of `pids` that have other descriptors by now are looked at once more."""
        for pid in pids:
            known = self._programs.get(pid)
            if known is None or known.names != _names(pid):
                self._programs[pid] = _program(pid)
        return self._at_work()

    def holders(self, inodes: Iterable[int]) -> dict[int, Holder]:
        """Where those of these sockets were held, at the last look, that a program had open."""
        wanted, found = set(inodes), dict[int, Holder]()
        for pid, program in self._programs.items():
            for inode in wanted & program.sockets.keys():
                found.setdefault(inode, Holder(pid, program.sockets[inode], inode))
        return found

    def _at_work(self) -> set[int]:
        waiting = (
            program.sockets
            for pid, program in self._programs.items()
            if program.rings and any(_waits(pid, ring) for ring in program.rings)
        )
        return set().union(*waiting)


def _names(pid: int) -> list[str]:
    try:
        return os.listdir(f"/proc/{pid}/fd")
    except (FileNotFoundError, ProcessLookupError):
        return []  # it has just ended


def _program(pid: int) -> _Program:
    names, rings, sockets = _names(pid), list[str](), dict[int, int]()
    for name in names:
        try:
            target = os.readlink(f"/proc/{pid}/fd/{name}")
        except OSError:
            continue  # just closed
        if target.startswith(_SOCKET):
            sockets.setdefault(int(target[len(_SOCKET) : -1]), int(name))
        elif target == RING:
            rings.append(name)
    return _Program(names, rings, sockets)


def _waits(pid: int, ring: str) -> bool:
    """Has a ring a request waiting that may be on a socket?"""
    try:
        text = Path(f"/proc/{pid}/fdinfo/{ring}").read_text()
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
