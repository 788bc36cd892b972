from __future__ import annotations

from pathlib import Path

from analysis.capture import Packet
from analysis.diagram import check, load
from analysis.pictures.expected import Expectation, Verdict, place_lines
from analysis.pictures.view import view_of
from tests.analysis.pictures.made import stream_of

STREAM = stream_of()[0]
VIEW = view_of(STREAM)


def packet(index: int) -> Packet:
    return STREAM.segments[index].packet


def test_a_line_stands_beside_its_packet() -> None:
    beside, apart = place_lines(VIEW, [Expectation("one", packet(0)), Expectation("two", packet(1), "wrong")])
    assert beside == {0: [Verdict("one", None)], 1: [Verdict("two", "wrong")]}
    assert apart == {}


def test_a_line_without_a_packet_follows_the_one_before_it() -> None:
    lines = [Expectation("first", None, "missing"), Expectation("one", packet(4)), Expectation("two", None, "missing")]
    beside, apart = place_lines(VIEW, lines)
    assert list(beside) == [4]
    assert apart == {-1: [Verdict("first", "missing")], 4: [Verdict("two", "missing")]}


def test_a_repeated_line_is_written_once() -> None:
    lines = [Expectation("data", packet(index)) for index in (5, 7, 9)] + [Expectation("missing", None, "no")]
    beside, apart = place_lines(VIEW, lines)
    assert beside == {5: [Verdict("data", None, 3)]}
    assert list(apart) == [9]  # after the last of them


def test_a_mismatch_in_a_repetition_is_not_hidden() -> None:
    lines = [Expectation("data", packet(5)), Expectation("data", packet(7), "wrong"), Expectation("data", packet(9))]
    beside, _ = place_lines(VIEW, lines)
    assert [verdict.good for index in (5, 7, 9) for verdict in beside[index]] == [True, False, True]


def test_a_packet_of_another_capture_is_not_confused() -> None:
    other = Packet(1, 0.0, "server", "a", 1, "b", 2, 2, 0, 0, 0, 0, (), "server.pcapng")
    beside, apart = place_lines(VIEW, [Expectation("one", other)])
    assert beside == {}
    assert apart == {-1: [Verdict("one", None)]}


def test_repeated_lines_in_turn_are_written_once_for_each_phase() -> None:
    data, ack, once = "server > mobile data", "mobile > server .", "mobile.new > server S"
    lines = [Expectation((data, ack)[index % 2], packet(index)) for index in range(5, 11)]
    lines += [Expectation(once, packet(11))]
    lines += [Expectation((data, ack)[index % 2], packet(index)) for index in range(12, 14)]
    beside, apart = place_lines(VIEW, lines)
    assert beside == {
        5: [Verdict(ack, None, 3)],
        6: [Verdict(data, None, 3)],
        11: [Verdict(once, None)],
        12: [Verdict(data, None)],
        13: [Verdict(ack, None)],
    }
    assert apart == {}


def test_what_the_matcher_finds_can_be_shown() -> None:
    diagram = load(Path(__file__).parents[3] / "analysis" / "diagrams" / "mobility.diagram")
    matches = check(diagram, STREAM).matches
    beside, _ = place_lines(VIEW, matches)
    assert beside[0][0].good
    # Every match is beside a segment, and the many that data and ACKs have do not each take a line.
    assert sum(verdict.packets for verdicts in beside.values() for verdict in verdicts) == len(matches)
    assert sum(map(len, beside.values())) < len(matches) / 5
