"""Slide 31: bytes received against time, a curve for each period, a panel for each loss rate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis import measures
from analysis.pictures.style import DPI, FAINT, GRID, HEIGHT, SETTINGS, WIDTH, colour_of
from scenarios.oscillation_seen import Curve, progress

MEGABYTE = 1_000_000


def draw(curves: Sequence[Curve], path: Path, title: str) -> None:
    """PNG or SVG, by the suffix of `path`."""
    with matplotlib.rc_context(SETTINGS):
        figure = make_figure(curves, title)
        figure.savefig(path, dpi=DPI, metadata={"Date": None} if path.suffix == ".svg" else None)


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
