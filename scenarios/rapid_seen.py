"""What the run of `rapid` knows beside its captures.  Times are seconds since 1970."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from analysis.daemon_events import Told

ENOUGH_MOVES = 200
ACTIONS, SEGMENTS = ("drop", "duplicate", "delay"), ("5", "6", "7")
KINDS = tuple((action, segment) for action in ACTIONS for segment in SEGMENTS)


@dataclass(frozen=True)
class MovedAway:
    """One move.  `stage`: how far its handshake was when the mobile left again."""

    lost_at: float
    address: str
    stage: str


@dataclass(frozen=True)
class Seen:
    """The whole run."""

    moves: tuple[MovedAway, ...]
    firings: Mapping[tuple[str, str], int]
    """How often the modems did something to a segment, by (action, segment)."""
    round_trip: float
    """Seconds, of small packets on the modem, measured beforehand."""
    address: str
    """The mobile's last."""
    ends: tuple[str, str]
    """The connection as the kernels of mobile and server have it in the end, each "mobile's end, server's end"."""
    left: int
    """Bytes still to be downloaded when the mobile stood still."""
    mobile_events: tuple[Told, ...]
    server_events: tuple[Told, ...]
    exit_status: int
    wanted: str
    got: str
