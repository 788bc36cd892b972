"""The replica's own server, behind the wedge: a TCP port on loopback, or a unix socket."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import dataclass

from migrate.failover.mapping import Begin, Plan
from migrate.failover.sockets import connect_here

READ_BYTES = 1 << 16
PATIENCE_SECONDS = 60.0


class BackendGone(Exception):
    """It cannot be reached (`down`), or has closed too early; the message says which."""

    def __init__(self, reason: str, down: bool = False) -> None:
        super().__init__(reason)
        self.down = down


@dataclass(frozen=True, slots=True)
class Backend:
    """Where it listens: `("127.0.0.1", 8081)`, or the path of a unix socket."""

    where: tuple[str, int] | str

    @classmethod
    def parse(cls, text: str) -> Backend:
        """Of HOST:PORT or unix:PATH.  Raises ValueError."""
        if text.startswith("unix:"):
            return cls(text[5:])
        host, _, port = text.rpartition(":")
        if not host or not port.isdigit():
            raise ValueError(f"{text} is neither HOST:PORT nor unix:PATH")
        return cls((host.strip("[]"), int(port)))

    async def connect(self) -> socket.socket:
        """Raises `BackendGone`."""
        try:
            if isinstance(self.where, str):
                return await connect_here(self.where)
            return await _connect(*self.where)
        except OSError as error:
            raise BackendGone(f"the backend cannot be reached: {error.strerror}", down=True) from error


async def _connect(host: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (host, port))
    except BaseException:
        sock.close()
        raise
    return sock


async def ask(sock: socket.socket, plan: Plan) -> tuple[Begin, bytes]:
    """Sends a plan's request; how its answer begins, and what of the client's bytes came with the head.

    Raises `BackendGone`, `Differs`."""
    loop = asyncio.get_running_loop()
    received = b""
    try:
        await loop.sock_sendall(sock, plan.ask)
        while (begin := plan.begin(received)) is None:
            chunk = await loop.sock_recv(sock, READ_BYTES)
            if not chunk:
                raise BackendGone("the backend closed before it had answered")
            received += chunk
    except OSError as error:
        raise BackendGone(f"the backend failed: {error.strerror}") from error
    return begin, received[begin.consumed :]


async def probe(backend: Backend, plan: Plan) -> None:
    """Asks on a connection of its own.  Raises `BackendGone`, `Differs`."""
    sock = await backend.connect()
    with contextlib.closing(sock):
        async with asyncio.timeout(PATIENCE_SECONDS):
            await ask(sock, plan)
