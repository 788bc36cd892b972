"""What the commands have in common: their arguments, and how those that run for long say how far they are."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn, TextIO

from scenarios import needs, ownership
from scenarios.result import FILE
from topologies import sandbox

USAGE = 2
INTERRUPTED = 130


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence."""

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"{self.prog}: {message}; see {self.prog} --help\n")


def whole(least: int) -> Callable[[str], int]:
    """The type of an argument that is a whole number from `least` up."""

    def parse(text: str) -> int:
        if not text.isascii() or not text.isdigit() or int(text) < least:
            raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from {least} up")
        return int(text)

    return parse


def positive(unit: str) -> Callable[[str], float]:
    """The type of an argument that is a number above 0 of seconds, or another unit."""

    def parse(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = -1.0
        if not 0 < number < float("inf"):
            raise argparse.ArgumentTypeError(f"'{text}' is not a number of {unit}")
        return number

    return parse


class Progress:
    """One line in a terminal, written over; elsewhere a line now and then."""

    EVERY_SECONDS = 15.0

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._began, self._last = stream, time.monotonic(), float("-inf")
        self._live = stream.isatty() and os.environ.get("TERM") != "dumb"

    def say(self, text: str, now: bool = False) -> None:
        at = time.monotonic()
        line = f"{at - self._began:8.1f} s  {text}"
        if self._live:
            self._stream.write(f"\r\033[K{line}")
        elif now or at - self._last >= self.EVERY_SECONDS:
            self._last = at
            self._stream.write(f"{line}\n")
        self._stream.flush()

    def clear(self) -> None:
        """The last line goes away."""
        if self._live:
            self._stream.write("\r\033[K")
            self._stream.flush()

    def close(self) -> None:
        """The last line stays."""
        if self._live:
            self._stream.write("\n")


def carry_out(
    parser: argparse.ArgumentParser,
    arguments: Sequence[str] | None,
    wanted: Sequence[needs.Need],
    what: str,
    run: Callable[[argparse.Namespace, Path], int],
) -> int:
    """A command that is no scenario, `run_all.sh NAME`, in a sandbox of its own; its exit status.  `run` gets the
    arguments and OUT/NAME, an empty directory for its results; `what` says whose results they are ("a soak")."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    chosen = parser.parse_args(given)
    name = parser.prog.split()[-1]
    status = _outside(parser.prog, name, wanted, chosen.out, given)
    if status is not None:
        return status
    out = (chosen.out / name).resolve()
    if not _emptied(parser.prog, what, out):
        return USAGE
    try:
        return run(chosen, out)
    except KeyboardInterrupt:
        print(f"\n{parser.prog}: interrupted; it was not judged", file=sys.stderr)
        return INTERRUPTED


def _outside(prog: str, name: str, wanted: Sequence[needs.Need], out: Path, given: Sequence[str]) -> int | None:
    """Carries the command out in a sandbox of its own, its exit status; None where this process is in it."""
    if sandbox.is_inside():
        return None
    if os.geteuid() != 0:
        print(f"{prog}: network namespaces need root: run it with sudo, or as root", file=sys.stderr)
        return 1
    lacking = needs.missing(wanted)
    if lacking:
        print(f"{prog}: {lacking[0]}", file=sys.stderr)
        return 1
    try:
        return sandbox.main(["--", sys.executable, "-m", f"scenarios.{name}", *given])
    finally:
        ownership.give_back([out])


def _emptied(prog: str, what: str, out: Path) -> bool:
    """Makes the directory of the results anew; False where there is something else than `what`.  From now on SIGTERM
    ends the command in order."""
    if out.exists():
        if any(out.iterdir()) and not (out / FILE).exists():
            print(f"{prog}: {out} is not the result of {what} and is left alone: choose another --out",
                  file=sys.stderr)  # fmt: skip
            return False
        shutil.rmtree(out)
    out.mkdir(parents=True)
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    return True
