"""What the client asks for when its server dies: every kind of request, and those with which nobody can go on."""

from __future__ import annotations

import time

from scenarios import failover_checks as checks
from scenarios import failover_refusals as refusals
from scenarios.failover_deaths import STALLED, finished, started, trace
from scenarios.failover_seen import Received
from scenarios.failover_stage import DECIDED, DIFFERING, OBJECTS, PATIENCE_SECONDS, Case, Stage
from scenarios.replicas import BACKEND_PORT
from scenarios.verdict import Check

RANGE = slice(50_000, 350_000)
SLOWLY = ("--rate", "8/m")
"""curl starts a request every 7.5 seconds: time enough for a take-over in between."""
CHUNKED, DIFFERS = ("chunked", "chunked/object", "chunked"), ("differs", DIFFERING, "its validator is")
"""Cases in which sB refuses: the name, the object, and what sB says of it."""
HEAD_SEGMENTS = 6
"""So many of the HEAD's answer arrive; it has 16 or more."""


def _outlived(case: Case) -> tuple[int, float]:
    """sA dies, and a person says so to sB: curl's status, and when it was said."""
    case.wedges["sA"].kill()
    pronounced_at = case.wedges["sB"].pronounce("sA")
    case.wait("sB", *DECIDED)
    return finished(case), pronounced_at


def ranged(stage: Stage) -> list[Check]:
    """The client asks for a range itself."""
    with stage.case("range") as case:
        started(case, "object", "--range", f"{RANGE.start}-{RANGE.stop - 1}")
        status, pronounced_at = _outlived(case)
    seen = case.seen(status, [case.received("object", part=RANGE)], pronounced_at)
    at = trace(case)
    return checks.taken_over(stage.context, seen, at.streams, at.keys, silent=False, killed=True)


def keep_alive(stage: Stage) -> list[Check]:
    """The second request of a connection is under way."""
    with stage.case("keep-alive") as case:
        first = ("--output", str(case.target("second")), case.url("second"))
        started(case, "object", *first)
        status, pronounced_at = _outlived(case)
    seen = case.seen(status, [case.received("second"), case.received("object")], pronounced_at)
    at = trace(case)
    return [
        *checks.taken_over(stage.context, seen, at.streams, at.keys, silent=False, killed=True),
        *(checks.requests(seen, one, ["sA", "sA"]) for one in at.streams),
    ]


def between(stage: Stage) -> list[Check]:
    """A request is finished, and the connection is kept: the next one goes to the new server."""
    with stage.case("finished") as case:
        case.step("downloading from sA")
        first = (*SLOWLY, "--output", str(case.target("second")), case.url("second"))
        case.curl = case.download("object", *first)
        case.wait_for_file("second", OBJECTS["second"])
        case.wedges["sB"].wait_until_known(PATIENCE_SECONDS)
        time.sleep(2 * stage.round_trip)  # the last acknowledgement is with sA by then
        case.step("killing sA between two requests")
        status, pronounced_at = _outlived(case)
    seen = case.seen(status, [case.received("second"), case.received("object")], pronounced_at)
    at = trace(case)
    return [
        *checks.taken_over(stage.context, seen, at.streams, at.keys, idle=True, killed=True),
        *(checks.requests(seen, one, ["sA", "sB"]) for one in at.streams),
    ]


def head(stage: Stage) -> list[Check]:
    """sA is cut off within the long answer to a HEAD, which has no body; a GET on the same connection follows."""
    everybody = [name for name in stage.topology.hosts if name != "sA"]
    padded = "padded/object"
    with stage.case("head") as case:
        stage.topology.wan.add_rule(f"drop data {HEAD_SEGMENTS + 1}- toward client")
        case.step("asking sA for a head")
        first = ("--head", "--output", str(case.target("head")), case.url(padded), "--next", "--silent", "--fail")
        case.curl = case.download(padded, *first)
        case.wait_for_loss()
        case.wedges["sB"].wait_until_known(PATIENCE_SECONDS, answered=True)
        case.step("cutting sA off within the head")
        stage.topology.part("sA", everybody)
        stage.topology.wan.clear_rules()
        try:
            pronounced_at = case.wedges["sB"].pronounce("sA")
            case.wait("sB", *DECIDED)
            status = finished(case)
        finally:
            stage.topology.rejoin("sA", everybody)
        right = stage.topology.replicas["sA"].run(
            ["curl", "--silent", "--head", f"http://127.0.0.1:{BACKEND_PORT}/{padded}"]
        )
    got = case.target("head").read_bytes()
    of_head = Received.of("head, without its date", _undated(right.stdout.encode()), _undated(got))
    seen = case.seen(status, [of_head, case.received(padded)], pronounced_at)
    at = trace(case)
    return [
        *checks.taken_over(stage.context, seen, at.streams, at.keys),
        *(checks.within_head(seen, one, len(got)) for one in at.streams),
        *(checks.requests(seen, one, ["sA", "sB"]) for one in at.streams),
    ]


def refused(stage: Stage) -> list[Check]:
    """A chunked answer, and an object that is another one at sB: nobody goes on with them, and nothing is mixed."""
    found = []
    for name, wanted, reason in (CHUNKED, DIFFERS):
        found += stays(stage, name, wanted, reason) + broken_off(stage, name, wanted, reason)
    return found


def stays(stage: Stage, name: str, wanted: str, reason: str) -> list[Check]:
    """sA, called dead by mistake, goes on to the end with what sB refuses."""
    with stage.case(f"{name}-pronounced") as case:
        started(case, wanted)
        case.step("pronouncing sA dead, which it is not")
        case.wedges["sB"].pronounce("sA")
        case.wait("sB", *DECIDED)
        status = finished(case)
    seen, at = case.seen(status, [case.received(wanted)]), trace(case)
    return [
        *refusals.not_taken(seen, at.streams, at.packets),
        *checks.whole(seen),
        refusals.says_why(seen, "sB", reason),
    ]


def broken_off(stage: Stage, name: str, wanted: str, reason: str) -> list[Check]:
    """sA is dead: what sB refuses ends in an error."""
    with stage.case(f"{name}-killed") as case:
        case.closes = False
        started(case, wanted, *STALLED)
        case.step("killing sA")
        case.wedges["sA"].kill()
        case.wedges["sB"].pronounce("sA")
        case.wait("sB", *DECIDED)
        status = finished(case)
    seen, at = case.seen(status, [case.received(wanted)]), trace(case)
    return [
        *refusals.not_taken(seen, at.streams, at.packets),
        *refusals.broken_off(seen, seen.received[0]),
        refusals.says_why(seen, "sB", reason),
    ]


def _undated(head: bytes) -> bytes:
    return b"\n".join(line for line in head.splitlines() if not line.startswith(b"Date:"))
