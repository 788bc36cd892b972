"""Segments to bytes and back; scapy is the second opinion on every field and checksum."""

from __future__ import annotations

import contextlib
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6

from migrate.core import ACK, FIN, SYN, OptionError, Segment, SegmentError, migrate_option, sack_blocks, timestamp

ports, numbers = st.integers(0, 65535), st.integers(0, 2**32 - 1)
rest = {
    "sport": ports,
    "dport": ports,
    "flags": st.integers(0, 255),
    "seq": numbers,
    "ack": numbers,
    "window": ports,
    "options": st.sampled_from([b"", b"\1" * 4, b"\1\1\x08\x0a" + bytes(8), b"\2\4\5\xb4" + b"\1" * 36]),
    "payload": st.binary(max_size=99),
}
v4 = st.builds(Segment, src=st.ip_addresses(v=4), dst=st.ip_addresses(v=4), **rest)
v6 = st.builds(Segment, src=st.ip_addresses(v=6), dst=st.ip_addresses(v=6), **rest)
segments = v4 | v6

SMALL = Segment(IPv4Address("10.1.0.1"), 40000, IPv4Address("10.2.0.1"), 80, SYN, 7, options=b"\x02\x04\x05\xb4")
SMALL6 = Segment(IPv6Address("fd00::1"), 40000, IPv6Address("fd00::2"), 80, ACK, 7, 9, 500, payload=b"abc")


def dissected(packet: bytes) -> Any:
    return IP(packet) if packet[0] >> 4 == 4 else IPv6(packet)


@given(segments)
def test_there_and_back(segment: Segment) -> None:
    assert Segment.parse(segment.pack()) == segment


@given(segments)
@settings(max_examples=50)
def test_scapy_reads_the_same(segment: Segment) -> None:
    packet = dissected(segment.pack())
    tcp = packet[TCP]
    assert (ip_address(packet.src), ip_address(packet.dst)) == (segment.src, segment.dst)
    assert (tcp.sport, tcp.dport, tcp.seq, tcp.ack, tcp.window) == (
        segment.sport,
        segment.dport,
        segment.seq,
        segment.ack,
        segment.window,
    )
    assert int(tcp.flags) == segment.flags
    assert bytes(tcp.payload) == segment.payload
    assert tcp.dataofs == 5 + len(segment.options) // 4


@given(segments)
@example(SMALL)
@example(SMALL6)
@settings(max_examples=50)
def test_checksums_are_scapys(segment: Segment) -> None:
    raw = segment.pack()
    packet = dissected(raw)
    del packet[TCP].chksum
    if segment.src.version == 4:
        del packet.chksum
    assert bytes(packet) == raw


def test_the_bytes_of_a_migrate_syn() -> None:
    """By hand: IPv4 header 20, TCP header 20, option 4."""
    raw = SMALL.pack()
    assert raw[:10].hex() == "4500002c000040004006"
    assert raw[12:36].hex() == "0a0100010a0200019c400050000000070000000060020000"
    assert raw[40:] == b"\x02\x04\x05\xb4"


def test_nothing_is_to_be_fragmented() -> None:
    assert IP(SMALL.pack()).flags == "DF"


def test_options_are_padded() -> None:
    packet = Segment(SMALL.src, 1, SMALL.dst, 2, ACK, 0, options=b"\1").pack()
    assert Segment.parse(packet).options == b"\1\0\0\0"


def test_what_has_no_room_is_not_sent() -> None:
    with pytest.raises(SegmentError, match="40 have room"):
        Segment(SMALL.src, 1, SMALL.dst, 2, ACK, 0, options=bytes(41)).pack()
    with pytest.raises(SegmentError, match="different IP versions"):
        Segment(SMALL.src, 1, SMALL6.dst, 2, ACK, 0).pack()


@pytest.mark.parametrize(
    ("flags", "payload", "length"), [(SYN, b"", 1), (FIN | ACK, b"ab", 3), (ACK, b"", 0), (SYN | FIN, b"a", 3)]
)
def test_what_takes_sequence_space(flags: int, payload: bytes, length: int) -> None:
    assert Segment(SMALL.src, 1, SMALL.dst, 2, flags, 0, payload=payload).length == length


@given(st.binary(max_size=90))
@example(b"\x45" + bytes(39))
@example(b"\x60" + bytes(70))
def test_any_bytes_are_a_segment_or_segmenterror(raw: bytes) -> None:
    with contextlib.suppress(SegmentError):
        Segment.parse(raw)


@given(segments, st.data())
def test_a_damaged_segment_is_a_segment_or_segmenterror(segment: Segment, data: st.DataObject) -> None:
    raw = bytearray(segment.pack())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(SegmentError, OptionError):
        parsed = Segment.parse(bytes(raw))
        migrate_option(parsed)
        timestamp(parsed.options)
        sack_blocks(parsed.options)


@given(segments, st.data())
def test_a_cut_off_segment_is_none(segment: Segment, data: st.DataObject) -> None:
    raw = segment.pack()
    with pytest.raises(SegmentError):
        Segment.parse(raw[: data.draw(st.integers(0, len(raw) - 1))])


@given(segments, st.binary(max_size=20))
def test_padding_behind_the_packet_is_no_payload(segment: Segment, padding: bytes) -> None:
    assert Segment.parse(segment.pack() + padding) == segment


@given(v4, st.binary(min_size=4, max_size=40).filter(lambda raw: len(raw) % 4 == 0))
def test_ip_options_are_stepped_over(segment: Segment, ip_options: bytes) -> None:
    raw = bytearray(segment.pack())
    raw[0] += len(ip_options) // 4
    raw[2:4] = (len(raw) + len(ip_options)).to_bytes(2, "big")
    raw[20:20] = ip_options
    assert Segment.parse(bytes(raw)) == segment


@pytest.mark.parametrize(
    ("at", "value", "says"),
    [
        (0, 0x55, "IP version 5"),
        (0, 0x44, "claims 16 bytes"),
        (9, 17, "not a whole TCP segment"),
        (6, 0x20, "not a whole TCP segment"),  # more fragments
        (7, 1, "not a whole TCP segment"),  # a later fragment
        (3, 45, "45 bytes long"),
        (3, 39, "within the TCP header"),
        (32, 0x40, "claims 16 bytes"),
        (32, 0x70, "claims 28 bytes"),
    ],
)
def test_what_is_wrong_is_said(at: int, value: int, says: str) -> None:
    raw = bytearray(SMALL.pack())
    raw[at] = value
    with pytest.raises(SegmentError, match=says):
        Segment.parse(bytes(raw))


def test_what_is_wrong_with_ipv6_is_said() -> None:
    raw = bytearray(SMALL6.pack())
    raw[6] = 44
    with pytest.raises(SegmentError, match="right behind"):
        Segment.parse(bytes(raw))
    with pytest.raises(SegmentError, match="empty"):
        Segment.parse(b"")
