from __future__ import annotations

from pathlib import Path

import pytest

from tests.topologies.inside import in_sandbox
from tests.topologies.pair import commands
from topologies.cable import CableError
from topologies.links import Cable, Veth
from topologies.network import LabTopo, Network
from topologies.nodes import BaseStation, Host, NodeError


@pytest.mark.parametrize("name", ["", "a-name-of-sixteen", "with space", "with/slash"])
def test_a_name_that_no_interface_can_have(name: str) -> None:
    topo = LabTopo()
    topo.addHost("one")
    topo.addHost("two")
    with pytest.raises(NodeError, match="cannot name an interface"):
        topo.link("one", "two", Veth(), (name, "other"))


@in_sandbox
def test_nodes_and_links_are_as_declared() -> None:
    topo = LabTopo()
    topo.addHost("one", cls=Host)
    topo.addHost("two", cls=BaseStation)
    topo.link("one", "two", Cable(rate_bps=1e6), ("left", "right"))
    topo.link("two", "one", Veth())
    with Network(topo) as network:
        assert {name: type(node) for name, node in network.nodes.items()} == {"one": Host, "two": BaseStation}
        assert network.link("one", "two").spec == Cable(rate_bps=1e6)
        assert network.link("one", "two", 1).spec == Veth()
        for name, interfaces in (("one", {"left", "one-eth1"}), ("two", {"right", "two-eth1"})):
            shown = network.nodes[name].ip("-brief", "link")
            assert {line.split()[0].split("@")[0] for line in shown.splitlines()} == {"lo", *interfaces}
            assert shown.count("LOWER_UP") == 3
            assert not [node for node in network.nodes[name].intfList() if node.name not in interfaces]


@in_sandbox
def test_what_was_built_goes_when_building_fails() -> None:
    topo = LabTopo()
    topo.addHost("one", cls=Host)
    topo.addHost("two", cls=Host)
    topo.link("one", "two", Cable())
    topo.link("one", "two", Cable(losses=["drop nothing"]))
    with pytest.raises(CableError, match="nothing is not a kind of packet"):
        Network(topo)
    assert sorted(path.name for path in Path("/sys/fs/cgroup").iterdir() if path.is_dir()) == ["init"]
    assert not any(b"topologies.cable\0" in command or b"mininet:" in command for command in commands())


@in_sandbox
def test_an_interface_name_twice_is_an_error_and_not_a_deletion() -> None:
    topo = LabTopo()
    topo.addHost("one", cls=Host)
    topo.addHost("two", cls=Host)
    topo.link("one", "two", Cable(), ("same", "a"))
    topo.link("one", "two", Cable(), ("same", "b"))
    with pytest.raises(CableError, match="the interface same cannot be made"):
        Network(topo)


@in_sandbox
def test_stop_can_be_called_twice_and_every_node_is_ended_even_after_an_error() -> None:
    topo = LabTopo()
    for name in ("one", "two", "three"):
        topo.addHost(name, cls=Host)
    network = Network(topo)

    class Failing(Exception):
        pass

    def fail() -> None:
        raise Failing

    network.nodes["two"].terminate = fail  # type: ignore[method-assign]
    with pytest.raises(Failing):
        network.stop()
    assert sorted(path.name for path in Path("/sys/fs/cgroup").iterdir() if path.is_dir()) == ["init", "two"]
    network.stop()
