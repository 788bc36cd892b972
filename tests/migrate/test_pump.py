"""Two endpoints in memory: whatever the network does, both agree on the addresses and no byte is missing or double."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migrate.core import Notice
from tests.migrate.journeys import FOUND, by_seed, journey
from tests.migrate.network import Faults

moves = st.lists(
    st.tuples(st.floats(0.001, 1.2), st.integers(0, 1), st.sampled_from(["break", "make", "flap"])), max_size=10
)

# R has no direction: were Ni and Na close together, a request of the peer's could be one of our own, byte for byte.
isns = st.tuples(st.integers(0, 2**32 - 1), st.integers(2**17, 2**32 - 2**17)).map(
    lambda n: (n[0], (n[0] + n[1]) % 2**32)
)


@given(
    seed=st.integers(0, 2**32),
    loss=st.floats(0, 0.4),
    duplicate=st.floats(0, 0.4),
    reorder=st.floats(0, 0.4),
    rebind_failure=st.floats(0, 0.3),
    script=moves,
    version=st.sampled_from([4, 6]),
    closes=st.booleans(),
    isns=isns,
)
@settings(max_examples=int(os.environ.get("MIGRATE_EXAMPLES", "300")))
def test_whatever_happens(
    seed: int,
    loss: float,
    duplicate: float,
    reorder: float,
    rebind_failure: float,
    script: list[tuple[float, int, str]],
    version: int,
    closes: bool,
    isns: tuple[int, int],
) -> None:
    journey(seed, Faults(loss, duplicate, reorder, rebind_failure, until=20), script, version, closes, isns)


@pytest.mark.parametrize(("seed", "what"), FOUND.items(), ids=str)
def test_journeys_that_once_failed(seed: int, what: str) -> None:
    by_seed(seed)


@pytest.mark.parametrize("closes", [False, True])
def test_a_hundred_journeys(closes: bool) -> None:
    """By seeds of their own, so that a planted fault meets the same ones in every run."""
    pairs = [by_seed(seed, closes) for seed in range(100)]
    # No test of nothing: most of them did migrate, some more than once, and all that can happen has happened.
    told = [[report.event for host in pair.hosts for report in host.reports] for pair in pairs]
    assert sum(Notice.MIGRATED in events for events in told) > 60
    assert sum(events.count(Notice.MIGRATED) > 3 for events in told) > 20
    happened = {event for events in told for event in events}
    assert happened >= {Notice.ANSWERED, Notice.SUSPENDED, Notice.REBIND_FAILED, Notice.UNANSWERED}
