"""What the daemon and the eBPF programs tell one another: the twins of bpf/shared.h.

Addresses are `ipaddress` objects here and 16 bytes (IPv4 as v4-mapped) in the maps; sequence numbers are
host-order integers on both sides.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from migrate.core import FourTuple
from migrate.linux.libbpf import Map

if TYPE_CHECKING:
    from migrate.linux.places import Places

WATCH_MUTE_OUT, WATCH_MUTE_IN, WATCH_HOLD, WATCH_SYNACK = 1, 2, 4, 8
WATCH_ALL = 15
HANDSHAKE_MARK = 0x4D494752
REPORT_MIGRATE_SYN, REPORT_RST, REPORT_SYNACK, REPORT_HELD, REPORT_CURVE = 1, 2, 3, 4, 5
HS_INITIATOR, HS_SENT_KEY, HS_PEER_KEY, HS_INSECURE, HS_ADOPTED = 1, 2, 4, 8, 16
HS_ESTABLISHED, HS_LEAVING, HS_WRITING = 32, 64, 128
KEY_SLOTS = 4
SEED_WORDS = 11
PLACE_BITS = 16
PLACE_WORDS = (1 << PLACE_BITS) // 64
STATE_BYTES = 192

TUPLE = struct.Struct("!16s16sHH")
HANDSHAKE = struct.Struct("=IIII3x25s3x25s")
STATE = struct.Struct(f"=II{STATE_BYTES}s")
WATCH = struct.Struct("=IxxxxQ")
SLOT = struct.Struct("=I3x25s")
SETTINGS = struct.Struct("=QIII2s2x" + "32s" * 2 * KEY_SLOTS + f"{8 * SEED_WORDS}s")
_ALIVE_UNTIL = struct.Struct("=Q")  # their first field, which is written at each rebind
COUNTERS = struct.Struct("=II")
REPORT = struct.Struct("=IIQ")
PROOF = struct.Struct("=III25s3x")
TOKEN_BYTES = 8
PRIVATE_KEY_BYTES = 24
# The eBPF side acts for a daemon that has been heard of within so long.
PROMISE_SECONDS = 5.0

_MAPPED = bytes(10) + b"\xff\xff"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def pack_address(address: Address) -> bytes:
    return _MAPPED + address.packed if address.version == 4 else address.packed


def unpack_address(raw: bytes) -> Address:
    if raw.startswith(_MAPPED):
        return ipaddress.IPv4Address(raw[12:])
    return ipaddress.IPv6Address(raw)


def pack_tuple(tuple_: FourTuple) -> bytes:
    local, remote = pack_address(tuple_.local_ip), pack_address(tuple_.remote_ip)
    return TUPLE.pack(local, remote, tuple_.local_port, tuple_.remote_port)


def unpack_tuple(raw: bytes) -> FourTuple:
    local, remote, local_port, remote_port = TUPLE.unpack(raw)
    return FourTuple(unpack_address(local), local_port, unpack_address(remote), remote_port)


@dataclass(frozen=True, slots=True)
class Negotiated:
    """What the first handshake of a migratable connection settled."""

    ni: int
    na: int
    key_number: int
    initiator: bool
    own_key: bytes
    peer_key: bytes
    insecure: bool = False  # without keys: K is all zero
    adopted: bool = False  # taken over from another host: `own_key` is the secret K itself

    def pack(self) -> bytes:
        flags = HS_SENT_KEY | HS_PEER_KEY | (HS_INITIATOR if self.initiator else 0)
        flags |= (HS_INSECURE if self.insecure else 0) | (HS_ADOPTED if self.adopted else 0)
        return HANDSHAKE.pack(self.ni, flags, self.na, self.key_number, self.own_key, self.peer_key)

    @classmethod
    def unpack(cls, raw: bytes) -> Negotiated:
        ni, flags, na, key_number, own_key, peer_key = HANDSHAKE.unpack_from(raw)
        insecure, adopted = bool(flags & HS_INSECURE), bool(flags & HS_ADOPTED)
        return cls(ni, na, key_number, bool(flags & HS_INITIATOR), own_key, peer_key, insecure, adopted)

    @classmethod
    def of_another_host(cls, ni: int, na: int, k: bytes) -> Negotiated:
        """What a replica knows of a connection whose server it becomes; `k` has 25 bytes."""
        return cls(ni, na, 0, False, k, bytes(len(k)), adopted=True)


class Connections:
    """The migratable connections by present address pair: what their handshake settled, and the core's state of those
    that have moved.  Most are where their handshake was (`Places`); those that the daemon has carried, and those whose
    place another wanted, are in a table.  All of it is pinned."""

    def __init__(self, table: Map, states: Map, places: Places) -> None:
        self._table, self._states, self._places = table, states, places
        self._seen: set[bytes] = set()  # in the table

    def __iter__(self) -> Iterator[tuple[FourTuple, Negotiated, bytes]]:
        """Address pair, negotiated facts, and state: empty where it has never moved."""
        # The places first: what leaves one meanwhile is then met in the table.  It may be met twice.
        yield from map(self._entry, self._places)
        self._seen = set(self._table)
        yield from self._in_table()

    def at_hand(self) -> Iterator[tuple[FourTuple, Negotiated, bytes]]:
        """As `iter`, without those in the table that have come there since it was last searched, but for this
        process's own.  It is large and mostly empty: a search takes a quarter of a millisecond, however few there
        are."""
        yield from map(self._entry, self._places)
        yield from self._in_table()

    def _in_table(self) -> Iterator[tuple[FourTuple, Negotiated, bytes]]:
        for key in list(self._seen):
            value = self._table.get(key)
            if value is None:
                self._seen.discard(key)
            else:
                yield self._entry((key, value))

    def _entry(self, found: tuple[bytes, bytes]) -> tuple[FourTuple, Negotiated, bytes]:
        key, value = found
        negotiated = Negotiated.unpack(value)
        return unpack_tuple(key), negotiated, self._state(key, negotiated)

    def state(self, tuple_: FourTuple, negotiated: Negotiated) -> bytes:
        """Of a connection whose socket need not have that address pair at present."""
        return self._state(pack_tuple(tuple_), negotiated)

    def get(self, tuple_: FourTuple) -> tuple[Negotiated, bytes] | None:
        key = pack_tuple(tuple_)
        # In this order, because one that leaves its place is in the table before it has left.
        value = self._places.get(key) or self._table.get(key)
        if value is None:
            return None
        negotiated = Negotiated.unpack(value)
        return negotiated, self._state(key, negotiated)

    def _state(self, key: bytes, negotiated: Negotiated) -> bytes:
        raw = self._states.get(key)
        if raw is None:
            return b""
        ni, na, state = STATE.unpack(raw)
        return state if (ni, na) == (negotiated.ni, negotiated.na) else b""

    def put(self, tuple_: FourTuple, negotiated: Negotiated, state: bytes) -> None:
        """Raises ValueError for a state that does not fit."""
        if len(state) > STATE_BYTES:
            raise ValueError(f"{len(state)} bytes of state do not fit {STATE_BYTES}")
        key = pack_tuple(tuple_)
        self._states.set(key, STATE.pack(negotiated.ni, negotiated.na, state))
        self._table.set(key, negotiated.pack())
        self._seen.add(key)

    def remove(self, tuple_: FourTuple) -> None:
        key = pack_tuple(tuple_)
        self._table.delete(key)
        self._places.remove(key)
        self._states.delete(key)

    def put_state(self, tuple_: FourTuple, negotiated: Negotiated, state: bytes) -> None:
        """Only the state: the connection itself comes and goes with its socket."""
        self._states.set(pack_tuple(tuple_), STATE.pack(negotiated.ni, negotiated.na, state))

    def sweep(self) -> None:
        """Forgets the states of connections that are no more."""
        for key in list(self._states):
            if self._places.get(key) is None and self._table.get(key) is None:
                self._states.delete(key)


class Proofs:
    """What the eBPF side proves Migrate SYNs with, by token; for one thing alone: which reports it may leave out in a
    flood."""

    def __init__(self, table: Map) -> None:
        self._table = table

    def put(self, token: bytes, accepted: int, ni: int, na: int, k: bytes) -> None:
        """`accepted`: the full count of the last request of the peer's that was accepted."""
        isns = (socket.htonl(ni), socket.htonl(na))  # as they are hashed
        self._table.set(token, PROOF.pack(accepted, *isns, k))

    def remove(self, token: bytes) -> None:
        self._table.delete(token)

    def clear(self) -> None:
        for token in list(self._table):
            self._table.delete(token)


@dataclass(frozen=True, slots=True)
class Settings:
    alive_until: int
    watching: bool
    insecure: bool
    slots: tuple[tuple[int, bytes], ...]  # (number, public key)
    seed: bytes
    spare: tuple[tuple[int, bytes], ...]  # those before them, or those to come
    turn: int = 0  # its last bit: where in the map the slots that serve are
    guarded: int = 0


class Switchboard:
    """The settings that the eBPF side obeys, and the address pairs that it treats specially."""

    def __init__(self, settings: Map, counters: Map, watches: Map) -> None:
        self._settings, self._counters, self._watches = settings, counters, watches
        self._until: dict[bytes, int] = {key: WATCH.unpack(value)[1] for key, value in watches.items()}
        present = self.read()
        if not any(present.seed):
            present = replace(present, seed=os.urandom(8 * SEED_WORDS))
            self.write(present)
        self._watching = present.watching

    def read(self) -> Settings:
        raw = self._settings.get(bytes(4))
        assert raw is not None
        alive_until, watching, insecure, turn, guarded, *slots, seed = SETTINGS.unpack(raw)
        keys = tuple(SLOT.unpack(slot) for slot in slots)
        sets = keys[:KEY_SLOTS], keys[KEY_SLOTS:]
        serving, spare = sets if turn % 2 == 0 else sets[::-1]
        port = int.from_bytes(guarded, "big")
        return Settings(alive_until, bool(watching), bool(insecure), serving, seed, spare, turn, port)

    def write(self, settings: Settings) -> None:
        sets = (settings.slots, settings.spare) if settings.turn % 2 == 0 else (settings.spare, settings.slots)
        slots = [SLOT.pack(*slot) for one in sets for slot in one]
        flags = settings.watching, settings.insecure, settings.turn, settings.guarded.to_bytes(2, "big")
        self._settings.set(bytes(4), SETTINGS.pack(settings.alive_until, *flags, *slots, settings.seed))

    def counters(self) -> tuple[int, set[int]]:
        """How many migratable connections there have been (modulo 2^32), and the numbers of the key pairs that the
        processors have used last."""
        raw = self._counters.get(bytes(4))
        assert raw is not None
        established, used = zip(*COUNTERS.iter_unpack(raw), strict=True)
        return sum(established) & 0xFFFFFFFF, set(used) - {0}

    def set_keys(self, slots: tuple[tuple[int, bytes], ...]) -> None:
        """These serve from now on.  The eBPF side may be copying one of those before them: they stay as they are."""
        before = self.read()
        self.write(replace(before, spare=slots))
        self.write(replace(before, slots=slots, spare=before.slots, turn=(before.turn + 1) & 0xFFFFFFFF))

    def set_insecure(self, insecure: bool) -> None:
        """From now on ask for the insecure variant, and answer who asks for it; or neither."""
        self.write(replace(self.read(), insecure=insecure))

    def guard(self, port: int) -> None:
        """No RST leaves from this port of any address; 0: from all again."""
        self.write(replace(self.read(), guarded=port))

    def promise(self, seconds: float) -> None:
        """The daemon will be there for so long; 0: it is gone, every segment passes."""
        until = time.monotonic_ns() + int(seconds * 1e9) if seconds else 0
        raw = self._settings.get(bytes(4))
        assert raw is not None
        self._settings.set(bytes(4), _ALIVE_UNTIL.pack(until) + raw[_ALIVE_UNTIL.size :])

    def mark(self, tuple_: FourTuple, add: int = 0, remove: int = 0, seconds: float = 86400.0) -> None:
        """Adds and removes WATCH_ flags of an address pair, for so long; without any left it is like all others."""
        key = pack_tuple(tuple_)
        raw = self._watches.get(key)  # not our memory of it: the eBPF side forgets a pair that opens anew
        flags = ((WATCH.unpack(raw)[0] if raw else 0) & ~remove) | add
        if flags:
            until = time.monotonic_ns() + int(seconds * 1e9)
            self._watches.set(key, WATCH.pack(flags, until))
            self._until[key] = until
        else:
            self._watches.delete(key)
            self._until.pop(key, None)
        self._count()

    def holds(self, tuple_: FourTuple) -> bool:
        """Does what arrives on this address pair go to the daemon instead of the kernel?"""
        return bool(self._flags(tuple_) & WATCH_HOLD)

    def is_deaf(self, tuple_: FourTuple) -> bool:
        """Is what arrives on this address pair dropped?"""
        return bool(self._flags(tuple_) & WATCH_MUTE_IN)

    def _flags(self, tuple_: FourTuple) -> int:
        raw = self._watches.get(pack_tuple(tuple_))
        return int(WATCH.unpack(raw)[0]) if raw else 0

    def sweep(self, known: Collection[FourTuple], seconds: float) -> None:
        """Forgets entries whose time is over.  Those of pairs that are not `known` have so many seconds left: a daemon
        marked them and was killed before their connection ended."""
        now = time.monotonic_ns()
        last = now + int(seconds * 1e9)
        for key in self._until.keys() - {pack_tuple(pair) for pair in known}:
            raw = self._watches.get(key)
            if raw and WATCH.unpack(raw)[1] > last:
                self._watches.set(key, WATCH.pack(WATCH.unpack(raw)[0], last))
                self._until[key] = last
        for key in [key for key, until in self._until.items() if until < now]:
            self._watches.delete(key)
            del self._until[key]
        self._count()

    def _count(self) -> None:
        watching = bool(self._until)
        if watching != self._watching:
            self._watching = watching
            self.write(replace(self.read(), watching=watching))
