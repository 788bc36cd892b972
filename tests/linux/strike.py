"""Kills a process between two of its system calls, those of its way through a rebind counted by ptrace(2).

The kill comes where the process is about to make a call: the kernel then skips that call.  So the n-th kill falls
between the calls n - 1 and n, wherever they are in the sources, in libbpf or in Python itself.
"""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from tests.linux import lab

JOURNAL = ".journal"

_SYSCALL, _DETACH, _SEIZE, _INTERRUPT, _GET_SYSCALL_INFO = 24, 17, 0x4206, 0x4207, 0x420E
_TRACESYSGOOD, _WALL = 1, 0x40000000
_ENTRY = 1
# Of x86-64 and of arm64, which has no epoll_wait.
_PWRITE, _SLEEPS = {"x86_64": (18, {232, 281, 441}), "aarch64": (68, {22, 441})}[os.uname().machine]
_NAMES = {
    "x86_64": {
        0: "read", 1: "write", 3: "close", 5: "fstat", 7: "poll", 8: "lseek", 13: "rt_sigaction", 16: "ioctl",
        17: "pread64", 18: "pwrite64", 20: "writev", 41: "socket", 42: "connect", 44: "sendto", 45: "recvfrom",
        46: "sendmsg", 47: "recvmsg", 48: "shutdown", 49: "bind", 51: "getsockname", 52: "getpeername",
        54: "setsockopt", 55: "getsockopt", 72: "fcntl", 78: "getdents", 89: "readlink", 217: "getdents64",
        228: "clock_gettime", 230: "clock_nanosleep", 232: "epoll_wait", 233: "epoll_ctl", 257: "openat",
        262: "newfstatat", 267: "readlinkat", 318: "getrandom", 321: "bpf", 332: "statx", 434: "pidfd_open",
        438: "pidfd_getfd",
    },
}.get(os.uname().machine, {})  # fmt: skip


class Phase(Enum):
    """Of the way of one connection through a move, as the process that carries it sees it."""

    HANDSHAKE = "handshake"
    """From the first that it hears of the move to the rebind."""
    REBIND = "rebind"
    """From the journal's first word to the next sleep."""
    OVER = "over"


@dataclass(frozen=True, slots=True)
class Place:
    """Before the call with that number (from 1) in its phase."""

    phase: Phase
    number: int


@dataclass(frozen=True, slots=True)
class Death:
    """`call` is the one that was not made any more, `last` the one before it."""

    place: Place
    last: str
    call: str

    def __str__(self) -> str:
        return f"{self.place.phase.value} {self.place.number}, between {self.last} and {self.call}"


class _SyscallInfo(ctypes.Structure):
    _fields_ = [  # struct ptrace_syscall_info (linux/ptrace.h), of a stop before a call
        ("op", ctypes.c_uint8),
        ("_pad", ctypes.c_uint8 * 3),
        ("arch", ctypes.c_uint32),
        ("instruction_pointer", ctypes.c_uint64),
        ("stack_pointer", ctypes.c_uint64),
        ("number", ctypes.c_uint64),
        ("arguments", ctypes.c_uint64 * 6),
    ]


_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


def _ptrace(request: int, pid: int, address: int = 0, data: int = 0) -> int:
    result = int(_libc.ptrace(request, pid, address, data))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"ptrace {request:#x}: {os.strerror(number)}")
    return result


def journal_of(pid: int) -> int:
    """The descriptor of its journal."""
    for link in Path(f"/proc/{pid}/fd").iterdir():
        if os.readlink(link).endswith(JOURNAL):
            return int(link.name)
    raise AssertionError(f"process {pid} has no journal")


class Strike:
    """Follows a worker, from when this is made, until it dies at a place or has come through."""

    def __init__(self, worker: int, place: Place, die: Callable[[], None] | None = None) -> None:
        """`die`: what kills it (kill -9 of the worker alone, unless told otherwise)."""
        self._pid, self._place = worker, place
        self._die = die or (lambda: os.kill(worker, signal.SIGKILL))
        self._journal = journal_of(worker)
        self._seized, self._enough = threading.Event(), threading.Event()
        self.calls: list[tuple[Phase, str]] = []
        self._death: Death | None = None
        self._error: BaseException | None = None
        # ptrace(2) obeys the thread that attached, and only that.
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()
        assert self._seized.wait(lab.PATIENCE_SECONDS)

    def outcome(self) -> Death | None:
        """Waits for it: where it died, or None if it has come through before."""
        self._thread.join(lab.PATIENCE_SECONDS)
        if self._thread.is_alive():
            self._enough.set()
            raise AssertionError(f"after {self.calls[-3:]} neither dead nor through")
        if self._error is not None:
            raise self._error
        return self._death

    def _work(self) -> None:
        try:
            _ptrace(_SEIZE, self._pid, 0, _TRACESYSGOOD)
            self._seized.set()
            _ptrace(_INTERRUPT, self._pid)
            self._follow()
        except BaseException as error:  # noqa: BLE001  it is raised where the outcome is asked for
            self._error = error
            self._seized.set()

    def _follow(self) -> None:
        phase, number, info = Phase.HANDSHAKE, 0, _SyscallInfo()
        while True:
            status = os.waitpid(self._pid, _WALL)[1]
            assert os.WIFSTOPPED(status), f"it ended by itself, status {status}"
            passed_on = 0
            if status >> 8 == signal.SIGTRAP | 0x80:
                _ptrace(_GET_SYSCALL_INFO, self._pid, ctypes.sizeof(info), ctypes.addressof(info))
                if info.op == _ENTRY:
                    sleeps = info.number in _SLEEPS
                    if phase is Phase.HANDSHAKE and info.number == _PWRITE and info.arguments[0] == self._journal:
                        phase, number = Phase.REBIND, 0
                    elif phase is Phase.REBIND and sleeps:
                        phase, number = Phase.OVER, 0
                    number += 1
                    name = _NAMES.get(info.number, str(info.number))
                    last = self.calls[-1][1] if self.calls else "sleep"
                    self.calls.append((phase, name))
                    if Place(phase, number) == self._place:
                        self._die()
                        while os.WIFSTOPPED(os.waitpid(self._pid, _WALL)[1]):
                            pass  # its last stops; the kernel ends it without us
                        self._death = Death(self._place, last, name)
                        return
                    if phase is Phase.OVER or self._enough.is_set():
                        _ptrace(_DETACH, self._pid)
                        return
            elif status >> 16 == 0:
                passed_on = os.WSTOPSIG(status)
            _ptrace(_SYSCALL, self._pid, 0, passed_on)
