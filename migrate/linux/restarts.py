"""What a program under a seccomp filter may not say: restart_syscall(2).

The freezer interrupts who sleeps for a time (nanosleep, poll, futex with a timeout), and makes it sleep on by a system
call of its own, which the program has never made.  A filter that was written without it in mind kills the program:
that of OpenSSH's server does, in the few milliseconds that it waits before it refuses a login.  So whoever is held
still in such a sleep, and has a filter, is made to ask once more for what it had asked for (ptrace(2)); the price is
that its time begins anew.  Only on x86-64: on arm64 the kernel has decided by then.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import time
from pathlib import Path

_WITH_A_FILTER = "\nSeccomp:\t2"
_SHARE = 0.1
"""Of the time, at most, goes into looking who has one."""
_PATIENCE_SECONDS = 5.0
_GLANCE_SECONDS = 0.0001
_PEEKUSER, _POKEUSER, _DETACH, _SEIZE, _INTERRUPT = 3, 6, 17, 0x4206, 0x4207
_WALL = 0x40000000
_RAX = 8 * 10  # in struct user_regs_struct
_BY_RESTART_SYSCALL, _AS_IT_WAS = -516, -513  # ERESTART_RESTARTBLOCK, ERESTARTNOINTR (linux/errno.h)
_KNOWN = os.uname().machine == "x86_64"
_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
_libc.ptrace.restype = ctypes.c_long


class StuckError(RuntimeError):
    """A thread is held by us and cannot be let go; once this process has ended, the kernel does that."""


class Restarts:
    """The threads of a cgroup that have a filter."""

    def __init__(self, cgroup: Path) -> None:
        self._cgroup = cgroup
        self._filtered: list[int] = []
        self._again = 0.0

    def mend(self) -> None:
        """Of those of them that stand still, none says restart_syscall when it goes on.

        Raises `StuckError`, after which this process has to end."""
        self._look()
        for thread in self._filtered:
            with contextlib.suppress(OSError):  # it has ended, or somebody else traces it
                if _sleeps(thread):
                    _ask_again(thread)

    def _look(self) -> None:
        """Who has one, unless that was found out a moment ago."""
        began = time.monotonic()
        if began < self._again:
            return
        self._filtered = [thread for thread in _threads(self._cgroup) if _has_filter(thread)] if _KNOWN else []
        now = time.monotonic()
        self._again = now + (now - began) / _SHARE


def _threads(cgroup: Path) -> list[int]:
    found: list[int] = []
    for directory, _, files in os.walk(cgroup):
        if "cgroup.threads" in files:
            with contextlib.suppress(OSError):  # a cgroup that has just gone, or is of another kind
                found += [int(thread) for thread in Path(directory, "cgroup.threads").read_text().split()]
    return found


def _has_filter(thread: int) -> bool:
    try:
        return _WITH_A_FILTER in Path(f"/proc/{thread}/status").read_text()
    except OSError:
        return False  # it has just ended


def _sleeps(thread: int) -> bool:
    """Is it in a system call, where a signal can reach it (else it would not stop for us either)?"""
    state = Path(f"/proc/{thread}/stat").read_text().rpartition(")")[2].split()[0]
    return state == "S" and not Path(f"/proc/{thread}/syscall").read_text().startswith(("-1", "running"))


def _ask_again(thread: int) -> None:
    """Raises OSError where it ends meanwhile, and StuckError."""
    _ptrace(_SEIZE, thread, 0)
    _ptrace(_INTERRUPT, thread, 0)
    end = time.monotonic() + _PATIENCE_SECONDS
    # It stops as soon as it is given a processor.
    while os.waitpid(thread, _WALL | os.WNOHANG)[0] != thread:
        if time.monotonic() > end:
            raise StuckError(f"the thread {thread} does not stop for ptrace within {_PATIENCE_SECONDS:g} s")
        time.sleep(_GLANCE_SECONDS)
    try:
        if _ptrace(_PEEKUSER, thread, _RAX) == _BY_RESTART_SYSCALL:
            _ptrace(_POKEUSER, thread, _RAX, _AS_IT_WAS)
    finally:
        _ptrace(_DETACH, thread, 0)


def _ptrace(request: int, thread: int, address: int, value: int = 0) -> int:
    ctypes.set_errno(0)
    said = _libc.ptrace(request, thread, address, value)
    number = ctypes.get_errno()
    if said == -1 and number:
        raise OSError(number, os.strerror(number))
    return int(said)
