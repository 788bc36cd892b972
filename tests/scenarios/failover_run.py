"""What the client would see of slide 30 in a good run, made in memory, to be spoilt."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from analysis import diagram as diagrams
from analysis.capture import ACK, FIN, PSH, RST, SYN, Packet
from analysis.checking import SHIPPED
from analysis.daemon_events import Told
from analysis.stream import Stream, join
from migrate.core import keys
from migrate.core.options import Migrate
from migrate.core.segment import timestamp_option
from scenarios import failover_checks
from scenarios.base import Context
from scenarios.failover_seen import Received, Seen
from scenarios.verdict import Check
from tests.analysis import made_trace as made
from tests.analysis.made_trace import EPOCH, NA, NI, REQUEST_BYTES, Row

CLIENT, SERVERS = "10.0.1.2", {"sA": "10.0.2.2", "sB": "10.0.3.2", "sC": "10.0.4.2"}
NAMES = {CLIENT: "client"} | {address: name for name, address in SERVERS.items()}
PORTS = {"sA": 8080, "sB": 40000, "sC": 40001}
KEYS = {made.MOBILE.public: made.MOBILE.private, made.SERVER.public: made.SERVER.private}
TRIP = 0.046
MSS = 1460
BEFORE, AFTER = 6, 10
"""Segments that sA and sB send."""
END = NI + 1 + REQUEST_BYTES
"""The client's snd_nxt."""
AT = NA + 1 + BEFORE * (MSS - 12)
PRONOUNCED = 0.2
OBJECT = bytes(range(256)) * 4


def migrate_syn(server: str, time: float, reqno: int = 1, tag: str = "5") -> Row:
    octet = 0x80 | reqno
    option = Migrate(True, reqno, made.TOKEN, made.proof(NA, octet)).encode()
    return Row(time, tag, SERVERS[server], PORTS[server], CLIENT, 40000, SYN, NA, 0, 0, option, 0)


def told(server: str, time: float, event: str, cause: str = "") -> Told:
    return Told(EPOCH + time, "c", server, event, cause, ("", 0), ("", 0))


@dataclass
class Run:
    """sA's last acknowledgement is lost; it retransmits once, and is answered by RST."""

    rows: list[Row] = field(default_factory=list)
    wedges: dict[str, list[Told]] = field(default_factory=dict)
    daemons: dict[str, list[Told]] = field(default_factory=dict)
    exit_status: int = 0
    waited: float = 0.0
    received: Received = field(default_factory=lambda: Received.of("object", OBJECT, OBJECT))

    def __post_init__(self) -> None:
        self._tick = 1000
        self.up(0.0, "1", "sA", flags=SYN, seq=NI, ack=0, options=made.syn_options(made.MOBILE.public))
        self.down(TRIP, "2", "sA", flags=SYN | ACK, seq=NA, ack=NI + 1, options=made.syn_options(made.SERVER.public))
        self.up(TRIP, "3", "sA", seq=NI + 1, ack=NA + 1)
        self.up(TRIP + 0.001, "get", "sA", flags=ACK | PSH, seq=NI + 1, ack=NA + 1, length=REQUEST_BYTES)
        for number in range(BEFORE):
            seq = NA + 1 + number * (MSS - 12)
            self.down(0.1 + number / 1000, "data", "sA", seq=seq, ack=END, length=MSS - 12)
            self.up(0.1005 + number / 1000, "ack", "sA", seq=END, ack=seq + MSS - 12)
        five = PRONOUNCED + 0.03
        self.rows.append(migrate_syn("sB", five))
        self.up(five + 0.001, "6", "sB", flags=SYN | ACK, seq=END - 1, ack=AT, options=b"")
        self.down(five + TRIP, "7", "sB", seq=AT, ack=END, options=b"")
        for number in range(AFTER):
            seq, at = AT + number * MSS, five + TRIP + 0.005 + number / 1000
            self.down(at, "new", "sB", seq=seq, ack=END, length=MSS, options=b"")
            self.up(at + 0.0005, "new-ack", "sB", seq=END, ack=seq + MSS, options=b"")
        last = AT + AFTER * MSS
        self.down(0.4, "again", "sA", seq=AT - (MSS - 12), ack=END, length=MSS - 12)
        self.up(0.4001, "reset", "sA", flags=RST, seq=END, ack=0, options=b"", window=0)
        self.up(0.5, "fin", "sB", flags=FIN | ACK, seq=END, ack=last, options=b"")
        self.down(0.5 + TRIP, "fin", "sB", flags=FIN | ACK, seq=last, ack=END + 1, options=b"")
        self.up(0.5001 + TRIP, "fin", "sB", seq=END + 1, ack=last + 1, options=b"")
        self.wedges = {
            "sA": [told("sA", 0.6, "taken-by-another", "sB")],
            "sB": [told("sB", PRONOUNCED, "pronounced"), told("sB", PRONOUNCED + 0.07, "taken-over", "from sA")],
        }
        self.daemons = {"client": [], "sA": [told("sA", 0.42, "waiting", "RST")]}

    def up(self, time: float, tag: str, server: str, **fields: object) -> None:
        self._add(time, tag, CLIENT, 40000, SERVERS[server], PORTS[server], fields)

    def down(self, time: float, tag: str, server: str, **fields: object) -> None:
        self._add(time, tag, SERVERS[server], PORTS[server], CLIENT, 40000, fields)

    def _add(
        self, time: float, tag: str, src: str, sport: int, dst: str, dport: int, fields: dict[str, object]
    ) -> None:
        self._tick += 1
        options = timestamp_option(self._tick, 900)
        values: dict[str, object] = {"flags": ACK, "ack": 0, "window": 8192, "options": options, "length": 0}
        self.rows.append(Row(time, tag, src, sport, dst, dport, **(values | fields)))  # type: ignore[arg-type]

    def change(self, tag: str, **fields: object) -> None:
        """All rows of a tag."""
        self.rows = [replace(row, **fields) if row.tag == tag else row for row in self.rows]  # type: ignore[arg-type]

    def shift(self, tag: str, **by: float) -> None:
        """Fields of all rows of a tag, by so much."""
        self.rows = [
            replace(row, **{name: getattr(row, name) + more for name, more in by.items()}) if row.tag == tag else row
            for row in self.rows
        ]

    def drop(self, tag: str, which: slice = slice(None)) -> None:
        gone = [row for row in self.rows if row.tag == tag][which]
        self.rows = [row for row in self.rows if row not in gone]

    @property
    def packets(self) -> list[Packet]:
        return made.packets(self.rows, "client")

    @property
    def streams(self) -> list[Stream]:
        return join(self.packets, KEYS)

    @property
    def seen(self) -> Seen:
        return Seen(
            case="wrong",
            round_trip=TRIP,
            names=NAMES,
            wedges={name: tuple(events) for name, events in self.wedges.items()},
            monitor=(),
            began_at=EPOCH,
            daemons={name: tuple(events) for name, events in self.daemons.items()},
            exit_status=self.exit_status,
            received=(self.received,),
            pronounced_at=EPOCH + PRONOUNCED,
            waited=self.waited,
        )

    def checks(self, out: Path) -> list[Check]:
        streams = self.streams
        judgement = diagrams.check(diagrams.load(SHIPPED / "failover.diagram"), streams[0], TRIP)
        return failover_checks.wrong(context(out), self.seen, judgement, streams, KEYS, MSS)


def context(out: Path) -> Context:
    return Context(seed=1, profile="paper", ip=4, out=out)


def other_secret() -> bytes:
    """Proof of another connection."""
    return keys.token(NI, NA, bytes(25))
