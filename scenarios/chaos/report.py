"""What a run of chaos has shown: its checks, its figures, and result.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from scenarios import result
from scenarios.chaos.fates import STALL_SECONDS, Fates
from scenarios.result import Reported
from scenarios.soak import leaks
from scenarios.soak.leaks import Snapshot
from scenarios.verdict import Check, Verdict, overall


@dataclass(kw_only=True)
class Document(result.Document):
    """result.json of chaos."""

    scenario: str = "chaos"
    kills: int
    """So many were asked for."""
    wrong: list[str] = field(default_factory=list)
    """A sentence for each download that did not end as it may."""
    stalls: list[str] = field(default_factory=list)
    """And for each that arrived after a long pause."""
    before: Snapshot = field(default_factory=dict)
    """What clients and replicas held before the first download."""
    after: Snapshot = field(default_factory=dict)
    """And after the last, once everybody was well again."""

    def judge(self, broken: str, struck: Mapping[str, int], started: int, total_bytes: int, fates: Fates) -> None:
        """Fills in the checks and the verdict; `broken`: what did not hold, "" if all did."""
        right, refused = fates.counts["right"], fates.counts["refused"]
        untold = sum(count for fate, count in fates.counts.items() if fate.startswith("reset:"))
        self.counts = dict(struck) | {
            "downloads": started,
            "downloads that arrived right": right,
            "downloads that never had a connection": refused,
            **{f"downloads {fate}": count for fate, count in fates.counts.items() if fate.startswith("reset:")},
            "bytes that arrived": total_bytes,
            **{f"connections {event}": fates.events[event] for event in ("taken-over", "taken-by-another")},
            **{f"take-overs {event}": fates.events[event] for event in ("not-taken", "refused", "reset", "lost")},
        }
        self.wrong = fates.wrong
        self.stalls = [
            f"download {one.number} of {', '.join(one.names)} at {one.client} over IPv{one.version}: "
            f"nothing for {seconds:.2f} s after a take-over, until {until:.3f}"
            for one, seconds, until in fates.stalls
        ]
        longest = max((seconds for _, seconds, _ in fates.stalls), default=0.0)
        self.reported = [
            Reported(f"pauses of over {STALL_SECONDS:g} s after a take-over", len(fates.stalls), ""),
            Reported("longest of those", round(longest, 2), "s"),
        ]
        self.checks = [
            Check.equal("what did not hold", "nothing", broken or "nothing"),
            Check.equal("downloads with a wrong or a missing byte", 0, len(self.wrong)),
            Check.equal("downloads that are accounted for", started, right + refused + untold + len(self.wrong)),
            Check.at_least("kills of replicas with clients", self.kills, struck.get("kills", 0)),
        ]
        if self.after:
            self.checks += leaks.checks(self.before, self.after)
        self.verdict, self.reason = overall(self.checks)
        if self.verdict is Verdict.PASS and not (right and fates.events["taken-over"]):
            self.verdict, self.reason = Verdict.INVALID, "nothing arrived, or was taken over: it proves nothing"
