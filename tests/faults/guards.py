"""The scenarios that guard the protocol's rules, or the smallest true part of each that does."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType

from scenarios import (
    both_ways,
    failover_deaths,
    failover_requests,
    failover_stage,
    failover_wrong,
    hijack_lab,
    middlebox,
    one_move,
    oscillation,
    rapid,
    reassigned,
    reassigned_stage,
)
from scenarios.base import Context
from scenarios.both_ways_checks import Outcome
from scenarios.failover_stage import Stage, stage_of
from scenarios.hijack import BRAKE_BPS, Run
from scenarios.hijack_checks import Beaten
from scenarios.hijack_lab import Battlefield
from scenarios.lossy import LossyScenario
from scenarios.middlebox_boxes import BOXES
from scenarios.mobility import MobilityScenario
from scenarios.verdict import Check
from topologies.crossroads import Crossroads

UNHURRIED_BPS = BRAKE_BPS // 2
"""Several of these runs share a machine: the transfer must outlast the attacks all the same, or the run is invalid."""


@dataclass(frozen=True)
class Guard:
    """`run` as in `Scenario`.  What waits for something that a fault prevents gives up sooner than in a scenario:
    `patience` (seconds) replaces the name in each of the modules."""

    run: Callable[[Context], list[Check]]
    seconds: float
    """What a run takes, about."""
    patience: float
    patient: tuple[ModuleType, ...]
    also: Mapping[str, float] = field(default_factory=dict)
    """Other names that are replaced so."""

    def __call__(self, context: Context) -> list[Check]:
        for module in self.patient:
            for name in ("PATIENCE_SECONDS", "PATIENCE"):
                if hasattr(module, name):
                    setattr(module, name, self.patience)
            for name, value in self.also.items():
                if hasattr(module, name):
                    setattr(module, name, value)
        return self.run(context)


class _Singles(both_ways.BothWaysScenario):
    """The three connections that are held against diagrams."""

    def crowd(self, outcome: Outcome) -> None:
        """There is none."""


class _BehindNat(middlebox.MiddleboxScenario):
    """The port-rewriting NAT only."""

    boxes = tuple(box for box in BOXES if box.name == middlebox.BEHIND_NAT.box)


def _attacks(context: Context) -> list[Check]:
    """The attacks on one transfer; those after one that succeeds are left out."""
    with Crossroads(ip=6 if context.ip == 6 else 4, profile=context.profile) as lab:  # type: ignore[arg-type]
        field = Battlefield(context, lab)
        field.start()
        lab.brake(UNHURRIED_BPS)
        run = Run(context, field)
        with contextlib.suppress(Beaten):
            run.one_transfer()
        field.end_capture()
    return run.checks


def _failover(case: Callable[[Stage], list[Check]]) -> Guard:
    """One case of failover, on a stage of its own."""

    def run(context: Context) -> list[Check]:
        with stage_of(context) as stage:
            return case(stage)

    return Guard(run, 20, 12, _FAILOVER, {"STALL_SECONDS": 4})


def _oscillation(context: Context) -> list[Check]:
    """A small object, without losses."""
    oscillation.PERIODS, oscillation.LOSSES, oscillation.OBJECT_BYTES = (1, None), (0.0,), 900_000
    return oscillation.OscillationScenario().run(context)


_FAILOVER = (failover_stage, failover_deaths, failover_requests, failover_wrong)
_REASSIGNED = (reassigned, reassigned_stage)
GUARDS = {
    "mobility": Guard(MobilityScenario().run, 75, 60, (one_move,)),
    "lossy: scripted": Guard(LossyScenario().scripted, 75, 45, (one_move,)),
    "rapid": Guard(rapid.Rapid().run, 90, 15, (rapid,)),
    "reassigned: back": Guard(reassigned.ReassignedScenario().back, 20, 15, _REASSIGNED),
    "reassigned: gone": Guard(reassigned.ReassignedScenario().gone, 20, 15, _REASSIGNED),
    "reassigned: newcomer": Guard(reassigned.ReassignedScenario().newcomer, 20, 15, _REASSIGNED),
    "both_ways: singles": Guard(_Singles().run, 20, 20, (both_ways,)),
    "both_ways": Guard(both_ways.BothWaysScenario().run, 70, 40, (both_ways,)),
    "hijack: attacks": Guard(_attacks, 25, 20, (hijack_lab,)),
    "failover: pronounced by mistake": _failover(failover_wrong.pronounced),
    "failover: killed": _failover(failover_deaths.killed),
    "failover: overloaded": _failover(failover_deaths.overloaded),
    "failover: range": _failover(failover_requests.ranged),
    "failover: keep-alive": _failover(failover_requests.keep_alive),
    "failover: another object": _failover(lambda stage: failover_requests.stays(stage, *failover_requests.DIFFERS)),
    "oscillation": Guard(_oscillation, 35, 8, (oscillation,), {"STALL_SECONDS": 4}),
    "middlebox: behind a NAT": Guard(_BehindNat().run, 60, 0, ()),
}
