"""Statistics of series whose answers are known."""

from __future__ import annotations

import random
import statistics

import pytest

from benchmarks import figures
from benchmarks.figures import Statistic


def test_a_summary() -> None:
    seen = figures.summary([float(value) for value in range(100, 0, -1)])
    assert (seen.n, seen.median, seen.p95, seen.min, seen.max) == (100, 50.5, 95.0, 1.0, 100.0)
    # Order statistics 40 and 61 of 100, from any table of the sign test.
    assert (seen.low, seen.high) == (40.0, 61.0)
    assert [seen.value(each) for each in (Statistic.MEDIAN, Statistic.P95, Statistic.MIN)] == [50.5, 95.0, 1.0]


def test_nothing_measured_has_no_summary() -> None:
    with pytest.raises(ValueError, match="without values"):
        figures.summary([])


def test_few_values_bound_their_median_by_their_ends() -> None:
    seen = figures.summary([3.0, 1.0, 2.0])
    assert (seen.low, seen.median, seen.high) == (1.0, 2.0, 3.0)
    seen = figures.summary([float(value) for value in range(6)])
    assert (seen.low, seen.high) == (0.0, 5.0)


@pytest.mark.parametrize("n", [6, 25, 60, 150])
def test_the_interval_holds_the_true_median_in_95_of_100_series(n: int) -> None:
    source = random.Random(7)
    held = 0
    for _ in range(2000):
        seen = figures.summary([source.expovariate(1.0) for _ in range(n)])
        held += seen.low <= 0.693147 <= seen.high
    assert 0.94 < held / 2000 <= 0.985


@pytest.mark.parametrize(("values", "percent", "wanted"), [
    ([1.0], 95, 1.0),
    ([1.0, 2.0], 50, 1.0),
    ([float(value) for value in range(1, 21)], 95, 19.0),
    ([float(value) for value in range(1, 22)], 95, 20.0),
    ([5.0, 1.0, 3.0], 100, 5.0),
])  # fmt: skip
def test_percentiles_are_values_of_the_series(values: list[float], percent: float, wanted: float) -> None:
    assert figures.percentile(values, percent) == wanted


def test_pair_ratios_forgive_a_machine_that_slows_down() -> None:
    """Ours has 0.9 of plain's rate, and in the middle the machine becomes ten times slower."""
    pairs = [(90.0, 100.0)] * 3 + [(9.0, 10.0)] * 4
    assert statistics.median(figures.pair_ratios(pairs)) == pytest.approx(0.9)


def test_the_ratio_to_nothing_says_nothing() -> None:
    with pytest.raises(ValueError, match="nothing in its second place"):
        figures.pair_ratios([(1.0, 0.0)])


def test_a_drift_helps_neither_block() -> None:
    rate, ours, plain = 100.0, 0.0, 0.0
    for number in range(4):
        for migrating in figures.order(number):
            if migrating:
                ours += rate
            else:
                plain += rate
            rate -= 1
    assert ours == plain


@pytest.mark.parametrize(("count", "wanted"), [(150, [25] * 6), (8, [2, 2, 1, 1, 1, 1]), (2, [1, 1])])
def test_shares(count: int, wanted: list[int]) -> None:
    assert figures.shares(count, 6) == wanted
