"""The sequence diagram as text, after sngrep: a column per address, time in the margin, expected beside observed."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence

from analysis.pictures.expected import ExpectedLine, Verdict
from analysis.pictures.ladder_rows import (
    GapRow,
    Ladder,
    MoveRow,
    Row,
    SegmentRow,
    ladder_of,
    packed,
    verdicts_of,
)
from analysis.pictures.view import view_of
from analysis.stream import Stream

MARGIN = 24  # characters: time, packet, segment number
NARROWEST, WIDEST = 34, 60  # characters between two columns
EXPECTED = 40  # characters that the expected lines need at least to stand beside

BOLD, DIM, RED, GREEN = "1", "2", "1;31", "32"
ADDRESSES = ("34", "33", "32", "36")


def ladder_text(
    stream: Stream,
    *,
    expected: Iterable[ExpectedLine] | None = None,
    moves: Sequence[float] = (),
    called: str = "move",
    names: Mapping[str, str] | None = None,
    title: str = "",
    width: int | None = None,
    colour: bool | None = None,
    context: int = 1,
) -> str:
    """The sequence diagram of a stream, lines joined by newlines.

    `expected`: what a diagram wanted and what was found, in the diagram's order; `moves`: seconds since 1970, when an
    end lost its address, or whatever else led to a migration, which `called` names; `names`: what to call an address;
    `width`: characters, by default the terminal's, and without one 130 or with expected lines 175; `colour`: by default
    only on a terminal, and not where NO_COLOR is set; `context`: ordinary segments shown around each that is not.
    Raises ValueError for a stream without segments.
    """
    ladder = ladder_of(view_of(stream, names), expected=expected, moves=moves, called=called, context=context)
    lines = _Writer(ladder, width or _width(ladder), _colours() if colour is None else colour).lines()
    return "\n".join(([title, ""] if title else []) + lines)


def _colours() -> bool:
    """Whether standard output shows colours: https://no-color.org"""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _width(ladder: Ladder) -> int:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 175 if ladder.compared else 130


class _Writer:
    """Lays a ladder out in characters."""

    def __init__(self, ladder: Ladder, width: int, colour: bool) -> None:
        self.ladder = ladder
        self.colour = colour
        count = len(ladder.columns)
        first = MARGIN + 9
        room = (width - first - 10 - (EXPECTED if ladder.compared else 0)) // max(count - 1, 1)
        gap = max(NARROWEST, min(WIDEST, room))
        self.columns = [first + gap * index for index in range(count)]
        self.end = self.columns[-1] + 10
        self.beside = ladder.compared and width - self.end >= EXPECTED
        self.expected_width = max(EXPECTED, width - self.end) if self.beside else max(EXPECTED, width - MARGIN)

    def paint(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour and text else text

    def lines(self) -> list[str]:
        found = self.header()
        for row in self.ladder.rows:
            found += self.block(row)
        if self.ladder.compared:
            found += ["", self.paint(self.ladder.summary, RED if self.ladder.mismatches else GREEN)]
        return [line.rstrip() for line in found]

    def header(self) -> list[str]:
        names, addresses = [" "] * (self.end + 12), [" "] * (self.end + 12)
        names[:MARGIN] = "   time (s)  packet".ljust(MARGIN)
        for column, at in zip(self.ladder.columns, self.columns, strict=True):
            _put(names, column.name, at - len(column.name) // 2)
            _put(addresses, column.address, at - len(column.address) // 2)
        if self.beside:
            del names[self.end :]
            names += "expected"
        return [self.paint("".join(names).rstrip(), BOLD), "".join(addresses), "".join(self.lifelines())]

    def lifelines(self, mark: str = "│") -> list[str]:
        line = [" "] * self.end
        for at in self.columns:
            line[at] = mark
        return line

    def block(self, row: Row) -> list[str]:
        """The lines of one row, its expected lines beside or below it."""
        if isinstance(row, SegmentRow):
            left = self.segment(row)
        elif isinstance(row, GapRow):
            left = self.gap(row)
        elif isinstance(row, MoveRow):
            left = [self.move(row)]
        else:
            left = []
        right = [line for verdict in verdicts_of(row) for line in self.verdict(verdict)]
        if not self.beside:
            indent = " " * MARGIN
            return left + [indent + line for line in right]
        blank = "".join(self.lifelines())
        left += [blank] * (len(right) - len(left))
        return [one + two for one, two in zip(left, right + [""] * (len(left) - len(right)), strict=True)]

    def verdict(self, verdict: Verdict) -> list[str]:
        sign, code = ("✓ ", GREEN) if verdict.good else ("✗ ", RED)
        times = f"  (× {verdict.packets})" if verdict.packets > 1 else ""
        room = self.expected_width - 2
        lines = textwrap.wrap(verdict.line + times, room, subsequent_indent="  ") or [""]
        found = [self.paint(sign + lines[0], code)] + [self.paint("  " + line, code) for line in lines[1:]]
        for reason in (verdict.mismatch or "").splitlines():
            found += [self.paint("    " + line, RED) for line in textwrap.wrap(reason, room - 2)]
        return found

    def segment(self, row: SegmentRow) -> list[str]:
        source, target = self.columns[row.source], self.columns[row.target]
        left, right = min(source, target), max(source, target)
        room = right - left - 7
        words = packed(row.phrases, room)
        shaft = "═" if row.migrates else "╌" if row.late else "─"
        body = [shaft] * (right - left - 1)
        for at in self.columns:
            if left < at < right:
                body[at - left - 1] = "┼" if shaft == "─" else body[at - left - 1]
        text = f" {words[0]} "
        if source < target:
            body[2 : 2 + len(text)] = text
            body[-1] = "▶"
        else:
            start = len(body) - 2 - len(text)
            body[start : start + len(text)] = text
            body[0] = "◀"
        role = f"({row.seen.role})" if row.seen.role else ""
        margin = f"{row.seen.time:11.6f} {row.seen.packet.number:>6}  {role:<3} "
        line = self.lifelines()
        code = RED if row.migrates else ADDRESSES[row.colour % len(ADDRESSES)]
        head = (
            (self.paint(margin, RED) if row.migrates else margin)
            + "".join(line[MARGIN : left + 1])
            + self.paint("".join(body), code)
            + "".join(line[right:])
        )
        found = [head]
        for chunk in words[1:]:
            below = self.lifelines()
            start = left + 4 if source < target else right - 3 - len(chunk)
            _put(below, chunk, max(start, left + 2))
            found.append(
                "".join(below[: left + 1]) + self.paint("".join(below[left + 1 : right]), code) + "".join(below[right:])
            )
        return found

    def gap(self, row: GapRow) -> list[str]:
        times = f"{row.first:.3f} to {row.last:.3f} s"
        found: list[str] = []
        for words in (f"... {row.count} packets, {times} ...", *row.words):
            line = self.lifelines("⋮")
            middle = (self.columns[0] + self.columns[-1]) // 2
            _put(line, f" {words} ", max(self.columns[0] + 2, middle - len(words) // 2))
            text = "".join(line)
            found.append(
                text[:MARGIN] + self.paint(text[MARGIN:].rstrip(), DIM) + " " * (len(text) - len(text.rstrip()))
            )
        return found

    def move(self, row: MoveRow) -> str:
        line = list(f"{row.time:11.6f}".ljust(MARGIN)) + ["┄"] * (self.columns[-1] + 4 - MARGIN)
        _put(line, f" {row.words} ", self.columns[0] + 4)
        line += " " * (self.end - len(line))
        return self.paint("".join(line), BOLD)


def _put(line: list[str], text: str, start: int) -> None:
    """Write text over a line of characters, longer if it must be."""
    start = max(start, 0)
    line += " " * (start + len(text) - len(line))
    line[start : start + len(text)] = text
