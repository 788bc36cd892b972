"""The points and lines of a time-sequence picture on one pair of axes, in tcptrace's shapes."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.ticker import FuncFormatter, MaxNLocator
from matplotlib.transforms import ScaledTranslation

from analysis.pictures.places import thinned
from analysis.pictures.plot_data import PlotData, Step
from analysis.pictures.style import EDGE, GRID, RETRANSMISSION, SACK, STAIRCASE, colour_of

MANY = 600  # segments; beyond it single arrowheads are too small to be seen
VECTORS = 5000  # segments; beyond it an SVG holds a bitmap of them, or no viewer opens it


def draw_panel(axes: Axes, plot: PlotData, *, enlarged: bool = False) -> None:
    """Everything but labels, on axes whose limits are set."""
    axes.grid(True, color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6 if enlarged else 11, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=9, steps=[1, 2, 2.5, 5, 10], integer=True))
    unit, _ = unit_of(plot)
    axes.yaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value:,.0f}" if unit == 1 else f"{value / unit:.7g}")
    )
    _staircase(axes, plot.edges, EDGE, "--", "edge", enlarged)
    _staircase(axes, plot.acks, STAIRCASE, "-", "ack", enlarged)
    for index in range(len(plot.addresses)):
        _arrows(axes, plot, index, enlarged)
    _retransmissions(axes, plot, enlarged)
    _sacks(axes, plot, enlarged)


def unit_of(plot: PlotData) -> tuple[int, str]:
    """In what the sequence axis counts: how many bytes, and its name."""
    return (1_000_000, "MB") if plot.top >= 1_000_000 else (1, "bytes")


def _staircase(axes: Axes, steps: Sequence[Step], colour: str, style: str, gid: str, enlarged: bool) -> None:
    present = [step for step in steps if not step.stale]
    stale = [step for step in steps if step.stale]
    if present:
        (line,) = axes.plot(
            [step.time for step in present],
            [step.value for step in present],
            style, drawstyle="steps-post", color=colour, linewidth=1.5 if enlarged else 1.1, zorder=2,
        )  # fmt: skip
        line.set_gid(gid)
        line.set_rasterized(len(present) > VECTORS)
    if stale and gid == "ack":
        # They are no part of the staircase, which never descends; they were sent all the same.
        axes.scatter([s.time for s in stale], [s.value for s in stale], marker="_", s=30, color=colour, zorder=2)


def _arrows(axes: Axes, plot: PlotData, index: int, enlarged: bool) -> None:
    arrows = [arrow for arrow in plot.data if arrow.address == index]
    lines = [((arrow.time, arrow.first), (arrow.time, arrow.last)) for arrow in arrows]
    collection = LineCollection(lines, colors=colour_of(index), linewidths=2.2 if enlarged else 1.6, zorder=3)
    collection.set_gid(f"data-{index}")
    collection.set_rasterized(len(arrows) > VECTORS)
    axes.add_collection(collection)
    if enlarged or len(plot.data) <= MANY:
        heads = axes.scatter(
            [arrow.time for arrow in arrows],
            [arrow.last for arrow in arrows],
            marker="^", s=26 if enlarged else 9, color=colour_of(index), linewidths=0, zorder=3,
        )  # fmt: skip
        heads.set_rasterized(len(arrows) > VECTORS)


def _retransmissions(axes: Axes, plot: PlotData, enlarged: bool) -> None:
    again = [arrow for arrow in plot.data if arrow.retransmitted]
    if not again:
        return
    # Letters that cover each other say no more than one of them.
    pixels = axes.transData.transform([(arrow.time, (arrow.first + arrow.last) / 2) for arrow in again])
    again = [again[index] for index in thinned([(float(x), float(y)) for x, y in pixels], 10 if enlarged else 6)]
    # A letter as the marker: a thousand of them cost no more than a thousand dots.  It stands to the right of its
    # arrow, below the staircase, where an ascending transfer has nothing else.
    points = axes.scatter(
        [arrow.time for arrow in again],
        [(arrow.first + arrow.last) / 2 for arrow in again],
        marker="$R$", s=52 if enlarged else 24, color=RETRANSMISSION, linewidths=0.2, zorder=4,
    )  # fmt: skip
    figure = axes.figure
    aside = ScaledTranslation((9 if enlarged else 5.5) / 72, 0, figure.dpi_scale_trans)
    points.set_offset_transform(axes.transData + aside)
    points.set_gid("retransmission")
    points.set_rasterized(len(again) > VECTORS)


def _sacks(axes: Axes, plot: PlotData, enlarged: bool) -> None:
    blocks = [((block.time, block.left), (block.time, block.right)) for block in plot.sacks]
    if blocks:
        collection = LineCollection(blocks, colors=SACK, linewidths=4 if enlarged else 2, alpha=0.55, zorder=2.5)
        collection.set_gid("sack")
        collection.set_rasterized(len(blocks) > VECTORS)
        axes.add_collection(collection)
