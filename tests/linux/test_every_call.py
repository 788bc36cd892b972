"""The daemon dies between two system calls of a migration: here at each n-th place, a different one for each variant;
`python -m tests.linux.every_call` takes all of them."""

from __future__ import annotations

import pytest

from tests.linux.every_call import DAEMON, SITUATIONS, WORKER, Back, Bound, Halves, Orphan, Queues, staged, sweep
from tests.linux.strike import Phase
from tests.topologies.inside import in_sandbox

REBUILDING = 80
"""From this call of a rebind on, the socket is in pieces; a look more or less of the freezer shifts it by a few."""


@in_sandbox
def test_a_worker_that_dies_in_a_rebind() -> None:
    with staged() as stage:
        for kind, victim, stride, offset in ((Queues, "one", 12, 1), (Queues, "two", 12, 6), (Back, "one", 16, 2),
                                             (Back, "two", 16, 10), (Orphan, "two", 16, 9)):  # fmt: skip
            deaths = list(sweep(stage, kind, victim, WORKER, Phase.REBIND, stride, offset))
            assert len(deaths) >= 80 // stride, deaths


@in_sandbox
def test_a_worker_and_its_guardian_that_die_in_a_rebind() -> None:
    with staged() as stage:
        for kind, victim, stride, offset in ((Queues, "two", 20, 4), (Bound, "one", 20, 18), (Halves, "one", 20, 11)):
            deaths = list(sweep(stage, kind, victim, DAEMON, Phase.REBIND, stride, offset))
            assert len(deaths) >= 80 // stride, deaths


@in_sandbox
def test_a_worker_that_dies_in_a_handshake() -> None:
    with staged() as stage:
        for victim, offset in (("one", 3), ("two", 13)):
            # How many calls there are is chance: what arrives together is read together.
            deaths = list(sweep(stage, Queues, victim, WORKER, Phase.HANDSHAKE, 12, offset))
            assert len(deaths) >= 48 // 12, deaths


@in_sandbox
def test_a_daemon_that_forgets_what_it_takes_apart_is_found_out() -> None:
    Queues.patience = 3.0
    with staged("tests.linux.forgetful") as stage:
        with pytest.raises(AssertionError, match=r"death of one's worker at rebind \d+: "):
            list(sweep(stage, Queues, "one", WORKER, Phase.REBIND, offset=REBUILDING - 1))


def test_all_situations_are_in_the_command() -> None:
    assert set(SITUATIONS.values()) == {Queues, Bound, Back, Halves, Orphan}
