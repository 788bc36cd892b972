"""Segments of the first handshake are lost on the way: what is sent again carries the same key, and the connection can
move."""

from __future__ import annotations

import itertools
import time

from migrate.core import ACK, MP_KIND, SYN
from migrate.core.options import find
from migrate.core.segment import timestamp
from tests.linux import lab, wire
from tests.topologies.inside import in_sandbox
from topologies.links import Cable

PORT = 9001
REPLACED = 6
"""So often the key pairs are, and those before them forgotten, while a SYN is lost once."""
LOSSES = (("syn",), ("syn-ack",), ("ack",), ("syn", "syn-ack", "ack"))


def key_in(one: wire.Seen) -> object:
    """MP and both halves of the Timestamp option, where the key's last bytes are."""
    return one.segment.seq, find(one.segment.options, MP_KIND), timestamp(one.segment.options)


def lose_each_once(place: lab.Lab, kinds: tuple[str, ...]) -> None:
    for kind in kinds:
        place.link.add_rule(f"drop {kind} 1 toward {'one' if kind == 'syn-ack' else 'two'}")


def check_losses(*options: str) -> None:
    with lab.lab(*options, cable=Cable()) as place:
        client, server = lab.talkers(place)
        for version in lab.VERSIONS:
            for kinds in LOSSES:
                for daemon in place.daemons.values():
                    daemon.forget()
                with wire.captured(place.one) as here, wire.captured(place.two) as there:
                    lose_each_once(place, kinds)
                    number = lab.connect(client, server, version)
                    fired = [rule["fired"] for rule in place.link.state()["rules"]]
                    assert fired == [1] * len(kinds), f"lost {fired} of {kinds}: this shows nothing"
                    place.link.clear_rules()
                    lab.both_ways(client, server, number)
                for flags, seen, lost in ((SYN, here, "syn" in kinds), (SYN | ACK, there, "syn-ack" in kinds)):
                    said = [one for one in seen if one.segment.flags == flags]
                    assert len(said) > lost, "nothing was sent again: this shows nothing"
                    assert all(find(one.segment.options, MP_KIND) for one in said), f"without MP after {kinds}"
                    if not options:
                        assert len({key_in(one) for one in said}) == 1, f"another key after {kinds}"
                place.add(place.one, version, 11)
                ends = client("names", number)
                name = place.daemons["one"].name_of(ends)
                assert place.daemons["two"].name_of([*ends[2:], *ends[:2]]) == name
                place.daemons["one"].ask(do="migrate", to=lab.address(version, 11), connection=name)
                place.wait_moved()
                lab.both_ways(client, server, number)
                place.remove(place.one, version, 11)
                place.wait_moved(2)  # back again: the next handshake is the only one on the wire


@in_sandbox
def test_a_handshake_of_which_each_segment_is_lost_once_makes_a_connection_that_can_move() -> None:
    check_losses()


@in_sandbox
def test_the_insecure_variant_survives_the_same_losses() -> None:
    check_losses("--insecure")


@in_sandbox
def test_a_handshake_that_takes_its_time_has_its_key_pair_until_it_is_over() -> None:
    """Others open connections meanwhile: the pairs are replaced, and those that no connection has are forgotten."""
    with lab.lab("--key-interval", "0.05", module="tests.linux.sweeping") as place:
        slow, server = lab.Talker(place.one), lab.Talker(place.two)
        assert server("listen", "", PORT) == 0
        quick = lab.talkers(place)
        numbers = itertools.count()
        for at, lost, moves in ((place.two, "dport 9001 tcp flags & (syn | ack) == syn", 1),
                                (place.one, "sport 9001 tcp flags & (syn | ack) == syn | ack", 2)):  # fmt: skip
            for daemon in place.daemons.values():
                daemon.forget()
            with wire.dropping(at, 4, f"tcp {lost}"):
                slow.start("connect", lab.address(4, 2), PORT)
                for _ in range(REPLACED):
                    number = next(numbers)
                    assert lab.connect(*quick, 4) == number
                    for talker in quick:
                        talker("close", number)
                    time.sleep(0.15)
                assert slow.is_busy, "it is over already: this shows nothing"
            slow_number = slow.answer()
            assert server("accept") == slow_number == moves - 1
            place.replace(place.one, 4, 1 if moves == 1 else 11, 11 if moves == 1 else 1)
            place.wait_moved(moves)
            lab.both_ways(slow, server, slow_number)
