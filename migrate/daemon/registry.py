"""The connections of this host that Migrate knows: the pinned table, and the machines of those that move.

A connection costs nothing here until it moves; then it gets a `Managed` with the core's machine, whose state is
written back to the table so that a daemon started again goes on from there.
"""

from __future__ import annotations

import asyncio
import hashlib
import struct
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from migrate.core import Connection, FourTuple, Segment, State, SynNumber, Timer, TokenTable
from migrate.core.keys import token
from migrate.linux.borrow import Holder
from migrate.linux.keyring import Keyring
from migrate.linux.maps import Address, Connections, Negotiated, Proofs, Switchboard

if TYPE_CHECKING:
    from migrate.daemon.adoption import Newcomer

INDEX_SHARE = 0.1
"""Of a processor's time, at most, goes into looking for new connections when requests with unknown tokens come."""


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
    refused: set[Address] = field(default_factory=set)  # from where the peer was asked in vain
    moves: int = 0
    newcomer: Newcomer | None = None  # this host takes the connection over, and has no socket of it yet

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
        self,
        table: Connections,
        keyring: Keyring,
        switchboard: Switchboard,
        proofs: Proofs,
        msl: float,
        syn_number: SynNumber,
    ) -> None:
        self._table, self._keyring, self._switchboard, self._proofs = table, keyring, switchboard, proofs
        self._msl, self._syn_number = msl, syn_number
        self._proved: dict[FourTuple, tuple[bytes, int]] = {}  # token, and the count of the last request accepted
        self._managed: dict[FourTuple, Managed] = {}
        self.pending: dict[FourTuple, Managed] = {}
        self._tokens: TokenTable[FourTuple] = TokenTable()
        self._indexed: dict[FourTuple, Negotiated] = {}
        self._indexed_at = -1
        self._index_again = 0.0

    def all(self) -> Iterator[tuple[FourTuple, Negotiated, bytes]]:
        return iter(self._table)

    def at_hand(self) -> Iterator[tuple[FourTuple, Negotiated, bytes]]:
        """Those that can be told at once: all but a few that have made room for others."""
        return self._table.at_hand()

    def managed(self) -> list[Managed]:
        return list(self._managed.values())

    def find(self, tuple_: FourTuple) -> Managed | None:
        """The connection whose socket has this address pair now."""
        entry = self._table.get(tuple_)
        # Without one, its socket is gone, unless it is between two address pairs.
        return self.found(tuple_, *entry) if entry else self._managed.get(tuple_)

    def found(self, tuple_: FourTuple, negotiated: Negotiated, state: bytes) -> Managed:
        """The connection of which the table has just said so much."""
        known = self._managed.get(tuple_)
        if known is not None:
            if known.negotiated == negotiated:
                return known
            self.forget(known)  # another connection has the same address pair now
        managed = self._made(tuple_, negotiated)
        managed.machine.load(state)
        self._managed[tuple_] = managed
        return managed

    def _made(self, pair: FourTuple, negotiated: Negotiated) -> Managed:
        machine = Connection(
            pair,
            negotiated.ni,
            negotiated.na,
            lambda: self._keyring.secret(negotiated),
            initiator=negotiated.initiator,
            msl=self._msl,
            syn_number=self._syn_number,
        )
        return Managed(identify(negotiated), negotiated, machine)

    def newcomer(self, pair: FourTuple, negotiated: Negotiated, sent: int, accepted: int) -> Managed:
        """A connection that this host is about to take over, after so many requests of either side.  It is in no table
        until `enter` and `rebound`."""
        managed = self._made(pair, negotiated)
        machine = managed.machine
        machine.state = State.SUSPENDED  # no word of it may leave but the request
        machine.sent_count = machine.confirmed_count = sent
        machine.accepted_count = accepted
        return managed

    def enter(self, pair: FourTuple, negotiated: Negotiated, state: bytes) -> None:
        """The table has the connection from now on."""
        self._table.put(pair, negotiated, state)

    def withdraw(self, pair: FourTuple) -> None:
        self._table.remove(pair)

    def entry(self, pair: FourTuple) -> tuple[Negotiated, bytes] | None:
        """What the table has of it: negotiated facts, and state, empty where it has never moved."""
        return self._table.get(pair)

    def by_token(self, token: bytes) -> list[Managed] | None:
        """The connections of that token: one, none, or two where both ends are on this host.  None where it may be that
        of a new connection, which will be known in a moment."""
        found = self._named(token)
        if found or self._switchboard.counters()[0] == self._indexed_at:
            return found
        began, spent = time.monotonic(), time.thread_time()
        if began < self._index_again:
            return None
        self._index()
        found = self._named(token)
        # Of the processor's time: one that was interrupted for a second need not be deaf to new ones for ten.
        self._index_again = began + (time.thread_time() - spent) / INDEX_SHARE
        return found

    def without_secret(self) -> list[tuple[Managed, str]]:
        """Connections that `by_token` has found to have none, each once, and why: nobody can move them."""
        broken, self._tokens.broken = self._tokens.broken, {}
        return [(managed, why) for pair, why in broken.items() if (managed := self.find(pair))]

    def _named(self, token: bytes) -> list[Managed]:
        """Those of that token that are still there.  The others would hide one that has come back to this host."""
        found = []
        for pair in self._tokens.lookup(token):
            entry = self._table.get(pair)
            if entry:
                found.append(self.found(pair, *entry))
            else:
                self._forget_token(pair)
        return found

    def _forget_token(self, pair: FourTuple) -> None:
        self._tokens.remove(pair)
        self._indexed.pop(pair, None)
        if pair in self._proved:
            self._proofs.remove(self._proved.pop(pair)[0])

    def _index(self) -> None:
        """Gives connections without a token one."""
        self._indexed_at, _ = self._switchboard.counters()
        present = {pair: negotiated for pair, negotiated, _ in self._table}
        self._drop(self._indexed.keys() - present.keys())
        for pair, negotiated in present.items():
            if self._indexed.get(pair) != negotiated:
                self._indexed[pair] = negotiated
                self._tokens.add(pair, partial(self._token, pair, negotiated))

    def _drop(self, pairs: Iterable[FourTuple]) -> None:
        for pair in pairs:
            self._forget_token(pair)

    def tidy(self) -> None:
        """Lets go of the tokens of connections that are no more."""
        self._drop([pair for pair in self._indexed if self._table.get(pair) is None])

    def spoken_of(self) -> set[FourTuple]:
        """Every pair that a connection has, or that one is about to have."""
        return {pair for pair, _, _ in self._table} | self._managed.keys() | self.pending.keys()

    def _token(self, pair: FourTuple, negotiated: Negotiated) -> bytes:
        """Computes it, and from then on the eBPF side knows true requests when it sees them."""
        name = token(negotiated.ni, negotiated.na, self._keyring.secret(negotiated))
        entry = self._table.get(pair)
        # One that has never moved needs no machine to know that it has accepted nothing.
        managed = self.find(pair) if pair in self._managed or (entry and any(entry[1])) else None
        self._prove(pair, negotiated, name, managed.machine.accepted_count if managed else 0)
        return name

    def _prove(self, pair: FourTuple, negotiated: Negotiated, name: bytes, accepted: int) -> None:
        self._proofs.put(name, accepted, negotiated.ni, negotiated.na, self._keyring.secret(negotiated))
        self._proved[pair] = (name, accepted)

    def __contains__(self, tuple_: FourTuple) -> bool:
        """Has this connection moved, or is it about to?"""
        return tuple_ in self._managed

    def rebound(self, managed: Managed, old: FourTuple, new: FourTuple) -> None:
        """The socket has a new address pair."""
        self._managed.pop(old, None)
        self._managed[new] = managed
        managed.moves += 1
        managed.failure = ""
        self._tokens.remove(old)
        self._indexed.pop(old, None)
        self._indexed[new] = managed.negotiated
        if old in self._proved:
            self._proved[new] = self._proved.pop(old)
        self._tokens.add(new, partial(self._token, new, managed.negotiated))

    def persist(self, managed: Managed) -> None:
        """Writes the machine's state to the table."""
        machine = managed.machine
        self._table.put_state(machine.tuple, managed.negotiated, machine.to_bytes())
        name, accepted = self._proved.get(machine.tuple, (b"", 0))
        if name and accepted != machine.accepted_count:
            self._prove(machine.tuple, managed.negotiated, name, machine.accepted_count)

    def forget(self, managed: Managed) -> None:
        managed.disarm()
        for table in (self._managed, self.pending):
            for tuple_ in [tuple_ for tuple_, other in table.items() if other is managed]:
                del table[tuple_]

    def closed(self, managed: Managed) -> bool:
        return self._table.get(managed.machine.tuple) is None or managed.machine.state is State.CLOSED
