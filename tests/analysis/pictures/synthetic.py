"""Made-up traces for the pictures' tests: slide 27's transfer, simulated just well enough to look like the real one.

A sender with slow start and a receive window, a 19.2 kbit/s modem per location with a queue before it, a receiver that
acknowledges every segment, and the seven segments.  `Wire` is one captured segment, without any of the analysis'
own types; made.py turns them into streams.
"""

from __future__ import annotations

import heapq
import itertools
import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
EPOCH = 1_700_000_000.25  # seconds; any start other than 0 shows a forgotten subtraction
MIGRATE_OPTION = (16, bytes([0x01]) + bytes.fromhex("0123456789abcdef") + bytes.fromhex("fedcba9876543210"))
SYN_OPTIONS = (
    (15, bytes([2]) + bytes(range(17))),
    (2, struct.pack("!H", 1460)),
    (4, b""),
    (8, struct.pack("!II", 0xA1A2A3A4, 0xB1B2B3B4)),
    (3, b"\x02"),
)
TIMESTAMP = (8, struct.pack("!II", 1000, 2000))


@dataclass(frozen=True)
class Wire:
    """One segment as a capture saw it; `time` in seconds from the epoch, sequence numbers raw (32 bits)."""

    time: float
    src: str
    sport: int
    dst: str
    dport: int
    flags: int
    seq: int
    ack: int
    window: int
    length: int
    options: tuple[tuple[int, bytes], ...] = (TIMESTAMP,)


@dataclass(frozen=True)
class Setting:
    """What happens.  Sizes in bytes, times in seconds, rate in bits per second (counted on IP bytes)."""

    addresses: tuple[str, ...] = ("10.0.1.2", "10.0.2.2")  # the mobile's, one per location
    server: str = "10.0.0.1"
    vantage: str = "mobile"  # or "server"
    upload: bool = False  # the mobile sends the file
    rate: float = 19_200
    delay: float = 0.05
    size: int = 102_400
    move_after: tuple[int, ...] = (40_000,)  # bytes received at each move
    away: float = 1.0  # from losing the old address to having the new one
    window: int = 32_120
    shift: int = 2
    mss: int = 1448
    initial_window: int = 2
    lose: tuple[int, ...] = ()  # which data segments (counted from 1) the first modem loses
    lose_migrate_syn: bool = False
    ni: int = 0xFFFF_F000  # so that the sequence numbers wrap during the transfer
    na: int = 0xFFFF_8000


@dataclass
class _Modem:
    """One direction of a link: serialisation, then a fixed delay."""

    free: float = 0.0

    def carry(self, now: float, size: int, setting: Setting) -> float:
        self.free = max(self.free, now) + size * 8 / setting.rate
        return self.free + setting.delay


@dataclass
class Simulation:
    """The whole transfer; `run()` returns what the chosen vantage captured, and `moves` holds when the mobile moved."""

    setting: Setting
    wires: list[Wire] = field(default_factory=list)
    moves: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.now = 0.0
        self.queue: list[tuple[float, int, Callable[[], None]]] = []
        self.order = itertools.count()
        self.place: int | None = 0  # where the mobile is, None while it is away
        self.peer_place = 0  # where the server believes it is
        self.links = [(_Modem(), _Modem()) for _ in self.setting.addresses]  # (down, up) of each location
        self.una = self.nxt = self.top = 1  # of the data sender, relative
        self.cwnd = float(self.setting.initial_window)
        self.rcv = 1  # the data receiver's rcv_nxt, relative
        self.beyond: dict[int, int] = {}  # out-of-order data: first byte -> byte after the last
        self.sent = 0
        self.request = 80  # length of the downloader's request, 0 for an upload
        self.muted = True  # no data before the handshake is over
        self.requests = 0
        self.duplicates = 0

    def at(self, when: float, what: Callable[[], None]) -> None:
        heapq.heappush(self.queue, (when, next(self.order), what))

    def run(self) -> list[Wire]:
        self.at(0.0, self.open)
        while self.queue:
            self.now, _, what = heapq.heappop(self.queue)
            what()
        self.wires.sort(key=lambda wire: wire.time)
        return self.wires

    # One segment across the modem: captured where it is sent or where it arrives, as the vantage says.
    def send(
        self,
        from_mobile: bool,
        place: int,
        flags: int,
        seq: int,
        ack: int,
        length: int,
        arrive: Callable[[], None],
        *,
        options: tuple[tuple[int, bytes], ...] = (TIMESTAMP,),
        window: int | None = None,
        lost: bool = False,
    ) -> None:
        s = self.setting
        mobile, port = s.addresses[place], 40_000
        raw = (s.window >> s.shift) if window is None else window
        first, other = (s.ni, s.na) if from_mobile else (s.na, s.ni)
        wire = Wire(
            0.0,
            mobile if from_mobile else s.server,
            port if from_mobile else 80,
            s.server if from_mobile else mobile,
            80 if from_mobile else port,
            flags,
            (first + seq) % 2**32,
            (other + ack) % 2**32 if flags & ACK else 0,
            raw,
            length,
            options,
        )
        written = sum(1 if kind < 2 else 2 + len(data) for kind, data in options)  # NOP and end have no length
        size = 40 + -(-written // 4) * 4 + length
        arrival = self.links[place][1 if from_mobile else 0].carry(self.now, size, s)
        here = from_mobile == (s.vantage == "mobile")
        if here:
            self.wires.append(replace(wire, time=EPOCH + self.now))
        if lost:
            return
        if not here:
            self.wires.append(replace(wire, time=EPOCH + arrival))
        self.at(arrival, arrive)

    def open(self) -> None:
        def got_syn() -> None:
            self.send(False, 0, SYN | ACK, 0, 1, 0, got_syn_ack, options=SYN_OPTIONS, window=28_960)

        def got_syn_ack() -> None:
            self.send(True, 0, ACK, 1, 1, 0, lambda: None)
            self.muted = False
            if self.setting.upload:
                self.request = 0
                self.pump()
            else:
                self.send(True, 0, ACK | PSH, 1, 1, self.request, got_request)

        def got_request() -> None:
            self.send(False, 0, ACK, 1, 1 + self.request, 0, lambda: None)
            self.pump()

        self.send(True, 0, SYN, 0, 0, 0, got_syn, options=SYN_OPTIONS, window=29_200)

    @property
    def here(self) -> int:
        """Where the data sender addresses its segments to, or sends them from."""
        if self.setting.upload:
            assert self.place is not None
            return self.place
        return self.peer_place

    def pump(self) -> None:
        s = self.setting
        if self.muted:
            return
        limit = self.una + min(int(self.cwnd) * s.mss, s.window)
        while self.nxt < min(limit, s.size + 1):
            length = min(s.mss, s.size + 1 - self.nxt, limit - self.nxt)
            if length < s.mss and self.nxt + length < s.size + 1:
                break
            self.put(self.nxt, length)
            self.nxt += length
            self.top = max(self.top, self.nxt)

    def put(self, seq: int, length: int) -> None:
        self.sent += 1
        place, ack = self.here, 1 + self.request
        flags = ACK | (PSH if seq + length == self.setting.size + 1 else 0)
        self.send(
            self.setting.upload, place, flags, seq, ack, length,
            lambda: self.received(place, seq, length), lost=self.sent in self.setting.lose,
        )  # fmt: skip

    def received(self, place: int, seq: int, length: int) -> None:
        if not self.setting.upload and place != self.place:
            return  # addressed to somebody who is no longer there
        self.beyond[seq] = max(seq + length, self.beyond.get(seq, 0))
        while any(first <= self.rcv < last for first, last in self.beyond.items()):
            self.rcv = max(last for first, last in self.beyond.items() if first <= self.rcv < last)
        self.beyond = {first: last for first, last in self.beyond.items() if last > self.rcv}
        moved = len(self.moves)
        self.acknowledge(place)
        if moved < len(self.setting.move_after) and self.rcv > self.setting.move_after[moved] and not self.muted:
            self.leave()

    def options(self) -> tuple[tuple[int, bytes], ...]:
        """Timestamp, and SACK blocks for what lies beyond a hole."""
        blocks: list[list[int]] = []
        for first, last in sorted(self.beyond.items()):
            if blocks and first <= blocks[-1][1]:
                blocks[-1][1] = max(last, blocks[-1][1])
            else:
                blocks.append([first, last])
        if not blocks:
            return (TIMESTAMP,)
        base = self.setting.ni if self.setting.upload else self.setting.na
        edges = [(base + edge) % 2**32 for block in blocks[:3] for edge in block]
        return (TIMESTAMP, (5, struct.pack(f"!{len(edges)}I", *edges)))

    def acknowledge(self, place: int) -> None:
        ack, window = self.rcv, None
        holes = bool(self.beyond)
        self.send(
            not self.setting.upload, place, ACK, 1 + self.request, ack, 0,
            lambda: self.acked(place, ack, holes), options=self.options(), window=window,
        )  # fmt: skip

    def acked(self, place: int, ack: int, holes: bool) -> None:
        if self.muted or place != self.here:
            return
        if ack > self.una:
            self.cwnd += 1
            self.una, self.duplicates = ack, 0
            self.nxt = max(self.nxt, self.una)
            if self.una == self.setting.size + 1:
                self.finish()
                return
            if holes:
                self.put(self.una, min(self.setting.mss, self.top - self.una))
        elif holes:
            self.duplicates += 1
            if self.duplicates == 3:
                self.put(self.una, self.setting.mss)
        self.pump()

    def leave(self) -> None:
        self.moves.append(EPOCH + self.now)
        assert self.place is not None
        new = self.place + 1
        if self.setting.upload:
            self.muted = True
        self.place = None
        self.at(self.now + self.setting.away, lambda: self.arrive(new))

    def arrive(self, new: int) -> None:
        """At the new address: segments 5, 6 and 7, and data again from the byte that was acknowledged."""
        upload = self.setting.upload
        self.place = new
        self.requests += 1
        kind, data = MIGRATE_OPTION
        option = (kind, bytes([self.requests]) + data[1:])
        mine = self.una if upload else 1 + self.request  # the mover's snd_una
        theirs = (1 + self.request) if upload else self.una  # the other side's

        def got_syn() -> None:
            # Its rcv_nxt: the data that it has, not S + 1.
            has = self.rcv if upload else 1 + self.request
            self.send(False, new, SYN | ACK, theirs - 1, has, 0, lambda: got_syn_ack(has), options=())

        def got_syn_ack(has: int) -> None:
            ack = 1 + self.request if upload else self.rcv
            options = (TIMESTAMP,) if upload else self.options()
            self.send(True, new, ACK, has if upload else mine, ack, 0, lambda: got_ack(ack), options=options)
            if upload:
                self.resume(has)

        def got_ack(ack: int) -> None:
            self.peer_place = new
            if not upload:
                self.resume(ack)

        def syn(lost: bool) -> None:
            self.send(True, new, SYN, mine - 1, 0, 0, got_syn, options=((1, b""), option), window=0, lost=lost)

        syn(self.setting.lose_migrate_syn)
        if self.setting.lose_migrate_syn:
            self.at(self.now + 1.0, lambda: syn(False))

    def resume(self, una: int) -> None:
        self.muted, self.cwnd = False, float(self.setting.initial_window)
        self.una = self.nxt = una
        self.pump()

    def finish(self) -> None:
        sender, here = self.setting.upload, self.here
        end, other = self.setting.size + 1, 1 + self.request

        def last() -> None:
            self.send(sender, here, ACK, end + 1, other + 1, 0, lambda: None)

        self.send(
            sender, here, FIN | ACK, end, other, 0,
            lambda: self.send(not sender, here, FIN | ACK, other, end + 1, 0, last),
        )  # fmt: skip


def simulate(setting: Setting | None = None) -> tuple[list[Wire], list[float]]:
    """The segments that the vantage captured, in order of time, and when the mobile moved (epoch seconds)."""
    simulation = Simulation(setting or Setting())
    return simulation.run(), simulation.moves
