"""kill -9 in the middle of the rebind of a half-closed connection, and of a socket that its program has closed: the
guardian finishes it, FINs and data included."""

from __future__ import annotations

from migrate.core import TcpState
from tests.linux import lab
from tests.linux.odd import orders_file
from tests.linux.test_halves import Pair, halves
from tests.linux.test_orphans import orphan, tcp_state
from tests.topologies.inside import in_sandbox

POINTS = ("imaged", "disconnected", "bound", "repair mode left", "restored", "before the data", "after the data")


@in_sandbox
def test_killed_while_a_half_closed_connection_is_carried() -> None:
    for version, place, talkers in halves("tests.linux.odd", versions=[4]):
        client, server = talkers
        for point in POINTS:
            for victim in ("one", "two"):
                pair = Pair(place, talkers, version)
                client("shutdown", pair.number)
                pair.come_to(TcpState.FIN_WAIT2, TcpState.CLOSE_WAIT)
                orders_file(victim).write_text(f"die {point}")
                place.daemons["one"].ask(do="migrate", to=lab.address(version, 11), connection=pair.name)
                place.daemons[victim].wait_ready()
                pair.come_to(TcpState.FIN_WAIT2, TcpState.CLOSE_WAIT)
                assert server("at_end", pair.number) is True, (point, victim)
                lab.say(server, client, pair.number, 50_000)
                server("shutdown", pair.number)
                assert client("at_end", pair.number) is True, (point, victim)
                client("close", pair.number)
                server("close", pair.number)


@in_sandbox
def test_killed_while_a_fin_waits_behind_data() -> None:
    for version, place, talkers in halves("tests.linux.odd", versions=[4]):
        client, server = talkers
        for point in POINTS:
            pair = Pair(place, talkers, version)
            count = pair.fill(client, server)
            client("shutdown", pair.number)
            orders_file("one").write_text(f"die {point}")
            place.daemons["one"].ask(do="migrate", to=lab.address(version, 11), connection=pair.name)
            place.daemons["one"].wait_ready()
            assert server("receive", pair.number, count) == "right", point
            assert server("at_end", pair.number) is True, point
            for talker in talkers:
                talker("close", pair.number)


@in_sandbox
def test_killed_while_a_closed_socket_is_carried() -> None:
    for version, place, talkers in halves("tests.linux.odd", versions=[4]):
        client, _ = talkers
        for point in ("imaged", "written down", "bound", "restored", "before the data", "after the data"):
            pair = Pair(place, talkers, version)
            count = orphan(pair)
            orders_file("two").write_text(f"die {point}")
            place.daemons["one"].ask(do="migrate", to=lab.address(version, 11), connection=pair.name)
            place.daemons["two"].wait_ready()
            assert client("receive", pair.number, count) == "right", point
            assert client("at_end", pair.number) is True, point
            client("close", pair.number)
            lab.until(lambda: tcp_state(pair, "two") in ("none", "TIME_WAIT"), f"ends after {point}")  # noqa: B023
