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
from collections.abc import Iterator
from dataclasses import dataclass, replace

from migrate.core import FourTuple
from migrate.linux.libbpf import Map

WATCH_MUTE_OUT, WATCH_MUTE_IN, WATCH_HOLD, WATCH_SYNACK = 1, 2, 4, 8
WATCH_ALL = 15
HANDSHAKE_MARK = 0x4D494752
REPORT_MIGRATE_SYN, REPORT_RST, REPORT_SYNACK, REPORT_HELD, REPORT_CURVE = 1, 2, 3, 4, 5
HS_INITIATOR, HS_SENT_KEY, HS_PEER_KEY, HS_INSECURE, HS_ADOPTED = 1, 2, 4, 8, 16
KEY_SLOTS = 4
SEED_WORDS = 11
STATE_BYTES = 192

TUPLE = struct.Struct("!16s16sHH")
HANDSHAKE = struct.Struct("=IIIB25s25sx")
STATE = struct.Struct(f"=II{STATE_BYTES}s")
WATCH = struct.Struct("=IxxxxQ")
SLOT = struct.Struct("=I25s3x")
SETTINGS = struct.Struct("=QII" + "32s" * KEY_SLOTS + f"{8 * SEED_WORDS}s")
COUNTERS = struct.Struct("=II")
REPORT = struct.Struct("=IIQ")
PROOF = struct.Struct("=III25s3x")
TOKEN_BYTES = 8
PRIVATE_KEY_BYTES = 24

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
        return HANDSHAKE.pack(self.ni, self.na, self.key_number, flags, self.own_key, self.peer_key)

    @classmethod
    def unpack(cls, raw: bytes) -> Negotiated:
        ni, na, key_number, flags, own_key, peer_key = HANDSHAKE.unpack_from(raw)
        insecure, adopted = bool(flags & HS_INSECURE), bool(flags & HS_ADOPTED)
        return cls(ni, na, key_number, bool(flags & HS_INITIATOR), own_key, peer_key, insecure, adopted)

    @classmethod
    def of_another_host(cls, ni: int, na: int, k: bytes) -> Negotiated:
        """What a replica knows of a connection whose server it becomes; `k` has 25 bytes."""
        return cls(ni, na, 0, False, k, bytes(len(k)), adopted=True)


class Connections:
    """The pinned tables of migratable connections by present address pair: what their handshake settled, which the eBPF
    side writes, and the core's state of those that have moved, which the daemon does."""

    def __init__(self, table: Map, states: Map) -> None:
        self._table, self._states = table, states

    def __iter__(self) -> Iterator[tuple[FourTuple, Negotiated, bytes]]:
        """Address pair, negotiated facts, and state: empty where it has never moved."""
        for key, value in self._table.items():
            negotiated = Negotiated.unpack(value)
            yield unpack_tuple(key), negotiated, self._state(key, negotiated)

    def get(self, tuple_: FourTuple) -> tuple[Negotiated, bytes] | None:
        key = pack_tuple(tuple_)
        value = self._table.get(key)
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

    def remove(self, tuple_: FourTuple) -> None:
        key = pack_tuple(tuple_)
        self._table.delete(key)
        self._states.delete(key)

    def put_state(self, tuple_: FourTuple, negotiated: Negotiated, state: bytes) -> None:
        """Only the state: the connection itself comes and goes with its socket."""
        self._states.set(pack_tuple(tuple_), STATE.pack(negotiated.ni, negotiated.na, state))

    def sweep(self) -> None:
        """Forgets the states of connections that are no more."""
        for key in list(self._states):
            if self._table.get(key) is None:
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


@dataclass(frozen=True, slots=True)
class Settings:
    alive_until: int
    watching: bool
    insecure: bool
    slots: tuple[tuple[int, bytes], ...]  # (number, public key)
    seed: bytes


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
        alive_until, watching, insecure, *slots, seed = SETTINGS.unpack(raw)
        keys = tuple(SLOT.unpack(slot) for slot in slots)
        return Settings(alive_until, bool(watching), bool(insecure), keys, seed)

    def write(self, settings: Settings) -> None:
        slots = [SLOT.pack(*slot) for slot in settings.slots]
        flags = settings.watching, settings.insecure
        self._settings.set(bytes(4), SETTINGS.pack(settings.alive_until, *flags, *slots, settings.seed))

    def counters(self) -> tuple[int, set[int]]:
        """How many migratable connections there have been (modulo 2^32), and the numbers of the key pairs that the
        processors have used last."""
        raw = self._counters.get(bytes(4))
        assert raw is not None
        established, used = zip(*COUNTERS.iter_unpack(raw), strict=True)
        return sum(established) & 0xFFFFFFFF, set(used) - {0}

    def set_insecure(self, insecure: bool) -> None:
        """From now on ask for the insecure variant, and answer who asks for it; or neither."""
        self.write(replace(self.read(), insecure=insecure))

    def promise(self, seconds: float) -> None:
        """The daemon will be there for so long; 0: it is gone, every segment passes."""
        until = time.monotonic_ns() + int(seconds * 1e9) if seconds else 0
        self.write(replace(self.read(), alive_until=until))

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
        raw = self._watches.get(pack_tuple(tuple_))
        return bool(raw and WATCH.unpack(raw)[0] & WATCH_HOLD)

    def sweep(self) -> None:
        """Forgets entries whose time is over."""
        now = time.monotonic_ns()
        for key in [key for key, until in self._until.items() if until < now]:
            self._watches.delete(key)
            del self._until[key]
        self._count()

    def _count(self) -> None:
        watching = bool(self._until)
        if watching != self._watching:
            self._watching = watching
            self.write(replace(self.read(), watching=watching))
