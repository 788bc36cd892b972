"""What the tests in this folder see of the wire, put on it, and keep from it."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from migrate.core import Segment, SegmentError
from tests.linux import lab
from topologies.nodes import Host

FAMILY = {4: "ip", 6: "ip6"}
"""As nftables names them, by IP version."""


@dataclass(frozen=True)
class Seen:
    """A TCP segment of a capture; `time` is in seconds since 1970."""

    time: float
    segment: Segment


def read_pcap(path: Path) -> list[Seen]:
    """The TCP segments of tcpdump's file with times in nanoseconds, on Ethernet."""
    raw = path.read_bytes()
    assert raw[:4] == b"\x4d\x3c\xb2\xa1", "no capture with times in nanoseconds, least significant byte first"
    at, found = 24, []
    while at < len(raw):
        seconds, nanoseconds, length, _ = struct.unpack_from("<IIII", raw, at)
        frame = raw[at + 16 : at + 16 + length]
        at += 16 + length
        if frame[12:14] not in (b"\x08\x00", b"\x86\xdd"):
            continue
        with contextlib.suppress(SegmentError):
            found.append(Seen(seconds + nanoseconds / 1e9, Segment.parse(frame[14:])))
    return found


@contextlib.contextmanager
def captured(host: Host, interface: str = "eth0") -> Iterator[list[Seen]]:
    """What passes the interface during the block; the list is filled at its end."""
    path = lab.OUT / f"{host.name}-{interface}-{time.monotonic_ns()}.pcap"
    capture = host.capture(f"{host.name}-{interface}", path)
    seen: list[Seen] = []
    try:
        yield seen
    finally:
        seen += read_pcap(capture.stop())


def inject(host: Host, segment: Segment) -> None:
    """The host sends these very bytes, whosever the source address."""
    inject_all(host, [segment])


def inject_all(host: Host, segments: list[Segment]) -> None:
    with host.entered():
        family = socket.AF_INET if segments[0].dst.version == 4 else socket.AF_INET6
        with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            for segment in segments:
                raw.sendto(segment.pack(), (str(segment.dst), 0))


@contextlib.contextmanager
def dropping(host: Host, version: int, what: str, way: str = "input") -> Iterator[None]:
    """These segments do not reach the host's TCP; captures and Migrate still see them.  Or, by the way "output", they
    do not leave it, not even those that Migrate itself sends."""
    rules = f"table {FAMILY[version]} lose {{ chain passing {{ type filter hook {way} priority 0; {what} drop; }}; }}"
    host.run(["nft", "-f", "-"], stdin=rules, daemon=True)
    yield
    host.run(["nft", "delete table", FAMILY[version], "lose"], daemon=True)
