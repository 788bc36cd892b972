"""What a soak has shown: its checks, its figures, and result.json."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from scenarios import result
from scenarios.result import Reported
from scenarios.soak import leaks
from scenarios.soak.growth import Growth
from scenarios.soak.leaks import Snapshot
from scenarios.soak.transfers import Totals
from scenarios.verdict import Check, Verdict, overall

GUARDIAN_BYTES_PER_HOUR = 12e6
"""By which a guardian may grow: as it has nothing to do, more would be something that it does all the time."""
WORKER_BYTES_PER_MOVE = 500
"""What a worker may keep of each move of a connection.  In ten minutes without a leak it is 10 to 250, since it still
fills what it keeps; less in longer runs.  With a leak of 1 kB in small objects it was 1,370."""


@dataclass(kw_only=True)
class Document(result.Document):
    """result.json of a soak."""

    scenario: str = "soak"
    minutes: float
    before: Snapshot = field(default_factory=dict)
    after: Snapshot = field(default_factory=dict)

    def judge(self, broken: str, walked: Mapping[str, int], totals: Totals, migrated: Mapping[str, int],
              growth: Growth) -> None:  # fmt: skip
        """Fills in the checks and the verdict; `broken`: what did not hold, "" if all did."""
        self.counts = dict(Counter(walked)) | {
            "transfers": totals.started,
            "transfers that arrived right": totals.right,
            "bytes that arrived right": totals.bytes,
            **{f"migrations seen by {name}": count for name, count in migrated.items()},
        }
        self.checks = [
            Check.equal("what did not hold", "nothing", broken or "nothing"),
            Check.equal("transfers that ended wrong", 0, len(totals.wrong)),
            Check.equal("transfers that arrived with the right checksum", totals.started, totals.right),
        ]
        if self.after:
            self.checks += leaks.checks(self.before, self.after)
        per_hour, seconds = growth.of_guardians()
        if seconds:
            name = "growth of a guardian's memory"
            self.checks.append(Check.at_most(name, GUARDIAN_BYTES_PER_HOUR, round(per_hour), "bytes an hour"))
            self.reported.append(Reported("seen of guardians", round(seconds), "s"))
        per_move, moves = growth.of_workers()
        if moves:
            name = "what a worker keeps of a move"
            self.checks.append(Check.at_most(name, WORKER_BYTES_PER_MOVE, round(per_move), "bytes"))
            self.reported.append(Reported(name, round(per_move), "bytes"))
        self.reported.append(Reported("moves by which that was seen", moves, ""))
        for who, most in sorted(growth.most_resident.items()):
            self.reported.append(Reported(f"most memory of {who}", most, "bytes"))
        for who, most in sorted(growth.most_descriptors.items()):
            self.reported.append(Reported(f"most descriptors of {who}", most, ""))
        self.verdict, self.reason = overall(self.checks)
        if self.verdict is Verdict.PASS and not (totals.right and migrated and min(migrated.values())):
            self.verdict, self.reason = Verdict.INVALID, "no transfer arrived, or nothing moved: it proves nothing"
