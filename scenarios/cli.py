"""The command line: `python -m scenarios`, which run_all.sh calls once everything is set up."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from scenarios import display, registry
from scenarios.base import Scenario
from scenarios.command import INTERRUPTED, USAGE, Parser, positive, whole
from scenarios.display import Display
from scenarios.needs import FEATURES, Need
from scenarios.ownership import ROOT, give_back
from scenarios.result import Result
from scenarios.runner import SANDBOX, Runner
from scenarios.variants import BadChoice, Variant, choose, prepare
from scenarios.verdict import Verdict

DEFAULT_SEED = 1


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    made = Parser(
        prog="run_all.sh",
        description="Runs scenarios side by side, each in a sandbox of its own, and judges what they show.",
        epilog="Exit status: 0 if nothing failed or was invalid, 1 if something did, 2 for a mistake in the command.",
    )
    made.add_argument("names", metavar="NAME", nargs="*", help="the scenarios to run; all of them if none is named")
    made.add_argument("--list", action="store_true", help="say which scenarios there are")
    made.add_argument("--check", action="store_true", help="say which kernel features this machine has")
    made.add_argument("--seed", type=whole(0), default=DEFAULT_SEED, help="of the losses (default %(default)s)")
    made.add_argument("--profile", help="paper, modern or all (default: the scenario's first)")
    made.add_argument("--ip", choices=("4", "6", "all"), help="IP version (default: the scenario's first)")
    made.add_argument("--out", type=Path, default=ROOT / "out", help="directory of the results (default out)")
    made.add_argument("--jobs", type=whole(1), default=max(2, os.cpu_count() or 2), help="runs at a time (%(default)s)")
    made.add_argument(
        "--timeout", type=positive("seconds"), help="seconds that a run may take (default: the scenario's)"
    )
    made.add_argument("--package", default=registry.PACKAGE, help=argparse.SUPPRESS)
    return made


def main(arguments: Sequence[str] | None = None, launcher: Sequence[str] = SANDBOX) -> int:
    """Carries out a command; the exit status."""
    chosen = parser().parse_args(arguments)
    try:
        if chosen.list:
            return _list(chosen.package)
        if chosen.check:
            return _check(FEATURES)
        return _run(chosen, launcher)
    except (registry.UnknownScenario, BadChoice) as error:
        print(f"run_all.sh: {error}", file=sys.stderr)
        return USAGE


def _list(package: str) -> int:
    entries = registry.entries(package)
    width = max((len(entry.name) for entry in entries), default=0)
    for entry in entries:
        print(f"{entry.name:<{width}}  {entry.claim}")
    return 0


def _check(features: Sequence[Need]) -> int:
    """Lists kernel features; status 1 if one is missing."""
    width = max(len(feature.name) for feature in features)
    lacking = 0
    for feature in features:
        wrong = feature.missing()
        lacking += wrong is not None
        print(f"{feature.name:<{width}}  {'yes' if wrong is None else f'no: {wrong}'}")
    return 1 if lacking else 0


def _run(chosen: argparse.Namespace, launcher: Sequence[str]) -> int:
    names = list(dict.fromkeys(chosen.names)) or [entry.name for entry in registry.entries(chosen.package)]
    scenarios = [registry.load(name, chosen.package) for name in names]
    if not scenarios:
        raise registry.UnknownScenario("there are no scenarios")
    if launcher is SANDBOX and os.geteuid() != 0:
        print("run_all.sh: network namespaces need root: run it with sudo, or as root", file=sys.stderr)
        return 1
    out = chosen.out.resolve()
    lacking = _lacking(scenarios)
    if chosen.names and lacking:
        for name, sentences in lacking.items():
            print(f"run_all.sh: {name} cannot run here: {sentences[0]}", file=sys.stderr)
        return 1
    variants = choose(
        scenarios, profile=chosen.profile, ip=chosen.ip, seed=chosen.seed, out=out, timeout_seconds=chosen.timeout
    )
    prepare(variants, out)
    print(f"seed {chosen.seed}, results in {display.nearby(out)}/", flush=True)
    runnable = [variant for variant in variants if variant.scenario.name not in lacking]
    skipped = [variant for variant in variants if variant.scenario.name in lacking]
    runner = Runner(Display(sys.stdout, runnable), chosen.jobs, launcher, chosen.package)
    results = [*runner.run(runnable), *(_skip(variant, lacking[variant.scenario.name][0]) for variant in skipped)]
    give_back([out])
    return _close(results, [*runnable, *skipped], interrupted=runner.interrupts > 0)


def _lacking(scenarios: Sequence[type[Scenario]]) -> dict[str, list[str]]:
    """What is missing here, by the scenario that needs it; each thing is looked for once."""
    looked = {need: need.missing() for scenario in scenarios for need in scenario.needs}
    found = {}
    for scenario in scenarios:
        sentences = [wrong for need in scenario.needs if (wrong := looked[need]) is not None]
        if sentences:
            found[scenario.name] = sentences
    return found


def _skip(variant: Variant, reason: str) -> Result:
    scenario = variant.scenario
    result = Result(
        scenario.name, scenario.claim, Verdict.SKIP, reason, variant.seed, variant.profile, variant.ip,
        started=datetime.now().astimezone().isoformat(timespec="milliseconds"), wall_seconds=0.0,
    )  # fmt: skip
    result.write(variant.out)
    return result


def _close(results: Sequence[Result], variants: Sequence[Variant], interrupted: bool) -> int:
    """Prints the table; the exit status."""
    places = {(variant.scenario.name, variant.profile, variant.ip): variant.out for variant in variants}
    rows = [(result, places[result.scenario, result.profile, result.ip]) for result in results]
    print()
    print(display.table(rows, display.colourful(sys.stdout)))
    print(f"\n{display.counted(results)}", flush=True)
    if interrupted:
        print("run_all.sh: interrupted; all runs were stopped", file=sys.stderr)
        return INTERRUPTED
    return 1 if any(result.verdict in (Verdict.FAIL, Verdict.INVALID) for result in results) else 0
