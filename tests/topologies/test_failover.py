"""The replicas' topology: it is what it declares, and it can be parted where an experiment wants it."""

from __future__ import annotations

import pytest

from tests.topologies.inside import in_sandbox
from topologies.failover import WAN, Failover
from topologies.nodes import Host, NodeError


def reaches(host: Host, address: str) -> bool:
    return host.run(["ping", "-n", "-c", "1", "-W", "0.3", address], daemon=True, check=False).returncode == 0


def check(version: int) -> None:
    with Failover(ip=4 if version == 4 else 6) as lab:
        measured = lab.measure()
        assert 2 * WAN.delay_s <= measured["client"].small_round_trip_s < 2 * WAN.delay_s + 0.005
        assert measured["sB"].small_round_trip_s < 0.005
        sA, sB = lab.replicas["sA"], lab.replicas["sB"]
        assert reaches(lab.client, lab.address("sA"))
        lab.part("sA", ["sB", "mon"])
        assert not reaches(sA, lab.address("sB"))
        assert not reaches(lab.monitor, lab.address("sA"))
        assert reaches(lab.client, lab.address("sA"))
        assert reaches(sB, lab.address("sC"))
        lab.rejoin("sA", ["mon"])
        assert reaches(lab.monitor, lab.address("sA"))
        assert not reaches(sB, lab.address("sA"))
        with pytest.raises(NodeError, match="cannot be parted"):
            lab.part("sA", ["sA"])


@in_sandbox
def test_ipv4() -> None:
    check(4)


@in_sandbox
def test_ipv6() -> None:
    check(6)
