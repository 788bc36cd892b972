"""Datagrams of a group: what is forged, replayed, stale, or of an earlier start is refused; what is in time is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.failover.seal import MAX_AGE_MS, NotOurs, Opener, Sealer, check_key

KEY, NOW = b"k" * 16, 1_700_000_000_000


def test_what_a_member_says_is_read_once() -> None:
    sealer, opener = Sealer(KEY, "sA", NOW), Opener(KEY)
    datagram = sealer.seal(b"hello", NOW)
    opened = opener.open(datagram, NOW + 5)
    assert (opened.sender, opened.boot, opened.body) == ("sA", sealer.boot, b"hello")
    with pytest.raises(NotOurs, match="has come before"):
        opener.open(datagram, NOW + 6)
    assert b"hello" not in datagram


def test_another_key_is_refused_both_ways() -> None:
    with pytest.raises(NotOurs, match="not sealed with this group's key"):
        Opener(b"x" * 16).open(Sealer(KEY, "sA", NOW).seal(b"", NOW), NOW)
    with pytest.raises(ValueError, match="at least 16 bytes"):
        check_key(b"short")


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_not_one_bit_can_be_changed(at: int, change: int) -> None:
    datagram = bytearray(Sealer(KEY, "sA", NOW).seal(b"hello", NOW))
    datagram[at % len(datagram)] ^= change
    opener = Opener(KEY)
    if change:
        with pytest.raises(NotOurs):
            opener.open(bytes(datagram), NOW)
    else:
        opener.open(bytes(datagram), NOW)


@given(st.binary(max_size=200))
def test_noise_is_refused(noise: bytes) -> None:
    with pytest.raises(NotOurs):
        Opener(KEY).open(noise, NOW)
    with pytest.raises(NotOurs):
        Opener(KEY).open(b"MW" + noise, NOW)


@pytest.mark.parametrize("late", [-MAX_AGE_MS - 1, MAX_AGE_MS + 1])
def test_stale_ones_are_refused(late: int) -> None:
    datagram = Sealer(KEY, "sA", NOW).seal(b"", NOW)
    with pytest.raises(NotOurs, match="sA is stale: its clock differs by 30 s"):
        Opener(KEY).open(datagram, NOW + late)


def test_an_earlier_start_of_the_sender_is_over() -> None:
    old, new, opener = Sealer(KEY, "sA", NOW), Sealer(KEY, "sA", NOW + 10), Opener(KEY)
    opener.open(old.seal(b"1", NOW), NOW)
    kept = old.seal(b"2", NOW)
    opener.open(new.seal(b"3", NOW), NOW)
    with pytest.raises(NotOurs, match="earlier start"):
        opener.open(kept, NOW)
    assert opener.open(new.seal(b"4", NOW), NOW).body == b"4"


@given(st.permutations(range(12)), st.lists(st.integers(0, 11)))
def test_any_order_once_each(order: list[int], again: list[int]) -> None:
    sealer, opener = Sealer(KEY, "sA", NOW), Opener(KEY)
    datagrams = [sealer.seal(bytes([number]), NOW) for number in range(12)]
    assert [opener.open(datagrams[number], NOW).body[0] for number in order] == list(order)
    for number in again:
        with pytest.raises(NotOurs, match="has come before"):
            opener.open(datagrams[number], NOW)


def test_far_behind_is_refused() -> None:
    sealer, opener = Sealer(KEY, "sA", NOW), Opener(KEY)
    first = sealer.seal(b"", NOW)
    for _ in range(4096):
        last = sealer.seal(b"", NOW)
    opener.open(last, NOW)
    with pytest.raises(NotOurs, match="has come before"):
        opener.open(first, NOW)
