"""What a path really does: its rate and round trip, measured by packets, before an experiment believes them.

Both ends are namespaces of this machine, so both probe sockets belong to this process and share its clock: each
direction is measured by itself, with the kernel's arrival times, in a few seconds even on a slow modem.
"""

from __future__ import annotations

import contextlib
import ipaddress
import math
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass

from topologies.cable_model import Properties
from topologies.nodes import Host

IPV4_UDP_HEADERS, IPV6_UDP_HEADERS = 28, 48
SMALL_BYTES = 84  # of the IP packet, as ping's
TRAIN_SECONDS = 1.0
FAST_TRAIN_SECONDS = 0.1
"""On a link for which a second's packets are many.  Long enough beside what a slow machine is late now and then."""
AT_ONCE = 60
"""Packets of a train under way: fewer than the shortest queue holds."""
_PROBE = struct.Struct("!16sI")
_SO_TIMESTAMPNS = 35


class LinkNotAsDeclared(Exception):
    """A path does not do what was declared; the text has both values."""


@dataclass(frozen=True)
class Declared:
    """What a path should do; a rate of None is not checked."""

    small_round_trip_s: float
    full_round_trip_s: float
    there_bps: float | None
    back_bps: float | None

    @classmethod
    def of(cls, there: Properties, back: Properties, mtu: int = 1500) -> Declared:
        """The declaration of a single link, from its two directions' properties."""

        def round_trip(size: int) -> float:
            return sum(way.delay_s + way.serialisation_ns(size) / 1e9 for way in (there, back))

        return cls(round_trip(SMALL_BYTES), round_trip(mtu), there.rate_bps, back.rate_bps)


@dataclass(frozen=True)
class Measured:
    """What a path did: seconds, and bits per second of IP packets."""

    small_round_trip_s: float
    """With packets of 84 bytes, the shortest of three."""
    full_round_trip_s: float
    """With packets as large as the MTU: one in each direction."""
    there_bps: float
    back_bps: float
    there_offered_bps: float = math.inf
    """What the probe itself managed to send; a fast link on a slow machine is not measured beyond that."""
    back_offered_bps: float = math.inf

    def or_better(self, other: Measured, declared: Declared) -> Measured:
        """The shortest round trips of both, and the rates that are nearer to what was declared, each with what was
        offered to it: a link that stands still for a moment is slower, or faster if what it held comes afterwards."""
        there = min(self, other, key=lambda one: _off(one.there_bps, declared.there_bps))
        back = min(self, other, key=lambda one: _off(one.back_bps, declared.back_bps))
        return Measured(
            min(self.small_round_trip_s, other.small_round_trip_s),
            min(self.full_round_trip_s, other.full_round_trip_s),
            there.there_bps,
            back.back_bps,
            there.there_offered_bps,
            back.back_offered_bps,
        )


def _off(rate_bps: float, declared_bps: float | None) -> float:
    return -rate_bps if declared_bps is None else abs(rate_bps - declared_bps)


def measure(
    one: Host,
    one_address: str,
    two: Host,
    two_address: str,
    declared: Declared,
    *,
    mtu: int = 1500,
    tolerance: float = 0.05,
    patience: float = 1.0,
    tries: int = 6,
) -> Measured:
    """Measure the path between two hosts' addresses and compare; raises `LinkNotAsDeclared`.

    Rates may be off by `tolerance` (a fraction), round trips by that and 5 ms. A packet counts as lost `patience`
    seconds after twice the declared time. What is wrong is tried again, `tries` times in all, and of each value the
    best counts: a busy machine is late now and then, a link that is not as declared always. Nothing else should use
    the path.
    """
    best: Measured | None = None
    while True:
        tries -= 1
        try:
            now = _measure_once(one, one_address, two, two_address, declared, mtu, patience)
            best = now if best is None else best.or_better(now, declared)
            compare(f"{one.name} to {two.name}", declared, best, tolerance)
            return best
        except LinkNotAsDeclared:
            if tries < 1:
                raise


def round_trips(
    one: Host, one_address: str, two: Host, two_address: str, count: int, patience: float, back_bytes: int = SMALL_BYTES
) -> list[float]:
    """Seconds of so many round trips, one after the other: a small packet there, and one of `back_bytes` back.  Raises
    `LinkNotAsDeclared` where none arrives within `patience` seconds."""
    with _socket(one, one_address) as ours, _socket(two, two_address) as theirs:
        there, back = _Way(ours, theirs, back_bytes, patience), _Way(theirs, ours, back_bytes, patience)
        return [there.cross(SMALL_BYTES) + back.cross(back_bytes) for _ in range(count)]


def _measure_once(
    one: Host, one_address: str, two: Host, two_address: str, declared: Declared, mtu: int, patience: float
) -> Measured:
    patience += 2 * declared.full_round_trip_s
    with _socket(one, one_address) as ours, _socket(two, two_address) as theirs:
        there, back = _Way(ours, theirs, mtu, patience), _Way(theirs, ours, mtu, patience)
        small = min(there.cross(SMALL_BYTES) + back.cross(SMALL_BYTES) for _ in range(3))
        there_first, there_bps = there.train(declared.there_bps)
        back_first, back_bps = back.train(declared.back_bps)
    return Measured(small, there_first + back_first, there_bps, back_bps, there.offered_bps, back.offered_bps)


def compare(path: str, declared: Declared, measured: Measured, tolerance: float = 0.05) -> None:
    """Raise `LinkNotAsDeclared`, naming every value that is off by more than the tolerance."""
    wrong = []
    for name, wanted, found in (
        ("round trip of small packets", declared.small_round_trip_s, measured.small_round_trip_s),
        ("round trip of full packets", declared.full_round_trip_s, measured.full_round_trip_s),
    ):
        if abs(found - wanted) > tolerance * wanted + 0.005:
            wrong.append(f"{name} {found * 1000:.1f} ms instead of {wanted * 1000:.1f} ms")
    for name, rate, found, offered in (
        ("rate there", declared.there_bps, measured.there_bps, measured.there_offered_bps),
        ("rate back", declared.back_bps, measured.back_bps, measured.back_offered_bps),
    ):
        if rate is not None and not (1 - tolerance) * min(rate, offered) <= found <= (1 + tolerance) * rate:
            wrong.append(f"{name} {found:,.0f} bit/s instead of {rate:,.0f} bit/s")
    if wrong:
        raise LinkNotAsDeclared(
            f"{path}: {', '.join(wrong)}; either the declaration is wrong or this machine is too busy to keep it"
        )


@contextlib.contextmanager
def _socket(host: Host, address: str) -> Iterator[socket.socket]:
    family = socket.AF_INET if ipaddress.ip_address(address).version == 4 else socket.AF_INET6
    with host.entered():
        probe = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    with probe:
        probe.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        probe.bind((address, 0))
        yield probe


class _Way:
    """One direction: numbered probes from one socket to the other."""

    def __init__(self, source: socket.socket, sink: socket.socket, mtu: int, patience: float) -> None:
        self.source, self.sink = source, sink
        self.mtu = mtu
        self.patience = patience
        self._headers = IPV4_UDP_HEADERS if source.family == socket.AF_INET else IPV6_UDP_HEADERS
        self._run = time.monotonic_ns().to_bytes(8, "big") + source.fileno().to_bytes(8, "big")
        self._sent: dict[int, float] = {}
        self.offered_bps = math.inf

    def _send(self, size: int) -> int:
        number = len(self._sent)
        probe = _PROBE.pack(self._run, number).ljust(size - self._headers, b"\0")
        self._sent[number] = time.time()
        self.source.sendto(probe, self.sink.getsockname()[:2])
        return number

    def _receive(self, deadline: float) -> tuple[int, float] | None:
        """The next probe's number and arrival time; None if none comes in time."""
        while True:
            # After the deadline, too, what has already arrived is looked at.
            self.sink.settimeout(max(0.0, deadline - time.monotonic()))
            try:
                data, extra, _, _ = self.sink.recvmsg(self.mtu, 64)
            except (TimeoutError, BlockingIOError):
                return None
            run, number = _PROBE.unpack_from(data)
            if run == self._run:
                seconds, nanoseconds = struct.unpack("qq", extra[0][2][:16])
                return number, seconds + nanoseconds / 1e9

    def cross(self, size: int, tries: int = 5) -> float:
        """Seconds that one packet of that size takes; lost ones are sent again."""
        for _ in range(tries):
            self._send(size)
            arrival = self._receive(time.monotonic() + self.patience)
            if arrival is not None:
                return arrival[1] - self._sent[arrival[0]]
        raise LinkNotAsDeclared(
            f"{self.source.getsockname()[0]} to {self.sink.getsockname()[0]}: {tries} packets of {size} bytes were "
            "sent and none arrived; look at addresses, routes and losses"
        )

    def train(self, rate_bps: float | None) -> tuple[float, float]:
        """Seconds that the first of a train of full packets takes, and the rate of its second half (a shaper's bucket
        passes the first).

        The train has as many packets as the declared rate sends in `TRAIN_SECONDS`, but 4 at least, and where they are
        many, `AT_ONCE` and what is sent in `FAST_TRAIN_SECONDS`; after `AT_ONCE`, each waits for the arrival of one."""
        wanted = AT_ONCE if rate_bps is None else round(TRAIN_SECONDS * rate_bps / (8 * self.mtu))
        if wanted > AT_ONCE and rate_bps is not None:
            wanted = min(wanted, AT_ONCE + round(FAST_TRAIN_SECONDS * rate_bps / (8 * self.mtu)))
        first = len(self._sent)
        train = range(first, first + max(4, wanted))
        deadline = time.monotonic() + 2 * TRAIN_SECONDS + self.patience
        for _ in train[:AT_ONCE]:
            self._send(self.mtu)
        arrivals: dict[int, float] = {}
        while train[-1] not in arrivals and (arrival := self._receive(deadline)) is not None:
            if arrival[0] not in train:
                continue  # one that came twice, or late
            arrivals[arrival[0]] = arrival[1]
            if len(self._sent) <= train[-1]:
                self._send(self.mtu)
        last = len(self._sent) - 1  # of a link that is far slower than declared, the train is cut short
        middle = (first + last) // 2
        taken = self._sent[last] - self._sent[middle]
        self.offered_bps = (last - middle) * self.mtu * 8 / max(taken, 1e-9)
        numbers = [number for number in sorted(arrivals) if number >= middle]
        if len(numbers) < 2:
            numbers = sorted(arrivals)
        if len(numbers) < 2 or arrivals[numbers[-1]] <= arrivals[numbers[0]]:
            raise LinkNotAsDeclared(
                f"{self.source.getsockname()[0]} to {self.sink.getsockname()[0]}: of {last - first + 1} packets in a "
                f"train {len(arrivals)} arrived: too few for a rate; look at the queue's length and the losses"
            )
        # A packet that was lost on the wire has taken its time there: count it.
        bits = (numbers[-1] - numbers[0]) * self.mtu * 8
        came = arrivals.get(train[0])
        alone = self.cross(self.mtu) if came is None else came - self._sent[train[0]]
        return alone, bits / (arrivals[numbers[-1]] - arrivals[numbers[0]])
