from __future__ import annotations

from dataclasses import replace

import pytest

from analysis.capture import SYN
from analysis.pictures.plot_build import build
from analysis.pictures.plot_data import PlotData
from analysis.pictures.view import view_of
from tests.analysis.pictures.made import stream_of
from tests.analysis.pictures.synthetic import EPOCH, Setting

THREE = Setting(addresses=("10.0.1.2", "10.0.2.2", "10.0.3.2"), move_after=(30_000, 60_000))


def plot_of(setting: Setting | None = None) -> PlotData:
    stream, moves = stream_of(setting)
    return build(view_of(stream), moves)


def test_a_download_is_drawn_in_the_servers_direction_from_na() -> None:
    plot = plot_of()
    assert (plot.sender, plot.receiver, plot.origin) == ("10.0.0.1", "10.0.1.2, then 10.0.2.2", "Na")
    assert plot.addresses == ("old address 10.0.1.2", "new address 10.0.2.2")
    assert plot.data[0].first == 1
    assert max(arrow.last for arrow in plot.data) == 102_401


def test_an_upload_is_drawn_in_the_mobiles_direction_from_ni() -> None:
    plot = plot_of(Setting(upload=True))
    assert (plot.sender, plot.origin, plot.sender_moves) == ("10.0.1.2, then 10.0.2.2", "Ni", True)
    assert max(arrow.last for arrow in plot.data) == 102_401


def test_the_sequence_axis_goes_on_across_the_migration() -> None:
    plot = plot_of()
    held = 1
    for arrow in plot.data:
        if not arrow.late:
            assert arrow.first <= held  # no gap
            held = max(held, arrow.last)
    assert held == 102_401


def test_the_ack_staircase_never_descends() -> None:
    for setting in (Setting(), Setting(lose=(25, 27)), THREE):
        values = [step.value for step in plot_of(setting).acks if not step.stale]
        assert values == sorted(values)


def test_acks_of_an_older_address_are_set_apart() -> None:
    plot = plot_of(Setting(upload=True, vantage="server"))
    stale = [step for step in plot.acks if step.stale]
    assert stale
    assert {step.epoch for step in stale} == {0}


def test_the_windows_edge_is_scaled_except_in_a_syn() -> None:
    plot = plot_of(Setting(upload=True))
    syn_ack, later = plot.edges[0], plot.edges[1]
    assert syn_ack.value == 1 + 28_960
    assert later.value - plot.acks[1].value == 32_120


def test_an_unknown_window_scale_draws_no_edge() -> None:
    stream, _ = stream_of()
    plot = build(view_of(replace(stream, shifts=None, ni=None)))
    assert plot.edges == ()
    assert plot.acks


def test_sack_blocks_lie_beyond_the_hole() -> None:
    plot = plot_of(Setting(lose=(25, 27)))
    assert plot.sacks
    acks = {step.time: step.value for step in plot.acks}
    assert all(acks[block.time] < block.left < block.right for block in plot.sacks)
    assert plot_of().sacks == ()


def test_moves_and_migrate_syns_are_marked_in_order() -> None:
    assert [mark.text for mark in plot_of().marks] == ["move", "Migrate SYN from 10.0.2.2"]
    assert [mark.text for mark in plot_of(THREE).marks] == [
        "move 1",
        "Migrate SYN from 10.0.2.2",
        "move 2",
        "Migrate SYN from 10.0.3.2",
    ]
    assert [mark.text for mark in plot_of(Setting(lose_migrate_syn=True)).marks][1:] == [
        "Migrate SYN from 10.0.2.2",
        "Migrate SYN again",
    ]
    assert plot_of(Setting(move_after=())).marks == ()


def test_a_move_is_placed_on_the_time_axis() -> None:
    stream, moves = stream_of()
    plot = build(view_of(stream), moves)
    assert plot.marks[0].time == pytest.approx(moves[0] - EPOCH)
    assert plot.marks[1].time == pytest.approx(plot.marks[0].time + 1.0)


def test_a_trace_without_its_migrate_syn_has_no_such_mark() -> None:
    stream, moves = stream_of()
    kept = tuple(s for s in stream.segments if not (s.epoch == 1 and s.flags == SYN))
    plot = build(view_of(replace(stream, segments=kept)), moves)
    assert [mark.kind for mark in plot.marks] == ["move"]
    assert 5 not in [mark.number for mark in plot.handshakes]


def test_a_trace_without_retransmissions_marks_none() -> None:
    stream, moves = stream_of()
    assert any(arrow.retransmitted for arrow in build(view_of(stream), moves).data)
    # What the old address's queue delivered is not in this capture: then nothing was seen twice.
    late = [s for s in stream.segments if s.epoch == 0 and s.length and s.time > moves[0]]
    kept = tuple(s for s in stream.segments if s not in late)
    plot = build(view_of(replace(stream, segments=kept)), moves)
    assert not any(arrow.retransmitted for arrow in plot.data)
    assert plot.late == ()


def test_the_handshake_stands_where_the_data_stopped() -> None:
    plot = plot_of()
    stopped = plot.interruptions[0].value
    assert [(mark.number, mark.value) for mark in plot.handshakes] == [(5, stopped), (6, stopped - 1), (7, stopped)]


@pytest.mark.parametrize(
    ("setting", "at_receiver"),
    [
        (Setting(), True),
        (Setting(vantage="server"), False),
        (Setting(upload=True), False),
        (Setting(upload=True, vantage="server"), True),
    ],
)
def test_the_vantage_is_known_from_the_first_handshake(setting: Setting, at_receiver: bool) -> None:
    assert plot_of(setting).at_receiver is at_receiver


def test_the_vantage_is_unknown_without_the_first_handshake() -> None:
    stream, moves = stream_of()
    assert build(view_of(replace(stream, segments=stream.segments[3:])), moves).at_receiver is None


def test_the_interruption_ends_with_the_first_byte_that_is_new() -> None:
    stream, moves = stream_of()
    plot = build(view_of(stream), moves)
    (interruption,) = plot.interruptions
    assert interruption.start == pytest.approx(moves[0] - EPOCH)  # the move followed a segment at once
    new = next(arrow for arrow in plot.data if arrow.epoch == 1)
    assert (interruption.end, interruption.value) == (new.time, new.first)
    # 1 s away, the handshake, and one segment on the wire.
    assert interruption.seconds == pytest.approx(1.886, abs=0.01)


def test_a_byte_from_the_old_address_counts_as_long_as_it_is_acknowledged() -> None:
    plot = plot_of(Setting(upload=True, vantage="server"))
    (interruption,) = plot.interruptions
    last = max(arrow.time for arrow in plot.data if arrow.epoch == 0 and arrow.time < interruption.end)
    assert interruption.start <= last
    assert interruption.start > plot.marks[0].time


def test_every_migration_has_its_interruption() -> None:
    assert [item.migration for item in plot_of(THREE).interruptions] == [1, 2]
    assert plot_of(Setting(move_after=())).interruptions == ()


def test_a_handshake_without_data_can_be_built() -> None:
    stream, _ = stream_of(Setting(move_after=()))
    plot = build(view_of(replace(stream, segments=stream.segments[:3])))
    assert plot.data == ()
    assert plot.span[1] > 0
    assert plot.top > 0


def test_ipv6() -> None:
    plot = plot_of(Setting(addresses=("2001:db8:1::2", "2001:db8:2::2"), server="2001:db8::1"))
    assert plot.addresses[1] == "new address 2001:db8:2::2"
    assert plot.marks[1].text == "Migrate SYN from 2001:db8:2::2"


def test_a_return_to_an_old_address_keeps_its_colour() -> None:
    stream, moves = stream_of(THREE)
    back = replace(stream.epochs[2], initiator=stream.epochs[0].initiator)
    plot = build(view_of(replace(stream, epochs=(*stream.epochs[:2], back))), moves)
    assert len(plot.addresses) == 2
    assert not any("old" in address or "new" in address for address in plot.addresses), "each is both"
    assert {arrow.address for arrow in plot.data if arrow.epoch == 2} == {0}
