"""One mobile and one server with several middleboxes between them, each on a path of its own.

                 10.1.1.0/24          10.1.100.0/24
              ┌── mobile-strict ── strict ── server-strict ──┐
      mobile ─┤                                              ├─ server
              └── mobile-masq ──── masq ──── server-masq ────┘
                 10.2.1.0/24          10.2.100.0/24

The paths share nothing but the two hosts, so that all of them can be tried at once. A box is a router; what else it
is, whoever uses this makes it. On each path both hosts are at .2 first and can change to .3; the box is .1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from topologies.links import Cable, CableLink, Veth
from topologies.network import LabTopo, Network, Topology
from topologies.nodes import Host, Router
from topologies.profiles import PROFILES, Profile, apply

ACCESS = Cable(rate_bps=1_000_000, delay_s=0.01, queue_packets=60)
"""Between mobile and box: slow enough that a transfer can be moved in its middle, and something is in flight then."""

Side = Literal["mobile", "server"]
_PREFIX_LENGTH = {4: 24, 6: 64}
_NETS: dict[Side, int] = {"mobile": 1, "server": 100}


@dataclass(frozen=True)
class Path:
    """One way from the mobile to the server."""

    name: str
    number: int
    version: int
    box: Router

    def address(self, side: Side, host: int) -> str:
        """Number `host` of the network on that side of the box: 1 is the box."""
        net = _NETS[side]
        return f"10.{self.number}.{net}.{host}" if self.version == 4 else f"fd00:{self.number}:{net}::{host}"

    def net(self, side: Side) -> str:
        """That network with its prefix length."""
        first = f"10.{self.number}.{_NETS[side]}.0" if self.version == 4 else f"fd00:{self.number}:{_NETS[side]}::"
        return f"{first}/{self.length}"

    @property
    def length(self) -> int:
        return _PREFIX_LENGTH[self.version]

    def owns(self, address: str) -> bool:
        """Whether it is an address of this path."""
        return address.startswith(f"10.{self.number}." if self.version == 4 else f"fd00:{self.number}:")

    @property
    def inner(self) -> str:
        """The box's interface towards the mobile."""
        return f"{self.name}-in"

    @property
    def outer(self) -> str:
        return f"{self.name}-out"

    def interface(self, side: Side) -> str:
        """The host's interface on this path."""
        return f"{side}-{self.name}"


class BoxesTopo(LabTopo):
    """Nodes and links, as Mininet declares them."""

    def build(self, names: Sequence[str] = (), access: Cable = ACCESS) -> None:
        self.addHost("mobile", cls=Host)
        self.addHost("server", cls=Host)
        for name in names:
            self.addHost(name, cls=Router)
            self.link("mobile", name, access, (f"mobile-{name}", f"{name}-in"))
            self.link(name, "server", Veth(), (f"{name}-out", f"server-{name}"))


class Boxes(Topology):
    """The running topology, both hosts at .2 everywhere; a context manager. Must run in a sandbox."""

    def __init__(
        self,
        names: Sequence[str],
        *,
        hidden: Sequence[str] = (),
        ip: Literal[4, 6] = 4,
        profile: Profile = PROFILES["paper"],
        access: Cable = ACCESS,
    ) -> None:
        """`names` of the boxes, at most 8 letters each; behind `hidden` ones the server knows no way to the mobile."""
        self.network = Network(BoxesTopo(names=names, access=access))
        try:
            nodes = self.network.nodes
            self.mobile, self.server = nodes["mobile"], nodes["server"]
            self._hosts: dict[Side, Host] = {"mobile": self.mobile, "server": self.server}
            self.paths = {name: Path(name, number, ip, self._router(name)) for number, name in enumerate(names, 1)}
            self.metrics = apply(profile, (self.mobile, self.server))
            self._hidden = set(hidden)
            self._at: dict[tuple[str, Side], int] = {}
            self._box_macs: dict[tuple[str, Side], str] = {}
            for path in self.paths.values():
                path.box.add_address(path.inner, f"{path.address('mobile', 1)}/{path.length}")
                path.box.add_address(path.outer, f"{path.address('server', 1)}/{path.length}")
                for side in _NETS:
                    self._write_down(path, side)
                    self.place(path, side, 2)
        except BaseException:
            self.network.stop()
            raise

    def _router(self, name: str) -> Router:
        node = self.network.nodes[name]
        assert isinstance(node, Router)
        return node

    def host(self, side: Side) -> Host:
        return self._hosts[side]

    def link(self, path: Path) -> CableLink:
        """The mobile's link of that path, for its losses; `toward` takes "mobile" and the box's name."""
        link: CableLink = self.network.link("mobile", path.name)
        return link

    def _write_down(self, path: Path, side: Side) -> None:
        """The hosts' neighbours: a router without link-local addresses asks nobody for them (IPv6)."""
        device = path.inner if side == "mobile" else path.outer
        mac = self._hosts[side].mac(path.interface(side))
        self._box_macs[path.name, side] = path.box.mac(device)
        words = f"lladdr {mac} dev {device} nud permanent"
        path.box.ip_batch(path.version, [f"neighbour replace {path.address(side, host)} {words}" for host in (2, 3)])

    def place(self, path: Path, side: Side, host: int | None) -> None:
        """Give the host on that side this address of the path, instead of the one that it has; None: take it away."""
        device = path.interface(side)
        lines = []
        other: Side = "server" if side == "mobile" else "mobile"
        visible = side == "mobile" or path.name not in self._hidden
        if path.version == 6 and (visible or self.metrics) and (path.name, side) in self._at:
            # It would outlive the address, and the host would speak there as one of its other interfaces' addresses.
            lines.append(f"route del {path.net(other if visible else side)} dev {device}")
        if (old := self._at.pop((path.name, side), None)) is not None:
            lines.append(f"address del {path.address(side, old)}/{path.length} dev {device}")
        if host is not None:
            self._at[path.name, side] = host
            nodad = " nodad" if path.version == 6 else ""
            lines.append(f"address add {path.address(side, host)}/{path.length} dev {device}{nodad}")
            mac = self._box_macs[path.name, side]
            lines.append(f"neighbour replace {path.address(side, 1)} lladdr {mac} dev {device} nud permanent")
            # The kernel forgets an interface's neighbours and routes with its last address.
            if visible:
                metrics = " ".join(f"{key} {value}" for key, value in self.metrics.items())
                via = path.address(side, 1)
                lines.append(f"route replace {path.net(other)} via {via} dev {device} {metrics}")
            elif self.metrics:
                # The box itself is all that the server sees there.
                metrics = " ".join(f"{key} {value}" for key, value in self.metrics.items())
                lines.append(f"route replace {path.net(side)} dev {device} {metrics}")
        self._hosts[side].ip_batch(path.version, lines)
