"""How long this machine has stood still at a time, as an ordinary process sees it: `python -m scenarios.standstill`.

A guest whose host has other things to do, or a machine with far too many programs, runs none of ours for a while, and
the clock goes on: timers of TCP's then expire for which nothing was lost.  The process looks at the clock until its
input is closed, and then prints by how much it was late at most, in seconds.
"""

from __future__ import annotations

import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

TICK_SECONDS = 0.02
LIMIT_SECONDS = 0.5
"""TCP's first timeout is 1 s (RFC 6298), a scenario's longest round trip about half of that: after a standstill of the
rest a SYN goes out again for which nothing was lost.  A machine that is merely busy is late by 0.3 s now and then."""
_PATIENCE_SECONDS = 10.0


@contextmanager
def watched() -> Iterator[Callable[[], float | None]]:
    """For the length of the block; what it gives ends the watch, and is the longest standstill in seconds, None where
    the watch has been killed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "scenarios.standstill"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parent.parent,
    )

    def longest() -> float | None:
        said, _ = process.communicate(timeout=_PATIENCE_SECONDS)
        return float(said) if process.returncode == 0 else None

    try:
        assert process.stdout is not None
        process.stdout.readline()  # it is at work
        yield longest
    finally:
        process.kill()
        process.wait()


def main() -> int:
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a run that was killed does not listen any more
    longest, last = 0.0, time.monotonic()
    print("watching", flush=True)
    while not select.select([sys.stdin], [], [], TICK_SECONDS)[0]:
        now = time.monotonic()
        longest, last = max(longest, now - last - TICK_SECONDS), now
    print(round(max(longest, time.monotonic() - last - TICK_SECONDS), 3))
    return 0


if __name__ == "__main__":
    sys.exit(main())
