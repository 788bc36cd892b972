"""A mobile downloads over a 19.2 kbit/s modem and moves to another (slides 27 and 28)."""

from __future__ import annotations

from scenarios import mobility_checks, one_move
from scenarios.base import Context, Scenario
from scenarios.programs import Download
from scenarios.verdict import Check
from topologies.mobility import Mobility

MOVE_AT_BYTES = 40_000
DIAGRAMS = {"mobile": "mobility", "server": "mobility-server"}


class MobilityScenario(Scenario):
    name = "mobility"
    claim = "A download goes on from exactly the next byte while the mobile changes its address (slides 27, 28)"
    needs = one_move.NEEDS

    def run(self, context: Context) -> list[Check]:
        outcome = one_move.happen(context, _has_received_enough)
        seen = one_move.look(context, outcome, DIAGRAMS)
        one_move.draw(context, self.name, DIAGRAMS, outcome, seen.judged)
        return [*mobility_checks.judge(context, seen), *outcome.checks()]


def _has_received_enough(_: Mobility, download: Download) -> None:
    download.wait_for(MOVE_AT_BYTES, one_move.PATIENCE_SECONDS)
