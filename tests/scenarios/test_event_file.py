"""Events, read while they are written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scenarios.event_file import EventFile, NoEvent


def line(event: str, cause: str = "") -> str:
    return json.dumps({"event": event, "cause": cause}) + "\n"


def test_what_is_new_is_read_and_half_a_line_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    events = EventFile(path)
    assert events.all() == []
    path.write_text(line("ignored", "a wrong proof") + line("migrated")[:10])
    assert events.count() == events.count("ignored", "wrong") == 1
    with path.open("a") as file:
        file.write(line("migrated")[10:] + line("migrated", "later"))
    assert events.count("migrated") == 2
    assert events.count("migrated", since=2) == 1
    assert events.wait(2, "migrated")["cause"] == "later"


def test_what_does_not_come_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoEvent, match="does not tell of 1 times migrated within 0 s"):
        EventFile(tmp_path / "none").wait(1, "migrated", patience=0.02)
