"""The door for Migrate SYNs of all connections of a host: which one a token names, and how often to say no.

A forged SYN is to cost a look-up and no more, and is not to make this host a loudspeaker.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from ipaddress import IPv6Address
from itertools import islice
from typing import Generic, TypeVar

from migrate.core import options
from migrate.core.actions import SendRst
from migrate.core.answering import refusal
from migrate.core.keys import BadKey
from migrate.core.options import MIGRATE_KIND, Migrate, OptionError
from migrate.core.segment import ACK, FIN, RST, SYN, Address, Segment

Id = TypeVar("Id", bound=Hashable)


def migrate_option(segment: Segment) -> Migrate | None:
    """The Migrate option of a Migrate SYN, or None for any other segment.  Raises OptionError if it is malformed."""
    if segment.flags & (SYN | ACK | RST | FIN) != SYN:
        return None
    data = options.find(segment.options, MIGRATE_KIND)
    return None if data is None else Migrate.decode(data)


class TokenTable(Generic[Id]):
    """Tokens of all connections.  Each is computed once: when there is time (`warm`), or when a look-up needs it."""

    def __init__(self) -> None:
        self._waiting: dict[Id, Callable[[], bytes]] = {}
        self._ids: dict[bytes, list[Id]] = {}
        self._tokens: dict[Id, bytes] = {}
        self.broken: dict[Id, str] = {}  # connections without a token, and why: nobody can move them

    def add(self, connection: Id, token: Callable[[], bytes]) -> None:
        """`token` may raise BadKey."""
        self.remove(connection)
        self._waiting[connection] = token

    def remove(self, connection: Id) -> None:
        """Forgets a connection; one that is not there is no mistake."""
        self._waiting.pop(connection, None)
        self.broken.pop(connection, None)
        token = self._tokens.pop(connection, None)
        if token is not None:
            self._ids[token].remove(connection)
            if not self._ids[token]:
                del self._ids[token]

    def warm(self, limit: int) -> int:
        """Computes up to `limit` tokens; how many are left to compute."""
        for connection in list(islice(self._waiting, limit)):
            self._compute(connection)
        return len(self._waiting)

    def lookup(self, token: bytes, near: Iterable[Id] = ()) -> tuple[Id, ...]:
        """The connections with that token: one, or none; two where both ends are on this host (T has no direction).

        `near`: connections that the segment's addresses or ports suggest, to be tried before all the others."""
        for connection in near:
            self._compute(connection)
        if token not in self._ids:
            self.warm(len(self._waiting))
        return tuple(self._ids.get(token, ()))

    def _compute(self, connection: Id) -> None:
        compute = self._waiting.pop(connection, None)
        if compute is None:
            return
        try:
            token = compute()
        except BadKey as error:
            self.broken[connection] = str(error)
            return
        self._tokens[connection] = token
        self._ids.setdefault(token, []).append(connection)


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled: float


class RstLimiter:
    """How many RSTs may answer Migrate SYNs: `rate` a second to one source (an IPv6 source is its /64), after `burst`
    at once, and `total` a second to all sources together, since sources can be forged.  Times are in seconds."""

    def __init__(self, rate: float = 5, burst: float = 10, total: float = 500, sources: int = 4096) -> None:
        self._rate, self._burst, self._total, self._sources = rate, burst, total, sources
        self._buckets: OrderedDict[int, _Bucket] = OrderedDict()
        self._all = _Bucket(total, 0.0)

    def allow(self, source: Address, now: float) -> bool:
        """May one more go to that source?  `now` is of a clock that does not run backwards."""
        key = int(source) >> 64 | 1 << 64 if isinstance(source, IPv6Address) else int(source)
        bucket = self._buckets.pop(key, None) or _Bucket(self._burst, now)
        self._buckets[key] = bucket
        if len(self._buckets) > self._sources:
            self._buckets.popitem(last=False)
        for one, rate, most in ((bucket, self._rate, self._burst), (self._all, self._total, self._total)):
            one.tokens = min(most, one.tokens + (now - one.filled) * rate)
            one.filled = now
        if bucket.tokens < 1 or self._all.tokens < 1:
            return False
        bucket.tokens -= 1
        self._all.tokens -= 1
        return True


@dataclass(frozen=True, slots=True)
class Admitted(Generic[Id]):
    """A Migrate SYN whose token is known: hand it to these connections as `MigrateSyn`."""

    connections: tuple[Id, ...]
    option: Migrate


class Admission(Generic[Id]):
    """The first of the checks on a Migrate SYN; the others are the connection's own.

    The edge asks `rst_limiter.allow` before every `SendRst`, the connections' too."""

    def __init__(self, tokens: TokenTable[Id], rst_limiter: RstLimiter) -> None:
        self.tokens, self.rst_limiter = tokens, rst_limiter

    def judge(self, segment: Segment, now: float, near: Iterable[Id] = ()) -> Admitted[Id] | SendRst | None:
        """Who is to look at it; or the RST that refuses it; or nothing, where it is malformed or too many came."""
        try:
            option = migrate_option(segment)
        except OptionError:
            return None
        if option is None:
            return None
        connections = self.tokens.lookup(option.token, near)
        if connections:
            return Admitted(connections, option)
        return refusal(segment) if self.rst_limiter.allow(segment.src, now) else None
