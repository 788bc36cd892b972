"""What a host's migrated has told in its events file, while it runs and afterwards."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path


class NotTold(Exception):
    """An event that was waited for did not come; one sentence."""


@dataclass(frozen=True, slots=True)
class Told:
    """One event.  `time`: seconds since 1970; `state`: the connection's after it; `local`, `remote`: address and port
    of its socket then, ("", 0) where the event is of no connection."""

    time: float
    connection: str
    state: str
    event: str
    cause: str
    local: tuple[str, int]
    remote: tuple[str, int]

    @classmethod
    def parse(cls, line: str) -> Told:
        """From a line of the file."""
        raw = json.loads(line)
        local = str(raw.get("local", "")), int(raw.get("local_port", 0))
        remote = str(raw.get("remote", "")), int(raw.get("remote_port", 0))
        return cls(float(raw["time"]), raw["connection"], raw["state"], raw["event"], raw["cause"], local, remote)


def read(path: Path) -> list[Told]:
    """All that is in the file; a last line that is still being written is left out."""
    text = path.read_text() if path.exists() else ""
    return [Told.parse(line) for line in text[: text.rfind("\n") + 1].splitlines()]


class Follower:
    """Reads the file as it grows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.told: list[Told] = []
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
        new = [Told.parse(line) for line in whole.decode().splitlines()]
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


def of(told: Iterable[Told], *events: str) -> list[Told]:
    """Those of these kinds."""
    return [one for one in told if one.event in events]
