"""What a series of measured values comes to.  Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Statistic(StrEnum):
    """The one number of a series that is held against a target."""

    MEDIAN = "median"
    P95 = "p95"
    MIN = "min"


@dataclass(frozen=True, slots=True)
class Summary:
    """A series in a few numbers, in the series' own unit."""

    n: int
    median: float
    p95: float
    min: float
    max: float
    low: float
    """Lower and upper end of the 95 % confidence interval of the median; where noise alone would put it."""
    high: float

    def value(self, statistic: Statistic) -> float:
        return {Statistic.MEDIAN: self.median, Statistic.P95: self.p95, Statistic.MIN: self.min}[statistic]


def summary(values: Sequence[float]) -> Summary:
    """Raises `ValueError` for an empty series: nothing was measured, and that has no median."""
    if not values:
        raise ValueError("a series without values has no summary")
    rising = sorted(values)
    low, high = _interval_of_median(len(rising))
    return Summary(
        n=len(rising),
        median=statistics.median(rising),
        p95=percentile(rising, 95),
        min=rising[0],
        max=rising[-1],
        low=rising[low],
        high=rising[high],
    )


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile: the smallest value that so many percent of the values do not exceed."""
    rising = sorted(values)
    return rising[max(0, math.ceil(len(rising) * percent / 100) - 1)]


def _interval_of_median(n: int) -> tuple[int, int]:
    """Which two of n sorted values enclose the median of their distribution in 95 of 100 series, whatever it is.

    With fewer than six values no two do; then the smallest and the largest.
    """
    # The number of values below the true median is binomial with p = 1/2 (order statistics).
    below = 0.0
    for index in range(n // 2):
        below += math.comb(n, index) / 2**n
        if below > 0.025:
            return max(0, index - 1), min(n - 1, n - index)
    return 0, n - 1


def pair_ratios(pairs: Sequence[tuple[float, float]]) -> list[float]:
    """What came first beside what came second, pair by pair; a machine that is slow for a while is slow for both."""
    if any(second <= 0 for _, second in pairs):
        raise ValueError("a pair has nothing in its second place: a ratio to it says nothing")
    return [first / second for first, second in pairs]


def order(number: int) -> tuple[bool, bool]:
    """The order within a pair of blocks (True: with Migrate): AB BA AB ..., so that a drift of the machine helps
    neither."""
    return (True, False) if number % 2 == 0 else (False, True)


def shares(count: int, parts: int) -> list[int]:
    """`count` in so many parts as equal as can be, none of them empty."""
    found = [count // parts + (number < count % parts) for number in range(parts)]
    return [share for share in found if share]
