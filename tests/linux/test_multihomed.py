"""A host with two interfaces: where the one that leads to the peer has no address left, the kernel speaks from the
other's, which is no address to move to.  (In IPv6: IPv4's routes go with the last address.)"""

from __future__ import annotations

from tests.linux import lab
from tests.topologies.inside import in_sandbox

GONE, PEER = lab.address(6, 1), lab.address(6, 2)


@in_sandbox
def test_no_connection_moves_to_the_address_of_an_interface_that_does_not_lead_to_its_peer() -> None:
    with lab.lab() as place:
        client, server = lab.talkers(place)
        one = place.daemons["one"]
        number = lab.connect(client, server, 6)
        place.one.ip("-6", "route", "add", f"{PEER}/128", "dev", "one-eth0")
        place.remove(place.one, 6, 1)
        said = place.one.ip("-6", "route", "get", PEER)
        assert "dev one-eth0 " in said, said
        assert "src fd01::1 " in said, f"the kernel does not do it: this shows nothing: {said}"
        one.wait_event("suspended")
        place.add(place.one, 6, 11)
        one.wait_event("migrated")
        assert len(one.events("migrating")) == 1
        lab.both_ways(client, server, number)


@in_sandbox
def test_an_address_that_is_of_no_link_is_one_to_move_to() -> None:
    """As routers have them, on the loopback interface."""
    with lab.lab() as place:
        client, server = lab.talkers(place)
        number = lab.connect(client, server, 6)
        own = lab.address(6, 99)
        place.one.add_address("lo", f"{own}/128")
        place.one.ip("-6", "route", "add", f"{PEER}/128", "dev", "one-eth0", "src", own)
        place.two.ip("-6", "route", "add", f"{own}/128", "dev", "two-eth0")
        place.two.neighbour("two-eth0", own, place.one.mac("one-eth0"))
        assert client("names", number)[0] == GONE
        place.remove(place.one, 6, 1)
        place.wait_moved()
        assert client("names", number)[0] == own
        lab.both_ways(client, server, number)
