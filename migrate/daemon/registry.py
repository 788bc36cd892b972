"""The connections of this host that Migrate knows: the pinned table, and the machines of those that move.

A connection costs nothing here until it moves; then it gets a `Managed` with the core's machine, whose state is
written back to the table so that a daemon started again goes on from there.
"""

from __future__ import annotations

import asyncio
import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

from migrate.core import Connection, FourTuple, Segment, State, SynNumber, Timer, TokenTable
from migrate.core.keys import token
from migrate.linux.borrow import Holder
from migrate.linux.keyring import Keyring
from migrate.linux.maps import Connections, Negotiated, Switchboard


@dataclass(slots=True, eq=False)
class Managed:
    """One connection that has moved, or is about to."""

    name: str
    negotiated: Negotiated
    machine: Connection
    timers: dict[Timer, asyncio.TimerHandle] = field(default_factory=dict)
    held: dict[FourTuple, list[Segment]] = field(default_factory=dict)
    holder: Holder | None = None  # where a program had its socket when the handshake under way began
    ts_recent: int = 0  # the peer's last TSval, which the socket forgets in a rebind
    failure: str = ""  # why the last rebind failed
    moves: int = 0

    def disarm(self) -> None:
        for timer in self.timers.values():
            timer.cancel()
        self.timers.clear()


def identify(negotiated: Negotiated) -> str:
    """A connection's name for life: of its first sequence numbers, which it does not give away."""
    return hashlib.sha1(struct.pack("!II", negotiated.ni, negotiated.na)).hexdigest()[:8]


class Registry:
    """Finds connections by address pair, by the pair they are about to have, and by token."""

    def __init__(
        self, table: Connections, keyring: Keyring, switchboard: Switchboard, msl: float, syn_number: SynNumber
    ) -> None:
        self._table, self._keyring, self._switchboard = table, keyring, switchboard
        self._msl, self._syn_number = msl, syn_number
        self._managed: dict[FourTuple, Managed] = {}
        self.pending: dict[FourTuple, Managed] = {}
        self._tokens: TokenTable[FourTuple] = TokenTable()
        self._indexed: dict[FourTuple, Negotiated] = {}
        self._indexed_at = -1

    def all(self) -> Iterator[tuple[FourTuple, Negotiated, bytes]]:
        return iter(self._table)

    def managed(self) -> list[Managed]:
        return list(self._managed.values())

    def find(self, tuple_: FourTuple) -> Managed | None:
        """The connection whose socket has this address pair now."""
        known = self._managed.get(tuple_)
        entry = self._table.get(tuple_)
        if entry is None:
            # Its socket is gone, unless it is between two address pairs.
            return known
        negotiated, state = entry
        if known is not None:
            if known.negotiated == negotiated:
                return known
            self.forget(known)  # another connection has the same address pair now
        machine = Connection(
            tuple_,
            negotiated.ni,
            negotiated.na,
            lambda: self._keyring.secret(negotiated),
            initiator=negotiated.initiator,
            msl=self._msl,
            syn_number=self._syn_number,
        )
        machine.load(state)
        managed = Managed(identify(negotiated), negotiated, machine)
        self._managed[tuple_] = managed
        return managed

    def by_token(self, token: bytes) -> list[Managed]:
        """The connections of that token: one, none, or two where both ends are on this host."""
        found = [managed for pair in self._tokens.lookup(token) if (managed := self._present(pair))]
        if not found and self._index():
            found = [managed for pair in self._tokens.lookup(token) if (managed := self._present(pair))]
        return found

    def _present(self, pair: FourTuple) -> Managed | None:
        return self.find(pair) if self._table.get(pair) else None

    def _index(self) -> bool:
        """Gives connections without a token one; false where none was added since the last time."""
        established, _ = self._switchboard.counters()
        if established == self._indexed_at:
            return False
        self._indexed_at = established
        present = {pair: negotiated for pair, negotiated, _ in self._table}
        for pair in self._indexed.keys() - present.keys():
            self._tokens.remove(pair)
            del self._indexed[pair]
        for pair, negotiated in present.items():
            if self._indexed.get(pair) != negotiated:
                self._indexed[pair] = negotiated
                self._tokens.add(pair, partial(self._token, negotiated))
        return True

    def _token(self, negotiated: Negotiated) -> bytes:
        return token(negotiated.ni, negotiated.na, self._keyring.secret(negotiated))

    def __contains__(self, tuple_: FourTuple) -> bool:
        """Has this connection moved, or is it about to?"""
        return tuple_ in self._managed

    def rebound(self, managed: Managed, old: FourTuple, new: FourTuple) -> None:
        """The socket has a new address pair."""
        self._managed.pop(old, None)
        self._managed[new] = managed
        managed.moves += 1
        self._tokens.remove(old)
        self._indexed.pop(old, None)
        self._indexed[new] = managed.negotiated
        self._tokens.add(new, partial(self._token, managed.negotiated))

    def persist(self, managed: Managed) -> None:
        """Writes the machine's state to the table."""
        self._table.put_state(managed.machine.tuple, managed.negotiated, managed.machine.to_bytes())

    def forget(self, managed: Managed) -> None:
        managed.disarm()
        for table in (self._managed, self.pending):
            for tuple_ in [tuple_ for tuple_, other in table.items() if other is managed]:
                del table[tuple_]

    def closed(self, managed: Managed) -> bool:
        return self._table.get(managed.machine.tuple) is None or managed.machine.state is State.CLOSED
