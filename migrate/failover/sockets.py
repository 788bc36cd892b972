"""What the wedge asks of its clients' sockets."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import struct
import time

from migrate.core.tuples import TcpState
from migrate.linux import repair

BACKLOG = 4096
ASKED_AFTER_SECONDS = 30
"""A client that is silent for so long is asked by its kernel (TCP keepalive) whether it is still there.  One that is
another member's by now, or has ended there, which this member has not heard and nobody may be left to tell, answers by
RST.  One that is away does not answer, and may be so for hours."""
_ASKED_AGAIN_SECONDS, _MOST_QUESTIONS = 75, 127
BUSY_SECONDS, _PAUSE_SECONDS = 2.0, 0.01


def listen(port: int) -> socket.socket:
    """All addresses of both IP versions.  Raises OSError."""
    listener = socket.socket(socket.AF_INET6)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    # The ACK of a request rides on its answer: until the group knows of a request, the client keeps it.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
    mind(listener)
    ask_when_silent(listener)
    listener.bind(("::", port))
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener


def mind(sock: socket.socket, reset: bool = True) -> None:
    """Whoever closes the socket, the kernel if need be, resets its connection (of a listener: those that it accepts).

    A process that is killed would else end its streams by FIN, as if that were all.  The RST leaves a client of Migrate
    in MIGRATE_WAIT, until another member comes or 2MSL are over; any other client sees a reset."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", reset, 0))


def ask_when_silent(sock: socket.socket) -> None:
    """Its client (of a listener: those of the sockets that it accepts), once it has been silent for
    `ASKED_AFTER_SECONDS`."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, ASKED_AFTER_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _ASKED_AGAIN_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _MOST_QUESTIONS)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


async def connect_here(path: str) -> socket.socket:
    """A non-blocking connection to a unix socket.  One whose queue is full (EAGAIN) is tried again for
    `BUSY_SECONDS`: asyncio would take it for connected.  Raises OSError."""
    end = time.monotonic() + BUSY_SECONDS
    while True:
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.setblocking(False)
            sock.connect(path)
            return sock
        except OSError as error:
            sock.close()
            if error.errno != errno.EAGAIN or time.monotonic() >= end:
                raise
        await asyncio.sleep(_PAUSE_SECONDS)


async def drained(sock: socket.socket) -> None:
    """Until the peer has acknowledged everything, our FIN included.  Raises OSError where it ends before."""
    pause = 0.001
    while repair.unacknowledged(sock):
        if repair.state(sock) == TcpState.CLOSE:
            raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        await asyncio.sleep(pause)
        pause = min(2 * pause, 0.05)


async def first_readable(socks: list[socket.socket]) -> set[socket.socket]:
    """Those of which one can be read, or has ended, first."""
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
