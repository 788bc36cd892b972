"""What a case of `failover` knows beside its captures.  Times are seconds since 1970."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from analysis.daemon_events import Told


@dataclass(frozen=True)
class Received:
    """A file of the client's, beside what it should be."""

    name: str
    wanted: str
    """SHA-256 of what should be there."""
    got: str
    """SHA-256 of what is there."""
    length: int
    """Of what is there."""
    right: int
    """So many of its first bytes are those of the one that was asked."""

    @classmethod
    def of(cls, name: str, wanted: bytes, got: bytes) -> Self:
        right = len(got) if wanted.startswith(got) else _common(wanted, got)
        return cls(name, hashlib.sha256(wanted).hexdigest(), hashlib.sha256(got).hexdigest(), len(got), right)


def _common(one: bytes, other: bytes) -> int:
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


@dataclass(frozen=True)
class Seen:
    """One case."""

    case: str
    round_trip: float
    """Seconds, of small packets between the router and the client, measured beforehand."""
    names: Mapping[str, str]
    """Hosts by address."""
    wedges: Mapping[str, tuple[Told, ...]]
    """What each replica's wedge has told."""
    monitor: tuple[Told, ...]
    began_at: float
    daemons: Mapping[str, tuple[Told, ...]]
    """What each host's migrated has told; of earlier cases, too."""
    exit_status: int
    received: tuple[Received, ...]
    pronounced_at: float
    """When a person said that a server is dead, 0 if nobody did."""
    waited: float = 0.0
    """Seconds for which the programs of the take-over waited for a processor meanwhile, as far as that was measured."""
