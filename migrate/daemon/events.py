"""What happened, told to whoever listens: a file of JSON lines, and the followers of `migratectl events`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, TextIO


class EventLog:
    """Each event: time (epoch seconds), connection (its name for life), state, event, cause."""

    def __init__(self, file: TextIO | None) -> None:
        self._file = file
        self._followers: list[Callable[[str], None]] = []

    def follow(self, receive: Callable[[str], None]) -> Callable[[], None]:
        """Calls `receive` with each line from now on; returns what ends that."""
        self._followers.append(receive)
        return lambda: self._followers.remove(receive)

    def write(self, connection: str, state: str, event: str, cause: str = "", **more: Any) -> None:
        record = {"time": time.time(), "connection": connection, "state": state, "event": event, "cause": cause, **more}
        line = json.dumps(record)
        if self._file is not None:
            print(line, file=self._file, flush=True)
        for receive in list(self._followers):
            receive(line)
