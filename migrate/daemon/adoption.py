"""Connections in which this host was no end point, taken over for one of its programs (Preload, slides 24 to 26).

The program has made a socket and lends it (`migrate.failover.takeover` speaks for it).  A machine like all others asks
the client; when the client has answered, the socket is built where it says, and the connection is entered among the
host's.  Until then it is in no table that outlives the daemon: nothing of an attempt that comes to nothing is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from migrate.core import FourTuple, Gone, Move, Notice, Position, Rebind, State, keys, rules, seq
from migrate.core.keys import SECRET_BYTES, BadKey
from migrate.daemon.control import RequestError
from migrate.daemon.registry import Managed, identify
from migrate.linux import newcomer, repair
from migrate.linux.borrow import Holder, borrow
from migrate.linux.maps import Address, Negotiated
from migrate.linux.newcomer import Terms
from migrate.linux.repair import CannotCarry, Checkpoint

if TYPE_CHECKING:
    from migrate.daemon.service import Service

_TRIES_MAX = 10
_BEFORE_THE_NEXT = 0.05  # seconds; a request of one that has given up could still be accepted
_LOST = {
    Notice.REFUSED: "the client knows of no such connection",
    Notice.REBIND_FAILED: "its socket cannot be built",
}


class NotAdopted(RequestError):
    """The connection is not this host's; `unanswered`: the client has not said a word; `gone`: it has refused."""

    def __init__(self, reason: str, unanswered: bool = False, gone: bool = False) -> None:
        super().__init__(reason)
        self.unanswered, self.gone = unanswered, gone


@dataclass(slots=True, eq=False)
class Newcomer:
    """The socket of a connection that this host has not yet, and the numbers to begin with."""

    sock: socket.socket
    terms: Terms
    position: Position
    won: asyncio.Future[tuple[int, int]]  # snd_nxt, rcv_nxt
    enter: Callable[[bytes], None]  # writes the connection, with that state, to the host's table
    withdraw: Callable[[], None]

    def build(self, action: Rebind, state: bytes) -> Checkpoint:
        """The socket, as the client's answer has it.  Raises `CannotCarry` or OSError."""
        assert action.rcv_nxt is not None
        self.enter(state)  # first: the kernel's callback for the new connection looks it up
        try:
            image = newcomer.build(
                self.sock, action.new, self.terms, action.snd_una, action.rcv_nxt, action.peer_window
            )
        except (CannotCarry, OSError):
            self.withdraw()
            raise
        self.position = Position(action.snd_una, action.snd_una, action.rcv_nxt, image.rcv_wnd)
        return image

    def hear(self, event: Notice, cause: str) -> None:
        """What the machine reports."""
        if self.won.done():
            return
        if event is Notice.MIGRATED:
            self.won.set_result((self.position.snd_nxt, self.position.rcv_nxt))
        elif event in _LOST:
            self.won.set_exception(NotAdopted(f"{_LOST[event]} ({cause})", gone=event is Notice.REFUSED))


@dataclass(frozen=True, slots=True)
class Request:
    """A request to adopt, as it was asked for."""

    negotiated: Negotiated
    sent: int
    accepted: int
    remote: Address
    remote_port: int
    source: Address | None
    terms: Terms
    tries: int
    fd: int
    inode: int

    @classmethod
    def parse(cls, asked: dict[str, Any]) -> Request:
        """Raises `RequestError` for one that makes no sense."""
        try:
            k = bytes.fromhex(asked["k"])
            if len(k) != SECRET_BYTES:
                raise ValueError(f"K has {SECRET_BYTES} bytes, this one {len(k)}")
            remote, source = ipaddress.ip_address(asked["remote"]), asked.get("source")
            spoken_from = None if source is None else ipaddress.ip_address(source)
            if spoken_from and spoken_from.version != remote.version:
                raise ValueError(f"the client at {remote} cannot be reached from {spoken_from}: different IP versions")
            return cls(
                Negotiated.of_another_host(_number(asked["ni"]), _number(asked["na"]), k),
                _number(asked["sent"]),
                _number(asked["accepted"]),
                remote,
                _number(asked["remote_port"], 1, 16),
                spoken_from,
                Terms(_number(asked["mss"]), _scale(asked["snd_wscale"]), _scale(asked["rcv_wscale"]), asked["sack"]),
                min(_number(asked.get("tries", 1), 1), _TRIES_MAX),
                _number(asked["fd"]),
                _number(asked["inode"], bits=64),
            )
        except KeyError as error:
            raise RequestError(f"a request to adopt that does not say {error}") from error
        except (TypeError, ValueError) as error:
            raise RequestError(f"a request to adopt that makes no sense: {error}") from error


def _number(value: Any, least: int = 0, bits: int = 32) -> int:
    if not isinstance(value, int) or not least <= value < 1 << bits:
        raise ValueError(f"{value!r} is no number from {least} on of {bits} bits")
    return value


def _scale(value: Any) -> int | None:
    return None if value is None else _number(value)


def _told(negotiated: Negotiated, k: bytes, managed: Managed | None) -> dict[str, Any]:
    """What an asker is told of a connection; one without a machine has sent and accepted no request."""
    return {
        "connection": identify(negotiated),
        "ni": negotiated.ni,
        "na": negotiated.na,
        "k": k.hex(),
        "sent": managed.machine.sent_count if managed else 0,
        "accepted": managed.machine.accepted_count if managed else 0,
    }


class Adoptions:
    """The take-overs under way on this host."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def export(self, connection: Any) -> dict[str, Any]:
        """What another host must know of a connection of this one.  `connection`: its name, or its address pair."""
        pair, negotiated, state = self._find(connection)
        managed = self._service.registry.find(pair) if any(state) else None
        try:
            k = self._service.keyring.secret(negotiated)
        except BadKey as error:
            raise RequestError(f"connection {identify(negotiated)} has no secret: {error}") from error
        return _told(negotiated, k, managed)

    def _find(self, connection: Any) -> tuple[FourTuple, Negotiated, bytes]:
        registry = self._service.registry
        if isinstance(connection, str):
            for pair, negotiated, state in registry.all():
                if identify(negotiated) == connection:
                    return pair, negotiated, state
            raise RequestError(f"no migratable connection {connection}; migratectl list shows them")
        try:
            pair = FourTuple(
                ipaddress.ip_address(connection["local"]),
                int(connection["local_port"]),
                ipaddress.ip_address(connection["remote"]),
                int(connection["remote_port"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise RequestError(f"a request to export that makes no sense: {error}") from error
        entry = registry.entry(pair)
        if entry is None:
            raise RequestError(f"no migratable connection between {connection['local']} and {connection['remote']}")
        return pair, *entry

    async def adopt(self, asked: dict[str, Any], pid: int) -> dict[str, Any]:
        """Takes a connection over for the process `pid`.  Raises `RequestError`, or `NotAdopted` once the client has
        been asked; cancelled, it gives up at once."""
        request = Request.parse(asked)
        self._refuse_second(request.negotiated)
        local = request.source or self._service.source_towards(request.remote)
        if local is None:
            raise RequestError(f"no route to the client at {request.remote}")
        sock = borrow(Holder(pid, request.fd, request.inode))
        if sock is None:
            raise RequestError("the socket to be used is not the asker's")
        with sock:
            try:
                port = newcomer.reserve(sock)
            except CannotCarry as error:
                raise RequestError(str(error)) from error
            return await self._ask(request, sock, FourTuple(local, port, request.remote, request.remote_port))

    async def _ask(self, request: Request, sock: socket.socket, pair: FourTuple) -> dict[str, Any]:
        service, negotiated = self._service, request.negotiated
        una, nxt = seq.add(negotiated.na, 1), seq.add(negotiated.ni, 1)
        managed = service.registry.newcomer(pair, negotiated, request.sent, request.accepted)
        won: asyncio.Future[tuple[int, int]] = asyncio.get_running_loop().create_future()
        managed.newcomer = Newcomer(
            sock,
            request.terms,
            Position(una, una, nxt, 0),
            won,
            lambda state: service.registry.enter(pair, negotiated, state),
            lambda: service.registry.withdraw(pair),
        )
        patience = sum(rules.timeout(number) for number in range(1, request.tries + 1)) - _BEFORE_THE_NEXT
        try:
            service.effects.step(managed, Move(pair.local_ip, managed.newcomer.position, preload=True))
            service.effects.flush()
            try:
                async with asyncio.timeout(patience):
                    snd_nxt, rcv_nxt = await won
            except TimeoutError:
                asked = f"request {managed.machine.sent_count} to the client at {pair.remote_ip}"
                raise NotAdopted(f"no answer to {asked}: another replica may have it", unanswered=True) from None
        except BaseException as error:
            self._give_up(managed, sock, str(error) or "the asker has gone")
            raise
        return _told(negotiated, negotiated.own_key, managed) | {"snd_nxt": snd_nxt, "rcv_nxt": rcv_nxt}

    def _refuse_second(self, negotiated: Negotiated) -> None:
        """Two sockets of one connection on one host would both answer its client."""
        token = keys.token(negotiated.ni, negotiated.na, negotiated.own_key)
        for managed in self._service.registry.by_token(token) or []:
            if managed.negotiated.initiator:
                continue
            if self._service.probe(managed.machine.tuple) is None:
                self._service.over(managed)
                continue
            pair = managed.machine.tuple
            raise RequestError(
                f"this host has a socket of that connection, {pair.local_ip}:{pair.local_port} towards "
                f"{pair.remote_ip}:{pair.remote_port}: drop that one first"
            )

    def _give_up(self, managed: Managed, sock: socket.socket, cause: str) -> None:
        """Nothing of it is left, and its client hears nothing of that."""
        service = self._service
        managed.newcomer = None
        if managed.machine.state is not State.CLOSED:
            service.speaker.tell(managed, "not-adopted", cause)
            service.effects.step(managed, Gone())
        service.registry.withdraw(managed.machine.tuple)
        service.registry.forget(managed)
        with contextlib.suppress(CannotCarry):
            repair.enter(sock)  # whoever closes it last, it says nothing
