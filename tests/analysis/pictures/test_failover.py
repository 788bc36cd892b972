from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from analysis.pictures.ladder import ladder_text
from analysis.pictures.ladder_svg import ladder_svg
from analysis.pictures.plot_build import build
from analysis.pictures.time_sequence import draw_time_sequence, zoom_times, zoom_values
from analysis.pictures.view import view_of
from tests.analysis.pictures.failover import PRELOAD, failover

NAMES = {"10.0.9.1": "cl", "10.0.0.1": "sA", "10.0.0.2": "sB"}


def test_the_responders_addresses_have_the_colours() -> None:
    plot = build(view_of(failover(), NAMES))
    assert plot.addresses == ("sA 10.0.0.1 port 8080", "sB 10.0.0.2 port 1033")
    assert (plot.sender, plot.origin) == ("sA 10.0.0.1, then sB 10.0.0.2", "Na")
    assert plot.sender_moves


def test_what_the_old_server_still_sends_is_late_and_a_retransmission() -> None:
    (late,) = build(view_of(failover())).late
    assert (late.first, late.retransmitted) == (505, True)


def test_a_stale_sequence_number_does_not_ruin_the_axis() -> None:
    plot = build(view_of(failover()))
    assert next(mark for mark in plot.handshakes if mark.number == 5).value == 505
    (interruption,) = plot.interruptions
    # Its last segment was accepted, though it was sB that heard so; the repetition after the take-over brought nothing.
    assert (interruption.start, interruption.end) == pytest.approx((2.080, 2.241))
    bottom, top = zoom_values(plot, interruption, *zoom_times(plot, interruption))
    assert -5000 < bottom < top < 10_000


def test_it_is_drawn_without_calling_anything_buffered(tmp_path: Path) -> None:
    path = tmp_path / "failover.svg"
    draw_time_sequence(failover(), path, names=NAMES)
    words = path.read_text()
    assert "Still from the" in words
    assert "old server" in words
    assert "Buffered" not in words


def test_what_led_to_it_has_its_own_name(tmp_path: Path) -> None:
    """Nothing has moved: a server was called dead."""
    stream, path = failover(), tmp_path / "failover.svg"
    at = [stream.segments[0].time + 0.01]
    plot = draw_time_sequence(stream, path, moves=at, called="sA pronounced dead", names=NAMES)
    assert [mark.text for mark in plot.marks] == ["sA pronounced dead", "Migrate SYN from sB"]
    for drawn in (
        ladder_text(stream, moves=at, called="sA pronounced dead", names=NAMES, width=140),
        ladder_svg(stream, moves=at, called="sA pronounced dead", names=NAMES),
    ):
        assert "sA pronounced dead" in drawn
        assert "(old server)" in drawn
        assert "move" not in drawn.replace("class=\"move\"", "").replace(".move", "")


def test_a_stale_number_that_says_something_is_counted_from_na() -> None:
    """A replica of today begins at Na, which is 0 here; on the wire that is any number."""
    stream = failover()
    segments = [
        replace(one, packet=replace(one.packet, seq=123456789), seq=0) if one.packet.options == (PRELOAD,) else one
        for one in stream.segments
    ]
    text = ladder_text(replace(stream, segments=tuple(segments)), names=NAMES, width=140)
    assert "S 0:0(0) win 0 <migrate PRELOAD" in " ".join(text.split())
    assert "123456789" not in text


def test_the_ladder_has_a_column_for_each_server() -> None:
    text = ladder_text(failover(), names=NAMES, width=140)
    assert text.split("\n")[0].split()[3:] == ["cl", "sA", "sB"]
    assert "S 0:0(0) win 0 <migrate PRELOAD req=1" in " ".join(text.split())  # as on the slide, not counted from Na
    assert "R 1:1(0)" in text
    assert ladder_svg(failover(), names=NAMES).count('data-role="5"') == 1
