"""What a rebind has done so far, in memory that outlives the process that does it.

An append-only log in a memfd that the guardian and the worker share.  A record counts from the moment at which
the end offset in front covers it, so a worker killed in the middle of a write leaves the record before it.
"""

from __future__ import annotations

import os
import pickle
import struct
from dataclasses import dataclass
from enum import Enum

from migrate.core import FourTuple
from migrate.linux.borrow import Holder
from migrate.linux.repair import Checkpoint

_END = struct.Struct("=Q")
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
    peer_window: int | None
    preload: bool
    acknowledge: bool
    negotiated: bytes
    state: bytes  # what the pinned table is to hold of it afterwards
    sacked: tuple[tuple[int, int], ...] = ()  # what the peer has beyond a hole


@dataclass(slots=True)
class Entry:
    order: Order
    holder: Holder
    reuse_address: int
    phase: Phase = Phase.TAKEN
    image: Checkpoint | None = None


@dataclass(slots=True)
class Story:
    """What the journal tells: None for the port range where no rebind was under way.  `aside`: sockets that have been
    bound to a device, if only for a moment."""

    port_range: str | None
    entries: list[Entry]
    aside: list[Holder]


class Journal:
    """One rebind at a time: `begin`, then records, then `clear`."""

    def __init__(self) -> None:
        self._fd = os.memfd_create("migrate-journal")
        self.clear()

    def clear(self) -> None:
        os.pwrite(self._fd, _END.pack(_END.size), 0)
        self._end = _END.size

    def begin(self, port_range: str) -> None:
        self._append(port_range)

    def take(self, index: int, order: Order, holder: Holder, reuse_address: int) -> None:
        self._append((index, order, holder, reuse_address))

    def aside(self, holders: list[Holder]) -> None:
        self._append(holders)

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
        """Everything recorded, by whichever process."""
        (end,) = _END.unpack(os.pread(self._fd, _END.size, 0))
        at, port_range, entries, aside = _END.size, None, dict[int, Entry](), list[Holder]()
        while at < end:
            (length,) = _LENGTH.unpack(os.pread(self._fd, _LENGTH.size, at))
            record = pickle.loads(os.pread(self._fd, length, at + _LENGTH.size))  # our own bytes, from our own memory
            at += _LENGTH.size + length
            match record:
                case str():
                    port_range = record
                case list():
                    aside += record
                case (int() as index, Order() as order, Holder() as holder, int() as reuse):
                    entries[index] = Entry(order, holder, reuse)
                case (int() as index, Phase() as phase, image):
                    entries[index].phase = phase
                    entries[index].image = image or entries[index].image
        return Story(port_range, list(entries.values()), aside)
