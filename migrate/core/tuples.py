"""Where the two ends of a connection are, and where a socket stands in its byte streams."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from migrate.core.segment import Address, Segment


@dataclass(frozen=True, slots=True)
class Peer:
    """One end of a connection."""

    ip: Address
    port: int


@dataclass(frozen=True, slots=True)
class FourTuple:
    """A connection's address pair, as this host sees it."""

    local_ip: Address
    local_port: int
    remote_ip: Address
    remote_port: int

    @property
    def local(self) -> Peer:
        return Peer(self.local_ip, self.local_port)

    @property
    def remote(self) -> Peer:
        return Peer(self.remote_ip, self.remote_port)

    @classmethod
    def of_ends(cls, local: Peer, remote: Peer) -> FourTuple:
        return cls(local.ip, local.port, remote.ip, remote.port)

    @classmethod
    def of_arriving(cls, segment: Segment) -> FourTuple:
        """The pair that a segment from the network belongs to."""
        return cls(segment.dst, segment.dport, segment.src, segment.sport)

    def segment(self, flags: int, seq: int, ack: int = 0, window: int = 0, options: bytes = b"") -> Segment:
        """A segment without data from this host to the other end."""
        return Segment(
            self.local_ip, self.local_port, self.remote_ip, self.remote_port, flags, seq, ack, window, options
        )


class TcpState(IntEnum):
    """The kernel's own state of a socket, by the numbers of Linux's tcp_states.h."""

    ESTABLISHED = 1
    SYN_SENT = 2
    SYN_RECV = 3
    FIN_WAIT1 = 4
    FIN_WAIT2 = 5
    TIME_WAIT = 6
    CLOSE = 7
    CLOSE_WAIT = 8
    LAST_ACK = 9
    LISTEN = 10
    CLOSING = 11


@dataclass(frozen=True, slots=True)
class Position:
    """What the kernel's socket says at this moment; sequence numbers are absolute.

    snd_una: the oldest byte that the peer has not acknowledged; snd_nxt: the next byte to be sent for the first
    time; rcv_nxt: the next byte expected; rcv_wnd: the receive window in bytes.  FINs are counted."""

    snd_una: int
    snd_nxt: int
    rcv_nxt: int
    rcv_wnd: int
    tcp_state: TcpState = field(default=TcpState.ESTABLISHED)
