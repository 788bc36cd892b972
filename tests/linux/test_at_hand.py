"""Which connections are told without a search through the large table: all that this process has put there, and those
that the last search has found.  Maps are dictionaries here."""

from __future__ import annotations

from collections.abc import Iterator

from migrate.core import FourTuple
from migrate.linux.maps import Connections, Negotiated, pack_tuple
from migrate.linux.places import OCCUPIED, PLACE, Places, index_of
from tests.linux import lab

SEED = bytes(range(88))
PAIRS = [FourTuple(lab.ip("10.0.0.1"), port, lab.ip("10.0.0.2"), 80) for port in range(1, 1000)]
ESTABLISHED = 32


def negotiated(number: int) -> Negotiated:
    return Negotiated(number, number, 1, True, bytes(25), bytes(25))


class Table:
    """`libbpf.Map`, and how often its keys were searched for."""

    def __init__(self, empty: bytes | None = None) -> None:
        self.values: dict[bytes, bytes] = {}
        self.searched = 0
        self._empty = empty

    def get(self, key: bytes) -> bytes | None:
        return self.values.get(key, self._empty)

    def set(self, key: bytes, value: bytes) -> None:
        self.values[key] = value

    def delete(self, key: bytes) -> bool:
        return self.values.pop(key, None) is not None

    def __iter__(self) -> Iterator[bytes]:
        self.searched += 1
        return iter(list(self.values))


def connections(table: Table, placed: list[FourTuple]) -> Connections:
    places, words = Table(bytes(PLACE.size)), [0] * (OCCUPIED.size // 8)
    for pair in placed:
        index = index_of(pack_tuple(pair), SEED)
        words[index // 64] |= 1 << index % 64
        handshake = bytearray(negotiated(pair.local_port).pack())
        handshake[4] |= ESTABLISHED
        places.set(index.to_bytes(4, "little"), PLACE.pack(pack_tuple(pair), bytes(handshake)))
    occupied = Table(OCCUPIED.pack(*words))
    return Connections(table, Table(), Places(places, occupied, SEED))  # type: ignore[arg-type]


def told(found: Iterator[tuple[FourTuple, Negotiated, bytes]]) -> list[int]:
    return sorted(pair.local_port for pair, _, _ in found)


def test_wherever_a_place_is_it_is_found() -> None:
    ports = [pair.local_port for pair in PAIRS]
    indices = {index_of(pack_tuple(pair), SEED) // 2048 for pair in PAIRS}
    assert indices == set(range(32)), "in each stretch of the bits"
    met = {index_of(pack_tuple(pair), SEED): pair for pair in PAIRS}
    assert told(connections(Table(), PAIRS).at_hand()) == sorted(pair.local_port for pair in met.values())
    assert len(met) > 0.95 * len(ports)


def test_what_others_put_into_the_table_is_told_after_the_next_search() -> None:
    table = Table()
    known = connections(table, PAIRS[:1])
    known.put(PAIRS[1], negotiated(2), b"")
    table.set(pack_tuple(PAIRS[2]), negotiated(3).pack())  # the eBPF side: another wanted its place
    assert told(known.at_hand()) == [1, 2]
    assert table.searched == 0
    assert told(iter(known)) == [1, 2, 3]
    assert table.searched == 1
    assert told(known.at_hand()) == [1, 2, 3]
    table.delete(pack_tuple(PAIRS[1]))  # its socket has ended
    known.remove(PAIRS[2])
    assert told(known.at_hand()) == [1]
    assert table.searched == 1
