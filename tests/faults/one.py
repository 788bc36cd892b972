"""One run in a sandbox: `python -m tests.faults.one GUARD FAULT RESULT OUT`; writes what was red to the file RESULT."""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path

from scenarios.base import Context
from scenarios.one import one_line
from scenarios.programs import Migrated
from scenarios.replicas import Wedge
from scenarios.verdict import Check, Invalid, Verdict, overall
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
    """As `scenarios.one.perform` judges it."""
    began = time.monotonic()
    checks: list[Check] = []
    try:
        checks = GUARDS[guard](context)
        verdict, reason = overall(checks)
        red = [check.name for check in checks if check.verdict is not Verdict.PASS]
    except Invalid as cause:
        verdict, reason = Verdict.INVALID, one_line(cause)
        red = [ITSELF + reason]
    except Exception as error:  # noqa: BLE001  as in a scenario's run
        traceback.print_exc()
        verdict, reason = Verdict.FAIL, f"{type(error).__name__}: {one_line(error)}"
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
