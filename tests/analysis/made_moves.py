"""Correct traces of the moves of `both_ways` and of the newcomer of `reassigned`, written by hand, as the server's
interface shows them: an upload whose mobile moves, a download whose server moves, a half-closed connection.

Ten packets before the move, ten after it; keys, tokens and requests are real.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from analysis.capture import ACK, FIN, PSH, SYN
from migrate.core import keys
from migrate.core.options import Migrate
from migrate.core.segment import timestamp_option
from tests.analysis.made_trace import (
    MOBILE,
    MSS,
    NA,
    NEW4,
    NI,
    OLD4,
    REQUEST_BYTES,
    SECRET,
    SERVER,
    SERVER4,
    Row,
    proof,
    syn_options,
)

ROUND_TRIP = 0.1
GAP = 0.01  # between data packets
SERVER_NEW4 = "10.0.0.101"
_UP, _DOWN = NI + 1, NA + 1  # the first bytes


@dataclass
class Trace:
    """One connection; `mobile` and `server` are where its ends are at that moment."""

    mobile: str = OLD4
    server: str = SERVER4
    ni: int = NI
    na: int = NA
    ports: tuple[int, int] = (40000, 80)
    now: float = 0.0
    rows: list[Row] = field(default_factory=list)
    _tick: int = 1000

    def up(self, tag: str, after: float = GAP, **fields: object) -> Row:
        return self._row(tag, after, self.mobile, self.ports[0], self.server, self.ports[1], fields)

    def down(self, tag: str, after: float = 0.0001, **fields: object) -> Row:
        return self._row(tag, after, self.server, self.ports[1], self.mobile, self.ports[0], fields)

    def _row(
        self, tag: str, after: float, src: str, sport: int, dst: str, dport: int, fields: dict[str, object]
    ) -> Row:
        self.now += after
        self._tick += 1
        known: dict[str, object] = {
            "flags": ACK, "seq": 0, "ack": 0, "window": 8192, "options": timestamp_option(self._tick, 900), "length": 0
        }  # fmt: skip
        row = Row(self.now, tag, src, sport, dst, dport, **(known | fields))  # type: ignore[arg-type]
        self.rows.append(row)
        return row

    def opens(self, again: int = 0) -> None:
        """1 to 3; `again`: SYNs that nobody answers, a second apart, in front."""
        for _ in range(again + 1):
            self.up("1", 1.0, flags=SYN, seq=self.ni, window=64240, options=syn_options(MOBILE.public))
        options = syn_options(SERVER.public)
        self.down("2", flags=SYN | ACK, seq=self.na, ack=self.ni + 1, window=65160, options=options)
        self.up("3", ROUND_TRIP, seq=self.ni + 1, ack=self.na + 1)

    def asks(self, s: int, *, by_mobile: bool = True) -> None:
        option = Migrate(False, 1, keys.token(NI, NA, SECRET), proof(s, 1)).encode()
        (self.up if by_mobile else self.down)("5", 0.3, flags=SYN, seq=s, ack=0, window=0, options=option)


def upload() -> list[Row]:
    """The server has ten packets, and the mobile knows of eight of them, when it moves."""
    trace = Trace()
    trace.opens()
    for n in range(10):
        trace.up("data", seq=_UP + n * MSS, ack=_DOWN, length=MSS)
        trace.down("ack", seq=_DOWN, ack=_UP + (n + 1) * MSS)
    trace.mobile = NEW4
    trace.asks(_UP + 8 * MSS - 1)
    trace.down("6", flags=SYN | ACK, seq=_DOWN - 1, ack=_UP + 10 * MSS, options=b"")
    trace.up("7", ROUND_TRIP, seq=_UP + 10 * MSS, ack=_DOWN)
    for n in range(10, 20):
        trace.up("8" if n == 10 else "new", seq=_UP + n * MSS, ack=_DOWN, length=MSS)
        trace.down("new-ack", seq=_DOWN, ack=_UP + (n + 1) * MSS)
    end = _UP + 20 * MSS
    trace.up("fin", seq=end, ack=_DOWN, flags=FIN | ACK)
    trace.down("fin-back", seq=_DOWN, ack=end + 1, flags=FIN | ACK)
    trace.up("fin-ack", ROUND_TRIP, seq=end + 1, ack=_DOWN + 1)
    return trace.rows


def server_moves() -> list[Row]:
    """Ten packets have left the server, eight are acknowledged, and the mobile has nine."""
    trace, asked = Trace(), _UP + REQUEST_BYTES
    trace.opens()
    trace.up("get", seq=_UP, ack=_DOWN, length=REQUEST_BYTES, flags=ACK | PSH)
    for n in range(10):
        trace.down("data", GAP, seq=_DOWN + n * MSS, ack=asked, length=MSS)
    for n in range(8):
        trace.up("ack", seq=asked, ack=_DOWN + (n + 1) * MSS)
    trace.server = SERVER_NEW4
    trace.asks(_DOWN + 8 * MSS - 1, by_mobile=False)
    trace.up("6", ROUND_TRIP, flags=SYN | ACK, seq=asked - 1, ack=_DOWN + 9 * MSS, options=b"")
    trace.down("7", 0.001, seq=_DOWN + 9 * MSS, ack=asked)
    for n in range(9, 20):
        trace.down("8" if n == 9 else "new", seq=_DOWN + n * MSS, ack=asked, length=MSS)
        trace.up("new-ack", seq=asked, ack=_DOWN + (n + 1) * MSS)
    end = _DOWN + 20 * MSS
    trace.up("fin", seq=asked, ack=end, flags=FIN | ACK)
    trace.down("fin-back", seq=end, ack=asked + 1, flags=FIN | ACK)
    trace.up("fin-ack", ROUND_TRIP, seq=asked + 1, ack=end + 1)
    return trace.rows


def half_closed() -> list[Row]:
    """The mobile has sent 120 bytes and its FIN; ten packets have left the server, eight have arrived."""
    trace, closed = Trace(), _UP + REQUEST_BYTES + 1  # behind the FIN
    trace.opens()
    trace.up("fin", seq=_UP, ack=_DOWN, length=REQUEST_BYTES, flags=FIN | ACK)
    trace.down("fin-ack", seq=_DOWN, ack=closed)
    for n in range(10):
        trace.down("data", GAP, seq=_DOWN + n * MSS, ack=closed, length=MSS)
    for n in range(8):
        trace.up("ack", seq=closed, ack=_DOWN + (n + 1) * MSS)
    trace.mobile = NEW4
    trace.asks(closed - 1)
    trace.down("6", flags=SYN | ACK, seq=_DOWN + 8 * MSS - 1, ack=closed, options=b"")
    trace.up("7", ROUND_TRIP, seq=closed, ack=_DOWN + 8 * MSS)
    for n in range(8, 18):
        trace.down("8" if n == 8 else "new", seq=_DOWN + n * MSS, ack=closed, length=MSS)
        trace.up("new-ack", seq=closed, ack=_DOWN + (n + 1) * MSS)
    end = _DOWN + 18 * MSS
    trace.down("fin-back", seq=end, ack=closed, flags=FIN | ACK)
    trace.up("last", ROUND_TRIP, seq=closed, ack=end + 1)
    return trace.rows


def newcomer(begin: float, port: int, again: int, ni: int, na: int) -> list[Row]:
    """The stranger's own download from the mobile's old address, begun at that time; `again` as in `Trace.opens`."""
    trace = Trace(ni=ni, na=na, ports=(port, 80), now=begin - 1.0)
    trace.opens(again)
    asked = ni + 1 + REQUEST_BYTES
    trace.up("get", seq=ni + 1, ack=na + 1, length=REQUEST_BYTES, flags=ACK | PSH)
    for n in range(4):
        trace.down("data", seq=na + 1 + n * MSS, ack=asked, length=MSS)
        trace.up("ack", seq=asked, ack=na + 1 + (n + 1) * MSS)
    end = na + 1 + 4 * MSS
    trace.up("fin", seq=asked, ack=end, flags=FIN | ACK)
    trace.down("fin-back", seq=end, ack=asked + 1, flags=FIN | ACK)
    trace.up("fin-ack", ROUND_TRIP, seq=asked + 1, ack=end + 1)
    return trace.rows
