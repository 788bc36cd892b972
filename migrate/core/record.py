"""What is remembered of one connection, and its compact form for the daemon's pinned map."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Address, IPv6Address

from migrate.core import keys, options
from migrate.core.events import AddressLost, Move
from migrate.core.options import Migrate
from migrate.core.rules import SynNumber
from migrate.core.segment import Address
from migrate.core.tuples import FourTuple

MSL = 30.0  # seconds; MIGRATE_WAIT lasts twice as long
OWN_REQUESTS = 4096  # as many are remembered at most; see Record.own

_VERSION = 1
_HEADER = struct.Struct("!BBBIIII")
_PENDING = struct.Struct("!IB")
_ACCEPTED = struct.Struct("!IBIIIBB")
_OWN = struct.Struct("!II")
_COUNT = struct.Struct("!B")
_PORTS = struct.Struct("!HH")
_HAS_PENDING, _HAS_ACCEPTED, _PRELOAD, _HAS_ASKED, _HAS_HIGHEST, _AMBIGUOUS = 1, 2, 4, 8, 16, 32
_TRIES_MAX = 255


OwnRequest = tuple[int, int]  # its full count, and S


class State(Enum):
    """RFC 793's states as far as a migration sees them, MIGRATE_WAIT (slide 22), and SUSPENDED.

    ESTABLISHED stands for every state of the kernel's socket in which nothing migrates (FIN-WAIT and
    CLOSE-WAIT too).  SUSPENDED: no address, or refused; ready for the next address."""

    ESTABLISHED = 1
    SYN_SENT = 2
    SYN_RCVD = 3
    MIGRATE_WAIT = 4
    SUSPENDED = 5
    CLOSED = 6


@dataclass(slots=True)
class Request:
    """A request of this host's that has no answer yet; `s` is its SYN's sequence number."""

    tuple: FourTuple
    s: int
    preload: bool
    tries: int = 1
    ambiguous: bool = False  # an earlier request left on the same pair: an answer may be to that


class Outcome(Enum):
    """What has become of an accepted request."""

    OPEN = 0  # segment 7 is still to come
    FOLLOWED = 1  # the socket is where the peer asked it to be
    DECLINED = 2  # the peer turned out to be elsewhere


@dataclass(slots=True)
class Accepted:
    """The last request of the peer's that was valid, and the segment 6 that answered it."""

    tuple: FourTuple
    s: int
    octet: int
    seq: int
    ack: int
    window: int
    """The least that 6 has offered, if it went out more than once."""
    tries: int = 1
    outcome: Outcome = Outcome.OPEN

    @property
    def preload(self) -> bool:
        return bool(self.octet & ~options.REQNO_MASK)


@dataclass(frozen=True, slots=True)
class Rebinding:
    """A `Rebind` that the edge is carrying out."""

    new: FourTuple
    acknowledge: bool


@dataclass(slots=True)
class Record:
    """The counts are full request counts, of which the wire has the last seven bits; the first request is number 1.

    `sent_count`: our last request's; `confirmed_count`: the last of ours that the peer is known to have accepted;
    `accepted_count`: the last of the peer's that we accepted.  `own`: (count, S) of our requests, oldest first:
    those with a larger count than that, for R has no direction, and only such can be mistaken for the peer's.
    `asked`: the pair of our last request that was answered; the answer may come once more.  `highest`: snd_nxt
    before the last rebind.  `recent`: the pairs of our requests of the last minute.  `verifying`: the request that was
    answered ambiguously, until it is answered once more."""

    tuple: FourTuple
    ni: int
    na: int
    secret: bytes | Callable[[], bytes]
    initiator: bool = True
    msl: float = MSL
    syn_number: SynNumber = SynNumber.UNA
    state: State = State.ESTABLISHED
    sent_count: int = 0
    confirmed_count: int = 0
    accepted_count: int = 0
    pending: Request | None = None
    accepted: Accepted | None = None
    asked: FourTuple | None = None
    highest: int | None = None
    recent: list[FourTuple] = field(default_factory=list)
    verifying: Request | None = None
    own: list[OwnRequest] = field(default_factory=list)
    rebinding: Rebinding | None = None
    deferred: list[Move | AddressLost] = field(default_factory=list)

    @property
    def k(self) -> bytes:
        """The secret K; computed the first time that it is needed."""
        if not isinstance(self.secret, bytes):
            self.secret = self.secret()
        return self.secret

    @property
    def token(self) -> bytes:
        return keys.token(self.ni, self.na, self.k)

    def request(self, s: int, octet: int, count: int) -> bytes:
        """The proof of a request with that sequence number, octet and full count."""
        return keys.request(self.ni, self.na, self.k, s, octet, count)

    def option(self, s: int, preload: bool, count: int) -> Migrate:
        """The option of our own request of that count."""
        octet = options.octet(preload, count)
        return Migrate(preload, octet & options.REQNO_MASK, self.token, self.request(s, octet, count))

    def to_bytes(self, limit: int = 192) -> bytes:
        """All that changes in a connection's life, in at most `limit` bytes: not the address pair, ISNs and secret.

        A rebind under way is not in it: what a new daemon finds is the state before.  The oldest of our own
        requests are left out where they do not fit."""
        pending, accepted = self.pending, self.accepted
        asked = self.asked if self.asked != self.tuple else None
        flags = (
            (_HAS_PENDING if pending else 0)
            | (_HAS_ACCEPTED if accepted else 0)
            | (_PRELOAD if pending and pending.preload else 0)
            | (_AMBIGUOUS if pending and pending.ambiguous else 0)
            | (_HAS_ASKED if asked else 0)
            | (_HAS_HIGHEST if self.highest is not None else 0)
        )
        raw = _HEADER.pack(
            _VERSION,
            self.state.value,
            flags,
            self.sent_count,
            self.confirmed_count,
            self.accepted_count,
            self.highest or 0,
        )
        if pending:
            raw += _pack_tuple(pending.tuple) + _PENDING.pack(pending.s, min(pending.tries, _TRIES_MAX))
        if accepted:
            numbers = (accepted.s, accepted.octet, accepted.seq, accepted.ack, accepted.window)
            rest = (min(accepted.tries, _TRIES_MAX), accepted.outcome.value)
            raw += _pack_tuple(accepted.tuple) + _ACCEPTED.pack(*numbers, *rest)
        if asked:
            raw += _pack_tuple(asked)
        room = (limit - len(raw) - 1) // _OWN.size
        if room < 0:
            raise ValueError(f"the state of a connection needs {len(raw) + 1} bytes, {limit} have room")
        kept = self.own[max(0, len(self.own) - room) :] if room else []
        return raw + bytes((len(kept),)) + b"".join(_OWN.pack(*one) for one in kept)

    def load(self, raw: bytes) -> None:
        """Takes over what `to_bytes` wrote; trailing bytes do not matter.  All zero or empty: nothing has
        happened yet.

        Raises ValueError where the bytes are no such state; nothing is taken over then."""
        if not any(raw):
            return
        if raw[0] != _VERSION:
            raise ValueError(f"a connection's state of version {raw[0]}; this program reads version {_VERSION}")
        reader = _Reader(raw)
        _, state, flags, sent, confirmed, accepted_count, highest = reader.take(_HEADER)
        pending = accepted = None
        if flags & _HAS_PENDING:
            pair = reader.take_tuple()
            s, tries = reader.take(_PENDING)
            pending = Request(pair, s, bool(flags & _PRELOAD), tries, bool(flags & _AMBIGUOUS))
        if flags & _HAS_ACCEPTED:
            pair = reader.take_tuple()
            s, octet, seq, ack, window, tries, outcome = reader.take(_ACCEPTED)
            accepted = Accepted(pair, s, octet, seq, ack, window, tries, Outcome(outcome))
        asked = reader.take_tuple() if flags & _HAS_ASKED else None
        (count,) = reader.take(_COUNT)
        own = [(number, s) for number, s in (reader.take(_OWN) for _ in range(count))]
        if (State(state) is State.SYN_SENT and not pending) or (State(state) is State.SYN_RCVD and not accepted):
            raise ValueError(f"a connection's state is {State(state).name} without its request")
        self.state, self.pending, self.accepted, self.asked, self.own = State(state), pending, accepted, asked, own
        self.sent_count, self.confirmed_count, self.accepted_count = sent, confirmed, accepted_count
        self.highest = highest if flags & _HAS_HIGHEST else None


def _pack_tuple(pair: FourTuple) -> bytes:
    addresses = pair.local_ip.packed + pair.remote_ip.packed
    return bytes((pair.local_ip.version,)) + addresses + _PORTS.pack(pair.local_port, pair.remote_port)


class _Reader:
    def __init__(self, raw: bytes) -> None:
        self._raw, self._at = raw, 0

    def take(self, form: struct.Struct) -> tuple[int, ...]:
        return form.unpack(self._bytes(form.size))

    def take_tuple(self) -> FourTuple:
        four = self._bytes(1)[0] == 4
        local, remote = (self._address(four) for _ in range(2))
        local_port, remote_port = self.take(_PORTS)
        return FourTuple(local, local_port, remote, remote_port)

    def _address(self, four: bool) -> Address:
        return IPv4Address(self._bytes(4)) if four else IPv6Address(self._bytes(16))

    def _bytes(self, count: int) -> bytes:
        if self._at + count > len(self._raw):
            raise ValueError("a connection's state ends too early")
        self._at += count
        return self._raw[self._at - count : self._at]
