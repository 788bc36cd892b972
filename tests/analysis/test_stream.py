"""Packets find their connection, and the connection its 4-tuples."""

from __future__ import annotations

from dataclasses import replace

import pytest

from analysis.capture import ACK, RST, SYN, Packet
from analysis.joining import full_count
from analysis.stream import Endpoint, join, pair
from migrate.core import keys
from migrate.core.options import Migrate
from tests.analysis import made_trace as made
from tests.analysis.made_trace import NA, NI, Row, Setting


def mobile(setting: Setting | None = None) -> list[Packet]:
    return made.packets(made.make("mobile", setting), "mobile")


def again(rows: list[Row], reqno: int, time: float, **fields: object) -> Row:
    """One more Migrate SYN, with the proof of this request number."""
    row = next(row for row in rows if row.tag == "5")
    count = reqno
    proof = keys.request(NI, NA, made.SECRET, row.seq % 2**32, reqno & 0x7F, count)
    option = Migrate(False, reqno & 0x7F, made.TOKEN, proof).encode()
    return replace(row, time=time, options=option, **fields)  # type: ignore[arg-type]


def test_both_addresses_are_one_stream() -> None:
    (stream,) = join(mobile(), made.KEYS)
    assert [str(epoch.initiator) for epoch in stream.epochs] == ["10.0.1.2:40000", "10.0.2.2:40000"]
    assert stream.epochs[1].migrate_syn is not None
    assert stream.epochs[1].mover_is_initiator is True
    assert (stream.ni, stream.na, stream.shifts) == (NI, NA, (2, 2))
    assert (stream.secret, stream.token, stream.joined_by) == (made.SECRET, made.TOKEN, "token")
    assert len(stream.of_epoch(0)) + len(stream.of_epoch(1)) == len(stream.segments)
    assert stream.files == ("mobile.pcap",)


def test_without_keys_the_sequence_joins() -> None:
    (stream,) = join(mobile(Setting(same_port=False)))
    assert len(stream.epochs) == 2
    assert stream.joined_by == "sequence"
    assert stream.token is None


def test_numbers_count_from_the_first_and_never_wrap() -> None:
    (stream,) = join(mobile())
    data = [segment for segment in stream.segments if segment.length and not segment.from_initiator]
    assert data[0].seq == 1
    assert max(segment.end for segment in data) == 40_001
    assert stream.segments[0].seq == 0
    assert stream.segments[0].ack is None
    assert stream.segments[1].ack == 1


def test_interfaces_are_merged_by_time() -> None:
    packets = mobile()
    old = [packet for packet in packets if made.OLD4 in (packet.src, packet.dst)]
    new = [replace(packet, file="loc2.pcap") for packet in packets if packet not in old]
    (stream,) = join([*new, *old])
    assert [segment.packet.time for segment in stream.segments] == [packet.time for packet in packets]
    assert stream.files == ("mobile.pcap", "loc2.pcap")


def test_two_connections_stay_apart() -> None:
    token = keys.token(NI + 99, NA + 99, made.SECRET)
    option = ((1, b""), (16, b"\x01" + token + bytes(8)))
    other = [
        replace(
            packet,
            sport=packet.sport if packet.sport == 80 else 50000,
            dport=packet.dport if packet.dport == 80 else 50000,
            seq=(packet.seq + 99) % 2**32,
            ack=(packet.ack + 99) % 2**32,
            options=option if packet.window == 0 else packet.options,
        )
        for packet in mobile()
    ]
    for known, joined_by in ((made.KEYS, "token"), ({}, "sequence")):
        streams = join([*mobile(), *other], known)
        assert [len(stream.epochs) for stream in streams] == [2, 2]
        assert [stream.epochs[0].initiator.port for stream in streams] == [40000, 50000]
        assert [stream.joined_by for stream in streams] == [joined_by] * 2


def test_a_port_used_again_is_a_new_connection() -> None:
    packets = mobile()
    later = [
        replace(packet, time=packet.time + 60, seq=(packet.seq + 5) % 2**32, ack=(packet.ack + 5) % 2**32)
        for packet in packets[:10]
    ]
    streams = join([*packets, *later])
    assert [stream.ni for stream in streams] == [NI, NI + 5]
    assert len(streams[1].segments) == 10


def test_a_syn_sent_again_is_the_same_connection() -> None:
    packets = mobile()
    assert len(join([replace(packets[0], time=packets[0].time - 1), *packets])) == 1


def test_a_capture_that_begins_in_the_middle() -> None:
    streams = join(mobile()[6:])
    assert len(streams) == 1
    assert streams[0].ni is None
    assert len(streams[0].epochs) == 2


def test_a_migrate_syn_sent_again_opens_no_epoch() -> None:
    rows = made.make("mobile")
    syn = next(row for row in rows if row.tag == "5")
    (stream,) = join(made.packets([*rows, replace(syn, time=syn.time + 1)], "mobile"))
    assert len(stream.epochs) == 2


def test_a_late_syn_of_an_earlier_move_stays_there() -> None:
    rows = made.make("mobile")
    first = next(row for row in rows if row.tag == "5")
    moved = again(rows, 2, 2.5, src="10.0.3.2")
    late = replace(first, time=3.0)
    (stream,) = join(made.packets([*rows, moved, late], "mobile"), made.KEYS)
    assert len(stream.epochs) == 3
    assert [segment.epoch for segment in stream.segments if segment.has(SYN) and segment.epoch] == [1, 1, 2, 1]


def test_the_full_request_count_goes_past_127() -> None:
    rows = made.make("mobile", Setting(reqno=127))
    more = [again(rows, 128, 5.0, src="10.0.3.2"), again(rows, 129, 5.5, src="10.0.4.2")]
    (stream,) = join(made.packets([*rows, *more], "mobile"), made.KEYS)
    assert [epoch.count for epoch in stream.epochs] == [None, 127, 128, 129]


def test_back_to_the_first_address() -> None:
    rows = made.make("mobile")
    back = again(rows, 2, 5.0, src=made.OLD4)
    (stream,) = join(made.packets([*rows, back], "mobile"), made.KEYS)
    assert [epoch.initiator.address for epoch in stream.epochs] == [made.OLD4, made.NEW4, made.OLD4]
    assert [segment.epoch for segment in stream.segments if segment.packet.src == made.OLD4][-1] == 2


def test_a_replica_with_a_stale_number_takes_over() -> None:
    rows = made.make("mobile")
    option = Migrate(True, 1, made.TOKEN, bytes(8)).encode()
    takeover = Row(6.0, "", "10.0.0.9", 1033, made.NEW4, 40000, SYN, 0, 0, 0, option, 0)
    (stream,) = join(made.packets([*rows, takeover], "mobile"), made.KEYS)
    assert stream.epochs[2].mover_is_initiator is False
    assert stream.epochs[2].responder == Endpoint("10.0.0.9", 1033)
    # Its S says nothing about where the stream is.
    assert max(segment.end for segment in stream.segments if not segment.from_initiator) == 40_001


def test_a_reset_does_not_set_the_point_to_count_from() -> None:
    packets = mobile()
    stray = replace(packets[1], flags=RST | ACK, seq=12345, length=0)
    (stream,) = join([packets[0], stray, *packets[1:]])
    assert max(segment.end for segment in stream.segments if not segment.from_initiator) == 40_001


def test_streams_of_two_vantage_points_are_paired() -> None:
    here, there = join(mobile()), join(made.packets(made.make("server"), "server"))
    assert [(one.vantage, other.vantage) for one, other in pair(here, there)] == [("mobile", "server")]
    assert pair(join(mobile()[6:]), there) == []


def test_how_streams_and_end_points_are_written() -> None:
    (stream,) = join(mobile(Setting(v6=True)))
    assert str(stream) == ("[2001:db8:1::2]:40000 > [2001:db8::1]:80, then [2001:db8:2::2]:40000 > [2001:db8::1]:80")


@pytest.mark.parametrize(
    ("reqno", "last", "count"),
    [(1, 0, 1), (6, 5, 6), (5, 6, 5), (0, 127, 128), (127, 128, 127), (100, 0, 100), (3, 130, 131), (2, 130, 130)],
)
def test_the_full_count_of_a_request_is_the_one_nearest_to_the_highest(reqno: int, last: int, count: int) -> None:
    """A late one lies behind, also across the wrap; a capture may begin anywhere."""
    assert full_count(reqno, last) == count


def test_a_late_migrate_syn_does_not_raise_the_count() -> None:
    """Requests 1, 3 and then 2, which was long on its way: the next is 4, not 132."""
    rows = [row for row in made.make("mobile") if row.tag in ("1", "2", "3", "get", "data")]
    five = next(row for row in made.make("mobile") if row.tag == "5")
    for place, number in enumerate((1, 3, 2, 4)):
        option = Migrate(False, number, made.TOKEN, made.proof(five.seq, number)).encode()
        source = made.NEW4 if number % 2 else "10.0.3.2"
        rows.append(replace(five, time=five.time + place, src=source, options=option))
    (stream,) = join(made.packets(rows, "mobile"), {made.MOBILE.public: made.MOBILE.private})
    assert [epoch.count for epoch in stream.epochs] == [None, 1, 3, 2, 4]


def test_two_crossing_migrate_syns_lead_to_the_pair_of_both_new_addresses() -> None:
    """Each is sent to the other's old address; what follows between the new ones has no SYN of its own."""
    rows = made.make("mobile")
    five = next(row for row in rows if row.tag == "5")
    before = [row for row in rows if row.time < five.time]
    new_server, old_mobile = "10.0.0.77", before[0].src
    other = replace(
        five, time=five.time + 0.01, src=new_server, sport=five.dport, dst=old_mobile, dport=five.sport,
        seq=(before[-1].ack or made.NA) - 1,
    )  # fmt: skip
    said = replace(
        five, time=five.time + 0.02, dst=new_server, flags=ACK, options=b"", seq=five.seq + 1, ack=made.NA + 1
    )
    answered = replace(said, time=five.time + 0.03, src=said.dst, sport=said.dport, dst=said.src, dport=said.sport)
    (stream,) = join(made.packets([*before, five, other, said, answered], "mobile"), made.KEYS)
    assert [epoch.mover_is_initiator for epoch in stream.epochs] == [None, True, False, None]
    last = stream.epochs[-1]
    assert (last.initiator.address, last.responder.address) == (five.src, new_server)
    assert [one.from_initiator for one in stream.of_epoch(3)] == [True, False]
    # One request alone leads nowhere but where it went.
    streams = join(made.packets([*before, five, said], "mobile"), made.KEYS)
    assert len(streams) == 2
