"""One run in a sandbox: `python -m tests.faults.one GUARD FAULT RESULT OUT`; writes what was red to the file RESULT."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from scenarios.base import Context
from scenarios.one import judged
from scenarios.programs import Migrated
from scenarios.replicas import Wedge
from scenarios.verdict import Verdict
from tests.faults.fault import ITSELF
from tests.faults.guards import GUARDS
from tests.faults.planted import VARIABLE
from tests.faults.table import FAULTS

IN_THE_SANDBOX = "/run/faults"
"""Its own tmpfs, gone with it."""


@dataclass(frozen=True)
class Shown:
    """What one run has shown.  `red`: the names of the checks that did not pass; `ITSELF` and why where there are none,
    because it could not come to its end."""

    verdict: str
    reason: str
    red: list[str]
    checks: int
    seconds: float

    @classmethod
    def read(cls, file: Path) -> Shown:
        return cls(**json.loads(file.read_text()))


def show(guard: str, context: Context) -> Shown:
    """As a scenario's run is judged."""
    began = time.monotonic()
    verdict, reason, checks = judged(GUARDS[guard], context)
    red = [check.name for check in checks if check.verdict is not Verdict.PASS]
    if not checks:
        red = [ITSELF + reason]
    return Shown(verdict, reason, red, len(checks), round(time.monotonic() - began, 1))


def plant_in_wedges(mistake: str) -> None:
    """In those that are started from now on; "" for none."""
    os.environ["WRONG"] = mistake
    Wedge.MODULE = "tests.failover.wrong_wedge" if mistake else "migrate.failover"


def main() -> int:
    guard, fault, result, out = sys.argv[1:]
    os.environ[VARIABLE] = fault
    Migrated.MODULE = "tests.faults.planted"
    plant_in_wedges(FAULTS[fault].wedge if fault else "")
    place = Path(out)
    place.mkdir(parents=True)
    shown = show(guard, Context(seed=1, profile="paper", ip=4, out=place, pictures=out != IN_THE_SANDBOX))
    Path(result).write_text(json.dumps(asdict(shown)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
