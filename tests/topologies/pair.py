"""Two hosts and one link: what most tests of links need; and what a link, or a machine, still has in it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from topologies.links import Cable, Veth
from topologies.network import LabTopo, Network
from topologies.nodes import Host

_LEFT = ("delivered", "undeliverable", "queue_drops", "random_losses", "scripted_losses")


def is_empty(link: Any, toward: str, sent: int = 0) -> bool:
    """Whether a cable has let out, or lost, all of so many packets that were sent towards that node, and any others."""
    way = link.state()["toward"][toward]
    return bool(way["arrived"] >= sent and sum(map(way.get, _LEFT)) == way["arrived"] + way["duplicates"])


def commands() -> list[bytes]:
    """The command lines of all processes."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has just ended
            found.append(path.read_bytes())
    return found


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
