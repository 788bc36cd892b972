"""Where a label may stand without covering anything.  Pure; all values in pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise, product

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]  # shape (n, 2)


def assign_rows(places: Sequence[tuple[float, float]], rows: int, gap: float = 8.0) -> list[int | None]:
    """A row for each (left, width), in pixels, so that none covers another or another's pole; None where none is free.

    The lowest row is 0.  A pole goes up from the panel to its own flag, so it crosses the rows below: the flags there
    must have ended before it.  Hence of two flags that would touch, the left one stands higher.
    """
    chosen: list[int | None] = [None] * len(places)
    # From right to left: a flag extends to the right of its pole, over the poles of those that follow it.
    taken: list[list[tuple[float, float]]] = [[] for _ in range(rows)]
    poles: list[tuple[float, int]] = []
    for index in sorted(range(len(places)), key=lambda item: -places[item][0]):
        left, width = places[index]
        right = left + width + gap
        for row in range(rows):
            free = all(right <= start or end + gap <= left for start, end in taken[row])
            crossed = any(left - gap < pole < right and height >= row for pole, height in poles)
            if free and not crossed:
                taken[row].append((left, left + width))
                poles.append((left, row))
                chosen[index] = row
                break
    return chosen


def along(corners: Sequence[tuple[float, float]], step: float = 5.0) -> list[tuple[float, float]]:
    """Points on the line through `corners`, at most `step` apart."""
    found: list[tuple[float, float]] = list(corners[:1])
    for (x0, y0), (x1, y1) in pairwise(corners):
        count = max(1, math.ceil(math.hypot(x1 - x0, y1 - y0) / step))
        found += [(x0 + (x1 - x0) * part / count, y0 + (y1 - y0) * part / count) for part in range(1, count + 1)]
    return found


def thinned(points: Sequence[tuple[float, float]], distance: float) -> list[int]:
    """Which points to keep, in order, so that none is nearer than `distance` to the one kept before it."""
    kept: list[int] = []
    for index, (x, y) in enumerate(points):
        if not kept or max(abs(x - points[kept[-1]][0]), abs(y - points[kept[-1]][1])) >= distance:
            kept.append(index)
    return kept


def roomiest(
    points: Points,
    barriers: Points,
    targets: Sequence[tuple[float, float]],
    size: tuple[float, float],
    bounds: tuple[float, float, float, float],
) -> tuple[int, tuple[float, float]]:
    """Which of `targets` to point at, and the centre of a label of `size` inside `bounds` (left, bottom, right, top).

    The label covers as few `points` as possible; among equal places the arrow from it to the target crosses few
    `barriers`, and is short.
    """
    best, least = (0, targets[0]), math.inf
    width, height = size[0] / 2 + 6, size[1] / 2 + 6
    for index, target in enumerate(targets):
        for radius, degrees in product((70, 100, 140, 190, 250), range(0, 360, 15)):
            x = target[0] + radius * math.cos(math.radians(degrees))
            y = target[1] + radius * math.sin(math.radians(degrees))
            if not (bounds[0] + width <= x <= bounds[2] - width and bounds[1] + height <= y <= bounds[3] - height):
                continue
            if abs(target[0] - x) < width + 20 and abs(target[1] - y) < height + 20:
                continue  # it would cover what it points at
            covered = np.abs(points - (x, y)) < (width, height)
            cost = 1000.0 * float(covered.all(axis=1).sum()) + 25.0 * _crossed(barriers, (x, y), target) + 0.2 * radius
            if cost < least:
                best, least = (index, (x, y)), cost
    return best


def _crossed(points: Points, start: tuple[float, float], end: tuple[float, float]) -> float:
    """How many points lie within 4 pixels of the line, those right at its end not counted."""
    line = np.subtract(end, start)
    length = float(np.hypot(*line))
    offsets = points - start
    place = offsets @ line / length
    aside = np.abs(offsets[:, 0] * line[1] - offsets[:, 1] * line[0]) / length
    return float(((place > 0) & (place < length - 7) & (aside < 4)).sum())
