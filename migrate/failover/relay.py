"""Bytes from one socket to another, moved by the kernel (splice(2)): they never come into this process."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
from collections.abc import Callable

PIPE_BYTES = 1 << 18
TURN_BYTES = 4 << 20
"""After so many bytes without a pause, it is the others' turn."""
_F_SETPIPE_SZ = 1031
_FLAGS = 1 | 2  # SPLICE_F_MOVE | SPLICE_F_NONBLOCK
_KEPT = 64


class SourceGone(Exception):
    """The socket that was read from has failed."""


class SinkGone(Exception):
    """The socket that was written to has failed."""


_pipes: list[tuple[int, int]] = []


def _pipe() -> tuple[int, int]:
    if _pipes:
        return _pipes.pop()
    out, into = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    with contextlib.suppress(OSError):  # no more than the default where that is the limit: slower, not wrong
        fcntl.fcntl(into, _F_SETPIPE_SZ, PIPE_BYTES)
    return out, into


def _give_back(pipe: tuple[int, int], inside: int) -> None:
    if inside or len(_pipes) >= _KEPT:
        os.close(pipe[0])
        os.close(pipe[1])
    else:
        _pipes.append(pipe)


async def readable(sock: socket.socket) -> None:
    """Until something can be read, or the end, or an error."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    number = sock.fileno()  # given the socket itself, asyncio makes a description of it each time, by system calls
    loop.add_reader(number, _set, ready)
    try:
        await ready
    finally:
        loop.remove_reader(number)


async def writable(sock: socket.socket) -> None:
    """Until something can be written, or an error."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    number = sock.fileno()
    loop.add_writer(number, _set, ready)
    try:
        await ready
    finally:
        loop.remove_writer(number)


def _set(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


async def copy(source: socket.socket, sink: socket.socket, count: int | None, moved: Callable[[int], None]) -> int:
    """Moves `count` bytes (None: all until the end); how many there were before the source ended.  `moved` is told of
    each piece.  Raises `SourceGone`, `SinkGone`."""
    out, into = pipe = _pipe()
    done, inside, yielded = 0, 0, 0
    try:
        while count is None or done < count:
            try:
                wanted = PIPE_BYTES if count is None else min(PIPE_BYTES, count - done)
                inside = os.splice(source.fileno(), into, wanted, flags=_FLAGS)
            except BlockingIOError:
                await readable(source)
                continue
            except OSError as error:
                raise SourceGone(error.strerror) from error
            if inside == 0:
                break
            done += inside
            while inside:
                try:
                    part = os.splice(out, sink.fileno(), inside, flags=_FLAGS)
                except BlockingIOError:
                    await writable(sink)
                    continue
                except OSError as error:
                    raise SinkGone(error.strerror) from error
                inside -= part
                moved(part)
            if done >= yielded + TURN_BYTES:
                yielded = done
                await asyncio.sleep(0)
    finally:
        _give_back(pipe, inside)
    return done


async def both(one: socket.socket, other: socket.socket, moved: Callable[[int], None], patience: float) -> None:
    """Relays in both directions until both have ended; an end is passed on.  `moved` is told of pieces for `one`, which
    has `patience` seconds to end once `other` has."""

    async def way(source: socket.socket, sink: socket.socket, told: Callable[[int], None]) -> None:
        await copy(source, sink, None, told)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    ways = [asyncio.ensure_future(way(one, other, lambda _: None)), asyncio.ensure_future(way(other, one, moved))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait(ways, timeout=patience if ways[1].done() else None, return_when=asyncio.FIRST_EXCEPTION)
        for task in ways:
            if task.done():
                task.result()
    finally:
        for task in ways:
            task.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
