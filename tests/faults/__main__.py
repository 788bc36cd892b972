"""Plants every fault of the table in a real migrated and runs the scenario that guards against it: it must go red.

    python -m tests.faults [-j N] [--keep DIR] [PART-OF-A-NAME-OR-GUARD...]

Each guard runs once without a fault, too, and must be green.  Needs root.  Exit status 0 if all is as it must be.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from tests.faults.one import Shown
from tests.faults.table import FAULTS
from tests.faults.together import Job, of, run, wrong

SHOWN = 3
"""Red checks named in a row of the table."""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="parts of names of faults or guards; default: all")
    parser.add_argument("-j", dest="at_once", type=int, default=4, help="runs side by side (default %(default)s)")
    parser.add_argument("--keep", default="", metavar="DIR", help="keep captures, logs and pictures there")
    chosen = parser.parse_args()
    faults = [one for one in FAULTS.values() if not chosen.names
              or any(name in one.name or name in one.guard for name in chosen.names)]  # fmt: skip
    if not faults:
        print(f"faults: none of the {len(FAULTS)} has that in its name or guard", file=sys.stderr)
        return 2
    jobs = of(faults)
    began, count = time.monotonic(), 0

    def done(job: Job, shown: Shown) -> None:
        nonlocal count
        count += 1
        said = wrong(job, shown) or "as it must be"
        print(f"{time.monotonic() - began:6.0f} s  {count}/{len(jobs)}  {job.guard}: {job.fault or 'no fault'}: "
              f"{shown.verdict} after {shown.seconds:.0f} s, {said}", flush=True)  # fmt: skip

    found = run(jobs, chosen.at_once, done, chosen.keep)
    print(table(found))
    bad = sum(bool(wrong(job, shown)) for job, shown in found.items())
    print(f"{len(jobs)} runs, {bad} not as they must be, {time.monotonic() - began:.0f} s")
    return 1 if bad else 0


def table(found: dict[Job, Shown]) -> str:
    """A row for each run: the fault, the scenario that guards against it, and what went red."""
    rows: list[Sequence[str]] = [("fault", "guard", "verdict", "red")]
    for job, shown in sorted(found.items(), key=lambda pair: (pair[0].guard, bool(pair[0].fault))):
        names = sorted(shown.red, key=lambda name: not _wanted(job, name))
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        mark = "!! " if wrong(job, shown) else ""
        rows.append((mark + (job.fault or "none"), job.guard, shown.verdict, "; ".join(names[:SHOWN]) + more or "-"))
    widths = [max(len(row[at]) for row in rows) for at in range(3)]
    return "\n".join("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]])
                     for row in rows)  # fmt: skip


def _wanted(job: Job, name: str) -> bool:
    return job.planted is not None and any(name.startswith(tuple(wanted.split(" | "))) for wanted in job.planted.red)


if __name__ == "__main__":
    sys.exit(main())
