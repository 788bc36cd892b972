"""Colours, sizes and settings of the time-sequence pictures."""

from __future__ import annotations

from typing import Any, Literal

WIDTH, HEIGHT, DPI = 1600, 1000, 100  # pixels, pixels, pixels per inch

# Okabe and Ito's colours, which the colour-blind can tell apart; the first two are the old and the new address.
ADDRESS_COLOURS = ("#0072B2", "#E07B00", "#009E73", "#56B4E9", "#8C6D00", "#5B4A8A")
RETRANSMISSION = "#C2185B"
SACK = "#7B3FA0"
STAIRCASE = "#333333"
EDGE = "#8C8C8C"
MIGRATE = "#B22222"
MARK_COLOURS = {"move": "#000000", "migrate": MIGRATE}
MARK_STYLES: dict[str, Literal["-", "-."]] = {"move": "-", "migrate": "-."}
FAINT = "#666666"
GRID = "#E6E6E6"

# Text stays text in the SVG, and the same trace gives the same file.
SETTINGS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "time-sequence",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Helvetica", "Arial"],
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "path.simplify": False,
}


def colour_of(address: int) -> str:
    """The colour of the address with this index; beyond the palette it starts again."""
    return ADDRESS_COLOURS[address % len(ADDRESS_COLOURS)]
