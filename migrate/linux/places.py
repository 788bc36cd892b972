"""The places of first handshakes and of the connections that they open, as bpf/places.h keeps them."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from migrate.linux.libbpf import Map
from migrate.linux.maps import HANDSHAKE, HS_ESTABLISHED, PLACE_BITS, PLACE_WORDS, SEED_WORDS, TUPLE

# A place changes hands when its word `whose` is written, and its value is read without a lock.
PLACE = struct.Struct(f"=4x{TUPLE.size}s{HANDSHAKE.size}s16x")
WHOSE_AT = 4 + TUPLE.size
OCCUPIED = struct.Struct(f"={PLACE_WORDS}Q")

_STRETCH = struct.Struct("=32Q")
_NOBODY = bytes(_STRETCH.size)  # a stretch of OCCUPIED
_WORDS = struct.Struct("=8I")
_PORTS = struct.Struct("!2H")
_SEED = struct.Struct(f"={SEED_WORDS}Q")
_WHOSE = struct.Struct("=II")
_ALL = (1 << 64) - 1


def index_of(pair: bytes, seed: bytes) -> int:
    """Which place an address pair (as a table's key) has."""
    local: int
    remote: int
    local, remote = _PORTS.unpack_from(pair, _WORDS.size)
    smaller = remote if local > remote else local | 1 << 16
    words: tuple[int, ...] = (*_WORDS.unpack_from(pair), smaller, 0)
    keys: tuple[int, ...] = _SEED.unpack(seed)
    total = keys[-1]
    for at in range(0, len(words), 2):
        total += (keys[at] + words[at + 1] & _ALL) * (keys[at + 1] + words[at] & _ALL)
    return ((total & _ALL) >> (64 - PLACE_BITS)) + max(local, remote) & (1 << PLACE_BITS) - 1


def taken(place: bytes) -> bool:
    """Is a connection in it?  (A handshake that nobody has finished stays until another wants its place.)"""
    return bool(_WHOSE.unpack_from(PLACE.unpack(place)[1])[1] & HS_ESTABLISHED)


class Places:
    """Those in which a connection is.  Only the eBPF side puts one there."""

    def __init__(self, places: Map, occupied: Map, seed: bytes) -> None:
        self._places, self._occupied, self._seed = places, occupied, seed

    def get(self, pair: bytes) -> bytes | None:
        """What the handshake of a connection has settled (`HANDSHAKE`), None where none of that address pair is."""
        found = self._read(index_of(pair, self._seed))
        return found[1] if found and found[0] == pair else None

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        """Address pairs, and what their handshakes have settled."""
        raw = self._occupied.get(bytes(4))
        assert raw is not None
        for start in range(0, len(raw), len(_NOBODY)):
            if raw.startswith(_NOBODY, start):
                continue  # on most hosts most are
            for number, word in enumerate(_STRETCH.unpack_from(raw, start), start // 8):
                while word:
                    lowest = word & -word
                    word ^= lowest
                    found = self._read(number * 64 + lowest.bit_length() - 1)
                    if found:
                        yield found

    def remove(self, pair: bytes) -> None:
        """Frees the place of a connection that is over although the kernel has not said so."""
        index = index_of(pair, self._seed)
        found = self._read(index)
        if found and found[0] == pair:
            self._places.set_word(index * PLACE.size + WHOSE_AT, 0)

    def _read(self, index: int) -> tuple[bytes, bytes] | None:
        key = index.to_bytes(4, "little")
        raw = self._places.get(key)
        while raw is not None and taken(raw):
            again = self._places.get(key)
            if again == raw:  # what is there while a connection lives does not change: so it is of one
                return PLACE.unpack(raw)
            raw = again
        return None
