"""The sequence diagram as SVG, written out directly: text stays text, and the same rows give the same file."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from html import escape

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
from analysis.pictures.style import FAINT, MIGRATE, colour_of
from analysis.pictures.view import view_of
from analysis.stream import Stream

# Pixels.  The text is monospaced, so that its width is known without a font at hand.
CHARACTER, LINE = 7.25, 16
LEFT, GAP, LABEL = 225, 330, 42  # the first column, between columns, characters in a label's line
EXPECTED_AT, EXPECTED_CHARACTERS = 90, 58  # from the last column; characters in a line
GOOD, BAD = "#1B7F3B", "#C00000"
STYLE = (
    "text{font-family:'DejaVu Sans Mono',Menlo,Consolas,monospace;font-size:12px;fill:#111}"
    ".sans{font-family:'DejaVu Sans',Helvetica,Arial,sans-serif}"
    f".faint{{fill:{FAINT}}}.migrate text{{fill:{MIGRATE};font-weight:bold}}"
    # A label may cross a lifeline.
    ".label{paint-order:stroke;stroke:white;stroke-width:5px}.migrate .label{stroke:#FBEAEA}"
    f".good{{fill:{GOOD}}}.bad{{fill:{BAD}}}"
)


def ladder_svg(
    stream: Stream,
    *,
    expected: Iterable[ExpectedLine] | None = None,
    moves: Sequence[float] = (),
    called: str = "move",
    names: Mapping[str, str] | None = None,
    title: str = "",
    context: int = 1,
) -> str:
    """The sequence diagram of a stream as one SVG document; parameters and errors as for `ladder_text`."""
    ladder = ladder_of(view_of(stream, names), expected=expected, moves=moves, called=called, context=context)
    return _Drawing(ladder, title or f"captured at {stream.vantage}").document()


class _Drawing:
    """Lays a ladder out from top to bottom."""

    def __init__(self, ladder: Ladder, title: str) -> None:
        self.ladder = ladder
        self.title = title
        self.columns = [LEFT + GAP * index for index in range(len(ladder.columns))]
        self.expected_at = self.columns[-1] + EXPECTED_AT
        self.width = self.expected_at + (int(EXPECTED_CHARACTERS * CHARACTER) + 20 if ladder.compared else 0)
        self.parts: list[str] = []
        self.y = 0

    def document(self) -> str:
        """The whole file."""
        self.header()
        for row in self.ladder.rows:
            self.row(row)
        self.lifelines(12)
        self.footer()
        opening = (
            f'<svg xmlns="http://www.w3.org/2000/svg" xml:space="preserve" width="{self.width}" height="{self.y}" '
            f'viewBox="0 0 {self.width} {self.y}">'
        )
        background = f'<rect width="{self.width}" height="{self.y}" fill="white"/>'
        return "\n".join(
            [
                opening,
                f"<title>{escape(self.title)}</title>",
                f"<style>{STYLE}</style>",
                background,
                *self.parts,
                "</svg>",
                "",
            ]
        )

    def text(self, x: float, y: float, words: str, *, anchor: str = "start", classes: str = "", more: str = "") -> None:
        attributes = f' class="{classes}"' if classes else ""
        attributes += f' text-anchor="{anchor}"' if anchor != "start" else ""
        attributes += f" {more}" if more else ""
        self.parts.append(f'<text x="{x:g}" y="{y:g}"{attributes}>{escape(words)}</text>')

    def header(self) -> None:
        self.text(24, 36, self.title, classes="sans", more='style="font-size:19px;font-weight:bold"')
        self.text(24, 58, "Sequence numbers count from Ni and Na.", classes="sans faint")
        top = 76
        for column, x in zip(self.ladder.columns, self.columns, strict=True):
            width = max(len(column.name), len(column.address)) * CHARACTER + 24
            colour = colour_of(column.index) if self.moving(column.initiator) else FAINT
            self.parts.append(
                f'<rect x="{x - width / 2:g}" y="{top}" width="{width:g}" height="42" rx="5" fill="white" '
                f'stroke="{colour}" stroke-width="2"/>'
            )
            self.text(x, top + 17, column.name, anchor="middle", more='style="font-weight:bold"')
            self.text(x, top + 33, column.address, anchor="middle")
        for x, words in ((92, "time (s)"), (150, "packet")):
            self.text(x, top + 25, words, anchor="end", classes="faint")
        if self.ladder.compared:
            self.text(self.expected_at, top + 25, "expected", more='style="font-weight:bold"')
        self.y = top + 42
        self.lifelines(8)
        self.y += 8

    def moving(self, initiator: bool) -> bool:
        return sum(column.initiator == initiator for column in self.ladder.columns) > 1

    def footer(self) -> None:
        self.y += 12
        if self.ladder.compared:
            classes = "bad" if self.ladder.mismatches else "good"
            self.text(
                self.expected_at, self.y + 14, self.ladder.summary, classes=classes, more='style="font-weight:bold"'
            )
        self.y += 30

    def lifelines(self, height: float, *, dotted: bool = False) -> None:
        """A piece of every lifeline, from here down."""
        dash = ' stroke-dasharray="2 5"' if dotted else ""
        for x in self.columns:
            self.parts.append(f'<line x1="{x}" y1="{self.y:g}" x2="{x}" y2="{self.y + height:g}" stroke="#999"{dash}/>')

    def row(self, row: Row) -> None:
        """One row: its height is that of the higher of both sides."""
        right = [(words, good) for verdict in verdicts_of(row) for words, good in _lines(verdict)]
        if isinstance(row, SegmentRow):
            labels = packed(row.phrases, LABEL * abs(row.source - row.target))
            left = LINE * len(labels) + 18
        elif isinstance(row, GapRow):
            left = LINE * (1 + len(row.words)) + 16
        else:
            left = 26 if isinstance(row, MoveRow) else 0
        height = max(left, LINE * len(right) + 10)
        if isinstance(row, SegmentRow) and row.migrates:
            edge = self.width - 24
            self.parts.append(
                f'<rect x="12" y="{self.y + 2}" width="{edge}" height="{height - 4}" rx="4" fill="#FBEAEA"/>'
            )
        self.lifelines(height, dotted=isinstance(row, GapRow))
        if isinstance(row, SegmentRow):
            self.segment(row, labels)
        elif isinstance(row, GapRow):
            self.gap(row)
        elif isinstance(row, MoveRow):
            self.move(row)
        for index, (words, good) in enumerate(right):
            self.text(self.expected_at, self.y + 16 + LINE * index, words, classes="good" if good else "bad")
        self.y += height

    def segment(self, row: SegmentRow, labels: Sequence[str]) -> None:
        source, target = self.columns[row.source], self.columns[row.target]
        forward = source < target
        side = 1 if forward else -1
        colour = MIGRATE if row.migrates else colour_of(row.colour)
        classes = "segment" + (" migrate" if row.migrates else "") + (" late" if row.late else "")
        number = row.seen.packet.number
        self.parts.append(f'<g class="{classes}" data-packet="{number}" data-role="{row.seen.role}">')
        at = self.y + LINE * len(labels) + 8
        self.text(92, at + 4, f"{row.seen.time:.6f}", anchor="end")
        self.text(150, at + 4, f"{number}", anchor="end")
        for index, words in enumerate(labels):
            anchor = "start" if forward else "end"
            self.text(source + side * 16, self.y + 15 + LINE * index, words, anchor=anchor, classes="label")
        dash = ' stroke-dasharray="7 4"' if row.late else ""
        self.parts.append(
            f'<line x1="{source}" y1="{at}" x2="{target - side * 8}" y2="{at}" stroke="{colour}" '
            f'stroke-width="{2.4 if row.migrates else 1.6}"{dash}/>'
        )
        back = target - side * 10
        self.parts.append(f'<path d="M{target} {at}L{back} {at - 4.5:g}L{back} {at + 4.5:g}Z" fill="{colour}"/>')
        if row.seen.role:
            fill = MIGRATE if row.migrates else "#777"
            self.parts.append(f'<circle cx="{source}" cy="{at}" r="9" fill="{fill}"/>')
            style = 'style="fill:white;font-weight:bold;font-size:12px"'
            self.text(source, at + 4.2, str(row.seen.role), anchor="middle", classes="sans", more=style)
        self.parts.append("</g>")

    def gap(self, row: GapRow) -> None:
        middle = (self.columns[0] + self.columns[-1]) / 2
        for index, words in enumerate(
            (f"... {row.count} packets, {row.first:.3f} to {row.last:.3f} s ...", *row.words)
        ):
            y = self.y + 20 + LINE * index
            width = len(words) * CHARACTER + 12
            self.parts.append(
                f'<rect x="{middle - width / 2:g}" y="{y - 12}" width="{width:g}" height="16" fill="white"/>'
            )
            self.text(middle, y, words, anchor="middle", classes="gap faint")

    def move(self, row: MoveRow) -> None:
        y = self.y + 13
        end = self.columns[-1] + 40
        self.parts.append(f'<line x1="165" y1="{y}" x2="{end}" y2="{y}" stroke="black" stroke-dasharray="2 3"/>')
        self.text(92, y + 4, f"{row.time:.6f}", anchor="end", classes="move")
        x = self.columns[0] + 24
        width = len(row.words) * CHARACTER + 12
        self.parts.append(f'<rect x="{x - 6}" y="{y - 9}" width="{width:g}" height="18" fill="white"/>')
        self.text(x, y + 4, row.words, classes="move", more='style="font-weight:bold"')


def _lines(verdict: Verdict) -> list[tuple[str, bool]]:
    """An expected line with its sign, and below it what is wrong."""
    times = f" (× {verdict.packets})" if verdict.packets > 1 else ""
    sign = "✓ " if verdict.good else "✗ "
    wrapped = textwrap.wrap(verdict.line + times, EXPECTED_CHARACTERS - 2) or [""]
    found = [(("  " if index else sign) + words, verdict.good) for index, words in enumerate(wrapped)]
    for reason in (verdict.mismatch or "").splitlines():
        found += [("    " + words, False) for words in textwrap.wrap(reason, EXPECTED_CHARACTERS - 4)]
    return found
