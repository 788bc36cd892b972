"""Runs variants side by side, each a process in a sandbox of its own, and sees each of them to its end.

A run tells its steps by a file, and its result by result.json; a run that ends without one has failed.  However the
runner ends, its runs end with it.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import FrameType
from typing import IO, Protocol

from scenarios.base import STEPS_FILE
from scenarios.ownership import ROOT
from scenarios.registry import PACKAGE
from scenarios.result import Result
from scenarios.variants import LOG_FILE, Variant
from scenarios.verdict import Verdict

SANDBOX = (sys.executable, "-m", "topologies.sandbox", "--")
"""What a run is started with: its namespaces, processes and cgroup end with it."""
POLL_SECONDS = 0.1
GRACE_SECONDS = 20.0
"""How long a run that was told to end may take before it is killed; the sandbox gives its programs 15 s of it."""
_PR_SET_PDEATHSIG = 1


class Watcher(Protocol):
    """Who is told how the runs go."""

    def started(self, run: Run) -> None: ...
    def stepped(self, run: Run) -> None: ...
    def finished(self, run: Run, result: Result) -> None: ...
    def waiting(self, running: Sequence[Run]) -> None:
        """Called every `POLL_SECONDS`."""


@dataclass
class Run:
    """A variant that is running."""

    variant: Variant
    process: subprocess.Popen[bytes]
    started: str
    began: float = field(default_factory=time.monotonic)
    step: str = "starting"
    stopped: str = ""
    """Why it was told to end, if it was."""
    stop_verdict: Verdict = Verdict.FAIL
    kill_at: float = 0.0
    _read: int = 0

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def news(self) -> list[str]:
        """The steps that it has told since the last look."""
        try:
            with (self.variant.out / STEPS_FILE).open("rb") as file:
                file.seek(self._read)
                text = file.read()
        except FileNotFoundError:
            return []
        whole = text[: text.rfind(b"\n") + 1]
        self._read += len(whole)
        return [str(json.loads(line)["step"]) for line in whole.splitlines()]

    def stop(self, reason: str, verdict: Verdict) -> None:
        """Tells it to end; the second time, and when its time for that is over, kills it."""
        if self.stopped:
            self.process.kill()
            return
        self.stopped, self.stop_verdict = reason, verdict
        self.kill_at = time.monotonic() + GRACE_SECONDS
        self.process.terminate()


@dataclass
class Runner:
    """Runs variants, at most `jobs` at a time.  `launcher` is put in front of each command."""

    watcher: Watcher
    jobs: int = 2
    launcher: Sequence[str] = SANDBOX
    package: str = PACKAGE
    interrupts: int = field(init=False, default=0)
    """How often the user has asked to stop."""

    def run(self, variants: Sequence[Variant]) -> list[Result]:
        """Runs them all; the results are in their order.  Those not begun when interrupted have none."""
        waiting, running = list(variants), list[Run]()
        results: dict[int, Result] = {}
        heeded = 0
        with _Signals(self._interrupted):
            try:
                while waiting or running:
                    while waiting and not self.interrupts and self._fits(waiting[0], running):
                        running.append(self._start(waiting.pop(0)))
                    time.sleep(POLL_SECONDS)
                    if heeded < self.interrupts:
                        heeded = self.interrupts
                        waiting = []
                        for run in running:
                            run.stop("it was interrupted", Verdict.INVALID)
                    for run in list(running):
                        if (result := self._look(run)) is not None:
                            running.remove(run)
                            results[id(run.variant)] = result
                            self.watcher.finished(run, result)
                    self.watcher.waiting(running)
            finally:
                for run in running:  # only where this loop itself fails
                    run.process.kill()
                    run.process.wait()
        return [results[id(variant)] for variant in variants if id(variant) in results]

    def _fits(self, variant: Variant, running: Sequence[Run]) -> bool:
        """Whether it may start beside these."""
        if not running:
            return True
        alone = variant.scenario.alone or any(run.variant.scenario.alone for run in running)
        return not alone and len(running) < self.jobs

    def _start(self, variant: Variant) -> Run:
        options = {"seed": variant.seed, "profile": variant.profile, "ip": variant.ip, "out": variant.out}
        command = [*self.launcher, sys.executable, "-m", "scenarios.one", variant.scenario.name]
        command += [part for key, value in options.items() for part in (f"--{key}", str(value))]
        command += ["--package", self.package]
        paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONUNBUFFERED": "1"}
        with (variant.out / LOG_FILE).open("wb") as log:
            process = self._spawn(command, log, environment)
        run = Run(variant, process, datetime.now().astimezone().isoformat(timespec="milliseconds"))
        self.watcher.started(run)
        return run

    @staticmethod
    def _spawn(command: list[str], log: IO[bytes], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        # A session of its own: Ctrl-C reaches the runner, which then ends its runs in order.
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
            preexec_fn=dies_with_parent(),
        )

    def _look(self, run: Run) -> Result | None:
        """Its result, if it has ended."""
        status = run.process.poll()
        for step in run.news():
            run.step = step
            self.watcher.stepped(run)
        if status is not None:
            return _judge(run, status)
        limit = run.variant.timeout_seconds
        if not run.stopped and run.seconds > limit:
            run.stop(f"it took longer than {limit:g} s, at '{run.step}'", Verdict.FAIL)
        elif run.stopped and time.monotonic() > run.kill_at:
            run.process.kill()
        return None

    def _interrupted(self, signum: int, _: FrameType | None) -> None:
        self.interrupts += 1


def _judge(run: Run, status: int) -> Result:
    """What a run that has ended with this status has shown."""
    out = run.variant.out
    if run.stopped:
        return _substitute(run, run.stop_verdict, f"stopped because {run.stopped}")
    try:
        result = Result.read(out)
    except ValueError as error:
        missing = "before it gave a result" if "is missing" in str(error) else f"and {error}"
        return _substitute(run, Verdict.FAIL, f"ended {_how(status)} {missing}{_last_words(run)}")
    if status != 0 and result.verdict in (Verdict.PASS, Verdict.SKIP):
        reason = f"ended {_how(status)} although all that it checked passed{_last_words(run)}"
        result = replace(result, verdict=Verdict.FAIL, reason=reason)
        result.write(out)
    return result


def _substitute(run: Run, verdict: Verdict, reason: str) -> Result:
    """The result of a run that could not write one; written in its place."""
    variant = run.variant
    scenario = variant.scenario
    result = Result(
        scenario.name, scenario.claim, verdict, reason, variant.seed, variant.profile, variant.ip,
        started=run.started, wall_seconds=round(run.seconds, 3),
    )  # fmt: skip
    result.write(variant.out)
    return result


def _how(status: int) -> str:
    """A process's end in words; a sandbox adds 128 to the signal that killed its command."""
    number = -status if status < 0 else status - 128
    names = {each.value: each.name for each in signal.Signals}
    return f"by {names[number]}" if number in names else f"with status {status}"


def _last_words(run: Run) -> str:
    lines = (run.variant.out / LOG_FILE).read_text(errors="replace").strip().splitlines()
    return f": {lines[-1].strip()}" if lines else ""


def dies_with_parent() -> Callable[[], None]:
    """For a child: should its parent be killed, it is killed too, and its sandbox with it."""
    libc = ctypes.CDLL(None)
    parent = os.getpid()

    def ask() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:  # it ended before it was asked
            os.kill(os.getpid(), signal.SIGKILL)

    return ask


class _Signals:
    """While it lasts, SIGINT, SIGTERM and SIGHUP call `handler`."""

    _NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self, handler: Callable[[int, FrameType | None], None]) -> None:
        self._handler = handler

    def __enter__(self) -> None:
        self._before = [signal.signal(number, self._handler) for number in self._NUMBERS]

    def __exit__(self, *_: object) -> None:
        for number, before in zip(self._NUMBERS, self._before, strict=True):
            signal.signal(number, before)
