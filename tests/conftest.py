"""What all tests share: `kernel` tests are skipped by name where they cannot run; what root makes is given back."""

from __future__ import annotations

import functools
import os

import pytest

from scenarios import needs, ownership


@functools.cache
def _lacking() -> str | None:
    """Why this machine can run no `kernel` test."""
    if os.geteuid() != 0:
        return "needs root: run ./run_all.sh test"
    wrong = needs.missing(needs.FEATURES)
    return wrong[0] if wrong else None


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("kernel") is not None and (reason := _lacking()) is not None:
        pytest.skip(reason)


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # not in the workers of a parallel run
        ownership.give_back()
