"""What a good run of `rapid` would have seen, made in memory, to be spoilt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from analysis.capture import ACK, SYN, Packet
from analysis.daemon_events import Told
from analysis.stream import join
from migrate.core import keys
from migrate.core.options import Migrate
from scenarios import rapid_checks
from scenarios.base import Context
from scenarios.rapid_seen import KINDS, MovedAway, Seen
from scenarios.verdict import Check
from tests.analysis import made_trace as made
from tests.analysis.made_trace import MSS, NA, NI, Row

MOVES = 235
PERIOD = 0.1
PLACES = (made.OLD4, made.NEW4)
_KEYS = {pair.public: pair.private for pair in (made.MOBILE, made.SERVER)}


def _row(time: float, tag: str, there: bool, place: str, **fields: object) -> Row:
    ends = (place, 40000, made.SERVER4, 80) if there else (made.SERVER4, 80, place, 40000)
    values: dict[str, object] = {"flags": ACK, "seq": 0, "ack": 0, "window": 8192, "options": b"", "length": 0}
    return Row(time, tag, *ends, **(values | fields))  # type: ignore[arg-type]


@dataclass
class Run:
    """The server's packets and events; every tenth request comes late, behind the next one."""

    rows: list[Row] = field(default_factory=list)
    server: list[Told] = field(default_factory=list)
    mobile: list[Told] = field(default_factory=list)
    moves: list[MovedAway] = field(default_factory=list)
    firings: dict[tuple[str, str], int] = field(default_factory=lambda: dict.fromkeys(KINDS, 10))
    ends: tuple[str, str] = (f"{PLACES[0]} 40000 - {made.SERVER4} 80",) * 2
    got: str = "sum"

    def __post_init__(self) -> None:
        self.rows = [row for row in made.make("server") if row.tag in ("1", "2", "3", "get", "get-ack")]
        up, down = NI + 1 + made.REQUEST_BYTES, NA + 1
        for number in range(1, MOVES + 1):
            start, place = 10 + number * PERIOD, PLACES[number % 2]
            late = number % 10 == 5
            self.moves.append(MovedAway(made.EPOCH + start, place, "data has come"))
            tell = self._teller(made.EPOCH + start, place)
            # In turn the mobile leaves before 6, before 7, and when all is done.
            far = number % 3
            self.mobile.append(tell(0.001, "SYN_SENT", "migrating", f"request {number} from {place}"))
            self.rows.append(self.five(start + (1.2 * PERIOD if late else 0.01), place, number))
            if late:
                continue
            self.server.append(tell(0.011, "SYN_RCVD", "answered", f"request {number} from {place}"))
            self.rows.append(_row(start + 0.0105, "6", False, place, flags=SYN | ACK, seq=down - 1, ack=up))
            if far == 0:
                continue
            self.mobile.append(tell(0.03, "ESTABLISHED", "migrated", ""))
            if far == 1:
                continue
            self.rows.append(_row(start + 0.04, "7", True, place, seq=up, ack=down))
            self.server.append(tell(0.041, "ESTABLISHED", "migrated", ""))
            self.rows.append(_row(start + 0.042, "data", False, place, seq=down, ack=up, length=MSS))
            down += MSS
            self.rows.append(_row(start + 0.06, "ack", True, place, seq=up, ack=down))

    @staticmethod
    def _teller(start: float, place: str) -> Callable[[float, str, str, str], Told]:
        def tell(after: float, state: str, event: str, cause: str) -> Told:
            return Told(start + after, "c", state, event, cause, (made.SERVER4, 80), (place, 40000))

        return tell

    @staticmethod
    def five(time: float, place: str, number: int, count: int | None = None) -> Row:
        """A Migrate SYN whose R covers `count`, or the right one."""
        s = (NI + made.REQUEST_BYTES) % 2**32
        octet = number & 127
        proof = keys.request(NI, NA, made.SECRET, s, octet, number if count is None else count)
        option = Migrate(False, octet, made.TOKEN, proof)
        return _row(time, "5", True, place, flags=SYN, seq=s, window=0, options=option.encode())

    def packets(self) -> list[Packet]:
        return made.packets(self.rows, "server")

    def checks(self, out: Path) -> list[Check]:
        """The judge's."""
        packets = self.packets()
        streams = join(packets, _KEYS)
        seen = Seen(
            moves=tuple(self.moves),
            firings=self.firings,
            round_trip=0.04,
            address=PLACES[0],
            ends=self.ends,
            left=1000,
            mobile_events=tuple(sorted(self.mobile, key=lambda one: one.time)),
            server_events=tuple(sorted(self.server, key=lambda one: one.time)),
            exit_status=0,
            wanted="sum",
            got=self.got,
        )
        vantages = {"server": (streams, packets), "mobile": (streams, packets)}
        return rapid_checks.judge(
            Context(1, "paper", 4, out),
            seen,
            {name: both[0] for name, both in vantages.items()},
            {name: both[1] for name, both in vantages.items()},
        )

    def change(self, tag: str, nth: int, **fields: object) -> None:
        """One row is another."""
        found = [at for at, row in enumerate(self.rows) if row.tag == tag]
        at = found[nth]
        self.rows[at] = replace(self.rows[at], **fields)  # type: ignore[arg-type]

    def add(self, behind: str, nth: int, after: float, **fields: object) -> None:
        """A row like another one, some seconds behind it."""
        row = [row for row in self.rows if row.tag == behind][nth]
        self.rows.append(replace(row, time=row.time + after, tag="added", **fields))  # type: ignore[arg-type]
