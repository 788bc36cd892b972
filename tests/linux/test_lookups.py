"""Which socket it is, and how it is bound: clients with and without an address of their own, accepted connections of
wildcard and of bound listeners, several that move together."""

from __future__ import annotations

import socket

from migrate.linux.repair import SO_BINDTOIFINDEX
from scenarios.programs import Download, checksum
from tests.linux import lab
from tests.linux.kernel_state import assert_untouched
from tests.topologies.inside import in_sandbox

MOVES = ((1, 11), (11, 12), (12, 1))
SIZE = 20_000_000


@in_sandbox
def test_a_program_that_binds_an_address_moves_again_and_again() -> None:
    """curl --interface, which binds an address and lets the kernel choose the port."""
    for version in lab.VERSIONS:
        with lab.lab(rate_bps=40e6) as place:
            wanted = place.nginx(SIZE)
            own = lab.address(version, 1)
            download = Download(place.one, lab.address(version, 2), "object", lab.OUT / "got", "--interface", own)
            for number, (here, there) in enumerate(MOVES[:2], 1):
                download.wait_for(600_000 * number, lab.PATIENCE_SECONDS)
                place.replace(place.one, version, here, there)
                place.wait_moved(number)
            assert download.received < SIZE, "it was over before the moves: this shows nothing"
            place.pace(place.two)
            assert download.finish(lab.PATIENCE_SECONDS) == 0
            assert checksum(lab.OUT / "got") == wanted
            assert place.daemons["one"].events("rebind-failed") == []
            assert_untouched(place.one)
        lab.clear()


@in_sandbox
def test_connections_move_together_and_apart_whatever_binds_them() -> None:
    """Unbound clients, clients with an address, and both at once; accepted by a wildcard listener of both versions."""
    with lab.lab() as place:
        client, server = lab.talkers(place)
        moved = 0
        for version in lab.VERSIONS:
            numbers = [lab.connect(client, server, version) for _ in range(2)]
            numbers.append(lab.connect(client, server, version, source=lab.address(version, 1)))
            for here, there in MOVES:
                place.replace(place.one, version, here, there)
                moved += len(numbers)
                place.wait_moved(moved)
                for number in numbers:
                    lab.both_ways(client, server, number)
                    ends = client("names", number)
                    assert ends[0] == lab.address(version, there)
                    theirs = [str(end).removeprefix("::ffff:") for end in server("names", number)]
                    assert theirs == [str(end) for end in (*ends[2:], *ends[:2])]
            assert client("connect", lab.address(version, 2), 9000) == server("accept"), "ports and listener are free"
            client("close", numbers[-1] + 1)
            server("close", numbers[-1] + 1)
        for host in (place.one, place.two):
            assert_untouched(host)


@in_sandbox
def test_the_side_of_a_wildcard_listener_moves() -> None:
    with lab.lab() as place:
        client, server = lab.talkers(place)
        moved = 0
        for version in lab.VERSIONS:
            numbers = [lab.connect(client, server, version) for _ in range(2)]
            for here, there in ((2, 21), (21, 22), (22, 2)):
                place.replace(place.two, version, here, there)
                moved += len(numbers)
                place.wait_moved(moved)
                for number in numbers:
                    lab.both_ways(client, server, number)
            number = numbers[-1] + 1
            assert (client("connect", lab.address(version, 2), 9000), server("accept")) == (number, number)
            lab.both_ways(client, server, number)
        assert_untouched(place.two)


def check_bound_listener(listen: str, version: int, port: int) -> None:
    """Several connections that it has accepted: their own side moves, then their peer, then their own again, together
    and one alone."""
    with lab.lab() as place:
        client, server = lab.talkers(place, port, listen)
        numbers = [lab.connect(client, server, version, port) for _ in range(3)]
        moved = 0
        for host, here, there in (
            *((place.two, 2, 21), (place.two, 21, 22), (place.one, 1, 11)),
            *((place.one, 11, 12), (place.two, 22, 2), (place.two, 2, 21), (place.one, 12, 1)),
        ):
            place.replace(host, version, here, there)
            moved += len(numbers)
            place.wait_moved(moved)
            for number in numbers:
                lab.both_ways(client, server, number)
        place.add(place.two, version, 2)
        for number in numbers:
            name = place.daemons["two"].name_of(server("names", number))
            place.daemons["two"].ask(do="migrate", to=lab.address(version, 2), connection=name)
            moved += 1
            place.wait_moved(moved)
            for other in numbers:
                lab.both_ways(client, server, other)
        assert client("connect", lab.address(version, 2), port) == server("accept") == 3
        lab.both_ways(client, server, 3)
        for daemon in place.daemons.values():
            assert daemon.events("rebind-failed") == []
        assert server("option", 0, socket.SOL_SOCKET, SO_BINDTOIFINDEX) == 0
        assert_untouched(place.two)


@in_sandbox
def test_connections_of_a_listener_that_bound_an_address_move() -> None:
    for listen, version in ((lab.address(4, 2), 4), (lab.address(6, 2), 6), (f"::ffff:{lab.address(4, 2)}", 4)):
        check_bound_listener(listen, version, 9000)
        lab.clear()


@in_sandbox
def test_connections_of_a_listener_that_bound_an_address_and_a_privileged_port_move() -> None:
    """The range of ephemeral ports cannot hold such a port as it is."""
    for version in lab.VERSIONS:
        check_bound_listener(lab.address(version, 2), version, 80)
        lab.clear()
