"""The download of `mobility`, with segments lost just before the move, so that the mobile holds data beyond holes
(slide 29); then random losses, on a faster link."""

from __future__ import annotations

import time

from scenarios import lossy_checks, lossy_random, mobility_checks, one_move
from scenarios.base import Context, Scenario
from scenarios.programs import Download
from scenarios.verdict import Check, Invalid
from topologies.mobility import Mobility

LOSSES = "drop data 3,5 after 40000 bytes toward mobile"
HELD_SEGMENTS = 8
"""Beyond the first hole when the mobile moves: the 4th, and those behind the 5th."""
DIAGRAMS = {"mobile": "lossy", "server": "lossy-server"}


class LossyScenario(Scenario):
    name = "lossy"
    claim = "What the mobile holds beyond holes is SACKed from its new address and not sent again (slide 29)"
    needs = one_move.NEEDS

    def run(self, context: Context) -> list[Check]:
        return [*self.scripted(context), *lossy_random.run(context)]

    def scripted(self, context: Context) -> list[Check]:
        """The losses that are the same every time."""
        outcome = one_move.happen(context, _holds_data_beyond_holes, [LOSSES])
        seen = one_move.look(context, outcome, DIAGRAMS)
        one_move.draw(context, self.name, DIAGRAMS, outcome, seen.judged)
        return [*mobility_checks.judge(context, seen), *lossy_checks.judge(context, seen), *outcome.checks()]


def _holds_data_beyond_holes(topology: Mobility, download: Download) -> None:
    """Until the mobile's kernel has so many segments that it cannot give to curl yet."""
    end = time.monotonic() + one_move.PATIENCE_SECONDS
    while one_move.out_of_order(topology) < HELD_SEGMENTS:
        if time.monotonic() > end or not download.running:
            raise Invalid("the mobile never held data beyond a hole: the losses did not happen")
        time.sleep(0.02)
