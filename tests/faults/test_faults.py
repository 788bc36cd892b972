"""A fault planted in a rule of the protocol turns the scenario that guards it red; without it, that scenario is green.

Real runs, the quick ones of the table; `python -m tests.faults` has them all."""

from __future__ import annotations

from types import FunctionType

import pytest

from tests.faults import together
from tests.faults.fault import ITSELF, Fault
from tests.faults.guards import GUARDS
from tests.faults.one import Shown
from tests.faults.table import FAULTS
from tests.faults.together import Job, of, run, wrong
from tests.migrate.planting import planted

QUICK = [fault for fault in FAULTS.values() if fault.quick and not fault.wedge]
"""Those of the wedge are played on one stage, in tests/failover/test_scenario_faults.py."""
SIDE_BY_SIDE = {("mobility", "lossy"): 8, ("reassigned",): 4, ("both_ways",): 3, ("hijack",): 3}
"""Scenarios whose runs share a test, and how many of these at once: those on modems do little but wait."""


def scenario(fault: Fault) -> str:
    return fault.guard.partition(":")[0]


@pytest.mark.kernel
@pytest.mark.timeout(600)
@pytest.mark.parametrize("scenarios", SIDE_BY_SIDE, ids=" and ".join)
def test_each_fault_turns_its_scenario_red(scenarios: tuple[str, ...]) -> None:
    found = run(of([fault for fault in QUICK if scenario(fault) in scenarios]), SIDE_BY_SIDE[scenarios])
    said = {f"{job.guard}: {job.fault or 'no fault'}": wrong(job, shown) for job, shown in found.items()}
    assert {run: why for run, why in said.items() if why} == {}


def test_enough_faults_in_enough_scenarios() -> None:
    assert len(QUICK) >= 10
    assert {scenario(fault) for fault in QUICK} == {name for names in SIDE_BY_SIDE for name in names}
    assert len({scenario(fault) for fault in QUICK}) >= 5
    for fault in FAULTS.values():
        assert fault.guard in GUARDS
        assert fault.red
        assert bool(fault.places) != bool(fault.wedge)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_each_fault_still_finds_its_place(fault: Fault) -> None:
    for function, right, instead in fault.places:
        assert isinstance(function, FunctionType)
        planted(function, right, instead)


def test_a_run_that_fails_for_another_reason_counts_for_nothing() -> None:
    """A daemon that does not start breaks every run, and shows nothing of any fault."""
    reason = "ProgramError: migrated on server does not start"
    broken = Shown("fail", reason, [ITSELF + reason], 0, 5.0)
    assert all(wrong(Job(fault.guard, fault.name), broken) for fault in FAULTS.values())
    assert all(wrong(Job(guard, ""), broken) for guard in GUARDS)


def test_a_run_that_is_invalid_is_run_again_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job(next(iter(FAULTS.values())).guard, "")
    never = ["invalid"] * 3
    for given, seen in (["invalid", "invalid", "pass"], "pass"), (["invalid", "fail"], "fail"), (never, "invalid"):
        shown = iter([Shown(verdict, "", [], 0, 0) for verdict in given])
        monkeypatch.setattr(together, "_one", lambda job, result, out, shown=shown: next(shown))
        assert run([job], 1)[job].verdict == seen
        assert next(shown, None) is None
