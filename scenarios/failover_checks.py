"""What must be seen in each case of `failover`, each a check.  Pure: streams, packets and events in, checks out.

The client's capture is the witness: what came there, from whom, and what was answered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from analysis import measures
from analysis.capture import FIN, RST, SYN
from analysis.daemon_events import of
from analysis.diagram import Tokens
from analysis.diagram import Verdict as Judgement
from analysis.measures import Move, NoMeasure
from analysis.stream import Segment, Stream
from scenarios.base import Context
from scenarios.failover_seen import Seen
from scenarios.mobility_checks import diagram_check
from scenarios.mobility_proof import proof
from scenarios.verdict import Check, Invalid, Verdict

TIMESTAMP_KIND, TIMESTAMP_BYTES = 8, 12
ROUND_TRIPS, BESIDE_SECONDS = 2, 0.030
"""From the pronouncement to the first new byte at the client, at most."""
Keys = Mapping[bytes, bytes]


def taken_over(
    context: Context,
    seen: Seen,
    streams: Sequence[Stream],
    keys: Keys,
    *,
    by: Sequence[str] = ("sB",),
    silent: bool = True,
    idle: bool = False,
    killed: bool = False,
    timed: bool = True,
) -> list[Check]:
    """One connection, which one of these replicas took from sA.

    `timed`: how long it took is judged, and not only reported, where that says something: where nobody else works.
    `silent`: sA had nothing on its way any more; `idle`: nor had it anything left to send; `killed`: sA's kernel has
    ended its process, and reset what it had."""
    name = seen.case
    checks = [Check.equal(f"{name}: connections of the client", 1, len(streams))]
    if not streams:
        return checks
    stream = streams[0]
    checks += [_owners(seen, stream, by), *whole(seen), *_one_winner(seen)]
    try:
        move = measures.the_move(stream)
        checks += _asked(name, stream, move, keys)
        checks += _goes_on(name, stream, move, silent)
        checks += _resets(seen, stream, move, killed)
        if silent and not idle:
            took = in_time(context, seen, stream, move)
            checks += [took] if timed else []
    except NoMeasure as cause:
        checks.append(Check.equal(f"{name}: what the client's capture shows of the take-over", "all of it", str(cause)))
    return checks


def whole(seen: Seen) -> list[Check]:
    """curl has noticed nothing, and every byte is there."""
    return [
        Check.equal(f"{seen.case}: curl's exit status", 0, seen.exit_status),
        *(Check.equal(f"{seen.case}: SHA-256 of {one.name}", one.wanted, one.got) for one in seen.received),
    ]


def _owners(seen: Seen, stream: Stream, by: Sequence[str]) -> Check:
    # A replica that asked and was not answered has an address pair, too, but never had the connection.
    had = [0, *(move.epoch for move in measures.moves(stream))]
    owners = [seen.names.get(stream.epochs[epoch].responder.address, "?") for epoch in had]
    wanted = f"sA, then {' or '.join(by)}"
    measured = ", then ".join(owners)
    return Check.of(
        f"{seen.case}: whose it was",
        wanted,
        measured,
        owners[:1] == ["sA"] and tuple(owners[1:]) in {(one,) for one in by},
    )


def _one_winner(seen: Seen) -> list[Check]:
    winners = [name for name, told in seen.wedges.items() for _ in of(told, "taken-over")]
    return [Check.equal(f"{seen.case}: take-overs that the wedges tell of", 1, len(winners))]


def _asked(name: str, stream: Stream, move: Move, keys: Keys) -> list[Check]:
    """Segment 5: PRELOAD and request 1, with proof; nothing in it but that (slide 30)."""
    found = proof(stream, move.syn.packet, keys)
    return [
        Check.equal(f"{name}: P and ReqNo of the Migrate SYN", "81", found.octet),
        Check.equal(f"{name}: Token, computed anew", found.wanted_token, found.token),
        Check.equal(f"{name}: Request, computed anew", found.wanted_request, found.request),
        Check.equal(
            f"{name}: the Migrate SYN's S and window", "0 and 0", f"{move.syn.seq} and {move.syn.packet.window}"
        ),
    ]


def _goes_on(name: str, stream: Stream, move: Move, silent: bool) -> list[Check]:
    """From exactly the next byte, without timestamps, to the end."""
    at = move.resumes_at(sender=False)
    had = had_before(stream, move)
    after = measures.data(stream, sender=False, epochs=[move.epoch])
    stale = sum(min(one.end, at) - one.seq for one in after if one.seq < at)
    missing = measures.size(measures.every_byte_once(stream, sender=False).missing)
    dated = [
        one for one in stream.of_epoch(move.epoch) if any(kind == TIMESTAMP_KIND for kind, _ in one.packet.options)
    ]
    ended = [one for one in stream.segments if one.epoch < move.epoch and not one.from_initiator and one.has(FIN)]
    checks = [
        Check.equal(f"{name}: bytes before the SYN/ACK's ack that come again", 0, stale, "bytes"),
        Check.equal(f"{name}: bytes missing from what came to the client", 0, missing, "bytes"),
        Check.equal(f"{name}: segments with timestamps after the take-over", 0, len(dated)),
        Check.equal(f"{name}: FINs of the server that had it", 0, len(ended)),
    ]
    if silent:
        # What is still on its way may come between the answer and the silence.
        checks.append(Check.equal(f"{name}: the SYN/ACK's ack, beside what the client has", 0, at - had, "bytes"))
    if after:
        checks.append(
            Check.equal(
                f"{name}: first byte of the new server's, beyond the SYN/ACK's ack", 0, after[0].seq - at, "bytes"
            )
        )
    return checks


def _resets(seen: Seen, stream: Stream, move: Move, killed: bool) -> list[Check]:
    """A server that lives resets nothing. The kernel of a killed one does, and the client waits for another."""
    came = [one for one in stream.segments if one.epoch < move.epoch and not one.from_initiator and one.has(RST)]
    if not killed:
        return [Check.equal(f"{seen.case}: RSTs of the server that had it", 0, len(came))]
    waits = [one for one in of(seen.daemons["client"], "waiting") if one.time >= seen.began_at]
    return [
        Check.at_least(f"{seen.case}: RSTs of the killed server's kernel", 1, len(came)),
        Check.equal(f"{seen.case}: times that the client waits for another server", 1, len(waits)),
    ]


def had_before(stream: Stream, move: Move) -> int:
    """The first byte that the client lacked when it sent the SYN/ACK."""
    came = [
        (one.seq, one.end)
        for one in measures.data(stream, sender=False, epochs=range(move.epoch))
        if one.time <= move.syn_ack.time
    ]
    joined = measures.joined(came)
    return joined[0][1] if joined and joined[0][0] <= 1 else 1


def in_time(context: Context, seen: Seen, stream: Stream, move: Move) -> Check:
    """The pronouncement to the first new byte."""
    told = [one.time for events in seen.wedges.values() for one in of(events, "pronounced")]
    began = seen.pronounced_at or min(told, default=0.0)
    new = [one for one in measures.data(stream, sender=False, epochs=[move.epoch]) if one.time > began]
    if not new or not began:
        raise NoMeasure("nobody was pronounced dead, or no byte came afterwards")
    took = new[0].time - began
    context.report(f"{seen.case}: pronouncement to the first new byte", round(1000 * took, 1), "ms")
    # The deck has 1 ms and 146 ms, at a round trip of 46 ms.
    context.report(f"{seen.case}: Migrate SYN to SYN/ACK at the client", round(1000 * move.answer_time, 1), "ms")
    first = new[0].time - move.syn.time
    context.report(f"{seen.case}: Migrate SYN to the first new byte at the client", round(1000 * first, 1), "ms")
    if seen.waited:
        context.report(f"{seen.case}: meanwhile, waiting for a processor", round(1000 * seen.waited, 1), "ms")
    gap = measures.interruption(stream, move, sender=False)
    context.report(f"{seen.case}: interruption", round(gap.seconds, 3), "s")
    context.report(
        f"{seen.case}: interruption, in round trips", round(gap.round_trips(seen.round_trip), 2), "round trips"
    )
    limit = ROUND_TRIPS * seen.round_trip + BESIDE_SECONDS
    check = Check.at_most(
        f"{seen.case}: pronouncement to the first new byte", round(1000 * limit, 1), round(1000 * took, 1), "ms"
    )
    # Too late, but for what this machine did meanwhile: neither a pass nor a fault of the programs.
    busy = took > limit >= took - seen.waited
    return replace(check, verdict=Verdict.INVALID) if busy else check


# --- the wrong pronouncement ------------------------------------------------------------------------------------------


def wrong(
    context: Context, seen: Seen, judgement: Judgement, streams: Sequence[Stream], keys: Keys, mss: int
) -> list[Check]:
    """Slide 30, line for line; `mss`: of a segment without options, bytes."""
    name, stream = seen.case, judgement.stream
    checks = [
        diagram_check(f"{name}: sequence diagram", judgement),
        Check.equal(f"{name}: Token and Request recomputed", Tokens.VERIFIED.value, judgement.tokens.value),
        *taken_over(context, seen, streams, keys),
    ]
    try:
        move = measures.the_move(stream)
        before = measures.data(stream, sender=False, epochs=[0])
        after = measures.data(stream, sender=False, epochs=[move.epoch])
        spoken = (one.time for one in stream.of_epoch(move.epoch) if one.from_initiator and not one.has(SYN))
        speaks = min(spoken, default=float("inf"))
        # Between 6 and its first word to sB the client hears nothing at the old address.
        again = [one for one in before if one.time > speaks]
        if not again:
            raise Invalid(f"{name}: sA sent nothing after the take-over: the run does not show what the client answers")
        resets = [one for one in stream.segments if one.from_initiator and one.has(RST)]
        checks += [
            Check.equal(
                f"{name}: largest segment before", mss - TIMESTAMP_BYTES, max(one.length for one in before), "bytes"
            ),
            Check.equal(f"{name}: largest segment after", mss, max((one.length for one in after), default=0), "bytes"),
            Check.equal(
                f"{name}: sA's segments after the take-over that are no retransmissions",
                0,
                sum(one.end > move.resumes_at(sender=False) for one in again),
            ),
            Check.equal(f"{name}: RSTs to sA, one for each", len(again), sum(one.epoch == 0 for one in resets)),
            Check.equal(f"{name}: RSTs to sB", 0, sum(one.epoch != 0 for one in resets)),
        ]
    except NoMeasure as cause:
        checks.append(Check.equal(f"{name}: what the trace shows", "all of it", str(cause)))
    waits = [one.event for one in of(seen.daemons["sA"], "waiting") if one.time > seen.began_at]
    told = [one.event for one in of(seen.wedges["sA"], "taken-by-another")]
    return [
        *checks,
        Check.equal(f"{name}: what sA's daemon and its wedge told", "waiting taken-by-another", " ".join(waits + told)),
    ]


# --- what the programs tell -------------------------------------------------------------------------------------------


def death(seen: Seen, who: str = "sA") -> Check:
    """The monitor has found out by itself."""
    dead = [one.state for one in of(seen.monitor, "dead") if one.state == who]
    return Check.of(f"{seen.case}: the monitor calls {who} dead", "at least once", len(dead), bool(dead))


def let_go(seen: Seen, who: str = "sA") -> Check:
    """A server that lives learns from the group that its connection is another's, and ends its own in silence."""
    told = of(seen.wedges[who], "taken-by-another")
    return Check.equal(f"{seen.case}: connections that {who} gives up when it hears of it", 1, len(told))


def declined(seen: Seen, who: str) -> Check:
    """A replica that has enough to do leaves it to another."""
    return Check.at_least(
        f"{seen.case}: times that {who}, which is full, declines", 1, len(of(seen.wedges[who], "declined"))
    )


def within_head(seen: Seen, stream: Stream, head_bytes: int) -> Check:
    """The new server goes on in the middle of the head."""
    at = measures.the_move(stream).resumes_at(sender=False) - 1
    wanted = f"1 to {head_bytes - 1}"
    return Check.of(f"{seen.case}: byte of the head at which sB goes on", wanted, at, 0 < at < head_bytes)


def requests(seen: Seen, stream: Stream, wanted: Sequence[str]) -> Check:
    """Who was sent which of the client's requests, in order."""
    sent: list[Segment] = measures.data(stream, sender=True)
    to = [seen.names.get(stream.epochs[one.epoch].responder.address, "?") for one in sent]
    return Check.equal(f"{seen.case}: whom the client asked, in order", " ".join(wanted), " ".join(to))
