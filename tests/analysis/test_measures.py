"""Measures of a migration, on traces whose numbers are known; and none where the trace has no answer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from analysis import measures
from analysis.capture import RST
from analysis.measures import NoMeasure
from analysis.stream import Stream, join
from tests.analysis import made_trace as made
from tests.analysis.made_trace import MSS, NA, Row, Setting


def stream(vantage: str, setting: Setting | None = None, rows: list[Row] | None = None) -> Stream:
    (one,) = join(made.packets(rows or made.make(vantage, setting), vantage), made.KEYS)
    return one


def test_the_handshake_of_a_move() -> None:
    at_mobile, at_server = (measures.the_move(stream(vantage)) for vantage in ("mobile", "server"))
    assert at_server.answer_time == pytest.approx(0.0005, abs=1e-6)
    assert at_mobile.answer_time == pytest.approx(0.1005, abs=1e-6)
    assert at_mobile.handshake_time == pytest.approx(0.1025, abs=1e-6)
    assert at_mobile.resumes_at(sender=False) == 12_001
    assert at_mobile.resumes_at(sender=True) == 121
    assert at_mobile.mover_is_initiator


def test_a_lost_syn_ack_is_answered_again() -> None:
    rows = made.make("mobile")
    answer = next(row for row in rows if row.tag == "6")
    (move,) = measures.moves(stream("mobile", rows=[*rows, replace(answer, time=answer.time + 0.001)]))
    assert move.answer_time == pytest.approx(0.1015, abs=1e-6)


def test_a_migration_without_an_end_is_none() -> None:
    rows = [row for row in made.make("mobile") if row.time < 1.85]
    one = stream("mobile", rows=rows)
    assert measures.moves(one) == []
    with pytest.raises(NoMeasure, match="migrates 0 times, not once"):
        measures.the_move(one)


def test_interruption() -> None:
    one = stream("mobile")
    gap = measures.interruption(one, measures.the_move(one), sender=False)
    # The 12th packet at 1.4 s was the last that the mobile acknowledged; the 13th came again at 2.0525 s.
    assert (gap.last.end, gap.first.seq) == (12_001, 12_001)
    assert gap.seconds == pytest.approx(0.6525, abs=1e-5)
    assert gap.round_trips(0.1) == pytest.approx(6.525, abs=1e-4)
    assert measures.resume_time(one, measures.the_move(one), sender=False) == pytest.approx(0.2, abs=1e-5)


def test_flight_and_retransmissions_at_the_server() -> None:
    one = stream("server")
    move = measures.the_move(one)
    assert measures.flight_at_move(one, move, sender=False) == (12_001, 20_001)
    again = measures.retransmitted(one, move, sender=False)
    assert measures.joined(again) == [(12_001, 20_001)]
    assert measures.size(again) == 8 * MSS


def test_what_is_sent_twice_on_the_new_address_counts_twice() -> None:
    rows = made.make("server")
    last = next(row for row in rows if row.tag == "last")
    one = stream("server", rows=[*rows, replace(last, time=last.time + 0.001)])
    assert measures.size(measures.retransmitted(one, measures.the_move(one), sender=False)) == 9 * MSS


def test_slow_start() -> None:
    one = stream("server")
    start = measures.slow_start(one, measures.the_move(one), sender=False, initial_window=2 * MSS)
    assert (start.first_flight, start.first_flight_segments, start.excess) == (2 * MSS, 2, 0)
    assert start.rounds[:4] == (2 * MSS, 4 * MSS, 8 * MSS, 14 * MSS)


def test_a_burst_is_no_slow_start() -> None:
    one = stream("server", Setting(first_flight=9))
    start = measures.slow_start(one, measures.the_move(one), sender=False, initial_window=2 * MSS)
    assert start.first_flight == 9 * MSS
    assert start.excess == 7 * MSS


def test_rate() -> None:
    one = stream("mobile")
    data = measures.data(one, sender=False, epochs=[0])
    assert measures.rate(data) == pytest.approx(1052 * 8 / 0.1, rel=1e-6)
    with pytest.raises(NoMeasure):
        measures.rate(data[:1])


@pytest.mark.parametrize(("v6", "size"), [(False, 1052), (True, 1072)])
def test_size_of_ip_packets(v6: bool, size: int) -> None:
    rows = made.make("mobile", Setting(v6=v6))
    data = next(row for row in rows if row.tag == "data")
    assert measures.ip_bytes(data.packet(1, "mobile")) == size == len(data.scapy()) - 14


def test_every_byte_once() -> None:
    for vantage in ("mobile", "server"):
        coverage = measures.every_byte_once(stream(vantage), sender=False)
        assert coverage == measures.Coverage((), ())
    assert measures.every_byte_once(stream("mobile"), sender=True) == measures.Coverage((), ())


def test_a_missing_and_a_double_byte() -> None:
    rows = made.make("mobile")
    holed = [row for row in rows if row.seq % 2**32 != (NA + 1 + 25 * MSS) % 2**32 or row.length == 0]
    coverage = measures.every_byte_once(stream("mobile", rows=holed), sender=False)
    assert coverage.missing == ((25_001, 26_001),)
    twice = [row for row in rows if row.tag == "new"][5]
    one = stream("mobile", rows=[*rows, replace(twice, time=twice.time + 0.01, length=10)])
    coverage = measures.every_byte_once(one, sender=False)
    assert coverage.twice == ((18_001, 18_011),)
    assert measures.every_byte_once(one, sender=False, since=measures.the_move(one)) == coverage


def test_without_data_after_the_move_there_is_no_measure() -> None:
    rows = [row for row in made.make("mobile") if row.time < 2.0]
    one = stream("mobile", rows=rows)
    move = measures.the_move(one)
    for measure in (measures.interruption, measures.resume_time):
        with pytest.raises(NoMeasure, match="shows no data after the move"):
            measure(one, move, sender=False)
    with pytest.raises(NoMeasure):
        measures.slow_start(one, move, sender=False, initial_window=MSS)


def test_ranges() -> None:
    assert measures.joined([(5, 7), (1, 3), (3, 5), (9, 9)]) == [(1, 7)]
    assert measures.overlap([(0, 4), (6, 9)], [(3, 7)]) == [(3, 4), (6, 7)]
    assert measures.gaps([(2, 3), (5, 20)], (0, 10)) == [(0, 2), (3, 5)]
    assert measures.gaps([], (0, 1)) == [(0, 1)]
    assert measures.size([(1, 4), (10, 11)]) == 4


@pytest.mark.parametrize("vantage", ["mobile", "server"])
def test_resets_count_until_both_ends_know_that_it_is_over(vantage: str) -> None:
    rows = made.make(vantage)
    assert {"fin", "fin-back"} <= {row.tag for row in rows}
    reset = replace(rows[-1], flags=RST)
    assert not measures.resets(stream(vantage, rows=[*rows, replace(reset, time=rows[-1].time + 0.01)]))
    before_the_last = [*rows[:-1], replace(reset, time=rows[-1].time - 0.0001), rows[-1]]
    assert len(measures.resets(stream(vantage, rows=before_the_last))) == 1
