"""What a wedge is told when it is started."""

from __future__ import annotations

from dataclasses import dataclass

from migrate.failover.backend import Backend


@dataclass(frozen=True, slots=True)
class Settings:
    """What `wedge` was told on its command line; times in seconds."""

    name: str
    port: int
    backend: Backend
    refresh: float
    most: int
    most_lag: float
    step: float
    tries: int
