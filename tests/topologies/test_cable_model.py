from __future__ import annotations

from itertools import pairwise

import pytest

from topologies.cable_model import SECOND, CableModel, Properties

MODEM = Properties(rate_bps=19_200, delay_s=0.05, queue_packets=100)
MS = SECOND // 1000


def frame(ip_bytes: int, mark: int = 0) -> bytes:
    """An Ethernet frame whose packet has that many bytes; nothing in it is TCP."""
    return bytes(12) + b"\x08\x06" + mark.to_bytes(4, "big") + bytes(ip_bytes - 4)


def cable(there: Properties = MODEM, back: Properties | None = None, seed: int = 0) -> CableModel:
    return CableModel(("base", "mobile"), (there, back or there), seed)


def outcome(model: CableModel, end: int = 0) -> list[tuple[int, int]]:
    """What came out: (time, mark)."""
    return [(moment, int.from_bytes(data[14:18], "big")) for moment, data in model.directions[end].due(1 << 62)]


def test_a_full_packet_takes_625_ms_on_the_modem_and_then_its_delay() -> None:
    model = cable()
    model.arrive(0, 1000, frame(1500))
    assert model.next_due() == 1000 + 625 * MS + 50 * MS


def test_the_ethernet_header_takes_no_time() -> None:
    assert MODEM.serialisation_ns(1500) == 625 * MS
    assert MODEM.serialisation_ns(40) == round(40 * 8 / 19_200 * SECOND)


def test_packets_follow_each_other_at_the_rate_without_drift() -> None:
    model = cable()
    for number in range(50):
        model.arrive(0, number, frame(1500, number))
    assert outcome(model) == [((number + 1) * 625 * MS + 50 * MS, number) for number in range(50)]


def test_an_idle_cable_starts_at_once() -> None:
    model = cable()
    model.arrive(0, 0, frame(1500))
    model.arrive(0, 2 * SECOND, frame(1500))
    assert [moment for moment, _ in outcome(model)] == [675 * MS, 2 * SECOND + 675 * MS]


def test_the_directions_are_independent_and_may_differ() -> None:
    model = cable(MODEM, Properties(rate_bps=38_400, delay_s=0.01))
    model.arrive(0, 0, frame(1500))
    model.arrive(1, 0, frame(1500))
    assert outcome(model, 0) == [(675 * MS, 0)]
    assert outcome(model, 1) == [(round(312.5 * MS) + 10 * MS, 0)]


def test_the_queue_drops_at_its_tail_and_the_packet_being_sent_does_not_count() -> None:
    model = cable(Properties(rate_bps=19_200, queue_packets=3))
    for number in range(6):
        model.arrive(0, 0, frame(1500, number))
    counters = model.directions[0].counters
    assert (counters.queue_drops, counters.longest_queue, counters.arrived) == (2, 3, 6)
    assert [mark for _, mark in outcome(model)] == [0, 1, 2, 3]


def test_the_queue_empties_as_packets_are_sent() -> None:
    model = cable(Properties(rate_bps=19_200, queue_packets=1))
    direction = model.directions[0]
    model.arrive(0, 0, frame(1500, 0))
    model.arrive(0, 0, frame(1500, 1))
    assert direction.waiting(624 * MS) == 1
    assert direction.waiting(625 * MS) == 0
    model.arrive(0, 626 * MS, frame(1500, 2))
    assert [mark for _, mark in outcome(model)] == [0, 1, 2]


def test_without_a_rate_only_the_delay_counts() -> None:
    model = cable(Properties(delay_s=0.02))
    for number in range(3):
        model.arrive(0, 5, frame(1500, number))
    assert outcome(model) == [(20 * MS + 5, 0), (20 * MS + 5, 1), (20 * MS + 5, 2)]


def survivors(seed: int, loss: float = 0.2, rules: tuple[str, ...] = (), count: int = 500) -> list[int]:
    model = cable(Properties(loss=loss), seed=seed)
    for rule in rules:
        model.rules.add(rule)
    for number in range(count):
        model.arrive(0, number, frame(100, number))
    return [mark for _, mark in outcome(model)]


def test_the_same_seed_gives_the_same_losses_and_another_gives_others() -> None:
    assert survivors(7) == survivors(7)
    assert survivors(7) != survivors(8)


def test_losses_are_as_frequent_as_declared() -> None:
    assert len(survivors(3, loss=0.2, count=20_000)) == pytest.approx(16_000, rel=0.02)


def test_the_two_directions_lose_different_packets() -> None:
    model = cable(Properties(loss=0.5), seed=1)
    for end in (0, 1):
        for number in range(64):
            model.arrive(end, number, frame(100, number))
    assert [mark for _, mark in outcome(model, 0)] != [mark for _, mark in outcome(model, 1)]


def test_a_scripted_loss_does_not_shift_the_random_ones() -> None:
    unscripted, scripted = survivors(5), survivors(5, rules=("drop any 1-10",))
    assert [mark for mark in unscripted if mark >= 10] == scripted


def test_a_lost_packet_has_taken_its_time_on_the_wire() -> None:
    model = cable()
    model.rules.add("drop any 1")
    model.arrive(0, 0, frame(1500, 0))
    model.arrive(0, 0, frame(1500, 1))
    assert outcome(model) == [(2 * 625 * MS + 50 * MS, 1)]
    assert model.directions[0].counters.scripted_losses == 1


def test_a_duplicate_comes_out_twice() -> None:
    model = cable()
    model.rules.add("duplicate any 2")
    for number in range(3):
        model.arrive(0, 0, frame(100, number))
    assert [mark for _, mark in outcome(model)] == [0, 1, 1, 2]
    assert model.directions[0].counters.duplicates == 1


def test_a_delayed_packet_is_overtaken() -> None:
    model = cable(Properties(delay_s=0.01))
    model.rules.add("delay any 1 by 30 ms")
    for number in range(3):
        model.arrive(0, number * MS, frame(100, number))
    assert [mark for _, mark in outcome(model)] == [1, 2, 0]
    assert model.directions[0].counters.delayed == 1


def test_only_what_is_due_comes_out() -> None:
    model = cable()
    model.arrive(0, 0, frame(1500))
    assert model.directions[0].due(675 * MS - 1) == []
    assert len(model.directions[0].due(675 * MS)) == 1
    assert model.next_due() is None


def test_new_properties_leave_packets_in_the_cable_alone() -> None:
    model = cable()
    model.arrive(0, 0, frame(1500, 0))
    model.directions[0].change(Properties(rate_bps=1_200_000, delay_s=0))
    model.arrive(0, 0, frame(1500, 1))
    assert sorted(outcome(model)) == [(635 * MS, 1), (675 * MS, 0)]


@pytest.mark.parametrize(
    ("wrong", "word"),
    [({"rate_bps": 0}, "rate"), ({"delay_s": -1}, "delay"), ({"queue_packets": 0}, "queue"), ({"loss": 1.5}, "loss")],
)
def test_impossible_properties_are_refused_in_a_sentence(wrong: dict[str, float], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        Properties(**wrong)  # type: ignore[arg-type]


def test_arrivals_in_time_order_never_come_out_before_they_went_in() -> None:
    model = cable(Properties(rate_bps=64_000, delay_s=0.003))
    for number in range(200):
        model.arrive(0, number * 3 * MS, frame(40 + number * 7, number))
    out = outcome(model)
    assert [mark for _, mark in out] == sorted(mark for _, mark in out)
    assert all(later - earlier > 0 for (earlier, _), (later, _) in pairwise(out))
    assert all(moment >= mark * 3 * MS + 3 * MS for moment, mark in out)


def test_the_ip_version_makes_no_difference() -> None:
    for kind in (b"\x08\x00", b"\x86\xdd"):
        model = cable()
        model.arrive(0, 0, bytes(12) + kind + bytes(1500))
        assert model.next_due() == 675 * MS
