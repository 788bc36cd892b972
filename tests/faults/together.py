"""Runs with and without faults, several side by side, each in a sandbox of its own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from scenarios.runner import dies_with_parent
from tests.faults.fault import ITSELF, Fault
from tests.faults.guards import GUARDS
from tests.faults.one import IN_THE_SANDBOX, Shown
from tests.faults.table import FAULTS
from topologies.sandbox import run_in_sandbox

ROOT = Path(__file__).resolve().parents[2]
TRIES = 3
"""Of a run that is invalid: it shows nothing, neither of the fault nor of its guard."""
LOADED_SECONDS = 100
"""More than its time that a run may take, where the machine is busy with others."""


@dataclass(frozen=True)
class Job:
    """A guard and a fault; "" for none."""

    guard: str
    fault: str

    @property
    def planted(self) -> Fault | None:
        return FAULTS[self.fault] if self.fault else None


def of(faults: Sequence[Fault]) -> list[Job]:
    """These faults, and each of their guards without one; the longest first."""
    guards = dict.fromkeys(fault.guard for fault in faults)
    jobs = [*(Job(guard, "") for guard in guards), *(Job(fault.guard, fault.name) for fault in faults)]
    return sorted(jobs, key=lambda job: -GUARDS[job.guard].seconds)


def run(
    jobs: Sequence[Job], at_once: int, done: Callable[[Job, Shown], None] = lambda job, shown: None, keep: str = ""
) -> dict[Job, Shown]:
    """All of them; `done` is told of each.  `keep`: a directory that gets what they leave behind."""
    found: dict[Job, Shown] = {}
    with tempfile.TemporaryDirectory() as work, ThreadPoolExecutor(at_once) as pool:
        begun = {
            pool.submit(_valid, job, Path(work) / str(number), f"{keep}/{number}" if keep else IN_THE_SANDBOX): job
            for number, job in enumerate(jobs)
        }
        for future in as_completed(begun):
            job, shown = begun[future], future.result()
            found[job] = shown
            done(job, shown)
    return {job: found[job] for job in jobs}


def _valid(job: Job, result: Path, out: str) -> Shown:
    for _ in range(TRIES):
        result.unlink(missing_ok=True)
        shown = _one(job, result, out)
        if shown.verdict != "invalid":
            break
    return shown


def _one(job: Job, result: Path, out: str) -> Shown:
    words = [sys.executable, "-m", "tests.faults.one", job.guard, job.fault, str(result), out]
    limit = 4 * GUARDS[job.guard].seconds + LOADED_SECONDS
    process = run_in_sandbox(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, preexec_fn=dies_with_parent()
    )
    try:
        said = process.communicate(timeout=limit)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        said = process.communicate()[0] + f"\nnot done within {limit:.0f} s"
    if result.exists():
        return Shown.read(result)
    last = said.strip().splitlines()[-1:] or ["nothing"]
    return Shown("broken", last[0], [f"{ITSELF}broken: {last[0]}"], 0, 0)


def wrong(job: Job, shown: Shown) -> str:
    """What is not as it should be, "" if nothing: a fault is red where it must be; without one all is green."""
    if job.planted is None:
        return "" if shown.verdict == "pass" else f"without a fault it is red: {shown.reason}"
    if shown.verdict != "fail":
        return f"it does not fail, but {shown.verdict}: {shown.reason}"
    wanted = {name: tuple(name.split(" | ")) for name in job.planted.red}
    missing = [name for name, either in wanted.items() if not any(one.startswith(either) for one in shown.red)]
    return f"not red: {'; '.join(missing)}; red: {'; '.join(shown.red)}" if missing else ""
