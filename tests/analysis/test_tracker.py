"""What a vantage point can know of snd_una, snd_nxt, rcv_nxt and the window."""

from __future__ import annotations

import pytest

from analysis.diagram.tracker import Possible, Tracker
from analysis.stream import Stream, join
from tests.analysis import made_trace as made
from tests.analysis.made_trace import Setting


def before(tag: str, vantage: str, setting: Setting | None = None) -> Tracker:
    """The tracker as it stands just before the first row of a tag."""
    rows = made.make(vantage, setting)
    at = next(index for index, row in enumerate(rows) if row.tag == tag)
    (stream,) = join(made.packets(rows, vantage))
    tracker = Tracker(stream, vantage == "mobile")
    for segment in stream.segments[:at]:
        tracker.observe(segment)
    return tracker


def exactly(value: int) -> Possible:
    return Possible.exactly(value)


def test_possible_values() -> None:
    some = Possible(((3, 3), (7, 9)))
    for comparison, true, false in [
        ("=", (3, 7, 8), (4, 10)),
        ("!=", (3, 8, 5), ()),
        ("<=", (9, 1), (10,)),
        ("<", (8,), (9,)),
        (">=", (3, 99), (2,)),
        (">", (4,), (3,)),
    ]:
        assert all(some.holds(value, comparison) for value in true), comparison
        assert not any(some.holds(value, comparison) for value in false), comparison
    assert not exactly(5).holds(5, "!=")
    assert some.plus(exactly(10)) == Possible(((13, 13), (17, 19)))
    assert exactly(10).plus(some, -1) == Possible(((1, 3), (7, 7)))
    assert str(some) == "3 or 7 to 9"
    assert str(Possible(tuple((n, n) for n in range(6)))) == "0 or 1 or ... or 5"
    assert str(some.bound("<=")) == "9"
    assert str(some.bound(">")) == "3"


def test_at_the_mobile_before_its_syn() -> None:
    tracker = before("5", "mobile")
    assert tracker.snd_nxt(True) == tracker.snd_una(True) == exactly(121)
    # It has acknowledged 12 packets. The 13th came at once afterwards, so it may have been received without an
    # acknowledgement; those within half a second of it, too.
    assert tracker.rcv_nxt(True) == Possible(tuple((n, n) for n in (12_001, 13_001, 14_001, 15_001)))
    assert tracker.snd_nxt(False) == exactly(15_001)
    assert tracker.rcv_nxt(False) == exactly(121)
    assert tracker.snd_una(False).holds(12_001, "=")
    assert not tracker.snd_una(False).holds(12_002, "=")
    assert not tracker.snd_una(False).holds(0, "=")


def test_on_a_slow_line_at_most_one_packet_is_in_doubt() -> None:
    tracker = before("5", "mobile", Setting(packet_time=0.6, away=3.0))
    assert tracker.rcv_nxt(True) == Possible(((12_001, 12_001), (13_001, 13_001)))


def test_at_the_mobile_after_the_handshake() -> None:
    tracker = before("8", "mobile")
    # Buffered packets have gone on arriving at the old address; they change nothing.
    assert tracker.rcv_nxt(True) == exactly(12_001)
    assert tracker.snd_nxt(False) == tracker.snd_una(False) == exactly(12_001)


def test_at_the_server() -> None:
    tracker = before("6", "server", Setting(in_flight=50))
    assert tracker.rcv_nxt(False) == exactly(171)
    assert tracker.snd_una(False) == exactly(12_001)
    assert tracker.snd_nxt(False) == exactly(20_001)
    # Of the mobile it knows only what it has told it, and what it has heard of it.
    assert tracker.snd_una(True).holds(121, "=")
    assert tracker.rcv_nxt(True) == Possible(((12_001, 20_001),))
    tracker = before("8", "server")
    assert tracker.snd_nxt(False) == exactly(12_001)


def test_the_windows_edge() -> None:
    tracker = before("5", "mobile")
    assert tracker.edge(True, {0}) == exactly(12_001 + (8192 << made.SHIFT))
    assert tracker.edge(True, {1}) is None


def test_out_of_order_data_counts_when_the_hole_is_filled() -> None:
    rows = made.make("server", Setting(in_flight=50))
    late = next(row for row in rows if row.tag == "late-request")
    stream = _stream([row for row in rows if row is not late][:30], "server")
    tracker = Tracker(stream, False)
    for segment in stream.segments:
        tracker.observe(segment)
    assert tracker.rcv_nxt(False) == exactly(121)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (1, 2, 1, 0)])
def test_any_order_of_arrival_gives_the_same_rcv_nxt(order: tuple[int, ...]) -> None:
    rows = made.make("mobile")
    head = [row for row in rows if row.time <= 0.2]
    data = [row for row in rows if row.tag == "data"][:3]
    for number, index in enumerate(order):
        head.append(_at(data[index], 0.3 + number / 10))
    stream = _stream(head, "mobile")
    tracker = Tracker(stream, True)
    for segment in stream.segments:
        tracker.observe(segment)
    assert tracker.rcv_nxt(True) == exactly(3001)


def _at(row: made.Row, time: float) -> made.Row:
    return made.Row(**{**{name: getattr(row, name) for name in made.Row.__dataclass_fields__}, "time": time})


def _stream(rows: list[made.Row], vantage: str) -> Stream:
    (stream,) = join(made.packets(rows, vantage))
    return stream
