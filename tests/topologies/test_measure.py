from __future__ import annotations

import re
import time
from dataclasses import replace

import pytest

from tests.topologies.inside import in_sandbox
from tests.topologies.pair import pair
from topologies.cable_model import Properties
from topologies.links import Cable, Veth
from topologies.measure import Declared, LinkNotAsDeclared, Measured, compare, measure
from topologies.nodes import Host

MODEM = Properties(rate_bps=19_200, delay_s=0.05)
DECLARED = Declared.of(MODEM, MODEM)
MEASURED = Measured(0.1705, 1.3510, 19_190.0, 19_205.0)


def test_what_is_declared_of_a_modem() -> None:
    assert DECLARED.small_round_trip_s == pytest.approx(0.17)
    assert DECLARED.full_round_trip_s == pytest.approx(1.35)
    assert (DECLARED.there_bps, DECLARED.back_bps) == (19_200, 19_200)


def test_directions_may_differ() -> None:
    declared = Declared.of(MODEM, Properties(delay_s=0.1))
    assert declared.full_round_trip_s == pytest.approx(0.775)
    assert declared.back_bps is None


def test_what_is_as_declared_passes() -> None:
    compare("a to b", DECLARED, MEASURED)


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ({"small_round_trip_s": 0.190}, "round trip of small packets 190.0 ms instead of 170.0 ms"),
        ({"small_round_trip_s": 0.020}, "round trip of small packets 20.0 ms instead of 170.0 ms"),
        ({"full_round_trip_s": 0.675}, "round trip of full packets 675.0 ms instead of 1350.0 ms"),
        ({"there_bps": 38_400.0}, "rate there 38,400 bit/s instead of 19,200 bit/s"),
        ({"back_bps": 17_000.0}, "rate back 17,000 bit/s instead of 19,200 bit/s"),
    ],
)
def test_each_fault_is_named_with_both_values(fault: dict[str, float], sentence: str) -> None:
    with pytest.raises(LinkNotAsDeclared, match=f"^base to mobile: {sentence};"):
        compare("base to mobile", DECLARED, replace(MEASURED, **fault))


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(LinkNotAsDeclared, match="round trip of small .* round trip of full .* rate there .* rate back"):
        compare("a to b", DECLARED, Measured(0, 0, 1, 1))


def test_a_fast_link_is_not_measured_beyond_what_the_probe_sends() -> None:
    ethernet = Properties(rate_bps=100_000_000)
    declared = Declared.of(ethernet, ethernet)
    slow_machine = Measured(0.0001, 0.0003, 39e6, 41e6, there_offered_bps=40e6, back_offered_bps=40e6)
    compare("a to b", declared, slow_machine)
    with pytest.raises(LinkNotAsDeclared, match="rate there 30,000,000"):
        compare("a to b", declared, replace(slow_machine, there_bps=30e6))
    with pytest.raises(LinkNotAsDeclared, match="rate there 120,000,000"):
        compare("a to b", declared, replace(slow_machine, there_bps=120e6))


def test_of_two_measurements_the_best_of_each_value_counts() -> None:
    one = Measured(0.2, 1.5, 19_000.0, 48_000.0, there_offered_bps=40e3, back_offered_bps=50e3)
    two = Measured(0.1, 1.6, 18_500.0, 19_100.0, there_offered_bps=60e3, back_offered_bps=70e3)
    best = Measured(0.1, 1.5, 19_000.0, 19_100.0, 40e3, 70e3)
    assert one.or_better(two, DECLARED) == two.or_better(one, DECLARED) == best


def test_a_rate_that_is_not_declared_is_not_checked() -> None:
    anything = Properties(delay_s=0.01)
    compare("a to b", Declared.of(anything, anything), Measured(0.02, 0.0201, 3e9, 1e6))


def measured(one: Host, one_address: str, two: Host, two_address: str, declared: Declared) -> Measured:
    """By one that could offer the link what it can carry, as who stands still meanwhile cannot."""
    for _ in range(3):
        found = measure(one, one_address, two, two_address, declared)
        if found.there_offered_bps > (declared.there_bps or 0) and found.back_offered_bps > (declared.back_bps or 0):
            break
    return found


def found_out(sentence: str, one: Host, two: Host, declared: Declared) -> None:
    """By one of three measurements: if the cable stands still, the rate that is measured is another."""
    said: list[str] = []
    while not said or (not re.search(sentence, said[-1]) and len(said) < 3):
        with pytest.raises(LinkNotAsDeclared) as wrong:
            measure(one, "10.0.0.1", two, "10.0.0.2", declared, tries=1)
        said.append(str(wrong.value))
    assert re.search(sentence, said[-1]), said


@in_sandbox
def test_cables_are_measured_as_declared_and_faults_are_found() -> None:
    spec = Cable(rate_bps=2_000_000, delay_s=0.03, reverse=Properties(rate_bps=8_000_000, delay_s=0.01))
    right = Declared.of(spec.there, spec.back)
    with pair(spec) as (one, two, link):
        for addresses in (("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")):
            found = measured(one, addresses[0], two, addresses[1], right)
            assert found.there_bps == pytest.approx(2_000_000, rel=0.05)
            assert found.back_bps == pytest.approx(8_000_000, rel=0.05)
            assert 0.04 < found.small_round_trip_s < 0.05
            assert found.full_round_trip_s == pytest.approx(0.0475, abs=0.0075)
        # The path does something else than was declared.
        link.set_properties(replace(spec.there, rate_bps=1_500_000), spec.back)
        found_out(r"rate there 1,[45]\d\d,... bit/s instead of 2,000,000 bit/s", one, two, right)
        link.set_properties(replace(spec.there, delay_s=0.08), spec.back)
        found_out("round trip of small packets 9.* ms instead of 40.4 ms", one, two, right)


@in_sandbox
def test_a_lossy_cable_can_be_measured() -> None:
    spec = Cable(rate_bps=2_000_000, delay_s=0.01, loss=0.15, seed=3)
    with pair(spec) as (one, two, link):
        found = measured(one, "10.0.0.1", two, "10.0.0.2", Declared.of(spec.there, spec.back))
        assert found.there_bps == pytest.approx(2_000_000, rel=0.05)
        assert link.state()["toward"]["two"]["random_losses"] > 0


@in_sandbox
def test_what_goes_wrong_once_is_measured_again() -> None:
    spec = Cable(rate_bps=2_000_000, losses=["delay any 1-6 by 30 ms"])
    declared = Declared.of(spec.there, spec.back)
    with pair(spec) as (one, two, link):
        measure(one, "10.0.0.1", two, "10.0.0.2", declared)
        link.clear_rules()
        link.add_rule("delay any 1-6 by 30 ms")
        with pytest.raises(LinkNotAsDeclared, match="round trip of small packets 6.* ms instead of 0.7 ms"):
            measure(one, "10.0.0.1", two, "10.0.0.2", declared, tries=1)


@in_sandbox
def test_a_rate_that_was_too_high_once_is_measured_again() -> None:
    """What a cable that stands still for a moment lets out afterwards follows too closely."""
    spec = Cable(rate_bps=2_000_000, losses=["delay any 40-50 by 100 ms"])  # in the middle of the train
    declared = Declared.of(spec.there, spec.back)
    with pair(spec) as (one, two, link):
        measure(one, "10.0.0.1", two, "10.0.0.2", declared)
        link.clear_rules()
        link.add_rule(spec.losses[0])
        with pytest.raises(LinkNotAsDeclared, match="rate there [3-9],"):
            measure(one, "10.0.0.1", two, "10.0.0.2", declared, tries=1)


@in_sandbox
def test_an_unshaped_link_is_found_out() -> None:
    """What Mininet's TCLink leaves behind on a kernel without netem."""
    with pair(Veth()) as (one, two, _):
        with pytest.raises(LinkNotAsDeclared, match="instead of 170.0 ms.* instead of 19,200 bit/s"):
            measure(one, "10.0.0.1", two, "10.0.0.2", DECLARED)


@in_sandbox
def test_a_link_that_is_far_too_slow_is_found_out_in_a_few_seconds() -> None:
    with pair(Cable(rate_bps=50_000)) as (one, two, _):
        fast = Properties(rate_bps=100_000_000)
        start = time.monotonic()
        found_out("rate there [45].,... bit/s instead of 100,000,000 bit/s", one, two, Declared.of(fast, fast))
        assert time.monotonic() - start < 60, "three minutes, if the whole train is sent"


@in_sandbox
def test_a_path_on_which_nothing_arrives() -> None:
    with pair(Cable(losses=["drop any"])) as (one, two, _):
        nothing = Properties()
        with pytest.raises(LinkNotAsDeclared, match=r"5 packets of 84 bytes were sent and none arrived"):
            measure(one, "10.0.0.1", two, "10.0.0.2", Declared.of(nothing, nothing), patience=0.2, tries=1)
