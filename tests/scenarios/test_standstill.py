"""The watch over the machine's clock, which is a process of its own and sees what happens to processes."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from scenarios import standstill


def watchers() -> list[int]:
    return [int(pid) for pid in Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()]


def test_a_standstill_is_seen_and_the_longest_counts() -> None:
    before = set(watchers())
    with standstill.watched() as longest:
        (watcher,) = set(watchers()) - before
        for seconds in (0.2, 0.6, 0.1):
            os.kill(watcher, signal.SIGSTOP)
            time.sleep(seconds)
            os.kill(watcher, signal.SIGCONT)
            time.sleep(0.1)
        assert longest() >= 0.6 - 2 * standstill.TICK_SECONDS


def test_one_that_lasts_to_the_end_counts() -> None:
    before = set(watchers())
    with standstill.watched() as longest:
        (watcher,) = set(watchers()) - before
        os.kill(watcher, signal.SIGSTOP)
        threading.Timer(0.6, os.kill, (watcher, signal.SIGCONT)).start()
        assert longest() >= 0.6 - 2 * standstill.TICK_SECONDS


def test_a_watch_that_ends_is_told_of() -> None:
    before = set(watchers())
    with standstill.watched() as longest:
        (watcher,) = set(watchers()) - before
        os.kill(watcher, signal.SIGKILL)
        with pytest.raises(standstill.Standstill, match="ended with status -9"):
            longest()
