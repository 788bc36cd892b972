"""What a curve of `oscillation` is.  Times are seconds since 1970."""

from __future__ import annotations

from bisect import insort
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


def progress(stream: Stream) -> list[tuple[float, int]]:
    """Seconds since the first SYN, and how many bytes the client has up to the first that it lacks; the steps only.

    Once the client has said yes to another server, the last one is not heard any more, and what has come beyond a hole
    is forgotten (Preload)."""
    begin, lacks, owner = stream.segments[0].time, 1, 0
    beyond: list[tuple[int, int]] = []
    steps = [(0.0, 0)]
    for one in stream.segments:
        if one.from_initiator:
            if one.has(SYN | ACK) and one.epoch > owner:
                owner = one.epoch
                beyond.clear()
            continue
        if not one.length or one.epoch != owner:
            continue
        had = lacks
        insort(beyond, (one.seq, one.end))
        while beyond and beyond[0][0] <= lacks:
            lacks = max(lacks, beyond.pop(0)[1])
        if lacks > had:
            steps.append((one.time - begin, lacks - 1))
    return steps


def seconds(stream: Stream) -> float:
    """From the first SYN to the last new byte."""
    return progress(stream)[-1][0]
