"""The mobility topology with one host more, to which the mobile's old address is given (slides 13 and 20).

                                                  --modem-- location 1, the mobile's line \\
    server --100 Mbit/s Ethernet-- base station --modem-- location 2                      } mobile
                                                  --modem-- location 1, another line       stranger

The two lines of location 1 share its addresses, as lines of a dial-in pool do: a route to the single address says on
which line it is. The stranger knows nothing of Migrate; for a segment of a connection that it does not have, its
kernel does what RFC 9293 says.
"""

from __future__ import annotations

from collections.abc import Sequence

from topologies.links import Cable, CableLink, Veth
from topologies.mobility import ETHERNET, MODEM, PREFIX_LENGTH, Mobility, MobilityTopo
from topologies.nodes import Host, NodeError
from topologies.profiles import apply

LINE, BASE_LINE = "stranger-line", "base-line"


class ReassignedTopo(MobilityTopo):
    """Nodes and links, as Mininet declares them; the stranger's line is like the modem at location 1."""

    def build(self, ethernet: Veth = ETHERNET, modems: Sequence[Cable] = (MODEM, MODEM)) -> None:
        super().build(ethernet, modems)
        self.addHost("stranger", cls=Host)
        self.link("base", "stranger", modems[0], (BASE_LINE, LINE))


class Reassigned(Mobility):
    """The running topology, with the mobile at location 1 and the stranger without an address."""

    topo = ReassignedTopo

    def _set_addresses(self) -> None:
        super()._set_addresses()
        self.stranger = self.network.nodes["stranger"]
        self.line: CableLink = self.network.link("base", "stranger")
        apply(self.profile, (self.stranger,))

    def give_away(self, name: str = "loc1") -> str:
        """Give the mobile's address at a location, which it has left, to the stranger; returns the address."""
        if self.present is not None and self.present.name == name:
            raise NodeError(f"the mobile is at {name} and has that address: let it leave() first")
        place = self.locations[name]
        self.base.neighbour(BASE_LINE, place.address, self.stranger.mac(LINE))
        length = {4: 32, 6: 128}[self.version]
        metrics = " ".join(f"{key} {value}" for key, value in self.metrics.items())
        nodad = " nodad" if self.version == 6 else ""
        self.stranger.ip_batch(
            self.version,
            [
                f"address add {place.address}/{PREFIX_LENGTH[self.version]} dev {LINE}{nodad}",
                f"neighbour replace {place.gateway} lladdr {self.base.mac(BASE_LINE)} dev {LINE} nud permanent",
                f"route add default via {place.gateway} dev {LINE} {metrics}",
            ],
        )
        # Last: from here on what is addressed there reaches the stranger.
        self.base.ip_batch(self.version, [f"route replace {place.address}/{length} dev {BASE_LINE}"])
        return place.address

    def _vantage_points(self) -> dict[str, tuple[Host, str]]:
        return super()._vantage_points() | {"stranger": (self.stranger, LINE)}
