"""A download outlives its server: replicas take the connection over (slides 24 to 26, 30)."""

from __future__ import annotations

from scenarios import failover_traces, failover_wrong, needs
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
        with stage_of(context) as stage:
            with stage.case("wrong") as case:
                wrong = failover_wrong.happen(case)
        return failover_traces.wrong(context, case, wrong)
