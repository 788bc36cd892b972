"""What a person sees of the runs: progress while they last, a table at the end."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from scenarios.result import Result
from scenarios.runner import Run
from scenarios.variants import Variant
from scenarios.verdict import Verdict

_COLOURS = {Verdict.PASS: "32", Verdict.FAIL: "31", Verdict.INVALID: "35", Verdict.SKIP: "33"}


def colourful(stream: TextIO) -> bool:
    """Whether to write in colour there: a terminal, unless NO_COLOR is set."""
    return stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def painted(verdict: Verdict, colours: bool, width: int = 0) -> str:
    text = f"{verdict:<{width}}"
    return f"\033[{_COLOURS[verdict]}m{text}\033[0m" if colours else text


class Display:
    """Progress: in a terminal a line per running variant, redrawn; elsewhere a line per step."""

    def __init__(self, stream: TextIO, variants: Sequence[Variant]) -> None:
        self._stream = stream
        self._live = stream.isatty() and os.environ.get("TERM") != "dumb"
        self._colours = colourful(stream)
        self._width = max((len(variant.label) for variant in variants), default=0)
        self._drawn = 0

    def started(self, run: Run) -> None:
        if not self._live:
            self._say(run, "starting")

    def stepped(self, run: Run) -> None:
        if not self._live:
            self._say(run, run.step)

    def finished(self, run: Run, result: Result) -> None:
        self._erase()
        self._say(run, f"{painted(result.verdict, self._colours)}: {result.reason}")

    def waiting(self, running: Sequence[Run]) -> None:
        if not self._live:
            return
        self._erase()
        columns, lines = shutil.get_terminal_size()
        for run in list(running)[: max(1, lines - 2)]:
            step = "stopping" if run.stopped else run.step
            print(self._line(run, step)[: columns - 1], file=self._stream)
            self._drawn += 1
        self._stream.flush()

    def _erase(self) -> None:
        if self._drawn:
            self._stream.write(f"\033[{self._drawn}F\033[J")
            self._drawn = 0

    def _say(self, run: Run, text: str) -> None:
        print(self._line(run, text), file=self._stream, flush=True)

    def _line(self, run: Run, text: str) -> str:
        return f"{run.variant.label:<{self._width}}  {run.seconds:6.1f} s  {text}"


def table(results: Sequence[tuple[Result, Path]], colours: bool) -> str:
    """The verdicts, one line each with the directory to look in, and below it what was wrong."""
    labels = [f"{result.scenario} {result.profile}-ipv{result.ip}" for result, _ in results]
    width = max((len(label) for label in labels), default=0)
    lines = []
    for label, (result, directory) in zip(labels, results, strict=True):
        verdict = painted(result.verdict, colours, max(len(verdict) for verdict in Verdict))
        passed = sum(check.verdict is Verdict.PASS for check in result.checks)
        checks = f"{passed}/{len(result.checks)} checks"
        lines.append(f"{label:<{width}}  {verdict}  {checks:>12}  {result.wall_seconds:6.1f} s  {nearby(directory)}/")
        bad = [check for check in result.checks if check.verdict in (Verdict.FAIL, Verdict.INVALID)]
        lines += [f"    {painted(check.verdict, colours)}  {check.sentence()}" for check in bad]
        told = any(check.verdict is result.verdict for check in bad)  # by a check of its own
        if result.verdict is not Verdict.PASS and not told:
            lines.append(f"    {result.reason}")
    return "\n".join(lines)


def counted(results: Sequence[Result]) -> str:
    """How many there are of each verdict ("2 pass, 1 invalid")."""
    counts = Counter(result.verdict for result in results)
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict]) or "nothing ran"


def nearby(path: Path) -> Path:
    """The path as one would type it here."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
