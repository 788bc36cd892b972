from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from analysis.pictures.places import along, assign_rows, roomiest, thinned


@given(st.lists(st.tuples(st.floats(0, 900), st.floats(20, 200)), max_size=20))
def test_no_flag_covers_another_or_a_pole(places: list[tuple[float, float]]) -> None:
    rows = assign_rows(places, 3)
    shown = [(left, width, row) for (left, width), row in zip(places, rows, strict=True) if row is not None]
    for one in shown:
        for other in shown:
            if one is other:
                continue
            left, width, row = one
            # A pole reaches from the panel up to its own row.
            assert not (left < other[0] < left + width and other[2] >= row)
            assert row != other[2] or left + width <= other[0] or other[0] + other[1] <= left


def test_of_two_flags_that_would_touch_the_left_one_is_higher() -> None:
    assert assign_rows([(100, 60), (120, 180)], 3) == [1, 0]


def test_flags_with_room_share_the_lowest_row() -> None:
    assert assign_rows([(100, 60), (400, 180)], 3) == [0, 0]


def test_a_flag_without_room_is_left_out() -> None:
    assert assign_rows([(100, 60), (101, 60), (102, 60)], 2).count(None) == 1


def test_along_leaves_no_hole() -> None:
    points = along([(0, 0), (100, 0), (100, 42)], step=5)
    assert points[0] == (0, 0)
    assert points[-1] == (100, 42)
    assert all(abs(x1 - x0) + abs(y1 - y0) <= 5 for (x0, y0), (x1, y1) in pairwise(points))


def test_a_label_stands_where_nothing_is_drawn() -> None:
    wall = np.array(along([(500, 0), (500, 1000)]))
    _, (x, _) = roomiest(wall, wall, [(480, 500)], (140, 44), (0, 0, 1000, 1000))
    assert x + 70 < 500  # on the target's side of the wall, not on it


def test_a_label_stays_inside() -> None:
    _, (x, y) = roomiest(np.empty((0, 2)), np.empty((0, 2)), [(5, 5)], (140, 44), (0, 0, 1000, 1000))
    assert x >= 70
    assert y >= 22


def test_the_target_with_room_is_chosen() -> None:
    crowd = np.array([(x, y) for x in range(0, 500, 10) for y in range(0, 1000, 10)], dtype=float)
    index, _ = roomiest(crowd, crowd, [(200, 500), (800, 500)], (140, 44), (0, 0, 1000, 1000))
    assert index == 1


def test_thinning_keeps_what_stands_apart() -> None:
    assert thinned([(0, 0), (10, 0), (10, 10)], 6) == [0, 1, 2]
    assert thinned([(float(x), float(x)) for x in range(100)], 10) == list(range(0, 100, 10))
    assert thinned([], 6) == []


def test_the_arrow_does_not_cross_a_barrier_if_it_can_help_it() -> None:
    fence = np.array(along([(0, 480), (1000, 480)]))
    _, (_, y) = roomiest(np.empty((0, 2)), fence, [(500, 500)], (140, 44), (0, 0, 1000, 1000))
    assert y > 480
