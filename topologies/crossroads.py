"""The topology of the attacks: a mobile with two locations, a server, and an attacker who has a network of its own.

    server ---- base station ---- location 1 \\
                    |  |    `---- location 2  } mobile
                    |  `--slow--. café ----- /
                    `---------- attacker

While the mobile is at location 1 or 2, the attacker is off its path: it can send anything to anybody, under any source
address (nobody filters them), and sees only what is sent to its own network. At the café it is the access point, so it
sees all; the café's own line is slow, and the attacker's is not.

The attacker answers for a whole network of addresses, at which its kernel is deaf: what comes there is dropped in
silence, and seen by whoever captures on its interface.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

from topologies import shaping
from topologies.links import Cable, Veth
from topologies.mobility import Location, Move
from topologies.network import LabTopo, Network, Topology
from topologies.nodes import BaseStation, Host, NodeError, Router
from topologies.profiles import PROFILES, Profile, ProfileName, apply

CAFE_LINE = Cable(delay_s=0.1)
LOCATIONS = ("loc1", "loc2", "cafe")
_LENGTH = {4: 24, 6: 64}
_CAFE_TABLE = 100


@dataclass(frozen=True)
class _End:
    """One end of a link."""

    host: Host
    interface: str
    address: str


class CrossroadsTopo(LabTopo):
    """Nodes and links as Mininet declares them."""

    def build(self) -> None:
        self.addHost("server", cls=Host)
        self.addHost("base", cls=BaseStation)
        self.addHost("mobile", cls=Host)
        self.addHost("attacker", cls=Router)
        self.link("server", "base", Veth(), ("server-eth0", "base-eth0"))
        self.link("base", "mobile", Veth(), ("base-loc1", "mobile-loc1"))
        self.link("base", "mobile", Veth(), ("base-loc2", "mobile-loc2"))
        self.link("attacker", "mobile", Veth(), ("attacker-cafe", "mobile-cafe"))
        self.link("base", "attacker", Veth(), ("base-attacker", "attacker-eth0"))
        self.link("base", "attacker", CAFE_LINE, ("base-slow", "attacker-slow"))


class Crossroads(Topology):
    """The running topology, with the mobile at location 1; a context manager. Must run in a sandbox."""

    def __init__(self, *, ip: Literal[4, 6] = 4, profile: ProfileName | Profile = "paper") -> None:
        self.version = ip
        profile = PROFILES[profile] if isinstance(profile, str) else profile
        self.network = Network(CrossroadsTopo())
        try:
            nodes = self.network.nodes
            self.server, self.base = nodes["server"], nodes["base"]
            self.mobile, self.attacker = nodes["mobile"], nodes["attacker"]
            self.metrics = apply(profile, (self.server, self.mobile))
            self._lay_out()
        except BaseException:
            self.network.stop()
            raise

    def _address(self, network: int, number: int) -> str:
        return f"10.0.{network}.{number}" if self.version == 4 else f"fd00:{network}::{number}"

    def _lay_out(self) -> None:
        for host in (self.server, self.base, self.mobile, self.attacker):
            for interface in ("all", "default", *(str(name) for name in host.intfNames())):
                host.sysctl(f"net.ipv4.conf.{interface}.rp_filter", 0)
        self.server_address = self._address(100, 2)
        self._join(100, _End(self.base, "base-eth0", ""), _End(self.server, "server-eth0", ""))
        self.server.default_route(self._address(100, 1), "server-eth0", **self.metrics)
        self._join(66, _End(self.base, "base-attacker", ""), _End(self.attacker, "attacker-eth0", ""))
        self._join(67, _End(self.base, "base-slow", ""), _End(self.attacker, "attacker-slow", ""))
        self.locations = {}
        for number, name in enumerate(LOCATIONS, 1):
            gateway = self.attacker if name == "cafe" else self.base
            interface = f"{gateway.name}-{name}"
            gateway.add_address(interface, f"{self._address(number, 1)}/{_LENGTH[self.version]}")
            for last in (2, 3):
                gateway.neighbour(interface, self._address(number, last), self.mobile.mac(f"mobile-{name}"))
            addresses = (self._address(number, 2), self._address(number, 1))
            self.locations[name] = Location(name, f"mobile-{name}", interface, *addresses)
        self._route_the_attacker()
        self.present: Location | None = None
        self.arrive("loc1")

    def _join(self, network: int, near: _End, far: _End) -> None:
        """Addresses and neighbours of a link; its base station's end is number 1."""
        for number, end in ((1, near), (2, far)):
            end.host.add_address(end.interface, f"{self._address(network, number)}/{_LENGTH[self.version]}")
        for number, end, other in ((2, near, far), (1, far, near)):
            end.host.neighbour(end.interface, self._address(network, number), other.host.mac(other.interface))

    def _route_the_attacker(self) -> None:
        everything = "10.66.0.0/16" if self.version == 4 else "fd66::/16"
        cafe = self._address(3, 0) if self.version == 4 else "fd00:3::"
        self.base.route(everything, self._address(66, 2), "base-attacker")
        self.base.route(f"{cafe}/{_LENGTH[self.version]}", self._address(67, 2), "base-slow")
        self.attacker.default_route(self._address(66, 1), "attacker-eth0")
        self.attacker.ip_batch(
            self.version,
            [
                f"route add blackhole {everything}",
                f"route add default via {self._address(67, 1)} dev attacker-slow table {_CAFE_TABLE}",
                f"rule add iif attacker-cafe lookup {_CAFE_TABLE}",
            ],
        )

    def attackers_address(self, number: int) -> str:
        """One of the addresses of the attacker's network (0 to 65,000); an IPv6 one has a /64 for itself."""
        if self.version == 4:
            return f"10.66.{number >> 8}.{number & 0xFF}"
        return f"fd66:0:0:{number:x}::1"

    def second_address(self, name: str) -> str:
        """One more address at a location, for the mobile to have beside the first."""
        return self._address(LOCATIONS.index(name) + 1, 3)

    # --- moving -------------------------------------------------------------------------------------------------------

    @property
    def mobile_address(self) -> str:
        """Where the mobile is now; raises `NodeError` while it is nowhere."""
        if self.present is None:
            raise NodeError("the mobile has no address now: let it arrive() somewhere first")
        return self.present.address

    def arrive(self, name: str) -> None:
        """Give the mobile its address at a location, and the route."""
        place = self.locations[name]
        length, device = _LENGTH[self.version], f"dev {place.mobile_interface}"
        nodad = " nodad" if self.version == 6 else ""
        gateway = self.attacker if name == "cafe" else self.base
        metrics = " ".join(f"{key} {value}" for key, value in self.metrics.items())
        self.mobile.ip_batch(
            self.version,
            [
                f"address add {place.address}/{length} {device}{nodad}",
                # At each arrival: the kernel forgets an interface's neighbours with its last address.
                f"neighbour replace {place.gateway} lladdr {gateway.mac(place.base_interface)} {device} nud permanent",
                f"route add default via {place.gateway} {device} {metrics}",
            ],
        )
        self.present = place

    def leave(self) -> None:
        """Take the mobile's addresses and route away."""
        assert self.present is not None
        place, self.present = self.present, None
        self.mobile.ip_batch(
            self.version, ["route del default", f"address flush dev {place.mobile_interface} scope global"]
        )

    def move(self, to: str) -> Move:
        """Move the mobile to another location."""
        if self.present is None or to == self.present.name:
            raise NodeError(f"the mobile cannot move to {to}: it is there, or nowhere")
        old = self.present
        self.leave()
        lost_at = time.time()
        self.arrive(to)
        return Move(old, self.locations[to], lost_at, time.time())

    def brake(self, rate_bps: float | None) -> None:
        """Shape what the base station sends to locations 1 and 2; None: as fast as the machine is."""
        for name in ("base-loc1", "base-loc2"):
            if rate_bps is not None:
                shaping.set_rate(self.base, name, rate_bps)
            else:
                self.base.run(["tc", "qdisc", "delete", "dev", name, "root"], daemon=True)
