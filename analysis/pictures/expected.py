"""Expected lines beside observed segments: what a diagram's matcher hands over, and where each line belongs.  Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from analysis.capture import Packet
from analysis.pictures.view import View


class ExpectedLine(Protocol):
    """One line of a diagram and what the matcher found for it; any object with these attributes will do."""

    @property
    def line(self) -> str:
        """The line as the diagram has it."""

    @property
    def packet(self) -> Packet | None:
        """The packet it was compared with; None where there was none."""

    @property
    def mismatch(self) -> str | None:
        """What is wrong, or None.  Without a packet and without a mismatch the line asked for nothing to be there."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """The plainest ExpectedLine."""

    line: str
    packet: Packet | None
    mismatch: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """An expected line beside what was observed."""

    line: str
    mismatch: str | None
    packets: int = 1  # how many it matched, for a line that may repeat

    @property
    def good(self) -> bool:
        return self.mismatch is None


def place_lines(
    view: View, expected: Sequence[ExpectedLine]
) -> tuple[dict[int, list[Verdict]], dict[int, list[Verdict]]]:
    """The expected lines beside the segments they matched, and the others after the segment they should follow.

    A line that matched many segments (data, one or more) comes once for each of them, in turn with others such as the
    ACKs.  It is written once, beside the first, until a line comes that matched a single segment: a new phase.
    """
    positions = {(seen.packet.file, seen.packet.number): index for index, seen in enumerate(view.seen)}
    times = Counter(item.line for item in expected if item.packet is not None and item.mismatch is None)
    beside: dict[int, list[Verdict]] = {}
    apart: dict[int, list[Verdict]] = {}
    running: dict[str, tuple[int, int]] = {}  # line: where its verdict is
    after = -1
    for item in expected:
        packet = item.packet
        place = None if packet is None else positions.get((packet.file, packet.number))
        verdict = Verdict(item.line, item.mismatch)
        if place is None:
            apart.setdefault(after, []).append(verdict)
            continue
        after = max(after, place)
        repeats = verdict.good and times[item.line] > 1
        if repeats and item.line in running:
            first, slot = running[item.line]
            known = beside[first][slot]
            beside[first][slot] = replace(known, packets=known.packets + 1)
            continue
        beside.setdefault(place, []).append(verdict)
        if repeats:
            running[item.line] = (place, len(beside[place]) - 1)
        else:
            running.clear()
    return beside, apart
