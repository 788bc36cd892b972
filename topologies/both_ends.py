"""The topology of slide 27 with faster links, in which the server changes its address too.

The server's addresses are of one network; the mobile has its two locations. Both can also get a further address while
they keep the one that they have: what a crossing of two migrations needs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from topologies.links import Cable
from topologies.mobility import PREFIX_LENGTH, Mobility
from topologies.nodes import Host

RADIO = Cable(rate_bps=4_000_000, delay_s=0.04, queue_packets=100, arp=False)


@dataclass(frozen=True)
class Changed:
    """An address change that has happened; `began_at` in seconds since the epoch, before the first address goes."""

    who: str
    old: tuple[str, ...]
    new: tuple[str, ...]
    began_at: float


class BothEnds(Mobility):
    """Both hosts move; a context manager like `Mobility`."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(modem=RADIO, **arguments)
        self._used = {"server": 100, "mobile": 100}
        self._base_mac = self.base.mac("base-eth0")
        for host in (self.server, self.mobile):
            # Else an IPv4 address that goes takes the later ones of its network along.
            host.sysctl("net.ipv4.conf.all.promote_secondaries", 1)

    def move_mobile(self) -> Changed:
        """To the other location: the old address goes before the new one comes."""
        began_at = time.time()
        move = self.move()
        return Changed("mobile", (move.old.address,), (move.new.address,), began_at)

    def move_server(self) -> Changed:
        """To another address of its network: the old one goes before the new one comes."""
        old, new = self.server_address, self._another("server", self.server_address)
        self.base.neighbour("base-eth0", new, self.server.mac("server-eth0"))
        began_at = time.time()
        self.server.ip_batch(self.version, ["route del default", self._address("del", old, "server-eth0")])
        # The kernel forgets an interface's neighbours with its last address.
        gateway = f"neighbour replace {self.server_gateway} lladdr {self._base_mac} dev server-eth0 nud permanent"
        self.server.ip_batch(self.version, [self._address("add", new, "server-eth0"), gateway, self._server_route()])
        self.server_address = new
        return Changed("server", (old,), (new,), began_at)

    def cross(self, ask: Callable[[list[tuple[Host, str]]], None], settled: Callable[[], None]) -> Changed:
        """Both move at once: `ask` tells each host its new address, and after `settled()` the old addresses go."""
        place = self._where()
        old = (place.address, self.server_address)
        new = (self._another("mobile", place.address), self._another("server", self.server_address))
        self.base.neighbour(place.base_interface, new[0], self.mobile.mac(place.mobile_interface))
        self.base.neighbour("base-eth0", new[1], self.server.mac("server-eth0"))
        self.mobile.ip_batch(self.version, [self._address("add", new[0], place.mobile_interface)])
        self.server.ip_batch(self.version, [self._address("add", new[1], "server-eth0")])
        began_at = time.time()
        ask([(self.mobile, new[0]), (self.server, new[1])])
        settled()
        self.mobile.ip_batch(self.version, [self._address("del", old[0], place.mobile_interface)])
        self.server.ip_batch(self.version, [self._address("del", old[1], "server-eth0")])
        self.present = self.locations[place.name] = replace(place, address=new[0])
        self.server_address = new[1]
        return Changed("both", old, new, began_at)

    def _another(self, who: str, address: str) -> str:
        """An address of the same network that nobody has had yet."""
        self._used[who] += 1
        return address[: address.rindex("." if self.version == 4 else ":") + 1] + str(self._used[who])

    def _address(self, action: str, address: str, interface: str) -> str:
        nodad = " nodad" if action == "add" and self.version == 6 else ""
        return f"address {action} {address}/{PREFIX_LENGTH[self.version]} dev {interface}{nodad}"

    def _server_route(self) -> str:
        metrics = " ".join(f"{key} {value}" for key, value in self.metrics.items())
        return f"route add default via {self.server_gateway} dev server-eth0 {metrics}"
