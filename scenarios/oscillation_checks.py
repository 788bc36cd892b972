"""What must be seen of each curve of `oscillation`, and what the moves cost.  Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle, islice

from analysis import measures
from analysis.capture import FIN, RST
from analysis.daemon_events import of
from analysis.measures import NoMeasure
from analysis.stream import Stream
from scenarios.base import Context
from scenarios.oscillation_cost import Group
from scenarios.oscillation_seen import Curve, seconds
from scenarios.verdict import Check, Invalid

SELDOM_SECONDS, LITTLE = 5.0, 1.15
"""The paper's finding: to be moved every few seconds costs little."""
LEAST_SHARE = 0.9
"""Of the link's rate, for a download that is never moved and loses nothing: else something else slows all curves."""


def judge(context: Context, curves: Sequence[Curve], names: Mapping[str, str]) -> list[Check]:
    """`names`: hosts by address.  Raises `Invalid` where nothing was moved."""
    found = []
    for curve in curves:
        found += _whole(curve)
        if len(curve.streams) == 1:
            found += _moves(curve, curve.streams[0], names)
            found += _bytes(curve, curve.streams[0])
    cost = costs(context, curves)
    seldom = [times for (loss, period), times in cost.items() if loss == 0 and period >= SELDOM_SECONDS]
    if seldom:
        name = f"time of what is moved every {SELDOM_SECONDS:g} s or less often, without losses, beside never"
        found.append(Check.at_most(name, LITTLE, round(max(seldom), 3), "times"))
    return found


def _whole(curve: Curve) -> list[Check]:
    return [
        Check.equal(f"{curve.name}: curl's exit status", 0, curve.exit_status),
        Check.equal(f"{curve.name}: SHA-256", curve.wanted, curve.got),
        Check.equal(f"{curve.name}: connections of the client", 1, len(curve.streams)),
    ]


def _moves(curve: Curve, stream: Stream, names: Mapping[str, str]) -> list[Check]:
    """As often as its period says, from one server to the other and back; the client resets the one, and nobody else
    resets anything."""
    found = measures.moves(stream)
    if curve.period is not None and not found:
        raise Invalid(f"{curve.name}: it has not moved once: the curve shows nothing")
    had = [0, *(move.epoch for move in found)]
    owners = [names.get(stream.epochs[epoch].responder.address, "?") for epoch in had]
    wanted = list(islice(cycle(("sA", "sB")), len(had)))
    took = len(of(curve.told, "taken-over"))
    # Near its end a download may be over before a move is.
    least = max(0, curve.asked - 1)
    ends = [one for one in stream.segments if not one.from_initiator and one.has(RST)]
    # A move may cross the client's own FIN; whoever gets that answers it.
    over = next((one.time for one in stream.segments if one.from_initiator and one.has(FIN)), float("inf"))
    early = [one for one in stream.segments if not one.from_initiator and one.has(FIN) and one.time < over]
    return [
        Check.equal(f"{curve.name}: whose it was, one after the other", " ".join(wanted), " ".join(owners)),
        Check.of(
            f"{curve.name}: take-overs in the capture",
            f"{least} to {curve.asked}",
            len(found),
            least <= len(found) <= curve.asked,
        ),
        Check.equal(f"{curve.name}: take-overs that the wedges tell of", len(found), took),
        Check.equal(f"{curve.name}: RSTs of servers, and FINs before the client's", 0, len(ends) + len(early)),
    ]


def _bytes(curve: Curve, stream: Stream) -> list[Check]:
    """No server sends again what the client had when it said so, and nothing is missing."""
    again = 0
    try:
        for move in measures.moves(stream):
            at = move.resumes_at(sender=False)
            again += sum(
                min(one.end, at) - one.seq
                for one in measures.data(stream, sender=False, epochs=[move.epoch])
                if one.seq < at
            )
        missing = measures.size(measures.every_byte_once(stream, sender=False).missing)
    except NoMeasure as cause:
        return [Check.equal(f"{curve.name}: what the capture shows", "all of it", str(cause))]
    carried = max(one.end for one in measures.data(stream, sender=False)) - 1
    return [
        Check.equal(f"{curve.name}: bytes sent again that a SYN/ACK had acknowledged", 0, again, "bytes"),
        Check.equal(f"{curve.name}: bytes missing from what came to the client", 0, missing, "bytes"),
        Check.at_least(f"{curve.name}: bytes that the connection carried", curve.object_bytes, carried, "bytes"),
    ]


def as_fast_as_the_link(curves: Sequence[Curve], rate_bps: float) -> None:
    """Raises `Invalid` where even the download that is never moved and loses nothing is slower than its link."""
    for curve in curves:
        if curve.period is None and curve.loss == 0 and len(curve.streams) == 1:
            share = 8 * curve.object_bytes / seconds(curve.streams[0]) / rate_bps
            if share < LEAST_SHARE:
                raise Invalid(f"{curve.name}: it has only {100 * share:.0f} % of its link: this machine is too busy")


def report_costs(context: Context, groups: Sequence[Group]) -> None:
    """The other half of the paper's finding: the cost depends on the time since the last loss recovery."""
    for group in groups:
        context.report(f"cost of a take-over {group.name}", round(group.cost, 3), "s")
        context.report(f"such take-overs, {group.name}", len(group.takeovers))


def costs(context: Context, curves: Sequence[Curve]) -> dict[tuple[float, float], float]:
    """How many times as long each curve takes as the never moved one of its loss, by (loss, period); reported."""
    found = {}
    never = {curve.loss: seconds(curve.streams[0]) for curve in curves if curve.period is None and curve.streams}
    for curve in curves:
        if not curve.streams:
            continue
        took = seconds(curve.streams[0])
        context.report(f"{curve.name}: time", round(took, 2), "s")
        if curve.period is not None and curve.loss in never:
            found[curve.loss, curve.period] = took / never[curve.loss]
            context.report(f"{curve.name}: time, beside never", round(took / never[curve.loss], 3), "times")
            context.report(f"{curve.name}: take-overs", len(measures.moves(curve.streams[0])))
    return found
