"""What a planted fault is: a rule of the protocol that migrated breaks, and the scenario that must notice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

ITSELF = "the run itself: "
"""In front of what a run says that could not come to its end."""
STALLED = ITSELF + "ProgramError: curl has"
RESET_SEEN = f"{STALLED} | {ITSELF}ProgramError: the server's kernel has no connection to the old address any more"
SLOW = STALLED + " received only"
UPLOAD_STALLED = ITSELF + "ProgramError: upload, the mobile moves does not end"
NOT_MOVED = ITSELF + "ProgramError: connections have not moved"
NO_EVENT_OF_SERVER, NO_EVENT_OF_MOBILE = (
    f"{ITSELF}NotTold: {host}-events.jsonl has no such event" for host in ("server", "mobile")
)
NO_EVENT = f"{NO_EVENT_OF_SERVER} | {NO_EVENT_OF_MOBILE}"
"""Of `rapid`, where it is drawn by lot which of them is waited for."""

Place = tuple[Callable[..., Any], str, str]
"""A function of migrated, an expression that it contains once, and what stands there instead."""


@dataclass(frozen=True)
class Fault:
    """One fault, planted in the migrated of all hosts, or in the wedges of all replicas."""

    name: str
    """What migrated, or the wedge, does, in words."""
    rule: str
    """The rule of the protocol: what it should do."""
    places: tuple[Place, ...]
    guard: str
    """One of `guards.GUARDS`: the scenario, or the part of it, that must go red."""
    red: tuple[str, ...]
    """Checks that must be red: beginnings of their names.  Where the fault keeps the run from coming to its end there
    are none: the beginning of what the run itself says then.  " | " stands between what may be said instead."""
    wedge: str = ""
    """A mistake of tests/failover/wrong_wedge.py; then there are no `places`."""
    quick: bool = False
    """Part of the test suite; the others are of `python -m tests.faults` only."""
