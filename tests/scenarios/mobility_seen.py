"""What a good run of `mobility` would have seen, made in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from analysis import diagram as diagrams
from analysis.checking import SHIPPED
from analysis.diagram.model import Diagram
from analysis.stream import Stream, join
from scenarios import mobility_checks
from scenarios.base import Context
from scenarios.mobility_checks import Seen
from scenarios.verdict import Check, Verdict
from tests.analysis import made_trace as made
from tests.analysis.made_trace import MSS, Row, Setting
from topologies.mobility import MODEM

DIAGRAMS = {
    "mobile": diagrams.load(SHIPPED / "mobility.diagram"),
    "server": diagrams.load(SHIPPED / "mobility-server.diagram"),
}
ROUND_TRIP = 0.1  # seconds, of small packets in the made trace


def packet_time(v6: bool = False) -> float:
    """Seconds that a data packet of the made trace takes on the modem: IP, TCP and timestamps take 52 bytes or 72."""
    assert MODEM.rate_bps is not None
    return (MSS + (72 if v6 else 52)) * 8 / MODEM.rate_bps


SETTING = Setting(packet_time=packet_time())


@dataclass
class Run:
    """One run, still to be spoilt: the rows of each vantage point, and all else that the judge is given."""

    setting: Setting = field(default_factory=lambda: SETTING)
    profile: str = "paper"
    rows: dict[str, list[Row]] = field(init=False)
    keys: dict[bytes, bytes] = field(init=False)
    addresses: tuple[str, str, str] = field(init=False)
    object_bytes: int = field(init=False)
    moved_at: float = field(init=False)
    strangers: dict[str, list[Row]] = field(init=False)
    diagrams: ClassVar[dict[str, Diagram]] = DIAGRAMS

    def __post_init__(self) -> None:
        self.rows = {vantage: made.make(vantage, self.setting) for vantage in DIAGRAMS}
        self.keys = {pair.public: pair.private for pair in (made.MOBILE, made.SERVER)}
        v4, v6 = (made.OLD4, made.NEW4, made.SERVER4), (made.OLD6, made.NEW6, made.SERVER6)
        self.addresses = v6 if self.setting.v6 else v4
        self.object_bytes = self.setting.total * MSS - 100
        self.moved_at = next(row.time for row in self.rows["mobile"] if row.tag == "5") - 0.01
        self.strangers = {vantage: [] for vantage in DIAGRAMS}

    def streams(self) -> dict[str, list[Stream]]:
        return {
            vantage: join(made.packets(self.rows[vantage] + self.strangers[vantage], vantage), self.keys)
            for vantage in DIAGRAMS
        }

    def seen(self) -> Seen:
        found = self.streams()
        # What carries the segment 1 of the made trace; strangers come later.
        judged = {
            vantage: diagrams.check(self.diagrams[vantage], streams[0], ROUND_TRIP)
            for vantage, streams in found.items()
        }
        return Seen(
            judged=judged,
            connections={vantage: len(streams) for vantage, streams in found.items()},
            keys=self.keys,
            addresses=self.addresses,
            object_bytes=self.object_bytes,
            moved_at=made.EPOCH + self.moved_at,
            round_trip=ROUND_TRIP,
        )

    def checks(self, out: Path) -> list[Check]:
        return mobility_checks.judge(self.context(out), self.seen())

    def context(self, out: Path) -> Context:
        return Context(1, self.profile, 6 if self.setting.v6 else 4, out)


def red(checks: list[Check]) -> set[str]:
    """The names of the checks that did not pass."""
    return {check.name for check in checks if check.verdict is not Verdict.PASS}
