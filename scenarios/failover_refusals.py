"""What must be seen in the cases of `failover` in which a replica does not get the connection: it has lost a race, or
nobody can go on.  Pure, as failover_checks is."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.capture import ACK, SYN, Packet
from analysis.daemon_events import of
from analysis.stream import Stream, migrate_option
from scenarios.failover_seen import Received, Seen
from scenarios.verdict import Check, Invalid


def raced(seen: Seen, packets: Sequence[Packet], racers: Sequence[str]) -> list[Check]:
    """All asked for the same request; one was answered, the others heard nothing.  Raises `Invalid` without a race."""
    name = seen.case
    asked = {who: [one for one in packets if _is_request(one) and seen.names.get(one.src) == who] for who in racers}
    if not all(asked.values()):
        silent = [who for who, sent in asked.items() if not sent]
        raise Invalid(f"{name}: {' and '.join(silent)} did not ask for the connection: nobody raced")
    numbers = {option.reqno for sent in asked.values() for one in sent if (option := migrate_option(one))}
    answered = [
        who
        for who in racers
        if any(seen.names.get(one.dst) == who and one.flags & (SYN | ACK) == SYN | ACK for one in packets)
    ]
    told = [who for who in racers if any(seen.names.get(one.dst) == who for one in packets)]
    won = [who for who in racers if of(seen.wedges[who], "taken-over")]
    ended = [who for who in racers if who not in won and of(seen.wedges[who], "lost", "not-taken")]
    return [
        Check.equal(
            f"{name}: request numbers that were asked with", "1", " ".join(str(one) for one in sorted(numbers))
        ),
        Check.equal(f"{name}: replicas that were answered", " ".join(won), " ".join(answered)),
        Check.equal(f"{name}: replicas that heard anything of the client", " ".join(won), " ".join(told)),
        Check.equal(f"{name}: winners", 1, len(won)),
        Check.equal(f"{name}: losers that say so", len(racers) - 1, len(ended)),
    ]


def _is_request(packet: Packet) -> bool:
    return packet.flags & (SYN | ACK) == SYN and migrate_option(packet) is not None


# --- nobody takes it --------------------------------------------------------------------------------------------------


def not_taken(seen: Seen, streams: Sequence[Stream], packets: Sequence[Packet]) -> list[Check]:
    """sA keeps it, whatever was pronounced."""
    name = seen.case
    owners = {seen.names.get(epoch.responder.address, "?") for stream in streams for epoch in stream.epochs}
    return [
        Check.equal(f"{name}: whose the client's connections were", "sA", " ".join(sorted(owners))),
        Check.equal(f"{name}: Migrate SYNs that came to the client", 0, sum(_is_request(one) for one in packets)),
        Check.equal(
            f"{name}: take-overs that the wedges tell of",
            0,
            sum(len(of(told, "taken-over")) for told in seen.wedges.values()),
        ),
    ]


def says_why(seen: Seen, who: str, reason: str) -> Check:
    """A replica that refuses says so in a line."""
    causes = [one.cause for one in of(seen.wedges[who], "refused")]
    measured = causes[0] if causes else "nothing"
    return Check.of(f"{seen.case}: why {who} refuses", f"... {reason} ...", measured, reason in measured)


def broken_off(seen: Seen, one: Received) -> list[Check]:
    """Where nobody can go on: curl knows that it has not all, and what it has is sA's."""
    name = seen.case
    return [
        Check.of(f"{name}: curl's exit status", "an error", seen.exit_status, seen.exit_status != 0),
        Check.at_least(f"{name}: bytes of {one.name} that it has", 1, one.length, "bytes"),
        Check.equal(f"{name}: bytes of {one.name} that are not sA's", 0, one.length - one.right, "bytes"),
        Check.of(
            f"{name}: {one.name} is not complete",
            "less",
            "all" if one.wanted == one.got else "less",
            one.wanted != one.got,
        ),
    ]
