"""The topology of slide 27: a mobile downloads over a modem, and moves to another one.

    server --100 Mbit/s Ethernet-- base station --19.2 kbit/s modem-- location 1 \\
                                                --19.2 kbit/s modem-- location 2  } mobile

Both modems stay plugged: a move takes the mobile's address from one and puts another on the other. What the base
station has still queued for the old address goes on coming out of the old modem, and a capture there shows it.
A modem knows no ARP: the neighbours are written down, and the interfaces ask nobody.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

from topologies.capture import Capture
from topologies.links import Cable, CableLink, Veth
from topologies.measure import Declared, Measured, measure
from topologies.network import LabTopo, Network, Topology
from topologies.nodes import BaseStation, Host, NodeError
from topologies.profiles import PROFILES, Profile, ProfileName, apply
from topologies.shaping import has_tbf

ETHERNET = Veth(rate_bps=100_000_000)
MODEM = Cable(rate_bps=19_200, delay_s=0.05, queue_packets=100, arp=False)
LOCATIONS = ("loc1", "loc2")
PREFIX_LENGTH = {4: 24, 6: 64}


@dataclass(frozen=True)
class Location:
    """One place where the mobile can be."""

    name: str
    mobile_interface: str
    base_interface: str
    address: str
    """The mobile's, there."""
    gateway: str
    """The base station's."""


@dataclass(frozen=True)
class Move:
    """A move that has happened; times are seconds since the epoch."""

    old: Location
    new: Location
    lost_at: float
    """The old address is gone."""
    gained_at: float
    """The new address and the route are there."""


class MobilityTopo(LabTopo):
    """Nodes and links of slide 27, as Mininet declares them."""

    def build(self, ethernet: Veth = ETHERNET, modems: Sequence[Cable] = (MODEM, MODEM)) -> None:
        self.addHost("server", cls=Host)
        self.addHost("base", cls=BaseStation)
        self.addHost("mobile", cls=Host)
        self.link("server", "base", ethernet, ("server-eth0", "base-eth0"))
        for place, modem in zip(LOCATIONS, modems, strict=True):
            self.link("base", "mobile", modem, (f"base-{place}", f"mobile-{place}"))


class Mobility(Topology):
    """The running topology, with the mobile at location 1; a context manager. Must run in a sandbox."""

    topo: ClassVar[type[MobilityTopo]] = MobilityTopo

    def __init__(
        self,
        *,
        ip: Literal[4, 6] = 4,
        profile: ProfileName | Profile = "paper",
        seed: int = 0,
        modem: Cable = MODEM,
        losses: Sequence[str] = (),
    ) -> None:
        """`modem` replaces both modems of the deck; `losses` are scripted ones for the modem at location 1 only."""
        self.version = ip
        self.profile = PROFILES[profile] if isinstance(profile, str) else profile
        self.server_address, self.server_gateway = self._addresses(100)
        self.locations = {
            name: Location(name, f"mobile-{name}", f"base-{name}", *self._addresses(number))
            for number, name in enumerate(LOCATIONS, 1)
        }
        self.ethernet = ETHERNET if has_tbf() else Veth()
        first = replace(modem, arp=False, seed=2 * seed, losses=(*modem.losses, *losses))
        second = replace(modem, arp=False, seed=2 * seed + 1)
        self.network = Network(self.topo(ethernet=self.ethernet, modems=(first, second)))
        try:
            nodes = self.network.nodes
            self.server, self.base, self.mobile = nodes["server"], nodes["base"], nodes["mobile"]
            self.modems: dict[str, CableLink] = {
                name: self.network.link("base", "mobile", number) for number, name in enumerate(LOCATIONS)
            }
            self.metrics = apply(self.profile, (self.server, self.mobile))
            self._set_addresses()
        except BaseException:
            self.network.stop()
            raise

    def _addresses(self, number: int) -> tuple[str, str]:
        """A host's and the base station's address in a network."""
        network = f"10.0.{number}." if self.version == 4 else f"fd00:{number}::"
        return f"{network}2", f"{network}1"

    def _set_addresses(self) -> None:
        length = PREFIX_LENGTH[self.version]
        self.server.add_address("server-eth0", f"{self.server_address}/{length}")
        self.base.add_address("base-eth0", f"{self.server_gateway}/{length}")
        self.server.neighbour("server-eth0", self.server_gateway, self.base.mac("base-eth0"))
        self.base.neighbour("base-eth0", self.server_address, self.server.mac("server-eth0"))
        self.server.default_route(self.server_gateway, "server-eth0", **self.metrics)
        self._base_macs = {}
        for place in self.locations.values():
            self.base.add_address(place.base_interface, f"{place.gateway}/{length}")
            self.base.neighbour(place.base_interface, place.address, self.mobile.mac(place.mobile_interface))
            self._base_macs[place.name] = self.base.mac(place.base_interface)
        self.present: Location | None = None
        self.arrive("loc1")

    # --- moving -------------------------------------------------------------------------------------------------------

    @property
    def mobile_address(self) -> str:
        """Where the mobile is now; raises `NodeError` while it is nowhere."""
        return self._where().address

    def leave(self) -> None:
        """Take the mobile's address and route away; the modem stays plugged."""
        place = self._where()
        self.present = None
        self.mobile.ip_batch(self.version, ["route del default", *self._lines("del", place)])

    def arrive(self, name: str) -> None:
        """Give the mobile, which has none, its address at a location, and the route."""
        if self.present is not None:
            raise NodeError(f"the mobile is at {self.present.name}: let it leave() first")
        if name not in self.locations:
            raise NodeError(f"{name} is not a location: use {' or '.join(self.locations)}")
        place = self.locations[name]
        metrics = " ".join(f"{key} {value}" for key, value in self.metrics.items())
        route = f"route add default via {place.gateway} dev {place.mobile_interface} {metrics}"
        self.mobile.ip_batch(self.version, [*self._lines("add", place), route])
        self.present = place

    def move(self, to: str | None = None, away: float = 0.0) -> Move:
        """Move the mobile (to the other location, if none is given), with `away` seconds without any address."""
        old = self._where()
        name = to or next(name for name in self.locations if name != old.name)
        if name not in self.locations:
            raise NodeError(f"{name} is not a location: use {' or '.join(self.locations)}")
        self.leave()
        lost_at = time.time()
        time.sleep(away)
        self.arrive(name)
        return Move(old, self._where(), lost_at, time.time())

    def _where(self) -> Location:
        if self.present is None:
            raise NodeError("the mobile has no address now: let it arrive() somewhere first")
        return self.present

    def _lines(self, action: Literal["add", "del"], place: Location) -> list[str]:
        """`ip` commands for the mobile's address at a location."""
        device = f"dev {place.mobile_interface}"
        line = f"address {action} {place.address}/{PREFIX_LENGTH[self.version]} {device}"
        if action == "del":
            return [line]
        # The neighbour at each arrival: the kernel forgets an interface's neighbours with its last address.
        neighbour = f"neighbour replace {place.gateway} lladdr {self._base_macs[place.name]} {device} nud permanent"
        return [f"{line} nodad" if self.version == 6 else line, neighbour]

    # --- before and during the experiment -----------------------------------------------------------------------------

    def measure(self, tolerance: float = 0.05) -> dict[str, Measured]:
        """Measure the Ethernet and both modems, all at once; raises `LinkNotAsDeclared`.

        Takes four seconds with the deck's modems. For that time the mobile has an address at each location and no
        default route, so nothing that watches its addresses should run yet.
        """
        present = self._where()
        self.leave()
        for place in self.locations.values():
            self.mobile.ip_batch(self.version, self._lines("add", place))
        try:
            with ThreadPoolExecutor(3) as pool:
                pending = {
                    name: pool.submit(
                        measure,
                        *(self.base, place.gateway, self.mobile, place.address),
                        Declared.of(self.modems[name].spec.there, self.modems[name].spec.back),
                        tolerance=tolerance,
                    )
                    for name, place in self.locations.items()
                }
                pending["ethernet"] = pool.submit(
                    measure,
                    *(self.server, self.server_address, self.base, self.server_gateway),
                    Declared.of(self.ethernet.there, self.ethernet.back),
                    tolerance=tolerance,
                )
                return {name: future.result() for name, future in pending.items()}
        finally:
            for place in self.locations.values():
                self.mobile.ip_batch(self.version, self._lines("del", place))
            self.arrive(present.name)

    def capture(self, directory: Path) -> dict[str, Capture]:
        """Capture at the server and on the mobile's two modems, into `directory`/server.pcap, loc1.pcap, loc2.pcap."""
        points = self._vantage_points()
        return {name: host.capture(interface, directory / f"{name}.pcap") for name, (host, interface) in points.items()}

    def _vantage_points(self) -> dict[str, tuple[Host, str]]:
        """Hosts and interfaces at which to capture, by the name of the capture."""
        points = {"server": (self.server, "server-eth0")}
        return points | {place.name: (self.mobile, place.mobile_interface) for place in self.locations.values()}
