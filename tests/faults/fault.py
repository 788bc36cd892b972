"""What a planted fault is: a rule of the protocol that migrated breaks, and the scenario that must notice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Place = tuple[Callable[..., Any], str, str]
"""A function of migrated, an expression that it contains once, and what stands there instead."""


@dataclass(frozen=True)
class Fault:
    """One fault, planted in the migrated of both hosts."""

    name: str
    """What migrated does, in words."""
    rule: str
    """What it should do, as protocol.md has it."""
    places: tuple[Place, ...]
    guard: str
    """One of `guards.GUARDS`: the scenario, or the part of it, that must go red."""
    red: tuple[str, ...]
    """Checks that must be red: beginnings of their names; or of "the run itself", where it cannot come to its end."""
    quick: bool = False
    """Part of the test suite; the others are of `python -m tests.faults` only."""
