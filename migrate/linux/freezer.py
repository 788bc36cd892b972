"""Holds the programs of a host still, as a laptop's suspend does, through the cgroup v2 freezer."""

from __future__ import annotations

import select
import time
from pathlib import Path

from migrate.linux.restarts import Restarts


class FreezeError(OSError):
    """The programs could not be held still in time."""


class Freezer:
    """The freezer of one cgroup directory.  Freezing waits until every process in it stands still."""

    def __init__(self, cgroup: Path) -> None:
        self._freeze = cgroup / "cgroup.freeze"
        self._events = cgroup / "cgroup.events"
        self._restarts = Restarts(cgroup)
        if not self._freeze.exists():
            raise FreezeError(0, f"{cgroup} is no cgroup v2 directory with a freezer")

    def freeze(self, patience: float = 1.0) -> None:
        """Raises `FreezeError`, with everything running again, if a process does not stop in `patience` seconds."""
        self._restarts.recent()
        self._freeze.write_text("1")
        deadline = time.monotonic() + patience
        with self._events.open() as events:
            poll = select.poll()
            poll.register(events, select.POLLPRI)
            while True:
                events.seek(0)
                if "frozen 1" in events.read():
                    return
                left = deadline - time.monotonic()
                if left <= 0:
                    self.thaw()
                    raise FreezeError(0, f"a program in {self._freeze.parent} does not stand still")
                poll.poll(min(left, 0.05) * 1000)

    def thaw(self) -> None:
        self._restarts.mend()
        self._freeze.write_text("0")

    @property
    def frozen(self) -> bool:
        return "frozen 1" in self._events.read_text()
