"""What became of one connection at a middlebox, from captures on both sides of it.  Pure.

A box is watched like a pipe: what enters on one side is looked for on the other. A packet that does not leave, leaves
changed, or leaves without having entered, is the one that shows why a migration worked or did not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from analysis.capture import ACK, FIN, RST, SYN, Packet
from migrate.core import MIGRATE_KIND, MP_KIND, seq
from topologies.boxes import Side

OTHER: dict[Side, Side] = {"mobile": "server", "server": "mobile"}
FILE: dict[Side, str] = {"mobile": "inside", "server": "outside"}
_KNOWN = {1: "nop", 2: "mss", 3: "wscale", 4: "sack-ok", 5: "sack", 8: "timestamps"} | {
    MP_KIND: "migrate-permitted",
    MIGRATE_KIND: "migrate",
}


class Outcome(StrEnum):
    """What a connection could do in spite of the box."""

    WORKS = "works"
    """It moved: the transfer went on at the new address to its end."""
    PLAIN = "plain TCP"
    """It opened without Migrate: it cannot move, and is otherwise what it would be without Migrate."""
    FAILS = "fails"
    """It could not move although both ends meant to, or did not even open."""


@dataclass(frozen=True)
class Ending:
    """How the transfer ended, as its program saw it."""

    whole: bool
    """Every byte came, by checksum."""
    unaided: bool
    """Before the old address was given back."""


@dataclass(frozen=True)
class Finding:
    """The judgement on one connection."""

    outcome: Outcome
    why: str
    """The packet that shows it, in words."""
    recovers: bool | None = None
    """For one that failed or is plain TCP: whether it went on when its old address came back."""


@dataclass(frozen=True)
class Crossing:
    """A packet that entered the box, and what left it."""

    entered: Packet
    left: Packet | None
    sender: Side


@dataclass(frozen=True)
class View:
    """One connection's packets on both sides of the box."""

    packets: dict[Side, tuple[Packet, ...]]
    server_port: int

    def sender(self, packet: Packet) -> Side:
        return "server" if packet.sport == self.server_port else "mobile"

    def crossings(self) -> Iterator[Crossing]:
        """All that entered the box, in order of time; each copy that left belongs to the last that had entered."""
        found = []
        for side in FILE:
            entered: dict[tuple[int, ...], list[Packet]] = {}
            for packet in self.packets[side]:
                if self.sender(packet) == side:
                    entered.setdefault(_key(packet), []).append(packet)
            left: dict[int, Packet] = {}
            for packet in self.packets[OTHER[side]]:
                if self.sender(packet) == side:
                    copies = entered.get(_key(packet), [])
                    before = [one for one in copies if one.time <= packet.time + _CLOCK and id(one) not in left]
                    if before:
                        left[id(before[-1])] = packet
            found += [Crossing(one, left.get(id(one)), side) for copies in entered.values() for one in copies]
        return iter(sorted(found, key=lambda one: one.entered.time))


_CLOCK = 0.0005
"""Seconds that two captures of one machine may differ for one packet."""


def _key(packet: Packet) -> tuple[int, ...]:
    return packet.seq, packet.ack, packet.flags & (SYN | RST | FIN | ACK), packet.length


def view(inside: Sequence[Packet], outside: Sequence[Packet], server_port: int) -> View:
    """The packets of the connection whose SYN is the first inside, as far as the outside shows them.

    A NAT changes addresses and ports but neither sequence numbers nor the token: these tell what belongs together."""
    opening = next((one for one in inside if one.flags & (SYN | ACK) == SYN and one.dport == server_port), None)
    if opening is None:
        return View({"mobile": (), "server": ()}, server_port)
    ports = {opening.sport}
    mine = [one for one in inside if _mobile_port(one, server_port) in ports]
    tokens = {token for one in mine if (token := _token(one))}
    for one in outside:
        same_syn = one.flags & (SYN | ACK) == SYN and one.seq == opening.seq
        if same_syn or (_token(one) in tokens and one.dport == server_port):
            ports.add(_mobile_port(one, server_port))
    # The server may ask where nobody inside ever hears of it.
    begun = next((one.time for one in outside if _mobile_port(one, server_port) in ports), 0.0)
    theirs = [one for one in outside if _mobile_port(one, server_port) in ports and one.time >= begun]
    return View({"mobile": tuple(mine), "server": tuple(theirs)}, server_port)


def _mobile_port(packet: Packet, server_port: int) -> int:
    return packet.dport if packet.sport == server_port else packet.sport


def _token(packet: Packet) -> bytes | None:
    data = option(packet, MIGRATE_KIND)
    return data[1:9] if data is not None and packet.flags & SYN else None


def option(packet: Packet, kind: int) -> bytes | None:
    """The data of the packet's first option of that kind."""
    return next((data for one, data in packet.options if one == kind), None)


def judge(seen: View, mover: Side, ending: Ending) -> Finding:
    """The outcome for a connection whose `mover` changed its address, and the packet that shows why."""
    crossings = list(seen.crossings())
    recovers = None if ending.unaided else ending.whole
    opening = _opening(crossings)
    for label, one in opening:
        if one.left is None:
            return _not_through(seen, label, one, ending, recovers)
    without = [
        f"{label} {told(one.entered)} leaves the box without migrate-permitted"
        for label, one in opening
        if option(one.entered, MP_KIND) is not None and one.left and option(one.left, MP_KIND) is None
    ]
    if without:
        return Finding(Outcome.PLAIN if ending.whole else Outcome.FAILS, without[0], recovers)
    handshake = dict(_handshake(crossings, mover))
    if ending.whole and ending.unaided and "7" in handshake:
        five = handshake["5"]
        assert five.left is not None
        same = (five.left.src, five.left.sport, five.left.dst, five.left.dport)
        changed = same != (five.entered.src, five.entered.sport, five.entered.dst, five.entered.dport)
        leaves = f"leaves the box as {way(five.left)}" if changed else "passes unchanged"
        return Finding(Outcome.WORKS, f"5 {told(five.entered)} {leaves}")
    return Finding(Outcome.FAILS, _obstacle(seen, crossings, handshake, mover), recovers)


def _opening(crossings: Iterable[Crossing]) -> list[tuple[str, Crossing]]:
    """Segments 1 and 2; where one went out again, the one that passed."""
    found: dict[str, Crossing] = {}
    for one in crossings:
        flags = one.entered.flags & (SYN | ACK)
        if option(one.entered, MIGRATE_KIND) is not None or one.entered.flags & RST:
            continue
        label = "1" if flags == SYN and one.sender == "mobile" else "2" if flags == SYN | ACK else ""
        if label == "2" and one.sender != "server":
            continue
        if label and (label not in found or (found[label].left is None and one.left is not None)):
            found[label] = one
        if not label and one.entered.length:
            break
    return sorted(found.items())


def _handshake(crossings: Sequence[Crossing], mover: Side) -> Iterator[tuple[str, Crossing]]:
    """Segments 5, 6 and 7, each as it first passed, or as it was first tried where it never did."""
    tries: dict[str, list[Crossing]] = {"5": [], "6": [], "7": []}
    where: tuple[str, int, str, int] | None = None
    answers: set[tuple[str, int, str, int]] = set()
    for one in crossings:
        packet = one.entered
        here = (packet.src, packet.sport, packet.dst, packet.dport)
        flags = packet.flags & (SYN | ACK | RST)
        if one.sender == mover and flags == SYN and option(packet, MIGRATE_KIND) is not None:
            where = where or here
            if here != where:
                continue  # it is on its way back
            tries["5"].append(one)
            if one.left is not None:
                answers.add((one.left.dst, one.left.dport, one.left.src, one.left.sport))
        elif one.sender != mover and flags == SYN | ACK and here in answers:
            tries["6"].append(one)
        elif one.sender == mover and flags == ACK and here == where and tries["6"]:
            tries["7"].append(one)
    for label, found in tries.items():
        if found:
            yield label, next((one for one in found if one.left is not None), found[0])


def _not_through(seen: View, label: str, one: Crossing, ending: Ending, recovers: bool | None) -> Finding:
    """The connection's own opening does not pass: the box ends it itself, or lets nobody through."""
    packet = one.entered
    later = (back for back in seen.packets[one.sender] if back.time > packet.time)
    answer = next((back for back in later if back.flags & SYN and back.flags & ACK), None)
    if answer is None:
        return Finding(Outcome.FAILS, f"{label} {told(packet)} enters the box and does not leave it", recovers)
    why = f"{label} {told(packet)} ends at the box, which answers itself: {told(answer)}"
    return Finding(Outcome.PLAIN if ending.whole else Outcome.FAILS, why, recovers)


def _obstacle(seen: View, crossings: Sequence[Crossing], handshake: dict[str, Crossing], mover: Side) -> str:
    """What a migration that came to nothing came to nothing by."""
    if "5" not in handshake:
        return "the mover sent no Migrate SYN"
    for label, one in handshake.items():
        packet = one.entered
        if one.left is None:
            after = [back for back in seen.packets[one.sender] if back.time >= packet.time]
            reset = next((back for back in after if back.flags & RST and seen.sender(back) != one.sender), None)
            if reset is not None and not _entered(crossings, reset):
                return f"{label} {told(packet)} is answered by the box itself: {told(reset)}"
            foreign = next((back for back in after if back.flags & SYN and back.flags & ACK), None)
            if foreign is not None and not _entered(crossings, foreign) and seen.sender(foreign) != one.sender:
                return f"{label} {told(packet)} ends at the box, which answers itself: {told(foreign)}"
            return f"{label} {told(packet)} enters the box and does not leave it{_beyond(handshake, label, packet)}"
        if option(packet, MIGRATE_KIND) is not None and option(one.left, MIGRATE_KIND) is None:
            return f"{label} {told(packet)} leaves the box without its option"
        five = handshake["5"]
        assert five.left is not None
        wanted = way(five.left) if label != "6" else _way_back(five.entered)
        if way(one.left) != wanted:
            beyond = _beyond(handshake, label, packet)
            return f"{label} {told(packet)} leaves the box untranslated, as {way(one.left)}{beyond}"
    if "6" not in handshake:
        return f"5 {told(handshake['5'].entered)} passes, and nobody answers it"
    if "7" not in handshake:
        return f"6 {told(handshake['6'].entered)} passes, and the mover sends nothing more"
    last = handshake["7"]
    stuck = next((one for one in crossings if one.entered.time > last.entered.time and one.left is None), None)
    if stuck is None:
        return f"7 {told(last.entered)} passes, and the transfer does not go on"
    return f"{told(stuck.entered)}, after 7, enters the box and does not leave it"


def _entered(crossings: Iterable[Crossing], packet: Packet) -> bool:
    """Whether what left the box had entered it, rather than been made by it."""
    return any(one.left is packet for one in crossings)


def _beyond(handshake: dict[str, Crossing], label: str, packet: Packet) -> str:
    """For 6 and 7: how far they acknowledge beyond what the box has seen of the other side on this address pair."""
    before = {"6": "5", "7": "6"}.get(label)
    if before is None or before not in handshake:
        return ""
    number = seq.add(handshake[before].entered.seq, 1)
    bytes_ = seq.diff(packet.ack, number)
    return f": it acknowledges {bytes_} bytes beyond {before}, all that the box knows" if bytes_ > 0 else ""


# ---- in words


def way(packet: Packet) -> str:
    """Its addresses, as tcpdump writes them."""
    return f"{packet.src}.{packet.sport} > {packet.dst}.{packet.dport}"


def _way_back(packet: Packet) -> str:
    return f"{packet.dst}.{packet.dport} > {packet.src}.{packet.sport}"


def told(packet: Packet) -> str:
    """The packet as tcpdump would show it, and where it is found."""
    flags = "".join(letter for bit, letter in ((SYN, "S"), (FIN, "F"), (RST, "R"), (ACK, ".")) if packet.flags & bit)
    ack = f" ack {packet.ack}" if packet.flags & ACK else ""
    length = f"({packet.length})" if packet.length else ""
    names = [_KNOWN.get(kind, str(kind)) for kind, _ in packet.options if kind != 1]
    options = f" <{', '.join(names)}>" if names and packet.flags & SYN else ""
    where = f"{packet.file} {packet.number}" if packet.file else f"packet {packet.number}"
    return f"[{where}: {way(packet)} {flags} {packet.seq}{length}{ack} win {packet.window}{options}]"


@dataclass(frozen=True)
class Flight:
    """The server's data when one side moved, bytes."""

    outstanding: int
    """Sent, and not known to the server to have arrived."""
    arrived: int | None
    """Of these, what the mobile had all the same; None where no 6 or 7 of the mobile says so."""


def flight(seen: View, mover: Side, moved_at: float) -> Flight:
    """What was under way at a move, `moved_at` in seconds since 1970; from the server's side of the box."""
    before = [one for one in seen.packets["server"] if one.time < moved_at]
    acked = _highest(one.ack for one in before if seen.sender(one) == "mobile" and one.flags & ACK)
    end = _highest(seq.add(one.seq, one.length) for one in before if seen.sender(one) == "server" and one.length)
    if acked is None or end is None:
        return Flight(0, None)
    # 7 of a mobile that moves, 6 of one that stays: entered, though the box may have kept it.
    segment = dict(_handshake(list(seen.crossings()), mover)).get("7" if mover == "mobile" else "6")
    arrived = None if segment is None else seq.diff(segment.entered.ack, acked)
    return Flight(max(0, seq.diff(end, acked)), arrived)


def _highest(numbers: Iterable[int]) -> int | None:
    found: int | None = None
    for number in numbers:
        if found is None or seq.gt(number, found):
            found = number
    return found
