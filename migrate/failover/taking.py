"""Taking over: which connections of others this member goes on with, and how."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from migrate.core import Peer, rules
from migrate.failover import choice, takeover
from migrate.failover.backend import BackendGone, probe
from migrate.failover.complaints import Complaints
from migrate.failover.ledger import Entry, Ledger
from migrate.failover.mapping import Differs, Mapper, NotMappable
from migrate.failover.messages import Gone
from migrate.failover.session import Session
from migrate.failover.standing import Lost, accounts_for
from migrate.failover.state import SoftState

if TYPE_CHECKING:
    from migrate.failover.wedge import Wedge

AT_ONCE = 64
"""So many take-overs are under way at a time."""
ATTEMPTS = 3
"""With so many request numbers, one after the other, where the client says nothing and no member is known to have won:
a number may have been used up by one that has died since.  The first is given up after a second, so that this costs no
more than that; the later ones wait for clients that are farther away."""
SILENT_SECONDS = 10.0
"""A client that has not answered any of them is left alone for so long, however often the monitor calls its server
dead: its host may be away, and asking more does not bring it back.  Unless it has got another server meanwhile."""
LATE_SECONDS = 0.1
"""A member's word of an answer is so long on its way, at most, behind the answer's first byte."""
PROBED_SECONDS = 1.0
"""What the own backend said of an object holds so long: a thousand clients of one object are one question."""


@dataclass(frozen=True, slots=True)
class _Taking:
    """A take-over under way."""

    task: asyncio.Task[None]
    owner: str


class Taker:
    """Decides alone, from the ledger; the client decides who wins."""

    def __init__(self, wedge: Wedge, ledger: Ledger, mappers: dict[int, Mapper]) -> None:
        self._wedge, self._ledger, self._mappers = wedge, ledger, mappers
        self._under_way: dict[bytes, _Taking] = {}
        self._refused: dict[bytes, tuple[int, int]] = {}  # by token: the state that this replica cannot go on from
        self._asked: dict[bytes, int] = {}  # by token: the largest number that this replica has asked with
        self._silent: dict[bytes, tuple[int, float]] = {}
        """By token: how many requests its owner had told of when a client was last asked in vain, and when that was."""
        self._troubles = Complaints(SILENT_SECONDS)
        self._probed: dict[tuple[bytes, bytes, int], tuple[float, str]] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)
        self.asking = 0
        """Clients that are being asked, or about to be, or have answered and are not yet this member's."""

    def pronounced(self, server: str, by: str, alone: bool = False, insists: bool = False) -> int:
        """A server is said to be dead (`alone`: to this member only; `insists`: it is no mere repetition); how many
        connections of it are known here."""
        entries = self._ledger.owned_by(server) if server != self._wedge.settings.name else []
        self._ledger.silent(server)
        for entry in entries:
            self.begin(entry, f"{by} pronounces {server} dead", alone, insists)
        return len(entries)

    def begin(self, entry: Entry, why: str, alone: bool = False, insists: bool = False) -> None:
        """Takes a connection over when it is this member's turn, unless it declines.  `insists`: even if its client has
        just been silent."""
        token, name, now = entry.state.token, entry.state.secrets.name, time.monotonic()
        if insists:
            self._silent.pop(token, None)
        if token in self._under_way or self._refused.get(token) == entry.state.order:
            return
        sent, asked_at = self._silent.get(token, (0, float("-inf")))
        if sent == entry.state.secrets.sent and now - asked_at < SILENT_SECONDS:
            return
        if self._wedge.ending:
            self._wedge.event(None, "declined", f"{why}; about to end", name=name)
            return
        settings, peers = self._wedge.settings, [] if alone else list(self._ledger.peers.values())
        if self._wedge.busy:
            pause = choice.last_wait(
                token, settings.name, self._wedge.connections, peers, entry.owner, now, settings.step
            )
            self._wedge.event(
                None, "declined", f"{why}; too busy, my turn in {pause:g} s if nobody else takes it", name=name
            )
        else:
            pause = choice.wait(token, settings.name, peers, entry.owner, now, settings.step)
            self._wedge.event(None, "pronounced", f"{why}; my turn in {pause:g} s", name=name)
        task = self._wedge.spawn(self._take(entry, pause))
        self._under_way[token] = _Taking(task, entry.owner)
        task.add_done_callback(lambda _: self._under_way.pop(token, None))

    def heard(self, entry: Entry) -> None:
        """A connection has a new state: if another member has it now, this one gives up."""
        taking = self._under_way.get(entry.state.token)
        if taking is not None and taking.owner != entry.owner:
            self._wedge.event(None, "lost", f"{entry.owner} has it", name=entry.state.secrets.name)
            taking.task.cancel()

    def gone(self, token: bytes, sent: int, by: str) -> None:
        """The client's host has told another member that it has no such connection."""
        known = self._ledger.entries.get(token)
        if known is not None and self._ledger.gone(token, sent):
            taking = self._under_way.get(token)
            if taking is not None:
                self._wedge.event(None, "lost", f"{by} was refused: its client is gone", name=known.state.secrets.name)
                taking.task.cancel()

    def forget(self) -> None:
        """What was asked of connections that nobody tells of any more."""
        for memory in (self._refused, self._asked, self._silent):
            for token in [token for token in memory if token not in self._ledger.entries]:
                del memory[token]

    async def _take(self, entry: Entry, pause: float) -> None:
        await asyncio.sleep(pause)
        self.asking += 1
        try:
            await self._take_now(entry)
        finally:
            self.asking -= 1

    async def _take_now(self, entry: Entry) -> None:
        async with self._slots:
            known = self._ledger.entries.get(entry.state.token)
            if known is None or known.owner != entry.owner or self._wedge.ending:
                return  # it is over, or another's
            state, name = known.state, known.state.secrets.name
            try:
                await self._check(state)
            except (Differs, NotMappable, BackendGone) as error:
                self._refused[state.token] = state.order
                self._wedge.event(None, "refused", str(error), name=name)
                self._wedge.note(f"does not take over a client of {entry.owner}: {error}")
                return
            await self._wedge.left(state.token)
            taken = await self._ask(entry.owner, state)
        if taken is not None:
            self._go_on(entry.owner, await self._latest(entry.owner, state, taken), taken)

    async def _ask(self, owner: str, state: SoftState) -> takeover.Taken | None:
        """Asks the client; None where this member does not get it."""
        token, sent = state.token, state.secrets.sent
        client = Peer(ipaddress.ip_address(state.client[0]), state.client[1])
        for attempt in range(ATTEMPTS):
            try:
                secrets = replace(state.secrets, sent=self._number(token, sent) - 1)
                return await takeover.take_over(
                    secrets, client, state.options, tries=self._wedge.settings.tries + attempt
                )
            except takeover.Refused as error:
                self._wedge.event(None, "not-taken", error.reason, name=state.secrets.name)
                if error.gone:
                    # Its host lives, and has answered by RST: there is nothing to be had for anybody.
                    self._ledger.drop(token)
                    self._wedge.say(Gone(token, sent))
                    return None
                if not error.unanswered:  # this host's own trouble, which others need not have
                    if self._troubles.due(error.reason):
                        self._wedge.note(f"cannot take over a client of {owner}: {error}")
                    return None
        self._silent[token] = sent, time.monotonic()
        return None

    def _number(self, token: bytes, sent: int) -> int:
        """The full count of the next request: larger than what the owner has told, and than any of our own, which may
        have been accepted without our hearing so."""
        self._asked[token] = rules.next_count(max(sent, self._asked.get(token, 0)), sent)
        return self._asked[token]

    async def _latest(self, owner: str, state: SoftState, taken: takeover.Taken) -> SoftState:
        """What the last owner has told since it was called dead: if that was wrong it has gone on until its client left
        it.  Of an answer it speaks before it sends a byte, but that word may come later than the client's."""
        end = time.monotonic() + LATE_SECONDS
        try:
            while True:
                known = self._ledger.entries.get(state.token)
                if known is not None and known.owner == owner:
                    state = known.state
                if accounts_for(state, taken.position) or time.monotonic() >= end:
                    return state
                await asyncio.sleep(LATE_SECONDS / 50)
        except asyncio.CancelledError:
            takeover.drop(taken.sock)  # it is another member's
            raise

    def _go_on(self, owner: str, state: SoftState, taken: takeover.Taken) -> None:
        wedge, name = self._wedge, state.secrets.name
        self._ledger.drop(state.token)
        taken.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wedge.event(None, "taken-over", f"from {owner}", name=name, position=taken.position)
        try:
            mapper = self._mappers[state.mapper]
            session = Session.resumed(wedge, taken, state, mapper, wedge.settings.backend)
        except (Lost, OSError) as error:
            wedge.event(None, "reset", str(error), name=name)
            wedge.note(f"resets a client of {owner}: {error}")
            taken.sock.close()
            return
        wedge.take_in(session)

    async def _check(self, state: SoftState) -> None:
        """Whether this replica would go on with the same bytes.  Raises `Differs`, `NotMappable`, `BackendGone`."""
        mapper = self._mappers.get(state.mapper)
        if mapper is None:
            raise NotMappable(f"no stream mapper {state.mapper} here")
        known = state.answer
        if known is not None and known.reason:
            raise Differs(known.reason)
        length = mapper.request(state.asked)
        if length is None:
            if known is not None:
                raise Differs("its request is not known here")
            return  # it is still asking
        plan = mapper.probe(state.asked[:length], known)
        key = (plan.ask, known.validator + known.head_digest if known else b"", known.total if known else 0)
        at, outcome = self._probed.get(key, (float("-inf"), ""))
        if time.monotonic() - at > PROBED_SECONDS:
            try:
                await probe(self._wedge.settings.backend, plan)
                outcome = ""
            except Differs as error:
                outcome = str(error)
            if len(self._probed) > 1000:
                self._probed.clear()
            self._probed[key] = (time.monotonic(), outcome)
        if outcome:
            raise Differs(outcome)
