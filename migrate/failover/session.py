"""One client of the wedge: its requests, their answers, and the soft state that others would go on from.

Serving and taking over are one path.  A session stands at a position of the server's stream (`sent`) and has the bytes
of the client's stream from `asked_at` on (`asked`); the mapper turns that into a request to the backend.  A connection
that was taken over begins in the middle of an answer instead of at 0, and so does one whose backend has failed.

Order matters at two places: a request is told to the group before the first byte of its answer is relayed, and the
next request is served only when the client has all of the last answer, because soft state has room for one.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import struct
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from migrate.failover import relay, takeover
from migrate.failover.backend import Backend, BackendGone, ask
from migrate.failover.mapping import NO_DIGEST, Answer, Differs, Mapper, NotMappable, Plan
from migrate.failover.state import SoftState
from migrate.failover.takeover import Options, Secrets, Taken
from migrate.linux.repair import SIOCOUTQ

if TYPE_CHECKING:
    from migrate.failover.wedge import Wedge

READ_BYTES = 1 << 16
IDLE_SECONDS = 75.0
"""nginx's keepalive_timeout: for a connection that was taken over, and whose backend does not know it yet."""
OFFER_SECONDS = 5.0
END_SECONDS = 60.0
RETRIES = 2
UNTOLD_SECONDS = 0.01
"""A quarter of what the kernel waits before it acknowledges a request whose answer it has not seen (TCP_DELACK_MIN)."""


class Lost(Exception):
    """The client cannot be served rightly: its connection is reset.  The message says why."""


class Session:
    """One client.  `serve` runs until its connection is over, or another member's."""

    def __init__(self, wedge: Wedge, sock: socket.socket, mapper: Mapper, backend: Backend) -> None:
        self._wedge, self.sock, self._mapper, self._where = wedge, sock, mapper, backend
        self._backend: socket.socket | None = None
        pair = takeover.pair_of(sock)
        self.client = (str(pair.remote_ip), pair.remote_port)
        self.secrets: Secrets | None = None
        self._options: Options | None = None
        self._exported: asyncio.Task[None] | None = None
        self._asked_at, self._asked = 0, bytearray()
        self._answered_at = self._sent = 0
        self._answer: Answer | None = None
        self._served = 0  # length of the request in `asked` whose answer the client has been given
        self._revision = 0
        self._told = False
        self._waiting: asyncio.TimerHandle | None = None
        self.superseded = asyncio.Event()
        self.handing_over = False

    @classmethod
    def resumed(cls, wedge: Wedge, taken: Taken, state: SoftState, mapper: Mapper, backend: Backend) -> Session:
        """Of a connection that has just been taken over.  Raises `Lost`."""
        session = cls(wedge, taken.sock, mapper, backend)
        session.secrets, session._options = taken.secrets, state.options
        session._revision = state.revision
        session._asked_at, session._answered_at = state.asked_at, state.answered_at
        session._answer = state.answer
        received = _near(taken.received, state.asked_at)
        session._sent = _near(taken.position, state.answered_at)
        session._asked = bytearray(state.asked[: received - state.asked_at])
        return session

    # -- what others are told --------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """As in migrated's events."""
        return self.secrets.name if self.secrets else ""

    def state(self) -> SoftState | None:
        """What the group is told now; None where this connection is none of Migrate's."""
        if self.secrets is None or self._options is None:
            return None
        return SoftState(
            *(self.client, self.secrets, self._options, self._mapper.number, self._revision),
            *(self._asked_at, bytes(self._asked), self._answered_at, self._answer),
        )

    def _tell(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
        self._revision += 1
        self._told = True
        self._wedge.tell(self)

    async def export(self) -> None:
        """Asks migrated for the connection's secrets (again, after the client has moved)."""
        pair = takeover.pair_of(self.sock)
        try:
            self.secrets = await takeover.export(pair)
        except takeover.Refused as error:
            self._wedge.note(f"cannot be taken over by others: {error.reason}", self)
            return
        self.client = (str(pair.remote_ip), pair.remote_port)
        self._options = self._options or Options.of(self.sock)
        self._wedge.know(self)

    # -- the client --------------------------------------------------------------------------------------------

    async def serve(self) -> None:
        """From accept to the end."""
        self._exported = asyncio.ensure_future(self.export())
        try:
            await self._run(self._requests())
        finally:
            self._exported.cancel()

    async def resume(self, state: SoftState, received: int) -> None:
        """From where the last server was; `received` as in `Taken`."""
        await self._run(self._resume(state, received))

    async def _run(self, steps: Coroutine[Any, Any, None]) -> None:
        work = asyncio.ensure_future(steps)
        superseded = asyncio.ensure_future(self.superseded.wait())
        reset = True
        try:
            await asyncio.wait((work, superseded), return_when=asyncio.FIRST_COMPLETED)
            if work.done() and not self.superseded.is_set():
                reset = await self._outcome(work)
        finally:
            if self._waiting is not None:
                self._waiting.cancel()
            for task in (work, superseded):
                task.cancel()
            await asyncio.gather(work, superseded, return_exceptions=True)
            self._leave_backend()
            if self.superseded.is_set() or self.handing_over:
                takeover.drop(self.sock)
            else:
                self._close(reset)

    async def _outcome(self, work: asyncio.Future[None]) -> bool:
        """Whether what has happened ends the connection by a reset."""
        try:
            work.result()
        except relay.SinkGone:
            self._wedge.event(self, "client-gone", "")
            return True
        except (Lost, Differs, BackendGone) as error:
            self._wedge.note(str(error), self)
            return await self._offer(str(error))
        except OSError as error:
            self._wedge.event(self, "client-gone", error.strerror or "")
            return True
        return False

    async def _offer(self, why: str) -> bool:
        """Lets another member go on; whether nobody does."""
        if self.secrets is not None and self._told and self._wedge.offer(self):
            self._wedge.event(self, "offered", why)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.superseded.wait(), OFFER_SECONDS)
        return True

    def _close(self, reset: bool) -> None:
        """Ends it so that the client notices."""
        if not reset:
            mind(self.sock, False)
        self.sock.close()
        self._wedge.over(self)

    async def _requests(self) -> None:
        while (request := await self._next()) is not None:
            self._tell_asked()
            if not await self._answer_it(request, 0):
                break
        await self._end()

    async def _resume(self, state: SoftState, received: int) -> None:
        position = self._sent - self._answered_at
        missing = _near(received, state.asked_at) - state.asked_at - len(state.asked)
        ended = self._answer is not None and self._answer.closes
        if ended and self._answer is not None and position == self._answer.end + 1:
            return  # it has the end of the stream too
        if missing > 1 or (missing == 1 and not ended):
            raise Lost(f"{missing} bytes that the client has sent are not known here")
        if self._answer is not None and self._answer.reason and position:
            raise Lost(self._answer.reason)
        length = self._mapper.request(bytes(self._asked))
        if position and length is None:
            raise Lost(f"the client has {position} bytes of an answer to a request that is not known here")
        self._tell()
        if length is not None:
            self._served = length
            if not await self._answer_it(bytes(self._asked[:length]), position):
                await self._end()
                return
        await self._requests()

    async def _next(self) -> bytes | None:
        """The next request; None where the client, or the backend, has closed in between."""
        if self._served:
            while not self._asked[self._served :]:
                if not await self._more():
                    return None
            await self._drained()
            del self._asked[: self._served]
            self._asked_at += self._served
            self._answered_at, self._answer, self._served = self._sent, None, 0
        while True:
            try:
                length = self._mapper.request(bytes(self._asked))
            except NotMappable as error:
                self._wedge.note(f"is relayed as it is: {error}", self)
                await self._tunnel(str(error))
                return None
            if length is not None:
                self._served = length
                return bytes(self._asked[:length])
            if not await self._more():
                return None

    async def _more(self) -> bool:
        """Reads from the client; False at its end, at the backend's end, or after a long silence."""
        ends = [self.sock] if self._backend is None else [self.sock, self._backend]
        try:
            async with asyncio.timeout(IDLE_SECONDS if self._backend is None else None):
                ready = await _first_readable(ends)
        except TimeoutError:
            return False
        if self.sock not in ready:
            return False
        data = self.sock.recv(READ_BYTES)
        self._asked += data
        return bool(data)

    async def _drained(self) -> None:
        """Until the client has all of the last answer."""
        pause = 0.001
        while _unacknowledged(self.sock):
            await asyncio.sleep(pause)
            pause = min(2 * pause, 0.05)

    def _tell_asked(self) -> None:
        """A first request is told at once.  Of a later one the group hears with its answer, or before the kernel would
        acknowledge it: until then the client has it, and sends it again to whoever takes over."""
        if self._exported is not None and not self._exported.done():
            self._exported.add_done_callback(lambda _: self._tell() if not self._told else None)
        elif not self._told:
            self._tell()
        else:
            self._waiting = asyncio.get_running_loop().call_later(UNTOLD_SECONDS, self._tell)

    # -- the answer --------------------------------------------------------------------------------------------

    async def _answer_it(self, request: bytes, position: int) -> bool:
        """Relays the answer from `position` on; whether another request may follow.  A backend that fails on the way is
        asked once more."""
        tries = 0
        while True:
            plan = self._mapper.plan(request, self._answer, position)
            try:
                return await self._relay(plan)
            except BackendGone as error:
                self._leave_backend()
                tries += 1
                position = self._sent - self._answered_at
                if error.down or tries > RETRIES or (self._answer is not None and self._answer.reason):
                    raise
                self._wedge.note(f"its backend is asked again, from byte {position}: {error}", self)

    async def _relay(self, plan: Plan) -> bool:
        if plan.ask:
            if self._backend is None:
                self._backend = await self._where.connect()
            begin, rest = await ask(self._backend, plan)
        else:
            found = plan.begin(b"")
            assert found is not None
            begin, rest = found, b""
        if begin.answer != self._answer:
            self._answer = begin.answer
            if self._exported is not None:
                await asyncio.wait((self._exported,))
            self._tell()
        if begin.body is None:
            await self._send(begin.send + rest)
            await self._through()
            return False
        await self._send(begin.send + rest[: begin.body])
        left = begin.body - len(rest[: begin.body])
        if left and self._backend is not None:
            try:
                moved = await relay.copy(self._backend, self.sock, left, self._moved)
            except relay.SourceGone as error:
                raise BackendGone(f"the backend failed: {error}") from error
            if moved < left:
                raise BackendGone("the backend closed in the middle of its answer")
        return not begin.answer.closes

    async def _send(self, data: bytes) -> None:
        if not data:
            return
        try:
            await asyncio.get_running_loop().sock_sendall(self.sock, data)
        except OSError as error:
            raise relay.SinkGone(error.strerror) from error
        self._sent += len(data)

    def _moved(self, count: int) -> None:
        self._sent += count

    async def _tunnel(self, why: str) -> None:
        """What is no request of the mapper's: the client and the backend speak with each other."""
        if self._backend is None:
            self._backend = await self._where.connect()
        self._answer = Answer(0, NO_DIGEST, reason=why)
        asked, self._asked = bytes(self._asked), bytearray()
        self._tell()
        try:
            await asyncio.get_running_loop().sock_sendall(self._backend, asked)
        except OSError as error:
            raise BackendGone(f"the backend failed: {error.strerror}") from error
        await self._through()

    async def _through(self) -> None:
        assert self._backend is not None
        try:
            await relay.both(self.sock, self._backend, self._moved, END_SECONDS)
        except relay.SourceGone as error:
            raise relay.SinkGone(str(error)) from error

    async def _end(self) -> None:
        """The server's side closes: the client has everything, and hears so."""
        if self.sock.fileno() < 0:
            return
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                await self._drained()
                self.sock.shutdown(socket.SHUT_WR)
                await self._drained()  # our FIN, too; from then on nobody needs to go on with it

    def _leave_backend(self) -> None:
        if self._backend is not None:
            self._backend.close()
            self._backend = None

    def moved(self) -> None:
        """The client has moved: its address, and the counts of requests, are others now."""

        async def again() -> None:
            await self.export()
            self._tell()

        self._wedge.spawn(again())


def mind(sock: socket.socket, reset: bool = True) -> None:
    """Whoever closes the socket, the kernel if need be, resets its connection (of a listener: those that it accepts).

    A process that is killed would else end its streams by FIN, as if that were all.  The RST leaves a client of Migrate
    in MIGRATE_WAIT, until another member comes or 2MSL are over; any other client sees a reset."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", reset, 0))


def _near(number: int, base: int) -> int:
    """The position whose last 32 bits are `number`: the first at or above `base`."""
    return base + ((number - base) & 0xFFFFFFFF)


def _unacknowledged(sock: socket.socket) -> int:
    return int(struct.unpack("=i", fcntl.ioctl(sock, SIOCOUTQ, bytes(4)))[0])


async def _first_readable(socks: list[socket.socket]) -> set[socket.socket]:
    loop = asyncio.get_running_loop()
    woken: asyncio.Future[None] = loop.create_future()
    ready: set[socket.socket] = set()

    def note(sock: socket.socket) -> None:
        ready.add(sock)
        if not woken.done():
            woken.set_result(None)

    for sock in socks:
        loop.add_reader(sock, note, sock)
    try:
        await woken
    finally:
        for sock in socks:
            loop.remove_reader(sock)
    return ready
