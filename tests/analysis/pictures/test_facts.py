from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from analysis.pictures.facts import Ranges, departures, late, retransmitted
from analysis.pictures.view import view_of
from tests.analysis.pictures.made import stream_of
from tests.analysis.pictures.synthetic import Setting


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), max_size=30))
def test_ranges_agree_with_a_set_of_bytes(pieces: list[tuple[int, int]]) -> None:
    ranges, known = Ranges(), set[int]()
    for first, length in pieces:
        piece = set(range(first, first + length))
        assert ranges.add(first, first + length) == bool(piece & known)
        known |= piece
    assert {byte for pair in zip(ranges.starts, ranges.ends, strict=True) for byte in range(*pair)} == known
    # Sorted and joined: each range ends before the next one begins.
    assert all(end < start for end, start in zip(ranges.ends, ranges.starts[1:], strict=False))


def test_the_copy_to_the_new_address_is_the_retransmission_even_if_it_passes_first() -> None:
    stream, _ = stream_of()
    view = view_of(stream)
    again = retransmitted(view)
    seen = [(s, a) for s, a in zip(view.seen, again, strict=True) if s.length and not s.from_initiator]
    assert not any(a for s, a in seen if s.epoch == 0)
    highest_old = max(s.end for s, _ in seen if s.epoch == 0)
    assert all(a == (s.seq < highest_old) for s, a in seen if s.epoch == 1)
    # Both orders occur in this trace, or it would not show anything.
    first = {(s.epoch, s.seq): s.time for s, _ in seen}
    assert {first[0, s.seq] < s.time for s, a in seen if a} == {True}
    assert any(s.time < first[0, highest_old - 1448] for s, a in seen if a)


def test_late_is_what_concerns_the_old_address_after_the_move() -> None:
    stream, moves = stream_of()
    view = view_of(stream)
    move = moves[0] - view.start
    flags = late(view, [move])
    chosen = [seen for seen, is_late in zip(view.seen, flags, strict=True) if is_late]
    assert len(chosen) == 22  # a full window of 32,120 bytes
    assert all(seen.epoch == 0 and seen.time > move for seen in chosen)


def test_without_a_move_the_migrate_syn_is_the_departure() -> None:
    view = view_of(stream_of()[0])
    syn = next(seen.time for seen in view.seen if seen.role == 5)
    assert departures(view, []) == [syn, float("inf")]
    assert sum(late(view, [])) == 21  # one segment fewer: it came between the move and the Migrate SYN


def test_each_move_ends_its_own_epoch() -> None:
    setting = Setting(addresses=("10.0.1.2", "10.0.2.2", "10.0.3.2"), move_after=(30_000, 60_000))
    stream, moves = stream_of(setting)
    view = view_of(stream)
    relative = [move - view.start for move in moves]
    assert departures(view, relative) == [*relative, float("inf")]


def test_nothing_is_late_without_a_migration() -> None:
    view = view_of(stream_of(Setting(move_after=()))[0])
    assert not any(late(view, []))
    assert not any(retransmitted(view))


def test_a_request_that_nobody_answers_leads_nowhere() -> None:
    """A Migrate SYN that comes behind a newer one: what goes to the newer one's address is not late."""
    setting = Setting(addresses=("10.0.1.2", "10.0.2.2", "10.0.3.2"), move_after=(30_000, 60_000))
    view = view_of(stream_of(setting)[0])
    syns = {seen.epoch: seen for seen in view.seen if seen.role == 5}
    unanswered = replace(view, seen=tuple(seen for seen in view.seen if seen.epoch < 2 or seen is syns[2]))
    assert departures(unanswered, []) == [syns[1].time, float("inf"), float("inf")]
    assert departures(view, []) == [syns[1].time, syns[2].time, float("inf")]
