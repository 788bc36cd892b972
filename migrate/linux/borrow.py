"""A program's own sockets, borrowed: found by inode under /proc, duplicated by pidfd_getfd(2)."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_PIDFD_GETFD = 438
_WITHOUT_CHILDREN = 2  # links that a cgroup's directory has then
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Holder:
    """One place where a socket is held; any of them gives the same socket."""

    pid: int
    fd: int
    inode: int


def processes(cgroup: Path | str) -> list[int]:
    """The processes in a cgroup and below it."""
    pids: list[int] = []
    below: list[str] = []
    with contextlib.suppress(OSError):  # it has just been removed
        pids = [int(pid) for pid in _whole(f"{cgroup}/cgroup.procs").split()]
        if os.stat(cgroup).st_nlink > _WITHOUT_CHILDREN:
            with os.scandir(cgroup) as entries:
                below = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    for directory in below:
        pids += processes(directory)
    return pids


def _whole(path: str) -> bytes:
    fd, read = os.open(path, os.O_RDONLY), b""
    try:
        while part := os.read(fd, 1 << 16):
            read += part
    finally:
        os.close(fd)
    return read


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
