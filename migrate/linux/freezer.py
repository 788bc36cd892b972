"""Holds the programs of a host still, as a laptop's suspend does, through the cgroup v2 freezer.

A program stands still from when it has next been given a processor.  On a busy machine that takes milliseconds, one
time slice of whoever is computing.  So programs that are late go first until they stand (SCHED_FIFO), which takes them
microseconds: a signal waits for them, and they return to it from wherever they are.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from migrate.linux.borrow import processes
from migrate.linux.restarts import Restarts

_LATE_SECONDS = 0.0002
_GLANCE_SECONDS = 0.0003  # the kernel tells of it, but not sooner than 10 ms after it has told of the last change
_ORDINARY = (os.SCHED_OTHER, os.SCHED_BATCH, os.SCHED_IDLE)

Policies = Mapping[int, int]
"""Scheduling policies of threads."""


class FreezeError(OSError):
    """The programs could not be held still in time."""


class Freezer:
    """The freezer of one cgroup directory.  Freezing waits until every process in it stands still."""

    def __init__(self, cgroup: Path) -> None:
        try:
            self._freeze = (cgroup / "cgroup.freeze").open("r+b", buffering=0)
            self._events = (cgroup / "cgroup.events").open("rb", buffering=0)
        except FileNotFoundError:
            raise FreezeError(0, f"{cgroup} is no cgroup v2 directory with a freezer") from None
        self._cgroup, self._restarts = cgroup, Restarts(cgroup)

    def begin(self) -> None:
        """The programs begin to stand still, while what else is to be done before is done; `freeze` waits for them."""
        self._write(b"1")

    def freeze(self, patience: float = 1.0, note: Callable[[Policies], None] = lambda policies: None) -> None:
        """`note` is told of the policies that are about to be changed: should this process be killed before they are
        as they were, `restore` is somebody else's.

        Raises `FreezeError`, with everything running again, if a process does not stop in `patience` seconds."""
        self.begin()
        if self._stands(_LATE_SECONDS):
            return
        late = _policies(self._cgroup)
        note(late)
        try:
            _hurry(late)
            if not self._stands(patience):
                raise FreezeError(0, f"a program in {self._cgroup} does not stand still")
        except BaseException:
            self.thaw()
            raise
        finally:
            restore(late)

    def thaw(self) -> None:
        self._restarts.mend()
        self._write(b"0")

    def _write(self, what: bytes) -> None:
        os.pwrite(self._freeze.fileno(), what, 0)

    def _stands(self, patience: float) -> bool:
        """Do all of them, at the latest in so many seconds?"""
        deadline = time.monotonic() + patience
        while not self.frozen:
            left = deadline - time.monotonic()
            if left <= 0:
                return self.frozen  # once more: it may have stood still itself
            select.select((), (), (self._events,), min(left, _GLANCE_SECONDS))
        return True

    @property
    def frozen(self) -> bool:
        return b"frozen 1" in os.pread(self._events.fileno(), 4096, 0)


def restore(policies: Policies) -> None:
    """Schedules these threads as they were scheduled."""
    for thread, policy in policies.items():
        _schedule(thread, policy, 0)


def _policies(cgroup: Path) -> dict[int, int]:
    """Of all threads that are not ahead of the others anyway."""
    found = {}
    for pid in processes(cgroup):
        try:
            for thread in map(int, os.listdir(f"/proc/{pid}/task")):
                policy = os.sched_getscheduler(thread)
                if policy & ~os.SCHED_RESET_ON_FORK in _ORDINARY:
                    found[thread] = policy
        except OSError:
            continue  # it has just ended
    return found


def _hurry(policies: Policies) -> None:
    lowest = os.sched_get_priority_min(os.SCHED_FIFO)
    for thread in policies:
        _schedule(thread, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, lowest)


def _schedule(thread: int, policy: int, priority: int) -> None:
    # It may just have ended; or the kernel lets none of its group go first, and the programs take their time.
    with contextlib.suppress(OSError):
        os.sched_setscheduler(thread, policy, os.sched_param(priority))
