"""How long a download stands still when its receiver moves, at several round-trip times, idle and on a busy machine.

The network is that of slide 27 with faster links: server, base station, and two links to the mobile, of which one has
its address.  curl downloads from nginx; both know nothing.  Each move comes while the link is full, so that the last
new byte before it has arrived just before it.  The old address goes and the new one comes in one message to the kernel.

The gap is what a program sees: from the arrival of the last new byte at the old address to that of the first new byte
at the new one, at the mobile.  Two round trips of it are the protocol's: Migrate SYN and SYN/ACK, two small packets,
and ACK and data, a small and a full one.  They count as what such packets take in the same run, on the empty link.
What is beyond them: the last new byte to the change, noticing it, four wake-ups, and two rebinds.
"""

from __future__ import annotations

import contextlib
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from analysis import measures, stream
from analysis.capture import Packet
from benchmarks.hosts import Mover, Place, serve
from benchmarks.measurement import NotMeasured, Session
from benchmarks.recording import recordings
from benchmarks.report import Row
from benchmarks.targets import LOADS, ROUND_TRIPS_MS
from scenarios.programs import Download, Nginx
from topologies.links import Cable
from topologies.measure import SMALL_BYTES, round_trips
from topologies.mobility import Location, Mobility
from topologies.profiles import Profile, receive_buffer

MOVES, QUICK_MOVES = 20, 2
RATE_BPS = 20e6
# Beyond what fills the path, so that the link is never without a packet; the base station's queue holds them all.
SURPLUS_BYTES = 64_000
QUEUE_PACKETS = 400
FULL_BYTES = 1500
FULL = 0.85
"""The link counts as full when this share of its rate has lately arrived."""
LATELY_SECONDS = 0.1
PATIENCE_SECONDS = 60.0
SMALL_TRIP, FULL_TRIP = "round trip of small packets, ms", "of a small and a full one"
ROUND_TRIPS = 20
DOWNLOAD = False  # the responder sends


@dataclass(frozen=True, slots=True)
class Gap:
    """One interruption and its parts, in seconds."""

    whole: float
    before: float
    """Last new byte to the change of the address."""
    notice: float
    """Change of the address to Migrate SYN."""
    answer: float
    """Migrate SYN to SYN/ACK, with a round trip."""
    rebind: float
    """SYN/ACK to ACK."""
    resume: float
    """ACK to the first new byte, with a round trip."""


class InterruptionTime:
    name = "interruption"
    about = "how long a download stands still at a move, beyond two round trips"

    def measure(self, session: Session) -> Sequence[Row]:
        count = session.count(MOVES, QUICK_MOVES)
        rows = []
        for milliseconds in ROUND_TRIPS_MS[:1] if session.quick else ROUND_TRIPS_MS:
            for load in LOADS:
                name = f"{self.name}_{milliseconds}ms_{load}"
                work = session.work / name
                work.mkdir()

                def step(text: str, place: str = f"{milliseconds} ms, {load}") -> None:
                    session.step(f"{place}: {text}")

                with busy() if load == "loaded" else contextlib.nullcontext():
                    found, also = measure(replace(session, work=work, step=step), count, milliseconds / 1000)
                rows.append(row(name, found, also))
        return rows


def row(name: str, found: Sequence[Gap], also: dict[str, float]) -> Row:
    """Milliseconds beyond two round trips (`also` has both), and where they went."""
    small, full = also[SMALL_TRIP] / 1000, also[FULL_TRIP] / 1000

    def median(part: str, trip: float = 0) -> float:
        seconds: list[float] = [getattr(gap, part) for gap in found]
        return 1000 * (statistics.median(seconds) - trip)

    parts = {
        "round trips, median": statistics.median(gap.whole for gap in found) / small,
        "ms of it before the change": median("before"),
        "to the Migrate SYN": median("notice"),
        "to the SYN/ACK": median("answer", small),
        "to the ACK": median("rebind"),
        "to the data": median("resume", full),
    }
    return Row(name, "ms beyond", [1000 * (gap.whole - small - full) for gap in found], parts | also)


@contextlib.contextmanager
def busy() -> Iterator[None]:
    """A program that calculates without end for each processor."""
    started = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=True)
        for _ in range(os.cpu_count() or 1)
    ]
    try:
        yield
    finally:
        for each in started:
            each.kill()
            each.wait()


def measure(session: Session, count: int, round_trip: float) -> tuple[list[Gap], dict[str, float]]:
    """The gaps of so many moves in one download, and what else was seen."""
    session.step("building the network")
    cable = Cable(rate_bps=RATE_BPS, delay_s=round_trip / 2, queue_packets=QUEUE_PACKETS)
    root, target = session.work / "www", session.work / "received"
    root.mkdir()
    with (root / "object").open("wb") as served:
        block = os.urandom(1 << 20)
        # More than arrives until the last move, even if slow start takes long.
        for _ in range(40 + round(count * (1 + 50 * round_trip) * RATE_BPS / 8) // len(block)):
            served.write(block)
    with Mobility(profile=Profile("cubic"), modem=cable) as topology:
        window = round(RATE_BPS / 8 * round_trip) + SURPLUS_BYTES
        size = receive_buffer(window, platform.release())
        topology.mobile.sysctl("net.ipv4.tcp_rmem", f"4096 {size} {size}")
        serve((topology.server, topology.mobile), session.work)
        Nginx(topology.server, root, session.work)
        also = {
            name: 1000 * statistics.median(_round_trips(topology, size))
            for name, size in ((SMALL_TRIP, SMALL_BYTES), (FULL_TRIP, FULL_BYTES))
        }
        places = [_place(topology, location) for location in topology.locations.values()]
        interfaces = {place.interface: topology.mobile for place in places}
        mover = Mover(topology.mobile)
        with recordings(interfaces, session.work) as packets:
            download = Download(topology.mobile, topology.server_address, "object", target)
            changes = []
            for number in range(count):
                session.step(f"move {number + 1} of {count}")
                _await_full_link(download)
                changes.append(mover.move(places[number % 2], places[1 - number % 2]))
                download.wait_for(download.received + SURPLUS_BYTES, PATIENCE_SECONDS)
            _await_full_link(download)
        late = max(modem.state()["worst_lateness_s"] for modem in topology.modems.values())
    _compare(root / "object", target)
    return gaps(packets, changes), also | {"link late by at most ms": 1000 * late}


def gaps(packets: Sequence[Packet], changes: Sequence[float]) -> list[Gap]:
    """What a capture at the mobile shows of the moves whose addresses changed at these times.  Pure."""
    moved = [each for each in stream.join(packets) if len(each.epochs) > 1]
    if len(moved) != 1:
        raise NotMeasured(f"{len(moved)} connections moved in the captures, 1 should have")
    found = measures.moves(moved[0])
    if len(found) != len(changes):
        raise NotMeasured(f"the captures show {len(found)} moves instead of {len(changes)}")
    result = []
    for move, change in zip(found, changes, strict=True):
        # Of older address pairs, packets may have come too late to count that brought the same bytes.
        around = tuple(one for one in moved[0].segments if one.epoch in (move.epoch - 1, move.epoch))
        gap = measures.interruption(replace(moved[0], segments=around), move, sender=DOWNLOAD)
        result.append(
            Gap(
                whole=gap.seconds,
                before=change - gap.last.time,
                notice=move.syn.time - change,
                answer=move.answer_time,
                rebind=move.ack.time - move.syn_ack.time,
                resume=gap.first.time - move.ack.time,
            )
        )
    return result


def _round_trips(topology: Mobility, back_bytes: int) -> list[float]:
    """From the mobile to the server and back, as the protocol's are."""
    ends = (topology.mobile, topology.mobile_address, topology.server, topology.server_address)
    return round_trips(*ends, ROUND_TRIPS, PATIENCE_SECONDS, back_bytes)


def _place(topology: Mobility, location: Location) -> Place:
    mac = topology.base.mac(location.base_interface)
    return Place(location.mobile_interface, location.address, location.gateway, (location.gateway, mac))


def _await_full_link(download: Download) -> None:
    """Until what arrives fills the link."""
    enough = FULL * RATE_BPS / 8 * LATELY_SECONDS
    end = time.monotonic() + PATIENCE_SECONDS
    seen = [(time.monotonic(), download.received)]
    while True:
        time.sleep(0.01)
        now = time.monotonic()
        if now > end or not download.running:
            raise NotMeasured("the download never filled the link, so that its interruption says nothing")
        seen.append((now, download.received))
        while seen[-1][0] - seen[1][0] > LATELY_SECONDS:
            del seen[0]
        if now - seen[0][0] >= LATELY_SECONDS and seen[-1][1] - seen[0][1] >= enough:
            return


def _compare(served: Path, received: Path) -> None:
    """What has been received is the beginning of what was served."""
    with served.open("rb") as wanted, received.open("rb") as got:
        while block := got.read(1 << 20):
            if block != wanted.read(len(block)):
                raise NotMeasured("what was received is not what was served")
