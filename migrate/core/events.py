"""What happens to a connection, as the edge tells it to the state machine."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from migrate.core.options import Migrate
from migrate.core.segment import Address, Segment
from migrate.core.tuples import Peer, Position


class Timer(StrEnum):
    """The timers of a connection."""

    RETRANSMIT = "retransmit"  # segment 5 or 6 again
    TWO_MSL = "2MSL"  # the end of MIGRATE_WAIT
    QUIET = "quiet"  # answers to earlier requests have died out in the network


@dataclass(frozen=True, slots=True)
class Move:
    """The connection is to go to this local address: it has just appeared, or somebody asks for it.

    `local_port` and `remote` stay what they are unless given; `remote` is for an edge that has looked the
    peer's name up again.  `preload`: this host was not an end point before (a replica takes over)."""

    local_ip: Address
    position: Position
    local_port: int | None = None
    remote: Peer | None = None
    preload: bool = False


@dataclass(frozen=True, slots=True)
class AddressLost:
    """This host no longer has the local address; None stands for all of them."""

    local_ip: Address | None = None


@dataclass(frozen=True, slots=True)
class MigrateSyn:
    """Segment 5 has arrived, and its token is this connection's."""

    segment: Segment
    option: Migrate
    position: Position


@dataclass(frozen=True, slots=True)
class SynAck:
    """A SYN/ACK has arrived on an address pair of an `Await`."""

    segment: Segment
    position: Position


@dataclass(frozen=True, slots=True)
class Ack:
    """A segment with ACK, without SYN and RST, has arrived on an address pair of a `Hold`: 7, or data in its place.

    The edge goes on holding the segment itself until `Release`."""

    segment: Segment
    position: Position


@dataclass(frozen=True, slots=True)
class Rst:
    """A RST has arrived on the connection's own address pair, or on one of an `Await` or `Hold`.

    The kernel has not seen it."""

    segment: Segment
    position: Position


@dataclass(frozen=True, slots=True)
class Expired:
    """A timer of an `Arm` has run out."""

    timer: Timer


@dataclass(frozen=True, slots=True)
class Rebound:
    """The `Rebind` is done: the kernel's socket is on the new address pair, and 7 is sent if it was asked for."""


@dataclass(frozen=True, slots=True)
class RebindFailed:
    """The socket is as it was, on the old address pair.  `final`: trying again is of no use."""

    reason: str
    final: bool = False


@dataclass(frozen=True, slots=True)
class Gone:
    """The kernel's socket is no more: closed in order, or given up by the user timeout."""


Event = Move | AddressLost | MigrateSyn | SynAck | Ack | Rst | Expired | Rebound | RebindFailed | Gone
