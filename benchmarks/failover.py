"""What the wedge costs beside nginx alone, and how fast a member goes on where a server was."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from benchmarks import figures
from benchmarks.measurement import Session, wait_until
from benchmarks.programs import Program
from benchmarks.replicas import ALONE, MIDDLE, READY_SECONDS, WEDGE, Site, address, site
from benchmarks.report import Row
from benchmarks.targets import CONNECTIONS
from migrate.linux.freezer import Freezer
from scenarios.programs import Download
from topologies.links import Cable, Veth

LINK_BPS = 10e9
"""Of the link on which the wedge is measured where the link is the limit, as it is for most servers; else it is the
processors, which on this machine are those of server, wedge and client at once."""
FIRST_BYTES = 2_000
DEATHS, QUICK_DEATHS = 5, 1
PAIRS, QUICK_PAIRS = 30, 4
REQUESTS, OBJECTS = 100, 4
TAKEOVERS, QUICK_TAKEOVERS = 20, 3
ROUND_TRIP_MS = 46
PATIENCE_SECONDS = 60.0


class WedgeCost:
    """`wedge_throughput`: bytes a second of 100 MB objects through the wedge, of those from nginx alone, in turns,
    where the processors are the limit; `wedge_throughput_10g`: where the link is.  Of the objects of a connection but
    the first, which also waits for what a new connection costs once (a figure beside it).  `wedge_request`:
    milliseconds that a request takes longer on a connection that stays, and on a new one, and what soft state costs."""

    name = "wedge"
    about = "throughput and time of a request through the wedge, beside nginx alone"

    def measure(self, session: Session) -> Sequence[Row]:
        count = session.count(PAIRS, QUICK_PAIRS)
        with site(session.work) as place:
            session.step("100 MB objects")
            speeds = _turns(count, lambda port: _speeds(place, port))
            session.step("small objects")
            before = place.ask("sA", do="status")["group"]
            times = _turns(count, lambda port: _times(place, port))
            after = place.ask("sA", do="status")["group"]
        with site(session.work / "10g", Veth(offload=True, rate_bps=LINK_BPS)) as place:
            session.step("100 MB objects on a link of 10 Gbit/s")
            on_link = _turns(count, lambda port: _speeds(place, port))
        sent = {key: after[key] - before[key] for key in ("datagrams sent", "bytes sent")}
        slow, quick = zip(*times, strict=True)
        return [
            *(Row(name, "of nginx alone", figures.pair_ratios([(ours.later, alone.later) for ours, alone in pairs]),
                  {"Mbit/s through the wedge": statistics.median(ours.later for ours, _ in pairs),
                   "alone": statistics.median(alone.later for _, alone in pairs),
                   "of nginx alone, the first object of a connection": statistics.median(
                       figures.pair_ratios([(ours.first, alone.first) for ours, alone in pairs]))})
              for name, pairs in (("wedge_throughput", speeds), ("wedge_throughput_10g", on_link))),
            Row("wedge_request", "ms more", [ours.later - alone.later for ours, alone in times],
                {"ms through the wedge": statistics.median(ours.later for ours in slow),
                 "alone": statistics.median(alone.later for alone in quick),
                 "ms more for the first of a connection": statistics.median(
                     ours.first - alone.first for ours, alone in times),
                 "soft state, bytes a request": sent["bytes sent"] / (count * REQUESTS),
                 "bytes a datagram": sent["bytes sent"] / sent["datagrams sent"]}),
        ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Series:
    """Of the requests of one connection: the first, and the median of the others."""

    first: float
    later: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        first, *later = values
        return cls(first, statistics.median(later))


def _speeds(place: Site, port: int) -> Series:
    """Mbit/s of large objects."""
    return Series.of(speed * 8 / 1e6 for speed, _ in place.fetch(port, "large", OBJECTS))


def _times(place: Site, port: int) -> Series:
    """Milliseconds of small requests."""
    return Series.of(1e3 * seconds for _, seconds in place.fetch(port, "small", REQUESTS))


def _turns(count: int, measure: Callable[[int], Series]) -> list[tuple[Series, Series]]:
    """Through the wedge and alone, so often, each first in turn."""
    found = []
    for number in range(count):
        values = {ours: measure(WEDGE if ours else ALONE) for ours in figures.order(number)}
        found.append((values[True], values[False]))
    return found


class TakeOver:
    """`takeover`: milliseconds from the pronouncement to the first new byte at the client, beyond two round trips.

    sA is frozen, and nothing of it is on its way when it is pronounced dead."""

    name = "takeover"
    about = "pronouncement to the first new byte, beyond two round trips"

    def measure(self, session: Session) -> Sequence[Row]:
        beyond: list[float] = []
        link = Cable(delay_s=ROUND_TRIP_MS / 2e3, queue_packets=1000, rate_bps=20e6)
        with site(session.work, link) as place:
            for number in range(session.count(TAKEOVERS, QUICK_TAKEOVERS)):
                session.step(f"take-over {number + 1}")
                beyond.append(self._one(place, number) - 2 * ROUND_TRIP_MS)
        return [Row("takeover", "ms beyond two round trips", beyond, {"round trip, ms": ROUND_TRIP_MS})]

    def _one(self, place: Site, number: int) -> float:
        target = place.work / f"got-{number}"
        download = Download(place.client, address("sA"), "large", target, port=WEDGE)
        download.wait_for(500_000, READY_SECONDS)
        freezer = Freezer(place.servers["sA"].programs_cgroup)
        freezer.freeze(READY_SECONDS)
        _quiet(download)
        before, began = download.received, time.time()
        place.ask("sB", do="dead", server="sA", here=True)
        wait_until(lambda: download.received != before, READY_SECONDS, "sB does not take over", 0.0002)
        took = 1e3 * (time.time() - began)
        download.give_up()
        freezer.thaw()
        return took


class TakeOverAll:
    """`takeover_1000`: seconds from the pronouncement of a killed server until each of its connections is another's;
    `takeover_1000_survivors`: on how many of them the right object then arrived."""

    name = f"takeover_{CONNECTIONS}"
    about = f"until {CONNECTIONS} connections of a dead server are another's"

    def measure(self, session: Session) -> Sequence[Row]:
        times: list[float] = []
        survivors: list[float] = []
        for number in range(session.count(DEATHS, QUICK_DEATHS)):
            session.step(f"death {number + 1}")
            with site(session.work / f"death-{number}") as place:
                words = (address("sA"), WEDGE, CONNECTIONS, "middle", MIDDLE, FIRST_BYTES)
                clients = Program(place.client, "reader", *words, patience=PATIENCE_SECONDS)
                self._wait(lambda: place.ask("sB", do="status")["known of others"], "known to sB")
                place.wedges["sA"].kill()
                place.ask("sB", do="dead", server="sA", here=True)
                self._wait(lambda: len(place.events("sB", "taken-over")), "taken over")
                taken = [event["time"] for event in place.events("sB", "taken-over")]
                times.append(max(taken) - min(event["time"] for event in place.events("sB", "pronounced")))
                survivors.append(float(clients.ask(place.checksum("middle"))))
        return [Row(self.name, "s", times), Row(f"{self.name}_survivors", "connections", survivors)]

    def _wait(self, count: Callable[[], int], what: str) -> None:
        otherwise = f"not all connections of the dead server are {what}"
        wait_until(lambda: count() >= CONNECTIONS, PATIENCE_SECONDS, otherwise, 0.05)


def _quiet(download: Download) -> None:
    """Until nothing more of the old server arrives."""
    seen = -1
    while download.received != seen:
        seen = download.received
        time.sleep(0.5)
