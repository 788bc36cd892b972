"""The command line: measures what is named, shows it, and writes it down."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
import traceback
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from analysis.capture import CaptureError
from analysis.measures import NoMeasure
from benchmarks.answer_time import AnswerTime
from benchmarks.failover import TakeOver, TakeOverAll, WedgeCost
from benchmarks.interruption import InterruptionTime
from benchmarks.measurement import Measurement, NotMeasured, Session
from benchmarks.report import NOT_MEASURED, Failure, Row, document, status, table
from benchmarks.resume import Resume
from benchmarks.setup_rate import SetupRate
from benchmarks.throughput import Throughput
from scenarios import needs, ownership
from scenarios.command import INTERRUPTED, USAGE, Parser, Progress, whole
from scenarios.display import colourful
from scenarios.programs import ProgramError
from topologies import sandbox
from topologies.cable import CableError
from topologies.nodes import NodeError

MEASUREMENTS: tuple[Measurement, ...] = (Throughput(), SetupRate(), AnswerTime(), InterruptionTime(), Resume(),
                                          WedgeCost(), TakeOver(), TakeOverAll())  # fmt: skip
NEEDS = (*needs.TOPOLOGY, *needs.MIGRATE, *needs.DOWNLOAD, needs.Program("iperf3"), needs.Program("tcpdump"))


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    known = "\n".join(f"  {each.name:14}{each.about}" for each in MEASUREMENTS)
    made = Parser(
        prog="python -m benchmarks",
        description="Measures how fast Migrate is, beside plain TCP or in round trips, in a sandbox.",
        epilog=f"measurements:\n{known}\n\nExit status: 0 when all was measured, 1 with --check when a target is "
        "missed, 2 for a mistake in the command,\n3 when something could not be measured.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("names", metavar="NAME", nargs="*", help="what to measure (default: everything)")
    made.add_argument("--json", type=Path, metavar="FILE", default=ownership.ROOT / "out" / "benchmarks.json",
                      help="where to write all numbers (default out/benchmarks.json)")  # fmt: skip
    made.add_argument("--runs", type=whole(1), metavar="N", help="pairs of blocks, or moves (default: each its own)")
    made.add_argument("--quick", action="store_true", help="few repetitions: shows that it works, and little else")
    made.add_argument("--check", action="store_true", help="exit with status 1 when a target is missed")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Carries out a command; the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    chosen = parser().parse_args(given)
    unknown = [name for name in chosen.names if name not in {each.name for each in MEASUREMENTS}]
    if unknown:
        there = ", ".join(each.name for each in MEASUREMENTS)
        print(f"python -m benchmarks: unknown measurement '{unknown[0]}': those there are: {there}", file=sys.stderr)
        return USAGE
    if not sandbox.is_inside():
        if os.geteuid() != 0:
            print("python -m benchmarks: network namespaces need root: run it with sudo, or as root", file=sys.stderr)
            return NOT_MEASURED
        lacking = needs.missing(NEEDS)
        if lacking:
            print(f"python -m benchmarks: {lacking[0]}", file=sys.stderr)
            return NOT_MEASURED
        try:
            return sandbox.main(["--", sys.executable, "-m", "benchmarks", *given])
        finally:
            ownership.give_back([chosen.json])
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        return _run(chosen)
    except KeyboardInterrupt:
        print("\npython -m benchmarks: interrupted; nothing was written", file=sys.stderr)
        return INTERRUPTED


def _run(chosen: argparse.Namespace) -> int:
    rows: list[Row] = []
    failures: list[Failure] = []
    facts = _circumstances(chosen)
    progress = Progress(sys.stdout)
    for each in MEASUREMENTS:
        if chosen.names and each.name not in chosen.names:
            continue

        def step(text: str, name: str = each.name) -> None:
            progress.say(f"{name}: {text}", now=True)

        with tempfile.TemporaryDirectory(prefix="migrate-benchmarks-", dir="/var/tmp") as work:
            try:
                rows += each.measure(Session(Path(work), step, chosen.quick, chosen.runs))
            except (NotMeasured, NoMeasure, CaptureError, ProgramError, NodeError, CableError) as reason:
                failures.append(Failure(each.name, str(reason)))
            except Exception as error:  # noqa: BLE001  the other measurements are made all the same
                progress.clear()
                traceback.print_exc()
                failures.append(Failure(each.name, f"{type(error).__name__}: {error}"))
    progress.clear()
    print(table(rows, failures, colourful(sys.stdout)))
    facts["load_at_end"] = os.getloadavg()[0]
    chosen.json.parent.mkdir(parents=True, exist_ok=True)
    chosen.json.write_text(json.dumps(document(rows, failures, facts), indent=1) + "\n")
    return status(rows, failures, chosen.check)


def _circumstances(chosen: argparse.Namespace) -> dict[str, Any]:
    return {
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "kernel": platform.release(),
        "processors": os.cpu_count(),
        "load_at_start": os.getloadavg()[0],
        "python": platform.python_version(),
        "quick": chosen.quick,
        "runs": chosen.runs,
    }
