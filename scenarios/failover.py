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
        needs.Program("curl"),
        needs.Program("nginx", "nginx-light", ("-v",)),
        needs.Program("tshark"),
    )

    def run(self, context: Context) -> list[Check]:
        found: list[Check] = []
        with stage_of(context) as stage:
            import os

            for case in (*_WRONG, *_DEATHS, *_REQUESTS):
                if os.environ.get("ONLY") and case.__name__ not in os.environ["ONLY"].split():
                    continue
                try:
                    found += case(stage)
                except Exception:
                    import traceback

                    traceback.print_exc()
        return found


_WRONG = (failover_wrong.pronounced,)
_DEATHS = (
    failover_deaths.killed,
    failover_deaths.cut_off,
    failover_deaths.overloaded,
    failover_deaths.race,
    failover_deaths.alone,
)
_REQUESTS = (
    failover_requests.ranged,
    failover_requests.keep_alive,
    failover_requests.between,
    failover_requests.head,
    failover_requests.refused,
)
