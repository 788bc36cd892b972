"""Which changes of a host's interfaces are of a link, and which of addresses and routes alone."""

from __future__ import annotations

import select
import subprocess

from migrate.linux.addresses import Tables, Watch
from tests.linux import lab
from tests.topologies.inside import in_sandbox


def notices(watch: Watch) -> bool:
    lab.until(lambda: bool(select.select([watch], [], [], 0.05)[0]), "the kernel tells of it")
    return watch.drain()


@in_sandbox
def test_links_are_told_from_addresses() -> None:
    def ip(words: str) -> None:
        subprocess.run(["ip", *words.split()], check=True)

    ip("link add here type veth peer name there")
    ip("link set here up")
    ip("link set there up")
    watch = Watch()
    for change, of_a_link in (
        ("address add 10.9.0.1/24 dev here", False),
        ("route add 10.8.0.0/24 via 10.9.0.7", False),
        ("link set there down", True),
        ("address del 10.9.0.1/24 dev here", False),
        ("link del here", True),
    ):
        while select.select([watch], [], [], 0.2)[0]:
            watch.drain()  # what the kernel tells a moment later
        ip(change)
        assert notices(watch) is of_a_link, change
    watch.close()


@in_sandbox
def test_an_address_counts_once_the_kernel_delivers_to_it() -> None:
    """Between the notice of the address and that of its route, as it is for a moment on a busy machine."""
    with lab.lab(on="") as place, place.one.entered():
        for version in lab.VERSIONS:
            here = lab.address(version, 1)
            route = (f"-{version}", "route", "{}", "local", here, "dev", "one-eth0", "table", "local")
            place.one.ip(*(word.format("del") for word in route))
            tables, watch = Tables(), Watch()
            assert lab.ip(here) not in dict(tables.places())
            place.one.ip(*(word.format("add") for word in route))
            assert not notices(watch), "one is told of it"
            assert lab.ip(here) in dict(tables.places())
            for one in (tables, watch):
                one.close()
