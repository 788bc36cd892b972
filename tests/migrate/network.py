"""A network in memory, with faults, on virtual time."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from migrate.core import ACK, RST, SYN, Address, FourTuple, Segment, seq

LONG = 3600.0  # seconds of virtual time in which everything must have come to its end


class Station(Protocol):
    """Whoever is at the network."""

    addresses: set[Address]

    def deliver(self, segment: Segment) -> None: ...


@dataclass
class Faults:
    """Probabilities for each segment while time is before `until`; later the network is faultless."""

    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    rebind_failure: float = 0.0
    until: float = 0.0


class Network:
    """Carries segments between hosts.  `drop` and `hear` are for tests that want one segment in particular."""

    def __init__(self, seed: int = 0, faults: Faults | None = None, delay: float = 0.05) -> None:
        self.rng, self.faults, self.delay = random.Random(seed), faults or Faults(), delay
        self.now = 0.0
        self.hosts: list[Station] = []
        self.wire: list[tuple[float, Segment]] = []
        self.drop: Callable[[Segment], bool] = lambda segment: False
        self.strangers: set[Address] = set()
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._come_to: dict[frozenset[Address], tuple[float, object]] = {}

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (self.now + seconds, next(self._order), call))

    def chance(self, probability: float) -> bool:
        return self.now < self.faults.until and self.rng.random() < probability

    def send(self, segment: Segment) -> None:
        self.wire.append((self.now, segment))
        if self.drop(segment) or self.chance(self.faults.loss):
            return
        for _ in range(2 if self.chance(self.faults.duplicate) else 1):
            slow = self.rng.random() * 3.0 if self.chance(self.faults.reorder) else 0.0
            self.later(self.delay + slow, lambda sent=self.now: self._arrive(segment, sent))  # type: ignore[misc]

    def come_to(self, pair: FourTuple, request: object) -> None:
        """A connection asks on this pair.  Data that it has left there on an earlier stay has died out by then, as TCP
        itself assumes of an address pair that is used again."""
        ends = frozenset((pair.local_ip, pair.remote_ip))
        if ends not in self._come_to or self._come_to[ends][1] is not request:  # else it is only sent again
            self._come_to[ends] = self.now, request

    def _arrive(self, segment: Segment, sent: float) -> None:
        if not segment.payload or sent >= self._come_to.get(frozenset((segment.src, segment.dst)), (0.0, None))[0]:
            self.deliver(segment)

    def deliver(self, segment: Segment) -> None:
        for host in self.hosts:
            if segment.dst in host.addresses:
                host.deliver(segment)
                return
        if segment.dst in self.strangers and not segment.flags & RST:
            pair = FourTuple.of_arriving(segment)
            if segment.flags & ACK:
                self.send(pair.segment(RST, segment.ack))
            else:
                self.send(pair.segment(RST | ACK, 0, seq.add(segment.seq, segment.length)))

    def run(self, until: float = LONG, done: Callable[[], bool] = lambda: False) -> None:
        """Until everything is done, or nothing is left to happen, or the time is over."""
        while self._queue and self._queue[0][0] <= until and not done():
            self.now, _, call = heapq.heappop(self._queue)
            call()

    def migrate_syns(self) -> list[Segment]:
        return [segment for _, segment in self.wire if segment.flags == SYN]
