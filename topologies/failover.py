"""The topology of slides 25 and 30: a client far away, and replicas of one server beside each other.

    client --WAN, 46 ms round trip-- router --100 Mbit/s Ethernet-- sA, sB, sC    replicas
                                           `--100 Mbit/s Ethernet-- mon           the health monitor's host

There may be several clients, each with a WAN of its own. Everybody knows everybody's Ethernet address, so captures
hold the experiment and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Literal

from topologies.capture import SNAP_BYTES, Capture
from topologies.links import Cable, CableLink, Veth
from topologies.measure import Declared, Measured, measure
from topologies.network import LabTopo, Network, Topology
from topologies.nodes import Host, NodeError, Router
from topologies.profiles import PROFILES, Profile, ProfileName, apply
from topologies.shaping import has_tbf

WAN = Cable(rate_bps=4_000_000, delay_s=0.023, queue_packets=100)
ETHERNET = Veth(rate_bps=100_000_000)
NETWORKS = {"client": 1, "sA": 2, "sB": 3, "sC": 4, "mon": 5}
REPLICAS = ("sA", "sB", "sC")
CLIENTS = ("client",)
_FURTHER_CLIENTS = 11
"""Number of the second client's network; the others follow."""
_LENGTH = {4: 24, 6: 64}


class FailoverTopo(LabTopo):
    """Nodes and links, as Mininet declares them."""

    def build(self, wans: Sequence[Cable], ethernet: Veth, clients: Sequence[str], replicas: Sequence[str]) -> None:
        self.addHost("router", cls=Router)
        for name in (*clients, *replicas, "mon"):
            self.addHost(name, cls=Host)
            spec = wans[clients.index(name)] if name in clients else ethernet
            self.link("router", name, spec, (f"router-{name}", f"{name}-eth0"))


class Failover(Topology):
    """The running topology; a context manager. Must run in a sandbox."""

    def __init__(
        self,
        *,
        ip: Literal[4, 6] = 4,
        profile: ProfileName | Profile = "paper",
        wan: Cable = WAN,
        seed: int = 0,
        clients: Sequence[str] = CLIENTS,
        replicas: Sequence[str] = REPLICAS,
    ) -> None:
        """`wan`: of each client, each with a seed of its own for its random losses."""
        self.version = ip
        self.ethernet = ETHERNET if has_tbf() else Veth()
        profile = PROFILES[profile] if isinstance(profile, str) else profile
        self._networks = NETWORKS | {name: _FURTHER_CLIENTS + number for number, name in enumerate(clients[1:])}
        self._networks[clients[0]] = NETWORKS["client"]
        wans = [replace(wan, seed=len(clients) * seed + number) for number in range(len(clients))]
        self.network = Network(FailoverTopo(wans, self.ethernet, clients, replicas))
        try:
            nodes = self.network.nodes
            self.router, self.monitor = nodes["router"], nodes["mon"]
            self.clients = {name: nodes[name] for name in clients}
            self.client = self.clients[clients[0]]
            self.replicas = {name: nodes[name] for name in replicas}
            self.hosts = {**self.clients, **self.replicas, "mon": self.monitor}
            self.wans: dict[str, CableLink] = {name: self.network.link("router", name) for name in clients}
            self.wan = self.wans[clients[0]]
            """The first client's."""
            self.metrics = apply(profile, (*self.clients.values(), *self.replicas.values()))
            for name, host in self.hosts.items():
                self._join(name)
                host.default_route(self.address(name, 1), f"{name}-eth0", **self.metrics)
        except BaseException:
            self.network.stop()
            raise

    def address(self, name: str, number: int = 2) -> str:
        """A host's address, or (1) the router's in the same network."""
        network = self._networks[name]
        return f"10.0.{network}.{number}" if self.version == 4 else f"fd00:{network}::{number}"

    def _join(self, name: str) -> None:
        """Addresses and neighbours of a host and the router."""
        ends = ((1, self.router, f"router-{name}"), (2, self.hosts[name], f"{name}-eth0"))
        for number, host, interface in ends:
            host.add_address(interface, f"{self.address(name, number)}/{_LENGTH[self.version]}")
        for (_, host, interface), (number, other, its) in (ends, ends[::-1]):
            host.neighbour(interface, self.address(name, number), other.mac(its))

    # --- what goes wrong with a network -------------------------------------------------------------------------------

    def part(self, name: str, others: Sequence[str]) -> None:
        """From now on the router passes nothing on between a host and these others, in either direction."""
        self._between("add", name, others)

    def rejoin(self, name: str, others: Sequence[str]) -> None:
        """The end of `part`."""
        self._between("del", name, others)

    def _between(self, action: Literal["add", "del"], name: str, others: Sequence[str]) -> None:
        lines = []
        for one, two in [(name, other) for other in others] + [(other, name) for other in others]:
            if one == two or {one, two} - self.hosts.keys():
                raise NodeError(f"{one} and {two} cannot be parted: take two of {', '.join(self.hosts)}")
            lines.append(f"rule {action} iif router-{one} to {self.address(two)} pref 100 type blackhole")
        self.router.ip_batch(self.version, lines)

    # --- before and during the experiment -----------------------------------------------------------------------------

    def measure(self, tolerance: float = 0.05) -> dict[str, Measured]:
        """Measure all WANs and the replicas' Ethernet, all at once; raises `LinkNotAsDeclared`."""
        specs: dict[str, Cable | Veth] = {name: link.spec for name, link in self.wans.items()}
        specs |= dict.fromkeys(self.replicas, self.ethernet)
        with ThreadPoolExecutor(len(specs)) as pool:
            pending = {
                name: pool.submit(
                    measure,
                    *(self.router, self.address(name, 1), self.hosts[name], self.address(name)),
                    Declared.of(spec.there, spec.back),
                    tolerance=tolerance,
                )
                for name, spec in specs.items()
            }
            return {name: future.result() for name, future in pending.items()}

    def capture(self, directory: Path, names: Sequence[str], snap_bytes: int = SNAP_BYTES) -> dict[str, Capture]:
        """Capture at these hosts, `snap_bytes` of each packet, into `directory`/NAME.pcap."""
        return {
            name: self.hosts[name].capture(f"{name}-eth0", directory / f"{name}.pcap", snap_bytes) for name in names
        }
