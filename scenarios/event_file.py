"""The events that a host's migrated writes, read while it goes on writing them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Event = dict[str, Any]


class NoEvent(Exception):
    """What was waited for did not happen; one sentence."""


class EventFile:
    """Each look reads only what is new."""

    def __init__(self, path: Path) -> None:
        self._path, self._at = path, 0
        self._events: list[Event] = []
        self._rest = b""

    def all(self) -> list[Event]:
        """All events so far, in order."""
        if self._path.exists():
            with self._path.open("rb") as file:
                file.seek(self._at)
                new = file.read()
            self._at += len(new)
            *lines, self._rest = (self._rest + new).split(b"\n")
            self._events += [json.loads(line) for line in lines]
        return self._events

    def count(self, event: str = "", cause: str = "", since: int = 0) -> int:
        """How many of that kind, and with that in their cause, there are from number `since` on."""
        return sum(event in ("", one["event"]) and cause in one["cause"] for one in self.all()[since:])

    def wait(self, count: int, event: str, cause: str = "", since: int = 0, patience: float = 20.0) -> Event:
        """Until there are so many; the last of them.  Raises `NoEvent` after `patience` seconds."""
        self.wait_until(lambda: self.count(event, cause, since) >= count, f"{count} times {event} {cause}", patience)
        found = [one for one in self._events[since:] if one["event"] == event and cause in one["cause"]]
        return found[count - 1]

    def wait_until(self, look: Callable[[], bool], what: str, patience: float = 20.0) -> None:
        """Until `look` is true; raises `NoEvent` that says `what` was waited for."""
        end = time.monotonic() + patience
        while not look():
            if time.monotonic() > end:
                raise NoEvent(f"{self._path.name} does not tell of {what.strip()} within {patience:.0f} s")
            time.sleep(0.005)
