"""What both pictures say of single segments: sent again, or for an address already left.  Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from analysis.pictures.view import View


class Ranges:
    """A set of half-open byte ranges, kept sorted and joined."""

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.ends: list[int] = []

    def add(self, first: int, last: int) -> bool:
        """Put a range in; True if some of its bytes were there already."""
        low = bisect_right(self.ends, first)
        high = bisect_right(self.starts, last - 1)
        overlaps = low < high
        # Ranges that only touch are joined too.
        if low > 0 and self.ends[low - 1] == first:
            low -= 1
        if high < len(self.starts) and self.starts[high] == last:
            high += 1
        if low < high:
            first, last = min(first, self.starts[low]), max(last, self.ends[high - 1])
        self.starts[low:high] = [first]
        self.ends[low:high] = [last]
        return overlaps


def retransmitted(view: View) -> list[bool]:
    """For each segment whether some of its bytes were sent before, as far as this vantage saw."""
    known = {True: Ranges(), False: Ranges()}
    again = [False] * len(view.seen)
    # What a queue still delivers to an old address was sent before the new one was known: the copy that went to the
    # new address is the retransmission, whichever of the two passed here first.
    for place in sorted(range(len(view.seen)), key=lambda place: (view.seen[place].epoch, view.seen[place].time)):
        seen = view.seen[place]
        if seen.length:
            again[place] = known[seen.from_initiator].add(seen.seq, seen.end)
    return again


def departures(view: View, moves: Sequence[float]) -> list[float]:
    """For each epoch the time at which its address was left; the last one never is.

    `moves` in seconds since the first SYN.  Without a move before it, the first segment of the next epoch counts.  A
    Migrate SYN that nobody answers, such as one that comes late, behind a newer one, leads nowhere.
    """
    begins: dict[int, float] = {}
    taken = {0, *(seen.epoch for seen in view.seen if seen.role == 6 or seen.length)}
    for seen in view.seen:
        if seen.epoch in taken:
            begins.setdefault(seen.epoch, seen.time)
    left: list[float] = []
    following = float("inf")
    for epoch in reversed(range(len(view.ends))):
        between = [move for move in moves if begins.get(epoch, 0.0) < move <= following < float("inf")]
        left.append(max(between, default=following))
        following = begins.get(epoch, following)
    return left[::-1]


def late(view: View, moves: Sequence[float]) -> list[bool]:
    """For each segment whether it carries data for or from an address that had been left by then."""
    left = departures(view, moves)
    return [seen.length > 0 and seen.time > left[seen.epoch] for seen in view.seen]
