"""The labels of a time-sequence picture: flags on vertical lines, numbered segments, the slide's own words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from analysis.pictures.places import Points, along, assign_rows, roomiest
from analysis.pictures.plot_data import Mark, PlotData, Step
from analysis.pictures.style import MARK_COLOURS, MARK_STYLES, MIGRATE, colour_of

ROWS = 3
ROW_HEIGHT = 21.0  # pixels
MANY = 24  # marks in a panel; beyond it their lines would hide the data, and each is only a tick at the upper edge
WORDS = {"move": "moves", "migrate": "Migrate SYNs"}
# Segments 5 to 7 often share an instant, so each has its own direction, into the room below the staircase; points.
DIRECTIONS = {5: (-20, -24), 6: (2, -46), 7: (22, -24)}


def raise_flags(axes: Axes, marks: Sequence[Mark], limit: float, *, short: bool = False) -> None:
    """A line at each mark's time, its label in a row above the panel, ending before `limit` (pixels).

    Where the long labels do not fit the short ones are taken; a label without room is left out, a line never.
    """
    if len(marks) > MANY:
        _raise_ticks(axes, marks)
        return
    figure = axes.figure
    box = axes.get_window_extent()
    lefts = [float(axes.transData.transform((mark.time, 0))[0]) for mark in marks]

    def fit(words: Sequence[str]) -> list[int | None]:
        widths: list[float] = []
        for word in words:
            text = figure.text(0, 0, word)
            widths.append(float(text.get_window_extent().width) + 6)
            text.remove()
        ends = [left + width for left, width in zip(lefts, widths, strict=True)]
        rows = assign_rows(list(zip(lefts, widths, strict=True)), ROWS)
        return [row if end <= limit else None for row, end in zip(rows, ends, strict=True)]

    words = [mark.short if short else mark.text for mark in marks]
    rows = fit(words)
    if None in rows:
        words = [mark.short for mark in marks]
        rows = fit(words)
    to_figure = figure.transFigure.inverted()
    for mark, word, left, row in zip(marks, words, lefts, rows, strict=True):
        colour, style = MARK_COLOURS[mark.kind], MARK_STYLES[mark.kind]
        axes.axvline(mark.time, color=colour, linestyle=style, linewidth=1.3, zorder=2.2).set_gid(f"mark-{mark.kind}")
        if row is None:
            continue
        top = box.y1 + (row + 0.9) * ROW_HEIGHT
        x, y = to_figure.transform((left, box.y1))
        _, end = to_figure.transform((left, top))
        figure.add_artist(Line2D([x, x], [y, end], color=colour, linestyle=style, linewidth=1.3))
        x, y = to_figure.transform((left + 4, top - 9))
        figure.text(x, y, word, color=colour, va="center")


def _raise_ticks(axes: Axes, marks: Sequence[Mark]) -> None:
    """Moves in one row of ticks, Migrate SYNs in the row below it, and how many they are."""
    at = 0.0
    for row, (kind, words) in enumerate(WORDS.items()):
        times = [mark.time for mark in marks if mark.kind == kind]
        if not times:
            continue
        high = 1 - 0.022 * row
        colour = MARK_COLOURS[kind]
        ticks = axes.vlines(
            times, high - 0.018, high, colors=colour, linewidth=0.8, transform=axes.get_xaxis_transform(), zorder=2.2
        )
        ticks.set_gid(f"mark-{kind}")
        label = axes.annotate(
            f"{len(times)} {words}", xy=(at, 1), xycoords="axes fraction",
            xytext=(0, 6), textcoords="offset points", color=colour,
        )  # fmt: skip
        width = label.get_window_extent().width / axes.get_window_extent().width
        at += width + 0.03


def number_handshake(axes: Axes, plot: PlotData, low: float, high: float) -> None:
    """Segments 5, 6 and 7 between the times `low` and `high` as numbered discs."""
    for mark in plot.handshakes:
        if not low <= mark.time <= high:
            continue
        axes.plot([mark.time], [mark.value], "o", color=MIGRATE, markersize=5, zorder=7)
        note = axes.annotate(
            str(mark.number),
            xy=(mark.time, mark.value), xytext=DIRECTIONS[mark.number], textcoords="offset points",
            ha="center", va="center", fontsize=11, color="white", fontweight="bold", zorder=9,
            bbox={"boxstyle": "circle,pad=0.25", "facecolor": MIGRATE, "edgecolor": "none"},
            arrowprops={"arrowstyle": "-", "color": MIGRATE, "linewidth": 1.0, "shrinkB": 0},
        )  # fmt: skip
        note.set_gid(f"segment-{mark.number}")


def annotate_late(axes: Axes, plot: PlotData) -> None:
    """The slide's arrow to the packets that still go to the old address, where it covers least."""
    late = plot.late
    if not late or len(plot.marks) > MANY:  # among many moves it would point at one of many
        return
    # Only beside the receiver does their lateness show that a queue on the way to the old address held them.
    words = f"Buffered packets\n(old {plot.left})"
    if plot.sender_moves or not plot.at_receiver:
        words = f"Still {'from' if plot.sender_moves else 'to'} the\nold {plot.left}"
    tried = [late[round((len(late) - 1) * part)] for part in (0.6, 0.4, 0.8, 1.0)]
    pixels = axes.transData.transform([(arrow.time, (arrow.first + arrow.last) / 2) for arrow in tried])
    targets = [(float(x), float(y)) for x, y in pixels]
    box = axes.get_window_extent()
    chosen, centre = roomiest(*_occupied(axes, plot), targets, (140, 44), (box.x0, box.y0, box.x1, box.y1))
    # A fraction and no pixels: an SVG counts 72 of them to the inch.
    x, y = axes.transAxes.inverted().transform(centre)
    arrow, colour = tried[chosen], colour_of(tried[chosen].address)
    note = axes.annotate(
        words,
        xy=(arrow.time, (arrow.first + arrow.last) / 2), xycoords="data",
        xytext=(float(x), float(y)), textcoords="axes fraction",
        ha="center", va="center", fontsize=13, color=colour, zorder=8,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5},
        arrowprops={"arrowstyle": "-|>", "color": colour, "shrinkB": 5, "linewidth": 1.3},
    )  # fmt: skip
    note.set_gid("late")


def _occupied(axes: Axes, plot: PlotData) -> tuple[Points, Points]:
    """Pixels that something is drawn at; and those of the data and its acknowledgements alone."""
    data = [[(arrow.time, float(arrow.first)), (arrow.time, float(arrow.last))] for arrow in plot.data]
    data.append(_corners([step for step in plot.acks if not step.stale]))
    others = [[(block.time, float(block.left)), (block.time, float(block.right))] for block in plot.sacks]
    others.append(_corners([step for step in plot.edges if not step.stale]))
    bottom, top = axes.get_ylim()
    if len(plot.marks) <= MANY:
        others += [[(mark.time, bottom), (mark.time, top)] for mark in plot.marks]
    for patch in axes.patches:
        corners = patch.get_patch_transform().transform(patch.get_path().vertices)
        others.append([(float(x), float(y)) for x, y in corners])
    barriers = _pixels(axes, data)
    return np.concatenate((barriers, _pixels(axes, others))), barriers


def _pixels(axes: Axes, lines: Sequence[Sequence[tuple[float, float]]]) -> Points:
    """Points on lines that are given in data coordinates."""
    found: list[tuple[float, float]] = []
    for line in lines:
        if line:
            found += along([(float(x), float(y)) for x, y in axes.transData.transform(line)])
    # One point for each 4 pixels will do, however long the trace.
    return np.unique(np.round(np.array(found, dtype=np.float64).reshape(-1, 2) / 4), axis=0) * 4


def _corners(steps: Sequence[Step]) -> list[tuple[float, float]]:
    """A staircase's corners: flat to the next step's time, then up."""
    corners: list[tuple[float, float]] = []
    for step in steps:
        if corners:
            corners.append((step.time, corners[-1][1]))
        corners.append((step.time, float(step.value)))
    return corners
