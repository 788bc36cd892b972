"""A worker serves only under the guardian that has started it, and ends with it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from migrate.daemon import guardian
from migrate.daemon.loaded import Loaded
from migrate.linux.journal import Journal


def test_a_worker_whose_guardian_dies_before_it_has_run_at_all_does_not_serve() -> None:
    read, write = os.pipe()

    def serve(_: Journal) -> int:
        os.write(write, b"it serves")
        return 0

    parent = os.fork()
    if parent == 0:
        parent = os.getpid()
        if os.fork() == 0:
            while os.getppid() == parent:
                time.sleep(0.001)
            guardian._in_child(serve, cast(Journal, None), parent)
        os._exit(0)
    os.waitpid(parent, 0)
    os.close(write)
    with os.fdopen(read, "rb") as said:
        assert said.read() == b""


def ends(begin: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether a guardian ends, with its worker, that does this where it would fork."""
    fork = os.fork
    monkeypatch.setattr(Loaded, "load", lambda *_: None)
    monkeypatch.setattr(guardian, "recover", lambda *_: None)

    def serve(*_: object) -> int:
        time.sleep(60)
        return 3

    parent = fork()
    if parent == 0:
        os.setpgid(0, 0)

        def forks() -> int:
            begin()
            return fork()

        monkeypatch.setattr(os, "fork", forks)
        os._exit(guardian.guard(serve, cast(Journal, None), Path(), Path()))
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if (ended := os.waitpid(parent, os.WNOHANG)) != (0, 0):
            return os.waitstatus_to_exitcode(ended[1]) == 0
        time.sleep(0.01)
    os.killpg(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    return False


def tell() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_who_is_told_to_end_just_before_it_forks_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ends(tell, monkeypatch)


def test_who_is_told_to_end_just_after_it_has_forked_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ends(lambda: threading.Timer(0.2, tell).start(), monkeypatch)
