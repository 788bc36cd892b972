"""A TCP segment with its IP header, to and from bytes (RFC 791, 8200, 9293, 7323, 2018)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from migrate.core.options import OPTIONS_MAX, OptionError, find

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16

Address = IPv4Address | IPv6Address

_TIMESTAMP_KIND, _SACK_KIND, _WINDOW_SCALE_KIND = 8, 5, 3
_NOP = 1
_TCP_PROTOCOL = 6
_HOPS = 64
_DONT_FRAGMENT, _FRAGMENTED = 0x4000, 0x3FFF
_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_IPV6 = struct.Struct("!IHBB16s16s")
_TCP = struct.Struct("!HHIIBBHHH")
_PSEUDO_V4 = struct.Struct("!4s4sBBH")
_PSEUDO_V6 = struct.Struct("!16s16sII")
_TIMESTAMP = struct.Struct("!BBBBII")
_TIMES = struct.Struct("!II")


class SegmentError(ValueError):
    """Bytes that are no TCP segment in an IP packet."""


@dataclass(frozen=True, slots=True)
class Segment:
    """`src` and `dst` are of one IP version; `window` is raw, unscaled; `options` are padded to 4 bytes by `pack`."""

    src: Address
    sport: int
    dst: Address
    dport: int
    flags: int
    seq: int
    ack: int = 0
    window: int = 0
    options: bytes = b""
    payload: bytes = b""

    @property
    def length(self) -> int:
        """What it takes of the sequence space: its payload, and one each for SYN and FIN."""
        return len(self.payload) + bool(self.flags & SYN) + bool(self.flags & FIN)

    def pack(self) -> bytes:
        """The whole IP packet, checksums included.  No segment of this project is to be fragmented."""
        if self.src.version != self.dst.version:
            raise SegmentError(f"{self.src} and {self.dst} are of different IP versions")
        options = self.options + bytes(-len(self.options) % 4)
        if len(options) > OPTIONS_MAX:
            raise SegmentError(f"{len(options)} bytes of TCP options, {OPTIONS_MAX} have room")
        header_words = (_TCP.size + len(options)) // 4
        tcp = (
            _TCP.pack(self.sport, self.dport, self.seq, self.ack, header_words << 4, self.flags, self.window, 0, 0)
            + options
            + self.payload
        )
        src, dst = self.src.packed, self.dst.packed
        if self.src.version == 4:
            pseudo = _PSEUDO_V4.pack(src, dst, 0, _TCP_PROTOCOL, len(tcp))
            bare = (0x45, 0, _IPV4.size + len(tcp), 0, _DONT_FRAGMENT, _HOPS, _TCP_PROTOCOL)
            ip = _IPV4.pack(*bare, _checksum(_IPV4.pack(*bare, 0, src, dst)), src, dst)
        else:
            pseudo = _PSEUDO_V6.pack(src, dst, len(tcp), _TCP_PROTOCOL)
            ip = _IPV6.pack(0x60000000, len(tcp), _TCP_PROTOCOL, _HOPS, src, dst)
        return b"".join((ip, tcp[:16], _checksum(pseudo + tcp).to_bytes(2, "big"), tcp[18:]))

    @classmethod
    def parse(cls, packet: bytes) -> Segment:
        """From an IP packet; bytes after the packet's own length are padding.

        The checksums are not looked at: one that the network card is to fill in is not there yet.
        Raises SegmentError."""
        if not packet:
            raise SegmentError("an empty packet")
        if packet[0] >> 4 == 4:
            src, dst, at, end = _parse_v4(packet)
        elif packet[0] >> 4 == 6:
            src, dst, at, end = _parse_v6(packet)
        else:
            raise SegmentError(f"IP version {packet[0] >> 4}")
        if end > len(packet):
            raise SegmentError(f"the packet is {end} bytes long, {len(packet)} are there")
        if at + _TCP.size > end:
            raise SegmentError("the packet ends within the TCP header")
        sport, dport, seq, ack, offset, flags, window, _, _ = _TCP.unpack_from(packet, at)
        data = at + (offset >> 4) * 4
        if data < at + _TCP.size or data > end:
            raise SegmentError(f"the TCP header claims {data - at} bytes")
        return cls(src, sport, dst, dport, flags, seq, ack, window, packet[at + _TCP.size : data], packet[data:end])


def _parse_v4(packet: bytes) -> tuple[Address, Address, int, int]:
    if len(packet) < _IPV4.size:
        raise SegmentError("the packet ends within the IP header")
    first, _, total, _, fragment, _, protocol, _, src, dst = _IPV4.unpack_from(packet)
    at = (first & 0x0F) * 4
    if at < _IPV4.size:
        raise SegmentError(f"the IP header claims {at} bytes")
    if protocol != _TCP_PROTOCOL or fragment & _FRAGMENTED:
        raise SegmentError("not a whole TCP segment")
    return IPv4Address(src), IPv4Address(dst), at, total


def _parse_v6(packet: bytes) -> tuple[Address, Address, int, int]:
    if len(packet) < _IPV6.size:
        raise SegmentError("the packet ends within the IP header")
    _, length, protocol, _, src, dst = _IPV6.unpack_from(packet)
    if protocol != _TCP_PROTOCOL:
        raise SegmentError("not a TCP segment right behind the IP header")
    return IPv6Address(src), IPv6Address(dst), _IPV6.size, _IPV6.size + length


def _checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071): as one large number, whose remainder is the sum with end-around carry."""
    if len(data) % 2:
        data += b"\0"
    return (0xFFFF - int.from_bytes(data, "big") % 0xFFFF) % 0xFFFF


def timestamp_option(tsval: int, tsecr: int) -> bytes:
    """A Timestamp option as every stack writes it: two NOPs, then 10 bytes."""
    return _TIMESTAMP.pack(_NOP, _NOP, _TIMESTAMP_KIND, 10, tsval, tsecr)


def window_scale_option(shift: int | None) -> bytes:
    """A window scale option, behind a NOP; nothing where there is no scale."""
    return b"" if shift is None else bytes((_NOP, _WINDOW_SCALE_KIND, 3, shift))


def sack_option(blocks: Sequence[tuple[int, int]]) -> bytes:
    """SACK blocks, each (first byte, byte after the last), behind two NOPs; at most 3 beside a Timestamp, 4 alone."""
    if not blocks:
        return b""
    if len(blocks) > 4:
        raise OptionError(f"{len(blocks)} SACK blocks, 4 have room")
    return bytes((_NOP, _NOP, _SACK_KIND, 2 + 8 * len(blocks))) + b"".join(_TIMES.pack(*block) for block in blocks)


def timestamp(options: bytes) -> tuple[int, int] | None:
    """(TSval, TSecr), or None where there is none.  Raises OptionError."""
    data = find(options, _TIMESTAMP_KIND)
    if data is None:
        return None
    if len(data) != 8:
        raise OptionError(f"a Timestamp option has 8 bytes of data, this one {len(data)}")
    tsval, tsecr = _TIMES.unpack(data)
    return tsval, tsecr


def sack_blocks(options: bytes) -> tuple[tuple[int, int], ...]:
    """The SACK blocks, empty where there are none.  Raises OptionError."""
    data = find(options, _SACK_KIND) or b""
    if len(data) % 8:
        raise OptionError(f"SACK blocks are 8 bytes each, these are {len(data)} together")
    return tuple((left, right) for left, right in _TIMES.iter_unpack(data))
