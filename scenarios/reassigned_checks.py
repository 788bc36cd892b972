"""What must be seen in each run of `reassigned`, each a check.  Pure: streams, judgements and events in, checks out.

The server's capture is the witness of what it emits: the kernel's segments pass there after the muting, so what is
not in it did not leave.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from analysis import measures
from analysis.capture import ACK, RST, SYN, Packet
from analysis.daemon_events import Told, of
from analysis.diagram import Tokens
from analysis.diagram import Verdict as Judgement
from analysis.measures import NoMeasure
from analysis.stream import Segment, Stream
from scenarios.base import Context
from scenarios.reassigned_seen import Back, Gone, Newcomer
from scenarios.verdict import Check, Invalid

SILENT_RTOS = 4
"""At least so many of the server's retransmission timeouts must the silence have lasted to be one."""
LATE_MSL = 0.5
"""How much later than after 2MSL a program may see the reset, in MSL: a machine that stands still makes it late, and
who waits for a third MSL is wrong."""


def sequence(run: str, vantage: str, judgement: Judgement) -> Check:
    """The capture is what its diagram says."""
    wrong = judgement.mismatch
    measured = "as expected"
    if wrong is not None:
        packet = f"packet {wrong.packet.number}" if wrong.packet else "the end of the trace"
        measured = f"{packet} instead of line {wrong.label or wrong.number}: {'; '.join(wrong.wrong) or wrong.actual}"
    return Check.equal(f"{run}: sequence diagram, {vantage}", "as expected", measured)


def exact_resets(
    packets: Sequence[Packet], rcv_nxt: int, pair: tuple[tuple[str, int], tuple[str, int]]
) -> list[Packet]:
    """The RSTs from (address, port) to (address, port) that are exactly at rcv_nxt (raw)."""
    return [one for one in _resets(packets, pair) if one.seq == rcv_nxt]


def _resets(packets: Sequence[Packet], pair: tuple[tuple[str, int], tuple[str, int]]) -> list[Packet]:
    return [one for one in packets if one.flags & RST and ((one.src, one.sport), (one.dst, one.dport)) == pair]


# --- back -------------------------------------------------------------------------------------------------------------


def back(
    context: Context,
    seen: Back,
    judged: Mapping[str, Judgement],
    at_server: Sequence[Packet],
    at_stranger: Sequence[Packet],
) -> list[Check]:
    """`judged` by vantage point: "server", "mobile" and "stranger".  Raises `Invalid` where nothing was in flight."""
    server, mobile = judged["server"].stream, judged["mobile"].stream
    pair = (seen.waiting.remote, seen.waiting.local)
    checks = [sequence("back", vantage, judgement) for vantage, judgement in judged.items()]
    checks.append(
        Check.equal("back: Token and Request recomputed", Tokens.VERIFIED.value, judged["server"].tokens.value)
    )
    checks += _caused("back", seen.waiting, seen.rcv_nxt, pair, at_server, at_stranger)
    try:
        move = measures.the_move(server)
        first, last = measures.flight_at_move(server, move, sender=False)
        if first == last:
            raise Invalid("back: nothing was in flight when the mobile lost its address: the run proves nothing")
        checks += _inexact(seen, pair, at_server)
        checks += _silence(context, seen, server, move.syn, pair, at_server)
        checks += _resumed(server, mobile, seen)
    except NoMeasure as cause:
        checks.append(Check.equal("back: what the traces show of the move", "all of it", str(cause)))
    told = [one.event for one in of(seen.server_events, "waiting", "answered", "migrated", "reset", "closed")]
    return [
        *checks,
        Check.equal("back: what the server's daemon told", "waiting answered migrated", " ".join(told)),
        Check.equal("back: curl's exit status", 0, seen.exit_status),
        Check.equal("back: SHA-256 of the file received", seen.wanted, seen.got),
    ]


def _caused(
    run: str,
    waiting: Told,
    rcv_nxt: int,
    pair: tuple[tuple[str, int], tuple[str, int]],
    at_server: Sequence[Packet],
    at_stranger: Sequence[Packet],
) -> list[Check]:
    """A RST that answers a segment of the server's left the stranger, came to the server, and is why it waits."""
    left = exact_resets(at_stranger, rcv_nxt, pair)
    asked = [one for one in at_stranger if ((one.dst, one.dport), (one.src, one.sport)) == pair and one.length]
    answered = [one for one in left if any(other.time <= one.time and other.ack == one.seq for other in asked)]
    arrived = exact_resets(at_server, rcv_nxt, pair)
    before = [one for one in arrived if one.time <= waiting.time]
    return [
        Check.at_least(f"{run}: RSTs of the stranger's kernel, each for a segment of the server's", 1, len(answered)),
        Check.at_least(f"{run}: RSTs at rcv_nxt that reached the server before it waited", 1, len(before)),
        Check.equal(f"{run}: the state that they led to", "MIGRATE_WAIT", waiting.state),
    ]


def _inexact(seen: Back, pair: tuple[tuple[str, int], tuple[str, int]], at_server: Sequence[Packet]) -> list[Check]:
    """RSTs near rcv_nxt: seen, told, and without any effect: the server speaks afterwards."""
    early = [one for one in _resets(at_server, pair) if one.seq != seen.rcv_nxt and one.time < seen.waiting.time]
    ignored = [one for one in of(seen.server_events, "ignored") if "not exactly at rcv_nxt" in one.cause]
    last = max((one.time for one in early), default=0.0)
    spoke = [
        one for one in at_server if (one.src, one.dst) == (pair[1][0], pair[0][0]) and one.time > last and one.length
    ]
    after = [one for one in spoke if last < one.time < seen.waiting.time]
    states = {one.state for one in ignored}
    return [
        Check.equal("back: RSTs not at rcv_nxt that reached the server before it waited", seen.inexact, len(early)),
        Check.equal("back: RSTs not at rcv_nxt that the daemon ignored", seen.inexact, len(ignored)),
        Check.equal("back: the state that these led to", "ESTABLISHED", " ".join(sorted(states)) or "none"),
        Check.at_least("back: data that the server sent after them and before it waited", 1, len(after), "segments"),
    ]


def _silence(
    context: Context,
    seen: Back,
    server: Stream,
    syn: Segment,
    pair: tuple[tuple[str, int], tuple[str, int]],
    at_server: Sequence[Packet],
) -> list[Check]:
    """From the daemon's word on nothing leaves, RSTs or no RSTs, until the Migrate SYN; and then 6 and nothing else."""
    begin = seen.waiting.time
    lasted = (syn.time - begin) / seen.retransmission_timeout
    context.report("back: MIGRATE_WAIT lasted", round(syn.time - begin, 3), "s")
    context.report("back: the server's retransmission timeout", seen.retransmission_timeout, "s")
    emitted = [one for one in server.segments if not one.from_initiator and begin < one.time < syn.time]
    further = [one for one in _resets(at_server, pair) if begin < one.time < syn.time]
    exact = [one for one in further if one.seq == seen.rcv_nxt]
    changes = [one for one in seen.server_events if begin < one.time < syn.time and one.state != "MIGRATE_WAIT"]
    return [
        Check.at_least("back: the silence, in retransmission timeouts of the server", SILENT_RTOS, round(lasted, 1)),
        Check.equal("back: segments that the server sent in MIGRATE_WAIT", 0, len(emitted)),
        Check.at_least("back: further RSTs in MIGRATE_WAIT", seen.further, len(further)),
        Check.at_least("back: of these exactly at rcv_nxt", 1, len(exact)),
        Check.equal("back: changes of state before the Migrate SYN", 0, len(changes)),
    ]


def _resumed(server: Stream, mobile: Stream, seen: Back) -> list[Check]:
    """The download goes on from exactly the byte that the mobile lacks, and every byte came once."""
    there, here = measures.the_move(server), measures.the_move(mobile)
    data = measures.data(server, sender=False, epochs=[there.epoch])
    if not data:
        raise NoMeasure(f"{server} shows no data after the move.")
    coverage = measures.every_byte_once(mobile, sender=False)
    again = measures.every_byte_once(mobile, sender=False, since=here).twice
    resumed = measures.resume_time(server, there, sender=False) / seen.round_trip
    ways = ", then ".join(f"{epoch.initiator.address} > {epoch.responder.address}" for epoch in server.epochs)
    old, new, fixed = seen.addresses
    end = max(one.end for one in measures.data(mobile, sender=False))
    return [
        Check.equal("back: addresses", f"{old} > {fixed}, then {new} > {fixed}", ways),
        Check.equal(
            "back: first byte, beyond what 7 acknowledged", 0, data[0].seq - there.resumes_at(sender=False), "bytes"
        ),
        Check.at_most("back: ACK to data at the server", 0.5, round(resumed, 3), "round trips"),
        Check.at_least("back: bytes that the connection carried", seen.object_bytes, end - 1, "bytes"),
        Check.equal("back: bytes missing from what the mobile received", 0, measures.size(coverage.missing), "bytes"),
        Check.equal("back: bytes received twice after the move", 0, measures.size(again), "bytes"),
    ]


# --- gone -------------------------------------------------------------------------------------------------------------


def gone(context: Context, seen: Gone, judged: Mapping[str, Judgement], at_server: Sequence[Packet]) -> list[Check]:
    """`judged`: the connection to each program, at the server."""
    checks = [sequence("gone", f"connection to {program}", judgement) for program, judgement in judged.items()]
    allowed = LATE_MSL * seen.msl
    for waiting in seen.waiting.values():
        program = seen.ports[waiting.local[1]]
        resets = [one for one in of(seen.server_events, "reset") if one.connection == waiting.connection]
        if program not in seen.told_at or not resets:
            checks.append(Check.equal(f"gone: what {program} was told", "ECONNRESET", "nothing"))
            continue
        told = seen.told_at[program] - waiting.time
        context.report(f"gone: {program}, MIGRATE_WAIT to ECONNRESET", round(told, 3), "s")
        two_msl = 2 * seen.msl
        checks.append(
            Check.of(
                f"gone: {program}, MIGRATE_WAIT to ECONNRESET",
                *(f"{two_msl:g} to {two_msl + allowed:g}", round(told, 3)),
                two_msl <= told <= two_msl + allowed,
                "s",
            )
        )
        checks.append(Check.equal(f"gone: state of the connection to {program}", "CLOSED", resets[0].state))
        emitted = [
            one
            for one in at_server
            if (one.src, one.sport) == waiting.local
            and (one.dst, one.dport) == waiting.remote
            and one.time > waiting.time
        ]
        checks.append(
            Check.equal(f"gone: segments to {waiting.remote[0]} from {program} once it waited", 0, len(emitted))
        )
    return [
        *checks,
        Check.equal("gone: connections in MIGRATE_WAIT", len(seen.ports), len(seen.waiting)),
        Check.equal("gone: connections that the server has left", 0, seen.left),
        Check.equal("gone: programs of the mobile's that know nothing of it", len(seen.ports), seen.mobiles_running),
    ]


# --- newcomer ---------------------------------------------------------------------------------------------------------


def newcomer(seen: Newcomer, judged: Mapping[str, Judgement], at_server: Sequence[Packet]) -> list[Check]:
    """`judged` at the server: "object", the mobile's, "other-port" and "same-port", the stranger's."""
    checks = [sequence("newcomer", name, judgement) for name, judgement in judged.items()]
    old, new, _ = seen.addresses
    for name, outcome in seen.outcomes.items():
        checks.append(Check.equal(f"newcomer: curl's exit status, {name}", 0, outcome.exit_status))
        checks.append(Check.equal(f"newcomer: SHA-256 of the file received, {name}", outcome.wanted, outcome.got))
    mobile, same, other = (judged[name].stream for name in ("object", "same-port", "other-port"))
    opened = [one.epochs[0].initiator.port for one in (same, other)]
    waiting = [one for one in at_server if one.time > seen.waiting.time and (one.src, one.sport) == seen.waiting.local]
    begun = min((one.time for one in at_server if _answers_syn(one) and (one.dst, one.dport) == (old, seen.port)
                 and one.time > seen.lost_at), default=0.0)  # fmt: skip
    counted = [one.packet for stream in (mobile, same, other) for one in measures.resets(stream)]
    late = [one.packet for stream in (mobile, same, other) for one in stream.segments
            if one.has(RST) and one.packet not in counted]  # fmt: skip  # those connections were over
    reset = [one for one in waiting if one.flags & RST and one not in late]
    to_waiting = [one for one in waiting if (one.dst, one.dport) == (old, seen.port) and one.time < begun]
    syns = [one for one in same.segments if one.has(SYN) and not one.has(ACK)]
    try:
        move = measures.the_move(mobile)
        freed = round(begun - move.syn.time, 3)
        unanswered = [one for one in syns if one.time < move.syn.time]
        coverage = measures.every_byte_once(mobile, sender=False)
        checks += [
            Check.equal("newcomer: bytes missing from what was sent to the mobile", 0, measures.size(coverage.missing)),
            Check.at_least("newcomer: SYNs with the old port while it is taken", 2, len(unanswered)),
            Check.of("newcomer: Migrate SYN to SYN/ACK for the old port", "above 0", freed, freed > 0, "s"),
            Check.equal("newcomer: the mobile's addresses", f"{old}, then {new}",
                        ", then ".join(epoch.initiator.address for epoch in mobile.epochs)),
        ]  # fmt: skip
    except NoMeasure as cause:
        checks.append(Check.equal("newcomer: what the traces show of the move", "all of it", str(cause)))
    told = [one.event for one in of(seen.server_events, "waiting", "answered", "migrated", "reset")]
    times = [seen.waiting.time, seen.other_finished_at, seen.arrived_at]
    return [
        *checks,
        Check.equal("newcomer: the first of the stranger's ports", seen.port, opened[0]),
        Check.of("newcomer: the other one", f"not {seen.port}", opened[1], opened[1] != seen.port),
        Check.equal("newcomer: segments to the old address and port while that connection waits", 0, len(to_waiting)),
        Check.equal("newcomer: RSTs that left the server", 0, len(reset)),
        Check.equal("newcomer: the other port's download ended while the mobile's waited", "yes", "yes" if all(
            earlier < later for earlier, later in pairwise(times)) else "no"),
        Check.equal("newcomer: what the server's daemon told", "waiting answered migrated", " ".join(told)),
    ]  # fmt: skip


def _answers_syn(one: Packet) -> bool:
    return one.flags & (SYN | ACK) == SYN | ACK
