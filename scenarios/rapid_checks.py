"""What must be seen in `rapid`, each a check.  Pure: packets, streams and events in, checks out."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from analysis.capture import ACK, RST, SYN, Packet
from analysis.daemon_events import Told, of
from analysis.joining import full_count
from analysis.stream import Stream, migrate_option
from migrate.core import keys
from scenarios.base import Context
from scenarios.rapid_seen import ENOUGH_MOVES, KINDS, SEGMENTS, Seen
from scenarios.verdict import Check

ENOUGH_FAULTS = 5
"""Of each kind that must have been made at least."""
DONE = {"drop": "lost", "duplicate": "doubled", "delay": "late"}


@dataclass(frozen=True)
class Request:
    """A Migrate SYN as the server saw it."""

    time: float
    count: int
    source: tuple[str, int]
    late: bool
    """A newer one had come before."""
    proved: bool
    """R is what K gives for this S and the full count."""


def requests(stream: Stream, packets: Sequence[Packet]) -> list[Request]:
    """All Migrate SYNs of a connection in order of time, with their full counts."""
    found: list[Request] = []
    newest = 0
    for one in packets:
        option = migrate_option(one) if one.flags & (SYN | ACK) == SYN else None
        if option is None:
            continue
        count = full_count(option.reqno, newest)
        known = stream.ni, stream.na, stream.secret
        assert None not in known, "the key log gives K"
        proof = keys.request(stream.ni or 0, stream.na or 0, stream.secret or b"", one.seq, option.octet, count)
        found.append(Request(one.time, count, (one.src, one.sport), count < newest, proof == option.request))
        newest = max(newest, count)
    return found


def judge(
    context: Context, seen: Seen, streams: Mapping[str, Sequence[Stream]], packets: Mapping[str, Sequence[Packet]]
) -> list[Check]:
    """`streams` and `packets` by vantage point, "server" and "mobile"."""
    checks = [
        Check.equal(f"connections in the captures, {vantage}", 1, len(found)) for vantage, found in streams.items()
    ]
    checks += [
        Check.equal(f"RSTs, {vantage}", 0, sum(bool(one.flags & RST) for one in found))
        for vantage, found in packets.items()
    ]
    asked = requests(streams["server"][0], packets["server"])
    checks += _moved(context, seen, asked)
    checks += _troubled(context, seen)
    checks += _newest_wins(context, seen, asked, packets["server"])
    checks += _exact(streams["server"][0])
    ends = " and ".join(sorted(set(seen.ends)))
    return [
        *checks,
        Check.of("one connection between the same two ends, in the end", f"from {seen.address}", ends,
                 len(set(seen.ends)) == 1 and ends.startswith(f"{seen.address} ")),
        Check.at_least("bytes to come when the mobile stood still", 1, seen.left, "bytes"),
        Check.equal("curl's exit status", 0, seen.exit_status),
        Check.equal("SHA-256 of the file received", seen.wanted, seen.got),
    ]  # fmt: skip


def _accepted(told: Sequence[Told]) -> list[int]:
    """The requests that the server answered, each once, in order."""
    numbers = [int(one.cause.split()[1]) for one in of(told, "answered")]
    return list(dict.fromkeys(numbers))


def _moved(context: Context, seen: Seen, asked: Sequence[Request]) -> list[Check]:
    """The mobile moved, and moved on before it had arrived."""
    accepted = _accepted(seen.server_events)
    states = Counter(
        (_state(seen.mobile_events, move.lost_at), _state(seen.server_events, move.lost_at)) for move in seen.moves[1:]
    )
    before_6 = sum(number for (mobile, _), number in states.items() if mobile == "SYN_SENT")
    before_7 = states["ESTABLISHED", "SYN_RCVD"]
    after = states["ESTABLISHED", "ESTABLISHED"]
    for name, number in (("before 6 came", before_6), ("before 7 came", before_7), ("after 7 came", after)):
        context.report(f"moves {name}", number)
    context.report("moves", len(seen.moves))
    context.report("rebinds at the mobile", len(of(seen.mobile_events, "migrated")))
    context.report("rebinds at the server", len(of(seen.server_events, "migrated")))
    context.report("rebinds undone or refused at the mobile", len(of(seen.mobile_events, "rebind-failed")))
    return [
        Check.at_least("moves", ENOUGH_MOVES, len(seen.moves)),
        Check.at_least("Migrate SYNs accepted by the server", ENOUGH_MOVES, len(accepted)),
        Check.at_least("highest full count of a request, beyond the 7 bits on the wire", 128, max(accepted, default=0)),
        Check.at_least("moves before segment 6 of the last one came", 10, before_6),
        Check.at_least("moves before segment 7 of the last one came", 10, before_7),
        Check.at_least("moves after segment 7 of the last one came", 10, after),
        Check.equal("Requests that are not what the key log gives", 0, sum(not one.proved for one in asked)),
    ]


def _state(told: Sequence[Told], time: float) -> str:
    """Of the connection at that moment."""
    at = bisect_right([one.time for one in told], time)
    return told[at - 1].state if at else "ESTABLISHED"


def _troubled(context: Context, seen: Seen) -> list[Check]:
    """Each of 5, 6 and 7 was lost, doubled and late, more than once."""
    made = {(action, segment): seen.firings.get((action, segment), 0) for action, segment in KINDS}
    return [
        Check.at_least(f"segments {segment} that were {DONE[action]}", ENOUGH_FAULTS, made[action, segment])
        for segment in SEGMENTS
        for action in DONE
    ]


def _newest_wins(context: Context, seen: Seen, asked: Sequence[Request], packets: Sequence[Packet]) -> list[Check]:
    """A request is not followed once a newer one has come: nothing goes to where it asked for any more."""
    late = [one for one in asked if one.late]
    accepted = _accepted(seen.server_events)
    context.report("late Migrate SYNs", len(late))
    back = sum(later < earlier for earlier, later in pairwise(accepted))
    return [
        Check.at_least("Migrate SYNs that came behind a newer one", ENOUGH_FAULTS, len(late)),
        Check.equal("requests accepted after a newer one", 0, back),
        Check.equal("SYN/ACKs to anywhere but the newest request's source", 0, _astray(asked, packets, SYN | ACK, [])),
        Check.equal(
            "data to anywhere but the newest request's source, once it is answered",
            0,
            _astray(asked, packets, 0, [one.time for one in of(seen.server_events, "answered")]),
        ),
    ]


def _astray(asked: Sequence[Request], packets: Sequence[Packet], flags: int, answered: Sequence[float]) -> int:
    """How many of the server's segments go elsewhere than to the source of the newest request that has come.

    SYN/ACKs, or (`flags` 0) data; for the latter a request counts from the daemon's answer on (`answered`: when)."""
    newest: list[tuple[float, tuple[str, int]]] = []
    highest = 0
    for one in asked:
        if one.count <= highest:
            continue
        highest = one.count
        since = one.time
        if not flags:
            at = bisect_right(answered, one.time)
            since = answered[at] if at < len(answered) else float("inf")
        newest.append((since, one.source))
    times = [since for since, _ in newest]
    wrong = 0
    for packet in packets:
        own = packet.flags & (SYN | ACK) == flags if flags else packet.length and not packet.flags & SYN
        at = bisect_right(times, packet.time)
        if not own or not at or (packet.src, packet.sport) in {source for _, source in newest}:
            continue
        wrong += (packet.dst, packet.dport) != newest[at - 1][1]
    return wrong


def _exact(server: Stream) -> list[Check]:
    """Wherever a handshake ended and data followed, it went on from the byte that 7 asks for: not from one that a late
    7 of an earlier migration names, and from none before what 6 said.  Where the mobile is back at the pair that it had
    left, the server's socket is still there, and may send the last of what was under way again (RFC 8985, a tail loss
    probe) just before it is built anew: that is no going on."""
    whole = wrong = 0
    newest = 0
    place: tuple[str, int] | None = None  # where the newest request came from
    oldest, named = 0, set[int]()  # what 6 said (0: nothing yet), and what has been acknowledged from there since
    served: tuple[str, int] | None = None  # where data last went
    end = 0  # of what has been sent
    for one in server.segments:
        option = migrate_option(one.packet) if one.from_initiator and one.has(SYN) else None
        if option is not None:
            count = full_count(option.reqno, newest)
            if count > newest:
                newest = count
                place, named, oldest = (one.packet.src, one.packet.sport), set(), 0
        elif one.from_initiator:
            if (one.packet.src, one.packet.sport) == place and one.ack is not None:
                named.add(one.ack)
        elif one.has(SYN | ACK):
            if (one.packet.dst, one.packet.dport) == place:
                oldest = one.seq + 1
        elif one.length:
            there = one.packet.dst, one.packet.dport
            again = there == served and oldest <= one.seq and one.seq + one.length == end and one.seq not in named
            if there == place and oldest and not again:
                whole += 1
                wrong += one.seq not in named or one.seq < oldest
                place = None
            served, end = there, max(end, one.seq + one.length)
    return [
        Check.at_least("migrations that data followed", ENOUGH_MOVES // 10, whole),
        Check.equal("of these, that go on from another byte than 7 asks for", 0, wrong),
    ]
