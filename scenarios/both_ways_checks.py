"""What must be seen of `both_ways`, each a check.  Pure: streams and notes in, checks out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from analysis import measures
from analysis.capture import ACK, SYN
from analysis.diagram import Tokens
from analysis.diagram import Verdict as Judgement
from analysis.measures import NoMeasure
from analysis.stream import Segment, Stream, migrate_option
from scenarios.base import Context
from scenarios.mobility_checks import diagram_check
from scenarios.verdict import Check, Invalid
from topologies.both_ends import Changed

UPLOAD, SERVER, HALF = "upload, the mobile moves", "download, the server moves", "half-closed, the mobile moves"
FLOWING, IDLE = "data in flight", "idle"


@dataclass(frozen=True)
class Moment:
    """One move: `states` are TCP's at the mobile and at the server just before, by the server's port."""

    what: str
    changed: Changed
    states: Mapping[int, tuple[str, str]]
    wanted: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    """What the move was for: the states that a connection had to be in."""


@dataclass
class Outcome:
    """What happened, before anybody judges it.  Programs go by their names, connections by the server's port."""

    round_trip: float
    statuses: dict[str, str] = field(default_factory=dict)
    sums: dict[str, tuple[str, str]] = field(default_factory=dict)
    """SHA-256 of what was to be carried, and of what arrived."""
    ports: dict[str, int] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    moments: list[Moment] = field(default_factory=list)
    streams: dict[str, dict[int, Stream]] = field(default_factory=dict)
    counts: dict[str, dict[int, int]] = field(default_factory=dict)
    """Connections in the captures of a vantage point."""
    judged: dict[str, Judgement] = field(default_factory=dict)


def judge(context: Context, outcome: Outcome) -> list[Check]:
    """All checks; raises `Invalid` where nothing was in flight at a move of a program that was to be moving data."""
    checks: list[Check] = []
    for single in (UPLOAD, SERVER, HALF):
        judgement = outcome.judged.get(single)
        if judgement is None:
            checks.append(
                Check.equal(f"sequence diagram: {single}", "as expected", "no such connection in the captures")
            )
            continue
        checks.append(diagram_check(f"sequence diagram: {single}", judgement))
        checks.append(Check.equal(f"Token and Request: {single}", Tokens.VERIFIED.value, judgement.tokens.value))
    for name, port in outcome.ports.items():
        checks += _program(context, outcome, name, port)
    for moment in outcome.moments:
        for port, states in moment.wanted.items():
            measured = " and ".join(moment.states.get(port, ("nothing", "nothing")))
            checks.append(Check.equal(f"{moment.what}: TCP's states before", " and ".join(states), measured))
    return checks


def _program(context: Context, outcome: Outcome, name: str, port: int) -> list[Check]:
    status = outcome.statuses[name]
    checks = [Check.equal(f"{name}: exit status", "0 and 0" if " and " in status else "0", status)]
    if name in outcome.sums:
        checks.append(Check.equal(f"{name}: SHA-256 of what arrived", *outcome.sums[name]))
    took_part = [moment for moment in outcome.moments if port in moment.states]
    for vantage, streams in outcome.streams.items():
        checks.append(Check.equal(f"{name}: connections, {vantage}", 1, outcome.counts[vantage].get(port, 0)))
        stream = streams.get(port)
        if stream is None:
            continue
        checks.append(Check.equal(f"{name}: RSTs, {vantage}", 0, len(measures.resets(stream))))
        checks.append(Check.equal(f"{name}: addresses, {vantage}", *_ways(stream, took_part)))
        behind = _left_behind(stream, took_part, initiator=vantage == "mobile")
        checks.append(Check.equal(f"{name}: segments of the {vantage} on a pair that it has asked to leave", 0, behind))
        sender = vantage == "server"  # judged where it arrives
        try:
            missing = measures.size(measures.every_byte_once(stream, sender=sender).missing)
            checks.append(Check.equal(f"{name}: bytes missing from what the {vantage} received", 0, missing, "bytes"))
        except NoMeasure as cause:
            checks.append(Check.equal(f"{name}: what the trace at the {vantage} shows", "all of it", str(cause)))
    if all(port in streams for streams in outcome.streams.values()):
        checks += _at_the_moves(context, outcome, name, took_part)
    return checks


def _at_the_moves(context: Context, outcome: Outcome, name: str, moments: list[Moment]) -> list[Check]:
    """What was under way at each move, which must be something where the program is to be moving data."""
    port = outcome.ports[name]
    for moment in moments:
        try:
            up = _flight(outcome.streams["mobile"][port], moment, sender=True)
            down = _flight(outcome.streams["server"][port], moment, sender=False)
        except NoMeasure as cause:
            return [Check.equal(f"{name}: {moment.what}", "seen in both traces", str(cause))]
        context.report(f"{name}, in flight when {moment.what}", f"{up} up, {down} down", "bytes")
        if outcome.kinds[name] == FLOWING and up + down == 0:
            raise Invalid(f"{name} had nothing in flight when {moment.what}: the move proves nothing for it")
        if moment.changed.who == "both" and not all(
            _asked_before_hearing(streams[port], moment, initiator=vantage == "mobile")
            for vantage, streams in outcome.streams.items()
        ):
            raise Invalid(f"the requests of {name} did not cross when {moment.what}: the move proves nothing for it")
    return []


def _asked_before_hearing(stream: Stream, moment: Moment, *, initiator: bool) -> bool:
    """Whether the first Migrate SYN that the vantage point shows of this move is that of its own host."""
    first = next(one for one in stream.segments if one.time >= moment.changed.began_at and _asks(one))
    return first.from_initiator == initiator


def _left_behind(stream: Stream, moments: list[Moment], *, initiator: bool) -> int:
    """What a host sends between the addresses that the connection had before a move, once its own Migrate SYN for that
    move has left: seen where it leaves, and where the host keeps its old address for a while there is a way out for it.
    (A SYN/ACK may go there, for a request of the peer's that crosses.)"""
    behind = 0
    ends = [moment.changed.began_at for moment in moments[1:]] + [float("inf")]
    for moment, end in zip(moments, ends, strict=True):
        own = [one for one in stream.segments if one.from_initiator == initiator]
        asked = next((one for one in own if moment.changed.began_at <= one.time < end and _asks(one)), None)
        before = [one.epoch for one in own if one.time < moment.changed.began_at and not one.has(SYN)]
        if asked is not None and before:
            later = [one for one in own if asked.time < one.time < end and one.epoch == before[-1]]
            behind += sum(not one.has(SYN) for one in later)
    return behind


def _ways(stream: Stream, moments: list[Moment]) -> tuple[str, str]:
    """The connection's addresses from move to move, mobile > server, as wanted and as seen."""
    mobile, server = stream.epochs[0].initiator.address, stream.epochs[0].responder.address
    wanted, passing = [f"{mobile} > {server}"], set()
    for moment in moments:
        who, new = moment.changed.who, moment.changed.new
        if who == "both":  # each asks the other at its old address
            passing |= {f"{new[0]} > {server}", f"{mobile} > {new[1]}"}
        mobile = new[0] if who in ("mobile", "both") else mobile
        server = new[-1] if who in ("server", "both") else server
        wanted.append(f"{mobile} > {server}")
    ways = [f"{epoch.initiator.address} > {epoch.responder.address}" for epoch in stream.epochs]
    return ", then ".join(wanted), ", then ".join(way for way in ways if way not in passing)


def _flight(stream: Stream, moment: Moment, *, sender: bool) -> int:
    """Bytes of one direction, seen at its sender, sent and not acknowledged when the move began."""
    if not any(one.time >= moment.changed.began_at and _asks(one) for one in stream.segments):
        raise NoMeasure(f"{stream} shows no Migrate SYN when {moment.what}.")
    before = [one for one in stream.segments if one.time < moment.changed.began_at]
    sent = max((one.end for one in before if one.from_initiator == sender), default=0)
    acked = max((one.ack or 0 for one in before if one.from_initiator != sender), default=0)
    return max(0, sent - acked)


def _asks(segment: Segment) -> bool:
    return segment.has(SYN) and not segment.has(ACK) and migrate_option(segment.packet) is not None
