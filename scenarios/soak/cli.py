"""The command: walks for as long as asked, lets everything end, and compares what is left with what there was."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from random import Random

from scenarios import needs, ownership
from scenarios.command import Parser, Progress, carry_out, positive
from scenarios.programs import ProgramError, wait_until_closed
from scenarios.soak import leaks
from scenarios.soak.growth import Growth
from scenarios.soak.report import Document
from scenarios.soak.stage import Broken, Stage
from scenarios.soak.transfers import Transfers
from scenarios.soak.walk import Walk
from scenarios.verdict import Verdict

NEEDS = (
    *needs.TOPOLOGY, *needs.MIGRATE, *needs.DOWNLOAD, needs.Program("openssl"),
    *(needs.Program(name, "openssh-client", ("-V",)) for name in ("ssh", "scp")),
    needs.Program("sshd", "openssh-server", ("-V",)),
)  # fmt: skip
CYCLE_SECONDS = 300.0
"""In one cycle the mobile's daemon is killed, in the next the server's: the other one lives long enough for memory that
grows to be told from what a young process fills."""
DRAIN_SECONDS = 180.0
"""For what a program leaves to the kernel."""
HANDSHAKE_SECONDS = 30.0
FORGET_SECONDS = leaks.FORGOTTEN_SECONDS


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    made = Parser(
        prog="run_all.sh soak",
        description="Random moves of both ends, losses, outages and kills of daemons under downloads and uploads of "
        "real programs, IPv4 and IPv6; compares checksums and looks for leaks.",
        epilog="Exit status: 0 if all held, 1 if something did not or nothing was proved, 2 for a mistake in the "
        "command.  The counts are in OUT/soak/result.json.",
    )
    made.add_argument(
        "--minutes", type=positive("minutes"), default=10.0, help="how long, without its end (%(default)g)"
    )
    made.add_argument("--seed", type=int, default=1, help="of losses, moves and kills (default %(default)s)")
    made.add_argument("--out", type=Path, default=ownership.ROOT / "out", help="directory of the results (default out)")
    made.add_argument("--module", default="migrate.migrated", help=argparse.SUPPRESS)
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Carries out the command; the exit status."""
    return carry_out(parser(), arguments, NEEDS, "a soak", _run)


def _run(chosen: argparse.Namespace, out: Path) -> int:
    document = Document(seed=chosen.seed, minutes=chosen.minutes)
    document.write(out)  # so that this directory is known for what it is, however the run ends
    return Soak(out, document, chosen.module).run()


class Soak:
    """One run."""

    def __init__(self, out: Path, document: Document, module: str) -> None:
        self._out, self._document, self._module = out, document, module
        self._progress = Progress(sys.stdout)
        self._began = time.monotonic()
        self._growth = Growth(out / "memory.jsonl")

    def run(self) -> int:
        document = self._document
        self._progress.say(f"seed {document.seed}, {document.minutes:g} minutes, results in {self._out}", now=True)
        random = Random(document.seed)
        with Stage(self._out, document.seed, self._module) as stage:
            transfers = Transfers(stage, self._out, random)
            walk = Walk(stage, transfers, random, self._out / "walk.jsonl")
            broken = ""
            document.before = leaks.snapshot(stage)
            try:
                self._walk(stage, transfers, walk)
                self._drain(stage, transfers, walk)
            except (Broken, ProgramError) as error:
                broken = str(error)
            except Exception as error:  # noqa: BLE001  whatever it is, it is the run's outcome, and the traceback is kept
                traceback.print_exc()
                broken = f"{type(error).__name__}: {error}"
            if broken:
                self._keep(stage, broken)
            migrated = _moves(stage)
            with contextlib.suppress(Exception):
                walk.counts["packets lost at random"] = stage.lost()
            document.wall_seconds = round(time.monotonic() - self._began, 3)
            document.judge(broken, walk.counts, transfers.totals, migrated, self._growth)
        document.write(self._out)
        self._progress.close()
        self._tell()
        return 0 if document.verdict is Verdict.PASS else 1

    def _walk(self, stage: Stage, transfers: Transfers, walk: Walk) -> None:
        walk.begin()
        began = time.monotonic()
        length = min(CYCLE_SECONDS, 60 * self._document.minutes / 2)
        while not walk.counts["episodes"] or time.monotonic() < began + 60 * self._document.minutes:
            cycle = int((time.monotonic() - began) / length)
            walk.episode(victim=("mobile", "server")[cycle % 2])
            self._growth.look(stage.daemons, time.monotonic(), _moves(stage))
            counts, totals = walk.counts, transfers.totals
            self._progress.say(
                f"{counts['moves']} moves, {counts['outages']} outages, {counts['kills']} kills, "
                f"{totals.right} transfers ({totals.bytes / 1e6:.0f} MB) right"
            )

    def _drain(self, stage: Stage, transfers: Transfers, walk: Walk) -> None:
        """To the end of all transfers; then everything must be as it was."""
        self._progress.say("to the end of all transfers", now=True)
        walk.rest()
        end = time.monotonic() + DRAIN_SECONDS
        while transfers.running:
            transfers.collect()
            if time.monotonic() > end:
                raise Broken(f"{len(transfers.running)} transfers do not end: {', '.join(map(str, transfers.running))}")
            time.sleep(0.05)
        walk.give_up(HANDSHAKE_SECONDS)
        wait_until_closed(stage.hosts.values(), DRAIN_SECONDS)
        self._progress.say("waiting for what is remembered to be forgotten", now=True)
        before = self._document.before
        self._document.after = leaks.settle(stage, before, FORGET_SECONDS)
        if left := leaks.differences(before, self._document.after):
            raise Broken(f"something is left: {'; '.join(left)}")

    def _keep(self, stage: Stage, broken: str) -> None:
        """What a failure looks like from both hosts, for who is to find its cause."""
        lines = [broken, ""]
        for name, daemon in stage.daemons.items():
            with contextlib.suppress(Exception):
                lines += [f"--- {name}: daemon {'runs' if daemon.runs else 'is gone'}, present {stage.present}"]
                lines += [str(row) for row in daemon.ask(do="list") or ["it does not answer"]]
                lines += [stage.hosts[name].run(["ss", "-tanpieomH"], daemon=True).stdout]
                lines += [stage.hosts[name].ip("address"), stage.hosts[name].ip("-4", "route")]
                lines += daemon.events.read_text().splitlines()[-60:]
                lines += daemon.log.read_text().splitlines()[-30:]
                lines += ["pairs that are marked:", *leaks.watched(stage.hosts[name])]
        (self._out / "broken.txt").write_text("\n".join(lines) + "\n")

    def _tell(self) -> None:
        document = self._document
        for name, count in sorted(document.counts.items()):
            print(f"  {name:<34}{count:>14,}")
        for one in document.reported:
            print(f"  {one.name:<34}{one.value:>14,} {one.unit}")
        print(f"\nsoak {document.verdict}: {document.reason}")


def _moves(stage: Stage) -> dict[str, int]:
    """How often a connection has moved so far, by host."""
    return {name: _count(daemon.events, '"migrated"') for name, daemon in stage.daemons.items()}


def _count(path: Path, word: str) -> int:
    return path.read_text().count(word) if path.exists() else 0
