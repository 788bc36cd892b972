"""The command: strikes until so many replicas have been killed, lets every download end, and judges them."""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from random import Random

from scenarios import needs, ownership
from scenarios.chaos.downloads import NGINX_LINES, Downloads, furnish
from scenarios.chaos.fates import Fates, read, read_strikes
from scenarios.chaos.replica import MSL_SECONDS, REPLICAS, Broken
from scenarios.chaos.report import Document
from scenarios.chaos.stage import Stage
from scenarios.chaos.strikes import Strikes
from scenarios.command import Parser, Progress, carry_out, whole
from scenarios.programs import ProgramError
from scenarios.soak import leaks
from scenarios.verdict import Verdict

NEEDS = (*needs.TOPOLOGY, *needs.MIGRATE, *needs.DOWNLOAD)
PAUSE_SECONDS = 0.002
END_SECONDS = 2 * MSL_SECONDS + 60.0
"""After the last strike: those whose server nobody has heard of wait for 2MSL."""
DRAIN_SECONDS = leaks.FORGOTTEN_SECONDS
"""What a program leaves to the kernel is gone before."""


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    made = Parser(
        prog="run_all.sh chaos",
        description="Kills, freezes, partitions and restarts of replicas at random instants of random downloads by "
        "curl, small and large, several clients at once, IPv4 and IPv6; compares checksums.",
        epilog="Exit status: 0 if all held, 1 if something did not or nothing was proved, 2 for a mistake in the "
        "command.  The counts are in OUT/chaos/result.json.",
    )
    made.add_argument("--kills", type=whole(1), default=300, help="how many, of replicas with clients (%(default)s)")
    made.add_argument("--seed", type=int, default=1, help="of downloads and strikes (default %(default)s)")
    made.add_argument("--out", type=Path, default=ownership.ROOT / "out", help="directory of the results (default out)")
    made.add_argument("--module", default="migrate.failover", help=argparse.SUPPRESS)
    made.add_argument("--migrated", default="migrate.migrated", help=argparse.SUPPRESS)
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Carries out the command; the exit status."""
    return carry_out(parser(), arguments, NEEDS, "a run", _run)


def _run(chosen: argparse.Namespace, out: Path) -> int:
    document = Document(seed=chosen.seed, kills=chosen.kills)
    document.write(out)  # so that this directory is known for what it is, however the run ends
    return Chaos(out, document, chosen.module, chosen.migrated).run()


class Chaos:
    """One run."""

    def __init__(self, out: Path, document: Document, module: str, migrated: str) -> None:
        self._out, self._document, self._module, self._migrated = out, document, module, migrated
        self._progress = Progress(sys.stdout)
        self._began = time.monotonic()

    def run(self) -> int:
        document, random = self._document, Random(self._document.seed)
        self._progress.say(f"seed {document.seed}, {document.kills} kills, results in {self._out}", now=True)
        root = self._out / "www"
        sums = furnish(root, random)
        with Stage(self._out, root, self._module, NGINX_LINES, random, self._migrated) as stage:
            document.before = leaks.snapshot(stage)
            unwatch = stage.watch()
            downloads = Downloads(stage, self._out, root, sums, random)
            strikes = Strikes(stage, random, self._out / "strikes.jsonl")
            broken = ""
            try:
                self._strike(downloads, strikes)
                self._end(downloads, strikes)
                unwatch()
                self._drain(stage, downloads, strikes)
            except (Broken, ProgramError) as error:
                broken = str(error)
            except Exception as error:  # noqa: BLE001  whatever it is, it is the run's outcome, and the traceback is kept
                traceback.print_exc()
                broken = f"{type(error).__name__}: {error}"
            if broken:
                self._keep(stage, broken)
        wedges = read(self._out / f"{name}-wedge.jsonl" for name in REPLICAS)
        clients = {name: read([self._out / f"{name}-events.jsonl"]) for name in stage.clients}
        document.wall_seconds = round(time.monotonic() - self._began, 3)
        fates = Fates(downloads.over, wedges, clients, read_strikes(self._out / "strikes.jsonl"))
        document.judge(broken, strikes.counts, downloads.started, downloads.bytes, fates)
        document.write(self._out)
        self._progress.close()
        self._tell()
        return 0 if document.verdict is Verdict.PASS else 1

    def _strike(self, downloads: Downloads, strikes: Strikes) -> None:
        while strikes.counts["kills"] < self._document.kills:
            self._step(downloads, strikes, True)
            counts = strikes.counts
            self._progress.say(
                f"{counts['kills']} kills, {counts['strikes']} strikes, "
                f"{len(downloads.over)} downloads over ({downloads.bytes / 1e6:.0f} MB)"
            )

    def _step(self, downloads: Downloads, strikes: Strikes, on: bool) -> None:
        strikes.step(downloads.step(on), on)
        if (wrong := downloads.wrong()) or (wrong := downloads.stuck()):
            raise Broken(wrong)
        time.sleep(PAUSE_SECONDS)

    def _end(self, downloads: Downloads, strikes: Strikes) -> None:
        """To the end of all downloads."""
        self._progress.say("to the end of all downloads", now=True)
        end = time.monotonic() + END_SECONDS
        while downloads.running or not strikes.quiet:
            self._step(downloads, strikes, False)
            if time.monotonic() > end:
                numbers = ", ".join(str(one.download.number) for one in downloads.running)
                raise Broken(f"not within {END_SECONDS:g} s of the last strike: the end of the downloads {numbers}")

    def _drain(self, stage: Stage, downloads: Downloads, strikes: Strikes) -> None:
        """Until everything is as it was before."""
        self._progress.say("waiting for what is remembered to be forgotten", now=True)
        before = self._document.before
        self._document.after = leaks.settle(stage, before, DRAIN_SECONDS, lambda: self._step(downloads, strikes, False))
        if left := leaks.differences(before, self._document.after):
            raise Broken(f"something is left: {'; '.join(left)}")

    def _keep(self, stage: Stage, broken: str) -> None:
        """What a failure looks like from all hosts, for who is to find its cause."""
        lines = [broken, ""]
        for host in (*stage.clients.values(), *(replica.host for replica in stage.replicas.values())):
            lines += [f"--- {host.name}", host.run(["ss", "-tanpieomH"], daemon=True).stdout]
        for name, daemon in stage.daemons.items():
            lines += [f"--- descriptors of {name}'s migrated", *leaks.names_of_descriptors(daemon.worker)]
        (self._out / "broken.txt").write_text("\n".join(lines) + "\n")

    def _tell(self) -> None:
        document = self._document
        for name, count in sorted(document.counts.items()):
            print(f"  {name:<74}{count:>14,}")
        for one in document.reported:
            print(f"  {one.name:<74}{one.value:>14,} {one.unit}")
        for sentence in (*document.wrong[:20], *document.stalls[:20]):
            print(f"  {sentence}")
        print(f"\nchaos {document.verdict}: {document.reason}")
