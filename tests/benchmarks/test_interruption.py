"""The gaps of moves, on traces whose numbers are known."""

from __future__ import annotations

import pytest

from analysis.capture import ACK, SYN, Packet
from benchmarks import interruption
from benchmarks.interruption import Gap
from benchmarks.measurement import NotMeasured
from benchmarks.resume import first_arrivals
from migrate.core.options import Migrate
from tests.analysis import made_trace as made

SERVER, HERE = "10.0.100.2", ("10.0.1.2", "10.0.2.2", "10.0.1.2")
EPOCH = 1_700_000_000.0


def test_one_move_and_its_parts() -> None:
    """The trace of tests/analysis/test_measures.py: last new byte at 1.4 s, first at 2.0525 s."""
    packets = made.packets(made.make("mobile"), "mobile")
    (gap,) = interruption.gaps(packets, [made.EPOCH + 1.5])
    assert gap.whole == pytest.approx(0.6525, abs=1e-5)
    assert gap.before == pytest.approx(0.1, abs=1e-5)
    assert gap.answer == pytest.approx(0.1005, abs=1e-5)
    assert sum((gap.before, gap.notice, gap.answer, gap.rebind, gap.resume)) == pytest.approx(gap.whole, abs=1e-5)


def segment(at: float, place: int, *, up: bool, flags: int = ACK, seq: int, ack: int, length: int = 0) -> Packet:
    here, port = HERE[place], 40_000
    ends = (here, port, SERVER, 8080) if up else (SERVER, 8080, here, port)
    options = ((1, b""), (16, Migrate(False, place, bytes(8), bytes(8)).encode()[3:])) if flags == SYN and place else ()
    return Packet(0, EPOCH + at, "mobile", *ends, flags, seq, ack, 1000, length, options)


def two_moves() -> list[Packet]:
    """Bytes 1 to 1000 arrive; 1001 to 3000 fall out of the old link, to nobody, after the first move; they come again
    one by one, and between them the mobile moves once more."""
    return [
        segment(0.00, 0, up=True, flags=SYN, seq=0, ack=0),
        segment(0.10, 0, up=False, flags=SYN | ACK, seq=0, ack=1),
        segment(0.11, 0, up=True, seq=1, ack=1),
        segment(0.20, 0, up=False, seq=1, ack=1, length=1000),
        segment(0.32, 1, up=True, flags=SYN, seq=0, ack=0),
        segment(0.35, 0, up=False, seq=1001, ack=1, length=1000),
        segment(0.36, 0, up=False, seq=2001, ack=1, length=1000),
        segment(0.42, 1, up=False, flags=SYN | ACK, seq=0, ack=1),
        segment(0.43, 1, up=True, seq=1, ack=1001),
        segment(0.53, 1, up=False, seq=1001, ack=1, length=1000),
        segment(0.62, 2, up=True, flags=SYN, seq=0, ack=0),
        segment(0.72, 2, up=False, flags=SYN | ACK, seq=0, ack=1),
        segment(0.73, 2, up=True, seq=1, ack=2001),
        segment(0.83, 2, up=False, seq=2001, ack=1, length=1000),
    ]


def test_what_came_too_late_for_an_older_address_is_no_new_byte() -> None:
    first, second = interruption.gaps(two_moves(), [EPOCH + 0.3, EPOCH + 0.6])
    assert first.whole == pytest.approx(0.33, abs=1e-6)
    # Byte 2000 was seen at 0.35 s as well, but then nobody was there to receive it.
    assert second.before == pytest.approx(0.07, abs=1e-6)
    assert second.whole == pytest.approx(0.30, abs=1e-6)


@pytest.mark.parametrize(("packets", "changes", "sentence"), [
    (two_moves(), [1.0], "show 2 moves instead of 1"),
    (two_moves()[:4], [], "0 connections moved"),
])  # fmt: skip
def test_moves_that_are_not_all_there(packets: list[Packet], changes: list[float], sentence: str) -> None:
    with pytest.raises(NotMeasured, match=sentence):
        interruption.gaps(packets, changes)


def test_two_round_trips_are_the_protocols() -> None:
    gaps = [Gap(whole, 0.001, 0.002, 0.1005, 0.003, whole - 0.1065) for whole in (0.21, 0.22, 0.205)]
    trips = {interruption.SMALL_TRIP: 100.0, interruption.FULL_TRIP: 101.0}
    row = interruption.row("interruption_100ms_idle", gaps, trips | {"link late by at most ms": 0.5})
    assert row.values == pytest.approx([9.0, 19.0, 4.0])
    assert row.also["round trips, median"] == pytest.approx(2.1)
    assert row.also["to the SYN/ACK"] == pytest.approx(0.5)
    assert row.also["to the data"] == pytest.approx(2.5)
    assert row.also["link late by at most ms"] == 0.5


def test_a_connections_first_data_at_an_address() -> None:
    seen = [
        segment(0.1, 1, up=False, seq=1, ack=1),  # no data
        segment(0.2, 0, up=False, seq=1, ack=1, length=5),  # at another address
        segment(0.3, 1, up=True, seq=1, ack=1, length=5),  # the other way
        segment(0.4, 1, up=False, seq=1, ack=1, length=5),
        segment(0.5, 1, up=False, seq=6, ack=1, length=5),
    ]
    assert first_arrivals(seen, HERE[1]) == [EPOCH + 0.4]
