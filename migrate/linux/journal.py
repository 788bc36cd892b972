"""What a rebind has done so far, in a file that outlives the processes that do it.

An append-only log that the guardian and the worker share, and that the next daemon finds should both have been killed.
A record counts from the moment at which the end offset in front covers it, so a worker killed in the middle of a write
leaves the record before it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import socket
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
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
_KEPT_BYTES = 1 << 20
"""Of the file, so that what a rebind writes down need not wait for pages while its programs stand still."""
_ZEROS = bytes(1 << 16)
_LENGTHS = struct.Struct("=III")  # of a record's own bytes, and of what a program has sent and received


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
        self._end = self._used = os.fstat(self._fd).st_size
        self._kept = _HEADER.size
        if len(header) < _HEADER.size or _HEADER.unpack(header)[1] != cookie:
            os.pwrite(self._fd, _HEADER.pack(_HEADER.size, cookie), 0)
            self.clear()
        with contextlib.suppress(OSError):  # no room for so much, or not beforehand on this file system
            os.posix_fallocate(self._fd, 0, _KEPT_BYTES)
            self._kept = _KEPT_BYTES

    def clear(self) -> None:
        os.pwrite(self._fd, _END.pack(_HEADER.size), 0)
        if self._used > self._kept:
            os.ftruncate(self._fd, self._kept)
        dirty = min(self._used, self._kept)
        for at in range(_HEADER.size, dirty, len(_ZEROS)):
            os.pwrite(self._fd, _ZEROS[: dirty - at], at)
        self._end = self._used = _HEADER.size

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
        """Raises OSError where there is no room for it."""
        # The data as they are: to copy them as often as pickle does takes as long as all else in a rebind.
        bare = replace(image, send_data=b"", recv_data=b"")
        self._append((index, Phase.IMAGED, bare), image.send_data, image.recv_data)

    def phase(self, index: int, phase: Phase) -> None:
        self._append((index, phase, None))

    def _append(self, record: object, sent: bytes = b"", received: bytes = b"") -> None:
        body = pickle.dumps(record, pickle.HIGHEST_PROTOCOL)
        parts = (_LENGTHS.pack(len(body), len(sent), len(received)), body, sent, received)
        end = self._end + sum(map(len, parts))
        self._used = max(self._used, end)
        if os.pwritev(self._fd, parts, self._end) < end - self._end:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._end = end
        os.pwrite(self._fd, _END.pack(self._end), 0)

    def read(self) -> Story:
        """Everything recorded, by whichever process; what this one records from now on comes behind it."""
        (end,) = _END.unpack(os.pread(self._fd, _END.size, 0))
        at, port_range, entries, aside = _HEADER.size, None, dict[int, Entry](), list[Holder]()
        hurried: dict[int, int] = {}
        while at < end:
            lengths = _LENGTHS.unpack(os.pread(self._fd, _LENGTHS.size, at))
            at += _LENGTHS.size
            parts = []
            for length in lengths:
                parts.append(self._read(length, at))
                at += length
            body, sent, received = parts
            record = pickle.loads(body)  # our own bytes: see the file's owner
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
                    if image is not None:
                        entries[index].image = replace(image, send_data=sent, recv_data=received)
        self._end, self._used = end, os.fstat(self._fd).st_size  # a record may be half written behind the end
        return Story(port_range, entries, aside, hurried)

    def _read(self, length: int, at: int) -> bytes:
        """Raises OSError where the file ends before."""
        found = b""
        while len(found) < length:
            more = os.pread(self._fd, length - len(found), at + len(found))
            if not more:
                raise OSError(errno.EIO, "the journal ends in the middle of a record")
            found += more
        return found


def _namespace_cookie() -> int:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8), "little")
