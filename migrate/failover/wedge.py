"""The wedge of one replica: clients in front, the replica's own server behind, the support group beside it."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Coroutine
from statistics import median
from typing import Any

from migrate.daemon.events import EventLog
from migrate.failover import choice, takeover
from migrate.failover.complaints import Complaints
from migrate.failover.group import Group
from migrate.failover.ledger import Ledger
from migrate.failover.mapping import Mapper
from migrate.failover.messages import Dead, Gone, Hello, Message, Offer, Over, Told
from migrate.failover.room import Rooms
from migrate.failover.seal import Opened
from migrate.failover.session import Session
from migrate.failover.settings import Settings
from migrate.failover.sockets import listen
from migrate.failover.state import StateError
from migrate.failover.subject import Subject
from migrate.failover.taking import Taker

DRAIN_SECONDS = 5.0
PLAIN_SECONDS = 3600.0
"""That the clients of a host cannot be taken over is said so often: a health monitor is one, and comes every second."""


class Wedge:
    """One process, all clients of one replica."""

    def __init__(self, settings: Settings, group: Group, mappers: list[Mapper], log: EventLog) -> None:
        self.settings, self._group, self._log = settings, group, log
        self._mapper = mappers[0]
        self._mappers = {mapper.number: mapper for mapper in mappers}
        self._ledger = Ledger()
        self._sessions: set[Subject] = set()
        self._by_token: dict[bytes, Subject] = {}
        self._leaving: dict[bytes, Subject] = {}
        """Those that have become another member's, while they end."""
        self._taker = Taker(self, self._ledger, self._mappers)
        self._lag = 0.0
        self._declined = False
        self.untold_ms: deque[float] = deque(maxlen=1000)
        """Of the last connections: from accept to the first word of it to the group.  One whose server dies in between
        is lost, as it would be without a group."""
        self._plain = Complaints(PLAIN_SECONDS)
        self._rooms = Rooms()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Serves until SIGTERM or SIGINT; then the group is offered what is under way."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        listener = listen(self.settings.port)
        self._group.start(self._heard)
        accepting = self.spawn(self._accept(listener))
        for work in (self._refresh(), self._follow()):
            self.spawn(work)
        print("ready", flush=True)
        await self._stopping.wait()
        # Not the other way round: the event loop would take the next socket with its number for the listener.
        accepting.cancel()
        await asyncio.wait((accepting,))
        listener.close()
        await self._drain()
        self._group.close()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            print(f"wedge: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            sys.excepthook(type(error), error, error.__traceback__)

    # -- clients -------------------------------------------------------------------------------------------------

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, _ = await loop.sock_accept(listener)
                session = Session(self, sock, self._mapper, self.settings.backend)
            except OSError as error:
                if error.errno in (23, 24):  # ENFILE, EMFILE: others must end first
                    await asyncio.sleep(0.05)
                continue
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sessions.add(session)
            self.spawn(self._serve(session, session.serve()))

    def take_in(self, session: Session) -> None:
        """A session that goes on where another member was."""
        state = session.state()
        assert state is not None
        self._sessions.add(session)
        self._by_token[state.token] = session
        self.spawn(self._serve(session, session.resume()))

    async def _serve(self, session: Session, work: Coroutine[Any, Any, None]) -> None:
        self._greet(changed=True)
        try:
            await work
        finally:
            self._sessions.discard(session)
            session.ended.set()
            self._greet(changed=True)
            if session.secrets is not None:
                for sessions in (self._by_token, self._leaving):
                    for token in [token for token, other in sessions.items() if other is session]:
                        del sessions[token]

    def make_room(self, backend: socket.socket) -> None:
        """For a large answer."""
        self._rooms.make(backend, self.spawn)

    def know(self, session: Subject) -> None:
        """The session's connection has a name now."""
        state = session.state()
        if state is not None:
            self._by_token[state.token] = session

    # -- what the group is told ------------------------------------------------------------------------------------

    def tell(self, session: Subject) -> None:
        """The session's soft state, as it is now."""
        state = session.state()
        if state is None:
            return
        try:
            self._group.say(Told(state))
        except StateError as error:
            self.note(f"cannot be taken over by others: {error}", session)

    def over(self, session: Subject) -> None:
        state = session.state()
        if state is not None:
            self._ledger.own_over(state.token, state.secrets.sent, time.monotonic())
            self.say(Over(state.token, state.secrets.sent))

    def say(self, message: Message) -> None:
        self._group.say(message)

    def offer(self, session: Subject) -> bool:
        """Asks the others to go on with it; whether there is anybody."""
        state, now = session.state(), time.monotonic()
        if state is None or not any(now - peer.heard < choice.SILENT_SECONDS for peer in self._ledger.peers.values()):
            return False
        self.tell(session)
        self._group.say(Offer(state.token, state.secrets.sent))
        return True

    def _greet(self, changed: bool = False) -> None:
        """How busy this member is; with `changed`, only if it declines and did not, or the other way round: whose turn
        it would be, the others wait for."""
        declines = self.busy or self.ending
        if not changed or declines != self._declined:
            self._declined = declines
            self._group.say(Hello(self.connections, declines))

    async def _refresh(self) -> None:
        """Soft state is told again and again; it is not answered, and a datagram may be lost."""
        while True:
            self._greet()
            sessions = list(self._by_token.values())
            slice_ = max(1, len(sessions) // 20)
            for at in range(0, len(sessions), slice_):
                for session in sessions[at : at + slice_]:
                    if session in self._sessions:
                        self.tell(session)
                await self._pause(1)
            await self._pause(max(1, 20 - -(-len(sessions) // slice_)))
            self._ledger.expire(time.monotonic())
            self._taker.forget()

    async def _pause(self, parts: int) -> None:
        """So many twentieths of the time between two refreshes; how late it ends tells how busy this process is."""
        wanted, began = self.settings.refresh / 20 * parts, time.monotonic()
        await asyncio.sleep(wanted)
        self._lag += (time.monotonic() - began - wanted - self._lag) / 4

    @property
    def connections(self) -> int:
        return len(self._sessions)

    @property
    def busy(self) -> bool:
        """It takes over only what no other does."""
        settings = self.settings
        return choice.declines(self.connections, settings.most, self._lag, settings.most_lag)

    @property
    def ending(self) -> bool:
        """It takes nothing over any more."""
        return self._stopping.is_set()

    # -- what the group says -----------------------------------------------------------------------------------------

    def _heard(self, opened: Opened, message: Message) -> None:
        now = time.monotonic()
        match message:
            case Told(state):
                self._ledger.heard_of(opened.sender, opened.boot, now)
                if not self._supersede(state.token, state.secrets.sent, opened.sender):
                    return  # the last owner, who has not heard yet
                if (ended := self._ledger.has_ended(state)) is not None:
                    self.say(Over(state.token, ended))  # likewise, and meanwhile it has ended here
                    return
                known = self._ledger.entries.get(state.token)
                if self._ledger.told(opened.sender, opened.boot, state, now):
                    if known is None or known.state.client != state.client:
                        cause, client = f"{opened.sender} has it", state.client[0]
                        self.event(None, "heard", cause, name=state.secrets.name, client=client)
                    self._taker.heard(self._ledger.entries[state.token])
            case Over(token, sent):
                self._supersede(token, sent, opened.sender)
                self._ledger.over(opened.sender, token, sent)
            case Hello(connections, declines):
                peer = self._ledger.heard_of(opened.sender, opened.boot, now)
                for entry in self._ledger.orphans(opened.sender):
                    self._taker.begin(entry, f"{opened.sender} has started anew")
                peer.connections, peer.declines = connections, declines
            case Gone(token, sent):
                self._taker.gone(token, sent, opened.sender)
            case Dead(server):
                self._taker.pronounced(server, opened.sender)
            case Offer(token, sent):
                if (offered := self._ledger.offered(opened.sender, token, sent)) is not None:
                    self._taker.begin(offered, f"{opened.sender} offers it", insists=True)

    def _supersede(self, token: bytes, sent: int, by: str) -> bool:
        """Another member speaks of a connection, with that count: ours ends in silence if it is that member's now.
        False where it is still ours."""
        ours = self._by_token.get(token)
        if ours is None or ours.secrets is None:
            return True
        if sent <= ours.secrets.sent:
            return False
        self.event(ours, "taken-by-another", by)
        ours.superseded.set()
        self._leaving[token] = self._by_token.pop(token)
        return True

    async def left(self, token: bytes) -> None:
        """Until this member's own socket of a connection that has become another's is closed: a host has one."""
        if (session := self._leaving.get(token)) is not None:
            await session.ended.wait()

    def pronounce(self, server: str, tell: bool = True) -> int:
        """A person says that a server is dead: the group is told (if `tell`), and this member acts; how many
        connections that server has."""
        if tell:
            self._group.say(Dead(server))
        return self._taker.pronounced(server, "a person", alone=not tell, insists=True)

    def take(self, name: str) -> bool:
        """A person wants one connection here, whoever has it; whether it is known."""
        entries = [entry for entry in self._ledger.entries.values() if entry.state.secrets.name == name]
        for entry in entries:
            self._taker.begin(entry, "a person wants it here", alone=True, insists=True)
        return bool(entries)

    # -- migrated's events, the log, the end ---------------------------------------------------------------------

    async def _follow(self) -> None:
        """Clients move: what others would need is then another."""
        async for name in takeover.moves():
            for session in list(self._by_token.values()):
                if name in ("", session.name):
                    self.spawn(session.renew())

    def event(self, session: Subject | None, event: str, cause: str, *, name: str = "", **more: Any) -> None:
        """A line of the events file."""
        self._log.write(session.name if session else name, self.settings.name, event, cause, **more)

    def note(self, sentence: str, session: Subject | None = None) -> None:
        """A line of the log."""
        about = f"{session.client[0]} port {session.client[1]} " if session else ""
        print(f"wedge {self.settings.name}: {about}{sentence}", file=sys.stderr, flush=True)
        self.event(session, "note", sentence)

    def plain(self, session: Subject, why: str) -> None:
        """A client of plain TCP is served like any other, and its host named once."""
        if self._plain.due(f"{session.client[0]} {why}"):
            self.note(f"cannot be taken over by others, nor can others from there: {why}", session)

    async def _drain(self) -> None:
        """The others are asked to go on with the clients that there are, and with those that are just coming over: they
        have been asked already, and may be here in a moment."""
        self._greet(changed=True)
        offered: dict[Subject, bool] = {}
        end = time.monotonic() + DRAIN_SECONDS
        while time.monotonic() < end:
            for session in list(self._by_token.values()):
                if session not in offered:
                    offered[session] = self.offer(session)
            if not self._taker.asking and not any(offered[one] for one in self._sessions & offered.keys()):
                break
            await asyncio.sleep(0.02)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def describe(self) -> dict[str, Any]:
        """What `status` shows."""
        return {
            "name": self.settings.name,
            "connections": len(self._sessions),
            "known of others": len(self._ledger.entries),
            "bytes of their requests": sum(len(entry.state.asked) for entry in self._ledger.entries.values()),
            "their answers": sum(entry.state.answer is not None for entry in self._ledger.entries.values()),
            "members": {
                peer.name: {"connections": peer.connections, "declines": peer.declines}
                for peer in self._ledger.peers.values()
            },
            "untold_ms": {"median": median(self.untold_ms), "max": max(self.untold_ms)} if self.untold_ms else {},
            "group": dict(self._group.counters),
        }
