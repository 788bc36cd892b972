"""A wedge with a mistake turns the named checks of `failover` red; without one the first of these cases is green.

Real runs, on one stage one after the other: the quick ones of tests/faults/of_the_wedge.py; `python -m tests.faults
failover oscillation` has them all."""

from __future__ import annotations

from pathlib import Path

from scenarios import failover_requests, failover_stage, failover_wrong
from scenarios.base import Context
from scenarios.failover_stage import Stage, stage_of
from scenarios.verdict import Check, Invalid, Verdict
from tests.faults.of_the_wedge import FAULTS
from tests.faults.one import plant_in_wedges
from tests.faults.together import TRIES
from tests.topologies.inside import in_sandbox

OUT = Path("/run/out")  # the sandbox's own tmpfs
CASES = {
    "failover: range": failover_requests.ranged,
    "failover: another object": lambda stage: failover_requests.stays(stage, *failover_requests.DIFFERS),
    "failover: pronounced by mistake": failover_wrong.pronounced,
}
SLOW = "pronouncement to the first new byte"
"""How long it takes depends on what else this machine does: not what is to be green here."""


def played(stage: Stage, guard: str, mistake: str) -> set[str]:
    """The names of the checks that are red.  A run that is invalid is played again, but not for ever."""
    plant_in_wedges(mistake)
    checks: list[Check] | None = None
    for attempt in range(1, TRIES + 1):
        before = set(OUT.iterdir())
        try:
            checks = CASES[guard](stage)
        except Invalid:
            if attempt == TRIES:
                raise
        for left in set(OUT.iterdir()) - before:
            left.rename(left.with_name(f"{left.name}, {mistake or 'no mistake'}, {attempt}"))
        if checks is not None:
            break
    assert checks is not None
    return {check.name for check in checks if check.verdict is Verdict.FAIL}


@in_sandbox
def test_mistakes_of_the_wedge_turn_failover_red() -> None:
    OUT.mkdir(exist_ok=True)
    for module in (failover_requests, failover_stage, failover_wrong):
        setattr(module, "PATIENCE_SECONDS", 5.0)  # noqa: B010  not all of them export it
    failover_stage.STALL_SECONDS = 1
    quick = [fault for fault in FAULTS if fault.quick]
    assert len(quick) >= 4
    with stage_of(Context(seed=1, profile="paper", ip=4, out=OUT, pictures=False)) as stage:
        assert not {name for name in played(stage, quick[0].guard, "") if not name.endswith(SLOW)}
        for fault in quick:
            red = played(stage, fault.guard, fault.wedge)
            assert red >= set(fault.red), f"{fault.name}: red are {sorted(red)}"
