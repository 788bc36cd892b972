"""A host's own firewall and routes, as migrated meets them: what it enters into connection tracking, and where it would
speak from."""

from __future__ import annotations

from ipaddress import ip_address

from migrate.core import FourTuple
from migrate.linux.addresses import Tables
from migrate.linux.tracking import Tracking
from tests.topologies.inside import in_sandbox
from topologies.nodes import Host


def _pair(local: str, remote: str) -> FourTuple:
    return FourTuple(ip_address(local), 40000, ip_address(remote), 80)


@in_sandbox
def test_what_is_entered_is_established_and_may_be_entered_again() -> None:
    host = Host("one")
    with host.entered():
        tracking = Tracking()
        for version, local, remote in ((4, "10.0.0.1", "10.0.0.2"), (6, "fd00::1", "fd00::2")):
            tracking.enter(_pair(local, remote), ours=version == 4)
            tracking.enter(_pair(local, remote), ours=version == 4)
            (entry,) = tracking._sockets[version].dump()
            assert entry.get_nested("CTA_PROTOINFO", "CTA_PROTOINFO_TCP", "CTA_PROTOINFO_TCP_STATE") == 3
            begun_by = entry.get_nested("CTA_TUPLE_ORIG", "CTA_TUPLE_IP", f"CTA_IP_V{version}_SRC")
            assert begun_by == (local if version == 4 else remote)
    host.terminate()


@in_sandbox
def test_a_route_that_has_outlived_its_address_is_no_way_to_a_peer() -> None:
    """IPv6 takes ::1 for the source then: a Migrate SYN from there goes nowhere."""
    host = Host("one")
    host.ip("link", "add", "v0", "type", "veth", "peer", "name", "v1")
    for interface in ("v0", "v1"):
        host.ip("link", "set", interface, "up")
    host.add_address("v0", "fd00:1::2/64")
    host.ip("-6", "route", "add", "fd00:2::/64", "via", "fd00:1::1", "dev", "v0")
    with host.entered():
        source = Tables().source_towards
        assert source(ip_address("fd00:2::2")) == ip_address("fd00:1::2")
        assert source(ip_address("10.2.0.2")) is None
        host.remove_address("v0", "fd00:1::2/64")
        host.add_address("v0", "10.1.0.2/24")
        host.ip("route", "add", "10.2.0.0/24", "via", "10.1.0.1", "dev", "v0")
        assert source(ip_address("fd00:2::2")) is None
        assert source(ip_address("::1")) == ip_address("::1")
        assert source(ip_address("10.2.0.2")) == ip_address("10.1.0.2")
    host.terminate()
