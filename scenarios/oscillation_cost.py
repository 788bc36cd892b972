"""What each single take-over of `oscillation` costs, and how long the last loss recovery lay back then.  Pure.

The paper's finding (USITS 2001): a take-over costs the window that the server before had built up since it last
recovered from a loss, for its successor begins with a small one.  So it costs little soon after a recovery, and the
more the longer none was needed, up to what the path holds.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from analysis import measures
from scenarios.oscillation_seen import Curve, progress, recoveries

SPAN_SECONDS = 0.5
"""How long the bytes after a take-over took is compared with so much before it."""
EDGES_SECONDS = (0.0, 0.25, 0.5, 1.0, 2.0, 5.0, float("inf"))


@dataclass(frozen=True, slots=True)
class TakeOver:
    """One of a curve; times in seconds."""

    loss: float
    since: float
    """From the last loss recovery to the Migrate SYN.  A take-over before it, and the beginning, count as one: there,
    too, the server began with a small window."""
    cost: float
    """By how much longer the bytes after it took than as many before it."""


@dataclass(frozen=True, slots=True)
class Group:
    """The take-overs so long after the last recovery: from `low` to less than `high` seconds."""

    low: float
    high: float
    takeovers: tuple[TakeOver, ...]

    @property
    def name(self) -> str:
        upper = f"to {self.high:g} s" if self.high < float("inf") else "s and more"
        return f"{self.low:g} {upper} after the last loss recovery"

    @property
    def cost(self) -> float:
        """The median, seconds.  Raises `StatisticsError` where there are none."""
        return median(one.cost for one in self.takeovers)


def takeovers(curve: Curve) -> list[TakeOver]:
    """Those with enough before and behind them, undisturbed by the next, to tell."""
    if len(curve.streams) != 1:
        return []
    stream = curve.streams[0]
    begin, moves = stream.segments[0].time, measures.moves(stream)
    steps, mended = progress(stream), recoveries(stream)
    times, counts = [time for time, _ in steps], [count for _, count in steps]
    found, fresh = [], 0.0
    for at, move in enumerate(moves):
        asked = move.syn.time - begin
        last = bisect_right(times, asked) - 1
        earlier = bisect_right(times, times[last] - SPAN_SECONDS) - 1
        behind = bisect_left(counts, counts[last] + counts[last] - counts[earlier])
        following = moves[at + 1].syn.time - begin if at + 1 < len(moves) else float("inf")
        before = [when for when in mended if when <= asked]
        since = asked - max([fresh, *before[-1:]])
        if earlier > 0 and behind < len(times) and times[behind] <= following:
            found.append(TakeOver(curve.loss, since, times[behind] - times[last] - SPAN_SECONDS))
        fresh = move.ack.time - begin
    return found


def grouped(curves: Sequence[Curve]) -> list[Group]:
    """All of them, by the time since the last recovery; groups without any are left out."""
    every = [one for curve in curves for one in takeovers(curve)]
    groups = [
        Group(low, high, tuple(one for one in every if low <= one.since < high))
        for low, high in pairwise(EDGES_SECONDS)
    ]
    return [one for one in groups if one.takeovers]
