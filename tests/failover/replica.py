"""A server and replica of one made-up file, which does what it is told, one line at a time: `python -m
tests.failover.replica`.  Run on a host by `stage.Replica`.

Each request is a JSON list, each answer one line of JSON.  The stream of every connection is the same: an HTTP answer
whose body is talk.py's pattern, so a byte that is lost, doubled or swapped is seen by whoever receives it.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import ipaddress
import json
import os
import socket
import struct
import sys
import time
from typing import Any

from migrate.core import Peer
from migrate.failover import takeover
from migrate.failover.takeover import Options, Refused, Secrets
from tests.linux.talk import pattern

PIECE = 1 << 16


def header(size: int) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n".encode()


def content(size: int, start: int, count: int) -> bytes:
    """Bytes of the stream from offset `start` on, at most `count`."""
    head = header(size)
    first = head[start : start + count]
    at = max(0, start - len(head))
    return first + pattern(at, min(count - len(first), size - at))


def length(size: int) -> int:
    return len(header(size)) + size


def _reset_if_killed(sock: socket.socket, reset: bool) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", reset, 0))


class Server:
    """The sockets of this program, by number."""

    def __init__(self) -> None:
        self._listener: socket.socket | None = None
        self._sockets: list[socket.socket] = []
        self._streams: dict[int, asyncio.Task[None]] = {}
        self._attempts: dict[int, asyncio.Task[Any]] = {}

    def _add(self, sock: socket.socket) -> int:
        self._sockets.append(sock)
        return len(self._sockets) - 1

    async def listen(self, version: int, port: int) -> int:
        self._listener = socket.socket(socket.AF_INET6 if version == 6 else socket.AF_INET)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _reset_if_killed(self._listener, True)
        self._listener.bind(("::" if version == 6 else "0.0.0.0", port))
        self._listener.listen(4096)
        self._listener.setblocking(False)
        return port

    async def accept(self) -> int:
        assert self._listener is not None
        sock, _ = await asyncio.get_running_loop().sock_accept(self._listener)
        sock.setblocking(False)
        return self._add(sock)

    async def read(self, number: int, count: int = 65536) -> str:
        return (await asyncio.get_running_loop().sock_recv(self._sockets[number], count)).hex()

    async def export(self, number: int) -> dict[str, Any]:
        """What a replica needs, as JSON has it."""
        return await self.moved(number) | {"options": dataclasses.asdict(Options.of(self._sockets[number]))}

    async def moved(self, number: int) -> dict[str, Any]:
        """Of that, what changes when the client moves."""
        pair = takeover.pair_of(self._sockets[number])
        secrets = dataclasses.asdict(await takeover.export(pair))
        secrets["k"] = secrets["k"].hex()
        return {"secrets": secrets, "client": [str(pair.remote_ip), pair.remote_port]}

    async def take_over(self, soft: dict[str, Any], tries: int = 3, count: int | None = None) -> Any:
        """(number, position, received, soft state of now, seconds), or why not.  `count`: as if it knew of so many
        requests."""
        secrets = Secrets(**soft["secrets"] | {"k": bytes.fromhex(soft["secrets"]["k"])})
        if count is not None:
            secrets = dataclasses.replace(secrets, sent=count)
        client = Peer(ipaddress.ip_address(soft["client"][0]), soft["client"][1])
        began = time.monotonic()
        try:
            taken = await takeover.take_over(secrets, client, Options(**soft["options"]), tries=tries)
        except Refused as error:
            return {"refused": error.reason, "unanswered": error.unanswered, "gone": error.gone}
        took = time.monotonic() - began
        now = dataclasses.asdict(taken.secrets)
        now["k"] = now["k"].hex()
        _reset_if_killed(taken.sock, True)
        number = self._add(taken.sock)
        return {
            "number": number,
            "position": taken.position,
            "received": taken.received,
            "soft": soft | {"secrets": now, "options": dataclasses.asdict(taken.options)},
            "seconds": took,
        }

    async def attempt(self, key: int, *arguments: Any) -> int:
        """`take_over` in the background; `give_up` ends it."""
        self._attempts[key] = asyncio.ensure_future(self.take_over(*arguments))
        return key

    async def give_up(self, key: int) -> str:
        task = self._attempts.pop(key)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
            return "it was done"
        return "cancelled"

    async def take_all(self, softs: list[dict[str, Any]]) -> list[Any]:
        """All at once, and how long that took until the last was there: the last element."""
        began = time.monotonic()
        found: list[Any] = list(await asyncio.gather(*(self.take_over(soft) for soft in softs)))
        return [*found, time.monotonic() - began]

    async def stream(self, number: int, size: int, start: int) -> int:
        """Sends the stream from that offset to its end, in the background, and ends the connection in order."""
        self._streams[number] = asyncio.ensure_future(self._stream(self._sockets[number], size, start))
        return number

    async def _stream(self, sock: socket.socket, size: int, start: int) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):  # the client has gone, or another has the connection
            while start < length(size):
                piece = content(size, start, PIECE)
                await loop.sock_sendall(sock, piece)
                start += len(piece)
            _reset_if_killed(sock, False)
            sock.shutdown(socket.SHUT_WR)

    async def send(self, number: int, size: int, start: int, count: int) -> int:
        """So many bytes of the stream, and no more for now."""
        await asyncio.get_running_loop().sock_sendall(self._sockets[number], content(size, start, count))
        return count

    async def drop(self, number: int) -> int:
        if number in self._streams:
            self._streams[number].cancel()
        takeover.drop(self._sockets[number])
        return number

    async def close(self, number: int) -> int:
        _reset_if_killed(self._sockets[number], False)
        self._sockets[number].close()
        return number

    async def names(self, number: int) -> list[Any]:
        sock = self._sockets[number]
        return [*sock.getsockname()[:2], *sock.getpeername()[:2]]

    async def unacknowledged(self, number: int) -> int:
        info = self._sockets[number].getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        return int(struct.unpack_from("=I", info, 24)[0])

    async def descriptors(self) -> int:
        """How many this program has open."""
        return len(os.listdir("/proc/self/fd"))


async def main() -> None:
    server, loop = Server(), asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 24)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        name, *arguments = json.loads(line)
        try:
            answer = await getattr(server, name)(*arguments)
        except (OSError, Refused) as error:
            answer = f"{type(error).__name__}: {error}"
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
