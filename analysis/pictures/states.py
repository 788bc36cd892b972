"""The states of a connection at its ends over time, with the segments that changed them: drawn with matplotlib.

A lane for each host; what a host sent is a tick under its lane, so that one sees when it was silent.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from analysis.pictures.states_data import Arrow, StatesData
from analysis.pictures.style import DPI, FAINT, MIGRATE, SETTINGS, WIDTH

LANE_HEIGHT = 0.34
COLOURS = {
    "ESTABLISHED": "#8FBF8F",
    "SYN_SENT": "#F2C14E",
    "SYN_RCVD": "#E9A15B",
    "MIGRATE_WAIT": "#D98880",
    "SUSPENDED": "#B8B8B8",
    "CLOSED": "#5E5E5E",
}
OTHER_STATE = "#C9D7E8"
RST_COLOUR = "#000000"
WORDS = {"5": "5 Migrate SYN", "6": "6 SYN/ACK", "7": "7 ACK", "RST": "RST"}
_HALO: dict[str, Any] = {"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.85}
_NARROW = 0.055
"""Of the whole width; states that lasted less long than this are told by colour alone."""


def draw_states(data: StatesData, path: Path, *, title: str = "") -> None:
    """Draw to `path`, as PNG or SVG by its suffix.  Raises ValueError for another suffix, and without lanes."""
    suffix = path.suffix.lower()
    if suffix not in (".png", ".svg"):
        raise ValueError(f"A picture is written as .png or .svg, not as {path.name!r}; choose one of the two.")
    if not data.lanes:
        raise ValueError("There is no lane to draw: give the states of one host at least.")
    with matplotlib.rc_context(SETTINGS):
        figure = make_figure(data, title)
        figure.savefig(path, dpi=DPI, metadata={"Date": None} if suffix == ".svg" else None)


def make_figure(data: StatesData, title: str = "") -> Figure:
    """The whole picture, not yet written anywhere."""
    height = 2.4 + 1.7 * len(data.lanes)
    figure = Figure(figsize=(WIDTH / DPI, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.09, 1.25 / height, 0.89, 1 - 2.0 / height))
    places = {lane.name: float(len(data.lanes) - 1 - index) for index, lane in enumerate(data.lanes)}
    axes.set_xlim(0, data.end)
    axes.set_ylim(-0.75, len(data.lanes) - 0.35)
    axes.set_yticks([place + LANE_HEIGHT / 2 for place in places.values()], list(places))
    axes.tick_params(axis="y", length=0, labelsize=13)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("time (s)")
    shown: dict[str, str] = {}
    for lane in data.lanes:
        at = places[lane.name]
        for span in lane.spans:
            colour = COLOURS.get(span.state, OTHER_STATE)
            axes.broken_barh([(span.start, span.end - span.start)], (at, LANE_HEIGHT), facecolors=colour)
            if span.end - span.start > _NARROW * data.end + 0.006 * data.end * len(span.state):
                axes.text((span.start + span.end) / 2, at + LANE_HEIGHT / 2, span.state, ha="center", va="center",
                          fontsize=11, color="white" if span.state == "CLOSED" else "black", zorder=6,
                          bbox={"facecolor": colour, "edgecolor": "none", "pad": 1.5})  # fmt: skip
            else:
                shown[span.state] = colour
        axes.vlines(list(lane.sent), at - 0.10, at - 0.02, colors=FAINT, linewidth=0.8)
    for arrow in data.arrows:
        _arrow(axes, arrow, places)
    for moment in data.moments:
        at = places[moment.lane]
        axes.vlines([moment.time], at - 0.16, at + LANE_HEIGHT + 0.03, colors="black", linewidth=1.2)
        if moment.text:
            axes.text(moment.time, at - 0.18, moment.text, ha="center", va="top", fontsize=10, zorder=6, bbox=_HALO)
    figure.text(
        0.02, 1 - 0.35 / height, title or "States of the connection", fontsize=17, fontweight="bold", va="center"
    )
    _legend(figure, data, shown)
    return figure


def _arrow(axes: Axes, arrow: Arrow, places: dict[str, float]) -> None:
    """From the edge of the sender's lane to that of the receiver's; one that was lost ends half way, with a cross."""
    down = places[arrow.receiver] < places[arrow.sender]
    start = places[arrow.sender] + (0 if down else LANE_HEIGHT)
    stop = places[arrow.receiver] + (LANE_HEIGHT if down else 0)
    colour = RST_COLOUR if arrow.kind == "RST" else MIGRATE
    if arrow.end is None:
        half = (start + stop) / 2
        axes.plot([arrow.start, arrow.start], [start, half], color=colour, linewidth=1.2)
        axes.plot([arrow.start], [half], marker="x", color=colour)
    else:
        style = {"arrowstyle": "-|>", "color": colour, "linewidth": 1.2, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", xy=(arrow.end, stop), xytext=(arrow.start, start), arrowprops=style, zorder=5)
    if arrow.kind != "RST":
        # On its own arrow, which in a crowd no place beside it is.
        part = {"5": 0.28, "6": 0.5, "7": 0.72}[arrow.kind] if arrow.end is not None else 0.2
        along = arrow.start + part * ((arrow.end if arrow.end is not None else arrow.start) - arrow.start)
        axes.text(along, start + part * (stop - start), arrow.kind, color=colour, fontsize=10, fontweight="bold",
                  ha="center", va="center", zorder=6, bbox=_HALO)  # fmt: skip


def _legend(figure: Figure, data: StatesData, shown: dict[str, str]) -> None:
    kinds = {arrow.kind for arrow in data.arrows}
    handles: list[Patch | Line2D] = [Patch(color=colour, label=state) for state, colour in shown.items()]
    if "RST" in kinds:
        handles.append(Line2D([], [], color=RST_COLOUR, label="RST"))
    if kinds - {"RST"}:
        words = ", ".join(WORDS[one] for one in ("5", "6", "7") if one in kinds)
        handles.append(Line2D([], [], color=MIGRATE, label=words))
    if any(arrow.end is None for arrow in data.arrows):
        handles.append(Line2D([], [], color=FAINT, marker="x", linestyle="", label="lost"))
    if any(lane.sent for lane in data.lanes):
        handles.append(Line2D([], [], color=FAINT, marker="|", linestyle="", label="the host sends a segment"))
    for legend in dict.fromkeys(moment.legend for moment in data.moments if moment.legend):
        handles.append(Line2D([], [], color="black", marker="|", markersize=12, linestyle="", label=legend))
    figure.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(0.08, 0.01), ncols=7,
        columnspacing=1.4, handletextpad=0.6, frameon=False, fontsize=11,
    )  # fmt: skip
