"""The tests of take-overs see each mistake of `wrong.py`."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from scenarios.programs import ProgramError
from tests.failover.stage import SLOW, Stage, clear, stage
from tests.failover.stories import back_and_forth, held_up, slide_30, started_again
from tests.topologies.inside import in_sandbox

SOON = 4.0
"""Seconds; nothing that is waited for takes more than one."""


def told(fault: str, story: Callable[[Stage, int], None], patience: float = SOON) -> None:
    os.environ["FAULT"] = fault
    try:
        with stage(4, rate_bps=SLOW, module="tests.failover.wrong", patience=patience) as place:
            story(place, 4)
    finally:
        clear()


def seen(fault: str, story: Callable[[Stage, int], None]) -> None:
    with pytest.raises((AssertionError, ProgramError)) as error:
        told(fault, story)
    print(f"{fault}: {type(error.value).__name__}: {error.value}")


@in_sandbox
def test_numbers_of_before_the_silence() -> None:
    seen("the_numbers_before_the_silence", held_up)


@in_sandbox
def test_timestamps_that_stay_on() -> None:
    seen("timestamps_stay_on", slide_30)


@in_sandbox
def test_one_byte_less() -> None:
    seen("one_byte_less", slide_30)


@in_sandbox
def test_an_old_server_that_is_not_told() -> None:
    seen("the_old_server_is_not_told", slide_30)


@in_sandbox
def test_a_secret_that_is_not_kept() -> None:
    seen("the_secret_is_not_kept", started_again)


@in_sandbox
def test_a_dropped_socket_that_hides_its_successor() -> None:
    seen("what_was_here_before_hides_what_is", back_and_forth)


@in_sandbox
def test_without_a_mistake_nothing_is_seen() -> None:
    for story in (held_up, slide_30, started_again, back_and_forth):
        told("nothing", story, patience=20.0)
