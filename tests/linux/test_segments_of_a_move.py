"""Segments 5 to 7 as they are on the wire (slides 17, 20 and 21), both IP versions."""

from __future__ import annotations

import time
from itertools import pairwise

from migrate.core import ACK, FIN, MIGRATE_KIND, RST, SYN, Segment, rules, seq, timestamp
from migrate.core.options import Migrate, find, split
from tests.linux import lab, wire
from tests.topologies.inside import in_sandbox

BARE_ACKS = {4: "tcp flags ack ip length { 52, 64 }", 6: "tcp flags ack ip6 length { 32, 44 }"}
"""Segments with a Timestamp and no data, with or without a SACK block (for one that has come twice)."""


def is_migrate_syn(segment: Segment) -> bool:
    return segment.flags == SYN and find(segment.options, MIGRATE_KIND) is not None


def in_haste(seen: list[wire.Seen]) -> int:
    """How many of these came when the timeout of the one before, to which the same goes out again, was not over."""
    return sum(later.time - earlier.time < 0.9 * rules.timeout(1) for earlier, later in pairwise(seen))


def handshake(seen: list[wire.Seen], version: int, mover: int) -> list[Segment]:
    """Segments 5, 6 and 7 of the one migration in a capture.  If a daemon stands still, 5 and 6 may come again."""
    new = lab.ip(lab.address(version, mover))
    five = [one for one in seen if is_migrate_syn(one.segment)]
    six = [one for one in seen if one.segment.flags == SYN | ACK and one.segment.dst == new]
    seven = [one for one in seen if one.segment.src == new and one.segment.flags & (SYN | ACK) == ACK]
    assert five
    assert six
    assert in_haste(five) == 0, five
    assert in_haste(six) < len(five), six  # each is answered
    assert not any(one.segment.flags & RST for one in seen)
    return [five[0].segment, six[0].segment, seven[0].segment]


@in_sandbox
def test_segments_5_to_7_when_nothing_is_under_way() -> None:
    with lab.lab() as place:
        client, server = lab.talkers(place)
        for number, version in enumerate(lab.VERSIONS):
            with wire.captured(place.one) as first, wire.captured(place.two) as there:
                lab.connect(client, server, version)
                lab.say(client, server, number, 700)
                lab.say(server, client, number, 900)
            ni, na = first[0].segment.seq, first[1].segment.seq
            clock = [timestamp(one.segment.options) for one in there]
            with wire.captured(place.one) as here:
                place.replace(place.one, version, 1, 11)
                place.daemons["one"].wait_event("migrated", number + 1)
                place.daemons["two"].wait_event("migrated", number + 1)
            five, six, seven = handshake(here, version, 11)
            port = first[0].segment.sport

            assert (five.src, five.sport) == (lab.ip(lab.address(version, 11)), port)
            assert (five.dst, five.dport) == (lab.ip(lab.address(version, 2)), 9000)
            assert (five.flags, five.seq, five.ack, five.window) == (SYN, seq.add(ni, 700), 0, 0)
            assert [option.kind for option in split(five.options)] == [MIGRATE_KIND]
            assert (five.options[:3], len(five.options)) == (bytes((1, MIGRATE_KIND, 19)), 20)
            option = Migrate.decode(find(five.options, MIGRATE_KIND) or b"")
            assert (option.preload, option.reqno) == (False, 1)

            assert (six.flags, six.seq, six.ack) == (SYN | ACK, seq.add(na, 900), seq.add(ni, 701))
            assert six.options == b""
            assert six.window > 0

            assert (seven.flags, seven.seq, seven.ack) == (ACK, seq.add(ni, 701), seq.add(na, 901))
            assert seven.payload == b""
            assert [option.kind for option in split(seven.options)] == [8], "Timestamp, as was negotiated"
            times, last = timestamp(seven.options), [one for one in clock if one][-1]
            assert times is not None
            assert last is not None
            assert times[1] in {one[0] for one in clock if one}, "the echo of the last time of the peer's"
            assert seven.window > 0
            lab.both_ways(client, server, number)


@in_sandbox
def test_6_and_7_acknowledge_what_was_received_and_not_what_the_other_side_knows_of() -> None:
    """The last ACK is lost, so snd_una of one side is behind; what has arrived is not sent again."""
    with lab.lab() as place:
        client, server = lab.talkers(place)
        moves = 0
        for version in lab.VERSIONS:
            for upwards in (True, False):
                number = lab.connect(client, server, version)
                lab.both_ways(client, server, number, 500)
                lab.say(client, server, number, 500)  # 500 from the server, 1000 from the client
                for talker in (client, server):
                    lab.wait_until_acknowledged(talker, number)  # an ACK that was delayed would be dropped below
                name = place.daemons["one"].name_of(client("names", number))
                with wire.captured(place.one) as here:
                    # ... until the move is over, since an ACK may be delayed.
                    with wire.dropping(place.one if upwards else place.two, version, BARE_ACKS[version]):
                        lab.say(*((client, server) if upwards else (server, client)), number, 300)
                        place.add(place.one, version, 11)
                        place.daemons["one"].ask(do="migrate", to=lab.address(version, 11), connection=name)
                        moves += 1
                        place.wait_moved(moves)
                    lab.both_ways(client, server, number)
                five, six, seven = handshake(here, version, 11)
                first = next(one.segment for one in here if one.segment.payload)
                old = first.seq, first.ack  # where the side that spoke was before its 300 bytes
                if upwards:
                    assert five.seq == seq.add(old[0], -1), "S is the last byte that the peer has acknowledged"
                    assert (six.seq, six.ack) == (seq.add(old[1], -1), seq.add(old[0], 300))
                    assert (seven.seq, seven.ack) == (seq.add(old[0], 300), old[1])
                else:
                    assert (five.seq, six.ack) == (seq.add(old[1], -1), old[1])
                    assert six.seq == seq.add(old[0], -1), "the server does not know that its 300 bytes have arrived"
                    assert (seven.seq, seven.ack) == (old[1], seq.add(old[0], 300))
                new = lab.ip(lab.address(version, 11))
                said = [one.segment for one in here if one.segment.payload]
                speaker = next(one for one in said if (one.src if upwards else one.dst) == new)
                assert speaker.seq == seq.add(old[0], 300), "what had arrived was sent again"
                place.remove(place.one, version, 11)
                moves += 1
                place.wait_moved(moves)


@in_sandbox
def test_a_connection_that_has_ended_asks_nothing_more() -> None:
    """Twice from one pair, so that segment 6 may have answered either: the last request goes out again, unless ..."""
    with lab.lab() as place:
        client, server = lab.talkers(place)
        one = place.daemons["one"]
        for version in lab.VERSIONS:
            for number in (11, 12):
                place.add(place.one, version, number)
        for ended in (True, False):
            ports = []
            with wire.captured(place.one) as seen:
                for version in lab.VERSIONS:
                    number = lab.connect(client, server, version)
                    ports.append(client("names", number)[1])
                    name = one.name_of(client("names", number))
                    for count, to in enumerate((11, 12, 11), 1):
                        one.ask(do="migrate", to=lab.address(version, to), connection=name)
                        lab.until(lambda: all(
                            sum(event["connection"] == name for event in daemon.events("migrated")) == count  # noqa: B023
                            for daemon in place.daemons.values()
                        ), f"moved {count} times")  # fmt: skip
                    for talker in (client, server) if ended else ():
                        talker("close", number)
                one.ask(do="status")  # by now its timer runs,
                time.sleep(rules.timeout(1) + 0.05)
                one.ask(do="status")  # and it has seen that it is over
            for port in ports:
                segments = [each.segment for each in seen if port in (each.segment.sport, each.segment.dport)]
                end = max((at for at, segment in enumerate(segments) if segment.flags & FIN), default=None)
                asked = [is_migrate_syn(segment) for segment in segments]
                assert sum(asked) >= 3
                if ended:
                    assert end is not None
                    assert not any(asked[end:])
                else:
                    assert sum(asked) > 3
            assert not [each for each in seen if each.segment.flags & RST]
