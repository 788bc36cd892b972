"""Holds the programs of a host still, as a laptop's suspend does, through the cgroup v2 freezer."""

from __future__ import annotations

import os
import select
import time
from pathlib import Path


class FreezeError(OSError):
    """The programs could not be held still in time."""


class Freezer:
    """The freezer of one cgroup directory.  Freezing waits until every process in it stands still."""

    def __init__(self, cgroup: Path) -> None:
        try:
            self._freeze = (cgroup / "cgroup.freeze").open("r+b", buffering=0)
            self._events = (cgroup / "cgroup.events").open("rb", buffering=0)
        except FileNotFoundError:
            raise FreezeError(0, f"{cgroup} is no cgroup v2 directory with a freezer") from None
        self._cgroup = cgroup
        self._poll = select.poll()
        self._poll.register(self._events, select.POLLPRI)

    def freeze(self, patience: float = 1.0) -> None:
        """Raises `FreezeError`, with everything running again, if a process does not stop in `patience` seconds."""
        self._write(b"1")
        deadline = time.monotonic() + patience
        while not self.frozen:
            left = deadline - time.monotonic()
            if left <= 0:
                self.thaw()
                raise FreezeError(0, f"a program in {self._cgroup} does not stand still")
            self._poll.poll(min(left, 0.05) * 1000)

    def thaw(self) -> None:
        self._write(b"0")

    def _write(self, what: bytes) -> None:
        os.pwrite(self._freeze.fileno(), what, 0)

    @property
    def frozen(self) -> bool:
        return b"frozen 1" in os.pread(self._events.fileno(), 4096, 0)
