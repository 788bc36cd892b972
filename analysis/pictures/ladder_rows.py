"""What a sequence diagram shows, row by row: segments, what is left out between them, moves, and the expected lines.

Pure; ladder.py writes the rows as text, ladder_svg.py as a picture.
"""

from __future__ import annotations

import textwrap
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from analysis.capture import FIN, RST, SYN
from analysis.pictures.expected import ExpectedLine, Verdict, place_lines
from analysis.pictures.facts import late, retransmitted
from analysis.pictures.view import Seen, View
from analysis.pictures.wording import head_of, options_of

CONTEXT = 1  # ordinary segments shown on each side of one that is not
SHORTEST = 4  # segments; fewer are shown rather than left out


@dataclass(frozen=True, slots=True)
class Column:
    """One lifeline: a host at one address (or at all of its addresses, where they are too many for a column each)."""

    name: str
    address: str
    initiator: bool
    index: int  # of the side's addresses, in the order of their use
    merged: bool  # does it stand for several addresses


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """One segment."""

    seen: Seen
    source: int  # column
    target: int
    colour: int  # index of the moving side's address
    phrases: tuple[str, ...]  # flags, sequence range, ack, window, options, "(retransmission)", "(old address)"
    late: bool
    verdicts: tuple[Verdict, ...] = ()

    @property
    def migrates(self) -> bool:
        """Whether it is one of segments 5, 6 and 7."""
        return self.seen.role >= 5


@dataclass(frozen=True, slots=True)
class GapRow:
    """Segments that are not shown one by one."""

    count: int
    first: float  # seconds
    last: float
    words: tuple[str, ...]  # what they were, direction by direction


@dataclass(frozen=True, slots=True)
class MoveRow:
    """The moment at which an end lost its address, or whatever led to a migration."""

    time: float  # seconds
    words: str


@dataclass(frozen=True, slots=True)
class LineRow:
    """An expected line that has no segment beside it."""

    verdict: Verdict


Row = SegmentRow | GapRow | MoveRow | LineRow


@dataclass(frozen=True, slots=True)
class Ladder:
    """A whole sequence diagram."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    compared: bool  # is there an expected side

    @property
    def mismatches(self) -> int:
        """How many expected lines were not met."""
        return sum(not verdict.good for row in self.rows for verdict in verdicts_of(row))

    @property
    def summary(self) -> str:
        """One line: how many expected lines were met, and how many not."""
        met = sum(verdict.good for row in self.rows for verdict in verdicts_of(row))
        return f"expected lines: {met} met, {self.mismatches} not met"


def packed(phrases: Iterable[str], room: int) -> list[str]:
    """The phrases on lines of at most `room` characters; a phrase is broken only where it is too long for a line."""
    lines: list[str] = []
    for phrase in phrases:
        if lines and len(lines[-1]) + 1 + len(phrase) <= room:
            lines[-1] += f" {phrase}"
        else:
            lines += textwrap.wrap(phrase, room)
    return lines


def verdicts_of(row: Row) -> tuple[Verdict, ...]:
    """The expected lines that stand beside a row."""
    if isinstance(row, SegmentRow):
        return row.verdicts
    return (row.verdict,) if isinstance(row, LineRow) else ()


def ladder_of(
    view: View,
    *,
    expected: Iterable[ExpectedLine] | None = None,
    moves: Sequence[float] = (),
    called: str = "move",
    context: int = CONTEXT,
    most_columns: int = 4,
) -> Ladder:
    """All rows in order.  `moves` in seconds since 1970, and what to call them; `context` in segments; `expected` in
    the diagram's order."""
    moves = sorted(move - view.start for move in moves)
    columns, places = _columns(view, most_columns)
    beside, apart = place_lines(view, list(expected or ()))
    again, is_late = retransmitted(view), late(view, moves)
    # The last segment before a move is worth seeing, too.
    times = [seen.time for seen in view.seen]
    before = {bisect_right(times, move) - 1 for move in moves}
    shown = _interesting(view, again, is_late, context, before | set(beside))
    rows: list[Row] = []
    hidden: list[int] = []

    def close_gap() -> None:
        if len(hidden) < SHORTEST:
            rows.extend(segment_row(index) for index in hidden)
        else:
            rows.append(_gap(view, hidden, is_late))
        hidden.clear()

    def segment_row(index: int) -> SegmentRow:
        seen = view.seen[index]
        ends = places[seen.epoch]
        source, target = ends if seen.from_initiator else (ends[1], ends[0])
        phrases = [*head_of(seen, view.shifts), *options_of(seen)]
        if again[index]:
            phrases.append("(retransmission)")
        if is_late[index]:
            phrases.append(f"(old {view.left})")
        if any(columns[end].merged for end in ends) and (seen.role >= 5 or is_late[index]):
            phrases.append(f"at {view.address(seen.epoch, initiator=view.initiator_moves)}")
        return SegmentRow(
            seen=seen,
            source=source,
            target=target,
            colour=columns[ends[0 if view.initiator_moves else 1]].index,
            phrases=tuple(phrases),
            late=is_late[index],
            verdicts=tuple(beside.get(index, ())),
        )

    rows += [LineRow(verdict) for verdict in apart.get(-1, ())]
    waiting = list(moves)
    for index, seen in enumerate(view.seen):
        while waiting and waiting[0] < seen.time:
            close_gap()
            number = f" {len(moves) - len(waiting) + 1}" if len(moves) > 1 else ""
            rows.append(MoveRow(waiting.pop(0), f"{called}{number}"))
        if not shown[index]:
            hidden.append(index)
        else:
            close_gap()
            rows.append(segment_row(index))
        if index in apart:
            close_gap()
            rows += [LineRow(verdict) for verdict in apart[index]]
    close_gap()
    rows += [MoveRow(move, called) for move in waiting]
    return Ladder(columns, tuple(rows), expected is not None)


def _columns(view: View, most: int) -> tuple[tuple[Column, ...], list[tuple[int, int]]]:
    """The columns, initiator first, and for each epoch the columns of its initiator and its responder."""
    sides = {
        True: list(dict.fromkeys((ends.initiator, ends.initiator_port) for ends in view.ends)),
        False: list(dict.fromkeys((ends.responder, ends.responder_port) for ends in view.ends)),
    }
    merge = len(sides[True]) + len(sides[False]) > most
    columns: list[Column] = []
    where: dict[tuple[bool, str, int], int] = {}
    for initiator, side in sides.items():
        for index, (address, port) in enumerate(side):
            if index == 0 or not merge:
                name = view.names.get(address, "initiator" if initiator else "responder")
                merged = merge and len(side) > 1
                one = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
                columns.append(Column(name, f"{len(side)} addresses" if merged else one, initiator, index, merged))
            where[initiator, address, port] = len(columns) - 1
    return tuple(columns), [
        (where[True, ends.initiator, ends.initiator_port], where[False, ends.responder, ends.responder_port])
        for ends in view.ends
    ]


def _interesting(
    view: View, again: Sequence[bool], is_late: Sequence[bool], context: int, matched: set[int]
) -> list[bool]:
    """Which segments are shown: those of the protocol, changes of what goes on, matched ones, and their neighbours."""
    told = [False] * len(view.seen)
    known: set[tuple[object, ...]] = set()
    for index, seen in enumerate(view.seen):
        if seen.role or seen.flags & (SYN | FIN | RST) or index in matched:
            told[index] = True
        # The first of each kind in each epoch; "ack" of an old epoch after a new one is one more kind.
        kind = (seen.epoch, seen.from_initiator, bool(seen.length), again[index], is_late[index], bool(seen.sacks))
        if kind not in known:
            known.add(kind)
            told[index] = True
    shown = list(told)
    for index, is_told in enumerate(told):
        if is_told:
            for neighbour in range(max(0, index - context), min(len(shown), index + context + 1)):
                shown[neighbour] = True
    return shown


def _gap(view: View, hidden: Sequence[int], is_late: Sequence[bool]) -> GapRow:
    groups: dict[tuple[bool, int, bool], list[Seen]] = {}
    for index in hidden:
        seen = view.seen[index]
        groups.setdefault((seen.from_initiator, seen.epoch, is_late[index]), []).append(seen)
    words: list[str] = []
    for (from_initiator, epoch, old), group in groups.items():
        source, target = (
            view.address(epoch, initiator=initiator) for initiator in (from_initiator, not from_initiator)
        )
        data = [seen for seen in group if seen.length]
        parts: list[str] = []
        if data:
            first, last = min(seen.seq for seen in data), max(seen.end for seen in data)
            parts.append(f"{len(data)} × data {first}:{last}{f' (old {view.left})' if old else ''}")
        acks = [seen.ack for seen in group if not seen.length and seen.ack is not None]
        if acks:
            parts.append(f"{len(acks)} × ack up to {max(acks)}")
        words.append(f"{source} > {target}: {', '.join(parts) or f'{len(group)} others'}")
    return GapRow(len(hidden), view.seen[hidden[0]].time, view.seen[hidden[-1]].time, tuple(words))
