"""What a take-over costs, and how long the last loss recovery lies back, of streams whose answer is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from scenarios import oscillation_cost
from scenarios.oscillation_checks import report_costs
from scenarios.oscillation_cost import Group, TakeOver, grouped, takeovers
from scenarios.oscillation_picture import cost_figure
from scenarios.oscillation_seen import recoveries
from tests.scenarios.failover_run import PRONOUNCED, TRIP, context
from tests.scenarios.test_oscillation_checks import Made, never

SYN = PRONOUNCED + 0.03
"""When the made Migrate SYN comes; sA's six segments came a millisecond apart, from 0.1 s on."""


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oscillation_cost, "SPAN_SECONDS", 0.0035)


def later(made: Made, number: int, time: float) -> None:
    """One of sA's segments is lost, and comes again then."""
    gone = [row for row in made.run.rows if row.tag == "data"][number]
    made.run.rows = [replace(row, time=time) if row is gone else row for row in made.run.rows]
    made.run.rows.sort(key=lambda row: row.time)


def test_the_cost_is_how_much_longer_the_same_bytes_took() -> None:
    """The last four of six segments came in 3.5 ms; four as large as they have come with sB's fourth."""
    (one,) = takeovers(Made().curve())
    assert one.cost == pytest.approx(SYN + TRIP + 0.005 + 0.003 - 0.105 - 0.0035, abs=1e-6)
    assert one.since == pytest.approx(SYN, abs=1e-6), "no loss so far"


def test_a_filled_hole_is_a_recovery() -> None:
    made = Made()
    later(made, 4, 0.15)
    curve = made.curve()
    assert recoveries(curve.streams[0]) == [pytest.approx(0.15, abs=1e-6)]
    (one,) = takeovers(curve)
    assert one.since == pytest.approx(SYN - 0.15, abs=1e-6)


def test_a_recovery_after_the_request_changes_nothing() -> None:
    made = Made()
    new = [row for row in made.run.rows if row.tag == "new"]
    made.run.rows = [replace(row, time=row.time + 0.0035) if row is new[1] else row for row in made.run.rows]
    made.run.rows.sort(key=lambda row: row.time)
    curve = made.curve()
    assert len(recoveries(curve.streams[0])) == 1
    (one,) = takeovers(curve)
    assert one.since == pytest.approx(SYN, abs=1e-6)


def test_what_ends_too_soon_tells_nothing() -> None:
    made = Made()
    made.run.drop("new", slice(2, None))
    assert not takeovers(made.curve())
    assert not takeovers(never())


def test_groups_by_the_time_since(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = {
        "a": [TakeOver(0.01, 0.1, 0.05), TakeOver(0.01, 0.2, 0.15)],
        "b": [TakeOver(0, 0.25, 0.2), TakeOver(0, 7, 0.3)],
    }
    monkeypatch.setattr(oscillation_cost, "takeovers", lambda curve: told[curve])
    groups = grouped(["a", "b"])  # type: ignore[list-item]
    assert [(group.low, group.high, len(group.takeovers)) for group in groups] == [
        (0, 0.25, 2),
        (0.25, 0.5, 1),
        (5, float("inf"), 1),
    ]
    assert groups[0].cost == pytest.approx(0.1)
    assert groups[-1].name == "5 s and more after the last loss recovery"
    about = context(tmp_path)
    report_costs(about, groups)
    names = [one.name for one in about.reported]
    assert "cost of a take-over 0 to 0.25 s after the last loss recovery" in names
    assert len(names) == 6
    legend = cost_figure(groups, "title").axes[0].get_legend()
    assert legend is not None
    words = [text.get_text() for text in legend.get_texts()]
    assert words == ["loss 0 %: 2 take-overs", "loss 1 %: 2 take-overs", "median"]


def test_group_names() -> None:
    assert Group(0.5, 1.0, ()).name == "0.5 to 1 s after the last loss recovery"
