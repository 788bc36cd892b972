"""Requests of `migratectl` to the wedge of its host: a line of JSON each, over an abstract unix socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from migrate.failover.wedge import Wedge

SOCKET_NAME = "\0migrate-wedge"
_UCRED = struct.Struct("3i")


class Control:
    """The listening side."""

    def __init__(self, wedge: Wedge) -> None:
        self._wedge = wedge

    @classmethod
    @contextlib.asynccontextmanager
    async def listening(cls, wedge: Wedge) -> AsyncIterator[None]:
        server = await asyncio.start_unix_server(cls(wedge)._serve, SOCKET_NAME)
        try:
            yield
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answer: dict[str, Any]
        try:
            peer = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
            if _UCRED.unpack(peer)[1] != 0:
                answer = {"error": "only root may speak to the wedge"}
            else:
                answer = self._do(json.loads(await reader.readline()))
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        except (ConnectionError, json.JSONDecodeError):
            pass  # whoever asked has gone, or asked nothing
        finally:
            writer.close()

    def _do(self, request: Any) -> dict[str, Any]:
        match request:
            case {"do": "dead", "server": str(server)}:
                told = not request.get("here")
                return {"result": {"server": server, "connections": self._wedge.pronounce(server, told)}}
            case {"do": "take", "connection": str(name)}:
                if not self._wedge.take(name):
                    return {"error": f"no other server has told of a connection {name}"}
                return {"result": {"connection": name}}
            case {"do": "status"}:
                return {"result": self._wedge.describe()}
        return {"error": "the wedge does not know this request"}
