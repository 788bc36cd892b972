"""What good runs of `reassigned` would have seen, made in memory, to be spoilt."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, replace
from pathlib import Path

from analysis import diagram as diagrams
from analysis.capture import RST, Packet
from analysis.checking import SHIPPED
from analysis.daemon_events import Told
from analysis.diagram import Verdict as Judgement
from analysis.diagram.model import Diagram
from analysis.stream import Stream, join
from scenarios import reassigned_checks
from scenarios.base import Context
from scenarios.reassigned_seen import Back, Gone, Newcomer, NewcomerOutcome
from scenarios.verdict import Check
from tests.analysis import made_trace as made
from tests.analysis.made_moves import newcomer
from tests.analysis.made_trace import EPOCH, MSS, NA, Row, Setting

KEYS = {pair.public: pair.private for pair in (made.MOBILE, made.SERVER)}
SETTING = Setting(away=8.0, packet_time=0.01)
UNKNOWN = NA + 1 + SETTING.received * MSS
"""The first byte that the mobile lacks."""
ROUND_TRIP = 0.1
NAMES = {"server": "reassigned-server", "mobile": "mobility", "stranger": "reassigned-stranger"}


def _told(time: float, state: str, event: str, cause: str = "") -> Told:
    return Told(EPOCH + time, "c", state, event, cause, (made.SERVER4, 80), (made.OLD4, 40000))


@dataclass
class BackRun:
    """The mobile comes back; the stranger's kernel has answered one retransmission of the server's."""

    rows: dict[str, list[Row]] = field(default_factory=dict)
    told: list[Told] = field(default_factory=list)
    got: str = "sum"

    def __post_init__(self) -> None:
        self.rows = {vantage: made.make(vantage, SETTING) for vantage in ("server", "mobile")}
        server = self.rows["server"]
        get = next(row for row in server if row.tag == "get")
        last = max(row.time for row in server if row.tag in ("data", "ack"))
        five = next(row.time for row in server if row.tag == "5")
        data = next(row for row in server if row.tag == "data" and row.seq == UNKNOWN)
        end = get.seq + made.REQUEST_BYTES
        self.end, self.waits = end, last + 1.1
        reset = replace(get, tag="rst", flags=RST, seq=end, ack=0, length=0, options=b"", window=0)
        # RSTs near rcv_nxt first; then a retransmission, its answer, and more RSTs in MIGRATE_WAIT.
        server += [
            replace(reset, tag="near", time=0.3 + n / 1000, seq=end + off) for n, off in enumerate((1, -1, 20000))
        ]
        again = replace(data, tag="again", time=last + 1.0)
        server += [again, replace(reset, time=self.waits - 0.001)]
        server += [replace(reset, tag="more", time=self.waits + 1 + n / 1000) for n in range(3)]
        self.rows["stranger"] = [replace(again, time=again.time + 0.05), replace(reset, time=again.time + 0.0501)]
        self.told = [_told(0.31, "ESTABLISHED", "ignored", "a RST that is not exactly at rcv_nxt") for _ in range(3)]
        self.told += [
            _told(self.waits, "MIGRATE_WAIT", "waiting"),
            _told(five + 0.001, "SYN_RCVD", "answered"),
            _told(five + 0.2, "ESTABLISHED", "migrated"),
        ]

    def packets(self, vantage: str) -> list[Packet]:
        return made.packets(self.rows[vantage], vantage)

    def checks(self, out: Path) -> list[Check]:
        """The judge's."""
        streams: dict[str, Stream] = {vantage: join(self.packets(vantage), KEYS)[0] for vantage in self.rows}
        judged = {vantage: _judged(NAMES[vantage], streams[vantage]) for vantage in streams}
        waiting = next(one for one in self.told if one.event == "waiting")
        seen = Back(
            addresses=(made.OLD4, made.NEW4, made.SERVER4),
            round_trip=ROUND_TRIP,
            lost_at=EPOCH,
            given_at=EPOCH,
            arrived_at=EPOCH,
            rcv_nxt=self.end % 2**32,
            retransmission_timeout=1.0,
            inexact=3,
            tried_at=(EPOCH, EPOCH),
            further=3,
            waiting=waiting,
            server_events=tuple(self.told),
            mobile_events=(),
            object_bytes=SETTING.total * MSS - 100,
            exit_status=0,
            wanted="sum",
            got=self.got,
        )
        context = Context(1, "paper", 4, out)
        return reassigned_checks.back(context, seen, judged, self.packets("server"), self.packets("stranger"))


@functools.cache
def _expected(name: str) -> Diagram:
    return diagrams.load(SHIPPED / f"{name}.diagram")


def _judged(name: str, stream: Stream) -> Judgement:
    return diagrams.check(_expected(name), stream, ROUND_TRIP)


@dataclass
class GoneRun:
    """Nobody comes back; one program, and an MSL of 2 s."""

    rows: list[Row] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    told_after: float = 4.01
    """Seconds of waiting after which the program had its error."""
    left: int = 0

    def __post_init__(self) -> None:
        run = BackRun()
        at = run.waits
        self.rows = [row for row in run.rows["server"] if row.time < at and row.tag != "near"]
        self.told = [_told(at, "MIGRATE_WAIT", "waiting"), _told(at + 4.005, "CLOSED", "reset")]

    def checks(self, out: Path) -> list[Check]:
        """The judge's."""
        packets = made.packets(self.rows, "server")
        waiting = self.told[0]
        seen = Gone(
            addresses=(made.OLD4, made.SERVER4),
            round_trip=ROUND_TRIP,
            lost_at=EPOCH,
            given_at=EPOCH,
            msl=2.0,
            waiting={"c": waiting},
            ports={80: "nginx"},
            told_at={"nginx": waiting.time + self.told_after} if self.told_after else {},
            server_events=tuple(self.told),
            mobile_events=(),
            left=self.left,
            mobiles_running=1,
        )
        judged = {"nginx": _judged("reassigned-gone", join(packets, KEYS)[0])}
        return reassigned_checks.gone(Context(1, "paper", 4, out), seen, judged, packets)


@dataclass
class NewcomerRun:
    """The stranger downloads twice from the mobile's old address; the port that the mobile has it asks for three times
    in vain."""

    rows: dict[str, list[Row]] = field(default_factory=dict)
    told: list[Told] = field(default_factory=list)
    outcomes: dict[str, NewcomerOutcome] = field(default_factory=dict)
    finished_after: float = 3.0
    """Seconds of waiting after which the other port's download had ended."""

    def __post_init__(self) -> None:
        run = BackRun()
        begin = self.waits = run.waits
        five = self.five = next(row.time for row in run.rows["server"] if row.tag == "5")
        self.rows = {
            "object": [row for row in run.rows["server"] if row.tag not in ("near", "more")],
            "other-port": newcomer(begin + 1.0, 50000, 0, 7_000_000, 8_000_000),
            # The last of four SYNs comes a second after the third, and 0.2 s after the Migrate SYN.
            "same-port": newcomer(five - 2.8, 40000, 3, 5_000_000, 6_000_000),
        }
        self.told = run.told[3:]
        sizes = {"object": SETTING.total * MSS, "other-port": 4 * MSS, "same-port": 4 * MSS}
        self.outcomes = {name: NewcomerOutcome(size, 0, "sum", "sum") for name, size in sizes.items()}

    def packets(self) -> list[Packet]:
        return made.packets([row for rows in self.rows.values() for row in rows], "server")

    def checks(self) -> list[Check]:
        """The judge's."""
        packets = self.packets()
        streams = join(packets, KEYS)
        found = {name: self._of(name, streams) for name in self.rows}
        judged = {
            name: _judged("reassigned-server" if name == "object" else "reassigned-newcomer", one)
            for name, one in found.items()
        }
        seen = Newcomer(
            addresses=(made.OLD4, made.NEW4, made.SERVER4),
            round_trip=ROUND_TRIP,
            lost_at=EPOCH + self.waits - 1.05,
            arrived_at=EPOCH + self.five - 0.05,
            waiting=self.told[0],
            port=40000,
            other_finished_at=EPOCH + self.waits + self.finished_after,
            server_events=tuple(self.told),
            mobile_events=(),
            outcomes=self.outcomes,
        )
        return reassigned_checks.newcomer(seen, judged, packets)

    def _of(self, name: str, streams: list[Stream]) -> Stream:
        """By its SYN, as the scenario does by its port and its moves."""
        first = self.rows[name][0]
        return next(one for one in streams if one.ni == first.seq % 2**32)
