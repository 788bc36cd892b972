"""The watch over the machine's clock, which is a process of its own and sees what happens to processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from scenarios import standstill

ROOT = Path(standstill.__file__).resolve().parents[1]


def watchers() -> list[int]:
    return [int(pid) for pid in Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()]


def test_the_longest_counts_not_all_together() -> None:
    before = set(watchers())
    with standstill.watched() as longest:
        (watcher,) = set(watchers()) - before
        for seconds in (0.2, 0.7, 0.2, 0.2):
            os.kill(watcher, signal.SIGSTOP)
            time.sleep(seconds)
            os.kill(watcher, signal.SIGCONT)
            time.sleep(0.1)
        found = longest()
        assert found is not None
        assert 0.7 - 2 * standstill.TICK_SECONDS <= found < 1.2


def test_one_that_lasts_to_the_end_counts() -> None:
    before = set(watchers())
    with standstill.watched() as longest:
        (watcher,) = set(watchers()) - before
        os.kill(watcher, signal.SIGSTOP)
        threading.Timer(0.6, os.kill, (watcher, signal.SIGCONT)).start()
        assert (longest() or 0) >= 0.6 - 2 * standstill.TICK_SECONDS


def test_a_watch_that_was_killed_knows_nothing() -> None:
    before = set(watchers())
    with standstill.watched() as longest:
        (watcher,) = set(watchers()) - before
        os.kill(watcher, signal.SIGKILL)
        assert longest() is None


def test_it_ends_in_silence_with_a_run_that_is_killed() -> None:
    """Whose last words would else not be the run's own."""
    words = [sys.executable, "-c", "import os, time\nfrom scenarios import standstill\nwith standstill.watched():\n"
             "    print(os.getpid(), flush=True)\n    time.sleep(60)\n"]  # fmt: skip
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as run:
        assert run.stdout is not None
        run.stdout.readline()
        run.kill()
        assert run.communicate(timeout=10) == ("", "")  # which waits for the end of all that may write there
