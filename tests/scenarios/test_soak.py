"""The soak finds what it is there to find: a byte that is another, a descriptor and an entry of a map that stay."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from scenarios.soak import cli, leaks, stage, walk
from scenarios.soak.leaks import Course
from scenarios.soak.report import Document
from scenarios.soak.transfers import Totals
from scenarios.verdict import Verdict
from tests.topologies.inside import in_sandbox

OUT = Path("/run/out")  # the sandbox's own tmpfs


def soak(fault: str, seconds: float) -> tuple[int, dict[str, Any]]:
    """A short one, with a migrated that has this fault: its exit status and result.json."""
    os.environ["FAULT"] = fault
    cli.DRAIN_SECONDS, stage.MSL_SECONDS = 12.0, 1.5
    walk.OUTAGE_SECONDS, walk.ABSENCE_SECONDS = (0.1, 0.4), (0.0, 0.2)
    arguments = ["--minutes", str(seconds / 60), "--out", str(OUT), "--module", "tests.scenarios.soak_faulty"]
    status = cli.main(arguments)
    return status, json.loads((OUT / "soak" / "result.json").read_text())


@in_sandbox
def test_a_short_soak_passes() -> None:
    status, result = soak("none", 6)
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


def judged(broken: str = "", right: int = 2, migrated: int = 5, growth: leaks.Growth | None = None) -> Document:
    document = Document(seed=1, minutes=10, before={"a": 1}, after={"a": 1})
    document.judge(broken, {}, Totals(2, right, 10), {"one": migrated}, growth or leaks.Growth())
    return document


def grown(bytes_per_second: float) -> leaks.Growth:
    growth = leaks.Growth()
    points = [(float(at), 1e7 + bytes_per_second * at) for at in range(0, 200, 5)]
    growth._courses["mobile", "worker", 7] = Course(points)
    return growth


def test_verdicts() -> None:
    assert judged().verdict is Verdict.PASS
    assert judged(broken="a connection has not followed").verdict is Verdict.FAIL
    assert judged(right=1).verdict is Verdict.FAIL
    assert judged(migrated=0).verdict is Verdict.INVALID


def test_memory_that_grows() -> None:
    per_hour, seconds = grown(100).per_hour("worker")
    assert per_hour == pytest.approx(360_000)
    assert seconds == 195
    assert grown(100).per_hour("guardian") == (0, 0)
    assert judged(growth=grown(100)).verdict is Verdict.PASS
    assert judged(growth=grown(50_000)).verdict is Verdict.FAIL


def test_what_is_not_as_it_was() -> None:
    assert leaks.differences({"a": 1, "b": 2}, {"a": 1, "b": 3, "c": 1}) == [
        "b: 2 before, 3 after",
        "c: None before, 1 after",
    ]
