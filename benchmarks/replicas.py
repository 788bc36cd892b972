"""A client and two replicas with their wedges, for what is measured of failover."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.measurement import NotMeasured, wait_until
from migrate.failover.control import SOCKET_NAME
from scenarios.programs import Migrated, Nginx, checksum, random_file
from topologies.links import Cable, Veth
from topologies.network import LabTopo, Network
from topologies.nodes import Host, Router

PLACES = {"client": 1, "sA": 2, "sB": 3}
WEDGE, ALONE, GROUP = 8080, 8081, 7777
LARGE, SMALL, MIDDLE = 100_000_000, 1_000, 60_000
READY_SECONDS = 30.0


def address(host: str) -> str:
    return f"10.0.{PLACES[host]}.2"


@dataclass(frozen=True)
class Site:
    """A client and two replicas, each with migrated, nginx and the wedge in front of it."""

    client: Host
    servers: dict[str, Host]
    wedges: dict[str, subprocess.Popen[Any]]
    work: Path

    def ask(self, of: str, **request: Any) -> dict[str, Any]:
        """A request to that server's wedge."""
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

    def checksum(self, name: str) -> str:
        return checksum(self.work / "sA" / "www" / name)

    def events(self, server: str, event: str) -> list[dict[str, Any]]:
        lines = (self.work / f"{server}-wedge.jsonl").read_text().splitlines()
        return [found for found in map(json.loads, lines) if found["event"] == event]


@contextlib.contextmanager
def site(work: Path, link: Cable | Veth | None = None) -> Iterator[Site]:
    """`link`: the client's."""
    work.mkdir(exist_ok=True)
    topo = LabTopo()
    topo.addHost("router", cls=Router)
    for name in PLACES:
        topo.addHost(name, cls=Host)
        spec = link if link and name == "client" else Veth(offload=True)
        topo.link("router", name, spec, names=(f"router-{name}", f"{name}-eth0"))
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
        for file, size in (("large", LARGE), ("middle", MIDDLE), ("small", SMALL)):
            for name in servers:
                random_file(work / name / "www" / file, size, Random(size))
                os.utime(work / name / "www" / file, (10**9, 10**9))
        wedges = {name: _serve(host, work) for name, host in servers.items()}
        made = Site(hosts["client"], servers, wedges, work)
        wait_until(
            lambda: all(made.ask(name, do="status")["members"] for name in servers),
            READY_SECONDS,
            "the wedges do not hear each other",
        )
        yield made


def _serve(host: Host, work: Path) -> subprocess.Popen[Any]:
    root, name, backend = work / host.name / "www", host.name, work / host.name / "nginx.sock"
    port, Nginx.PORT = Nginx.PORT, ALONE
    try:
        behind = f"server {{ listen unix:{backend} backlog=4096; root {root}; }}"
        Nginx(host, root, work / name, servers=behind, main="worker_rlimit_nofile 16384;")
    finally:
        Nginx.PORT = port
    words = [sys.executable, "-m", "migrate.failover", "--name", name, "--port", str(WEDGE)]
    words += ["--backend", f"unix:{backend}", "--group-key", str(work / "key"), "--listen"]
    words += [f"{address(name)}:{GROUP}", "--events", str(work / f"{name}-wedge.jsonl")]
    for other in ("sA", "sB"):
        words += ["--member", f"{address(other)}:{GROUP}"]
    with (work / f"{name}-wedge.log").open("w") as log:
        process = host.spawn(words, stdout=subprocess.PIPE, stderr=log)
    assert process.stdout is not None
    if not select.select([process.stdout], [], [], READY_SECONDS)[0] or process.stdout.readline() != b"ready\n":
        raise NotMeasured(f"the wedge on {name} does not start")
    return process
