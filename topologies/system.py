"""The few Linux calls that Python's library lacks (before 3.12, or altogether), as plain functions.

Every function raises `OSError` with the call's own errno.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
_MNT_DETACH = 2

_PR_SET_NAME = 15
_PR_SET_TIMERSLACK = 29

# These numbers are the same on every architecture (they came after the tables were unified).
_SYS_FSOPEN, _SYS_FSCONFIG, _SYS_FSMOUNT = 430, 431, 432
_FSCONFIG_CMD_CREATE = 6

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def unshare(flags: int) -> None:
    """Give the calling thread new namespaces of the kinds in `flags`."""
    _checked(_libc.unshare(ctypes.c_int(flags)), "unshare")


def setns(fd: int, kind: int) -> None:
    """Move the calling thread (only) into the namespace that `fd` is open on."""
    _checked(_libc.setns(ctypes.c_int(fd), ctypes.c_int(kind)), "setns")


def mount(source: str, target: str, fstype: str | None, flags: int = 0, data: str | None = None) -> None:
    """mount(2)."""
    encoded = [None if text is None else text.encode() for text in (source, target, fstype, data)]
    result = _libc.mount(encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3])
    _checked(result, f"mount {fstype or ''} on {target}")


def detach(target: str) -> None:
    """Take the file system mounted at `target` away, and what is mounted below it, whoever uses it."""
    _checked(_libc.umount2(target.encode(), ctypes.c_int(_MNT_DETACH)), f"umount {target}")


def detached_mount(fstype: str) -> int:
    """Mount a new instance of a file system nowhere, and return a descriptor of its root directory (Linux 5.2)."""
    context = _checked(_libc.syscall(_SYS_FSOPEN, fstype.encode(), 1), f"fsopen {fstype}")
    try:
        _checked(_libc.syscall(_SYS_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0), f"fsconfig {fstype}")
        return _checked(_libc.syscall(_SYS_FSMOUNT, context, 1, 0), f"fsmount {fstype}")
    finally:
        os.close(context)


def set_process_name(name: str) -> None:
    """Name this process (15 characters at most) as ps shows it."""
    _checked(_libc.prctl(_PR_SET_NAME, ctypes.c_char_p(name.encode()[:15]), 0, 0, 0), "prctl NAME")


def set_timer_slack(nanoseconds: int) -> None:
    """Let this process's sleeps end at most so much late (the kernel's default is 50,000 ns)."""
    _checked(_libc.prctl(_PR_SET_TIMERSLACK, ctypes.c_ulong(nanoseconds), 0, 0, 0), "prctl TIMERSLACK")


def interface_up(name: str) -> None:
    """Set an interface of the calling thread's network namespace up."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh22x", name.encode(), 0)
        flags = struct.unpack("16sh22x", fcntl.ioctl(control, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh22x", name.encode(), flags | _IFF_UP))


@contextlib.contextmanager
def network_namespace(path: Path | str) -> Iterator[None]:
    """Put the calling thread into the network namespace at `path` for the length of a with block.

    Sockets and tun devices opened inside keep that namespace; other threads are not touched.
    """
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        there = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            setns(there, CLONE_NEWNET)
        finally:
            os.close(there)
        try:
            yield
        finally:
            setns(here, CLONE_NEWNET)
    finally:
        os.close(here)
