"""A program's own sockets, borrowed: found by inode under /proc, duplicated by pidfd_getfd(2)."""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_PIDFD_GETFD = 438
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Holder:
    """One place where a socket is held; any of them gives the same socket."""

    pid: int
    fd: int
    inode: int


def processes(cgroup: Path) -> list[int]:
    """The processes in a cgroup and below it."""
    pids: list[int] = []
    for directory, _, files in os.walk(cgroup):
        if "cgroup.procs" in files:
            pids += [int(pid) for pid in Path(directory, "cgroup.procs").read_text().split()]
    return pids


def holders(pids: Iterable[int], inodes: set[int]) -> dict[int, Holder]:
    """Where those of `inodes` that one of `pids` has open are held."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    found: dict[int, Holder] = {}
    for pid in pids:
        base = f"/proc/{pid}/fd"
        try:
            descriptors = os.listdir(base)
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
        for name in descriptors:
            try:
                inode = wanted.get(os.readlink(f"{base}/{name}"))
            except OSError:
                continue  # just closed
            if inode is not None:
                found.setdefault(inode, Holder(pid, int(name), inode))
        if len(found) == len(wanted):
            break
    return found


def borrow(holder: Holder) -> socket.socket | None:
    """Our own descriptor of the socket, or None if the program has let go of it meanwhile."""
    try:
        pidfd = os.pidfd_open(holder.pid)
    except ProcessLookupError:
        return None
    try:
        fd = _libc.syscall(_PIDFD_GETFD, pidfd, holder.fd, 0)
        if fd < 0:
            return None
    finally:
        os.close(pidfd)
    if os.fstat(fd).st_ino != holder.inode:
        os.close(fd)
        return None
    # socket.socket(fileno=) asks the kernel for family and type and changes no flag; a timeout would.
    return socket.socket(fileno=fd)
