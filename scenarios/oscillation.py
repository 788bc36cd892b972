"""One download is moved back and forth between two replicas every few seconds (slide 31)."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Literal

from analysis import keylog, stream
from analysis.daemon_events import Told
from scenarios import needs, oscillation_checks, oscillation_cost
from scenarios.base import Context, Scenario
from scenarios.oscillation_seen import Curve
from scenarios.programs import Download, Migrated, Nginx, ProgramError, checksum, random_file
from scenarios.replicas import BACKEND_PORT, Wedge, connections, group_key
from scenarios.verdict import Check, Invalid
from topologies.capture import HEADER_BYTES
from topologies.failover import WAN, Failover
from topologies.measure import LinkNotAsDeclared
from topologies.nodes import Host
from topologies.profiles import PROFILES

PERIODS: tuple[float | None, ...] = (1, 2, 5, 10, None)
LOSSES: tuple[float, ...] = (0.0, 0.01, 0.03)
OBJECT_BYTES = 4_500_000
LINK = replace(WAN, rate_bps=2_000_000)
QUEUE_PACKETS = 40
"""While the curves are made; the links are measured with a longer one, which holds the probe's trains."""
REPLICAS = ("sA", "sB")
PATIENCE_SECONDS = 200.0
STALL_SECONDS = 60
"""curl gives up once nothing has come for so long."""
MODIFIED = 1_000_000_000
"""Seconds since 1970: both replicas' files have this time, of which nginx makes their entity tag."""


class OscillationScenario(Scenario):
    name = "oscillation"
    claim = "A download that is moved between two servers every few seconds reaches its end (slide 31)"
    needs = (
        *needs.TOPOLOGY,
        *needs.MIGRATE,
        *needs.DOWNLOAD,
        needs.Program("tshark"),
    )
    alone = True

    def run(self, context: Context) -> list[Check]:
        curves, names = [], {}
        with _lab(context) as lab:
            for loss in LOSSES:
                curves += lab.curves(loss)
            names = {lab.topology.address(name): name for name in lab.topology.hosts}
        context.step("drawing")
        from scenarios.oscillation_picture import draw, draw_cost  # which loads all of matplotlib

        groups = oscillation_cost.grouped(curves)
        title = f"oscillation, profile {context.profile}, IPv{context.ip}, at the clients"
        draw(curves, context.out / "oscillation.png", title)
        draw(curves, context.out / "oscillation.svg", title)
        if groups:
            draw_cost(groups, context.out / "cost.png", title)
            draw_cost(groups, context.out / "cost.svg", title)
        assert LINK.rate_bps is not None
        oscillation_checks.as_fast_as_the_link(curves, LINK.rate_bps)
        oscillation_checks.report_costs(context, groups)
        return oscillation_checks.judge(context, curves, names)


def _client(period: float | None) -> str:
    return "never" if period is None else f"every{period:g}"


@dataclass
class _Lab:
    """The topology with a client for each period, and all programs, running."""

    context: Context
    topology: Failover
    wedges: dict[str, Wedge]
    wanted: str

    def curves(self, loss: float) -> list[Curve]:
        """All periods at once, each over a link of its own with these losses."""
        self.context.step(f"loss {100 * loss:g} %: downloading")
        out = self.context.out / f"loss-{100 * loss:g}"
        out.mkdir()
        for link in self.topology.wans.values():
            lossy = replace(link.spec, loss=loss, queue_packets=QUEUE_PACKETS)
            link.set_properties(lossy.there, lossy.back)
        captures = self.topology.capture(out, list(self.topology.clients), HEADER_BYTES)
        with ThreadPoolExecutor(len(PERIODS)) as pool:
            pending = [pool.submit(self._play, out, period) for period in PERIODS]
            played = [one.result() for one in pending]
        for capture in captures.values():
            capture.stop()
        self.context.step(f"loss {100 * loss:g} %: reading the captures")
        keys = keylog.read_keys([self.context.out / "keys.log"])
        found = []
        for period, (connection, asked, status) in zip(PERIODS, played, strict=True):
            name = _client(period)
            found.append(
                Curve(
                    period=period,
                    loss=loss,
                    streams=tuple(stream.load([out / f"{name}.pcap"], name, keys)),
                    told=tuple(self._told(connection)),
                    asked=asked,
                    exit_status=status,
                    wanted=self.wanted,
                    got=checksum(out / f"{name}.object"),
                    object_bytes=OBJECT_BYTES,
                )
            )
        return found

    def _play(self, out: Path, period: float | None) -> tuple[str, int, int]:
        """One download to its end, from sA, and moved; the connection's name, how often a move was asked for, and
        curl's exit status."""
        name = _client(period)
        host = self.topology.clients[name]
        began = time.monotonic()
        stalls = ("--speed-limit", "1", "--speed-time", str(STALL_SECONDS))
        curl = Download(host, self.topology.address(REPLICAS[0]), "object", out / f"{name}.object", *stalls)
        curl.wait_for(1, PATIENCE_SECONDS)
        [connection] = connections(host, Nginx.PORT)
        asked = 0
        while period is not None and curl.running:
            due = began + (asked + 1) * period
            while curl.running and time.monotonic() < due:
                time.sleep(0.005)
            if not curl.running:
                break
            asked += 1
            if not self._take(connection, REPLICAS[asked % 2], curl):
                break
        return connection, asked, curl.finish(PATIENCE_SECONDS)

    def _take(self, connection: str, target: str, curl: Download) -> bool:
        """Has a replica take it, and waits until it has; False where the download ends first."""
        before = self._count(connection, target)
        # The last move may have ended this very moment, later than the next was due.
        if not self._until(lambda: self._knows(connection, target), curl, f"{target} has not heard of {connection}"):
            return False
        try:
            self.wedges[target].take(connection)
        except ProgramError:
            if curl.running:
                raise
            return False
        otherwise = f"the wedge on {target} has not taken connection {connection} over"
        return self._until(lambda: self._count(connection, target) > before, curl, otherwise)

    def _until(self, look: Callable[[], bool], curl: Download, otherwise: str) -> bool:
        """Waits; False where the download ends first.  Raises `ProgramError` with that sentence."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not look():
            if not curl.running:
                return False
            if time.monotonic() > end:
                raise ProgramError(otherwise)
            time.sleep(0.005)
        return True

    def _knows(self, connection: str, target: str) -> bool:
        """Whether a wedge has heard that the connection is another's, since it had it itself."""
        told = [one.event for one in self._told(connection, target) if one.event in ("heard", "taken-over")]
        return told[-1:] == ["heard"]

    def _count(self, connection: str, target: str) -> int:
        return sum(one.event == "taken-over" for one in self._told(connection, target))

    def _told(self, connection: str, *targets: str) -> list[Told]:
        """What these wedges, or all, have told of a connection."""
        found = []
        for name in targets or REPLICAS:
            with self.lock:
                events = self.wedges[name].events
                events.look()
                found += [one for one in events.told if one.connection == connection]
        return sorted(found, key=lambda one: one.time)

    lock: threading.Lock = field(default_factory=threading.Lock)


@contextmanager
def _lab(context: Context) -> Iterator[_Lab]:
    context.step("building the topology")
    clients = [_client(period) for period in PERIODS]
    version: Literal[4, 6] = 6 if context.ip == 6 else 4
    with (
        Failover(
            ip=version,
            profile=PROFILES[context.profile],
            wan=LINK,
            seed=context.seed,
            clients=clients,
            replicas=REPLICAS,
        ) as topology,
        ExitStack() as ending,
    ):
        context.step("measuring the links")
        try:
            topology.measure()
        except LinkNotAsDeclared as cause:
            raise Invalid(str(cause)) from None
        seed, wanted = context.random.getrandbits(32), ""
        for host in topology.replicas.values():
            wanted = _serve(context.out, host, seed)
        daemons = [Migrated(host, context.out) for host in (*topology.clients.values(), *topology.replicas.values())]
        addresses = {name: topology.address(name) for name in REPLICAS}
        key = group_key(context.out)
        wedges = {name: Wedge(topology.replicas[name], addresses, context.out, key) for name in REPLICAS}
        for wedge in wedges.values():
            ending.callback(wedge.stop)
        yield _Lab(context, topology, wedges, wanted)
        for daemon in daemons:
            daemon.stop()


def _serve(out: Path, host: Host, seed: int) -> str:
    root, work = out / f"{host.name}-www", out / f"{host.name}-nginx"
    root.mkdir()
    work.mkdir()
    wanted = random_file(root / "object", OBJECT_BYTES, Random(seed))
    os.utime(root / "object", (MODIFIED, MODIFIED))
    Nginx(host, root, work, loopback=BACKEND_PORT)
    return wanted
