"""Slide 30's trace by hand: a replica, sB, takes a connection over from sA with PRELOAD and a stale sequence number."""

from __future__ import annotations

from analysis.capture import ACK, PSH, RST, SYN, Packet
from analysis.stream import Stream, join

CLIENT, SA, SB = ("10.0.9.1", 1065), ("10.0.0.1", 8080), ("10.0.0.2", 1033)
NI, NA = 4_000_000_000, 1_000_000_000
PRELOAD = (16, bytes([0x81]) + bytes(16))

# (seconds, source, target, flags, relative seq, relative ack, window, length); slide 30 from 0.000 on, 2 s later here.
LINES = (
    (0.000, CLIENT, SA, SYN, 0, None, 31_856, 0),
    (0.046, SA, CLIENT, SYN | ACK, 0, 1, 32_120, 0),
    (0.046, CLIENT, SA, ACK, 1, 1, 31_856, 0),
    (1.954, SA, CLIENT, PSH | ACK, 1, 1, 31_856, 504),
    (2.000, CLIENT, SA, ACK, 1, 505, 31_856, 0),
    (2.080, SA, CLIENT, PSH | ACK, 505, 1, 31_856, 1448),
    (2.095, SB, CLIENT, SYN, None, None, 0, 0),
    (2.096, CLIENT, SB, SYN | ACK, 0, 1953, 32_120, 0),
    (2.142, SB, CLIENT, ACK, 1953, 1, 32_120, 0),
    (2.174, SA, CLIENT, PSH | ACK, 505, 1, 31_856, 1448),
    (2.174, CLIENT, SA, RST, 1, None, 0, 0),
    (2.241, SB, CLIENT, PSH | ACK, 1953, 1, 32_120, 1460),
    (2.242, CLIENT, SB, ACK, 1, 3413, 32_120, 0),
)


def failover() -> Stream:
    """The trace at the client; sB's Migrate SYN has the raw sequence number 0."""
    packets: list[Packet] = []
    for number, (time, source, target, flags, seq, ack, window, length) in enumerate(LINES, start=1):
        mine, theirs = (NI, NA) if source == CLIENT else (NA, NI)
        raw = 0 if seq is None else (mine + seq) % 2**32
        options = (PRELOAD,) if seq is None else ()
        raw_ack = 0 if ack is None else (theirs + ack) % 2**32
        packets.append(
            Packet(number, 1e9 + time, "cl", *source, *target, flags, raw, raw_ack, window, length, options, "cl.pcap")
        )
    (stream,) = join(packets)
    return stream
