"""The time-sequence picture of slides 28 and 29: one sequence axis across all addresses of a migrated connection.

The shapes are tcptrace's: an arrow for each data segment, a staircase for the acknowledgements, another for the
window's edge, R for a retransmission, bars for SACK blocks.  A second panel enlarges one interruption.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from analysis.pictures.labels import annotate_late, number_handshake, raise_flags
from analysis.pictures.panel import draw_panel, unit_of
from analysis.pictures.plot_build import build
from analysis.pictures.plot_data import Interruption, PlotData
from analysis.pictures.style import (
    DPI,
    EDGE,
    FAINT,
    HEIGHT,
    MIGRATE,
    RETRANSMISSION,
    SACK,
    SETTINGS,
    STAIRCASE,
    WIDTH,
    colour_of,
)
from analysis.pictures.view import view_of
from analysis.stream import Stream

# Fractions of the picture: the main panel's left, the last panel's right, and both panels' bottom and top.
LEFT, RIGHT, BOTTOM, TOP = 0.068, 0.978, 0.145, 0.835
TOP_WITHOUT_FLAGS = 0.895
NAMED = 4  # addresses in the legend
BESIDE = 0.12  # of the whole time, at most, on either side of an interruption that is enlarged
SPLIT, ZOOM_LEFT = 0.605, 0.672


def draw_time_sequence(
    stream: Stream,
    path: Path,
    *,
    moves: Sequence[float] = (),
    called: str = "move",
    title: str = "",
    names: Mapping[str, str] | None = None,
    zoom: int = 1,
) -> PlotData:
    """Draw the time-sequence picture of a stream to `path`, as PNG or SVG by its suffix, and return what it shows.

    `moves`: when an end lost its address, seconds since 1970, or what `called` names; `title`: one line,
    names scenario, profile and vantage;
    `names`: what to call an address; `zoom`: which migration the second panel enlarges, counted from 1.
    Raises ValueError for another suffix and for a stream without segments.
    """
    plot = build(view_of(stream, names), moves, called)
    draw(plot, path, title=title or f"captured at {stream.vantage}", zoom=zoom)
    return plot


def draw(plot: PlotData, path: Path, *, title: str = "", zoom: int = 1) -> None:
    """Draw `plot` to `path`, as PNG or SVG by its suffix, 1600 x 1000 pixels.

    `zoom` says which migration the second panel enlarges, counted from 1; without any, there is one panel.
    Raises ValueError for another suffix.
    """
    suffix = path.suffix.lower()
    if suffix not in (".png", ".svg"):
        raise ValueError(f"A picture is written as .png or .svg, not as {path.name!r}; choose one of the two.")
    with matplotlib.rc_context(SETTINGS):
        figure = make_figure(plot, title=title, zoom=zoom)
        figure.savefig(path, dpi=DPI, metadata={"Date": None} if suffix == ".svg" else None)


def make_figure(plot: PlotData, *, title: str = "", zoom: int = 1) -> Figure:
    """The whole picture, not yet written anywhere."""
    figure = Figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    chosen = next((item for item in plot.interruptions if item.migration == zoom), None)
    top = TOP if plot.marks else TOP_WITHOUT_FLAGS
    main = figure.add_axes((LEFT, BOTTOM, (SPLIT if chosen else RIGHT) - LEFT, top - BOTTOM))
    first, last = plot.span
    side = 0.015 * max(last - first, 0.001)
    main.set_xlim(first - side, last + side)
    main.set_ylim(-0.015 * plot.top, 1.03 * plot.top)
    draw_panel(main, plot)
    main.set_ylabel(f"sequence number − {plot.origin} ({unit_of(plot)[1]})")
    main.set_xlabel("time since the first SYN (s)")
    figure.text(LEFT, 0.966, title or "Time-sequence diagram", fontsize=18, fontweight="bold", va="center")
    figure.text(LEFT, 0.930, f"data from {plot.sender} to {plot.receiver}", fontsize=12, color=FAINT, va="center")
    if chosen:
        _second_panel(figure, main, plot, chosen)
    raise_flags(main, plot.marks, figure.bbox.width * (SPLIT + 0.05 if chosen else 1.0))
    annotate_late(main, plot)
    _legend(figure, plot)
    return figure


def _second_panel(figure: Figure, main: Axes, plot: PlotData, chosen: Interruption) -> None:
    """What happened between the last byte at one address and the first at the next."""
    axes = figure.add_axes((ZOOM_LEFT, BOTTOM, RIGHT - ZOOM_LEFT, TOP - BOTTOM))
    low, high = zoom_times(plot, chosen)
    bottom, top = zoom_values(plot, chosen, low, high)
    axes.set_xlim(low, high)
    axes.set_ylim(bottom, top)
    draw_panel(axes, plot, enlarged=True)
    axes.set_xlabel("time since the first SYN (s)")
    # Only the frame: lines that lead from it to the second panel would cross the data.
    main.add_patch(
        Rectangle((low, bottom), high - low, top - bottom, fill=False, edgecolor=FAINT, linewidth=1, linestyle=":")
    )
    which = f" {chosen.migration}" if len(plot.interruptions) > 1 else ""
    words = f"interruption{which}: the dotted frame, enlarged"
    figure.text(RIGHT, 0.930, words, fontsize=12, color=FAINT, ha="right", va="center")
    number_handshake(axes, plot, low, high)
    at = bottom + 0.045 * (top - bottom)
    axes.annotate("", xy=(chosen.start, at), xytext=(chosen.end, at), arrowprops={"arrowstyle": "<->"}, zorder=7)
    axes.text(
        (chosen.start + chosen.end) / 2, at + 0.016 * (top - bottom),
        f"{stillness(plot, chosen)} for {_seconds(chosen.seconds)}",
        ha="center", va="bottom", fontsize=11, zorder=8,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
    )  # fmt: skip
    raise_flags(axes, [mark for mark in plot.marks if low <= mark.time <= high], figure.bbox.width, short=True)


def stillness(plot: PlotData, chosen: Interruption) -> str:
    """What it is that there was none of.  A sender who has not heard of the move yet may go on towards the old
    address."""
    if plot.at_receiver:
        return "no new data"
    in_vain = any(chosen.start < arrow.time < chosen.end for arrow in plot.late)
    return "sent only in vain" if in_vain else "nothing sent"


def _seconds(value: float) -> str:
    return f"{value:.3f} s" if value >= 0.1 else f"{value * 1000:.1f} ms"


def zoom_times(plot: PlotData, chosen: Interruption) -> tuple[float, float]:
    """What the second panel shows of the time axis, in seconds: the interruption and some segments on either side."""
    times = sorted({arrow.time for arrow in plot.data if abs(arrow.time - chosen.end) < 50 * max(chosen.seconds, 0.01)})
    gaps = [after - before for before, after in pairwise(times)]
    # A long one needs no more beside it than what shows how it began and ended.
    first, last = plot.span
    side = max(min(chosen.seconds, BESIDE * (last - first)), 3 * median(gaps) if gaps else 0.01)
    return chosen.start - 0.8 * side, chosen.end + 1.1 * side


def zoom_values(plot: PlotData, chosen: Interruption, low: float, high: float) -> tuple[float, float]:
    """What the second panel shows of the sequence axis: all data of that time, and room for labels below it."""
    arrows = [arrow for arrow in plot.data if low <= arrow.time <= high]
    values = [edge for arrow in arrows for edge in (arrow.first, arrow.last)] + [chosen.value]
    shaken = [mark.value for mark in plot.handshakes if low <= mark.time <= high]
    room = max(0.1 * (max(values + shaken) - min(values + shaken)), 500)
    top = max(values + shaken) + room
    # The numbered discs hang below their points, and the length of the interruption stands below them.
    discs = [(value - 0.25 * top) / 0.75 for value in shaken]
    return min([min(values) - 1.2 * room, *discs]), top


def _legend(figure: Figure, plot: PlotData) -> None:
    """Under the panels, with only what is in the picture, in as many rows as it takes."""
    shown = plot.addresses if len(plot.addresses) <= NAMED else plot.addresses[: NAMED - 1]
    handles = [
        Line2D([], [], color=colour_of(index), marker="^", markersize=6, linewidth=2, label=f"data, {address}")
        for index, address in enumerate(shown)
    ]
    if len(shown) < len(plot.addresses):
        words = f"and {len(plot.addresses) - len(shown)} more addresses"
        handles.append(Line2D([], [], color=colour_of(len(shown)), marker="^", markersize=6, linewidth=2, label=words))
    if plot.acks:
        handles.append(Line2D([], [], color=STAIRCASE, label="acknowledged"))
    if plot.edges:
        handles.append(Line2D([], [], color=EDGE, linestyle="--", label="window's edge"))
    if any(arrow.retransmitted for arrow in plot.data):
        handles.append(Line2D([], [], color=RETRANSMISSION, marker="$R$", linestyle="", label="retransmission"))
    if plot.sacks:
        handles.append(Line2D([], [], color=SACK, linewidth=4, alpha=0.55, label="SACK block"))
    if plot.handshakes:
        words = "5 Migrate SYN, 6 SYN/ACK, 7 ACK"
        handles.append(Line2D([], [], color=MIGRATE, marker="o", markersize=7, linestyle="", label=words))
    for rows in (1, 2, 3):
        legend = figure.legend(
            handles=handles, loc="center left", bbox_to_anchor=(LEFT - 0.008, 0.045), ncols=-(-len(handles) // rows),
            frameon=False, fontsize=11.5, columnspacing=1.8, handlelength=2.0, handletextpad=0.6, labelspacing=0.35,
        )  # fmt: skip
        if legend.get_window_extent().x1 <= figure.bbox.width or rows == 3:
            return
        legend.remove()
