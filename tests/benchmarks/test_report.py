"""The table, the JSON and the exit status; and the targets they are judged by."""

from __future__ import annotations

import json

import pytest

from benchmarks.figures import Statistic
from benchmarks.report import Failure, Row, document, status, table
from benchmarks.targets import TARGETS, Target

MET = Row("answer_time", "ms", [0.5, 0.7, 0.6], {"handshake, median ms": 2.5})
MISSED = Row("setup_rate", "of plain TCP", [0.8, 0.9, 0.7])
FREE = Row("something else", "s", [1.0, 3.0])
FAILED = Failure("throughput", "iperf3 does not start")


def test_a_bound_itself_is_met() -> None:
    at_least, at_most = Target(Statistic.MEDIAN, ">=", 0.98), Target(Statistic.P95, "<=", 10.0)
    assert [at_least.met(value) for value in (0.9799, 0.98, 1.1)] == [False, True, True]
    assert [at_most.met(value) for value in (9.0, 10.0, 10.01)] == [True, True, False]
    assert str(at_most) == "p95 <= 10"


def test_the_statistic_of_the_target_is_held_against_it() -> None:
    slow_tail = [1.0] * 18 + [50.0, 50.0]
    row = Row("interruption_10ms_idle", "ms beyond", slow_tail)
    assert (row.summary.median, row.value, row.met) == (1.0, 50.0, False)
    assert Row("answer_time", "ms", slow_tail).met is True
    assert Row("resume_1000_survivors", "connections", [1000.0, 999.0, 1000.0]).met is False


def test_the_targets_are_those_that_were_set() -> None:
    bounds = {name: (str(one.statistic), one.relation, one.bound) for name, one in TARGETS.items()}
    assert bounds.pop("throughput") == ("median", ">=", 0.98)
    assert bounds.pop("throughput_frames") == ("median", ">=", 0.98)
    assert bounds.pop("setup_rate") == ("median", ">=", 0.95)
    assert bounds.pop("answer_time") == ("median", "<=", 1.0)
    assert bounds.pop("resume_1000") == ("median", "<=", 1.0)
    assert bounds.pop("resume_1000_survivors") == ("min", ">=", 1000)
    assert bounds.pop("wedge_throughput") == ("median", ">=", 0.85)
    assert bounds.pop("wedge_throughput_10g") == ("median", ">=", 0.85)
    assert bounds.pop("takeover_1000") == ("median", "<=", 5.0)
    assert bounds.pop("takeover_1000_survivors") == ("min", ">=", 1000)
    assert bounds.pop("takeover") == ("p95", "<=", 30.0)
    assert len(bounds) == 6
    assert set(bounds.values()) == {("p95", "<=", 10.0)}


def test_the_table_says_what_is_met_and_what_is_missed() -> None:
    lines = table([MET, MISSED, FREE], [FAILED], colours=False).splitlines()
    assert lines[0].split()[:5] == ["measurement", "value", "unit", "target", "met?"]
    assert lines[1].split()[:8] == ["answer_time", "0.6", "ms", "median", "<=", "1", "met", "0.6"]
    assert "median >= 0.95  MISSED" in lines[2]
    assert "met" not in lines[3].lower().split()
    assert lines[4] == "  answer_time: handshake, median ms 2.5"
    assert lines[5] == "throughput could not be measured: iperf3 does not start"


def test_a_missed_target_is_red_in_a_terminal() -> None:
    lines = table([MET, MISSED], [FAILED], colours=True).splitlines()
    assert lines[1].startswith("\033[32m")
    assert lines[2].startswith("\033[31m")
    assert lines[4].startswith("\033[31m")
    assert "\033" not in table([MET, MISSED], [FAILED], colours=False)


def test_the_document_holds_every_number() -> None:
    made = json.loads(json.dumps(document([MET, FREE], [FAILED], {"kernel": "6.1"})))
    assert made["circumstances"] == {"kernel": "6.1"}
    assert made["not_measured"] == [{"name": "throughput", "reason": "iperf3 does not start"}]
    first, second = made["measurements"]
    assert first == {
        "name": "answer_time",
        "value": 0.6,
        "unit": "ms",
        "statistic": "median",
        "target": {"relation": "<=", "bound": 1.0},
        "met": True,
        "n": 3,
        "median": 0.6,
        "median_95": [0.5, 0.7],
        "p95": 0.7,
        "min": 0.5,
        "max": 0.7,
        "values": [0.5, 0.7, 0.6],
        "also": {"handshake, median ms": 2.5},
    }
    assert (second["target"], second["met"]) == (None, None)


@pytest.mark.parametrize(("rows", "failures", "check", "wanted"), [
    ([MET, FREE], [], True, 0),
    ([MET, MISSED], [], False, 0),
    ([MET, MISSED], [], True, 1),
    ([MET], [FAILED], False, 3),
    ([MISSED], [FAILED], True, 3),
])  # fmt: skip
def test_the_exit_status(rows: list[Row], failures: list[Failure], check: bool, wanted: int) -> None:
    assert status(rows, failures, check) == wanted
