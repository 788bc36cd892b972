"""A download outlives its server: replicas take the connection over (slides 24 to 26, 30)."""

from __future__ import annotations

from scenarios import failover_deaths, failover_requests, failover_wrong, needs
from scenarios.base import Context, Scenario
from scenarios.failover_stage import stage_of
from scenarios.verdict import Check


class FailoverScenario(Scenario):
    name = "failover"
    claim = "A download outlives its server: another goes on from exactly the next byte (slides 24 to 26, 30)"
    needs = (
        *needs.TOPOLOGY,
        *needs.MIGRATE,
        *needs.DOWNLOAD,
        needs.Program("tshark"),
    )

    alone = True

    def run(self, context: Context) -> list[Check]:
        with stage_of(context) as stage:
            return [check for case in _CASES for check in case(stage)]


_CASES = (
    failover_wrong.pronounced,
    failover_deaths.killed,
    failover_deaths.cut_off,
    failover_deaths.overloaded,
    failover_deaths.race,
    failover_deaths.alone,
    failover_requests.ranged,
    failover_requests.keep_alive,
    failover_requests.between,
    failover_requests.head,
    failover_requests.refused,
)
