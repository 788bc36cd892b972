"""What the client's captures show of `failover`: read, held against the deck's diagram, drawn."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from analysis import capture, diagram, keylog, stream
from analysis.capture import Packet
from analysis.checking import find
from analysis.diagram import Verdict as Judgement
from analysis.pictures.ladder import ladder_text
from analysis.pictures.ladder_svg import ladder_svg
from analysis.stream import Stream
from scenarios.failover_seen import Seen
from scenarios.verdict import Invalid

DIAGRAM = "failover"
PRONOUNCED = "sA pronounced dead"


@dataclass(frozen=True)
class Trace:
    """The client's capture of one case; `out` is the case's directory."""

    out: Path
    key_log: Path

    @cached_property
    def keys(self) -> Mapping[bytes, bytes]:
        return keylog.read_keys([self.key_log])

    @cached_property
    def packets(self) -> list[Packet]:
        return list(capture.read(self.out / "client.pcap", "client"))

    @cached_property
    def streams(self) -> list[Stream]:
        return stream.join(self.packets, self.keys)

    @property
    def stream(self) -> Stream:
        """The only one; raises `Invalid` where there is not exactly one."""
        if len(self.streams) != 1:
            raise Invalid(
                f"{len(self.streams)} connections are in {self.out.name}'s capture at the client, 1 should be"
            )
        return self.streams[0]


def judged(trace: Trace, round_trip: float) -> Judgement:
    """Held against slide 30."""
    return diagram.check(diagram.load(find(DIAGRAM)), trace.stream, round_trip)


def draw(out: Path, judgement: Judgement, seen: Seen, title: str) -> None:
    """The ladder and the time-sequence picture, with a colour for each server."""
    from analysis.pictures.time_sequence import draw_time_sequence  # which loads all of matplotlib

    names = {address: name for address, name in seen.names.items()}
    about: dict[str, Any] = {
        "expected": judgement.matches,
        "moves": [seen.pronounced_at],
        "called": PRONOUNCED,
        "title": title,
        "names": names,
    }
    also = {name: about[name] for name in ("moves", "called", "title", "names")}
    draw_time_sequence(judgement.stream, out / "time-sequence-client.png", **also)
    (out / "ladder-client.txt").write_text(ladder_text(judgement.stream, colour=False, **about) + "\n")
    (out / "ladder-client.svg").write_text(ladder_svg(judgement.stream, **about))
    as_json = diagram.as_json(diagram.load(find(DIAGRAM)), [judgement])
    (out / "diagram-client.json").write_text(json.dumps(as_json, indent=1))
