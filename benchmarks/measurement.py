"""What a measurement is, and what it gets from the command line."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.report import Row


class NotMeasured(Exception):
    """The measurement cannot be made, or what was seen is not what it is about; one sentence."""


def wait_until(there: Callable[[], bool], seconds: float, otherwise: str, pause: float = 0.02) -> None:
    """Raises `NotMeasured` with the sentence `otherwise` where it is not there after so many seconds.  `pause`: between
    two looks, in seconds."""
    end = time.monotonic() + seconds
    while not there():
        if time.monotonic() > end:
            raise NotMeasured(otherwise)
        time.sleep(pause)


@dataclass(frozen=True)
class Session:
    """One run of the benchmarks.  `step` tells the person who waits how far it is."""

    work: Path
    """An empty directory for what a measurement writes."""
    step: Callable[[str], None]
    quick: bool = False
    runs: int | None = None

    def count(self, usual: int, quick: int) -> int:
        """How often to repeat: what the command line says, or else what is usual."""
        return self.runs or (quick if self.quick else usual)


class Measurement(Protocol):
    """Something that can be measured."""

    name: str
    about: str

    def measure(self, session: Session) -> Sequence[Row]:
        """Raises `NotMeasured`."""
