"""What the matcher found out about one connection."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from analysis.capture import Packet
from analysis.stream import Stream


class Tokens(Enum):
    """Whether Token and Request were recomputed."""

    VERIFIED = "verified"  # recomputed with K, and equal
    UNVERIFIED = "unverified"  # no key log has this connection's key, so they were taken on trust
    NONE = "none"  # the diagram asks for none, or none was seen


@dataclass(frozen=True, slots=True)
class Match:
    """One line of the diagram beside one packet.

    `mismatch` says what is wrong, None if nothing is; `packet` is None where the trace ended before the line.
    """

    line: str
    packet: Packet | None
    mismatch: str | None
    label: str | None
    number: int  # of the line in the diagram's file


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Where a trace leaves its diagram."""

    label: str | None
    number: int  # of the line in the diagram's file
    expected: str
    actual: str
    packet: Packet | None
    seconds: float | None  # from the connection's first packet
    wrong: tuple[str, ...]
    forbidden: bool  # a never line was broken


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of one connection.  `matches` are in order of time and end with the mismatch, if there is one."""

    stream: Stream
    mismatch: Mismatch | None
    tokens: Tokens
    matches: tuple[Match, ...]

    @property
    def good(self) -> bool:
        return self.mismatch is None

    def packet(self, label: str) -> Packet | None:
        """The first packet that matched a label."""
        return next((match.packet for match in self.matches if match.label == label and not match.mismatch), None)
