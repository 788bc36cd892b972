"""What a rebind has done so far, in a file that outlives the processes that do it.

An append-only log that the guardian and the worker share, and that the next daemon finds should both have been killed.
A record counts from the moment at which the end offset in front covers it, so a worker killed in the middle of a write
leaves the record before it.
"""

from __future__ import annotations

import os
import pickle
import socket
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import Enum
from operator import attrgetter
from pathlib import Path

from migrate.core import FourTuple
from migrate.linux.borrow import Holder
from migrate.linux.maps import pack_tuple, unpack_tuple
from migrate.linux.repair import Checkpoint

_END = struct.Struct("=Q")
_HEADER = struct.Struct("=QQ")  # the end offset; the network namespace's cookie, which no other has until the next boot
_SO_NETNS_COOKIE = 71
_LENGTH = struct.Struct("=I")


class Phase(Enum):
    """How far one connection has come; each is recorded before the first system call after it."""

    TAKEN = "taken"  # borrowed, perhaps in repair mode; nothing is lost yet
    IMAGED = "imaged"  # its checkpoint is in the journal: from here on it can only be finished
    REBUILT = "rebuilt"  # out of repair mode, connected; some of its data may have been handed over
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Order:
    """One connection to be carried from one address pair to another."""

    old: FourTuple
    new: FourTuple
    snd_una: int
    peer_window: int
    preload: bool
    acknowledge: bool
    negotiated: bytes
    state: bytes  # what the pinned table is to hold of it afterwards
    sacked: tuple[tuple[int, int], ...] = ()  # what the peer has beyond a hole


_REST = attrgetter(*(each.name for each in fields(Order) if each.name not in ("old", "new")))
_WHERE = attrgetter(*(each.name for each in fields(Holder)))


@dataclass(slots=True)
class Entry:
    order: Order
    holder: Holder
    reuse_address: int
    phase: Phase = Phase.TAKEN
    image: Checkpoint | None = None


@dataclass(slots=True)
class Story:
    """What the journal tells: None for the port range where no rebind was under way, "" where it has not been touched.
    Entries by the index under which they were taken.  `aside`: sockets that have been bound to a device, if only for a
    moment.  `hurried`: scheduling policies of threads, as they were before some may have been changed."""

    port_range: str | None
    entries: dict[int, Entry]
    aside: list[Holder]
    hurried: dict[int, int]


class Journal:
    """One rebind at a time: `begin`, then records, then `clear`.

    It holds what programs have said and are to hear: the file is root's alone, and `clear` leaves none of it there."""

    def __init__(self, path: Path | None = None) -> None:
        """`path`: on a file system that is gone at the next boot; None: the journal ends with who holds it.  What a
        killed daemon of this network namespace left in the file is there to be read.  Raises `OSError`."""
        self._path = path
        if path is None:
            self._fd = os.memfd_create("migrate-journal")
        else:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            found = os.fstat(self._fd)
            if found.st_uid != os.geteuid() or found.st_mode & 0o077 or not stat.S_ISREG(found.st_mode):
                os.close(self._fd)
                raise PermissionError(1, "somebody else could have written it", str(path))
        header = os.pread(self._fd, _HEADER.size, 0)
        cookie = _namespace_cookie()
        if len(header) < _HEADER.size or _HEADER.unpack(header)[1] != cookie:
            os.pwrite(self._fd, _HEADER.pack(_HEADER.size, cookie), 0)
            self.clear()

    def clear(self) -> None:
        os.pwrite(self._fd, _END.pack(_HEADER.size), 0)
        os.ftruncate(self._fd, _HEADER.size)
        self._end = _HEADER.size

    def remove(self) -> None:
        """For a daemon that ends in order."""
        os.close(self._fd)
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def begin(self) -> None:
        self._append("")

    def ports(self, port_range: str) -> None:
        """What is to be put back, should it not be by who changes it next."""
        self._append(port_range)

    def take(self, index: int, order: Order, holder: Holder, reuse_address: int) -> None:
        # As plain values: classes take ten times as long to be written down, while their programs stand still.
        rest = _REST(order)
        self._append((index, pack_tuple(order.old), pack_tuple(order.new), rest, _WHERE(holder), reuse_address))

    def aside(self, holders: list[Holder]) -> None:
        self._append(holders)

    def hurried(self, policies: Mapping[int, int]) -> None:
        self._append(dict(policies))

    def image(self, index: int, image: Checkpoint) -> None:
        self._append((index, Phase.IMAGED, image))

    def phase(self, index: int, phase: Phase) -> None:
        self._append((index, phase, None))

    def _append(self, record: object) -> None:
        body = pickle.dumps(record, pickle.HIGHEST_PROTOCOL)
        os.pwrite(self._fd, _LENGTH.pack(len(body)) + body, self._end)
        self._end += _LENGTH.size + len(body)
        os.pwrite(self._fd, _END.pack(self._end), 0)

    def read(self) -> Story:
        """Everything recorded, by whichever process; what this one records from now on comes behind it."""
        (end,) = _END.unpack(os.pread(self._fd, _END.size, 0))
        at, port_range, entries, aside = _HEADER.size, None, dict[int, Entry](), list[Holder]()
        hurried: dict[int, int] = {}
        while at < end:
            (length,) = _LENGTH.unpack(os.pread(self._fd, _LENGTH.size, at))
            record = pickle.loads(os.pread(self._fd, length, at + _LENGTH.size))  # our own bytes: see the file's owner
            at += _LENGTH.size + length
            match record:
                case str():
                    port_range = record
                case list():
                    aside += record
                case dict():
                    hurried |= record
                case (int() as index, bytes() as old, bytes() as new, rest, where, int() as reuse):
                    order = Order(unpack_tuple(old), unpack_tuple(new), *rest)
                    entries[index] = Entry(order, Holder(*where), reuse)
                case (int() as index, Phase() as phase, image):
                    entries[index].phase = phase
                    entries[index].image = image or entries[index].image
        self._end = end
        return Story(port_range, entries, aside, hurried)


def _namespace_cookie() -> int:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8), "little")
