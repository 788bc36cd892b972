"""A checkpoint's numbers with FINs in them; no kernel is asked."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from migrate.core import TcpState
from migrate.linux.repair import CannotCarry, Checkpoint


def image(state: TcpState, data: bytes = b"", **more: Any) -> Checkpoint:
    """snd_una is 1000, rcv_nxt 5000; no window scaling."""
    return Checkpoint(
        socket.AF_INET, ("10.0.0.1", 1), ("10.0.0.2", 2), state, 1000, 5000, data, b"",
        snd_wl1=5000, snd_wnd=100, max_window=100, rcv_wnd=200, rcv_wup=5000, mss_clamp=1460, options=0, snd_wscale=0,
        rcv_wscale=0, timestamp=0, reuse_address=0, window_clamp=0, send_buffer=0, buffer_locks=0, **more,
    )  # fmt: skip


def test_without_fins_the_queues_begin_and_end_where_the_numbers_say() -> None:
    here = image(TcpState.ESTABLISHED, b"abc")
    assert (here.send_start, here.recv_end) == (1000, 5000)


@pytest.mark.parametrize(
    ("state", "end"), [(TcpState.CLOSE_WAIT, 4999), (TcpState.LAST_ACK, 4999), (TcpState.FIN_WAIT2, 5000)]
)
def test_the_peers_fin_is_taken_off_the_receive_queue(state: TcpState, end: int) -> None:
    assert image(state).recv_end == end


def test_a_fin_that_was_acknowledged_is_taken_off_the_send_queue() -> None:
    assert image(TcpState.FIN_WAIT2, fin_acknowledged=True).send_start == 999
    assert image(TcpState.FIN_WAIT1).send_start == 1000


@pytest.mark.parametrize(
    ("ack", "left", "fin"),
    [(1000, b"abc", False), (1002, b"c", False), (1003, b"", False), (1004, b"", True)],
)
def test_an_ack_may_cover_the_fin_behind_the_data(ack: int, left: bytes, fin: bool) -> None:
    here = image(TcpState.FIN_WAIT1, b"abc")
    here.acknowledge(ack, 100, scaled=True)
    assert (here.snd_una, here.send_data, here.fin_acknowledged) == (ack, left, fin)
    assert here.send_start == ack - fin


@pytest.mark.parametrize(
    ("state", "ack", "fin"),
    [
        (TcpState.FIN_WAIT1, 1005, False),
        (TcpState.ESTABLISHED, 1004, False),
        (TcpState.CLOSE_WAIT, 1004, False),
        (TcpState.FIN_WAIT1, 999, False),
        (TcpState.FIN_WAIT2, 1004, True),
    ],
)
def test_an_ack_beyond_it_is_refused(state: TcpState, ack: int, fin: bool) -> None:
    with pytest.raises(CannotCarry):
        image(state, b"abc", fin_acknowledged=fin).acknowledge(ack, 100, scaled=True)


@pytest.mark.parametrize(
    ("window", "scaled", "expected"),
    [
        (30, True, 120),
        (0, True, 0),
        (500, False, 500),  # wider than it was, and not scaled
        (0, False, 60),  # what was offered stays offered, but does not reach farther
    ],
)
def test_the_peers_window(window: int, scaled: bool, expected: int) -> None:
    here = image(TcpState.ESTABLISHED, b"a" * 60)
    here.options, here.snd_wscale = 4, 2
    here.acknowledge(1040, window, scaled)
    assert (here.snd_wnd, here.max_window) == (expected, max(100, expected))
