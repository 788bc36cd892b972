"""What a world (worlds.py) is made of: one end with its machine and socket, segments by number, a script, a budget."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from ipaddress import IPv4Address

from migrate.core import (
    ACK,
    RST,
    SYN,
    Connection,
    Direction,
    FourTuple,
    Migrate,
    Position,
    Segment,
    Timer,
    migrate_option,
    rules,
    seq,
)

UNIT = 100  # bytes of a data segment; a socket has one under way at a time
WINDOW = 1000
TRIES = rules.MANY_TRIES + 1  # beyond it the machine tells none apart

Addresses = frozenset[IPv4Address]
Marks = tuple[Direction | None, bool, bool, tuple[Segment, ...]]  # muted, awaited, held, what is held
PLAIN: Marks = (None, False, False, ())


class Place(IPv4Address):
    """An address of which there is one object only, and so quickly compared."""

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other


class Wrong(Exception):
    """Something that must not happen; one sentence."""


@lru_cache(None)
def option_of(options: bytes) -> Migrate | None:
    return migrate_option(Segment(IPv4Address(0), 0, IPv4Address(0), 0, SYN, 0, options=options))


_NUMBERS: dict[object, int] = {}
SEGMENTS: dict[int, Segment] = {}


def number_of(what: object) -> int:
    """The same for equal things, so that they are compared in full only once."""
    return _NUMBERS.setdefault(what, len(_NUMBERS))


def with_one(flight: tuple[int, ...], one: Segment) -> tuple[int, ...]:
    number = number_of(one)
    SEGMENTS[number] = one
    return tuple(sorted((*flight, number)))


@dataclass(frozen=True)
class Line:
    """Of a host's script: addresses that it gets and loses at once; a stranger may get what it loses."""

    gets: Place | None = None
    loses: Place | None = None
    to_stranger: bool = False


class End:
    """One host: its machine, its socket, and the marks that the machine has set."""

    __slots__ = (
        *("addresses", "c", "end", "high", "known", "marks", "nxt", "pair", "rcv", "script", "timers", "una"),
        "was_reset",
    )

    def __init__(self, c: Connection, iss: int, irs: int, units: int, script: tuple[Line, ...]) -> None:
        self.c, self.pair = c, c.tuple
        self.una = self.nxt = self.high = seq.add(iss, 1)
        self.end = seq.add(self.una, units * UNIT)
        self.rcv = seq.add(irs, 1)
        self.marks: dict[FourTuple, Marks] = {}
        self.timers: frozenset[Timer] = frozenset()
        self.addresses: Addresses = frozenset((c.tuple.local_ip,))  # type: ignore[arg-type]
        self.script, self.was_reset = script, False
        self.known: int | None = None  # the number of its key

    def copy(self) -> End:
        new = End.__new__(End)
        for name in End.__slots__:
            setattr(new, name, getattr(self, name))
        new.marks, new.known = dict(self.marks), None
        old = self.c
        new.c = c = Connection(old.tuple, old.ni, old.na, old.secret, old.initiator, old.msl, state=old.state)
        c.sent_count, c.confirmed_count, c.accepted_count = old.sent_count, old.confirmed_count, old.accepted_count
        c.pending = replace(old.pending) if old.pending else None
        c.accepted = replace(old.accepted) if old.accepted else None
        c.verifying = replace(old.verifying) if old.verifying else None
        c.asked, c.highest, c.recent, c.own = old.asked, old.highest, old.recent, old.own
        return new

    def key(self) -> int:
        """Equal for equal states."""
        if self.known is None:
            self.known = number_of(self._all())
        return self.known

    def _all(self) -> tuple[object, ...]:
        c = self.c
        pending, accepted, verifying = c.pending, c.accepted, c.verifying
        for one in (pending, accepted, verifying):
            if one is not None and one.tries > TRIES:
                one.tries = TRIES
        return (
            *(c.tuple, c.state, c.sent_count, c.confirmed_count, c.accepted_count, c.asked, c.highest),
            pending and (pending.tuple, pending.s, pending.tries, pending.ambiguous),
            accepted
            and (
                accepted.tuple,
                accepted.s,
                accepted.octet,
                accepted.seq,
                accepted.ack,
                accepted.tries,
                accepted.outcome,
            ),
            verifying and (verifying.tuple, verifying.s, verifying.tries),
            *(tuple(c.recent), tuple(c.own), self.una, self.nxt, self.high, self.rcv, self.timers, self.addresses),
            *(frozenset(self.marks.items()), len(self.script), self.was_reset),
        )

    def position(self) -> Position:
        return Position(self.una, self.nxt, self.rcv, WINDOW)


@dataclass
class Budget:
    """How many faults of each kind there may be."""

    losses: int = 0
    duplicates: int = 0
    early_timeouts: int = 0
    reflections: int = 0


@lru_cache(None)
def words(one: Segment) -> str:
    number = str(option_of(one.options).reqno) if one.flags == SYN else ""  # type: ignore[union-attr]
    kind = {SYN: "5", SYN | ACK: "6"}.get(one.flags, "RST" if one.flags & RST else "data" if one.payload else "ACK")
    return f"{kind}{'/' + number if number else ''} {one.src} > {one.dst} {one.seq} ack {one.ack}"
