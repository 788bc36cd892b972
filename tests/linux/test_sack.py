"""Data beyond holes at a move (slide 29): segment 7 SACKs it, and it is not sent again; and where it is dropped."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Iterator

from migrate.core import ACK, SYN, Segment, sack_blocks, seq
from tests.linux import lab, wire
from tests.linux.kernel_state import assert_untouched
from tests.linux.odd import ONLY_WITH_HOLES, orders_file
from tests.topologies.inside import in_sandbox
from topologies.nodes import Host

COUNT = 40_000
MSS = {4: 1448, 6: 1428}
BARE_ACK_BYTES = {4: 52, 6: 72}  # with IP's header, and timestamps
LOST = (2, 4)  # of the segments that carry `COUNT` bytes, counted from 0


def out_of_order(host: Host) -> int:
    """Segments that have arrived beyond a hole."""
    said = host.run(["ss", "-Htin", "state", "established"], daemon=True).stdout
    return sum(int(number) for number in re.findall(r"rcv_ooopack:(\d+)", said))


def connect(place: lab.Lab, client: lab.Talker, server: lab.Talker, version: int) -> tuple[int, dict[str, int]]:
    """A connection, and the number of the next byte that each host sends on it."""
    with wire.captured(place.one) as seen:
        number = lab.connect(client, server, version)
    return number, {"one": seq.add(seen[0].segment.seq, 1), "two": seq.add(seen[1].segment.seq, 1)}


@contextlib.contextmanager
def holes(place: lab.Lab, version: int, start: int, sender: Host, receiver: Host, talker: lab.Talker, number: int,
          old: str, lost: tuple[int, ...] = LOST) -> Iterator[None]:  # fmt: skip
    """The receiver holds data beyond holes that are never filled on the old address pair."""
    never = ", ".join(str(seq.add(start, segment * MSS[version])) for segment in lost)
    before = out_of_order(receiver)
    pair = f"{wire.FAMILY[version]} {'daddr' if receiver is place.one else 'saddr'} {old}"
    with wire.dropping(receiver, version, f"{pair} tcp sequence {{ {never} }}"):
        talker("send_meanwhile", number, COUNT)
        lab.until(lambda: out_of_order(receiver) > before + 4, "data beyond holes")
        yield


def relative(blocks: tuple[tuple[int, int], ...], start: int) -> list[tuple[int, int]]:
    return sorted((seq.diff(first, start), seq.diff(last, start)) for first, last in blocks)


def third(seen: list[wire.Seen], version: int) -> Segment:
    """Segment 7 of the move to the address with number 11."""
    new = lab.ip(lab.address(version, 11))
    return next(one.segment for one in seen if one.segment.src == new and one.segment.flags & (SYN | ACK) == ACK)


@in_sandbox
def test_the_answerer_sends_nothing_but_the_holes_and_what_comes_behind() -> None:
    with lab.lab() as place:
        client, server = lab.talkers(place)
        for version in lab.VERSIONS:
            mss = MSS[version]
            number, start = connect(place, client, server, version)
            with holes(place, version, start["two"], place.two, place.one, server, number, lab.address(version, 1)):
                with wire.captured(place.one) as here:
                    place.replace(place.one, version, 1, 11)
                    place.wait_moved(number + 1)
                    assert client("receive", number, COUNT) == "right"
            new = lab.ip(lab.address(version, 11))
            seven = third(here, version)
            blocks = relative(sack_blocks(seven.options), start["two"])
            assert seven.ack == seq.add(start["two"], LOST[0] * mss)
            assert blocks[0] == (3 * mss, 4 * mss)
            assert len(blocks) == 2
            assert blocks[1][0] == 5 * mss
            assert blocks[1][1] >= 10 * mss, "the whole first flight has arrived"
            sent = [one.segment for one in here if one.segment.dst == new and one.segment.payload]
            where = [(seq.diff(one.seq, start["two"]), len(one.payload)) for one in sent]
            assert where[:2] == [(2 * mss, mss), (4 * mss, mss)], "the holes, at once"
            assert where[2][0] == blocks[1][1], "and on behind the last block"
            assert all(first >= blocks[1][1] for first, _ in where[2:]), f"something twice: {where}"
            assert not place.daemons["one"].events("out-of-order-dropped")
        for host in (place.one, place.two):
            assert_untouched(host)


@in_sandbox
def test_what_the_answerer_holds_is_dropped_and_said() -> None:
    """6 has no options: the mover would not know what to leave out, and its kernel not what an ACK that jumps means."""
    with lab.lab() as place:
        client, server = lab.talkers(place)
        for version in lab.VERSIONS:
            number, start = connect(place, client, server, version)
            with holes(place, version, start["one"], place.one, place.two, client, number, lab.address(version, 1)):
                place.replace(place.one, version, 1, 11)
                place.daemons["two"].wait_event("migrated", number + 1)
                assert server("receive", number, COUNT) == "right"
            assert len(place.daemons["two"].events("out-of-order-dropped")) == number + 1


@in_sandbox
def test_what_the_answerer_holds_on_its_very_pair_is_dropped_as_well() -> None:
    """The mover is back before it has an answer, its 7 is lost, and data comes in its place, which fills the hole.  The
    answerer's ACK must not jump beyond what the mover has sent anew: the mover's kernel would refuse it for ever."""
    with lab.lab() as place:
        client, server = lab.talkers(place)
        for version in lab.VERSIONS:
            number, start = connect(place, client, server, version)
            lab.say(client, server, number, 300_000)  # a congestion window far larger than the initial one
            behind, worker = seq.add(start["one"], 300_000), place.daemons["two"].worker
            with holes(place, version, behind, place.one, place.two, client, number, lab.address(version, 1),
                       LOST[:1]):  # fmt: skip
                os.kill(worker, signal.SIGSTOP)
                place.replace(place.one, version, 1, 11)
                place.daemons["one"].wait_event("migrating", 2 * number + 1)
                place.replace(place.one, version, 11, 1)
                place.daemons["one"].wait_event("migrating", 2 * number + 2)
            bare_ack = f"tcp dport 9000 meta length {BARE_ACK_BYTES[version]}"
            with wire.dropping(place.one, version, bare_ack, "output"):
                os.kill(worker, signal.SIGCONT)
                migrated = place.daemons["two"].wait_event("migrated", number + 1)
            assert (migrated["local"], migrated["remote"]) == (lab.address(version, 2), lab.address(version, 1))
            assert len(place.daemons["two"].events("out-of-order-dropped")) == number + 1
            assert server("receive", number, COUNT) == "right"
            client("join", number)
            lab.both_ways(client, server, number)


@in_sandbox
def test_without_the_iterator_it_is_dropped_and_said() -> None:
    with lab.lab(module="tests.linux.blind") as place:
        client, server = lab.talkers(place)
        for version in lab.VERSIONS:
            number, start = connect(place, client, server, version)
            with holes(place, version, start["two"], place.two, place.one, server, number, lab.address(version, 1)):
                with wire.captured(place.one) as here:
                    place.replace(place.one, version, 1, 11)
                    place.daemons["one"].wait_event("migrated", number + 1)
                    assert client("receive", number, COUNT) == "right"
            assert sack_blocks(third(here, version).options) == ()
            assert len(place.daemons["one"].events("out-of-order-dropped")) == number + 1
        assert "out-of-order data is dropped at a move, and sent again" in place.daemons["one"].last_words()


@in_sandbox
def test_what_an_earlier_stay_left_on_the_way_is_dropped() -> None:
    """The mover is back on a pair that it had, and a packet comes that was sent there before it left.  The answerer
    will send all of it anew, and its kernel would refuse ACKs that jump beyond."""
    with lab.lab() as place:
        client, server = lab.talkers(place)
        for version in lab.VERSIONS:
            number, start = connect(place, client, server, version)
            place.replace(place.one, version, 1, 11)
            place.wait_moved(2 * number + 1)
            port = client("names", number)[1]
            late = Segment(
                lab.ip(lab.address(version, 2)), 9000, lab.ip(lab.address(version, 1)), port, ACK,
                seq.add(start["two"], 5000), start["one"], 500, payload=bytes(1000),
            )  # fmt: skip
            worker = place.daemons["two"].worker
            before = out_of_order(place.one)
            os.kill(worker, signal.SIGSTOP)  # so that 6 comes later
            place.replace(place.one, version, 11, 1)
            place.daemons["one"].wait_event("migrating", 2 * number + 2)
            with wire.captured(place.one, "eth1") as seen:
                wire.inject(place.three, late)
            assert late in [one.segment for one in seen], "it has not arrived: this shows nothing"
            os.kill(worker, signal.SIGCONT)
            place.wait_moved(2 * number + 2)
            assert out_of_order(place.one) == before
            lab.both_ways(client, server, number, COUNT)


def die(victim: str, points: tuple[str, ...]) -> None:
    with lab.lab(module="tests.linux.odd") as place:
        client, server = lab.talkers(place)
        old = 1
        for version, point in ((version, point) for version in lab.VERSIONS for point in points):
            if point == points[0]:
                old = 1
            new = 11 if old != 11 else 12
            number, start = connect(place, client, server, version)
            address = lab.address(version, old)
            with holes(place, version, start["two"], place.two, place.one, server, number, address):
                orders_file(victim).write_text(f"die {point}")
                place.replace(place.one, version, old, new)
                place.daemons[victim].wait_ready()
                assert not orders_file(victim).exists(), f"this point was never passed: {point}"
                assert client("receive", number, COUNT) == "right", point
            lab.both_ways(client, server, number)
            for talker in (client, server):
                talker("close", number)
            old = new
        for host in (place.one, place.two):
            assert_untouched(host)


@in_sandbox
def test_the_movers_worker_dies_while_it_holds_data_beyond_holes() -> None:
    die(
        "one",
        ("imaged", "disconnected", "restored", *ONLY_WITH_HOLES["one"], "before the first word", "after the data"),
    )


@in_sandbox
def test_the_answerers_worker_dies_while_the_mover_does() -> None:
    die("two", ("imaged", "disconnected", "restored", *ONLY_WITH_HOLES["two"], "before the data", "after the data"))
