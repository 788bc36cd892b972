"""What all tests share: `kernel` tests are skipped by name where they cannot run; what root makes is given back."""

from __future__ import annotations

import functools
import os

import pytest
from hypothesis import settings

from scenarios import needs, ownership

# The same examples in every run, so that a red test is red again; MIGRATE_EXAMPLES=5000 asks for as many new ones.  No
# deadlines: how long one takes depends on what else the machine does.
_wanted = os.environ.get("MIGRATE_EXAMPLES")
settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("long", deadline=None, max_examples=int(_wanted or 100))
settings.load_profile("long" if _wanted else "same")


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
