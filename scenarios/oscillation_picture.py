"""Slide 31: bytes received against time, a curve for each period, a panel for each loss rate; and what each single
take-over costs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis import measures
from analysis.pictures.style import DPI, FAINT, GRID, HEIGHT, SETTINGS, WIDTH, colour_of
from scenarios.oscillation_cost import SPAN_SECONDS, Group
from scenarios.oscillation_seen import Curve, progress

MEGABYTE = 1_000_000
LONGEST_SECONDS = 10.0


def draw(curves: Sequence[Curve], path: Path, title: str) -> None:
    """PNG or SVG, by the suffix of `path`."""
    with matplotlib.rc_context(SETTINGS):
        figure = make_figure(curves, title)
        figure.savefig(path, dpi=DPI, metadata={"Date": None} if path.suffix == ".svg" else None)


def draw_cost(groups: Sequence[Group], path: Path, title: str) -> None:
    """What each take-over costs against the time since the last loss recovery; PNG or SVG."""
    with matplotlib.rc_context(SETTINGS):
        figure = cost_figure(groups, title)
        figure.savefig(path, dpi=DPI, metadata={"Date": None} if path.suffix == ".svg" else None)


def cost_figure(groups: Sequence[Group], title: str) -> Figure:
    """A point for each take-over, a bar for the median of each group."""
    figure = Figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.06, 0.09, 0.92, 0.77))
    every = [one for group in groups for one in group.takeovers]
    for index, loss in enumerate(sorted({one.loss for one in every})):
        mine = [one for one in every if one.loss == loss]
        axes.scatter(
            [one.since for one in mine], [one.cost for one in mine], s=36, alpha=0.75, color=colour_of(index),
            linewidths=0, label=f"loss {100 * loss:g} %: {len(mine)} take-overs",
        )  # fmt: skip
    for group in groups:
        ends = (group.low, min(group.high, LONGEST_SECONDS))
        label = "median" if group is groups[0] else None
        axes.plot(ends, (group.cost, group.cost), color="black", linewidth=2.2, solid_capstyle="butt", label=label)
    axes.axhline(0, color=FAINT, linewidth=1)
    # Most of them lie within the first second.
    axes.set_xscale("symlog", linthresh=1, linscale=1.5)
    ticks = (0, 0.25, 0.5, 1, 2, 5, 10)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlim(0, LONGEST_SECONDS)
    axes.set_xlabel("time since the last loss recovery, or the last take-over (s)")
    axes.set_ylabel("cost of the take-over (s)")
    axes.grid(color=GRID)
    axes.legend(loc="upper right", frameon=False)
    figure.text(0.06, 0.96, title, fontsize=18, fontweight="bold", va="center")
    words = f"by how much longer the bytes after a take-over took than those of the {SPAN_SECONDS:g} s before it"
    figure.text(0.06, 0.92, words, fontsize=12, color=FAINT, va="center")
    return figure


def make_figure(curves: Sequence[Curve], title: str) -> Figure:
    """The whole picture, not yet written anywhere."""
    figure = Figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    losses = sorted({curve.loss for curve in curves})
    last = max(progress(one)[-1][0] for curve in curves for one in curve.streams[:1])
    panels = figure.subplots(1, len(losses), sharey=True, squeeze=False)[0]
    for axes, loss in zip(panels, losses, strict=True):
        axes.set_title(f"loss {100 * loss:g} %", loc="left", fontsize=13)
        axes.set_xlabel("time since the first SYN (s)")
        axes.set_xlim(0, 1.02 * last)
        axes.grid(color=GRID)
        for index, curve in enumerate(one for one in curves if one.loss == loss and one.streams):
            steps = progress(curve.streams[0])
            times, received = [time for time, _ in steps], [count / MEGABYTE for _, count in steps]
            every = "never" if curve.period is None else f"every {curve.period:g} s"
            moves = len(measures.moves(curve.streams[0]))
            label = f"{every}: {times[-1]:.1f} s" + (f", {moves} take-overs" if moves else "")
            axes.step(times, received, where="post", color=colour_of(index), linewidth=1.6, label=label)
        axes.legend(loc="lower right", fontsize=10.5, title="moved", frameon=False)
    panels[0].set_ylabel("received, in order (MB)")
    panels[0].set_ylim(bottom=0)
    figure.subplots_adjust(left=0.05, right=0.985, bottom=0.08, top=0.86, wspace=0.06)
    figure.text(0.05, 0.96, title, fontsize=18, fontweight="bold", va="center")
    words = "moved back and forth between two replicas; a panel's downloads at the same time, each over its own link"
    figure.text(0.05, 0.92, words, fontsize=12, color=FAINT, va="center")
    return figure
