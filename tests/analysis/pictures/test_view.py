from __future__ import annotations

from dataclasses import replace

import pytest

from analysis.capture import Packet
from analysis.pictures.view import sack_blocks, view_of
from analysis.stream import Segment
from tests.analysis.pictures.made import sack_option, stream_of
from tests.analysis.pictures.synthetic import EPOCH, Setting


def test_time_counts_from_the_first_syn() -> None:
    view = view_of(stream_of()[0])
    assert view.start == EPOCH
    assert view.seen[0].time == 0


def test_a_capture_without_the_syn_starts_with_its_first_packet() -> None:
    stream, _ = stream_of(Setting(move_after=()))
    view = view_of(replace(stream, segments=stream.segments[4:], ni=None, na=None, shifts=None))
    assert view.seen[0].time == 0
    assert view.origins == ("the first one seen", "the first one seen")
    assert view.shifts is None


@pytest.mark.parametrize("setting", [Setting(), Setting(upload=True), Setting(vantage="server")])
def test_each_segment_of_the_protocol_is_found_once(setting: Setting) -> None:
    view = view_of(stream_of(setting)[0])
    assert [seen.role for seen in view.seen if seen.role] == [1, 2, 3, 5, 6, 7]
    seven = next(seen for seen in view.seen if seen.role == 7)
    assert seven.from_initiator
    assert seven.epoch == 1


def test_a_repeated_migrate_syn_is_segment_5_again() -> None:
    view = view_of(stream_of(Setting(lose_migrate_syn=True))[0])
    assert [seen.role for seen in view.seen if seen.role] == [1, 2, 3, 5, 5, 6, 7]


def test_the_side_that_moves() -> None:
    stream, _ = stream_of()
    assert view_of(stream).initiator_moves
    turned = tuple(replace(epoch, initiator=epoch.responder, responder=epoch.initiator) for epoch in stream.epochs)
    assert not view_of(replace(stream, epochs=turned)).initiator_moves


def test_a_side_in_words() -> None:
    stream, _ = stream_of()
    one_name = view_of(stream, {"10.0.1.2": "mobile", "10.0.2.2": "mobile", "10.0.0.1": "server"})
    assert one_name.side(initiator=True) == "mobile (10.0.1.2, then 10.0.2.2)"
    assert one_name.side(initiator=False) == "server (10.0.0.1)"
    two_names = view_of(stream, {"10.0.1.2": "sA", "10.0.2.2": "sB"})
    assert two_names.side(initiator=True) == "sA 10.0.1.2, then sB 10.0.2.2"
    assert two_names.side(initiator=False) == "10.0.0.1"


def test_sack_blocks_count_like_the_ack_across_the_wrap() -> None:
    packet = Packet(1, 0.0, "x", "a", 1, "b", 2, 16, 0, 2**32 - 100, 0, 0, (sack_option((50, 150)),))
    assert sack_blocks(Segment(packet, 0, True, 0, 5000)) == ((5150, 5250),)
    assert sack_blocks(Segment(packet, 0, True, 0, None)) == ()
    malformed = replace(packet, options=((5, b"\0" * 7),))
    assert sack_blocks(Segment(malformed, 0, True, 0, 5000)) == ()


def test_a_stream_without_segments_is_refused_in_one_sentence() -> None:
    with pytest.raises(ValueError, match="no segments"):
        view_of(replace(stream_of()[0], segments=()))
