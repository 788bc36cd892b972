"""What the processes of migrated come to keep while a soak goes on: memory and descriptors, looked at meanwhile."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from scenarios.soak.leaks import descriptors, memory
from scenarios.soak.stage import Daemon


@dataclass
class Course:
    """One number of one process over time: (seconds, value)."""

    points: list[tuple[float, float]] = field(default_factory=list)

    @property
    def span(self) -> float:
        return self.points[-1][0] - self.points[0][0] if self.points else 0.0

    @property
    def slope(self) -> float:
        """Per second, by least squares."""
        count = len(self.points)
        if count < 2 or not self.span:
            return 0.0
        middle = sum(at for at, _ in self.points) / count
        level = sum(value for _, value in self.points) / count
        spread = sum((at - middle) ** 2 for at, _ in self.points)
        return sum((at - middle) * (value - level) for at, value in self.points) / spread


@dataclass
class Use:
    """What one process has had in use, over its life."""

    WARM_SECONDS: ClassVar[float] = 120.0
    """A process that has just begun fills what it keeps; what it has of its first connections, it has let go of when it
    has forgotten, which it does once a minute, for the second time."""
    WINDOW_SECONDS: ClassVar[float] = 60.0
    """What is over stays until that is forgotten.  What of all that does not go at all is in the least that was in use
    in so long a time."""

    points: list[tuple[float, int, int]] = field(default_factory=list)
    """Seconds since its birth, moves of its host's connections so far, bytes."""

    def kept(self) -> tuple[int, int]:
        """Bytes that have come to stay, and moves meanwhile.  (0, 0) of one that has not lived long enough."""
        window = self.WINDOW_SECONDS
        end = self.points[-1][0] if self.points else 0.0
        first = [point for point in self.points if self.WARM_SECONDS <= point[0] <= self.WARM_SECONDS + window]
        last = [point for point in self.points if end - window <= point[0]]
        if not first or end < self.WARM_SECONDS + 2 * window:
            return 0, 0
        (_, began, low), (_, ended, high) = (min(points, key=lambda point: point[2]) for points in (first, last))
        return high - low, ended - began


class Growth:
    """Memory and descriptors of every process of migrated that there has been, over its life.

    What a worker has in use, it tells; what it has in RAM says little, since malloc keeps what the largest rebind has
    taken.  A guardian, which waits, is seen from outside."""

    WARM_SECONDS = 120.0
    LEAST_SECONDS = 60.0
    """A course that is shorter tells nothing of an hour."""

    def __init__(self, log: Path | None = None) -> None:
        """`log`: gets a line of JSON for each process at each look, for who wants to see how it grew."""
        self._log = log
        self._born: dict[int, float] = {}
        self._guardians: dict[int, Course] = {}
        self._workers: dict[int, Use] = {}
        self.most_descriptors: dict[str, int] = {}
        self.most_resident: dict[str, int] = {}
        """Bytes of RAM, for who wants to know."""

    def look(self, daemons: Mapping[str, Daemon], now: float, moves: Mapping[str, int]) -> None:
        """`moves`: of each host's connections so far."""
        for name, daemon in daemons.items():
            for role, pid in (("guardian", daemon.process.pid), ("worker", daemon.worker)):
                with contextlib.suppress(OSError):  # it has just ended
                    if pid is None:
                        continue
                    age = now - self._born.setdefault(pid, now)
                    who = f"{name}'s {role}"
                    open_files, resident = descriptors(pid), memory(pid)
                    self.most_descriptors[who] = max(self.most_descriptors.get(who, 0), open_files)
                    self.most_resident[who] = max(self.most_resident.get(who, 0), resident)
                    line = {"seconds": round(age, 1), "who": who, "pid": pid, "resident": resident}
                    if role == "worker":
                        in_use = daemon.ask(do="memory")
                        if in_use is not None and daemon.worker == pid:
                            self._workers.setdefault(pid, Use()).points.append((age, moves[name], in_use))
                            line |= {"moves": moves[name], "in use": in_use}
                    elif age >= self.WARM_SECONDS:
                        self._guardians.setdefault(pid, Course()).points.append((now, float(resident)))
                    if self._log is not None:
                        with self._log.open("a") as log:
                            log.write(json.dumps(line) + "\n")

    def of_guardians(self) -> tuple[float, float]:
        """Bytes of memory by which the guardians grow in an hour, each weighted by how long it was seen; and those
        seconds.  0 seconds: none lived long enough to tell."""
        courses = [course for course in self._guardians.values() if course.span >= self.LEAST_SECONDS]
        seconds = sum(course.span for course in courses)
        if not seconds:
            return 0.0, 0.0
        return 3600 * sum(course.slope * course.span for course in courses) / seconds, seconds

    def of_workers(self) -> tuple[float, int]:
        """Bytes that a worker keeps of each move of a connection, and of how many moves that is the mean.  0 moves:
        none lived long enough to tell."""
        kept = [use.kept() for use in self._workers.values()]
        moves = sum(meanwhile for _, meanwhile in kept)
        return (sum(size for size, _ in kept) / moves if moves else 0.0), moves
