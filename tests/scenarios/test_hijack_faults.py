"""Faults in migrated, planted in a real run of `hijack`: it must go red, and by the attack that the fault invites."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from scenarios.base import Context
from scenarios.hijack import BRAKE_BPS, Run
from scenarios.hijack_checks import Beaten
from scenarios.hijack_lab import Battlefield
from scenarios.programs import Migrated
from scenarios.verdict import Verdict
from tests.scenarios.hijack_faulty import VARIABLE
from tests.topologies.inside import in_sandbox
from topologies.crossroads import Crossroads

OUT = Path("/run/hijack")  # the sandbox's own tmpfs


def red(fault: str) -> set[str]:
    """The attacks that a run with that fault finds something wrong with."""
    os.environ[VARIABLE] = fault
    Migrated.MODULE = "tests.scenarios.hijack_faulty"
    OUT.mkdir()
    context = Context(seed=1, profile="paper", ip=4, out=OUT)
    with Crossroads() as lab:
        field = Battlefield(context, lab)
        field.start()
        lab.brake(BRAKE_BPS)
        run = Run(context, field)
        with contextlib.suppress(Beaten):
            run.one_transfer()
        field.end_capture()
    shutil.rmtree(OUT)
    assert run.checks
    return {check.name.split(":")[0] for check in run.checks if check.verdict is not Verdict.PASS}


@in_sandbox
def test_without_a_fault_nothing_is_red() -> None:
    assert red("") == set()


@in_sandbox
def test_a_wrong_r_is_accepted() -> None:
    assert red("a wrong R is accepted") == {"right token, wrong request"}


@in_sandbox
def test_the_number_is_not_compared() -> None:
    assert red("ReqNo is not compared") == {"recorded request, at once"}


@in_sandbox
def test_the_high_bits_are_left_out() -> None:
    assert red("R leaves the high bits out") == {"recorded request, 65 moves ago"}


@in_sandbox
def test_a_reflected_request_is_accepted() -> None:
    assert red("a reflected request is accepted") == {"request reflected to its sender"}


@in_sandbox
def test_a_reflected_request_is_dropped_for_another_reason() -> None:
    """Where its S is not believed either, by chance, that it was not known again is seen all the same."""
    assert red("a reflected request is only dropped for its S") == {"request reflected to its sender"}


@in_sandbox
def test_a_reset_counts_anywhere() -> None:
    assert red("a RST counts anywhere") == {"RSTs to the server, in and out of the window"}


@in_sandbox
def test_resets_are_not_limited() -> None:
    found = red("RSTs are not limited")
    assert {"forged tokens", "right token, wrong request"} <= found
