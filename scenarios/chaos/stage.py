"""Clients and replicas around one router, on IPv4 and IPv6; on each replica nginx, `migrated` and the wedge.

c1 ── cable, slow and far ────┐          ┌── sA, sB, sC, sD    replicas
c2 ── Ethernet ───────────────┤  router  │
c3 ── Ethernet, small buffers ┘          └── mon               the health monitor
"""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from scenarios.chaos import replica as programs
from scenarios.chaos.replica import (
    BACKEND_PORT,
    GROUP_PORT,
    NETWORKS,
    PORT,
    REPLICAS,
    VERSIONS,
    Program,
    Replica,
    address,
)
from scenarios.programs import Nginx
from topologies.links import Cable, Veth
from topologies.network import LabTopo, Network
from topologies.nodes import Host, Router

CLIENTS: dict[str, Cable | Veth] = {
    "c1": Cable(rate_bps=8e6, delay_s=0.01, queue_packets=100),
    "c2": Veth(rate_bps=40e6),
    "c3": Veth(rate_bps=20e6),
}
SMALL_BUFFERS = "4096 8192 8192"
MONITOR = ("--interval", "0.4", "--timeout", "1.0", "--failures", "2")
LENGTH = {4: 24, 6: 64}
PROBED = "probed"
"""What the monitor asks for."""


class _Nginx(Nginx):
    PORT = BACKEND_PORT


class Stage:
    """The hosts and their programs; a context manager."""

    def __init__(
        self, out: Path, root: Path, module: str, nginx_lines: str, random: Random, migrated: str = "migrate.migrated"
    ) -> None:
        """`root`: the files that all replicas have; `nginx_lines`: for each one's server block; `module`, `migrated`:
        the programs that are the wedges and their daemons."""
        self._out, self._migrated = out, migrated
        topo = LabTopo()
        topo.addHost("router", cls=Router)
        for name in NETWORKS:
            topo.addHost(name, cls=Host)
            topo.link("router", name, CLIENTS.get(name, Veth()), names=(f"router-{name}", f"{name}-eth0"))
        self._network = Network(topo)
        self._parted: Counter[tuple[str, str]] = Counter()
        try:
            nodes = self._network.nodes
            self.router: Host = nodes["router"]
            for name in NETWORKS:
                self._join(nodes[name])
            self.clients: dict[str, Host] = {name: nodes[name] for name in CLIENTS}
            self.clients["c3"].sysctl("net.ipv4.tcp_rmem", SMALL_BUFFERS)
            self._clients_daemons = {name: self._client_daemon(host, out) for name, host in self.clients.items()}
            key = out / "group.key"
            key.write_text("the replicas of this run")
            self.replicas = {name: Replica(nodes[name], out, key, module, migrated, random) for name in REPLICAS}
            for name, replica in self.replicas.items():
                work = out / name
                work.mkdir()
                _Nginx(replica.host, root, work, more=nginx_lines)
            _until(lambda: all(daemon.ready for daemon in self._clients_daemons.values()))
            _until(self._serving)
        except BaseException:
            self._network.stop()
            raise

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        self._network.stop()

    @property
    def hosts(self) -> dict[str, Host]:
        """Clients and replicas, by name: those with a `migrated`."""
        return self.clients | {name: replica.host for name, replica in self.replicas.items()}

    @property
    def daemons(self) -> dict[str, Program]:
        """Their `migrated`, as far as they are there."""
        of_replicas = {name: replica.daemon for name, replica in self.replicas.items() if replica.daemon is not None}
        return self._clients_daemons | of_replicas

    def watch(self) -> Callable[[], None]:
        """Starts the health monitor; what ends it."""
        monitor = self._monitor(self._network.nodes["mon"], self._out, self._out / "group.key")
        _until(lambda: monitor.ready)

        def end() -> None:
            monitor.process.kill()
            monitor.process.wait()

        return end

    def _serving(self) -> bool:
        for replica in self.replicas.values():
            replica.step()
        return all(replica.serves for replica in self.replicas.values())

    def _join(self, host: Host) -> None:
        """Addresses, routes and neighbours of a host and the router."""
        here, there = f"{host.name}-eth0", f"router-{host.name}"
        ends = ((self.router, there, 1), (host, here, 2))
        macs = {1: self.router.mac(there), 2: host.mac(here)}
        for version in VERSIONS:
            nodad = " nodad" if version == 6 else ""
            for node, interface, end in ends:
                other = address(host.name, version, 3 - end)
                lines = [f"address add {address(host.name, version, end)}/{LENGTH[version]} dev {interface}{nodad}"]
                lines += [f"neighbour replace {other} lladdr {macs[3 - end]} dev {interface} nud permanent"]
                lines += [f"route add default via {other} dev {interface}"] if node is host else []
                node.ip_batch(version, lines)
        host.sysctl("net.ipv4.tcp_no_metrics_save", 1)

    def _client_daemon(self, host: Host, out: Path) -> Program:
        words: list[str | Path] = [self._migrated, "--cgroup", host.programs_cgroup]
        words += ["--msl", str(programs.MSL_SECONDS)]
        events, log = out / f"{host.name}-events.jsonl", out / f"{host.name}-migrated.log"
        return Program(host, [*words, "--events", events], log, daemon=True)

    def _monitor(self, host: Host, out: Path, key: Path) -> Program:
        words: list[str | Path] = ["migrate.failover.monitor", *MONITOR, "--group-key", key]
        words += ["--events", out / "monitor.jsonl"]
        for name in REPLICAS:
            words += ["--server", f"{name}=http://{address(name, 4)}:{PORT}/{PROBED}"]
            words += ["--member", f"{address(name, 4)}:{GROUP_PORT}"]
        return Program(host, words, out / "monitor.log")

    # --- the network --------------------------------------------------------------------------------------------------

    def part(self, name: str, others: Sequence[str]) -> None:
        """From now on the router passes nothing on between a replica and these others."""
        pairs = _both_ways(name, others)
        self._rule("add", [pair for pair in pairs if not self._parted[pair]])
        self._parted.update(pairs)

    def rejoin(self, name: str, others: Sequence[str]) -> None:
        """The end of `part`; another one of the same hosts may go on."""
        pairs = _both_ways(name, others)
        self._parted.subtract(pairs)
        self._rule("del", [pair for pair in pairs if not self._parted[pair]])

    def _rule(self, action: str, pairs: Sequence[tuple[str, str]]) -> None:
        for version in VERSIONS:
            self.router.ip_batch(
                version,
                [
                    f"rule {action} iif router-{one} to {address(two, version)} pref 100 type blackhole"
                    for one, two in pairs
                ],
            )

    def struck(self, name: str) -> int:
        """How many connections of the clients go to a replica now, as their kernels have it."""
        found = 0
        for client in self.clients.values():
            for version, file in ((4, "tcp"), (6, "tcp6")):
                wanted = _hex(address(name, version))
                lines = Path(f"/proc/{client.pid}/net/{file}").read_text().splitlines()[1:]
                found += sum(words[2].startswith(wanted) and words[3] == "01" for words in map(str.split, lines))
        return found


def _both_ways(name: str, others: Sequence[str]) -> list[tuple[str, str]]:
    return [pair for other in others for pair in ((name, other), (other, name))]


def _hex(text: str) -> str:
    """An address as /proc/net/tcp has it: words of 32 bits in the machine's order."""
    raw = socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)
    return "".join(raw[at : at + 4][::-1].hex().upper() for at in range(0, len(raw), 4)) + ":"


def _until(look: Callable[[], bool]) -> None:
    while not look():
        time.sleep(0.02)
