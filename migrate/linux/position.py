"""Where a socket stands, asked of the kernel without touching the socket (bpf/probe.bpf.c)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from migrate.core import FourTuple, Position, TcpState, seq
from migrate.linux.libbpf import Runner
from migrate.linux.maps import TUPLE, pack_tuple

SOCK_BINDADDR_LOCK, SOCK_BINDPORT_LOCK = 4, 8
_PADDING = 14
_POSITION = struct.Struct("=16I")
_NO_SCALE = 255


@dataclass(frozen=True, slots=True)
class SocketPosition:
    """Sequence numbers are absolute, windows in bytes; `state` is the kernel's TCP state number."""

    state: int
    snd_una: int
    snd_nxt: int
    write_seq: int
    rcv_nxt: int
    copied_seq: int
    rcv_wnd: int
    rcv_wup: int
    snd_wnd: int
    ts_recent: int
    out_of_order: int  # 1 if it holds segments beyond a hole
    family: int
    scale: int
    locks: int
    backlog: int  # bytes that have arrived and are not in rcv_nxt yet: its program has the socket's lock

    @property
    def window_scale(self) -> int | None:
        """By how many bits the windows that it offers are shifted; None where no scale was negotiated."""
        return None if self.scale == _NO_SCALE else self.scale

    @property
    def bound_address(self) -> bool:
        """Its program, or the listener that accepted it, bound an address."""
        return bool(self.locks & SOCK_BINDADDR_LOCK)

    @property
    def bound_port(self) -> bool:
        """Its program bound a port."""
        return bool(self.locks & SOCK_BINDPORT_LOCK)

    def core(self) -> Position:
        # The window was offered with the last ACK; what has come since is within it.  Said anew as it was then, it
        # would invite bytes beyond its end, and a kernel drops those (6.17 and later even where it has room).
        window = max(0, seq.diff(seq.add(self.rcv_wup, self.rcv_wnd), self.rcv_nxt))
        return Position(self.snd_una, self.snd_nxt, self.rcv_nxt, window, TcpState(self.state))


class Probe:
    """Asks in the calling thread's network namespace."""

    def __init__(self, program: int) -> None:
        self._runner = Runner(program, 256)

    def __call__(self, tuple_: FourTuple) -> SocketPosition | None:
        """None where there is no such socket."""
        frame = bytes(_PADDING) + pack_tuple(tuple_) + bytes(_POSITION.size)
        found, *values = _POSITION.unpack_from(self._runner.run(frame), _PADDING + TUPLE.size)
        if not found:
            return None
        return SocketPosition(*values)
