"""Room for what the replica's own server writes to the wedge through a unix socket.

By default that is 208 KB.  A server fills it within microseconds; then the two take turns, and each turn waits until a
processor has woken up.  An accepted unix socket does not inherit the size that its listener was given, and the default
is the whole machine's: so the server's end is borrowed, as sockets of connections that move are, and given more.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

from migrate.linux.borrow import Holder, borrow, holders
from migrate.linux.netlink import Netlink, attributes
from migrate.linux.sockdiag import NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY

LARGE = 4 << 20
"""Of so many bytes the rest is worth the time that the search for the server's end takes."""
MOST_SESSIONS = 32
"""With more of them there is always somebody who can go on, and the room that all have together is the machine's."""
SIZE = 2 << 20

_SO_SNDBUFFORCE, _SO_COOKIE = 32, 57
_UCRED, _COOKIE = struct.Struct("=iII"), struct.Struct("=II")
_ANY, _SHOW_PEER, _PEER = 0xFFFFFFFF, 4, 2  # UDIAG_SHOW_PEER, UNIX_DIAG_PEER
_REQUEST, _ANSWER, _INODE = struct.Struct("=BBxxIIIII"), struct.Struct("=BBBBIII"), struct.Struct("=I")


class Rooms:
    """Makes it, and remembers where the server's processes are."""

    def __init__(self) -> None:
        self._master = 0
        """Who has, or whose children have, accepted the last connection."""
        self._in_vain: set[int] = set()
        """Processes that listened, and whose server is out of reach."""

    def make(self, sock: socket.socket) -> Coroutine[Any, Any, None]:
        """Lets the process at the other end of a connected unix socket write `SIZE` bytes ahead, without holding up the
        event loop.  Where it cannot be done (another PID namespace, no rights, no unix_diag in the kernel), all goes on
        as it was: slower, not wrong."""
        listened, _, _ = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        cookie = _COOKIE.unpack(sock.getsockopt(socket.SOL_SOCKET, _SO_COOKIE, _COOKIE.size))
        return asyncio.to_thread(self._make, os.fstat(sock.fileno()).st_ino, cookie, listened)

    def _make(self, own: int, cookie: tuple[int, int], listened: int) -> None:
        with contextlib.suppress(OSError):
            peer = _peer(own, cookie) if listened not in self._in_vain else 0
            end = self._held(peer, listened) if peer else None
            if end is not None:
                with end:
                    end.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, SIZE)

    def _held(self, inode: int, listened: int) -> socket.socket | None:
        self._in_vain.add(listened)
        for pids in self._families(listened):
            if (holder := holders(pids, {inode}).get(inode)) is not None:
                self._in_vain.discard(listened)
                self._master = holder.pid if holder.pid == listened else _parent(holder)
                return borrow(holder)
        return None

    def _families(self, listened: int) -> Iterator[list[int]]:
        """Whom to ask, the likely ones first.  Who listened is the parent of those that accept, unless he has gone
        (nginx in the background)."""
        for pid in (self._master, listened):
            yield [pid, *_children(pid)]
        yield [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):  # it has ended, or the kernel does not tell
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _parent(holder: Holder) -> int:
    """Of the process that holds a socket: the process above it, or itself where that is nobody's child."""
    text = Path(f"/proc/{holder.pid}/stat").read_text()
    parent = int(text[text.rindex(")") + 1 :].split()[1])
    return parent if parent > 1 else holder.pid


def _peer(own: int, cookie: tuple[int, int]) -> int:
    """The inode of the socket that the one with this inode and cookie is connected to; 0, which none has, where it is
    gone.  Raises OSError where either is another socket's by now."""
    netlink = Netlink(NETLINK_SOCK_DIAG)
    try:
        request = _REQUEST.pack(socket.AF_UNIX, 0, _ANY, own, _SHOW_PEER, *cookie)
        (answer,) = netlink.get(SOCK_DIAG_BY_FAMILY, request)
        peer = attributes(answer, _ANSWER.size).get(_PEER)
        return int(_INODE.unpack(peer)[0]) if peer else 0
    finally:
        netlink.close()
