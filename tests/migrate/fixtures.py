"""One connection and the segments that reach it, with numbers that a reader can follow.

This host is 10.1.0.1:40000, its peer 10.2.0.1:80.  The peer's oldest unacknowledged byte is ours to expect: 7001.
"""

from __future__ import annotations

import hashlib
import struct
from ipaddress import ip_address
from typing import TypeVar

from migrate.core import (
    ACK,
    RST,
    SYN,
    Ack,
    Action,
    Connection,
    Expired,
    FourTuple,
    Migrate,
    MigrateSyn,
    Move,
    Notice,
    Position,
    Rebound,
    Report,
    Rst,
    Segment,
    State,
    SynAck,
    TcpState,
    Timer,
    options,
    seq,
)

NI, NA = 0x01020304, 0xA1A2A3A4
K = b"\0" + bytes(range(1, 25))
UNA, NXT, RCV, WINDOW = 2001, 2501, 7001, 50_000

AGAIN = Expired(Timer.RETRANSMIT)

A = TypeVar("A")


def pair(local: str = "10.1.0.1", remote: str = "10.2.0.1") -> FourTuple:
    return FourTuple(ip_address(local), 40000, ip_address(remote), 80)


OLD = pair()
MOVED = pair(local="10.1.0.9")  # where this host goes
PEER_MOVED = pair(remote="10.2.0.9")  # where the peer goes
BOTH_MOVED = pair("10.1.0.9", "10.2.0.9")
ELSEWHERE = pair(remote="10.2.0.5")


def position(**other: int) -> Position:
    values = {"snd_una": UNA, "snd_nxt": NXT, "rcv_nxt": RCV, "rcv_wnd": WINDOW} | other
    state = TcpState(values.pop("tcp_state", TcpState.ESTABLISHED))
    return Position(**values, tcp_state=state)


def connection(state: State = State.ESTABLISHED, msl: float = 30.0) -> Connection:
    """A connection that got into that state by events."""
    c = Connection(OLD, NI, NA, K, msl=msl)
    match state:
        case State.SYN_SENT:
            c.handle(move())
        case State.SYN_RCVD:
            c.handle(asked())
        case State.MIGRATE_WAIT:
            c.handle(reset(OLD))
        case State.SUSPENDED:
            c.handle(move())
            c.handle(refused())
        case State.CLOSED:
            c.state = State.CLOSED
    assert c.state is state
    return c


def proof(s: int, octet: int, count: int, k: bytes = K) -> bytes:
    """R by the draft's formula: SHA-1(Ni | Na | K | S | octet), and the count's high bits once it has passed 127."""
    covered = struct.pack("!II", NI, NA) + k + struct.pack("!IB", s, octet)
    if count > 127:
        covered += struct.pack("!I", count >> 7)
    return hashlib.sha1(covered).digest()[:8]


def token() -> bytes:
    return hashlib.sha1(struct.pack("!II", NI, NA) + K).digest()[:8]


# ---- events


def move(to: str = "10.1.0.9", **other: object) -> Move:
    return Move(ip_address(to), position(), **other)  # type: ignore[arg-type]


def arriving(on: FourTuple, flags: int, number: int, ack: int = 0, **other: object) -> Segment:
    """What the peer sends to this host on that pair."""
    back = FourTuple.of_ends(on.remote, on.local)
    segment = back.segment(flags, number, ack, window=500)
    assert not other
    return segment


def asked(
    on: FourTuple = PEER_MOVED,
    count: int = 1,
    s: int = RCV - 1,
    preload: bool = False,
    request: bytes | None = None,
    where: Position | None = None,
) -> MigrateSyn:
    """The peer's Migrate SYN; valid unless told otherwise."""
    octet = options.octet(preload, count)
    option = Migrate(preload, octet & 127, token(), request or proof(s, octet, count))
    segment = FourTuple.of_ends(on.remote, on.local).segment(SYN, s, options=option.encode())
    return MigrateSyn(segment, option, where or position())


def answered(on: FourTuple = MOVED, number: int = RCV - 1, ack: int = UNA, where: Position | None = None) -> SynAck:
    """Segment 6, as a peer with nothing in flight sends it."""
    return SynAck(arriving(on, SYN | ACK, number, ack), where or position())


def acked(on: FourTuple = PEER_MOVED, number: int = RCV, ack: int = UNA) -> Ack:
    """Segment 7."""
    return Ack(arriving(on, ACK, number, ack), position())


def reset(on: FourTuple, number: int = RCV) -> Rst:
    return Rst(arriving(on, RST, number), position())


def refused(on: FourTuple = MOVED, s: int = UNA - 1) -> Rst:
    """A RST that answers our Migrate SYN: it acknowledges it."""
    return Rst(arriving(on, RST | ACK, 0, seq.add(s, 1)), position())


def rebound(c: Connection) -> list[Action]:
    return c.handle(Rebound())


def moved() -> Connection:
    """We have moved, and the peer knows."""
    c = connection(State.SYN_SENT)
    c.handle(answered())
    rebound(c)
    assert c.tuple == MOVED
    return c


def followed() -> Connection:
    """The peer has moved, and we with it."""
    c = connection(State.SYN_RCVD)
    c.handle(acked())
    rebound(c)
    assert c.tuple == PEER_MOVED
    return c


# ---- what is done about them


def of(kind: type[A], actions: list[Action]) -> list[A]:
    return [action for action in actions if isinstance(action, kind)]


def one(kind: type[A], actions: list[Action]) -> A:
    found = of(kind, actions)
    assert len(found) == 1, f"{kind.__name__} in {actions}"
    return found[0]


def notices(actions: list[Action]) -> list[Notice]:
    return [report.event for report in of(Report, actions)]


def only_ignored(actions: list[Action]) -> bool:
    """Nothing is done, at most it is told why."""
    return all(isinstance(action, Report) and action.event is Notice.IGNORED for action in actions)
