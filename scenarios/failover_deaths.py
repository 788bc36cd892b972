"""A server dies, in several ways, and the monitor finds out: killed, cut off, overloaded; two that race for what it
leaves, and nobody that could take it."""

from __future__ import annotations

import signal

from scenarios import failover_checks as checks
from scenarios import failover_refusals as refusals
from scenarios.failover_stage import PATIENCE_SECONDS, Case, Stage
from scenarios.failover_traces import Trace
from scenarios.programs import Download
from scenarios.verdict import Check

DIES_AT_BYTES = 80_000
STALLED = ("--speed-limit", "1", "--speed-time", "3")
"""curl gives up by itself once it has received nothing for so many seconds."""


def started(case: Case, name: str = "object", *options: str, by: tuple[str, ...] = ("sB",)) -> Download:
    """A curl that has received enough, and of which the others know."""
    case.step("downloading from sA")
    case.curl = case.download(name, *options)
    for replica in by:
        case.wedges[replica].wait_until_known(PATIENCE_SECONDS)
    case.curl.wait_for(DIES_AT_BYTES, PATIENCE_SECONDS)
    return case.curl


def finished(case: Case) -> int:
    case.step("going on")
    assert case.curl is not None
    return case.curl.finish(PATIENCE_SECONDS)


def trace(case: Case) -> Trace:
    return Trace(case.out, case.stage.context.out / "keys.log")


def killed(stage: Stage) -> list[Check]:
    """kill -9: its kernel resets the connection, and the client waits for another server (MIGRATE_WAIT)."""
    with stage.case("killed") as case:
        case.watch()
        started(case)
        case.step("killing sA's wedge with -9")
        case.wedges["sA"].kill()
        case.wait_until_taken("sB")
        status = finished(case)
    seen, at = case.seen(status, [case.received("object")]), trace(case)
    return [*checks.taken_over(stage.context, seen, at.streams, at.keys, killed=True), checks.death(seen)]


def cut_off(stage: Stage) -> list[Check]:
    """Nothing reaches it, nothing comes from it; it lives, and is told once it is back."""
    everybody = [name for name in stage.topology.hosts if name != "sA"]
    with stage.case("cut-off") as case:
        case.watch()
        started(case)
        case.step("cutting sA off from the network")
        stage.topology.part("sA", everybody)
        try:
            case.wait_until_taken("sB")
        finally:
            stage.topology.rejoin("sA", everybody)
        case.step("sA is back")
        status = finished(case)
        case.wait("sA", "taken-by-another")
    seen, at = case.seen(status, [case.received("object")]), trace(case)
    return [*checks.taken_over(stage.context, seen, at.streams, at.keys), checks.death(seen), checks.let_go(seen)]


def overloaded(stage: Stage) -> list[Check]:
    """sA's nginx gets no time to run, and sB has as many connections as it may: it declines, and sC takes over."""
    with stage.case("overloaded", ("sA", "sB", "sC"), sB=("--most", "1")) as case:
        busy = case.download("second", "--limit-rate", "1000", server="sB", as_="busy")
        busy.wait_for(1000, PATIENCE_SECONDS)
        case.watch()
        started(case, by=("sB", "sC"))
        case.step("sA's nginx stands still")
        stage.nginx["sA"].signal(signal.SIGSTOP)
        try:
            case.wait_until_taken("sC")
            status = finished(case)
        finally:
            stage.nginx["sA"].signal(signal.SIGCONT)
        busy.give_up()
        case.wait("sA", "taken-by-another")
    seen, at = case.seen(status, [case.received("object")]), trace(case)
    mine = [one for one in at.streams if seen.names.get(one.epochs[0].responder.address) == "sA"]
    return [
        *checks.taken_over(stage.context, seen, mine, at.keys, by=("sC",)),
        *(checks.death(seen), checks.let_go(seen), checks.declined(seen, "sB")),
    ]


def race(stage: Stage) -> list[Check]:
    """Both others try at once."""
    racers = ("sB", "sC")
    with stage.case("race", ("sA", *racers), sB=("--step", "0"), sC=("--step", "0")) as case:
        case.watch()
        started(case, by=racers)
        case.wedges["sA"].kill()
        winner = case.wait_any("taken-over")
        status = finished(case)
    seen, at = case.seen(status, [case.received("object")]), trace(case)
    stage.context.report("race: winner", winner)
    return [
        *refusals.raced(seen, at.packets, racers),
        *checks.taken_over(stage.context, seen, at.streams, at.keys, by=racers, killed=True, timed=False),
    ]


def alone(stage: Stage) -> list[Check]:
    """The only other replica is down. sA, called dead by mistake, goes on to the end; killed, it leaves a download that
    ends in an error, and not in a file that seems complete."""
    found = []
    for name, dies in (("alone-pronounced", False), ("alone-killed", True)):
        with stage.case(name) as case:
            case.closes = not dies
            case.wedges["sB"].kill()
            case.watch()
            started(case, "object", *STALLED, by=())
            if dies:
                case.wedges["sA"].kill()
            else:
                stage.topology.part("sA", ["mon"])
            try:
                case.wait_for_verdict("sA")
                status = finished(case)
            finally:
                if not dies:
                    stage.topology.rejoin("sA", ["mon"])
        seen, at = case.seen(status, [case.received("object")]), trace(case)
        found += [*refusals.not_taken(seen, at.streams, at.packets), checks.death(seen)]
        found += refusals.broken_off(seen, seen.received[0]) if dies else checks.whole(seen)
    return found
