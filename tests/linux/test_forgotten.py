"""What migrated remembers of address pairs that are over is forgotten: entries of its maps, whoever ended first."""

from __future__ import annotations

import os
import signal

from scenarios.soak import leaks
from tests.linux import lab
from tests.topologies.inside import in_sandbox
from topologies.nodes import Host

MODULE = "tests.linux.sweeping"
MSL = ("--msl", "0.5")
ALL = ("connections", "places", "states", "watches", "proofs")


def left(place: lab.Lab, host: Host) -> dict[str, int]:
    found = leaks.entries(host, place.daemons[host.name].worker)
    return {name: found[name] for name in ALL if found[name]}


def forgotten(place: lab.Lab) -> None:
    for host in (place.one, place.two):
        try:
            lab.until(lambda host=host: not left(place, host), "all is forgotten", 10)  # type: ignore[misc]
        except AssertionError as error:
            raise AssertionError(f"{error}: {host.name} has {left(place, host)}") from None


def moved(place: lab.Lab) -> tuple[lab.Talker, lab.Talker]:
    """The two programs of a connection of each version, whose client has moved."""
    talkers = lab.talkers(place)
    for number, version in enumerate(lab.VERSIONS):
        lab.connect(*talkers, version)
        place.replace(place.one, version, 1, 11)
        place.daemons["two"].wait_event("migrated", number + 1)
        lab.both_ways(*talkers, number)
    for host in (place.one, place.two):
        assert left(place, host)["watches"], "this shows nothing"
    return talkers


def close(talkers: tuple[lab.Talker, lab.Talker]) -> None:
    for number in range(len(lab.VERSIONS)):
        for talker in talkers:
            talker("close", number)


@in_sandbox
def test_a_connection_that_has_moved_and_ended() -> None:
    with lab.lab(*MSL, module=MODULE) as place:
        close(moved(place))
        forgotten(place)


@in_sandbox
def test_a_handshake_that_nobody_answers() -> None:
    """It is no connection, and nothing that is left of one."""
    with lab.lab(*MSL, module=MODULE) as place:
        talkers = lab.talkers(place)
        for version in lab.VERSIONS:
            assert talkers[0]("connect", lab.address(version, 2), 9) == "ECONNREFUSED"
        assert not left(place, place.one)
        lab.connect(*talkers, 4)
        assert left(place, place.one) == {"places": 1}, "this shows nothing"


@in_sandbox
def test_a_pair_that_was_left_before_the_answer_came() -> None:
    with lab.lab(*MSL, module=MODULE) as place:
        talkers = lab.talkers(place)
        for number, version in enumerate(lab.VERSIONS):
            lab.connect(*talkers, version)
            for old, new in ((1, 11), (11, 12)):
                worker = place.daemons["two"].worker
                os.kill(worker, signal.SIGSTOP)
                place.replace(place.one, version, old, new)
                place.daemons["one"].wait_event("migrating", 2 * number + (1 if new == 11 else 2))
            os.kill(worker, signal.SIGCONT)
            place.daemons["two"].wait_event("migrated", number + 1)
            lab.both_ways(*talkers, number)
        assert left(place, place.one)["watches"], "this shows nothing"
        close(talkers)
        forgotten(place)


@in_sandbox
def test_a_connection_that_ends_while_there_is_no_daemon() -> None:
    with lab.lab(*MSL, module=MODULE) as place:
        talkers = moved(place)
        for daemon in place.daemons.values():
            daemon.kill()
        close(talkers)
        for name in ("one", "two"):
            place.start(name, *MSL, module=MODULE)
        forgotten(place)
