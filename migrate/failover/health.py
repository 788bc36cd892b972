"""When a server is called dead: a few checks in a row that failed, and alive again after a few that did not."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto


class Verdict(Enum):
    """What a check changes."""

    SAME = auto()
    DEAD = auto()
    ALIVE = auto()


@dataclass(slots=True)
class Health:
    """One server.  `failures` checks in a row that fail make it dead, `successes` that do not make it alive."""

    failures: int = 3
    successes: int = 2
    dead: bool = False
    _row: int = 0

    def checked(self, well: bool) -> Verdict:
        """The outcome of one check."""
        if well is not self.dead:
            self._row = 0
            return Verdict.SAME
        self._row += 1
        if self._row < (self.successes if self.dead else self.failures):
            return Verdict.SAME
        self._row, self.dead = 0, not self.dead
        return Verdict.DEAD if self.dead else Verdict.ALIVE
