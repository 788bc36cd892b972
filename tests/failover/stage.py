"""A client and three replicas, each with a `migrated`, and the programs of these tests on them.

    client  10.0.N.1, fd00:N::1 ── N ── 10.0.N.2, fd00:N::2   sA (N=1), sB (2), sC (3)

The client speaks from its address on sA's link; the others reach all its addresses by their own.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scenarios.programs import Download
from tests.failover.house import BEGUN, FAST, SLOW
from tests.linux.lab import OUT, PATIENCE_SECONDS, ROOT, Daemon, Talker, clear, until
from topologies import shaping
from topologies.links import Veth
from topologies.network import LabTopo, Network
from topologies.nodes import Host

SERVERS = ("sA", "sB", "sC")
PORT = 8080
LENGTH = {4: 24, 6: 64}

__all__ = [
    "BEGUN",
    "OUT",
    "PATIENCE_SECONDS",
    "PORT",
    "SLOW",
    "Daemon",
    "Stage",
    "Talker",
    "address",
    "clear",
    "stage",
    "until",
]


def address(version: int, link: int, end: int) -> str:
    """Of one end of a link: 1 is the client's, 2 the server's; the client may get 11 and so on."""
    return f"10.0.{link}.{end}" if version == 4 else f"fd00:{link}::{end}"


class Replica:
    """replica.py on a host: `replica("send", 0, ...)`."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._log = OUT / f"{host.name}-replica.log"
        with self._log.open("a") as log:
            pipe = subprocess.PIPE
            words = [sys.executable, "-m", "tests.failover.replica"]
            self.process = host.spawn(
                words, stdin=pipe, stdout=pipe, stderr=log, text=True, bufsize=1, cwd=ROOT, env=os.environ
            )

    def start(self, *request: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request) + "\n")

    def answer(self, patience: float = PATIENCE_SECONDS) -> Any:
        assert self.process.stdout is not None
        said = select.select([self.process.stdout], [], [], patience)[0]
        assert said, f"the replica on {self.host.name} does not answer: {self._log.read_text()}"
        line = self.process.stdout.readline()
        assert line, f"the replica on {self.host.name} has ended: {self._log.read_text()}"
        return json.loads(line)

    def __call__(self, *request: Any) -> Any:
        self.start(*request)
        return self.answer()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@dataclass
class Stage:
    """The hosts, their daemons and replicas."""

    network: Network
    client: Host
    servers: dict[str, Host]
    daemons: dict[str, Daemon]
    replicas: dict[str, Replica]
    patience: float

    def accepted(self, version: int, target: Path, port: int = PORT) -> tuple[Download, int, dict[str, Any]]:
        """A download that sA has accepted, whose request it has read, and its soft state."""
        download = Download(self.client, address(version, 1, 2), "object", target, port=port)
        number = self.replicas["sA"]("accept")
        assert bytes.fromhex(self.replicas["sA"]("read", number)).startswith(b"GET /object")
        return download, number, self.replicas["sA"]("export", number)

    def finish(self, download: Download) -> None:
        """The rest of it comes fast, and curl is content."""
        self.rate(FAST)
        assert download.finish(self.patience) == 0

    def rate(self, bps: float) -> None:
        """Of each link, from now on."""
        for name, server in self.servers.items():
            for host, interface in ((self.client, f"client-{name}"), (server, f"{name}-eth0")):
                shaping.set_rate(host, interface, bps)

    def replace_client_address(self, version: int, old: int, new: int) -> None:
        nodad = " nodad" if version == 6 else ""
        old_one, new_one = (f"{address(version, 1, end)}/{LENGTH[version]}" for end in (old, new))
        lines = [f"address del {old_one} dev client-sA", f"address add {new_one} dev client-sA{nodad}"]
        self.client.ip_batch(version, lines)

    def cut(self, server: str) -> None:
        """The link between client and server is down."""
        self.client.ip("link", "set", f"client-{server}", "down")


@contextlib.contextmanager
def stage(
    version: int = 4,
    servers: tuple[str, ...] = SERVERS[:2],
    rate_bps: float | None = None,
    module: str = "migrate.migrated",
    patience: float = PATIENCE_SECONDS,
) -> Iterator[Stage]:
    """`version`: of IP, that the replicas listen to; `rate_bps`: of each link; `module`: the daemon;
    `patience`: seconds, for what happens at once on an idle machine."""
    OUT.mkdir(exist_ok=True)
    topo = LabTopo()
    topo.addHost("client", cls=Host)
    for name in servers:
        topo.addHost(name, cls=Host)
        topo.link("client", name, Veth(rate_bps=rate_bps), names=(f"client-{name}", f"{name}-eth0"))
    with Network(topo) as network:
        client = network.nodes["client"]
        hosts = {name: network.nodes[name] for name in servers}
        _furnish(client, hosts)
        daemons = {host.name: Daemon(host, module=module) for host in (client, *hosts.values())}
        for daemon in daemons.values():
            daemon.wait_ready()
        place = Stage(network, client, hosts, daemons, {}, patience)
        for name, host in hosts.items():
            place.replicas[name] = Replica(host)
        for replica in place.replicas.values():
            assert replica("listen", version, PORT) == PORT
        yield place


def _furnish(client: Host, servers: dict[str, Host]) -> None:
    for version in (4, 6):
        nodad = " nodad" if version == 6 else ""
        for link, host in enumerate(servers.values(), 1):
            for end, one, device in ((1, client, f"client-{host.name}"), (2, host, f"{host.name}-eth0")):
                where = f"{address(version, link, end)}/{LENGTH[version]}"
                one.ip_batch(version, [f"address add {where} dev {device}{nodad}"])
            # Written down: nobody is asked for it in the middle of a test, in the name of an address of another link.
            client.neighbour(f"client-{host.name}", address(version, link, 2), host.mac(f"{host.name}-eth0"))
            host.neighbour(f"{host.name}-eth0", address(version, link, 1), client.mac(f"client-{host.name}"))
            host.ip_batch(version, [f"route add default via {address(version, link, 1)}"])
    for host in (client, *servers.values()):
        for interface in ("all", "default"):
            host.sysctl(f"net.ipv4.conf.{interface}.rp_filter", 0)
        host.sysctl("net.ipv4.tcp_congestion_control", "reno")
    for host in servers.values():
        client.sysctl(f"net.ipv4.conf.client-{host.name}.rp_filter", 0)
    client.sysctl("net.ipv4.conf.all.promote_secondaries", 1)
