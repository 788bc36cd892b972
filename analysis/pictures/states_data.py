"""What a picture of a connection's states is made of: spans, arrows and ticks, without any drawing.

Every time is in seconds from a moment that the builder is given.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from analysis.capture import ACK, RST, SYN, Packet
from analysis.daemon_events import Told
from analysis.stream import migrate_option

FIRST_STATE = "ESTABLISHED"
"""Of every connection that Migrate knows, until something happens to it."""


@dataclass(frozen=True)
class Span:
    """From `start` to `end` an end of the connection was in this state."""

    start: float
    end: float
    state: str


@dataclass(frozen=True)
class Lane:
    """One host: its states, and when segments of the connection left it."""

    name: str
    spans: tuple[Span, ...]
    sent: tuple[float, ...] = ()


@dataclass(frozen=True)
class Arrow:
    """A segment on its way between two lanes; `end` is None where the other end never saw it."""

    sender: str
    start: float
    receiver: str
    end: float | None
    kind: str
    """"5", "6", "7", "RST"."""


@dataclass(frozen=True)
class Moment:
    """Something that happened to a host: told beside its line, or, where there are many, in the legend."""

    time: float
    lane: str
    text: str
    legend: str = ""


@dataclass(frozen=True)
class StatesData:
    """Everything that the picture shows, from time 0 to `end`."""

    lanes: tuple[Lane, ...]
    arrows: tuple[Arrow, ...]
    moments: tuple[Moment, ...]
    end: float


def spans(
    told: Iterable[Told], connection: str, begin: float, end: float, first: str = FIRST_STATE
) -> tuple[Span, ...]:
    """The states of one connection between two moments (seconds since 1970), in order, each as long as it lasted."""
    result: list[Span] = []
    state, since = first, begin
    for one in sorted((one for one in told if one.connection == connection), key=lambda one: one.time):
        if one.time > end:
            break
        if one.state != state:
            if one.time > begin and one.time > since:
                result.append(Span(max(since, begin) - begin, one.time - begin, state))
            state, since = one.state, max(one.time, begin)
    if end > since:
        result.append(Span(since - begin, end - begin, state))
    return tuple(result)


def kind(packet: Packet, moved_to: frozenset[str]) -> str | None:
    """Which of "5", "6" and "RST" the packet is; "7" if it may be one: an ACK without data from a new address."""
    if packet.flags & RST:
        return "RST"
    if packet.flags & SYN:
        if migrate_option(packet) is not None:
            return "5"
        return "6" if packet.flags & ACK and packet.dst in moved_to else None
    return "7" if packet.src in moved_to and not packet.length else None


def arrows(
    captures: Mapping[str, Sequence[Packet]], owners: Mapping[str, Sequence[tuple[float, str]]], moved_to: Iterable[str]
) -> list[tuple[Arrow, float]]:
    """Segments 5, 6, 7 and RSTs, with times since 1970, and the time at which each was sent.

    `captures`: by host, what passed its interfaces; `owners`: by address, from when on which host had it, in order of
    time; `moved_to`: the addresses that were moved to.  Of the ACKs only the first behind each segment 6 is a 7."""
    new = frozenset(moved_to)
    arrivals: dict[tuple[str, Packet], list[float]] = defaultdict(list)
    for host, packets in captures.items():
        for one in packets:
            if _owner(owners, one.dst, one.time) == host:
                arrivals[host, _bare(one)].append(one.time)
    found: list[tuple[Arrow, float]] = []
    expecting: set[str] = set()
    sent = [
        (one, host)
        for host, packets in captures.items()
        for one in packets
        if _owner(owners, one.src, one.time) == host
    ]
    for one, host in sorted(sent, key=lambda each: each[0].time):
        what = kind(one, new)
        if what == "7":
            if one.src not in expecting:
                continue
            expecting.discard(one.src)
        elif what == "6":
            expecting.add(one.dst)
        if what is None:
            continue
        receiver = _owner(owners, one.dst, one.time)
        if receiver is None:
            continue
        times = arrivals.get((receiver, _bare(one)), [])
        later = next((time for time in times if time >= one.time), None)
        if later is not None:
            times.remove(later)
        found.append((Arrow(host, one.time, receiver, later, what), one.time))
    return found


def _owner(owners: Mapping[str, Sequence[tuple[float, str]]], address: str, time: float) -> str | None:
    had = [host for since, host in owners.get(address, ()) if since <= time]
    return had[-1] if had else None


def _bare(packet: Packet) -> Packet:
    """The packet without what depends on where it was seen."""
    return replace(packet, number=0, time=0.0, vantage="", file="")


def build(
    lanes: Mapping[str, tuple[Span, ...]],
    sent: Mapping[str, Sequence[float]],
    moving: Iterable[Arrow],
    moments: Iterable[Moment],
    begin: float,
    end: float,
) -> StatesData:
    """All that lies between two moments (seconds since 1970).

    `lanes` by host, in the order from top to bottom, as `spans` gives them; everything else has times since 1970."""
    inside = [one for one in moving if begin <= one.start <= end]
    return StatesData(
        tuple(
            Lane(name, states, tuple(time - begin for time in sent.get(name, ()) if begin <= time <= end))
            for name, states in lanes.items()
        ),
        tuple(
            Arrow(one.sender, one.start - begin, one.receiver, None if one.end is None else one.end - begin, one.kind)
            for one in inside
        ),
        tuple(replace(one, time=one.time - begin) for one in moments if begin <= one.time <= end),
        end - begin,
    )
