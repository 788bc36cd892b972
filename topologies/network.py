"""Build a Mininet `Topo` without `mininet.net.Mininet`, which sets machine-wide limits."""

from __future__ import annotations

import contextlib
from types import TracebackType
from typing import Any, Self

from topologies.links import Cable, Veth, VethLink, check_interface_name, link_class
from topologies.mininet_api import Topo
from topologies.nodes import Host


class LabTopo(Topo):
    """A Mininet topology whose links are declared as `Veth` or `Cable`."""

    def link(self, node1: str, node2: str, spec: Veth | Cable, names: tuple[str, str] | None = None) -> None:
        """Declare a link between two nodes; `names` are the two interfaces' (default NODE-ethN)."""
        named = {}
        if names is not None:
            for name in names:
                check_interface_name(name)
            named = {"intfName1": names[0], "intfName2": names[1]}
        self.addLink(node1, node2, cls=link_class(spec), spec=spec, **named)


class _Standing:
    """What is taken down at the end of a `with` block."""

    def stop(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class Network(_Standing):
    """The nodes and links of a topology, built; as a context manager it is taken down at the end of the block."""

    def __init__(self, topo: Topo) -> None:
        self.nodes: dict[str, Host] = {}
        self.links: list[Any] = []
        try:
            for name in topo.nodes(sort=False):
                options = dict(topo.nodeInfo(name))
                self.nodes[name] = options.pop("cls", Host)(name, **options)
            for node1, node2, declared in topo.links(sort=False, withInfo=True):
                options = {key: value for key, value in declared.items() if key not in _MININETS_OWN}
                cls = options.pop("cls", VethLink)
                self.links.append(cls(self.nodes[node1], self.nodes[node2], **options))
        except BaseException:
            self.stop()
            raise

    def link(self, node1: str, node2: str, number: int = 0) -> Any:
        """The link between two nodes; `number` tells them apart where there are several."""
        ends = {node1, node2}
        return [link for link in self.links if {link.intf1.node.name, link.intf2.node.name} == ends][number]

    def stop(self) -> None:
        """End programs, links and nodes, all of them; raises the first error afterwards. Idempotent."""
        with contextlib.ExitStack() as ending:
            for link in self.links:
                ending.callback(link.stop)
            for node in self.nodes.values():
                ending.callback(node.terminate)
            self.nodes.clear()
            self.links.clear()


class Topology(_Standing):
    """A topology whose nodes and links are in `network`; a context manager like it."""

    network: Network

    def stop(self) -> None:
        """Take everything down. Idempotent."""
        self.network.stop()


_MININETS_OWN = ("node1", "node2", "port1", "port2")
