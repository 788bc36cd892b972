"""A stream as the pictures need it: time from the first SYN, SACK blocks, segments 1 to 7 recognised.  Pure."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from analysis.capture import ACK, SYN, Packet
from analysis.stream import Segment, Stream
from migrate.core.options import MIGRATE_KIND

SACK_KIND = 5


@dataclass(frozen=True, slots=True)
class Ends:
    """Both ends of one 4-tuple."""

    initiator: str
    initiator_port: int
    responder: str
    responder_port: int


@dataclass(frozen=True, slots=True)
class Seen:
    """One segment at the vantage."""

    packet: Packet
    time: float  # seconds since the first SYN
    epoch: int  # which 4-tuple, counted from 0
    from_initiator: bool
    seq: int  # from the sender's initial sequence number, never wrapping
    ack: int | None  # from the other side's, None without ACK
    sacks: tuple[tuple[int, int], ...]  # like ack; right edges are exclusive
    role: int  # 1 to 3 and 5 to 7: the protocol's segment of this number (slide 17); 0: none of them

    @property
    def flags(self) -> int:
        return self.packet.flags

    @property
    def length(self) -> int:
        """Bytes of payload."""
        return self.packet.length

    @property
    def end(self) -> int:
        """The sequence number after the payload's last byte."""
        return self.seq + self.packet.length

    @property
    def preload(self) -> bool:
        """Whether it is a Migrate SYN with P set: a replica's, whose sequence number may be stale."""
        return any(kind == MIGRATE_KIND and data and data[0] & 0x80 for kind, data in self.packet.options)

    @property
    def is_syn(self) -> bool:
        return bool(self.packet.flags & SYN)


@dataclass(frozen=True, slots=True)
class View:
    """One connection across its migrations, seen from one vantage."""

    start: float  # of time 0, seconds since 1970
    vantage: str
    ends: tuple[Ends, ...]  # one per epoch
    names: Mapping[str, str]  # what the caller calls an address
    origins: tuple[str, str]  # what the sequence numbers of initiator and responder count from, for an axis
    shifts: tuple[int, int] | None  # window scale of initiator and responder in bits; None: unknown
    seen: tuple[Seen, ...]  # in order of time

    def address(self, epoch: int, *, initiator: bool) -> str:
        """The address of one side in an epoch."""
        return self.ends[epoch].initiator if initiator else self.ends[epoch].responder

    def side(self, *, initiator: bool) -> str:
        """One side in words, with all its addresses: "mobile (10.0.1.2, then 10.0.2.2)"."""
        addresses = list(dict.fromkeys(self.address(epoch, initiator=initiator) for epoch in range(len(self.ends))))
        names = list(dict.fromkeys(self.names.get(address, "") for address in addresses))
        if len(names) > 1:
            addresses = [f"{self.names.get(address, '')} {address}".strip() for address in addresses]
        shown = addresses if len(addresses) <= 3 else [*addresses[:2], f"{len(addresses) - 2} others"]
        words = ", then ".join(shown)
        return f"{names[0]} ({words})" if len(names) == 1 and names[0] else words

    @property
    def left(self) -> str:
        """What the side that moves has left behind: its "address", or where others go on for it the "server"."""
        hosts = {self.names.get(self.address(epoch, initiator=self.initiator_moves)) for epoch in range(len(self.ends))}
        return "server" if len(hosts) > 1 and None not in hosts else "address"

    @property
    def initiator_moves(self) -> bool:
        """Whether the side that moves is the initiator: the one with more end points, the initiator in a tie."""
        initiators = {(ends.initiator, ends.initiator_port) for ends in self.ends}
        responders = {(ends.responder, ends.responder_port) for ends in self.ends}
        return len(initiators) >= len(responders)


def view_of(stream: Stream, names: Mapping[str, str] | None = None) -> View:
    """Prepare a stream for drawing; `names` says what to call an address, as in {"10.0.1.2": "mobile"}.

    Raises ValueError for a stream without segments.
    """
    if not stream.segments:
        raise ValueError("This stream has no segments, so there is nothing to draw; check what was captured.")
    # Time 0 is the first SYN; a capture that began later starts with its first packet.
    start = next((s.time for s in stream.segments if s.flags & (SYN | ACK) == SYN), stream.segments[0].time)
    roles = _roles(stream)
    return View(
        start=start,
        vantage=stream.vantage,
        ends=tuple(
            Ends(e.initiator.address, e.initiator.port, e.responder.address, e.responder.port) for e in stream.epochs
        ),
        names=dict(names or {}),
        origins=(
            "Ni" if stream.ni is not None else "the first one seen",
            "Na" if stream.na is not None else "the first one seen",
        ),
        shifts=stream.shifts,
        seen=tuple(
            Seen(
                segment.packet,
                segment.time - start,
                segment.epoch,
                segment.from_initiator,
                segment.seq,
                segment.ack,
                sack_blocks(segment),
                role,
            )
            for segment, role in zip(stream.segments, roles, strict=True)
        ),
    )


def names_of(stream: Stream, initiator: str, responder: str) -> dict[str, str]:
    """What to call the addresses of both sides, for the pictures."""
    names = {epoch.responder.address: responder for epoch in stream.epochs}
    names |= {epoch.initiator.address: initiator for epoch in stream.epochs}
    return names


def sack_blocks(segment: Segment) -> tuple[tuple[int, int], ...]:
    """The blocks of a segment's SACK option, counted like its ack; none where the option is malformed."""
    if segment.ack is None:
        return ()
    for kind, data in segment.packet.options:
        if kind == SACK_KIND and data and len(data) % 8 == 0:
            edges = [
                segment.ack + _signed(raw - segment.packet.ack) for raw in struct.unpack(f"!{len(data) // 4}I", data)
            ]
            return tuple(zip(edges[0::2], edges[1::2], strict=True))
    return ()


def _signed(difference: int) -> int:
    """A difference of two 32-bit sequence numbers as a number from -2^31 to 2^31 - 1."""
    return (difference + 2**31) % 2**32 - 2**31


def _roles(stream: Stream) -> list[int]:
    """Which of the protocol's seven segments each segment is; 4 is any other data and stays 0."""
    roles: list[int] = []
    answered: set[int] = set()  # epochs with a SYN/ACK
    finished: set[int] = set()  # epochs whose handshake is over
    for segment in stream.segments:
        epoch, base = segment.epoch, 4 if segment.epoch else 0
        mover = stream.epochs[epoch].mover_is_initiator
        opens = segment.from_initiator if mover is None else segment.from_initiator == mover
        role = 0
        if segment.flags & SYN:
            role = base + 2 if segment.flags & ACK else base + 1
            if segment.flags & ACK:
                answered.add(epoch)
        elif opens and segment.flags & ACK and epoch in answered and epoch not in finished:
            role = base + 3
            finished.add(epoch)
        roles.append(role)
    return roles
