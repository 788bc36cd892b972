"""Sequence numbers on their circle."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.core import seq

numbers = st.integers(0, 2**32 - 1)
TOP = 2**32 - 1


@pytest.mark.parametrize(
    ("a", "b", "ahead"),
    [(5, 3, 2), (3, 5, -2), (0, TOP, 1), (TOP, 0, -1), (0, 0, 0), (2**31, 0, -(2**31)), (2**31 - 1, 0, 2**31 - 1)],
)
def test_differences(a: int, b: int, ahead: int) -> None:
    assert seq.diff(a, b) == ahead


@given(numbers, st.integers(-(2**31), 2**31 - 1))
def test_a_difference_is_what_was_added(a: int, n: int) -> None:
    assert 0 <= seq.add(a, n) <= TOP
    assert seq.diff(seq.add(a, n), a) == n


@given(numbers, st.integers(1, 2**31 - 1))
def test_order_on_either_side(a: int, n: int) -> None:
    later = seq.add(a, n)
    assert seq.lt(a, later)
    assert seq.leq(a, later)
    assert seq.gt(later, a)
    assert seq.geq(later, a)
    assert not seq.lt(later, a)
    assert not seq.leq(later, a)
    assert not seq.gt(a, later)
    assert not seq.geq(a, later)


@given(numbers)
def test_a_number_is_neither_before_nor_after_itself(a: int) -> None:
    assert seq.leq(a, a)
    assert seq.geq(a, a)
    assert not seq.lt(a, a)
    assert not seq.gt(a, a)


@given(numbers, st.integers(0, 2**31 - 1), st.integers(0, TOP))
def test_an_arc_holds_what_lies_on_it(low: int, length: int, step: int) -> None:
    assert seq.between(low, seq.add(low, step), seq.add(low, length)) == (step <= length)
