"""A worker that dies at any point of a rebind: its guardian finishes it or undoes it, and the next worker goes on."""

from __future__ import annotations

from tests.linux import lab
from tests.linux.every_call import cut_off
from tests.linux.kernel_state import assert_untouched
from tests.linux.odd import ONLY_WITH_HOLES, POINTS, orders_file
from tests.topologies.inside import in_sandbox

QUEUED = 3000
"""Bytes in each of the four queues at the move: two that no program has read, two that no kernel has acknowledged."""

ONLY_THE_MOVERS = "before the first word"
"""The answerer sends no segment 7."""

CLOSED_TWICE = ("repair mode left", "restored")
"""The guardian finds the socket on its new address pair, and closes it to begin again."""

USUAL = [point for point in POINTS if point not in (*CLOSED_TWICE, *ONLY_WITH_HOLES["one"], *ONLY_WITH_HOLES["two"])]


def arrived(talker: lab.Talker, number: int) -> None:
    lab.until(lambda: talker("unacknowledged", number) == 0, "what was said has arrived")


def over(daemon: lab.Daemon) -> None:
    lab.until(lambda: not daemon.migratable(), "the connection is over")


def die(place: lab.Lab, programs: dict[str, lab.Talker], victim: str, version: int, point: str, old: int) -> int:
    """The victim's worker dies at that point of a move of `one`, whose address on the link has the number `old`; the
    number that it has then."""
    new = 11 if old != 11 else 12
    client, server = programs["one"], programs["two"]
    number = lab.connect(client, server, version)
    for talker in (client, server):
        talker("send", number, QUEUED)
    for talker in (client, server):
        arrived(talker, number)
    orders = orders_file(victim)
    orders.write_text(f"die {point}")
    with cut_off(place, version, old):
        for talker in (client, server):
            talker("send", number, QUEUED)
        place.replace(place.one, version, old, new)
        place.daemons[victim].wait_ready()
        assert not orders.exists(), "this point was never passed"
        ends = programs[victim]("names", number)
        known = {(row["local_port"], row["remote_port"]) for row in place.daemons[victim].migratable()}
        assert (ends[1], ends[3]) in known, "it is not known any more"
        for talker in (client, server):
            said = talker("receive", number, 2 * QUEUED)
            assert said == "right", said
    lab.both_ways(client, server, number)
    ends = client("names", number)[0], server("names", number)[2].removeprefix("::ffff:")
    assert ends == (lab.address(version, new),) * 2, ends
    for host in (place.one, place.two):
        assert_untouched(host)
        assert place.daemons[host.name].name_of(programs[host.name]("names", number))
    for talker in (client, server):
        talker("close", number)
    for daemon in place.daemons.values():
        over(daemon)
    return new


def die_everywhere(victim: str, points: list[str]) -> None:
    """At one point after the other, in IPv4 and IPv6 by turns."""
    with lab.lab(module="tests.linux.odd") as place:
        client, server = lab.talkers(place)
        here = dict.fromkeys(lab.VERSIONS, 1)
        for turn, point in enumerate(points):
            version = lab.VERSIONS[turn % 2]
            try:
                here[version] = die(place, {"one": client, "two": server}, victim, version, point, here[version])
            except AssertionError as error:
                raise AssertionError(f"IPv{version}, death of {victim}'s worker at '{point}': {error}") from error


@in_sandbox
def test_the_movers_worker_dies_anywhere() -> None:
    die_everywhere("one", USUAL)


@in_sandbox
def test_the_answerers_worker_dies_anywhere() -> None:
    die_everywhere("two", [point for point in USUAL if point != ONLY_THE_MOVERS])


@in_sandbox
def test_a_worker_dies_with_the_socket_on_its_new_address_pair() -> None:
    for victim in ("one", "two"):
        die_everywhere(victim, [*CLOSED_TWICE, *reversed(CLOSED_TWICE)])
        lab.clear()


@in_sandbox
def test_a_lost_7_is_said_again_where_nobody_has_anything_to_say() -> None:
    """The server's worker dies when 7 has come, and asks again.  The mover's kernel has not acknowledged all that it
    has (a delayed ACK), so a probe just below what it expects would get no answer."""
    with lab.lab(module="tests.linux.odd") as place:
        client, server = lab.talkers(place)
        for number, version in enumerate(lab.VERSIONS):
            lab.connect(client, server, version)
            orders_file("two").write_text("die begun")
            server("send", number, QUEUED)
            place.replace(place.one, version, 1, 11)
            place.daemons["two"].wait_ready()
            place.daemons["two"].wait_event("migrated", number + 1)
            assert client("receive", number, QUEUED) == "right"
