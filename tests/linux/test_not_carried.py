"""What cannot be carried is told before anybody tries: `migratectl list` has the reason, `migratectl status` counts."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from migrate.core import FourTuple
from migrate.linux import carryable
from migrate.linux.sockdiag import SocketEntry
from tests.linux import lab
from tests.linux.test_halves import Pair
from tests.linux.test_orphans import orphan
from tests.topologies.inside import in_sandbox

BOUND = "its program bound both the address and the port"
WAITING = "its program has not accepted it yet"
LAYERS = Path("/proc/sys/net/ipv4/tcp_available_ulp")
HAS_KTLS = LAYERS.exists() and "tls" in LAYERS.read_text().split()
KTLS = "the kernel encrypts its data (kTLS)"
MPTCP = "it is part of an MPTCP connection"


@in_sandbox
def test_reasons_are_known_before_a_move() -> None:
    with lab.lab() as place:
        client, server = lab.talkers(place)
        one, two = place.daemons["one"], place.daemons["two"]
        lab.connect(client, server, 4)
        assert [row["reason"] for row in one.migratable()] == [""]
        lab.connect(client, server, 4, source=lab.address(4, 1), source_port=5555)
        client("connect", lab.address(4, 2), 9000)  # nobody accepts it
        assert sorted(row["reason"] for row in one.migratable()) == ["", "", BOUND]
        assert sorted(row["reason"] for row in two.migratable()) == ["", "", WAITING]
        status = two.ask(do="status")["result"]
        assert status == {"connections": 3, "migratable": 3, "movable": 2, "not_movable": {WAITING: 1}}
        said = place.two.run([sys.executable, "-m", "migrate.migratectl", "status"], daemon=True).stdout
        assert said == f"3 TCP connections, 3 migratable, 2 can move now\n     1  {WAITING}\n"


@in_sandbox
def test_a_connection_that_is_accepted_late_moves_then() -> None:
    with lab.lab() as place:
        client, server = lab.talkers(place)
        client("connect", lab.address(4, 2), 9000)
        place.replace(place.one, 4, 1, 11)
        place.daemons["two"].wait_event("rebind-failed")
        assert WAITING in place.daemons["two"].events("rebind-failed")[0]["cause"]
        server("accept")
        place.daemons["two"].wait_event("migrated")
        lab.both_ways(client, server, 0)


@in_sandbox
def test_mptcp_is_named() -> None:
    with lab.lab() as place:
        client, server = lab.talkers(place)
        for host in (place.one, place.two):
            host.sysctl("net.mptcp.enabled", 1)
        assert server("listen", lab.address(4, 2), 9001, "mptcp") == 1
        client("connect", lab.address(4, 2), 9001, "", 0, "mptcp")
        rows = [row for row in place.daemons["one"].connections() if row["remote_port"] == 9001]
        assert [(row["migratable"], row["reason"]) for row in rows] == [(False, MPTCP)]
        assert place.daemons["one"].ask(do="status")["result"]["not_movable"] == {MPTCP: 1}


@pytest.mark.skipif(not HAS_KTLS, reason="this kernel has no kTLS, or it is not loaded")
@in_sandbox
def test_ktls_is_named_and_its_peer_is_refused() -> None:
    with lab.lab() as place:
        client, server = lab.talkers(place)
        number = lab.connect(client, server, 4)
        client("layer", number, "tls")
        assert [row["reason"] for row in place.daemons["one"].migratable()] == [KTLS]
        assert place.daemons["one"].ask(do="status")["result"]["not_movable"] == {KTLS: 1}
        place.add(place.one, 4, 11)
        said = place.daemons["one"].ask(do="migrate", to=lab.address(4, 11))["result"]
        assert [one["result"] for one in said] == [KTLS]
        place.add(place.two, 4, 21)
        place.daemons["two"].ask(do="migrate", to=lab.address(4, 21))
        place.daemons["two"].wait_event("refused")
        lab.both_ways(client, server, number)


def test_each_layer_has_its_reason() -> None:
    pair = FourTuple(lab.ip("10.0.0.1"), 1, lab.ip("10.0.0.2"), 2)
    for layer, reason in (("tls", KTLS), ("mptcp", MPTCP), ("smc", "the kernel's smc sits on it")):
        assert carryable.foreseen(SocketEntry(pair, 1, 7, layer), None, set()) == reason
    assert carryable.foreseen(SocketEntry(pair, 1, 7), None, {7}) == carryable.IO_URING
    assert carryable.foreseen(SocketEntry(pair, 1, 7), None, {8}) == ""


@in_sandbox
def test_a_closed_socket_is_no_obstacle() -> None:
    with lab.lab() as place:
        talkers = lab.talkers(place)
        pair = Pair(place, talkers, 4)
        orphan(pair)
        assert [row["reason"] for row in place.daemons["two"].migratable()] == [""]
