"""What the state machine asks of the edge, to be carried out in order.

An address pair is treated by the kernel as any other, or it is *muted*, *awaited* or *held*, or several of these.
Every such mark may expire by itself after a while; the machine sets it again when it matters.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from migrate.core.events import Timer
from migrate.core.options import Migrate
from migrate.core.segment import ACK, RST, SYN, Address, Segment, window_scale_option
from migrate.core.tuples import FourTuple, Peer


class Direction(StrEnum):
    OUT = "out"  # nothing is emitted; what arrives reaches the kernel
    BOTH = "both"  # nothing is emitted, what arrives is dropped


@dataclass(frozen=True, slots=True)
class Mute:
    """Silence this address pair towards the direction given, and no other.

    The handshake's own segments (5 to 7, RST) pass even so: a host may move back to the very pair it left.
    BOTH also ends `Await` and `Hold`: what is held is thrown away."""

    tuple: FourTuple
    direction: Direction


@dataclass(frozen=True, slots=True)
class Unmute:
    """This address pair is like any other again: neither muted nor awaited nor held.

    What was held is fed to the kernel."""

    tuple: FourTuple


@dataclass(frozen=True, slots=True)
class Await:
    """Catch SYN/ACKs and RSTs of this address pair before the kernel sees them, and hand them in."""

    tuple: FourTuple


@dataclass(frozen=True, slots=True)
class Hold:
    """Keep every other segment that arrives for this address pair, and hand each in as `Ack` too."""

    tuple: FourTuple


@dataclass(frozen=True, slots=True)
class Release:
    """Feed what is held to the kernel and hold no more; an `Await` of the pair stays."""

    tuple: FourTuple


@dataclass(frozen=True, slots=True)
class SendSyn:
    """Segment 5."""

    tuple: FourTuple
    seq: int
    option: Migrate

    def segment(self, window_scale: int | None = None) -> Segment:
        """`window_scale`: the socket's, where it is to be repeated for the boxes on the way (not the draft's)."""
        return self.tuple.segment(SYN, self.seq, options=self.option.encode() + window_scale_option(window_scale))


@dataclass(frozen=True, slots=True)
class SendSynAck:
    """Segment 6; `ack` is the data received.  `window` in bytes: a SYN/ACK's window is never scaled."""

    tuple: FourTuple
    seq: int
    ack: int
    window: int

    def segment(self, window_scale: int | None = None) -> Segment:
        """`window_scale` as in `SendSyn`."""
        options = window_scale_option(window_scale)
        return self.tuple.segment(SYN | ACK, self.seq, self.ack, min(self.window, 0xFFFF), options)


@dataclass(frozen=True, slots=True)
class SendRst:
    """A Migrate SYN is refused.  Only if `admission.RstLimiter` allows one more to that source."""

    tuple: FourTuple
    seq: int
    ack: int

    def segment(self) -> Segment:
        return self.tuple.segment(RST | ACK, self.seq, self.ack)


@dataclass(frozen=True, slots=True)
class SendAck:
    """Segment 7 once more, with the socket's present numbers and options."""

    tuple: FourTuple


@dataclass(frozen=True, slots=True)
class Rebind:
    """Carry the kernel's socket from the pair `old` to the pair `new`; `Rebound` or `RebindFailed` must follow.

    Everything from `snd_una` on counts as unsent (from the socket's own, should that be further by then), congestion
    state is fresh.  Where `new` is `old`, the pair may be heard once the old socket is no more: it knows of what its
    successor does not.  `acknowledge`: this host is the mover and sends segment 7 before any data.  `peer_window`: the
    raw window of segment 7, or, for the mover, of 6 (never scaled).
    `preload`: another machine took over, so the out-of-order queue is dropped and timestamps are off; where it is
    this host that takes over, `rcv_nxt` is where the peer's data begins (else None: the socket knows).  `sacked`: what
    the peer has beyond a hole, in rising order, each the first byte and the one after the last: not sent again."""

    old: FourTuple
    new: FourTuple
    snd_una: int
    peer_window: int
    preload: bool
    acknowledge: bool
    rcv_nxt: int | None = None
    sacked: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class MoveAgain:
    """Hand in a `Move` with these values and the socket's position at that moment."""

    local_ip: Address
    local_port: int | None
    remote: Peer | None


@dataclass(frozen=True, slots=True)
class Arm:
    """Start the timer, or start it anew."""

    timer: Timer
    seconds: float


@dataclass(frozen=True, slots=True)
class Disarm:
    """Stop the timer if it runs."""

    timer: Timer


@dataclass(frozen=True, slots=True)
class Reset:
    """End the socket: the application sees a reset.  Nothing of it goes out."""


class Notice(StrEnum):
    """What a `Report` is about."""

    MIGRATING = "migrating"  # segment 5 has left
    ANSWERED = "answered"  # segment 6 has left
    MIGRATED = "migrated"  # the socket is on the new address pair
    REFUSED = "refused"  # a RST answered segment 5
    SUSPENDED = "suspended"  # no address
    WAITING = "waiting"  # MIGRATE_WAIT
    UNANSWERED = "unanswered"  # segment 5 goes out again and again
    UNACKNOWLEDGED = "unacknowledged"  # segment 6 goes out again and again: muted until 7 or a newer request
    REBIND_FAILED = "rebind-failed"
    IGNORED = "ignored"  # something that had no effect, and why
    RESET = "reset"  # 2MSL are over
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Report:
    """Tell whoever follows the connection.  The state is the connection's when the actions are handed out."""

    event: Notice
    cause: str


Action = (
    Mute
    | Unmute
    | Await
    | Hold
    | Release
    | SendSyn
    | SendSynAck
    | SendRst
    | SendAck
    | Rebind
    | MoveAgain
    | Arm
    | Disarm
    | Reset
    | Report
)
