from __future__ import annotations

import re
from dataclasses import replace

import pytest

from analysis.capture import SYN
from analysis.pictures.expected import Expectation
from analysis.pictures.ladder import ladder_text
from analysis.stream import Stream
from tests.analysis.pictures.made import stream_of
from tests.analysis.pictures.synthetic import EPOCH, Setting

NAMES = {"10.0.1.2": "mobile", "10.0.2.2": "mobile", "10.0.0.1": "server"}


def line_with(text: str, words: str) -> str:
    return next(line for line in text.splitlines() if words in line)


def expectations(stream: Stream) -> list[Expectation]:
    five = next(s.packet for s in stream.segments if s.epoch == 1 and s.flags == SYN)
    return [
        Expectation("mobile > server S <migrate-permitted>", stream.segments[0].packet),
        Expectation("mobile2 > server S win 0", five, "expected win 0\nactual   win 9 (packet 63)"),
        Expectation("server > mobile2 S", None, "no such packet"),
    ]


def test_segments_point_from_source_to_target() -> None:
    stream, moves = stream_of()
    text = ladder_text(stream, moves=moves, names=NAMES, width=130)
    lines = text.splitlines()
    assert lines[0].split() == ["time", "(s)", "packet", "mobile", "mobile", "server"]
    assert lines[1].split() == ["10.0.1.2:40000", "10.0.2.2:40000", "10.0.0.1:80"]
    first = line_with(text, "S 0:0(0) win 29200")
    assert re.match(r" +0\.000000 +1  \(1\) +│── S 0:0\(0\) win 29200 .*▶│$", first)
    answer = line_with(text, "S 0:0(0) ack 1 win 28960")
    assert re.match(
        rf" +{stream.segments[1].time - EPOCH:.6f} +2  \(2\) +│◀─+.* S 0:0\(0\) ack 1 win 28960 .*──│$", answer
    )


def test_the_migrate_segments_are_numbered_and_drawn_double() -> None:
    text = ladder_text(stream_of()[0], width=130)
    assert re.search(r"\(5\) +│ +│══ S 80:80\(0\) win 0 ═+▶│", text)
    assert re.search(r"\(6\) +│ +│◀═+ S 40544:40544\(0\) ack 81 win 8030 ══│", text)
    assert re.search(r"\(7\) +│ +│══ \. ack 40545 win 32120 ═+▶│", text)
    assert "<migrate req=1 token=0123456789abcdef" in ladder_text(stream_of()[0], width=140)


def test_a_trace_without_its_migrate_syn_shows_none() -> None:
    stream, _ = stream_of()
    stream = replace(stream, segments=tuple(s for s in stream.segments if not (s.epoch == 1 and s.flags == SYN)))
    text = ladder_text(stream)
    assert "(5)" not in text
    assert "<migrate req" not in text


def test_what_is_left_out_is_counted() -> None:
    assert re.search(r"\.\.\. \d+ packets, \d+\.\d{3} to \d+\.\d{3} s \.\.\.", ladder_text(stream_of()[0]))


def test_the_move_has_its_time() -> None:
    stream, moves = stream_of()
    assert line_with(ladder_text(stream, moves=moves), " move ").startswith(f"  {moves[0] - EPOCH:.6f}")
    assert " move " not in ladder_text(stream)


@pytest.mark.parametrize("width", [80, 110, 130, 200])
def test_columns_are_straight(width: int) -> None:
    """Every lifeline stands at the same place in every line that shows it."""
    lines = ladder_text(stream_of()[0], width=width).splitlines()[2:]
    first = [index for index, mark in enumerate(lines[0]) if mark == "│"]
    assert len(first) == 3
    for line in lines:
        # The outer two are never crossed by an arrow or a label.
        assert line[first[0]] in "│⋮"
        assert line[first[2]] in "│⋮"


def test_lines_keep_to_the_width() -> None:
    stream, moves = stream_of()
    for width in (130, 160):
        assert max(map(len, ladder_text(stream, moves=moves, width=width).splitlines())) <= width
    for width in (175, 220):
        text = ladder_text(stream, moves=moves, expected=expectations(stream), width=width)
        assert max(map(len, text.splitlines())) <= width


def test_expected_stands_beside_observed() -> None:
    stream, _ = stream_of()
    text = ladder_text(stream, expected=expectations(stream), width=175)
    assert line_with(text, "✓ mobile > server S").startswith("   0.000000")
    assert "(5)" in line_with(text, "✗ mobile2 > server S win 0")
    assert "    expected win 0" in text
    assert "    actual   win 9 (packet 63)" in text
    assert "✗ server > mobile2 S" in text
    assert text.splitlines()[-1] == "expected lines: 1 met, 2 not met"


def test_expected_stands_below_where_there_is_no_room_beside() -> None:
    stream, _ = stream_of()
    lines = ladder_text(stream, expected=expectations(stream), width=100).splitlines()
    place = next(index for index, line in enumerate(lines) if "✗ mobile2 > server S win 0" in line)
    assert lines[place].strip() == "✗ mobile2 > server S win 0"
    assert any("(5)" in line for line in lines[place - 4 : place])


def test_without_expected_lines_nothing_is_judged() -> None:
    text = ladder_text(stream_of()[0])
    assert "expected" not in text
    assert "✓" not in text


def test_colour_is_asked_for_or_left_to_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    stream, _ = stream_of()
    assert "\x1b[" not in ladder_text(stream, colour=False)
    coloured = ladder_text(stream, colour=True)
    assert "\x1b[1;31m" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == ladder_text(stream, colour=False)
    monkeypatch.setattr("sys.stdout.isatty", lambda: False)
    assert "\x1b[" not in ladder_text(stream)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" in ladder_text(stream)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in ladder_text(stream)


def test_several_moves_and_ipv6() -> None:
    setting = Setting(
        addresses=("2001:db8:1::2", "2001:db8:2::2", "2001:db8:3::2"), server="2001:db8::1", move_after=(30_000, 60_000)
    )
    stream, moves = stream_of(setting)
    text = ladder_text(stream, moves=moves)
    assert "move 1" in text
    assert "move 2" in text
    assert text.count("(5)") == 2
    assert "[2001:db8:3::2]:40000" in text
