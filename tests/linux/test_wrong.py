"""The tests of half-closed connections and of closed sockets see each mistake of `wrong.py`."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from migrate.core import TcpState
from tests.linux import lab, wire
from tests.linux.test_halves import MORE, Pair, fins, halves
from tests.linux.test_orphans import orphan
from tests.topologies.inside import in_sandbox

SOON = 4.0
"""Seconds: more than the first retransmission of a FIN takes."""


def wrong(fault: str) -> Iterator[Pair]:
    """One connection between hosts whose daemons make this mistake."""
    os.environ["FAULT"] = fault
    for version, place, talkers in halves("tests.linux.wrong", versions=[4]):
        yield Pair(place, talkers, version)
    lab.clear()


def behind_data(pair: Pair) -> None:
    pair.client("fill", pair.number, MORE)
    pair.client("shutdown", pair.number)
    pair.come_to(TcpState.FIN_WAIT1, TcpState.ESTABLISHED)
    pair.move("one", 11)
    pair.come_to(TcpState.FIN_WAIT1, TcpState.ESTABLISHED, SOON)


def half_closed(pair: Pair) -> None:
    pair.client("shutdown", pair.number)
    pair.come_to(TcpState.FIN_WAIT2, TcpState.CLOSE_WAIT)
    with wire.captured(pair.place.one) as seen:
        pair.move("one", 11)
        pair.come_to(TcpState.FIN_WAIT2, TcpState.CLOSE_WAIT, SOON)
        time.sleep(SOON / 4)
    assert not fins([one.segment for one in seen]), "a FIN that the peer has was sent again"
    pair.server("send", pair.number, 1000)
    pair.client.start("receive", pair.number, 1000)
    assert pair.client.answer(SOON) == "right"


@in_sandbox
def test_each_mistake_is_seen() -> None:
    for fault, story in (
        ("fin_forgotten", behind_data),
        ("fin_counted_twice", half_closed),
        ("fin_not_fed_back", half_closed),
        ("fin_in_the_data", half_closed),
    ):
        for pair in wrong(fault):
            with pytest.raises(AssertionError):
                story(pair)


@in_sandbox
def test_without_a_mistake_nothing_is_seen() -> None:
    for story in (behind_data, half_closed):
        for pair in wrong("nothing"):
            story(pair)


@in_sandbox
def test_data_of_a_closed_socket_that_is_dropped_is_seen() -> None:
    for pair in wrong("orphan_without_its_data"):
        count = orphan(pair)
        pair.move("one", 11)
        said = pair.client("receive", pair.number, count)
        assert "ends after" in said, said
