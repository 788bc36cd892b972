"""A fault planted in a rule of the protocol turns the scenario that guards it red; without it, that scenario is green.

Real runs, the quick ones of the table; `python -m tests.faults` has them all."""

from __future__ import annotations

import pytest

from tests.faults.guards import GUARDS
from tests.faults.table import FAULTS
from tests.faults.together import of, run, wrong

QUICK = [fault for fault in FAULTS.values() if fault.quick]
AT_ONCE = 4
"""Most of their time runs wait for modems and timers."""


@pytest.mark.kernel
@pytest.mark.parametrize("scenario", sorted({fault.guard.partition(":")[0] for fault in QUICK}))
def test_each_fault_turns_its_scenario_red(scenario: str) -> None:
    found = run(of([fault for fault in QUICK if fault.guard.partition(":")[0] == scenario]), AT_ONCE)
    said = {f"{job.guard}: {job.fault or 'no fault'}": wrong(job, shown) for job, shown in found.items()}
    assert {run: why for run, why in said.items() if why} == {}


def test_enough_faults_in_enough_scenarios() -> None:
    assert len(QUICK) >= 10
    assert len({fault.guard.partition(":")[0] for fault in QUICK}) >= 5
    assert all(fault.guard in GUARDS and fault.places and fault.red for fault in FAULTS.values())
