"""The deck's own trace (slide 30): sA is pronounced dead by mistake, and goes on until the client resets it.

The mistake has a cause: the network between sA and the others is cut, while sA and the client reach each other. So sA
does not hear that its connection is another's, as in the deck. That sA retransmits is scripted: the acknowledgements of
its last flight are lost, so that all it has sent has arrived, and it does not know.
"""

from __future__ import annotations

import time
from contextlib import suppress

from scenarios import failover_checks as checks
from scenarios.failover_deaths import trace
from scenarios.failover_stage import DECIDED, PATIENCE_SECONDS, Stage
from scenarios.failover_traces import draw, judged
from scenarios.programs import Download, ProgramError
from scenarios.verdict import Check
from topologies.failover import Failover

LOSSES_FROM_BYTES = 30_000
SETTLED_ROUND_TRIPS = 1.3
"""Without a further acknowledgement for so long, all that was on its way has arrived."""


MSS = {4: 1460, 6: 1440}
"""Bytes of a full segment without options."""


def pronounced(stage: Stage) -> list[Check]:
    """Slide 30, line for line."""
    topology, context = stage.topology, stage.context
    # The deck's kernel knew no tail loss probe (RFC 8985), which would send a new segment where it retransmits.
    topology.replicas["sA"].sysctl("net.ipv4.tcp_early_retrans", 0)
    with stage.case("wrong") as case:
        case.step("downloading from sA")
        download = case.download("object")
        case.wedges["sB"].wait_until_known(PATIENCE_SECONDS, answered=True)
        topology.part("sA", ["sB", "mon"])
        try:
            download.wait_for(LOSSES_FROM_BYTES, PATIENCE_SECONDS)
            topology.wan.add_rule("drop ack 1- toward router")
            lost = _settled(topology, download, stage.round_trip)
            case.step("pronouncing sA dead, which it is not")
            before, had = case.waits(), download.received
            pronounced_at = case.wedges["sB"].pronounce("sA")
            case.wait("sB", *DECIDED)
            topology.wan.clear_rules()
            with suppress(ProgramError):  # it gets no more, which is judged
                download.wait_for(had + 1, PATIENCE_SECONDS)
            case.waited = case.waits() - before
            case.waiting("sA")
            case.step("downloading from sB")
            status = download.finish(PATIENCE_SECONDS)
        finally:
            topology.rejoin("sA", ["sB", "mon"])
        case.wait("sA", "taken-by-another")
    context.report("wrong: acknowledgements lost by script", lost)
    seen = case.seen(status, [case.received("object")], pronounced_at)
    at = trace(case)
    judgement = judged(at, stage.round_trip)
    if context.pictures:
        draw(case.out, judgement, seen, f"failover, profile {context.profile}, IPv{context.ip}, at the client")
    return checks.wrong(context, seen, judgement, at.streams, at.keys, MSS[context.ip])


def _settled(topology: Failover, download: Download, round_trip: float) -> int:
    """Until sA's window is used up and nothing is on its way any more; how many acknowledgements have been lost."""
    end = time.monotonic() + PATIENCE_SECONDS
    lost, since = 0, time.monotonic()
    while not lost or time.monotonic() - since < SETTLED_ROUND_TRIPS * round_trip:
        fired = sum(rule["fired"] for rule in topology.wan.state()["rules"])
        if fired != lost:
            lost, since = fired, time.monotonic()
        if not download.running or time.monotonic() > end:
            raise ProgramError("sA's acknowledgements were to be lost, and the download has not stopped")
        time.sleep(0.002)
    return lost
