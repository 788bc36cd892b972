"""What a host's migrated has told in its events file (`migrated --events`)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


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
        """From a line of the file.  Raises ValueError or KeyError for a line that is none."""
        raw = json.loads(line)
        local = str(raw.get("local", "")), int(raw.get("local_port", 0))
        remote = str(raw.get("remote", "")), int(raw.get("remote_port", 0))
        return cls(float(raw["time"]), raw["connection"], raw["state"], raw["event"], raw["cause"], local, remote)


def parse(text: str) -> list[Told]:
    """Of whole lines; a last one that is still being written is left out."""
    return [Told.parse(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def read(path: Path) -> list[Told]:
    """All that is in the file."""
    return parse(path.read_text())


def of(told: Iterable[Told], *events: str) -> list[Told]:
    """Those of these kinds."""
    return [one for one in told if one.event in events]
