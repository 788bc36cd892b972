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
import socket
from typing import TYPE_CHECKING

from migrate.failover import relay, room, takeover
from migrate.failover.backend import Backend, BackendGone, ask
from migrate.failover.mapping import NO_DIGEST, Answer, Begin, Differs, Mapper, NotMappable, Plan
from migrate.failover.sockets import drained, first_readable, mind
from migrate.failover.standing import Lost, Standing
from migrate.failover.state import SoftState
from migrate.failover.subject import Subject
from migrate.failover.takeover import Taken

if TYPE_CHECKING:
    from migrate.failover.wedge import Wedge

READ_BYTES = 1 << 16
IDLE_SECONDS = 75.0
"""nginx's keepalive_timeout: for a connection that was taken over, and whose backend does not know it yet."""
OFFER_SECONDS = 5.0
END_SECONDS = 60.0
RETRIES = 2
EXPORT_SECONDS = 2.0
"""An answer waits so long for migrated to say what others would need, and goes out without, if need be."""


class Session(Subject):
    """One client.  `serve` or `resume` runs until its connection is over, or another member's."""

    def __init__(self, wedge: Wedge, sock: socket.socket, mapper: Mapper, backend: Backend) -> None:
        super().__init__(wedge, sock, mapper)
        self._where = backend
        self._backend: socket.socket | None = None
        self._has_room = False

    @classmethod
    def resumed(cls, wedge: Wedge, taken: Taken, state: SoftState, mapper: Mapper, backend: Backend) -> Session:
        """Of a connection that has just been taken over.  Raises `Lost`."""
        session = cls(wedge, taken.sock, mapper, backend)
        session.secrets, session.options = taken.secrets, state.options
        session._at = Standing.resumed(state, taken.position, taken.received)
        return session

    # -- the client --------------------------------------------------------------------------------------------

    async def serve(self) -> None:
        """From accept to the end."""
        # In this order: a request that has come already is on its way to the backend before migrated is asked, and
        # both are at work at once.
        work = asyncio.ensure_future(self._requests())
        self._exported = asyncio.ensure_future(self.export())
        self._exported.add_done_callback(lambda task: None if task.cancelled() else self.tell_new())
        try:
            await self._run(work)
        finally:
            self._exported.cancel()

    async def resume(self) -> None:
        """From where the last server was."""
        await self._run(asyncio.ensure_future(self._resume()))

    async def _run(self, work: asyncio.Future[None]) -> None:
        superseded = asyncio.ensure_future(self.superseded.wait())
        reset = True
        try:
            await asyncio.wait((work, superseded), return_when=asyncio.FIRST_COMPLETED)
            if work.done() and not self.superseded.is_set():
                reset = await self._outcome(work)
        finally:
            self._wait_no_more()
            for task in (work, superseded):
                task.cancel()
            await asyncio.gather(work, superseded, return_exceptions=True)
            self._leave_backend()
            if self.superseded.is_set():
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
        except (Lost, Differs, NotMappable, BackendGone) as error:
            self._wedge.note(str(error), self)
            return await self._offer(str(error))
        except OSError as error:
            self._wedge.event(self, "client-gone", error.strerror or "")
            return True
        return False

    async def _offer(self, why: str) -> bool:
        """Lets another member go on; whether nobody does."""
        await self._known()
        if self._wedge.offer(self):
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
            self.tell_asked()
            if not await self._answer_it(request):
                break
        await self._end()

    async def _resume(self) -> None:
        at = self._at
        if at.over:
            return
        if at.answer is not None and at.answer.reason and at.position:
            raise Lost(at.answer.reason)
        request = at.request(self._mapper)
        if request is None and at.position:
            raise Lost(f"the client has {at.position} bytes of an answer to a request that is not known here")
        self.tell()
        if request is not None and not await self._answer_it(request):
            await self._end()
            return
        await self._requests()

    async def _next(self) -> bytes | None:
        """The next request; None where the client, or the backend, has closed in between."""
        if self._at.served:
            while not self._at.waiting:
                if not await self._more():
                    return None
            await drained(self.sock)
            self._at.turn()
        while True:
            try:
                request = self._at.request(self._mapper)
            except NotMappable as error:
                self._wedge.note(f"is relayed as it is: {error}", self)
                await self._tunnel(str(error))
                return None
            if request is not None:
                return request
            if not await self._more():
                return None
            self.tell_asked()  # a part, too: what the kernel acknowledges is asked of nobody again

    async def _more(self) -> bool:
        """Reads from the client; False at its end, at the backend's end, or after a long silence."""
        try:
            data = self.sock.recv(READ_BYTES)
        except BlockingIOError:
            ends = [self.sock] if self._backend is None else [self.sock, self._backend]
            try:
                async with asyncio.timeout(IDLE_SECONDS if self._backend is None else None):
                    ready = await first_readable(ends)
            except TimeoutError:
                return False
            if self.sock not in ready:
                return False
            data = self.sock.recv(READ_BYTES)
        self._at.asked += data
        return bool(data)

    # -- the answer --------------------------------------------------------------------------------------------

    async def _answer_it(self, request: bytes) -> bool:
        """Relays the answer from where the client is; whether another request may follow.  A backend that fails on the
        way is asked again."""
        tries = 0
        while True:
            plan = self._mapper.plan(request, self._at.answer, self._at.position)
            try:
                return await self._relay(plan)
            except BackendGone as error:
                self._leave_backend()
                tries += 1
                if error.down or tries > RETRIES or (self._at.answer is not None and self._at.answer.reason):
                    raise
                self._wedge.note(f"its backend is asked again, from byte {self._at.position}: {error}", self)

    async def _relay(self, plan: Plan) -> bool:
        if plan.ask:
            if self._backend is None:
                self._backend = await self._where.connect()
            begin, rest = await ask(self._backend, plan)
            self._make_room(begin)
        else:
            found = plan.begin(b"")
            assert found is not None
            begin, rest = found, b""
        if begin.answer != self._at.answer:
            self._at.answer = begin.answer
            with self.about_to_tell():
                await self._known()
            self.tell()
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

    async def _known(self) -> None:
        """Until migrated has said what others would need, or does not."""
        if self._exported is not None:
            await asyncio.wait((self._exported,), timeout=EXPORT_SECONDS)

    async def _send(self, data: bytes) -> None:
        if not data:
            return
        try:
            await asyncio.get_running_loop().sock_sendall(self.sock, data)
        except OSError as error:
            raise relay.SinkGone(error.strerror) from error
        self._at.sent += len(data)

    def _moved(self, count: int) -> None:
        self._at.sent += count

    async def _tunnel(self, why: str) -> None:
        """What is no request of the mapper's: the client and the backend speak with each other."""
        if self._backend is None:
            self._backend = await self._where.connect()
        self._at.answer = Answer(0, NO_DIGEST, reason=why)
        asked, self._at.asked = bytes(self._at.asked), bytearray()
        self.tell()
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
                await drained(self.sock)
                self.sock.shutdown(socket.SHUT_WR)
                await drained(self.sock)  # our FIN, too; from then on nobody needs to go on with it

    def _make_room(self, begin: Begin) -> None:
        """For what the backend is about to write, once for each connection to it."""
        assert self._backend is not None
        is_large = begin.body is None or begin.body >= room.LARGE
        is_worth_it = is_large and self._wedge.connections <= room.MOST_SESSIONS
        if is_worth_it and not self._has_room and self._backend.family == socket.AF_UNIX:
            self._has_room = True
            self._wedge.make_room(self._backend)

    def _leave_backend(self) -> None:
        self._has_room = False
        if self._backend is not None:
            self._backend.close()
            self._backend = None
