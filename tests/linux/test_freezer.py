"""Who goes first on a busy machine: the daemon, and programs that do not stand still at once until they do, which are
then scheduled as they were."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from migrate.linux import freezer
from migrate.linux.freezer import FreezeError, Freezer
from tests.linux import lab
from tests.topologies.inside import in_sandbox

CGROUP = Path("/sys/fs/cgroup/late")
BUSY = "import threading\nfor _ in range(2): threading.Thread(target=lambda: [None for _ in iter(int, 1)]).start()"


class Impatient(Freezer):
    """All programs are late; how they are scheduled while they are waited for.  `stuck`: they never stand."""

    def __init__(self, cgroup: Path, stuck: bool = False) -> None:
        super().__init__(cgroup)
        self.noted: dict[int, int] = {}
        self.meanwhile: dict[int, int] = {}
        self._stuck = stuck

    def note(self, policies: Mapping[int, int]) -> None:
        self.noted = dict(policies)

    def _stands(self, patience: float) -> bool:
        if patience == freezer._LATE_SECONDS:
            return False
        self.meanwhile = {thread: os.sched_getscheduler(thread) for thread in threads()}
        return not self._stuck and super()._stands(patience)


def threads() -> list[int]:
    pids = (CGROUP / "cgroup.procs").read_text().split()
    return [int(thread) for pid in pids for thread in os.listdir(f"/proc/{pid}/task")]


def scheduled() -> dict[int, tuple[int, int]]:
    return {thread: (os.sched_getscheduler(thread), os.getpriority(os.PRIO_PROCESS, thread)) for thread in threads()}


@in_sandbox
def test_the_daemon_itself_does_not_queue_up_behind_busy_programs() -> None:
    with lab.lab(on="one") as place:
        worker = place.daemons["one"].worker
        assert os.getpriority(os.PRIO_PROCESS, worker) == -20
        group = Path(f"/proc/{worker}/autogroup")
        if group.exists():
            assert group.read_text().endswith("nice -20\n"), "among all, and not only in its session"


@in_sandbox
def test_programs_that_are_late_go_first_until_they_stand() -> None:
    CGROUP.mkdir()
    programs = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(3)]
    try:
        for program in programs:
            (CGROUP / "cgroup.procs").write_text(str(program.pid))
        lab.until(lambda: len(threads()) == 9, "all threads run")
        os.setpriority(os.PRIO_PROCESS, programs[0].pid, 7)
        os.sched_setscheduler(programs[1].pid, os.SCHED_BATCH | os.SCHED_RESET_ON_FORK, os.sched_param(0))
        os.sched_setscheduler(programs[2].pid, os.SCHED_RR, os.sched_param(2))
        before = scheduled()
        usual = Freezer(CGROUP)
        first = Impatient(CGROUP)
        first.freeze(note=first.note)
        assert usual.frozen
        assert scheduled() == before
        assert first.noted == {
            thread: policy for thread, (policy, _) in before.items() if thread != programs[2].pid
        }, "one that goes first anyway is left alone"
        assert {first.meanwhile[thread] for thread in first.noted} == {os.SCHED_FIFO | os.SCHED_RESET_ON_FORK}
        assert first.meanwhile[programs[2].pid] == os.SCHED_RR
        first.thaw()
        lab.until(lambda: not usual.frozen, "they run again")
        stuck = Impatient(CGROUP, stuck=True)
        with pytest.raises(FreezeError, match="does not stand still"):
            stuck.freeze(note=stuck.note)
        lab.until(lambda: not usual.frozen, "they run again")
        assert scheduled() == before
    finally:
        for program in programs:
            program.kill()
            program.wait()
