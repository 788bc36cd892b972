"""Two hosts and one link: what most tests of links need."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from topologies.links import Cable, Veth
from topologies.network import LabTopo, Network
from topologies.nodes import Host


@contextlib.contextmanager
def pair(spec: Veth | Cable) -> Iterator[tuple[Host, Host, Any]]:
    """Hosts `one` (10.0.0.1, fd00::1) and `two` (10.0.0.2, fd00::2), who know each other, and their link."""
    topo = LabTopo()
    topo.addHost("one", cls=Host)
    topo.addHost("two", cls=Host)
    topo.link("one", "two", replace(spec, arp=False) if isinstance(spec, Cable) else spec)
    with Network(topo) as network:
        one, two = network.nodes["one"], network.nodes["two"]
        macs = [host.mac(f"{host.name}-eth0") for host in (one, two)]
        for host, own, other in ((one, 1, 2), (two, 2, 1)):
            device = f"dev {host.name}-eth0"
            known = f"lladdr {macs[other - 1]} {device} nud permanent"
            for version, prefix, length in ((4, "10.0.0.", 24), (6, "fd00::", 64)):
                address, neighbour = f"{prefix}{own}/{length} {device}", f"{prefix}{other} {known}"
                host.ip_batch(version, [f"address add {address}", f"neighbour replace {neighbour}"])
        yield one, two, network.links[0]
