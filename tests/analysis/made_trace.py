"""A correct trace of slide 27's download, made in memory: real keys, tokens and requests, simulated times.

A server sends through a slow modem with a queue before it; the mobile acknowledges every packet, loses its address,
and migrates.  `make` gives the rows of one vantage point; tests change single rows and look at what the checker says.
"""

from __future__ import annotations

import heapq
import itertools
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet as ScapyPacket
from scapy.packet import Raw
from scapy.utils import wrpcap

from analysis.capture import ACK, FIN, PSH, SYN, Packet, split_options
from migrate.core import keys
from migrate.core.options import CURVE_P192, Migrate, MigratePermitted
from migrate.core.segment import timestamp_option

EPOCH = 1_700_000_000.25
NI, NA = 0xFFFF_FF00, 0xFFFF_C000  # both sides wrap during the transfer
SHIFT = 2
MSS = 1000
REQUEST_BYTES = 120
MOBILE = keys.KeyPair.from_private(bytes(23) + b"\x21")
SERVER = keys.KeyPair.from_private(bytes(23) + b"\x43")
SECRET = keys.shared_secret(MOBILE.private, SERVER.public)
KEYS = {MOBILE.public: MOBILE.private}
OLD4, NEW4, SERVER4 = "10.0.1.2", "10.0.2.2", "10.0.0.1"
OLD6, NEW6, SERVER6 = "2001:db8:1::2", "2001:db8:2::2", "2001:db8::1"


@dataclass(frozen=True)
class Row:
    """One packet as the vantage point sees it; `tag` says what it is for, `seq` and `ack` are raw."""

    time: float
    tag: str
    src: str
    sport: int
    dst: str
    dport: int
    flags: int
    seq: int
    ack: int
    window: int
    options: bytes
    length: int

    def packet(self, number: int, vantage: str) -> Packet:
        """As `capture.read` would give it."""
        return Packet(
            number, EPOCH + self.time, vantage, self.src, self.sport, self.dst, self.dport, self.flags,
            self.seq % 2**32, self.ack % 2**32, self.window, self.length, split_options(self.options),
            f"{vantage}.pcap",
        )  # fmt: skip

    def scapy(self) -> ScapyPacket:
        """As it goes into a capture file."""
        ip = IPv6(src=self.src, dst=self.dst) if ":" in self.src else IP(src=self.src, dst=self.dst)
        # The options are bytes already, so the header is put together by hand.
        header = struct.pack(
            "!HHIIBBHHH", self.sport, self.dport, self.seq % 2**32, self.ack % 2**32,
            (20 + len(self.options)) // 4 << 4, self.flags, self.window, 0, 0,
        )  # fmt: skip
        packet = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / ip
        packet /= TCP(header + self.options) / Raw(b"x" * self.length) if self.length else TCP(header + self.options)
        packet.time = EPOCH + self.time
        return packet


@dataclass
class Setting:
    """Sizes in bytes, times in seconds."""

    v6: bool = False
    one_way: float = 0.05  # delay of each path
    packet_time: float = 0.1  # what a data packet takes on the modem
    received: int = 12  # data packets that the mobile receives before it moves
    total: int = 40
    window: int = 8  # packets
    away: float = 0.35  # from the last acknowledgement to the Migrate SYN
    in_flight: int = 0  # bytes that the mobile had sent, the server received, and nobody told the mobile
    first_flight: int = 2
    same_port: bool = True
    reqno: int = 1


@dataclass
class _World:
    """Both vantage points' rows, in the making."""

    setting: Setting
    mobile: list[Row] = field(default_factory=list)
    server: list[Row] = field(default_factory=list)
    modem_free: float = 0.0
    events: list[tuple[float, int, Callable[[float], None]]] = field(default_factory=list)
    counter: Iterable[int] = field(default_factory=itertools.count)

    def at(self, time: float, act: Callable[[float], None]) -> None:
        heapq.heappush(self.events, (time, next(iter(self.counter)), act))

    def run(self) -> None:
        while self.events:
            time, _, act = heapq.heappop(self.events)
            act(time)


class _Download:
    def __init__(self, setting: Setting) -> None:
        self.s = setting
        self.w = _World(setting)
        self.old, self.new, self.srv = (OLD6, NEW6, SERVER6) if setting.v6 else (OLD4, NEW4, SERVER4)
        self.request_end = NI + 1 + REQUEST_BYTES
        self.sent = 0  # data packets, by the server
        self.received = 0
        self.acked = 0
        self.away = False
        self.flight = 0
        self.tick = 1000

    # Sending: a row at the sender now, one at the receiver later.

    def up(self, now: float, tag: str, src: str, **fields: object) -> float:
        port = 40000 if src == self.old or self.s.same_port else 40001
        row = self._row(now, tag, src, port, self.srv, 80, fields)
        self.w.mobile.append(row)
        self.w.server.append(replace(row, time=now + self.s.one_way))
        return now + self.s.one_way

    def down(self, now: float, tag: str, dst: str, *, takes: float = 0.0, **fields: object) -> float:
        port = 40000 if dst == self.old or self.s.same_port else 40001
        row = self._row(now, tag, self.srv, 80, dst, port, fields)
        self.w.server.append(row)
        arrival = now + self.s.one_way
        if takes:
            self.w.modem_free = max(self.w.modem_free, now) + takes
            arrival = self.w.modem_free + self.s.one_way
        self.w.mobile.append(replace(row, time=arrival))
        return arrival

    def _row(self, now: float, tag: str, src: str, sport: int, dst: str, dport: int, fields: dict[str, object]) -> Row:
        self.tick += 1
        known: dict[str, object] = {
            "flags": ACK, "seq": 0, "ack": 0, "window": 8192, "options": timestamp_option(self.tick, 900), "length": 0
        }  # fmt: skip
        return Row(now, tag, src, sport, dst, dport, **(known | fields))  # type: ignore[arg-type]

    # What happens.

    def run(self) -> _World:
        options = syn_options(MOBILE.public)
        reached = self.up(0.0, "1", self.old, flags=SYN, seq=NI, window=64240, options=options)
        options = syn_options(SERVER.public)
        reached = self.down(reached, "2", self.old, flags=SYN | ACK, seq=NA, ack=NI + 1, window=65160, options=options)
        self.up(reached, "3", self.old, seq=NI + 1, ack=NA + 1)
        reached = self.up(reached, "get", self.old, seq=NI + 1, ack=NA + 1, flags=ACK | PSH, length=REQUEST_BYTES)
        self.w.at(reached, self.serve)
        self.w.run()
        self.w.mobile.sort(key=lambda row: row.time)
        self.w.server.sort(key=lambda row: row.time)
        return self.w

    def position(self, packets: int) -> int:
        return NA + 1 + packets * MSS

    def serve(self, now: float) -> None:
        self.down(now, "get-ack", self.old, seq=NA + 1, ack=self.request_end)
        for _ in range(self.s.window):
            self.send_old(now)

    def data(self, now: float, tag: str, dst: str) -> float:
        seq = self.position(self.sent)
        return self.down(now, tag, dst, takes=self.s.packet_time, seq=seq, ack=self.request_end, length=MSS)

    def send_old(self, now: float) -> None:
        if self.sent == self.s.total:
            return
        arrival = self.data(now, "data", self.old)
        self.sent += 1
        self.w.at(arrival, self.arrive_old)

    def arrive_old(self, now: float) -> None:
        if self.away:
            return
        self.received += 1
        reached = self.up(now + 0.001, "ack", self.old, seq=self.request_end, ack=self.position(self.received))
        self.w.at(reached, lambda time: None if self.away and time > self.left else self.send_old(time))
        if self.received == self.s.received:
            self.away = True
            self.left = now + self.s.away
            if self.s.in_flight:
                self.up(
                    now + 0.002, "late-request", self.old, seq=self.request_end, ack=self.position(self.received),
                    length=self.s.in_flight,
                )  # fmt: skip
            self.w.at(now + self.s.away, self.move)

    def move(self, now: float) -> None:
        s = self.request_end - 1
        option = Migrate(False, self.s.reqno, TOKEN, proof(s, self.s.reqno))
        reached = self.up(now, "5", self.new, flags=SYN, seq=s, window=0, options=option.encode())
        self.w.at(reached, self.answer)

    def answer(self, now: float) -> None:
        self.request_end += self.s.in_flight
        base = self.position(self.received)
        reached = self.down(
            now + 0.0005, "6", self.new, flags=SYN | ACK, seq=base - 1, ack=self.request_end, options=b""
        )
        self.w.at(reached, self.confirm)

    def confirm(self, now: float) -> None:
        reached = self.up(now + 0.002, "7", self.new, seq=self.request_end, ack=self.position(self.received))
        self.w.modem_free = 0.0
        self.sent = self.received
        self.flight = self.s.first_flight
        self.w.at(reached, self.resume)

    def resume(self, now: float) -> None:
        for _ in range(self.flight):
            self.send_new(now)

    def send_new(self, now: float) -> None:
        if self.sent == self.s.total:
            return
        last = self.sent + 1 == self.s.total
        tag = "8" if self.sent == self.s.received else "last" if last else "new"
        arrival = self.data(now, tag, self.new)
        self.sent += 1
        self.w.at(arrival, self.arrive_new)

    def arrive_new(self, now: float) -> None:
        self.received += 1
        end = self.position(self.received)
        reached = self.up(now + 0.001, "new-ack", self.new, seq=self.request_end, ack=end)
        # Slow start: each acknowledgement lets two packets out.
        self.w.at(reached, self.send_new)
        self.w.at(reached, self.send_new)
        if self.received == self.s.total:
            self.up(now + 0.010, "fin", self.new, flags=FIN | ACK, seq=self.request_end, ack=end)
            there = now + 0.010 + self.s.one_way
            self.down(there, "fin-back", self.new, flags=FIN | ACK, seq=end, ack=self.request_end + 1)
            self.up(there + self.s.one_way, "fin-ack", self.new, seq=self.request_end + 1, ack=end + 1)


TOKEN = keys.token(NI, NA, SECRET)


def proof(s: int, octet: int, secret: bytes = SECRET) -> bytes:
    """The Request of a Migrate SYN with this S and octet."""
    return keys.request(NI, NA, secret, s % 2**32, octet, octet & 0x7F)


def syn_options(public: bytes) -> bytes:
    """MSS, SACK-permitted, Timestamp, window scale, MP: 40 bytes, with the key's last 8 in the Timestamp."""
    mp, tsval, tsecr = keys.split_key(public)
    return (
        struct.pack("!BBH", 2, 4, 1460) + b"\x04\x02" + b"\x08\x0a" + tsval + tsecr + b"\x01\x03\x03" + bytes([SHIFT])
        + MigratePermitted(CURVE_P192, mp).encode()
    )  # fmt: skip


def make(vantage: str, setting: Setting | None = None) -> list[Row]:
    """The rows that "mobile" or "server" sees, in order of time."""
    world = _Download(setting or Setting()).run()
    return world.mobile if vantage == "mobile" else world.server


def packets(rows: list[Row], vantage: str) -> list[Packet]:
    """As read from one capture file."""
    return [row.packet(number, vantage) for number, row in enumerate(sorted(rows, key=lambda row: row.time), 1)]


def write(path: Path, rows: Iterable[Row]) -> Path:
    """A capture file of these rows."""
    wrpcap(str(path), [row.scapy() for row in rows])
    return path


def write_keys(path: Path) -> Path:
    """The key log of the mobile's daemon."""
    path.write_text(f"P192 {MOBILE.public.hex()} {MOBILE.private.hex()}\n")
    return path
