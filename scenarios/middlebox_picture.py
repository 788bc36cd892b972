"""The measured table as text and as a picture.  Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from html import escape

from scenarios.middlebox_cells import Cell, Handshake, Result, Situation
from scenarios.middlebox_evidence import Outcome
from scenarios.middlebox_table import EXPECTED, SIDES, TITLES, Denied, name
from topologies.boxes import Side

MARKS = {Outcome.WORKS: "works", Outcome.PLAIN: "plain TCP", Outcome.FAILS: "fails"}
COLOURS = {
    Outcome.WORKS: ("#DDF2E3", "#1B7F3B"),
    Outcome.PLAIN: ("#FFF3CF", "#7A5B00"),
    Outcome.FAILS: ("#FADCDC", "#B00000"),
}
HEADS = {Handshake.DRAFT: "the draft's handshake", Handshake.ADAPTED: "adapted to firewalls"}
COLUMNS: tuple[tuple[Handshake, Side], ...] = tuple((handshake, side) for handshake in Handshake for side in SIDES)
_LINE = {
    Situation.IDLE: "nothing in flight",
    Situation.ACKS_LOST: "ACKs in flight or lost",
    Situation.DATA_LOST: "data lost",
}


def table_rows(results: Sequence[Result]) -> list[tuple[str, str, list[Result | None]]]:
    """(box, situation in words, a result or nothing for each of `COLUMNS`), as far as anything was tried."""
    by_cell = {result.cell: result for result in results}
    found = []
    for box in TITLES:
        several = sum(any(cell.box == box and cell.situation is one for cell in by_cell) for one in Situation) > 1
        for situation in Situation:
            row = [by_cell.get(Cell(box, side, situation, handshake)) for handshake, side in COLUMNS]
            if any(row):
                found.append((TITLES[box], _LINE[situation] if several else "", row))
    return found


def table_text(results: Sequence[Result], findings: Sequence[Denied], title: str) -> str:
    """Everything that was measured: the table, the packet that shows each cell, the findings against the deck."""
    width = max(len(text) for text in TITLES.values())
    lines = [title, ""]
    head = f"{'':{width}}  {'':22}"
    lines.append(head + "".join(f"  {HEADS[handshake]:28}" for handshake in Handshake).rstrip())
    lines.append((head + "".join(f"  {side + ' moves':13}" for _, side in COLUMNS)).rstrip())
    last = ""
    for box, situation, row in table_rows(results):
        marks = [f"{MARKS[one.finding.outcome] if one else '':13}" for one in row]
        lines.append(f"{box if box != last else '':{width}}  {situation:22}  {'  '.join(marks)}".rstrip())
        last = box
    lines += [
        "",
        "Slide 16 says: works with most NATs, PEPs, stateful firewalls. Denied, with the draft's handshake:",
        "",
    ]
    for one in findings:
        cure = "; works with the other handshake" if one.cured else ""
        lines += _wrapped(f"- {name(one.cell)}: {one.outcome}{cure}")
    lines += [
        "" if findings else "- nothing",
        "The packet that shows it, for each cell (inside: the mobile's side of the box):",
        "",
    ]
    for result in results:
        returned = {True: "; goes on once the old address is back", False: "; not even once the old address is back"}
        tried = result.cell.situation is Situation.ACKS_LOST and result.finding.recovers is not None
        again = returned[bool(result.finding.recovers)] if tried and result.cell.box not in _NO_WAY_BACK else ""
        text = f"- {name(result.cell)}: {result.finding.outcome}{again}. {result.finding.why}."
        lines += _wrapped(text)
    lines += ["", "Why:", ""]
    for (box, side), known in EXPECTED.items():
        lines += _wrapped(f"- {TITLES[box]}, {side} moves: {known.reason}")
    return "\n".join(lines) + "\n"


_NO_WAY_BACK = ("refuse", "strip2", "proxy2")
"""No connection that could come back, or one that is behind another box by then."""


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 118, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


_CELL, _HEIGHT, _BOX, _SITUATION, _TOP = 118, 26, 290, 160, 92


def table_svg(results: Sequence[Result], title: str) -> str:
    """The table as one SVG document: text stays text."""
    rows = table_rows(results)
    left = 16 + _BOX + _SITUATION
    wide, high = left + _CELL * len(COLUMNS) + 16, _TOP + _HEIGHT * len(rows) + 44
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{high}" viewBox="0 0 {wide} {high}">',
        "<style>text{font-family:'DejaVu Sans',Helvetica,Arial,sans-serif;font-size:13px;fill:#111}"
        ".head{font-weight:bold}.faint{fill:#666}</style>",
        f'<rect width="{wide}" height="{high}" fill="white"/>',
        f'<text x="16" y="28" class="head" style="font-size:16px">{escape(title)}</text>',
    ]
    for number, handshake in enumerate(Handshake):
        middle = left + _CELL * (2 * number + 1)
        parts.append(f'<text x="{middle}" y="58" text-anchor="middle" class="head">{escape(HEADS[handshake])}</text>')
    for number, (_, side) in enumerate(COLUMNS):
        parts.append(f'<text x="{left + _CELL * number + _CELL // 2}" y="80" text-anchor="middle">{side} moves</text>')
    last = ""
    for index, (box, situation, row) in enumerate(rows):
        top = _TOP + _HEIGHT * index
        if box != last:
            parts.append(f'<line x1="16" x2="{wide - 16}" y1="{top}" y2="{top}" stroke="#BBB"/>')
            parts.append(f'<text x="16" y="{top + 18}">{escape(box)}</text>')
        parts.append(f'<text x="{16 + _BOX}" y="{top + 18}" class="faint">{escape(situation)}</text>')
        last = box
        for number, result in enumerate(row):
            if result is None:
                continue
            background, colour = COLOURS[result.finding.outcome]
            x = left + _CELL * number
            size = f'width="{_CELL - 4}" height="{_HEIGHT - 4}" rx="3"'
            parts.append(
                f"<g><title>{escape(result.finding.why)}</title>"
                f'<rect x="{x + 2}" y="{top + 2}" {size} fill="{background}"/>'
                f'<text x="{x + _CELL // 2}" y="{top + 18}" text-anchor="middle" style="fill:{colour}">'
                f"{MARKS[result.finding.outcome]}</text></g>"
            )
    foot = "fails: both ends speak Migrate, and the connection cannot move. plain TCP: it opens without Migrate."
    parts.append(f'<text x="16" y="{high - 16}" class="faint">{foot}</text></svg>')
    return "\n".join(parts) + "\n"
