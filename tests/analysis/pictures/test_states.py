"""The picture of a connection's states: its data from events and packets, and that it can be drawn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from analysis.capture import ACK, RST, SYN, Packet
from analysis.daemon_events import Told
from analysis.pictures.states import draw_states
from analysis.pictures.states_data import Arrow, Moment, Span, StatesData, arrows, build, spans
from tests.analysis import made_trace as made

OLD, NEW, SERVER = made.OLD4, made.NEW4, made.SERVER4
OWNERS = {OLD: [(0.0, "mobile"), (103.0, "stranger")], NEW: [(0.0, "mobile")], SERVER: [(0.0, "server")]}


def told(time: float, state: str, connection: str = "c") -> Told:
    return Told(time, connection, state, "event", "", (SERVER, 80), (OLD, 40000))


def packet(time: float, src: str, dst: str, flags: int, vantage: str, **other: int) -> Packet:
    ports = (80, 40000) if src == SERVER else (40000, 80)
    bare = Packet(1, time, vantage, src, ports[0], dst, ports[1], flags, 1, 1, 0, 0, ())
    return replace(bare, **other)  # type: ignore[arg-type]


def migrate_syn(time: float, vantage: str) -> Packet:
    row = next(row for row in made.make("mobile") if row.tag == "5")
    return replace(row.packet(1, vantage), time=time, src=NEW, dst=SERVER)


def test_states_last_until_the_next() -> None:
    events = [
        told(101, "MIGRATE_WAIT"),
        told(102, "MIGRATE_WAIT"),
        told(103, "SYN_RCVD"),
        told(103.5, "CLOSED", "other"),
    ]
    assert spans(events, "c", 100, 104) == (
        Span(0, 1, "ESTABLISHED"),
        Span(1, 3, "MIGRATE_WAIT"),
        Span(3, 4, "SYN_RCVD"),
    )


def test_what_was_before_counts_and_what_comes_later_does_not() -> None:
    events = [told(99, "SUSPENDED"), told(105, "CLOSED")]
    assert spans(events, "c", 100, 104) == (Span(0, 4, "SUSPENDED"),)
    assert spans([], "c", 100, 104) == (Span(0, 4, "ESTABLISHED"),)


def test_arrows_join_what_both_ends_saw() -> None:
    six = packet(101.05, SERVER, NEW, SYN | ACK, "server")
    seven = packet(101.12, NEW, SERVER, ACK, "mobile")
    captures = {
        "mobile": [migrate_syn(101, "mobile"), replace(six, time=101.1, vantage="mobile"), seven],
        "server": [migrate_syn(101.04, "server"), six],
    }
    found = [arrow for arrow, _ in arrows(captures, OWNERS, [NEW])]
    assert found == [
        Arrow("mobile", 101, "server", 101.04, "5"),
        Arrow("server", 101.05, "mobile", 101.1, "6"),
        Arrow("mobile", 101.12, "server", None, "7"),
    ]


def test_only_the_first_ack_behind_6_is_a_7() -> None:
    six = packet(101.05, SERVER, NEW, SYN | ACK, "server")
    acks = [packet(time, NEW, SERVER, ACK, "mobile", ack=ack) for time, ack in ((101, 1), (101.12, 2), (101.2, 3))]
    found = [arrow for arrow, _ in arrows({"mobile": acks, "server": [six]}, OWNERS, [NEW])]
    assert [(arrow.kind, arrow.start) for arrow in found] == [("6", 101.05), ("7", 101.12)]


def test_an_address_is_whose_it_is_at_that_time() -> None:
    """The same RST, from the mobile before and from the stranger afterwards."""
    resets = {
        "mobile": [packet(102, OLD, SERVER, RST, "mobile")],
        "stranger": [packet(104, OLD, SERVER, RST, "stranger")],
        "server": [packet(time, OLD, SERVER, RST, "server") for time in (102.1, 104.1)],
    }
    found = [arrow for arrow, _ in arrows(resets, OWNERS, [NEW])]
    assert found == [Arrow("mobile", 102, "server", 102.1, "RST"), Arrow("stranger", 104, "server", 104.1, "RST")]


def data() -> StatesData:
    lanes = {"server": (Span(0, 2, "ESTABLISHED"), Span(2, 4, "MIGRATE_WAIT")), "mobile": (Span(0, 4, "SUSPENDED"),)}
    moving = [Arrow("mobile", 101, "server", 101.5, "5"), Arrow("server", 102, "mobile", None, "6")]
    moments = [Moment(103, "mobile", "address lost"), Moment(99, "mobile", "too early")]
    return build(lanes, {"server": [100.5, 99.0, 103.0]}, moving, moments, 100, 104)


def test_times_count_from_the_beginning() -> None:
    built = data()
    assert built.lanes[0].sent == (0.5, 3.0)
    assert built.arrows == (Arrow("mobile", 1, "server", 1.5, "5"), Arrow("server", 2, "mobile", None, "6"))
    assert built.moments == (Moment(3, "mobile", "address lost"),)
    assert built.end == 4


def test_what_happens_often_is_told_once(tmp_path: Path) -> None:
    moments = tuple(Moment(n / 10, "mobile", "", "the mobile moves") for n in range(20))
    path = tmp_path / "states.svg"
    draw_states(replace(data(), moments=moments), path)
    assert path.read_text().count("the mobile moves") == 1


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_it_can_be_drawn(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"states{suffix}"
    draw_states(data(), path, title="a title")
    assert path.stat().st_size > 5000
    if suffix == ".svg":
        text = path.read_text()
        for word in ("MIGRATE_WAIT", "SUSPENDED", "address lost", "a title", "lost"):
            assert word in text


def test_what_cannot_be_drawn_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\.png or \.svg"):
        draw_states(data(), tmp_path / "states.gif")
    with pytest.raises(ValueError, match="no lane"):
        draw_states(StatesData((), (), (), 1.0), tmp_path / "states.png")
