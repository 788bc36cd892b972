"""The wedge of one replica: clients in front, the replica's own server behind, the support group beside it."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import signal
import socket
import sys
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from migrate.core import Peer
from migrate.daemon.control import SOCKET_NAME
from migrate.daemon.events import EventLog
from migrate.failover import choice, takeover
from migrate.failover.backend import Backend, BackendGone, probe
from migrate.failover.group import Group
from migrate.failover.ledger import Entry, Ledger
from migrate.failover.mapping import Differs, Mapper, NotMappable
from migrate.failover.messages import Dead, Hello, Message, Offer, Over, Told
from migrate.failover.seal import Opened
from migrate.failover.session import Session, mind
from migrate.failover.state import StateError

BACKLOG = 4096
AT_ONCE = 64
"""So many take-overs are under way at a time."""
ATTEMPTS = 4
PROBED_SECONDS = 1.0
DRAIN_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Settings:
    """What `wedge` was told on its command line; times in seconds."""

    name: str
    port: int
    backend: Backend
    refresh: float
    most: int
    most_lag: float
    step: float
    tries: int


class Wedge:
    """One process, all clients of one replica."""

    def __init__(self, settings: Settings, group: Group, mappers: list[Mapper], log: EventLog) -> None:
        self._settings, self._group, self._log = settings, group, log
        self._mapper = mappers[0]
        self._mappers = {mapper.number: mapper for mapper in mappers}
        self._ledger = Ledger()
        self._sessions: set[Session] = set()
        self._by_token: dict[bytes, Session] = {}
        self._taking: dict[bytes, asyncio.Task[None]] = {}
        self._refused: dict[bytes, tuple[int, int]] = {}  # by token: the state that this replica cannot go on from
        self._probed: dict[tuple[bytes, bytes, int], tuple[float, str]] = {}
        self._lag = 0.0
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Serves until SIGTERM or SIGINT; then the group is offered what is under way."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        listener = listen(self._settings.port)
        mind(listener)
        self._group.start(self._heard)
        for work in (self._accept(listener), self._refresh(), self._follow()):
            self.spawn(work)
        print("ready", flush=True)
        await self._stopping.wait()
        await self._drain(listener)
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
                session = Session(self, sock, self._mapper, self._settings.backend)
            except OSError as error:
                if error.errno in (23, 24):  # ENFILE, EMFILE: others must end first
                    await asyncio.sleep(0.05)
                continue
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sessions.add(session)
            self.spawn(self._serve(session, session.serve()))

    async def _serve(self, session: Session, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        finally:
            self._sessions.discard(session)
            if session.secrets is not None:
                for token in [token for token, other in self._by_token.items() if other is session]:
                    del self._by_token[token]

    def know(self, session: Session) -> None:
        """The session's connection has a name now."""
        state = session.state()
        if state is not None:
            self._by_token[state.token] = session

    # -- what the group is told ------------------------------------------------------------------------------------

    def tell(self, session: Session) -> None:
        """The session's soft state, as it is now."""
        state = session.state()
        if state is None:
            return
        try:
            self._group.say(Told(state))
        except StateError as error:
            self.note(f"cannot be taken over by others: {error}", session)

    def over(self, session: Session) -> None:
        state = session.state()
        if state is not None:
            self._group.say(Over(state.token, state.secrets.sent))

    def offer(self, session: Session) -> bool:
        """Asks the others to go on with it; whether there is anybody."""
        state, now = session.state(), time.monotonic()
        if state is None or not any(
            now - peer.heard < choice.SILENT_SECONDS and not peer.declines for peer in self._ledger.peers.values()
        ):
            return False
        self.tell(session)
        self._group.say(Offer(state.token, state.secrets.sent))
        return True

    async def _refresh(self) -> None:
        """Soft state is told again and again; it is not answered, and a datagram may be lost."""
        while True:
            self._group.say(Hello(len(self._sessions), self._declines()))
            sessions = list(self._by_token.values())
            slice_ = max(1, len(sessions) // 20)
            for at in range(0, len(sessions), slice_):
                for session in sessions[at : at + slice_]:
                    if session in self._sessions:
                        self.tell(session)
                await self._pause(1)
            await self._pause(max(1, 20 - -(-len(sessions) // slice_)))
            self._ledger.expire(time.monotonic())

    async def _pause(self, parts: int) -> None:
        """So many twentieths of the time between two refreshes; how late it ends tells how busy this process is."""
        wanted, began = self._settings.refresh / 20 * parts, time.monotonic()
        await asyncio.sleep(wanted)
        self._lag += (time.monotonic() - began - wanted - self._lag) / 4

    def _declines(self) -> bool:
        return choice.declines(len(self._sessions), self._settings.most, self._lag, self._settings.most_lag)

    # -- what the group says -----------------------------------------------------------------------------------------

    def _heard(self, opened: Opened, message: Message) -> None:
        now = time.monotonic()
        match message:
            case Told(state):
                self._ledger.heard_of(opened.sender, opened.boot, now)
                if not self._supersede(state.token, state.secrets.sent, opened.sender):
                    return  # the last owner, who has not heard yet
                if self._ledger.told(opened.sender, opened.boot, state, now) and state.token in self._taking:
                    entry = self._ledger.entries[state.token]
                    if entry.owner == opened.sender and state.secrets.sent > 0:
                        self._lost_to(entry)
            case Over(token, sent):
                self._supersede(token, sent, opened.sender)
                self._ledger.over(opened.sender, token, sent)
            case Hello(connections, declines):
                peer = self._ledger.heard_of(opened.sender, opened.boot, now)
                peer.connections, peer.declines = connections, declines
            case Dead(server):
                self.pronounced(server, opened.sender)
            case Offer(token, sent):
                entry_ = self._ledger.offered(opened.sender, token, sent)
                if entry_ is not None:
                    self._begin(entry_, f"{opened.sender} offers it")

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
        del self._by_token[token]
        return True

    def _lost_to(self, entry: Entry) -> None:
        task, token = self._taking.get(entry.state.token), entry.state.token
        if task is not None and getattr(task, "server", "") != entry.owner:
            self.event(None, "lost", f"{entry.owner} has it", name=entry.state.secrets.name)
            task.cancel()
            self._taking.pop(token, None)

    def pronounce(self, server: str, tell: bool = True) -> int:
        """A person says that a server is dead: the group is told (if `tell`), and this member acts; how many
        connections that server has."""
        if tell:
            self._group.say(Dead(server))
        return self.pronounced(server, "a person", alone=not tell)

    def take(self, name: str) -> bool:
        """A person wants one connection here, whoever has it; whether it is known."""
        entries = [entry for entry in self._ledger.entries.values() if entry.state.secrets.name == name]
        for entry in entries:
            self._begin(entry, "a person wants it here", alone=True)
        return bool(entries)

    def pronounced(self, server: str, by: str, alone: bool = False) -> int:
        """A server is said to be dead (`alone`: to this member only); how many connections of it are known here."""
        entries = self._ledger.owned_by(server) if server != self._settings.name else []
        peer = self._ledger.peers.get(server)
        if peer is not None:
            peer.heard = float("-inf")
        if fresh := [entry for entry in entries if entry.state.token not in self._taking]:
            for entry in fresh:
                self._begin(entry, f"{by} pronounces {server} dead", alone)
        return len(entries)

    # -- taking over ---------------------------------------------------------------------------------------------------

    def _begin(self, entry: Entry, why: str, alone: bool = False) -> None:
        token = entry.state.token
        if token in self._taking or self._refused.get(token) == entry.state.order:
            return
        if self._declines():
            self.event(None, "declined", f"{why}; too busy", name=entry.state.secrets.name)
            return
        peers = () if alone else self._ledger.peers.values()
        pause = choice.wait(token, self._settings.name, peers, entry.owner, time.monotonic(), self._settings.step)
        self.event(None, "pronounced", f"{why}; my turn in {pause:g} s", name=entry.state.secrets.name)
        task = self.spawn(self._take(entry, pause))
        task.server = entry.owner  # type: ignore[attr-defined]
        self._taking[token] = task
        task.add_done_callback(lambda done: self._taking.pop(token, None) if self._taking.get(token) is done else None)

    async def _take(self, entry: Entry, pause: float) -> None:
        await asyncio.sleep(pause)
        token, name = entry.state.token, entry.state.secrets.name
        async with self._slots:
            state = entry.state
            known = self._ledger.entries.get(token)
            if known is None:
                return  # it is over
            if known.owner == entry.owner:
                state = known.state
            try:
                await self._same(entry)
            except (Differs, NotMappable, BackendGone) as error:
                self._refused[token] = state.order
                self.event(None, "refused", str(error), name=name)
                return
            secrets = state.secrets
            for attempt in range(ATTEMPTS):
                try:
                    client = Peer(ipaddress.ip_address(state.client[0]), state.client[1])
                    taken = await takeover.take_over(
                        secrets.after(attempt), client, state.options, tries=self._settings.tries
                    )
                    break
                except takeover.Refused as error:
                    self.event(None, "not-taken", error.reason, name=name)
                    if not error.unanswered:
                        self._ledger.drop(token)
                        return
            else:
                return
        self._taken(entry, taken)

    def _taken(self, entry: Entry, taken: takeover.Taken) -> None:
        state = entry.state
        self._ledger.drop(state.token)
        mind(taken.sock)
        taken.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        mapper = self._mappers[state.mapper]
        session = Session.resumed(self, taken, state, mapper, self._settings.backend)
        self._sessions.add(session)
        self._by_token[state.token] = session
        self.event(session, "taken-over", f"from {entry.owner}", position=taken.position)
        self.spawn(self._serve(session, session.resume(state, taken.received)))

    async def _same(self, entry: Entry) -> None:
        """Whether this replica would go on with the same bytes.  Raises `Differs`, `NotMappable`, `BackendGone`."""
        state = entry.state
        mapper = self._mappers.get(state.mapper)
        if mapper is None:
            raise NotMappable(f"no stream mapper {state.mapper} here")
        length = mapper.request(state.asked)
        if length is None:
            if state.answer is not None:
                raise Differs(state.answer.reason or "its request is not known here")
            return  # it is still asking
        plan = mapper.probe(state.asked[:length], state.answer)
        known = state.answer
        key = (plan.ask, known.validator + known.head_digest if known else b"", known.total if known else 0)
        at, outcome = self._probed.get(key, (float("-inf"), ""))
        if time.monotonic() - at > PROBED_SECONDS:
            try:
                await probe(self._settings.backend, plan)
                outcome = ""
            except Differs as error:
                outcome = str(error)
            if len(self._probed) > 1000:
                self._probed.clear()
            self._probed[key] = (time.monotonic(), outcome)
        if outcome:
            raise Differs(outcome)

    # -- migrated's events, the log, the end ---------------------------------------------------------------------

    async def _follow(self) -> None:
        """Clients move: what others would need is then another."""
        while True:
            with contextlib.suppress(OSError, json.JSONDecodeError):
                reader, writer = await asyncio.open_unix_connection(SOCKET_NAME)
                writer.write(b'{"do": "events"}\n')
                while line := await reader.readline():
                    event = json.loads(line)
                    if event.get("event") == "migrated":
                        for session in list(self._by_token.values()):
                            if session.name == event["connection"]:
                                session.moved()
                writer.close()
            await asyncio.sleep(1)

    def event(self, session: Session | None, event: str, cause: str, *, name: str = "", **more: Any) -> None:
        """A line of the events file."""
        self._log.write(session.name if session else name, self._settings.name, event, cause, **more)

    def note(self, sentence: str, session: Session | None = None) -> None:
        """A line of the log."""
        about = f"{session.client[0]} port {session.client[1]} " if session else ""
        print(f"wedge {self._settings.name}: {about}{sentence}", file=sys.stderr, flush=True)
        self.event(session, "note", sentence)

    async def _drain(self, listener: socket.socket) -> None:
        """No new clients; the others are asked to go on with those that there are."""
        listener.close()
        offered = [session for session in self._by_token.values() if self.offer(session)]
        end = time.monotonic() + DRAIN_SECONDS
        while any(session in self._sessions for session in offered) and time.monotonic() < end:
            await asyncio.sleep(0.02)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def describe(self) -> dict[str, Any]:
        """What `status` shows."""
        return {
            "name": self._settings.name,
            "connections": len(self._sessions),
            "known of others": len(self._ledger.entries),
            "members": {
                peer.name: {"connections": peer.connections, "declines": peer.declines}
                for peer in self._ledger.peers.values()
            },
            "group": dict(self._group.counters),
        }


def listen(port: int) -> socket.socket:
    """All addresses of both IP versions.  Raises OSError."""
    listener = socket.socket(socket.AF_INET6)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    # The ACK of a request rides on its answer: until the group knows of a request, the client keeps it.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
    listener.bind(("::", port))
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener
