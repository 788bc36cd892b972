"""A daemon that stood still itself has still tried: what it feeds to the kernel it feeds once, and what it waits for it
looks at once more, however late it is."""

from __future__ import annotations

import asyncio
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest

from migrate.core import ACK, FIN, FourTuple, Segment, TcpState
from migrate.daemon.control import RequestError
from migrate.daemon.requests import Requests
from migrate.linux import ending, freezer, orphans, repair
from migrate.linux.freezer import Freezer
from migrate.linux.repair import CannotCarry
from tests.linux import lab

PAIR = FourTuple(lab.ip("10.0.0.1"), 1, lab.ip("10.0.0.2"), 2)
SEGMENT = Segment(PAIR.remote_ip, 2, PAIR.local_ip, 1, FIN | ACK, 1, 1)


@pytest.fixture(autouse=True)
def late(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second passes between any two looks at the clock."""
    seconds = count()
    clock: Any = SimpleNamespace(monotonic=lambda: float(next(seconds)), sleep=lambda _: None)
    monkeypatch.setattr(ending, "time", clock)
    monkeypatch.setattr(orphans, "time", clock)
    monkeypatch.setattr(freezer, "time", clock)
    monkeypatch.setattr(orphans, "_is_ours", lambda _: True)


@pytest.mark.parametrize("takes", [True, False])
def test_a_fin_is_fed_before_it_is_given_up(monkeypatch: pytest.MonkeyPatch, takes: bool) -> None:
    fed: list[Segment] = []
    monkeypatch.setattr(repair, "state", lambda _: TcpState.CLOSE_WAIT if fed and takes else TcpState.ESTABLISHED)
    sock: Any = None
    assert ending._fed(sock, SEGMENT, fed.append, (TcpState.CLOSE_WAIT,)) is takes
    assert fed == [SEGMENT]


def test_a_reset_is_fed_before_a_closed_socket_is_given_up() -> None:
    fed: list[Segment] = []
    there = SimpleNamespace(state=TcpState.FIN_WAIT1)
    ends: Any = lambda _: None if fed else there  # noqa: E731
    stays: Any = lambda _: there  # noqa: E731
    orphans.end(PAIR, 1, fed.append, ends)
    assert len(fed) == 1
    with pytest.raises(CannotCarry, match="does not end"):
        orphans.end(PAIR, 1, fed.append, stays)
    assert len(fed) == 2


@pytest.mark.parametrize("stand", [True, False])
def test_programs_are_looked_at_once_more_before_they_are_given_up(stand: bool) -> None:
    looks = iter([False, stand])  # they come to stand while the daemon itself does

    class Late(Freezer):
        def __init__(self) -> None:
            pass

        @property
        def frozen(self) -> bool:
            return next(looks)

    assert Late()._stands(0.5) is stand


@pytest.mark.parametrize("comes", [True, False])
def test_an_address_that_comes_between_two_looks_is_there(comes: bool) -> None:
    """It is no longer one that is to come."""
    looks = iter([False, comes, comes])
    service: Any = SimpleNamespace(
        local=lambda: {PAIR.local_ip} if next(looks) else set(),
        coming=set,
        registry=SimpleNamespace(all=list),
        effects=SimpleNamespace(flush=list),
    )
    asked = Requests(service).migrate(PAIR.local_ip, None)
    if comes:
        assert asyncio.run(asked) == []
    else:
        with pytest.raises(RequestError, match="has no address"):
            asyncio.run(asked)
