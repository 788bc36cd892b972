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
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

from migrate.linux.borrow import borrow, holders
from migrate.linux.netlink import Netlink, attributes
from migrate.linux.sockdiag import NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY

LARGE = 4 << 20
"""An answer of so many bytes is worth the search for the server's end."""
MOST_SESSIONS = 32
"""With more of them there is always somebody who can go on, and the room that all have together is the machine's."""
FEW_DESCRIPTORS = 64
"""So many are looked through at once: a tenth of a millisecond."""
SIZE = 2 << 20

_SO_SNDBUFFORCE, _SO_COOKIE = 32, 57
_UCRED, _COOKIE = struct.Struct("=iII"), struct.Struct("=II")
_ANY, _SHOW_PEER, _PEER = 0xFFFFFFFF, 4, 2  # UDIAG_SHOW_PEER, UNIX_DIAG_PEER
_REQUEST, _ANSWER, _INODE = struct.Struct("=BBxxIIIII"), struct.Struct("=BBBBIII"), struct.Struct("=I")


class Rooms:
    """Makes it, and remembers where the server's processes are."""

    def __init__(self) -> None:
        self._worker = 0
        """Who has accepted the last connection."""
        self._in_vain: set[int] = set()
        """Processes that listened, and whose server is out of reach."""

    def make(self, sock: socket.socket, beside: Callable[[Coroutine[Any, Any, None]], object]) -> None:
        """Lets the process at the other end of a connected unix socket write `SIZE` bytes ahead.  A long search is done
        `beside` all else.  Where it cannot be done (another PID namespace, no rights, no unix_diag in the kernel), all
        goes on as it was: slower, not wrong."""
        listened, _, _ = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        if listened in self._in_vain:
            return
        cookie = _COOKIE.unpack(sock.getsockopt(socket.SOL_SOCKET, _SO_COOKIE, _COOKIE.size))
        with contextlib.suppress(OSError):
            inode = _peer(os.fstat(sock.fileno()).st_ino, cookie)
            if inode and not (_has_few_descriptors(self._worker) and self._widen([self._worker], inode)):
                beside(asyncio.to_thread(self._search, inode, listened))

    def _search(self, inode: int, listened: int) -> None:
        with contextlib.suppress(OSError):
            if not any(self._widen(pids, inode) for pids in self._families(listened)):
                self._in_vain.add(listened)

    def _widen(self, pids: list[int], inode: int) -> bool:
        """Whether one of these processes holds that socket."""
        holder = holders(pids, {inode}).get(inode)
        if holder is None:
            return False
        self._worker = holder.pid
        end = borrow(holder)
        if end is not None:
            with end:
                end.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, SIZE)
        return True

    def _families(self, listened: int) -> Iterator[list[int]]:
        """Whom to ask, the likely ones first.  Who listened is the parent of those that accept, unless he has gone
        (nginx in the background)."""
        for pid in (_parent(self._worker), listened):
            yield [pid, *_children(pid)]
        yield [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _has_few_descriptors(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError):  # it has ended, or there has been none yet
        return len(os.listdir(f"/proc/{pid}/fd")) <= FEW_DESCRIPTORS
    return False


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):  # it has ended, or the kernel does not tell
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _parent(pid: int) -> int:
    """The process above it; itself where there is none, or it has ended."""
    with contextlib.suppress(OSError):
        text = Path(f"/proc/{pid}/stat").read_text()
        return int(text[text.rindex(")") + 1 :].split()[1]) or pid
    return pid


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
