"""Connections that change their address: real programs, both sides, both IP versions."""

from __future__ import annotations

from collections.abc import Callable

from scenarios.programs import Download, checksum
from tests.linux import lab
from tests.linux.kernel_state import assert_untouched, counters
from tests.topologies.inside import in_sandbox

SIZE, PART = 15_000_000, 1_500_000
RATE = 20e6
"""Bits per second; the moves happen in the first 0.6 s of the download.  Its rest, five seconds more, is there for a
test that stands still meanwhile, and passes quickly."""


def download_moved(version: int, move: Callable[[lab.Lab, Download, int], None], moves: int, on: str = "one") -> None:
    """A download by curl from nginx during which `move(place, download, number)` happens so many times."""
    with lab.lab(rate_bps=RATE) as place:
        wanted = place.nginx(SIZE)
        target = lab.OUT / "got"
        download = Download(place.one, lab.address(version, 2), "object", target)
        for number in range(moves):
            download.wait_for((number + 1) * PART // (moves + 1), lab.PATIENCE_SECONDS)
            move(place, download, number)
            place.daemons[on].wait_event("migrated", number + 1)
            assert download.received < SIZE, "it was over before the move: this shows nothing"
        place.wait_moved(moves)
        place.pace(place.two)
        assert download.finish(lab.PATIENCE_SECONDS) == 0
        assert checksum(target) == wanted
        for name, daemon in place.daemons.items():
            assert len(daemon.events("migrated")) == moves, name
            assert_untouched(daemon.host)
        curl_connections = {event["connection"] for event in place.daemons["one"].events("migrated")}
        assert len(curl_connections) == 1, "one and the same connection has moved each time"


@in_sandbox
def test_a_download_survives_several_changes_of_the_clients_address() -> None:
    def move(place: lab.Lab, _: Download, number: int) -> None:
        here, there = (1, 11, 12, 1)[number : number + 2]
        place.replace(place.one, version, here, there)

    for version in lab.VERSIONS:
        download_moved(version, move, moves=3)
        lab.clear()


@in_sandbox
def test_a_download_survives_changes_of_the_servers_address() -> None:
    def move(place: lab.Lab, _: Download, number: int) -> None:
        here, there = (2, 21, 22)[number : number + 2]
        place.replace(place.two, version, here, there)

    for version in lab.VERSIONS:
        download_moved(version, move, moves=2, on="two")
        lab.clear()


@in_sandbox
def test_an_address_that_goes_and_comes_back_and_then_another() -> None:
    """Both sockets are rebound to the very pair that they have, and are Migrate's afterwards as before."""

    def move(place: lab.Lab, _: Download, number: int) -> None:
        if number < 2:
            place.remove(place.one, version, 1)
            place.daemons["one"].wait_event("suspended", number + 1)
            place.add(place.one, version, 1)
        else:
            place.replace(place.one, version, 1, 11)

    for version in lab.VERSIONS:
        download_moved(version, move, moves=3)
        lab.clear()


def going_on(download: Download) -> None:
    """Until it has got more than the link and its queue can hold."""
    download.wait_for(download.received + 200_000, lab.PATIENCE_SECONDS)


def noticed(place: lab.Lab) -> dict[str, int]:
    """Packets that came to `one` for an address that it does not have, and how much each daemon has told of."""
    strays = counters(place.one, "IpInAddrErrors", "IpExtInNoRoutes", "Ip6InAddrErrors", "Ip6InNoRoutes")
    return strays | {name: len(daemon.events()) for name, daemon in place.daemons.items()}


@in_sandbox
def test_make_before_break() -> None:
    """The new address is there first, the connection is told to use it, and then the old one goes: nothing is lost."""

    def move(place: lab.Lab, download: Download, number: int) -> None:
        here, there = (1, 11, 12)[number : number + 2]
        # Each in a subnet of its own: where the first address of one goes, the kernel takes the second away as well
        # for a moment, and puts it in its place.
        length = lab.LENGTH[version] + (number + 1) * (version == 4)
        place.one.add_address("one-eth0", f"{lab.address(version, there)}/{length}")
        answer = place.daemons["one"].ask(do="migrate", to=lab.address(version, there))
        assert [one["result"] for one in answer["result"]] == ["under way"]
        place.wait_moved(number + 1)
        going_on(download)  # what was under way at the move has come or was sent again
        # On the link, too: the program may still be reading what came before it.
        place.two.run(["ping", "-n", "-c", "1", "-W", "10", lab.address(version, there)], daemon=True)
        before = noticed(place)
        place.one.remove_address("one-eth0", f"{lab.address(version, here)}/{length - (version == 4)}")
        going_on(download)
        after.append((before, noticed(place)))

    for version in lab.VERSIONS:
        after: list[tuple[dict[str, int], dict[str, int]]] = []
        download_moved(version, move, moves=2)
        assert all(before == later for before, later in after), f"{after}: taking the old address away was noticed"
        lab.clear()


@in_sandbox
def test_an_upload_and_both_directions_at_once_survive_moves_of_either_side() -> None:
    with lab.lab(rate_bps=RATE) as place:
        client, server = lab.talkers(place)
        for number, version in enumerate(lab.VERSIONS):
            lab.connect(client, server, version)
            events = {name: len(daemon.events("migrated")) for name, daemon in place.daemons.items()}
            for sender, receiver in ((client, server), (server, client)):
                sender("send_meanwhile", number, 2_000_000)
                receiver("receive", number, 100_000)
            for round_, (host, here, there) in enumerate(
                ((place.one, 1, 11), (place.two, 2, 21), (place.one, 11, 1), (place.two, 21, 2)), 1
            ):
                place.replace(host, version, here, there)
                for name, daemon in place.daemons.items():
                    daemon.wait_event("migrated", events[name] + round_)
                for talker in (client, server):
                    talker.start("receive", number, 300_000)
                for talker in (client, server):
                    assert talker.answer() == "right"
            for talker in (client, server):
                talker.start("receive", number, 2_000_000 - 1_300_000)
            assert (client.answer(), server.answer()) == ("right", "right")
            assert (client("join", number), server("join", number)) == (2_000_000, 2_000_000)
        assert_untouched(place.one)
        assert_untouched(place.two)


@in_sandbox
def test_one_connection_of_several_is_told_to_move_and_then_all() -> None:
    with lab.lab() as place:
        client, server = lab.talkers(place)
        daemon = place.daemons["one"]
        for at, version in enumerate(lab.VERSIONS):
            numbers = [lab.connect(client, server, version) for _ in range(3)]
            for number in numbers:
                lab.both_ways(client, server, number)
            place.add(place.one, version, 11)
            names = [daemon.name_of(client("names", number)) for number in numbers]
            moved = at * 3
            answer = daemon.ask(do="migrate", to=lab.address(version, 11), connection=names[1])
            assert answer == {"result": [{"connection": names[1], "result": "under way"}]}
            assert daemon.wait_event("migrated", moved + 1)["connection"] == names[1]
            where = [client("names", number)[0] for number in numbers]
            assert where == [lab.address(version, own) for own in (1, 11, 1)]
            for number in numbers:
                lab.both_ways(client, server, number)
            answer = daemon.ask(do="migrate", to=lab.address(version, 11))
            assert {one["connection"] for one in answer["result"]} == {names[0], names[2]}
            daemon.wait_event("migrated", moved + 3)
            assert [client("names", number)[0] for number in numbers] == [lab.address(version, 11)] * 3
            # The other version's connections have stayed where they were.
            for number in range(len(numbers) * (at + 1)):
                lab.both_ways(client, server, number)
            place.daemons["two"].wait_event("migrated", moved + 3)
            shown = {row["connection"]: row for row in place.daemons["two"].migratable()}
            assert [shown[name]["remote"] for name in names] == [lab.address(version, 11)] * 3
            assert [shown[name]["moves"] for name in names] == [1, 1, 1]
        for host in (place.one, place.two):
            assert_untouched(host)
