"""An address pair that a connection has had, or has left, opens anew at once: nothing of the old one binds it."""

from __future__ import annotations

from migrate.core import timestamp
from tests.linux import lab, wire
from tests.topologies.inside import in_sandbox

PORT = 40000
SOON_SECONDS = 5


def opened(place: lab.Lab, talkers: tuple[lab.Talker, lab.Talker], to: str, port: int = PORT) -> int:
    """A connection from that port of `one`."""
    client, server = talkers
    client.start("connect", to, 9000, "", port)
    number = client.answer(SOON_SECONDS)
    assert isinstance(number, int), number
    assert server("accept") == number
    lab.both_ways(client, server, number)
    return number


def ended(talkers: tuple[lab.Talker, lab.Talker], number: int) -> None:
    """The server closes first: the client's port is free at once.  Its socket stays until then: the kernel, which is to
    keep no TIME_WAIT, forgets a closed one in FIN_WAIT2, and the client's FIN would be answered by RST."""
    client, server = talkers
    server("shutdown", number)
    assert client("at_end", number) is True
    client("close", number)
    server("close", number)


@in_sandbox
def test_where_a_connection_has_moved_to() -> None:
    for mover in ("one", "two"):
        with lab.lab() as place:
            place.two.sysctl("net.ipv4.tcp_max_tw_buckets", 0)  # a TIME_WAIT may have its own opinion of a SYN
            talkers = lab.talkers(place)
            there = 2
            for turn, version in enumerate(lab.VERSIONS):
                number = opened(place, talkers, lab.address(version, there))
                if mover == "one":
                    place.replace(place.one, version, 1, 11)
                else:
                    place.replace(place.two, version, 2, 12)
                for daemon in place.daemons.values():
                    daemon.wait_event("migrated", turn + 1)
                lab.both_ways(*talkers, number)
                ended(talkers, number)
                again = opened(place, talkers, lab.address(version, 2 if mover == "one" else 12))
                assert place.daemons["one"].name_of(talkers[0]("names", again))
                ended(talkers, again)
        lab.clear()


@in_sandbox
def test_where_a_connection_has_come_from() -> None:
    with lab.lab() as place:
        place.two.sysctl("net.ipv4.tcp_max_tw_buckets", 0)
        talkers = lab.talkers(place)
        for turn, version in enumerate(lab.VERSIONS):
            number = opened(place, talkers, lab.address(version, 2))
            place.replace(place.one, version, 1, 11)
            for daemon in place.daemons.values():
                daemon.wait_event("migrated", turn + 1)
            lab.both_ways(*talkers, number)
            ended(talkers, number)
            place.replace(place.one, version, 11, 1)
            ended(talkers, opened(place, talkers, lab.address(version, 2)))


def clock(place: lab.Lab, talkers: tuple[lab.Talker, lab.Talker], number: int, source: str) -> int:
    """Where the timestamps stand that a connection of `one` has."""
    with wire.captured(place.two) as seen:
        lab.both_ways(*talkers, number)
    times = [timestamp(one.segment.options) for one in seen if str(one.segment.src) == source]
    return max(time[0] for time in times if time is not None)


@in_sandbox
def test_where_a_connection_has_moved_to_with_the_clock_of_another_address() -> None:
    """Its server is in TIME_WAIT.  Linux has a clock for each pair of addresses: every second time that of the new
    connection is behind what the old one has said.  Within a quarter of the circle that cannot be known."""
    with lab.lab() as place:
        talkers, told, here = lab.talkers(place), 0, 1
        for turn in range(60):
            port, there = PORT + turn, 11 + turn
            number = opened(place, talkers, lab.address(4, 2), port)
            place.replace(place.one, 4, here, there)
            place.wait_moved(turn + 1)
            here = there
            before = clock(place, talkers, number, lab.address(4, here))
            ended(talkers, number)
            probe = opened(place, talkers, lab.address(4, 2), port + 1000)
            now = clock(place, talkers, probe, lab.address(4, here))
            ended(talkers, probe)
            behind = 0 < (before - now) % (1 << 32) < 1 << 31
            if not behind or (before < 1 << 31 and before >> 30 == now >> 30):
                continue
            again = opened(place, talkers, lab.address(4, 2), port)
            lab.both_ways(*talkers, again)
            ended(talkers, again)
            told += 1
            if told == 2:
                break
        assert told == 2, "the clocks have never been so"
