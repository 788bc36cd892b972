"""Which socket it is, and how it is bound: clients with and without an address of their own, accepted connections of
wildcard and of bound listeners, several that move together (linux.md, "Binding")."""

from __future__ import annotations

from scenarios.programs import Download, checksum
from tests.linux import lab
from tests.topologies.inside import in_sandbox

MOVES = ((1, 11), (11, 12), (12, 1))


@in_sandbox
def test_a_program_that_binds_an_address_moves_again_and_again() -> None:
    """curl --interface, which binds an address and lets the kernel choose the port."""
    for version in lab.VERSIONS:
        with lab.lab(rate_bps=40e6) as place:
            wanted = place.nginx(3_000_000)
            own = lab.address(version, 1)
            download = Download(place.one, lab.address(version, 2), "object", lab.OUT / "got", "--interface", own)
            for number, (here, there) in enumerate(MOVES[:2], 1):
                download.wait_for(600_000 * number, lab.PATIENCE_SECONDS)
                place.replace(place.one, version, here, there)
                for daemon in place.daemons.values():
                    daemon.wait_event("migrated", number)
            assert download.received < 3_000_000, "it was over before the moves: this shows nothing"
            assert download.finish(lab.PATIENCE_SECONDS) == 0
            assert checksum(lab.OUT / "got") == wanted
            assert place.daemons["one"].events("rebind-failed") == []
            lab.assert_untouched(place.one)
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
                for daemon in place.daemons.values():
                    daemon.wait_event("migrated", moved)
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
            lab.assert_untouched(host)


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
                for daemon in place.daemons.values():
                    daemon.wait_event("migrated", moved)
                for number in numbers:
                    lab.both_ways(client, server, number)
            number = numbers[-1] + 1
            assert (client("connect", lab.address(version, 2), 9000), server("accept")) == (number, number)
            lab.both_ways(client, server, number)
        lab.assert_untouched(place.two)


@in_sandbox
def test_connections_of_a_listener_that_bound_an_address_move_in_ipv4() -> None:
    with lab.lab() as place:
        client, server = lab.talkers(place, listen=lab.address(4, 2))
        for _ in range(2):
            lab.connect(client, server, 4)
        for count, (here, there) in enumerate(((2, 21), (21, 22), (22, 2)), 1):
            place.replace(place.two, 4, here, there)
            for daemon in place.daemons.values():
                daemon.wait_event("migrated", 2 * count)
            for number in range(2):
                lab.both_ways(client, server, number)
        assert client("connect", lab.address(4, 2), 9000) == server("accept") == 2
        lab.assert_untouched(place.two)


@in_sandbox
def test_connections_of_a_listener_that_bound_an_address_are_refused_in_ipv6() -> None:
    """They cannot follow yet; the mover hears of it, and what they had stays as it was."""
    with lab.lab() as place:
        client, server = lab.talkers(place, listen=lab.address(6, 2))
        number = lab.connect(client, server, 6)
        place.add(place.two, 6, 21)
        reason = place.daemons["two"].ask(do="migrate", to=lab.address(6, 21))["result"][0]["result"]
        assert reason == "its address was bound by a listener, or shares its port with another socket's"
        place.add(place.one, 6, 11)
        place.daemons["one"].ask(do="migrate", to=lab.address(6, 11))
        place.daemons["one"].wait_event("refused")
        assert place.daemons["two"].wait_event("not-carried")["cause"] == reason
        assert server("names", number)[0] == lab.address(6, 2)
        lab.assert_untouched(place.two)


@in_sandbox
def test_what_a_program_set_on_its_socket_is_as_it_was() -> None:
    options = {"SO_REUSEADDR": (1, 2, 1), "SO_KEEPALIVE": (1, 9, 1), "TCP_NODELAY": (6, 1, 1),
               "TCP_USER_TIMEOUT": (6, 18, 12345), "IP_TOS": (0, 1, 16)}  # fmt: skip
    with lab.lab() as place:
        client, server = lab.talkers(place)
        for number, version in enumerate(lab.VERSIONS):
            lab.connect(client, server, version)
            for talker in (client, server):
                for level, name, value in options.values():
                    talker("set_option", number, level, name, value)
            before = [snapshot(talker, number, options) for talker in (client, server)]
            place.replace(place.one, version, 1, 11)
            for daemon in place.daemons.values():
                daemon.wait_event("migrated", number + 1)
            after = [snapshot(talker, number, options) for talker in (client, server)]
            assert after == before
            assert after[0]["SO_ERROR"] == 0
            lab.both_ways(client, server, number)


def snapshot(talker: lab.Talker, number: int, options: dict[str, tuple[int, int, int]]) -> dict[str, int]:
    known = {name: (level, option) for name, (level, option, _) in options.items()}
    known |= {"SO_ERROR": (1, 4), "SO_SNDBUF": (1, 7), "SO_RCVBUF": (1, 8), "TCP_MAXSEG": (6, 2)}
    return {name: talker("option", number, *at) for name, at in known.items()}
