"""What each measurement is to reach.  These numbers stand nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from benchmarks.figures import Statistic


@dataclass(frozen=True, slots=True)
class Target:
    """A bound for one statistic of a series; the bound itself is met."""

    statistic: Statistic
    relation: Literal[">=", "<="]
    bound: float

    def met(self, value: float) -> bool:
        return value >= self.bound if self.relation == ">=" else value <= self.bound

    def __str__(self) -> str:
        return f"{self.statistic} {self.relation} {self.bound:g}"


ROUND_TRIPS_MS = (10, 50, 200)
LOADS = ("idle", "loaded")
CONNECTIONS = 1000

TARGETS: dict[str, Target] = {
    # Ratios to plain TCP.
    "throughput": Target(Statistic.MEDIAN, ">=", 0.98),
    "throughput_frames": Target(Statistic.MEDIAN, ">=", 0.98),
    "setup_rate": Target(Statistic.MEDIAN, ">=", 0.95),
    # Milliseconds.
    "answer_time": Target(Statistic.MEDIAN, "<=", 1.0),
    # Milliseconds beyond two round trips.
    **{f"interruption_{trip}ms_{load}": Target(Statistic.P95, "<=", 10.0) for trip in ROUND_TRIPS_MS for load in LOADS},
    # The wedge beside nginx alone, and milliseconds beyond two round trips.
    "wedge_throughput": Target(Statistic.MEDIAN, ">=", 0.85),
    "wedge_throughput_10g": Target(Statistic.MEDIAN, ">=", 0.85),
    "takeover": Target(Statistic.P95, "<=", 30.0),
    # Seconds, and connections of CONNECTIONS.
    "takeover_1000": Target(Statistic.MEDIAN, "<=", 5.0),
    "takeover_1000_survivors": Target(Statistic.MIN, ">=", CONNECTIONS),
    "resume_1000": Target(Statistic.MEDIAN, "<=", 1.0),
    "resume_1000_survivors": Target(Statistic.MIN, ">=", CONNECTIONS),
}
