"""Faults planted in the core: each makes the tests red that are there to catch it, and takes them out again."""

from __future__ import annotations

import pytest

from tests.migrate import answering_faults, other_faults
from tests.migrate.planting import Fault, plant

FAULTS = answering_faults.FAULTS + other_faults.FAULTS


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_planted_fault_is_found(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fault.guards
    plant(monkeypatch, fault.where, fault.right, fault.wrong)
    for guard in fault.guards:
        with pytest.raises((AssertionError, pytest.fail.Exception)):
            guard()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_without_the_fault_its_tests_are_green(fault: Fault) -> None:
    for guard in fault.guards:
        guard()
