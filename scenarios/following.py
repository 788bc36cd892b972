"""A host's events file while its migrated runs, for what depends on the state of a connection."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from analysis.daemon_events import Told, parse


class NotTold(Exception):
    """An event that was waited for did not come; one sentence."""


class Follower:
    """Reads the file as it grows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.told: list[Told] = []
        """All that has been read so far."""
        self._at = 0

    def look(self) -> list[Told]:
        """What is new."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(self._at)
            raw = file.read()
        whole = raw[: raw.rfind(b"\n") + 1]
        self._at += len(whole)
        new = parse(whole.decode())
        self.told += new
        return new

    def wait_for(self, wanted: Callable[[Told], bool], patience: float, since: float = 0.0) -> Told:
        """The first that is wanted and not older than `since`, whether it has been read or is to come.

        Raises `NotTold` after `patience` seconds."""
        end = time.monotonic() + patience
        seen = 0
        while True:
            self.look()
            for one in self.told[seen:]:
                if one.time >= since and wanted(one):
                    return one
            seen = len(self.told)
            if time.monotonic() > end:
                last = f"the last was '{self.told[-1].event}'" if self.told else "there was none"
                raise NotTold(f"{self.path.name} has no such event after {patience:g} s; {last}")
            time.sleep(0.001)
