"""Reads the queues of TCP sockets by an iterator program (bpf/queues.h): TCP_REPAIR shows but a part of them."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from migrate.core import FourTuple
from migrate.linux import libbpf
from migrate.linux.build import SOURCES
from migrate.linux.maps import TUPLE, pack_tuple

MISSED = 2  # which of a socket's numbers counts the bytes that could not be read

_PIECE = struct.Struct("=III")
_LAYOUT = struct.Struct("=QQ")
# arch/x86/include/asm/page_64_types.h and pgtable_64_types.h: where memory and its struct pages begin, unless that was
# drawn at boot, with page tables of four levels and of five.
_FOUR_LEVELS = (0xFFFF888000000000, 0xFFFFEA0000000000)
_FIVE_LEVELS = (0xFF11000000000000, 0xFFD4000000000000)


@dataclass(frozen=True, slots=True)
class Queue:
    """What was read of one socket: the numbers of the program's `struct wish`, all 0 where there is no such socket, and
    pieces as they were met, each (first sequence number, bytes)."""

    numbers: tuple[int, ...]
    pieces: tuple[tuple[int, bytes], ...]


class Queues:
    """One iterator program, loaded once; reads in the network namespace of the calling thread."""

    def __init__(self, file: str, program: str, numbers: int) -> None:
        """`numbers`: how many its `struct wish` has.  Raises `libbpf.BpfError` where this kernel does not let it in."""
        self._object = libbpf.Object(SOURCES / file)
        self._wish = struct.Struct(f"={numbers}I")
        self._wanted = self._object.map("wanted", TUPLE.size, self._wish.size)
        layout = _FIVE_LEVELS if " la57 " in Path("/proc/cpuinfo").read_text() else _FOUR_LEVELS
        self._object.map("layouts", 4, _LAYOUT.size).set(bytes(4), _LAYOUT.pack(*layout))
        self._found: list[bytes] = []
        self._ring = libbpf.RingBuffer(self._object.map("pieces", 0, 0), self._found.append)
        self._walk = libbpf.Walk(self._object.program(program))

    def forget(self) -> None:
        """What a reader has left that was killed while it read."""
        for key in list(self._wanted):
            self._wanted.delete(key)
        self._ring.consume()
        self._found.clear()

    def read(self, pairs: Iterable[FourTuple]) -> dict[FourTuple, Queue]:
        """The queues of these connections."""
        keys = {pair: pack_tuple(pair) for pair in pairs}
        for index, key in enumerate(keys.values()):
            self._wanted.set(key, self._wish.pack(index, *bytes(self._wish.size // 4 - 1)))
        try:
            self._walk.run()
            self._ring.consume()
            found, self._found[:] = self._found[:], []
            read = [self._wanted.get(key) for key in keys.values()]
        finally:
            for key in keys.values():
                self._wanted.delete(key)
        pieces: list[list[tuple[int, bytes]]] = [[] for _ in keys]
        for raw in found:
            index, number, length = _PIECE.unpack_from(raw)
            pieces[index].append((number, raw[_PIECE.size : _PIECE.size + length]))
        return {
            pair: Queue(self._wish.unpack(read[index] or bytes(self._wish.size)), tuple(pieces[index]))
            for index, pair in enumerate(keys)
        }
