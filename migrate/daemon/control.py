"""Requests of `migratectl`: JSON lines over an abstract unix socket.

The socket's name lives in the network namespace, as the daemon's connections do: one name, one daemon per host,
and nothing is left in the file system.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import json
import socket
import struct
from typing import TYPE_CHECKING, Any

from migrate.daemon import memory
from migrate.linux.setup import SetupError

if TYPE_CHECKING:
    from migrate.daemon.service import Service

SOCKET_NAME = "\0migrated"
_UCRED = struct.Struct("3i")
_BACKLOG = 4096  # a replica may ask for all connections of a dead server at once


class RequestError(Exception):
    """The request cannot be done; the message says why."""


class Control:
    """The listening side."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    async def listen(cls, service: Service) -> Control:
        """Raises `SetupError` where another daemon serves this host."""
        control = cls(service)
        control._server = await asyncio.start_unix_server(control._serve, sock=claim(), backlog=_BACKLOG)
        return control

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            peer = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
            pid, user, _ = _UCRED.unpack(peer)
            if user != 0:
                _answer(writer, error="only root may speak to migrated")
                return
            while line := await reader.readline():
                try:
                    request = json.loads(line)
                    if request.get("do") == "events":
                        await self._follow(reader, writer)
                    elif request.get("do") == "adopt":
                        _answer(writer, result=await self._adopt(request, pid, reader))
                    else:
                        _answer(writer, result=await self._do(request))
                except (RequestError, json.JSONDecodeError, AttributeError) as error:
                    more = {word: True for word in ("unanswered", "gone") if getattr(error, word, False)}
                    _answer(writer, error=str(error), **more)
                await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass  # the asker has gone, or the daemon is going: there is nobody left to tell
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _follow(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until the asker goes; a killed one would else be kept until there is something to tell."""
        queue: asyncio.Queue[str] = asyncio.Queue()
        unfollow = self._service.log.follow(queue.put_nowait)
        gone = asyncio.ensure_future(reader.read(1))
        told = asyncio.ensure_future(queue.get())
        try:
            while True:
                await asyncio.wait({gone, told}, return_when=asyncio.FIRST_COMPLETED)
                if gone.done():
                    gone.result()  # how it has gone, if that was no order
                    raise ConnectionAbortedError
                writer.write(told.result().encode() + b"\n")
                await writer.drain()
                told = asyncio.ensure_future(queue.get())
        finally:
            unfollow()
            for one in (gone, told):
                one.cancel()
            await asyncio.wait({gone, told})

    async def _adopt(self, request: dict[str, Any], pid: int, reader: asyncio.StreamReader) -> dict[str, Any]:
        """Takes a connection over, for as long as the asker waits for that."""
        adoption = asyncio.ensure_future(self._service.adoptions.adopt(request, pid))
        gone = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait({adoption, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not adoption.done():
                raise ConnectionAbortedError
            return adoption.result()
        finally:
            for one in (adoption, gone):
                one.cancel()
            await asyncio.wait({adoption, gone})

    async def _do(self, request: dict[str, Any]) -> Any:
        match request:
            case {"do": "list"}:
                return self._service.requests.describe()
            case {"do": "status"}:
                return self._service.requests.status()
            case {"do": "memory"}:
                return memory.in_use()  # for who looks for leaks
            case {"do": "export", "connection": connection}:
                return self._service.adoptions.export(connection)
            case {"do": "migrate", "to": str(to)}:
                try:
                    address = ipaddress.ip_address(to)
                except ValueError:
                    raise RequestError(f"{to} is not an IP address") from None
                return await self._service.requests.migrate(address, request.get("connection"))
        raise RequestError(f"migrated does not know the request {request.get('do')!r}")


def claim() -> socket.socket:
    """The name that makes this daemon the host's one.  Raises `SetupError` where it is taken."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(SOCKET_NAME)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise SetupError("a migrated already serves this host: use that one, or end it first") from error
        raise
    return listener


def _answer(writer: asyncio.StreamWriter, **fields: Any) -> None:
    with contextlib.suppress(ConnectionError):
        writer.write(json.dumps(fields).encode() + b"\n")
