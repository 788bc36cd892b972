"""What a time-sequence picture is made of: points and lines, without any drawing.

Every time is in seconds from the first SYN, every sequence value in bytes from the data sender's initial sequence
number (Ni or Na), so that the SYN is byte 0 and the first byte of data is 1, as tcpdump counts.  Values never wrap.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DataArrow:
    """One data segment, drawn from its first byte to the byte after its last."""

    time: float
    first: int
    last: int
    epoch: int  # which 4-tuple, counted from 0
    address: int  # index into PlotData.addresses
    retransmitted: bool  # some of its bytes were sent before, as far as this vantage saw
    late: bool  # it concerns an address that the connection had left by then


@dataclass(frozen=True)
class Step:
    """A new value of a staircase (the acknowledgement, or the window's edge) from `time` on."""

    time: float
    value: int
    epoch: int
    stale: bool  # sent on an address after a later one had been acknowledged on


@dataclass(frozen=True)
class SackBlock:
    """One block of a SACK option: the receiver holds `left` up to, but not including, `right`."""

    time: float
    left: int
    right: int


@dataclass(frozen=True)
class Mark:
    """A labelled moment: kind is "move" or "migrate"."""

    time: float
    kind: str
    text: str
    short: str


@dataclass(frozen=True)
class HandshakeMark:
    """Segment 5, 6 or 7 of a migration, at its place on the sequence axis."""

    time: float
    value: int
    number: int


@dataclass(frozen=True)
class Interruption:
    """From the last new byte on the old address (`start`) to the first new byte on the new one (`end`)."""

    start: float
    end: float
    value: int  # sequence value at which the data stopped and went on
    migration: int  # which one, counted from 1

    @property
    def seconds(self) -> float:
        return self.end - self.start


@dataclass(frozen=True)
class PlotData:
    """Everything that the picture of one direction of a connection shows."""

    sender: str  # "server 10.0.0.1"
    receiver: str
    origin: str  # "Ni" or "Na", or in words where that is not in the capture
    addresses: tuple[str, ...]  # of the side that moves, in the order of their first use
    left: str  # by that side: an "address", or a "server" for which others go on
    sender_moves: bool  # is it the sender of the data whose addresses these are
    at_receiver: bool | None  # is the vantage beside the receiver of the data; None: it cannot be told
    data: tuple[DataArrow, ...]
    acks: tuple[Step, ...]
    edges: tuple[Step, ...]
    sacks: tuple[SackBlock, ...]
    marks: tuple[Mark, ...]
    handshakes: tuple[HandshakeMark, ...]
    interruptions: tuple[Interruption, ...]

    @property
    def late(self) -> tuple[DataArrow, ...]:
        """The data that concerns an old address after the move: the slide's buffered packets."""
        return tuple(arrow for arrow in self.data if arrow.late)

    @property
    def span(self) -> tuple[float, float]:
        """First and last time of anything drawn, in seconds."""
        times = [arrow.time for arrow in self.data] + [step.time for step in self.acks]
        times += [mark.time for mark in self.marks] + [mark.time for mark in self.handshakes]
        return (min(times, default=0.0), max(times, default=1.0))

    @property
    def top(self) -> int:
        """The highest sequence value of anything drawn."""
        ends = [arrow.last for arrow in self.data] + [step.value for step in (*self.acks, *self.edges)]
        return max([1, *ends])
