"""Where the programs are attached: through tcx or clsact, once on each interface, beside others', and not for longer
than the interface is this host's."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from migrate.linux import libbpf
from migrate.linux.build import SOURCES
from tests import bpf
from tests.linux import lab
from tests.topologies.inside import in_sandbox
from topologies.nodes import Host

POINTS = (libbpf.BPF_TCX_INGRESS, libbpf.BPF_TCX_EGRESS)
OURS = [["ether_in"], ["ether_out"]]
needs_tcx = pytest.mark.skipif(not bpf.has_tcx(), reason="this kernel has no tcx")


def through_tcx(host: Host, device: str = "") -> list[list[str]]:
    """The names of the programs on its way in and on its way out, in the order in which they run."""
    with host.entered():
        return [bpf.tcx(device or f"{host.name}-eth0", point) for point in POINTS]


def through_clsact(host: Host) -> list[int]:
    """How many filters of Migrate are on its way in and on its way out."""
    said = [
        host.run(["tc", "filter", "show", "dev", f"{host.name}-eth0", direction], daemon=True).stdout
        for direction in ("ingress", "egress")
    ]
    return [one.count("migrate_") for one in said]


@in_sandbox
def test_where_there_is_no_tcx_clsact_serves() -> None:
    with lab.lab(module="tests.linux.without_tcx") as place:
        client, server = lab.talkers(place)
        assert (through_tcx(place.one), through_clsact(place.one)) == ([[], []], [1, 1])
        place.daemons["one"].kill()
        place.start("one", module="tests.linux.without_tcx")
        assert through_clsact(place.one) == [1, 1]
        for number, version in enumerate(lab.VERSIONS):
            lab.connect(client, server, version)
            place.replace(place.one, version, 1, 11)
            place.daemons["one"].wait_event("migrated", number + 1)
            lab.both_ways(client, server, number)
        place.daemons["one"].kill()
        unload(place.one)
        assert through_clsact(place.one) == [0, 0]


def unload(host: Host) -> None:
    words = [sys.executable, "-m", "migrate.migrated", "--cgroup", host.programs_cgroup, "--unload"]
    done = host.run([str(word) for word in words], daemon=True)
    assert done.stdout + done.stderr == ""


@needs_tcx
@in_sandbox
def test_a_daemon_started_again_replaces_its_programs_and_disturbs_no_others() -> None:
    """Another program of the very same name is not Migrate's of this host."""
    with lab.lab() as place:
        assert through_tcx(place.one) == OURS
        strangers = libbpf.Object(SOURCES / "migrate.bpf.o", Path("/sys/fs/bpf/strangers"))
        with place.one.entered():
            for point, name in zip(POINTS, ("ether_in", "ether_out"), strict=True):
                bpf.attach_tcx(strangers.program(name), "one-eth0", point)
        both = [["ether_in", "ether_in"], ["ether_out", "ether_out"]]
        before = numbers(place.one)
        place.daemons["one"].kill()
        place.start("one")
        assert through_tcx(place.one) == both
        after = numbers(place.one)
        assert [[one[0] == other[0], one[1] == other[1]] for one, other in zip(before, after, strict=True)] == [
            [False, True],
            [False, True],
        ], "ours is new and in its old place, the other's is what it was"
        place.daemons["one"].kill()
        unload(place.one)
        assert through_tcx(place.one) == OURS, "what is left is the other's"
        assert [[one[1]] for one in after] == numbers(place.one)


def numbers(host: Host) -> list[list[int]]:
    with host.entered():
        return [bpf.tcx_numbers(f"{host.name}-eth0", point) for point in POINTS]


@needs_tcx
@in_sandbox
def test_an_interface_that_goes_to_another_host_takes_no_program_along() -> None:
    with lab.lab(on="one") as place:
        one, three = place.one, place.three

        def give(name: str) -> None:
            one.run(["ip", "link", "set", name, "netns", str(three.pid)], daemon=True)

        for name in ("given", "later"):
            one.run(["ip", "link", "add", name, "type", "veth", "peer", f"{name}1"], daemon=True)
            lab.until(lambda name=name: through_tcx(one, name) == OURS, "the daemon has seen the interface")  # type: ignore[misc]
        give("given")
        lab.until(lambda: through_tcx(three, "given") == [[], []], "nothing of `one` is left on it")
        place.daemons["one"].kill()
        give("later")
        assert through_tcx(three, "later") == OURS, "there was nobody to take it away"
        place.start("one")
        assert through_tcx(three, "later") == [[], []]
        assert through_tcx(one) == OURS
