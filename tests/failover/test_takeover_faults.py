"""The tests of take-overs see each mistake of `wrong.py`."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from scenarios.programs import ProgramError
from tests.failover.stage import Stage, clear, stage
from tests.failover.stories import RATE, back_and_forth, held_up, slide_30, started_again
from tests.topologies.inside import in_sandbox

SOON = 4.0
"""Seconds; the downloads take less than two."""
Story = Callable[[Stage, int], None]
FAULTS: tuple[tuple[str, Story], ...] = (
    ("the_numbers_before_the_silence", held_up),
    ("timestamps_stay_on", slide_30),
    ("one_byte_less", slide_30),
    ("the_old_server_is_not_told", slide_30),
    ("the_secret_is_not_kept", started_again),
    ("what_was_here_before_hides_what_is", back_and_forth),
)


def told(fault: str, story: Story) -> None:
    os.environ["FAULT"] = fault
    try:
        with stage(4, rate_bps=RATE, module="tests.failover.wrong", patience=SOON) as place:
            story(place, 4)
    finally:
        clear()


@in_sandbox
def test_each_mistake_is_seen() -> None:
    for fault, story in FAULTS:
        with pytest.raises((AssertionError, ProgramError)) as seen:
            told(fault, story)
        print(f"{fault}: {type(seen.value).__name__}: {str(seen.value)[:200]}")


@in_sandbox
def test_without_a_mistake_nothing_is_seen() -> None:
    for story in dict.fromkeys(story for _, story in FAULTS):
        told("nothing", story)
