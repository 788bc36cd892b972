"""Lines of the log that would else be written again and again."""

from __future__ import annotations

import time
from collections.abc import Callable

_MOST = 1000


class Complaints:
    """Each is made once in so many seconds, about whatever it is about."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._made: dict[str, float] = {}

    def due(self, about: str) -> bool:
        """Whether to say it now; if so, it is taken for said."""
        now = self._clock()
        if now - self._made.get(about, float("-inf")) < self._seconds:
            return False
        if len(self._made) >= _MOST:
            self._made.clear()
        self._made[about] = now
        return True
