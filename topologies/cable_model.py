"""What a cable does to packets, without clock, socket or thread: serialisation, delay, queue, losses.

Times are integer nanoseconds of any clock, sizes are bytes of the IP packet (its link-layer header takes no time on the
wire). Given the arrival times, everything that happens is determined: the random losses come from a seed.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from dataclasses import asdict, dataclass

from topologies.loss_rules import RuleBook, describe

SECOND = 1_000_000_000
ETHERNET_HEADER = 14


@dataclass(frozen=True)
class Properties:
    """One direction of a cable."""

    rate_bps: float | None = None
    """Bits of IP packets per second; None is infinitely fast."""
    delay_s: float = 0.0
    """Seconds from the last bit sent to the last bit received."""
    queue_packets: int = 100
    """Packets that wait while another is being sent; more are dropped."""
    loss: float = 0.0
    """Probability that a packet is lost on the wire, each for itself."""

    def __post_init__(self) -> None:
        if self.rate_bps is not None and self.rate_bps <= 0:
            raise ValueError(f"a rate of {self.rate_bps} bit/s cannot send anything: give a positive one, or None")
        if self.delay_s < 0:
            raise ValueError(f"a delay of {self.delay_s} s is in the past: give 0 or more")
        if self.queue_packets < 1:
            raise ValueError(f"a queue of {self.queue_packets} packets drops all: give 1 or more")
        if not 0 <= self.loss <= 1:
            raise ValueError(f"a loss of {self.loss} is no probability: give 0 to 1")

    def serialisation_ns(self, size: int) -> int:
        """How long `size` bytes take on the wire: 0.625 s for 1500 at 19,200 bit/s."""
        return 0 if self.rate_bps is None else round(size * 8 * SECOND / self.rate_bps)


@dataclass
class Counters:
    """What has happened in one direction, in packets (and `bytes`, of IP packets delivered)."""

    arrived: int = 0
    delivered: int = 0
    bytes: int = 0
    queue_drops: int = 0
    random_losses: int = 0
    scripted_losses: int = 0
    duplicates: int = 0
    delayed: int = 0
    undeliverable: int = 0
    """Given to an interface that was down."""
    longest_queue: int = 0

    def as_dict(self) -> dict[str, int]:
        """The counters by name."""
        return asdict(self)


class Direction:
    """One direction of a cable: packets go in with `arrive` and come out of `due`."""

    def __init__(self, name: str, properties: Properties, seed: int, rules: RuleBook) -> None:
        self.name = name
        self.change(properties)
        self.counters = Counters()
        self._rules = rules
        self._random = random.Random(f"{seed}/{name}")
        self._free_at = 0
        self._starts: deque[int] = deque()  # when each waiting packet begins to be sent
        self._flying: list[tuple[int, int, bytes]] = []  # (delivery time, order, frame)
        self._order = 0

    def change(self, properties: Properties) -> None:
        """Set new properties; packets that are in the cable keep their times."""
        self.properties = properties
        self._delay_ns = round(properties.delay_s * SECOND)

    def arrive(self, now: int, frame: bytes) -> None:
        """An Ethernet frame reaches this end of the cable at time `now`."""
        counters, properties = self.counters, self.properties
        counters.arrived += 1
        start = now
        if self._free_at > now:
            waiting = self.waiting(now)
            if waiting >= properties.queue_packets:
                counters.queue_drops += 1
                return
            start = self._free_at
            self._starts.append(start)
            counters.longest_queue = max(counters.longest_queue, waiting + 1)
        self._free_at = start + properties.serialisation_ns(len(frame) - ETHERNET_HEADER)
        # A loss happens on the wire: the packet has taken its time there all the same. The random draw is made for
        # every packet, so that a scripted loss does not shift the random ones.
        unlucky = properties.loss > 0 and self._random.random() < properties.loss
        copies, late = 1, 0
        if self._rules.rules:
            fate = self._rules.judge(describe(frame), self.name)
            copies, late = fate.copies, fate.delay_ns
        if copies == 0:
            counters.scripted_losses += 1
            return
        if unlucky:
            counters.random_losses += 1
            return
        counters.duplicates += copies - 1
        counters.delayed += late > 0
        arrival = self._free_at + self._delay_ns + late
        for _ in range(copies):
            heapq.heappush(self._flying, (arrival, self._order, frame))
            self._order += 1

    def waiting(self, now: int) -> int:
        """How many packets are queued behind the one being sent."""
        while self._starts and self._starts[0] <= now:
            self._starts.popleft()
        return len(self._starts)

    def next_due(self) -> int | None:
        """When the next packet comes out; None if there is none."""
        return self._flying[0][0] if self._flying else None

    def due(self, now: int) -> list[tuple[int, bytes]]:
        """The packets that have come out by `now`: (the moment at which each was due, frame), in order."""
        out = []
        while self._flying and self._flying[0][0] <= now:
            moment, _, frame = heapq.heappop(self._flying)
            out.append((moment, frame))
        return out


class CableModel:
    """Both directions of a cable between two named ends, and the rules that script its losses."""

    def __init__(self, ends: tuple[str, str], properties: tuple[Properties, Properties], seed: int = 0) -> None:
        """`properties[0]` is from `ends[0]` to `ends[1]`. A direction has the name of the end it leads to."""
        self.ends = ends
        self.rules = RuleBook(ends)
        self.directions = (
            Direction(ends[1], properties[0], seed, self.rules),
            Direction(ends[0], properties[1], seed, self.rules),
        )

    def arrive(self, end: int, now: int, frame: bytes) -> None:
        """The interface at `end` (0 or 1) sends an Ethernet frame into the cable at time `now`."""
        self.directions[end].arrive(now, frame)

    def next_due(self) -> int | None:
        """When the next packet comes out of either end."""
        moments = [moment for direction in self.directions if (moment := direction.next_due()) is not None]
        return min(moments, default=None)
