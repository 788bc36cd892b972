"""A socket is bound beside the listener that has accepted it, and its siblings: what they see of it (ports.py)."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator

from migrate.core import RST, SYN
from migrate.linux.repair import SO_BINDTOIFINDEX
from tests.linux import lab, wire
from tests.linux.binding import DIED, DONE
from tests.linux.kernel_state import assert_untouched
from tests.topologies.inside import in_sandbox

ADDRESS = lab.address(6, 2)
SOON = 0.5  # seconds in which who is heard is let in
BOUND = "its program bound both the address and the port"


@contextlib.contextmanager
def binding(how: str) -> Iterator[tuple[lab.Lab, lab.Talker, lab.Talker]]:
    """Two connections to a listener that has bound an address; `two` binds as `how` says."""
    os.environ["BINDING"] = how
    with lab.lab(module="tests.linux.binding") as place:
        client, server = lab.talkers(place, listen=ADDRESS)
        for _ in range(2):
            lab.both_ways(client, server, lab.connect(client, server, 6))
        yield place, client, server
    lab.clear()


def follow_one(place: lab.Lab, client: lab.Talker) -> None:
    """`two` begins to follow one of the connections; returns in the middle of its bind."""
    place.add(place.one, 6, 11)
    name = place.daemons["one"].name_of(client("names", 0))
    place.daemons["one"].ask(do="migrate", to=lab.address(6, 11), connection=name)
    lab.until(lambda: place.two.sysctl("net.ipv4.ip_local_port_range").split() == ["9000", "9000"], "it is bound")


def newcomers_meanwhile(how: str, patience: float = lab.PATIENCE_SECONDS) -> tuple[int, bool, bool, bool]:
    """Two more clients come in the middle of a bind, one on each interface, and a sibling speaks: how many SYNs came on
    the address's own interface; whether its client was let in within `patience` seconds, after which the bind ends;
    whether both were in the end; whether RSTs were seen."""
    with binding(how) as (place, client, server):
        other, third = lab.Talker(place.one), lab.Talker(place.three)
        with wire.captured(place.two) as seen, wire.captured(place.two, "eth1") as there:
            follow_one(place, client)
            client("send_meanwhile", 1, 1000)
            for talker in (third, other):
                talker.start("connect", ADDRESS, 9000)
            in_time = other.answers_within(patience)
            DONE.touch()
            place.daemons["two"].wait_event("migrated")
            let_in = third.answer() == 0 and other.answer() == 0
            if let_in:
                assert server("receive", 1, 1000) == "right"
                lab.both_ways(client, server, 0)
                for talker in (other, third):
                    talker("send", 0, 100)
                for _ in range(2):
                    assert server("receive", server("accept"), 100) == "right"
        syns = [one for one in seen if one.segment.flags == SYN and one.segment.dport == 9000]
        return len(syns), in_time, let_in, any(one.segment.flags & RST for one in [*seen, *there])


@in_sandbox
def test_who_comes_in_the_middle_of_a_bind_is_let_in() -> None:
    """At once on the interface that has the address, and after another SYN on any other."""
    syns, in_time, let_in, resets = newcomers_meanwhile("long")
    assert (syns, in_time, let_in, resets) == (2, True, True, False)  # the Migrate SYN's is the other


@in_sandbox
def test_a_bind_that_disturbs_the_others_is_seen() -> None:
    _, in_time, let_in, resets = newcomers_meanwhile("deaf", SOON)
    assert (in_time, let_in, resets) == (False, True, False), "the guard alone keeps RSTs away"
    assert newcomers_meanwhile("refusing", SOON)[2:] == (False, True)


@in_sandbox
def test_a_worker_that_is_killed_in_the_middle_of_a_bind_leaves_the_others_as_they_were() -> None:
    with binding("deadly") as (place, client, server):
        place.replace(place.one, 6, 1, 11)
        place.daemons["one"].wait_event("migrated", 2)
        lab.until(DIED.exists, "it is killed")
        place.daemons["two"].wait_ready()
        for number in range(2):
            lab.both_ways(client, server, number)
            assert server("option", number, socket.SOL_SOCKET, SO_BINDTOIFINDEX) == 0
        third = lab.Talker(place.three)
        assert third("connect", ADDRESS, 9000) == 0, "the listener hears on every interface again"
        assert_untouched(place.two)


@in_sandbox
def test_beside_a_port_that_nobody_can_be_asked_for_it_moves_once_and_follows_always() -> None:
    """A connection in TIME_WAIT has the port too, and no program holds it."""
    with lab.lab() as place:
        client, server = lab.talkers(place, listen=ADDRESS)
        for _ in range(2):
            lab.both_ways(client, server, lab.connect(client, server, 6))
        server("close", 1)
        client("close", 1)
        assert "TIME-WAIT" in place.two.run(["ss", "-6tan"], daemon=True).stdout
        for count, (here, there) in enumerate(((1, 11), (11, 12), (12, 1)), 1):
            place.replace(place.one, 6, here, there)
            place.wait_moved(count)
            lab.both_ways(client, server, 0)
        assert [row["reason"] for row in place.daemons["two"].migratable()] == [BOUND]
        assert place.daemons["two"].events("rebind-failed") == []
