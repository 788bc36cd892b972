"""One variant of one scenario, in this process: `python -m scenarios.one NAME --seed N --profile P --ip V --out DIR`.

The runner starts this in a sandbox.  It writes DIR/result.json at the very end, its steps to DIR/steps.jsonl, and a
traceback, if there is one, to standard error.  Exit status 0 for pass and skip, 1 otherwise.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
import traceback
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import FrameType

from scenarios import needs, registry, standstill
from scenarios.base import Context, Scenario
from scenarios.result import Result
from scenarios.verdict import Check, Invalid, Skip, Verdict, overall
from topologies.capture import CaptureIncomplete


def perform(scenario: Scenario, context: Context) -> Result:
    """Runs it and writes result.json."""
    started, began = datetime.now().astimezone(), time.monotonic()
    verdict, reason, checks = judged(scenario.run, context)
    result = Result(
        scenario=scenario.name,
        claim=scenario.claim,
        verdict=verdict,
        reason=reason,
        seed=context.seed,
        profile=context.profile,
        ip=context.ip,
        started=started.isoformat(timespec="milliseconds"),
        wall_seconds=round(time.monotonic() - began, 3),
        checks=checks,
        reported=context.reported,
        versions={"python": sys.version.split()[0], **needs.versions(scenario.needs)},
    )
    result.write(context.out)
    return result


def judged(run: Callable[[Context], list[Check]], context: Context) -> tuple[Verdict, str, list[Check]]:
    """What a run has shown, why in one sentence, and its checks.  Every exception becomes a verdict; what fails while
    the machine stands still shows nothing."""
    checks: list[Check] = []
    with standstill.watched() as longest:
        try:
            checks = run(context)
            verdict, reason = overall(checks)
        except (Invalid, CaptureIncomplete) as cause:
            verdict, reason = Verdict.INVALID, one_line(cause)
        except Skip as cause:
            verdict, reason = Verdict.SKIP, one_line(cause)
        except Exception as error:  # noqa: BLE001  whatever it is, it is the run's outcome, and the traceback is kept
            traceback.print_exc()
            verdict, reason = Verdict.FAIL, f"{type(error).__name__}: {one_line(error)}"
        seconds = longest()
    context.report("the longest that this machine stood still", seconds, "s")
    if verdict is Verdict.FAIL and seconds is not None and seconds >= standstill.LIMIT_SECONDS:
        return Verdict.INVALID, f"this machine stood still for {seconds:.1f} s, so this shows nothing: {reason}", checks
    return verdict, reason, checks


def one_line(error: BaseException) -> str:
    """The first line of what an exception says."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else "no message"


def _terminated(signum: int, _: FrameType | None) -> None:
    """Ends the run through its `finally` clauses."""
    sys.exit(128 + signum)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m scenarios.one", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--profile", required=True)
    parser.add_argument("--ip", type=int, choices=(4, 6), required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--package", default=registry.PACKAGE)
    chosen = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _terminated)
    try:
        scenario = registry.load(chosen.name, chosen.package)()
    except registry.UnknownScenario as error:
        print(f"scenarios: {error}", file=sys.stderr)
        return 2
    chosen.out.mkdir(parents=True, exist_ok=True)
    result = perform(scenario, Context(chosen.seed, chosen.profile, chosen.ip, chosen.out.resolve()))
    return 0 if result.verdict in (Verdict.PASS, Verdict.SKIP) else 1


if __name__ == "__main__":
    sys.exit(main())
