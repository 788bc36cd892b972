"""What the commands have in common: their arguments, and how those that run for long say how far they are."""

from __future__ import annotations

import argparse
import os
import time
from typing import NoReturn, TextIO

USAGE = 2


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence."""

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"{self.prog}: {message}; see {self.prog} --help\n")


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

    def close(self) -> None:
        if self._live:
            self._stream.write("\n")
