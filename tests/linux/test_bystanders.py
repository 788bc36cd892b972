"""While an address that has gone stands in for one socket, others go on speaking to the same peer: what they say leaves
the host, and their kernel hears nothing of its own in answer."""

from __future__ import annotations

from collections.abc import Callable

from tests.linux import lab
from tests.linux.odd import orders_file
from tests.linux.test_halves import Pair
from tests.linux.test_orphans import orphan
from tests.topologies.inside import in_sandbox

RATE_BPS = 8e6
MORE = 4_000_000  # 4 seconds


def undisturbed(bystander: Pair, move: Callable[[], None]) -> None:
    """Its client sends all through `move`; the server's kernel has much to acknowledge."""
    place, client, server = bystander.place, bystander.client, bystander.server
    place.pace(place.one, RATE_BPS)
    client("send_meanwhile", bystander.number, MORE)
    lab.until(lambda: client("unacknowledged", bystander.number), "it is under way")
    server.start("receive", bystander.number, MORE)
    move()
    assert client("unacknowledged", bystander.number), "it is over before that: this shows nothing"
    place.pace(place.one)
    assert server.answer() == "right"
    assert client("join", bystander.number) > MORE
    lab.both_ways(client, server, bystander.number)


@in_sandbox
def test_a_closed_socket_whose_address_has_gone() -> None:
    with lab.lab(module="tests.linux.lingering") as place:
        talkers = client, _ = lab.talkers(place)
        for version in lab.VERSIONS:
            for number in (21, 22):
                place.add(place.two, version, number)
            bystander, pair = Pair(place, talkers, version), Pair(place, talkers, version)
            count = orphan(pair)
            bystander.move("two", 21)

            def move(version: int = version, pair: Pair = pair) -> None:
                place.remove(place.two, version, 2)
                for daemon in place.daemons.values():
                    lab.until(lambda daemon=daemon: pair._moved(daemon), f"moved on {daemon.host.name}")  # type: ignore[misc]

            undisturbed(bystander, move)
            assert client("receive", pair.number, count) == "right"
            assert client("at_end", pair.number) is True
            client("close", pair.number)
        assert not [one for daemon in place.daemons.values() for one in daemon.events("waiting")]


@in_sandbox
def test_a_socket_that_gets_its_old_pair_back() -> None:
    with lab.lab(module="tests.linux.lingering") as place:
        talkers = lab.talkers(place)
        two = place.daemons["two"]
        for turn, version in enumerate(lab.VERSIONS):
            for number in (21, 22):
                place.add(place.two, version, number)
            bystander, pair = Pair(place, talkers, version), Pair(place, talkers, version)
            bystander.move("two", 22)

            def move(version: int = version, pair: Pair = pair, turn: int = turn) -> None:
                gone = f"{lab.address(version, 21)}/{lab.LENGTH[version]}"
                orders_file("two").write_text(f"lose:{gone}@two-eth0 before the bind")
                two.ask(do="migrate", to=lab.address(version, 21), connection=pair.name)
                two.wait_event("rebind-failed", turn + 1)

            undisturbed(bystander, move)
            lab.until(lambda pair=pair: pair._moved(two), "it moves")  # type: ignore[misc]
            lab.both_ways(*talkers, pair.number)
        assert not [one for daemon in place.daemons.values() for one in daemon.events("waiting")]
