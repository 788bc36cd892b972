"""The 4-tuples of a migrated connection, joined into one Stream per connection and vantage point.

Sequence numbers of a Stream count from the initial ones and never wrap: the SYN has 0, the first byte of data 1.
The initiator is the side that sent segment 1 of the original handshake, whoever moves later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis import capture
from analysis.capture import Packet
from migrate.core.options import MIGRATE_KIND, Migrate, OptionError


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One side of a 4-tuple."""

    address: str
    port: int

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True)
class Segment:
    """A packet and its place in the connection."""

    packet: Packet
    epoch: int  # which 4-tuple, counted from 0
    from_initiator: bool
    seq: int  # counted from the sender's initial sequence number, never wraps
    ack: int | None  # counted from the other side's, None without ACK

    @property
    def time(self) -> float:
        """Seconds since 1970."""
        return self.packet.time

    @property
    def flags(self) -> int:
        return self.packet.flags

    @property
    def length(self) -> int:
        """Bytes of payload."""
        return self.packet.length

    @property
    def end(self) -> int:
        """The sequence number after the payload's last byte; SYN and FIN are not counted."""
        return self.seq + self.packet.length

    def has(self, flags: int) -> bool:
        """Whether all of these flags are set."""
        return self.packet.flags & flags == flags


@dataclass(frozen=True, slots=True)
class Epoch:
    """One 4-tuple of a connection and how it came about."""

    index: int
    initiator: Endpoint
    responder: Endpoint
    # The next three are None for the original one, and for one that two crossing Migrate SYNs led to.
    migrate_syn: Segment | None  # the first Migrate SYN on it
    mover_is_initiator: bool | None  # who sent it
    count: int | None = None  # the full request count, whose last 7 bits are ReqNo
    joined_by: str = "handshake"  # or "token" (recomputed, equal) or "sequence" (plausible, the token is unverified)


@dataclass(frozen=True, slots=True)
class Stream:
    """One connection at one vantage point, across all its 4-tuples."""

    vantage: str
    epochs: tuple[Epoch, ...]
    segments: tuple[Segment, ...]  # of all epochs, in order of time
    ni: int | None  # initial sequence number of the initiator; None if its SYN is not in the capture
    na: int | None  # and of the responder
    shifts: tuple[int, int] | None  # window scale of initiator and responder in bits; None if a SYN is missing
    secret: bytes | None  # K, 25 bytes; None without a key log
    token: bytes | None  # T as computed from Ni, Na and K; None without a key log
    joined_by: str  # the weakest of its epochs: "token" or "sequence"; "single" without a migration

    def of_epoch(self, index: int) -> tuple[Segment, ...]:
        """The segments of one 4-tuple, in order of time."""
        return tuple(segment for segment in self.segments if segment.epoch == index)

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the capture files that the segments come from, in order of first use."""
        return tuple(dict.fromkeys(segment.packet.file for segment in self.segments))

    def __str__(self) -> str:
        ways = (f"{epoch.initiator} > {epoch.responder}" for epoch in self.epochs)
        return ", then ".join(ways)


def migrate_option(packet: Packet) -> Migrate | None:
    """The Migrate option of a packet, if it has a well-formed one."""
    for kind, data in packet.options:
        if kind == MIGRATE_KIND:
            try:
                return Migrate.decode(data)
            except OptionError:
                return None
    return None


def load(paths: Sequence[Path | str], vantage: str, keys: Mapping[bytes, bytes] | None = None) -> list[Stream]:
    """The connections in the captures of one vantage point: the interfaces of one host.

    `keys` are as `keylog.read_keys` returns them.  Raises CaptureError.
    """
    return join((packet for path in paths for packet in capture.read(path, vantage)), keys)


def join(packets: Iterable[Packet], keys: Mapping[bytes, bytes] | None = None) -> list[Stream]:
    """The connections of one vantage point, in order of their first segment.

    `packets` may come from several interfaces of one host; they are merged by time.
    """
    from analysis.joining import Joiner  # which needs the classes above

    joiner = Joiner(keys or {})
    for packet in sorted(packets, key=lambda packet: packet.time):
        joiner.add(packet)
    return joiner.streams()


def pair(here: Iterable[Stream], there: Iterable[Stream]) -> list[tuple[Stream, Stream]]:
    """The connections that both vantage points saw, told by both initial sequence numbers and so also behind a NAT."""
    known = {(stream.ni, stream.na): stream for stream in there if None not in (stream.ni, stream.na)}
    return [(stream, known[ends]) for stream in here if (ends := (stream.ni, stream.na)) in known]
