from __future__ import annotations

from dataclasses import replace

from analysis.capture import FIN, RST
from analysis.pictures.expected import Expectation
from analysis.pictures.ladder_rows import GapRow, Ladder, LineRow, MoveRow, SegmentRow, ladder_of, packed
from analysis.pictures.view import view_of
from tests.analysis.pictures.made import stream_of
from tests.analysis.pictures.synthetic import Setting

MANY = Setting(addresses=tuple(f"10.0.{i}.2" for i in range(1, 8)), move_after=tuple(range(6000, 60_000, 9000)))


def rows_of(setting: Setting | None = None) -> Ladder:
    stream, moves = stream_of(setting)
    return ladder_of(view_of(stream), moves=moves)


def segments(ladder: Ladder) -> list[SegmentRow]:
    return [row for row in ladder.rows if isinstance(row, SegmentRow)]


def test_every_segment_is_shown_or_counted() -> None:
    for setting in (Setting(), Setting(lose=(25, 27)), Setting(upload=True), MANY):
        ladder = rows_of(setting)
        counted = sum(row.count for row in ladder.rows if isinstance(row, GapRow))
        assert len(segments(ladder)) + counted == len(stream_of(setting)[0].segments)


def test_the_protocols_segments_and_the_end_are_always_shown() -> None:
    stream, moves = stream_of()
    view = view_of(stream)
    shown = {row.seen for row in segments(ladder_of(view, moves=moves, context=0))}
    assert {seen for seen in view.seen if seen.role or seen.flags & (FIN | RST)} <= shown


def test_times_ascend() -> None:
    times: list[float] = []
    for row in rows_of(Setting(lose_migrate_syn=True)).rows:
        if isinstance(row, SegmentRow):
            times.append(row.seen.time)
        elif isinstance(row, GapRow):
            times += [row.first, row.last]
        elif isinstance(row, MoveRow):
            times.append(row.time)
    assert times == sorted(times)


def test_a_column_per_address_initiator_first() -> None:
    stream, _ = stream_of()
    columns = ladder_of(view_of(stream, {"10.0.1.2": "mobile", "10.0.0.1": "server"})).columns
    assert [(c.name, c.address) for c in columns] == [
        ("mobile", "10.0.1.2:40000"),
        ("initiator", "10.0.2.2:40000"),
        ("server", "10.0.0.1:80"),
    ]


def test_an_ipv6_address_stands_in_brackets() -> None:
    stream, _ = stream_of(Setting(addresses=("2001:db8:1::2", "2001:db8:2::2"), server="2001:db8::1"))
    assert ladder_of(view_of(stream)).columns[2].address == "[2001:db8::1]:80"


def test_too_many_addresses_share_a_column_and_are_named_in_the_rows() -> None:
    ladder = rows_of(MANY)
    assert [column.address for column in ladder.columns] == ["7 addresses", "10.0.0.1:80"]
    fives = [row for row in segments(ladder) if row.seen.role == 5]
    assert [row.phrases[-1] for row in fives] == [f"at 10.0.{i}.2" for i in range(2, 8)]


def test_arrows_start_at_the_source() -> None:
    row = next(row for row in segments(rows_of()) if row.seen.role == 5)
    assert (row.source, row.target) == (1, 2)
    row = next(row for row in segments(rows_of()) if row.seen.role == 6)
    assert (row.source, row.target) == (2, 1)


def test_retransmissions_and_the_old_address_are_named() -> None:
    rows = segments(rows_of())
    assert any("(retransmission)" in row.phrases for row in rows)
    assert all(("(old address)" in row.phrases) == row.late for row in rows)
    assert any(row.late for row in rows)
    plain = segments(rows_of(Setting(move_after=())))
    assert not any("(retransmission)" in row.phrases or row.late for row in plain)


def test_a_gap_says_what_it_holds() -> None:
    gap = next(row for row in rows_of().rows if isinstance(row, GapRow))
    assert gap.words[0].startswith("10.0.0.1 > 10.0.1.2: ")
    assert " × data 1449:" in gap.words[0]
    assert " × ack up to " in gap.words[1]
    assert gap.first < gap.last


def test_the_move_stands_between_the_segments_around_it() -> None:
    ladder = rows_of()
    place = next(index for index, row in enumerate(ladder.rows) if isinstance(row, MoveRow))
    before, after = ladder.rows[place - 1], ladder.rows[place + 1]
    assert isinstance(before, SegmentRow)
    assert isinstance(after, SegmentRow)
    assert not before.late
    assert after.late


def test_a_missing_line_has_its_own_row_and_counts() -> None:
    stream, _ = stream_of()
    lines = [
        Expectation("one", stream.segments[0].packet),
        Expectation("gone", None, "no such packet"),
        Expectation("never R", None),
    ]
    ladder = ladder_of(view_of(stream), expected=lines)
    assert [row.verdict.line for row in ladder.rows if isinstance(row, LineRow)] == ["gone", "never R"]
    assert ladder.mismatches == 1
    assert ladder.compared
    assert not rows_of().compared


def test_a_matched_segment_is_shown_even_in_the_middle_of_nothing() -> None:
    stream, _ = stream_of()
    packet = stream.segments[30].packet
    hidden = [row.seen.packet for row in segments(ladder_of(view_of(stream)))]
    assert packet not in hidden
    shown = [row.seen.packet for row in segments(ladder_of(view_of(stream), expected=[Expectation("data", packet)]))]
    assert packet in shown


def test_one_segment_is_a_ladder() -> None:
    stream, _ = stream_of()
    ladder = ladder_of(view_of(replace(stream, segments=stream.segments[:1])))
    assert len(ladder.rows) == 1


def test_phrases_are_kept_whole_where_they_fit() -> None:
    assert packed(["P", "1:81(80)", "ack 1", "win 32120"], 18) == ["P 1:81(80) ack 1", "win 32120"]
    assert packed(["<migrate token=1 R=2>"], 10) == ["<migrate", "token=1", "R=2>"]
