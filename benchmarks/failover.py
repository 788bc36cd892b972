"""What the wedge costs beside nginx alone, and how fast a member goes on where a server was."""

from __future__ import annotations

import contextlib
import json
import os
import select
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from benchmarks import figures
from benchmarks.measurement import NotMeasured, Session
from benchmarks.report import Row
from migrate.failover.control import SOCKET_NAME
from migrate.linux.freezer import Freezer
from scenarios.programs import Download, Migrated, Nginx, checksum, random_file
from topologies.links import Cable, Veth
from topologies.network import LabTopo, Network
from topologies.nodes import Host, Router

PLACES = {"client": 1, "sA": 2, "sB": 3}
WEDGE, ALONE, BACKEND, GROUP = 8080, 8081, 8082, 7777
LARGE, SMALL = 100_000_000, 1_000
PAIRS, QUICK_PAIRS = 30, 4
REQUESTS = 100
TAKEOVERS, QUICK_TAKEOVERS = 20, 3
ROUND_TRIP_MS = 46
READY_SECONDS = 30.0


def address(host: str) -> str:
    return f"10.0.{PLACES[host]}.2"


@dataclass(frozen=True)
class Site:
    """A client and two replicas, each with migrated, nginx and the wedge in front of it."""

    client: Host
    servers: dict[str, Host]
    work: Path

    def ask(self, of: str, **request: Any) -> dict[str, Any]:
        """A request to that server's wedge."""
        import socket

        with self.servers[of].entered(), socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(READY_SECONDS)
            sock.connect(SOCKET_NAME)
            sock.sendall(json.dumps(request).encode() + b"\n")
            with sock.makefile() as answers:
                found: dict[str, Any] = json.loads(answers.readline())["result"]
                return found

    def fetch(self, port: int, name: str, count: int) -> list[tuple[float, float]]:
        """Bytes a second and seconds of each of so many requests on one connection to sA."""
        url = f"http://{address('sA')}:{port}/{name}"
        words = ["curl", "-sf", "-w", "%{speed_download} %{time_total}\\n"]
        for _ in range(count):
            words += ["-o", "/dev/null", url]
        lines = self.client.run(words, timeout=120).stdout.splitlines()
        if len(lines) != count:
            raise NotMeasured(f"curl has got {len(lines)} of {count} answers")
        return [(float(speed), float(seconds)) for speed, seconds in (line.split() for line in lines)]

    def events(self, server: str, event: str) -> list[dict[str, Any]]:
        lines = (self.work / f"{server}-wedge.jsonl").read_text().splitlines()
        return [found for found in map(json.loads, lines) if found["event"] == event]


@contextlib.contextmanager
def site(work: Path, delay_s: float = 0.0) -> Iterator[Site]:
    """`delay_s`: one way, of the client's link."""
    topo = LabTopo()
    topo.addHost("router", cls=Router)
    for name in PLACES:
        topo.addHost(name, cls=Host)
        spec = Cable(delay_s=delay_s, queue_packets=1000, rate_bps=20e6) if delay_s and name == "client" else None
        topo.link("router", name, spec or Veth(offload=True), names=(f"router-{name}", f"{name}-eth0"))
    with Network(topo) as network:
        router, hosts = network.nodes["router"], {name: network.nodes[name] for name in PLACES}
        for name, host in hosts.items():
            gateway = f"10.0.{PLACES[name]}.1"
            router.add_address(f"router-{name}", f"{gateway}/24")
            host.add_address(f"{name}-eth0", f"{address(name)}/24")
            host.default_route(gateway, f"{name}-eth0")
            host.sysctl("net.ipv4.tcp_congestion_control", "reno")
            Migrated(host, work)
        servers = {name: hosts[name] for name in ("sA", "sB")}
        (work / "key").write_bytes(Random(1).randbytes(16).hex().encode())
        for name in servers:
            (work / name / "www").mkdir(parents=True)
        for file, size in (("large", LARGE), ("small", SMALL)):
            for name in servers:
                random_file(work / name / "www" / file, size, Random(size))
                os.utime(work / name / "www" / file, (10**9, 10**9))
        for host in servers.values():
            _serve(host, work)
        made = Site(hosts["client"], servers, work)
        end = time.monotonic() + READY_SECONDS
        while not all(made.ask(name, do="status")["members"] for name in servers):
            if time.monotonic() > end:
                raise NotMeasured("the wedges do not hear each other")
            time.sleep(0.02)
        yield made


def _serve(host: Host, work: Path) -> None:
    root, name = work / host.name / "www", host.name
    port, Nginx.PORT = Nginx.PORT, ALONE
    try:
        Nginx(host, root, work / name, servers=f"server {{ listen 127.0.0.1:{BACKEND}; root {root}; }}")
    finally:
        Nginx.PORT = port
    words = [sys.executable, "-m", "migrate.failover", "--name", name, "--port", str(WEDGE)]
    words += ["--backend", f"127.0.0.1:{BACKEND}", "--group-key", str(work / "key"), "--listen"]
    words += [f"{address(name)}:{GROUP}", "--events", str(work / f"{name}-wedge.jsonl")]
    for other in ("sA", "sB"):
        words += ["--member", f"{address(other)}:{GROUP}"]
    with (work / f"{name}-wedge.log").open("w") as log:
        process = host.spawn(words, stdout=subprocess.PIPE, stderr=log)
    assert process.stdout is not None
    if not select.select([process.stdout], [], [], READY_SECONDS)[0] or process.stdout.readline() != b"ready\n":
        raise NotMeasured(f"the wedge on {name} does not start")


class WedgeCost:
    """`wedge_throughput`: bytes a second of a 100 MB object through the wedge, of those from nginx alone, in turns;
    `wedge_request`: milliseconds that a request on a connection that stays takes longer, and what soft state costs."""

    name = "wedge"
    about = "throughput and time of a request through the wedge, beside nginx alone"

    def measure(self, session: Session) -> Sequence[Row]:
        count = session.count(PAIRS, QUICK_PAIRS)
        with site(session.work) as place:
            session.step("100 MB objects")
            speeds = _turns(count, lambda port: place.fetch(port, "large", 1)[0][0] * 8 / 1e6)
            session.step("small objects")
            before = place.ask("sA", do="status")["group"]
            times = _turns(count, lambda port: 1e3 * statistics.median(t for _, t in _later(place, port)))
            after = place.ask("sA", do="status")["group"]
        sent = {key: after[key] - before[key] for key in ("datagrams sent", "bytes sent")}
        ours, alone = zip(*speeds, strict=True)
        slow, quick = zip(*times, strict=True)
        return [
            Row("wedge_throughput", "of nginx alone", figures.pair_ratios(speeds),
                {"Mbit/s through the wedge": statistics.median(ours), "alone": statistics.median(alone)}),
            Row("wedge_request", "ms more", [one - other for one, other in times],
                {"ms through the wedge": statistics.median(slow), "alone": statistics.median(quick),
                 "soft state, bytes a request": sent["bytes sent"] / (count * REQUESTS),
                 "bytes a datagram": sent["bytes sent"] / sent["datagrams sent"]}),
        ]  # fmt: skip


def _later(place: Site, port: int) -> list[tuple[float, float]]:
    """All requests of a connection but the first."""
    return place.fetch(port, "small", REQUESTS)[1:]


def _turns(count: int, measure: Callable[[int], float]) -> list[tuple[float, float]]:
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
        with site(session.work, ROUND_TRIP_MS / 2e3) as place:
            wanted = checksum(place.work / "sA" / "www" / "large")
            assert wanted
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
        while download.received == before:
            if time.time() - began > READY_SECONDS:
                raise NotMeasured("sB does not take over")
            time.sleep(0.0002)
        took = 1e3 * (time.time() - began)
        download.give_up()
        freezer.thaw()
        return took


def _quiet(download: Download) -> None:
    """Until nothing more of the old server arrives."""
    seen = -1
    while download.received != seen:
        seen = download.received
        time.sleep(0.5)
