"""A transfer under one attack after another: its rate over time, and a row for each attack, drawn with matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis.pictures.style import DPI, FAINT, GRID, MIGRATE, SETTINGS, WIDTH, colour_of

STEP_SECONDS = 0.25
"""The rate is that of stretches of this length."""
SHORTEST = 0.004
"""Of the whole width; a shorter attack is drawn that long."""


@dataclass(frozen=True)
class Attempt:
    """One attack, or something else that happened to the transfer (`attack` false): seconds on the samples' clock."""

    name: str
    begin: float
    end: float
    outcome: str
    attack: bool = True
    harm: bool = False
    """It did something to the transfer."""


def rates(samples: Sequence[tuple[float, int]]) -> list[tuple[float, float]]:
    """(seconds, Mbit/s) of stretches of `STEP_SECONDS`, from (seconds, bytes so far) in order of time."""
    if not samples:
        return []
    begins = [samples[0]]
    for time, count in samples:
        if time - begins[-1][0] >= STEP_SECONDS:
            begins.append((time, count))
    return [(time, 8e-6 * (later - count) / (end - time)) for (time, count), (end, later) in pairwise(begins)]


def draw_attacks(samples: Sequence[tuple[float, int]], attempts: Sequence[Attempt], path: Path, *, title: str) -> None:
    """`samples`: when the program at the end had how many bytes.  Raises ValueError where nothing is to be drawn."""
    if not samples or not attempts:
        raise ValueError("There is no transfer or no attack to draw.")
    with matplotlib.rc_context(SETTINGS):
        make_figure(samples, attempts, title).savefig(path, dpi=DPI)


def make_figure(samples: Sequence[tuple[float, int]], attempts: Sequence[Attempt], title: str) -> Figure:
    """The whole picture, not yet written anywhere."""
    height = 4.3 + 0.27 * len(attempts)
    figure = Figure(figsize=(WIDTH / DPI, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    left, right, rows = 0.285, 0.76, 0.27 * len(attempts) / height
    below = figure.add_axes((left, 0.62 / height, right - left, rows))
    above = figure.add_axes((left, 0.62 / height + rows + 0.015, right - left, 2.5 / height), sharex=below)
    zero = samples[0][0]
    end = max(samples[-1][0], *(one.end for one in attempts)) - zero
    below.set_xlim(0, end)
    below.set_ylim(len(attempts) - 0.5, -0.5)
    measured = rates(samples)
    above.step([time - zero for time, _ in measured], [rate for _, rate in measured], where="post",
               color=colour_of(0), linewidth=1.3)  # fmt: skip
    above.set_ylim(0, 1.1 * max((rate for _, rate in measured), default=1.0))
    above.set_ylabel("the transfer (Mbit/s)")
    above.tick_params(axis="x", labelbottom=False)
    below.set_xlabel("time (s)")
    below.set_yticks(range(len(attempts)), [one.name for one in attempts])
    below.tick_params(axis="y", length=0)
    for axes in (above, below):
        axes.grid(True, axis="x", color=GRID, linewidth=0.7)
        axes.set_axisbelow(True)
    for row, one in enumerate(attempts):
        colour = FAINT if not one.attack else MIGRATE if one.harm else colour_of(1)
        begin, length = one.begin - zero, max(one.end - one.begin, SHORTEST * end)
        below.broken_barh([(begin, length)], (row - 0.32, 0.64), facecolors=colour)
        above.axvspan(begin, begin + length, color=colour, alpha=0.18, linewidth=0)
        below.text(1.012, row, one.outcome, transform=below.get_yaxis_transform(), va="center", fontsize=10.5,
                   color=MIGRATE if one.harm else "black")  # fmt: skip
    figure.text(0.02, 1 - 0.35 / height, title, fontsize=17, fontweight="bold", va="center")
    return figure
