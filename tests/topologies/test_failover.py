"""The replicas' topology: it is what it declares, and it can be parted where an experiment wants it."""

from __future__ import annotations

import pytest

from tests.topologies.inside import in_sandbox
from topologies.failover import WAN, Failover
from topologies.nodes import Host, NodeError


def reaches(host: Host, address: str, patience: str = "10") -> bool:
    return host.run(["ping", "-n", "-c", "1", "-W", patience, address], daemon=True, check=False).returncode == 0


def is_parted(host: Host, address: str) -> bool:
    return not reaches(host, address, "0.3")


def check(version: int) -> None:
    with Failover(ip=4 if version == 4 else 6) as lab:
        measured = lab.measure()
        assert 2 * WAN.delay_s <= measured["client"].small_round_trip_s < 2.1 * WAN.delay_s + 0.005
        assert measured["sB"].small_round_trip_s < 0.005
        sA, sB = lab.replicas["sA"], lab.replicas["sB"]
        assert reaches(lab.client, lab.address("sA"))
        lab.part("sA", ["sB", "mon"])
        assert is_parted(sA, lab.address("sB"))
        assert is_parted(lab.monitor, lab.address("sA"))
        assert reaches(lab.client, lab.address("sA"))
        assert reaches(sB, lab.address("sC"))
        lab.rejoin("sA", ["mon"])
        assert reaches(lab.monitor, lab.address("sA"))
        assert is_parted(sB, lab.address("sA"))
        with pytest.raises(NodeError, match="cannot be parted"):
            lab.part("sA", ["sA"])


@in_sandbox
def test_ipv4() -> None:
    check(4)


@in_sandbox
def test_ipv6() -> None:
    check(6)
