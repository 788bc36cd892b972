"""What a curve of `oscillation` is.  Times are seconds since 1970."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass

from analysis.capture import ACK, SYN
from analysis.daemon_events import Told
from analysis.stream import Stream


@dataclass(frozen=True)
class Curve:
    """One download, moved every `period` seconds between two replicas."""

    period: float | None
    """None: never."""
    loss: float
    """Probability, for each packet in each direction."""
    streams: tuple[Stream, ...]
    """Of the client's capture."""
    told: tuple[Told, ...]
    """What both wedges have told of this connection."""
    asked: int
    """Take-overs that were asked for."""
    exit_status: int
    wanted: str
    got: str
    """SHA-256."""
    object_bytes: int

    @property
    def name(self) -> str:
        every = "never" if self.period is None else f"every {self.period:g} s"
        return f"loss {100 * self.loss:g} %, moved {every}"


@dataclass(frozen=True, slots=True)
class _Arrival:
    """A data segment that its client took; `lacks` is the first byte that it lacks afterwards, from 1."""

    time: float
    lacks: int
    new: bool
    """Bytes came in order that had not."""
    mends: bool
    """The last hole is filled: a loss has been recovered from."""


def _arrivals(stream: Stream) -> Iterator[_Arrival | float]:
    """In order of time, in seconds since the first SYN; a number is a take-over in the middle of a recovery.

    Once the client has said yes to another server, the last one is not heard any more, and what has come beyond a hole
    is forgotten (Preload)."""
    begin, lacks, owner = stream.segments[0].time, 1, 0
    beyond: list[tuple[int, int]] = []
    for one in stream.segments:
        if one.from_initiator:
            if one.has(SYN | ACK) and one.epoch > owner:
                owner = one.epoch
                if beyond:
                    yield one.time - begin
                beyond.clear()
            continue
        if not one.length or one.epoch != owner:
            continue
        had, holes = lacks, bool(beyond)
        insort(beyond, (one.seq, one.end))
        while beyond and beyond[0][0] <= lacks:
            lacks = max(lacks, beyond.pop(0)[1])
        yield _Arrival(one.time - begin, lacks, lacks > had, holes and not beyond)


def progress(stream: Stream) -> list[tuple[float, int]]:
    """Seconds since the first SYN, and how many bytes the client has up to the first that it lacks; the steps only."""
    found = [(one.time, one.lacks - 1) for one in _arrivals(stream) if isinstance(one, _Arrival) and one.new]
    return [(0.0, 0), *found]


def recoveries(stream: Stream) -> list[float]:
    """When the client had no hole any more, seconds since the first SYN; also those that a take-over has cut short.

    A loss behind which nothing came is not seen from here."""
    return [one.time if isinstance(one, _Arrival) else one
            for one in _arrivals(stream) if not isinstance(one, _Arrival) or one.mends]  # fmt: skip


def seconds(stream: Stream) -> float:
    """From the first SYN to the last new byte."""
    return progress(stream)[-1][0]
