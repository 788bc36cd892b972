"""What must be seen in the traces of `mobility`, each a check.  Pure: streams and judgements in, checks out.

The order of the segments, their numbers and options are the diagrams' (analysis/diagrams/mobility*.diagram); here
are the quantities around them, and what a diagram cannot know: which host had which address when, and how much was
to be transferred.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from analysis import measures
from analysis.capture import FIN, SYN
from analysis.diagram import Tokens
from analysis.diagram import Verdict as Judgement
from analysis.keylog import TIMESTAMP_KIND
from analysis.measures import Move, NoMeasure
from analysis.stream import Segment, Stream
from migrate.core import seq
from scenarios.base import Context
from scenarios.mobility_proof import proof
from scenarios.verdict import Check, Invalid
from topologies.mobility import MODEM
from topologies.profiles import PROFILES

LINUX_INITIAL_WINDOW = 10
"""Segments, where a profile sets none (RFC 6928)."""
RATE_TOLERANCE = 0.03
GROWTH = 1.9
"""Of the flight in each round trip: slow start doubles it; congestion avoidance brings 2 segments to 3, 10 to 11."""
WITHOUT_WAITING = 0.5
"""Round trips (85 ms) that a host may take for an answer: what a busy machine needs, and less than half of the shortest
of TCP's timers (200 ms), so that one who waits for a timer is found out."""
SENDER = False  # a download: the responder sends


@dataclass(frozen=True)
class Seen:
    """Both vantage points' judgements, and what the run knows or measured beside them."""

    judged: Mapping[str, Judgement]
    connections: Mapping[str, int]
    """How many the captures of each vantage point show."""
    keys: Mapping[bytes, bytes]
    """Public keys to private ones, of the key log."""
    addresses: tuple[str, str, str]
    """The mobile's old one, its new one, the server's."""
    object_bytes: int
    """What was to be downloaded."""
    moved_at: float
    """When the old address was gone, seconds since the epoch."""
    round_trip: float
    """Seconds, of small packets on the new path."""


def judge(context: Context, seen: Seen) -> list[Check]:
    """All checks; raises `Invalid` where nothing was in flight at the move."""
    mobile, server = seen.judged["mobile"].stream, seen.judged["server"].stream
    checks = [diagram_check(f"sequence diagram, {vantage}", judgement) for vantage, judgement in seen.judged.items()]
    for vantage, judgement in seen.judged.items():
        tokens = judgement.tokens.value
        checks.append(Check.equal(f"Token and Request recomputed, {vantage}", Tokens.VERIFIED.value, tokens))
        checks.append(Check.equal(f"RSTs, {vantage}", 0, len(measures.resets(judgement.stream))))
        checks.append(Check.equal(f"connections in the captures, {vantage}", 1, seen.connections[vantage]))
        checks.append(_addresses(vantage, judgement.stream, seen))
    checks.append(Check.equal("initial sequence numbers at the server", _initial(mobile), _initial(server)))
    try:
        here, there = measures.the_move(mobile), measures.the_move(server)
        first, last = measures.flight_at_move(server, there, sender=SENDER)
        if first == last:
            raise Invalid("nothing was in flight when the mobile moved: the move proves nothing")
        checks += _proof(mobile, here, seen.keys)
        beyond = [one for one in server.of_epoch(0) if one.from_initiator != SENDER and _beyond(one, there)]
        checks.append(Check.equal("ACKs from the old address beyond what 7 acknowledges", 0, len(beyond)))
        checks += [_clock("mobile", mobile, here), _clock("server", server, there)]
        checks += _before(mobile, here, seen.moved_at)
        checks += _handshake(context, seen, here, there)
        checks += _afterwards(context, seen, server, there, last)
        checks += _whole(mobile, here, seen.object_bytes)
        _interruption(context, seen, mobile, here)
    except NoMeasure as cause:
        checks.append(Check.equal("what the traces show of the move", "all of it", str(cause)))
    return checks


def diagram_check(name: str, judgement: Judgement) -> Check:
    """That the trace is as its diagram expects; else the first thing that is not."""
    wrong = judgement.mismatch
    measured = "as expected"
    if wrong is not None:
        packet = f"packet {wrong.packet.number}" if wrong.packet else "the end of the trace"
        measured = f"{packet} instead of line {wrong.label or wrong.number}: {'; '.join(wrong.wrong) or wrong.actual}"
    return Check.equal(name, "as expected", measured)


def _addresses(vantage: str, stream: Stream, seen: Seen) -> Check:
    old, new, server = seen.addresses
    ways = [f"{epoch.initiator.address} > {epoch.responder.address}" for epoch in stream.epochs]
    wanted = f"{old} > {server}, then {new} > {server}"
    return Check.equal(f"addresses before and after the move, {vantage}", wanted, ", then ".join(ways))


def _beyond(segment: Segment, move: Move) -> bool:
    return segment.ack is not None and segment.ack > move.resumes_at(sender=SENDER)


def _initial(stream: Stream) -> str:
    return f"{stream.ni} and {stream.na}"


def _proof(mobile: Stream, move: Move, keys: Mapping[bytes, bytes]) -> list[Check]:
    """Token and Request as the draft has them, computed without the code that made them."""
    found = proof(mobile, move.syn.packet, keys)
    return [
        Check.equal("P and ReqNo of the Migrate SYN", "01", found.octet),
        Check.equal("Token, computed anew", found.wanted_token, found.token),
        Check.equal("Request, computed anew", found.wanted_request, found.request),
        Check.equal("secrets that the key log's keys give", 1, len(set(found.secrets))),
        Check.equal("different key pairs at the two ends", 2, len(set(found.keys))),
    ]


def _clock(vantage: str, stream: Stream, move: Move) -> Check:
    """The TSvals of a sender go on where they were, or its peer's PAWS may drop what it sends (RFC 7323, section 5)."""
    sent = [one for one in stream.segments if one.from_initiator == (vantage == "mobile") and not one.has(SYN)]
    values = [
        (one.epoch, int.from_bytes(data[:4], "big"))
        for one in sent
        for kind, data in one.packet.options
        if kind == TIMESTAMP_KIND and len(data) == 8
    ]
    before = [value for epoch, value in values if epoch < move.epoch]
    if not before:
        raise NoMeasure(f"{stream} shows no timestamps before the move.")
    after = [before[-1], *(value for epoch, value in values if epoch == move.epoch)]
    back = sum(seq.lt(later, earlier) for earlier, later in pairwise(after))
    return Check.equal(f"TSvals that run backwards, {vantage}", 0, back)


def _before(mobile: Stream, move: Move, moved_at: float) -> list[Check]:
    """Before the move the sequence numbers climb at the modem's rate; afterwards the old queue goes on falling out."""
    data = measures.data(mobile, sender=SENDER, epochs=[0])
    resumes = move.resumes_at(sender=SENDER)
    early = [one for one in data if one.time < moved_at and one.end <= resumes]  # up to the first hole, if there is one
    late = [one for one in data if one.time >= moved_at]
    buffered = [(one.seq, one.end) for one in data if one.end > resumes]
    end = max((end for _, end in buffered), default=resumes)
    holes = measures.size(measures.gaps(buffered, (resumes, end)))
    checks = [
        # The first segments of slow start wait for acknowledgements, not for the modem.
        _rate("rate before the move", early[len(early) // 2 :]),
        Check.at_least("buffered packets to the old address after the move", 1, len(late), "packets"),
        Check.equal("bytes missing between what the mobile has and the last buffered one", 0, holes, "bytes"),
    ]
    return [*checks, _rate("rate of the buffered packets", late)] if len(late) > 1 else checks


def _rate(name: str, data: list[Segment]) -> Check:
    assert MODEM.rate_bps is not None
    rate = measures.rate(data)
    return Check.of(name, MODEM.rate_bps, round(rate), abs(rate / MODEM.rate_bps - 1) <= RATE_TOLERANCE, "bit/s")


def _handshake(context: Context, seen: Seen, here: Move, there: Move) -> list[Check]:
    own = {
        "server's own time, Migrate SYN to SYN/ACK": there.answer_time,
        "mobile's own time, SYN/ACK to ACK": here.ack.time - here.syn_ack.time,
        "mobile's own time, address lost to Migrate SYN": here.syn.time - seen.moved_at,
    }
    for name, seconds in own.items():
        context.report(name, round(seconds * 1000, 3), "ms")
    trips = here.handshake_time / seen.round_trip
    # The third has no limit: how long the mobile is without an address is the experiment's choice.
    limited = list(own.items())[:2]
    return [
        *(
            Check.at_most(name, WITHOUT_WAITING, round(took / seen.round_trip, 3), "round trips")
            for name, took in limited
        ),
        Check.of("Migrate SYN to ACK", "0.7 to 1.5", round(trips, 3), 0.7 <= trips <= 1.5, "round trips"),
    ]


def _afterwards(context: Context, seen: Seen, server: Stream, move: Move, sent_to: int) -> list[Check]:
    """Slow start from exactly the byte that 7 asked for, as the server sent it."""
    data = measures.data(server, sender=SENDER, epochs=[move.epoch])
    if not data:
        raise NoMeasure(f"{server} shows no data after the move.")
    segment = max(one.length for one in data)
    window = PROFILES[context.profile].initial_window or LINUX_INITIAL_WINDOW
    start = measures.slow_start(server, move, sender=SENDER, initial_window=window * segment)
    resumed = measures.resume_time(server, move, sender=SENDER)
    context.report("server's own time, ACK to data", round(resumed * 1000, 3), "ms")
    resumes = move.resumes_at(sender=SENDER)
    # What the mobile had received by then was in flight too, but it must not be sent again.
    lost = measures.size(measures.gaps(move.kept(sender=SENDER), (resumes, max(resumes, sent_to))))
    again = measures.size(measures.retransmitted(server, move, sender=SENDER))
    missing = measures.size(measures.every_byte_once(server, sender=SENDER).missing)
    return [
        Check.equal("first byte after the move, beyond what 7 acknowledged", 0, data[0].seq - resumes, "bytes"),
        Check.at_most("ACK to data at the server", WITHOUT_WAITING, round(resumed / seen.round_trip, 3), "round trips"),
        first_flight(min(window, len(data)), start.first_flight_segments, bool(move.kept(sender=SENDER))),
        Check.at_most("outstanding beyond slow start's bound", 0, start.excess, "bytes"),
        Check.at_least("least growth of the flight in a round trip", GROWTH, round(_growth(start.rounds), 2), "times"),
        Check.of("retransmitted after the move", f"1 to {lost}", again, 0 < again <= lost, "bytes"),
        Check.equal("bytes missing from what the server sent", 0, missing, "bytes"),
    ]


def first_flight(window: int, measured: int, holes: bool) -> Check:
    """The initial window.  Beside holes, which Linux sends one by one, it may wait with the last third: it hopes to
    send larger pieces at the next acknowledgement (tcp_tso_should_defer)."""
    name = "first flight after the move"
    if not holes:
        return Check.equal(name, window, measured, "segments")
    least = window - window // 3
    return Check.of(name, f"{least} to {window}", measured, least <= measured <= window, "segments")


def _growth(rounds: tuple[int, ...]) -> float:
    """From each round trip to the next; the last one ends with the data, so it counts for nothing."""
    full = rounds[:-1]
    return min((later / earlier for earlier, later in pairwise(full)), default=0.0)


def _whole(mobile: Stream, move: Move, object_bytes: int) -> list[Check]:
    """All of it came over this one connection, and nobody ended it early."""
    data = measures.data(mobile, sender=SENDER)
    end = max(one.end for one in data)
    coverage = measures.every_byte_once(mobile, sender=SENDER)
    again = measures.every_byte_once(mobile, sender=SENDER, since=move).twice
    ends = [one for one in mobile.segments if one.has(FIN)]
    if not ends:
        raise NoMeasure(f"{mobile} shows no FIN.")
    closing = ends[0]
    reached = closing.end if closing.from_initiator == SENDER else closing.ack or 0
    return [
        Check.at_least("bytes that the connection carried", object_bytes, end - 1, "bytes"),
        Check.equal("bytes missing from what the mobile received", 0, measures.size(coverage.missing), "bytes"),
        Check.equal("bytes received twice after the move", 0, measures.size(again), "bytes"),
        Check.equal("bytes to come when the first FIN passed", 0, end - reached, "bytes"),
    ]


def _interruption(context: Context, seen: Seen, mobile: Stream, move: Move) -> None:
    gap = measures.interruption(mobile, move, sender=SENDER)
    context.report("interruption", round(gap.seconds, 3), "s")
    trips = gap.round_trips(seen.round_trip)
    context.report("interruption, in round trips of the new path", round(trips, 2), "round trips")
