"""Sockets that their program has closed with data still to be sent, as servers of HTTP/1.0 do: every byte still
arrives, and the end after it, whoever moves."""

from __future__ import annotations

from migrate.core import FIN, RST, TcpState
from tests.linux import lab, wire
from tests.linux.test_halves import MOVERS, Pair, halves, of_port
from tests.topologies.inside import in_sandbox


def tcp_state(pair: Pair, host: str) -> str:
    """Of the connection, which no program on this host need have any more."""
    rows = [row for row in pair.place.daemons[host].connections() if row["connection"] == pair.name]
    return str(rows[0]["tcp"]) if rows else "none"


def orphan(pair: Pair) -> int:
    """The program on `two` sends as much as it can and closes; how many bytes its peer has not read."""
    count = pair.fill(pair.server, pair.client)
    assert pair.server("unacknowledged", pair.number) > 100_000, "nothing waits: this shows nothing"
    pair.server("close", pair.number)
    return int(count)


@in_sandbox
def test_what_a_closed_socket_has_still_to_send_arrives_whoever_moves() -> None:
    for version, place, talkers in halves():
        client, _ = talkers
        for mover in MOVERS:
            pair = Pair(place, talkers, version)
            port = client("names", pair.number)[1]
            count = orphan(pair)
            with wire.captured(place.one) as seen:
                pair.move_often(mover)
                assert tcp_state(pair, "two") == TcpState.FIN_WAIT1.name
                assert client("receive", pair.number, count) == "right"
                assert client("at_end", pair.number) is True
                client("close", pair.number)
                lab.until(lambda: tcp_state(pair, "two") in ("none", "TIME_WAIT"), "it ends in order")  # noqa: B023
            # One that refuses a request is none: a second after a return to an earlier address the mover asks once more
            # (it cannot know which of its requests was answered), and by then all may be over.
            resets = [one for one in of_port(seen, port) if one.flags & RST and one.seq != 0]
            told = [daemon.events() for daemon in place.daemons.values()]
            assert not resets, f"{resets} at the end of {of_port(seen, port)[-20:]}\n{told}"
            assert [one for one in of_port(seen, port) if one.flags & FIN]


@in_sandbox
def test_a_closed_socket_whose_peer_had_closed_before() -> None:
    for version, place, talkers in halves():
        client, server = talkers
        pair = Pair(place, talkers, version)
        client("shutdown", pair.number)
        assert server("at_end", pair.number) is True
        count = orphan(pair)
        pair.move_often("one")
        assert tcp_state(pair, "two") == TcpState.LAST_ACK.name
        assert client("receive", pair.number, count) == "right"
        assert client("at_end", pair.number) is True
        lab.until(lambda: tcp_state(pair, "two") == "none", "it ends in order")  # noqa: B023


@in_sandbox
def test_nothing_is_left_of_it() -> None:
    """The successor is built outside of the programs' cgroup, so no callback tells of its end."""
    for version, place, talkers in halves():
        client, _ = talkers
        pair = Pair(place, talkers, version)
        count = orphan(pair)
        pair.move("one", 11)
        assert client("receive", pair.number, count) == "right"
        client("close", pair.number)
        lab.until(lambda: tcp_state(pair, "two") in ("none", "TIME_WAIT"), "it ends in order")  # noqa: B023
        place.daemons["two"].kill_worker()
        assert not [row for row in place.daemons["two"].migratable() if row["connection"] == pair.name]


@in_sandbox
def test_an_orphan_on_the_port_of_a_listener_that_goes_on() -> None:
    for version, place, talkers in halves():
        client, server = talkers
        pair = Pair(place, talkers, version)
        count = orphan(pair)
        pair.move("two", 21)
        other = Pair(place, talkers, version)
        lab.both_ways(client, server, other.number)
        assert client("receive", pair.number, count) == "right"


@in_sandbox
def test_a_closed_socket_whose_own_host_has_lost_the_address() -> None:
    """The RST that ends it on this host must reach it all the same, and only one successor may be left."""
    for version, place, talkers in halves():
        client, _ = talkers
        pair = Pair(place, talkers, version)
        count = orphan(pair)
        place.remove(place.two, version, 2)
        place.wait_moved(1 if version == lab.VERSIONS[0] else 2)
        to = client("names", pair.number)[2]
        assert to in (lab.address(version, 21), lab.address(version, 22))
        closing = [row for row in place.daemons["two"].connections() if row["tcp"] == TcpState.FIN_WAIT1.name]
        assert [row["local"] for row in closing] == [to]
        assert client("receive", pair.number, count) == "right"
        assert client("at_end", pair.number) is True
        client("close", pair.number)


@in_sandbox
def test_one_that_cannot_be_carried_is_no_harm_to_others() -> None:
    for version, place, talkers in halves("tests.linux.unwilling"):
        client, server = talkers
        other, pair = Pair(place, talkers, version), Pair(place, talkers, version)
        third = Pair(place, talkers, version)
        orphan(pair)
        place.daemons["one"].ask(do="migrate", to=lab.address(version, 11))
        for one in (other, third):
            daemon = place.daemons["two"]
            lab.until(lambda one=one, daemon=daemon: one._moved(daemon), "it has moved")  # type: ignore[misc]
            lab.both_ways(client, server, one.number)
        place.daemons["two"].wait_event("rebind-failed")
        for one in (other, third):
            for talker in talkers:
                talker("close", one.number)
        client("close", pair.number)
