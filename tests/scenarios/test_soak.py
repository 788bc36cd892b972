"""The soak finds what it is there to find: a byte that is another, and a descriptor, an entry of a map and memory that
stay.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from scenarios.soak import cli, leaks, stage, walk
from scenarios.soak.growth import Course, Growth, Use
from scenarios.soak.report import Document
from scenarios.soak.transfers import Totals
from scenarios.verdict import Verdict
from tests.topologies.inside import in_sandbox

SAMPLE = Path(__file__).with_name("samples") / "soak-memory.jsonl"
OUT = Path("/run/out")  # the sandbox's own tmpfs
LOST_RST_SECONDS = 75.0
"""A client that closes with a TLS alert unread sends RST, once; where that is lost, its server is in FIN-WAIT-2 for a
minute (tcp_fin_timeout)."""


def soak(fault: str, seconds: float, forget: float = 12.0) -> tuple[int, dict[str, Any]]:
    """A short one, with a migrated that has this fault: its exit status and result.json."""
    os.environ["FAULT"] = fault
    cli.DRAIN_SECONDS, cli.FORGET_SECONDS, stage.MSL_SECONDS = LOST_RST_SECONDS, forget, 1.5
    walk.OUTAGE_SECONDS, walk.ABSENCE_SECONDS = (0.1, 0.4), (0.0, 0.2)
    arguments = ["--minutes", str(seconds / 60), "--out", str(OUT), "--module", "tests.scenarios.soak_faulty"]
    status = cli.main(arguments)
    if (left := OUT / "soak" / "broken.txt").exists():
        print(left.read_text())
    return status, json.loads((OUT / "soak" / "result.json").read_text())


@in_sandbox
def test_a_short_soak_passes() -> None:
    status, result = soak("none", 6, forget=60)
    assert (status, result["verdict"]) == (0, "pass"), result["reason"]
    assert result["counts"]["moves"] > 0
    assert result["counts"]["transfers that arrived right"] == result["counts"]["transfers"] > 0
    assert result["before"] == result["after"]
    assert result["before"]["mobile: eBPF programs attached"] == 3


@in_sandbox
def test_a_byte_that_is_another_is_seen() -> None:
    status, result = soak("corruption", 30)
    assert (status, result["verdict"]) == (1, "fail")
    assert " ended with status " in result["reason"] or "arrived wrong" in result["reason"], result["reason"]
    assert (OUT / "soak" / "broken.txt").exists()


@in_sandbox
def test_a_descriptor_that_stays_is_seen() -> None:
    status, result = soak("descriptor", 4)
    assert (status, result["verdict"]) == (1, "fail")
    assert "descriptors of the worker" in result["reason"], result["reason"]


@in_sandbox
def test_an_entry_that_stays_is_seen() -> None:
    status, result = soak("watch", 4)
    assert (status, result["verdict"]) == (1, "fail")
    assert "entries of the map watches" in result["reason"], result["reason"]


@in_sandbox
def test_a_checkpoint_that_stays_is_seen() -> None:
    Use.WARM_SECONDS, Use.WINDOW_SECONDS = 4.0, 4.0
    status, result = soak("checkpoint", 40)
    assert (status, result["verdict"]) == (1, "fail")
    assert result["reason"].startswith("what a worker keeps of a move"), result["reason"]
    (kept,) = [one["value"] for one in result["reported"] if one["name"] == "what a worker keeps of a move"]
    assert kept > 10_000, "so short a run without a fault keeps as much"


def judged(broken: str = "", right: int = 2, migrated: int = 5, growth: Growth | None = None) -> Document:
    document = Document(seed=1, minutes=10, before={"a": 1}, after={"a": 1})
    document.judge(broken, {}, Totals(2, right, 10), {"one": migrated}, growth or Growth())
    return document


def measured(more_per_move: int = 0) -> Growth:
    """What a real soak of ten minutes has shown of both hosts' workers, and a leak."""
    growth = Growth()
    for line in SAMPLE.read_text().splitlines():
        seen = json.loads(line)
        use = growth._workers.setdefault(("mobile's worker", "server's worker").index(seen["who"]), Use())
        use.points.append((seen["seconds"], seen["moves"], seen["in use"] + more_per_move * seen["moves"]))
    return growth


def grown(bytes_per_second: float) -> Growth:
    growth = Growth()
    growth._guardians[7] = Course([(float(at), 1e7 + bytes_per_second * at) for at in range(0, 200, 5)])
    return growth


def test_verdicts() -> None:
    assert judged().verdict is Verdict.PASS
    assert judged(broken="a connection has not followed").verdict is Verdict.FAIL
    assert judged(right=1).verdict is Verdict.FAIL
    assert judged(migrated=0).verdict is Verdict.INVALID


def test_a_guardian_that_grows() -> None:
    per_hour, seconds = grown(100).of_guardians()
    assert per_hour == pytest.approx(360_000)
    assert seconds == 195
    assert Growth().of_guardians() == (0, 0)
    assert judged(growth=grown(100)).verdict is Verdict.PASS
    assert judged(growth=grown(50_000)).verdict is Verdict.FAIL


def test_a_worker_that_keeps_something_of_each_move() -> None:
    """However little: a worker fills what it keeps, and forgets what is over, by amounts that are larger."""
    assert judged(growth=measured()).verdict is Verdict.PASS
    for size in (1000, 4096):
        growth = measured(size)
        per_move, moves = growth.of_workers()
        assert per_move == pytest.approx(size, abs=300)
        assert moves > 300
        assert judged(growth=growth).reason.startswith("what a worker keeps of a move")


def test_the_least_in_a_while_counts() -> None:
    """What is in use between two times of forgetting comes and goes."""
    saw = [(float(at), at, 1_000_000 + 3000 * (at % 60)) for at in range(0, 301, 3)]
    assert Use(saw).kept() == (0, 120)
    assert Use([(at, moves, size + 1000 * moves) for at, moves, size in saw]).kept() == (120_000, 120)


def test_a_worker_that_has_not_lived_long_tells_nothing() -> None:
    assert Use().kept() == (0, 0)
    assert Use([(float(at), at, 1000 * at) for at in range(239)]).kept() == (0, 0)
    assert judged().verdict is Verdict.PASS


def test_what_is_not_as_it_was() -> None:
    assert leaks.differences({"a": 1, "b": 2}, {"a": 1, "b": 3, "c": 1}) == [
        "b: 2 before, 3 after",
        "c: None before, 1 after",
    ]
