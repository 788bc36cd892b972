"""Data beyond a hole, as bytes and segments: no kernel in it."""

from __future__ import annotations

import socket
from dataclasses import replace
from ipaddress import ip_address
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.core import FourTuple, sack_blocks, seq
from migrate.linux import resend
from migrate.linux.beyond import merged
from migrate.linux.repair import Checkpoint

NEW = FourTuple(ip_address("10.0.0.2"), 40000, ip_address("10.0.0.1"), 80)
UNA, RCV = 2**32 - 5_000, 2**32 - 3_000  # both wrap


def image(**other: object) -> Checkpoint:
    made = Checkpoint(
        family=socket.AF_INET, local=("10.0.0.2", 40000), remote=("10.0.0.1", 80), state=1, snd_una=UNA, rcv_nxt=RCV,
        send_data=bytes(range(256)) * 40, recv_data=b"", snd_wl1=RCV, snd_wnd=30_000, max_window=30_000,
        rcv_wnd=20_000, rcv_wup=RCV, mss_clamp=1448, options=0b111, snd_wscale=2, rcv_wscale=3, timestamp=77,
        reuse_address=0, window_clamp=0, send_buffer=0, buffer_locks=0,
    )  # fmt: skip
    return replace(made, **other)  # type: ignore[arg-type]


def at(start: int, *ranges: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    return tuple((seq.add(start, first), seq.add(start, last)) for first, last in ranges)


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(1, 40)), max_size=12), st.integers(0, 2**32 - 1))
def test_pieces_in_any_order_make_each_byte_once(ranges: list[tuple[int, int]], start: int) -> None:
    stream = bytes(number % 251 for number in range(400))
    pieces = [(seq.add(start, first), stream[first : first + count]) for first, count in ranges]
    there = {at for first, count in ranges for at in range(first, first + count)}
    result = [(seq.diff(number, start), data) for number, data in merged(pieces)]
    assert all(data == stream[first : first + len(data)] for first, data in result)
    assert {at for first, data in result for at in range(first, first + len(data))} == there
    assert sum(len(data) for _, data in result) == len(there)
    assert all(one[0] + len(one[1]) < other[0] for one, other in pairwise(result))


def test_only_what_is_beyond_a_hole_and_inside_the_window_is_kept() -> None:
    pieces = [(seq.add(RCV, offset), bytes(1000)) for offset in (-2000, -500, 0, 1, 5000, 19_900, 20_000)]
    kept = [(seq.diff(number, RCV), len(data)) for number, data in resend.held(pieces, image())]
    assert kept == [(1, 1000), (5000, 1000), (19_900, 100)]
    assert resend.held(pieces, image(options=0b101)) == [], "a peer without SACK is not told"


@pytest.mark.parametrize(("options", "room"), [(0b111, 3), (0b110, 4)])
def test_7_names_the_highest_block_and_the_lowest(options: int, room: int) -> None:
    held = [(seq.add(RCV, offset), bytes(100)) for offset in range(1000, 7000, 1000)]
    seven = resend.third_segment(NEW, image(options=options, beyond=held), 55)
    found = [(seq.diff(a, RCV), seq.diff(b, RCV)) for a, b in sack_blocks(seven.options)]
    assert found == [(6000, 6100), *((first, first + 100) for first in range(1000, 1000 * room, 1000))]
    assert (seven.seq, seven.ack, seven.payload) == (UNA, RCV, b"")
    assert len(seven.options) <= 40


def test_7_names_all_blocks_where_there_is_room() -> None:
    held = [(seq.add(RCV, 1000), bytes(100)), (seq.add(RCV, 2000), bytes(300))]
    seven = resend.third_segment(NEW, image(beyond=held))
    assert {(seq.diff(a, RCV), seq.diff(b, RCV)) for a, b in sack_blocks(seven.options)} == {(1000, 1100), (2000, 2300)}


def test_7_without_data_beyond_a_hole_has_no_blocks() -> None:
    assert sack_blocks(resend.third_segment(NEW, image()).options) == ()


def test_what_is_fed_back_is_what_was_held() -> None:
    held = [(seq.add(RCV, 1000), bytes(range(250)) * 100), (seq.add(RCV, 30_000), b"x")]
    segments = resend.beyond(NEW, image(beyond=held))
    assert merged([(one.seq, one.payload) for one in segments]) == held
    assert [seq.diff(one.seq, RCV) for one in segments] == sorted(seq.diff(one.seq, RCV) for one in segments)
    for one in segments:
        assert (one.src, one.sport, one.dst, one.dport) == (NEW.remote_ip, 80, NEW.local_ip, 40000)
        assert (one.ack, one.window << 2, one.options) == (UNA, 30_000, b"")
        assert len(one.payload) <= 14_480


@pytest.mark.parametrize(
    ("ranges", "stretches"),
    [
        ([], []),
        ([(100, 200)], [(0, 100, False), (100, 200, True)]),
        ([(100, 200), (300, 400)], [(0, 100, False), (100, 200, True), (200, 300, False), (300, 400, True)]),
        ([(100, 10_240)], [(0, 100, False), (100, 10_240, True)]),
        ([(100, 10_241)], []),  # more than there is
        ([(100, 200), (150, 300)], [(0, 100, False), (100, 200, True)]),
        ([(-10, 200)], []),
    ],
)
def test_holes_and_blocks(ranges: list[tuple[int, int]], stretches: list[tuple[int, int, bool]]) -> None:
    found = resend.stretches(image(sacked=at(UNA, *ranges)))
    assert [(first, last, block is not None) for first, last, block in found] == stretches
