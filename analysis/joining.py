"""How packets find their connection, and Migrate SYNs the connection that they carry on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from analysis import keylog
from analysis.capture import ACK, RST, SYN, Packet
from analysis.stream import Endpoint, Epoch, Segment, Stream, migrate_option
from migrate.core import seq
from migrate.core.keys import token
from migrate.core.options import MIGRATE_KIND, REQNO_MASK, Migrate

WINDOW_SCALE_KIND = 3
_MAX_SHIFT = 14  # RFC 7323, section 2.3

# A Migrate SYN whose S is that close to what its sender sent before belongs to it; 16 MiB holds any usual window.
_NEAR = 1 << 24
# A number farther ahead of the rest than that is a forgery or damage, and no point to count from.
_PLAUSIBLE = 1 << 30

_Way = tuple[Endpoint, Endpoint]


@dataclass
class _Counter:
    """Turns raw 32-bit numbers of one side into numbers from its initial one, without wraps."""

    base: int | None = None
    head: int = 0  # the highest so far

    def of(self, raw: int, *, goes_on: bool = True) -> int:
        """The number without wraps; one that does not go on, such as a stale S, is no point to count from later."""
        if self.base is None:
            self.base = raw
        step = seq.diff(raw, seq.add(self.base, self.head))
        value = self.head + step
        if goes_on and 0 < step < _PLAUSIBLE:
            self.head = value
        return value


@dataclass
class _Connection:
    """A Stream in the making."""

    epochs: list[Epoch] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    counters: tuple[_Counter, _Counter] = field(default_factory=lambda: (_Counter(), _Counter()))  # initiator first
    syn: Packet | None = None
    syn_ack: Packet | None = None
    secret: bytes | None = None
    token: bytes | None = None
    counts: dict[bool, int] = field(default_factory=dict)  # full request count by side, True for the initiator

    def side(self, endpoint: Endpoint) -> bool | None:
        """Whose end point this is, now or before: the initiator's (True), the responder's, or nobody's (None)."""
        for epoch in reversed(self.epochs):
            if endpoint in (epoch.initiator, epoch.responder):
                return endpoint == epoch.initiator
        return None

    def add(self, packet: Packet, epoch: int, from_initiator: bool) -> Segment:
        own, other = self.counters if from_initiator else self.counters[::-1]
        # A RST may carry anything; it must not set the point that all others are counted from.
        reset = packet.flags & RST
        goes_on = not (reset or (epoch and packet.flags & SYN))
        number = own.of(packet.seq, goes_on=goes_on) if not reset or own.base is not None else 0
        ack = (
            other.of(packet.ack) if packet.flags & ACK and (not packet.flags & RST or other.base is not None) else None
        )
        segment = Segment(packet, epoch, from_initiator, number, ack)
        self.segments.append(segment)
        return segment

    def stream(self) -> Stream:
        shifts = None
        if self.syn and self.syn_ack:
            offers = [_window_shift(packet) for packet in (self.syn, self.syn_ack)]
            # Scaling is used only where both sides offer it (RFC 7323, section 2.2).
            shifts = (0, 0) if None in offers else (offers[0] or 0, offers[1] or 0)
        joints = {epoch.joined_by for epoch in self.epochs[1:]}
        return Stream(
            vantage=self.segments[0].packet.vantage,
            epochs=tuple(self.epochs),
            segments=tuple(self.segments),
            ni=self.syn.seq if self.syn else None,
            na=self.syn_ack.seq if self.syn_ack else None,
            shifts=shifts,
            secret=self.secret,
            token=self.token,
            joined_by="sequence" if "sequence" in joints else "token" if joints else "single",
        )


class Joiner:
    """Takes the packets of one vantage point in order of time."""

    def __init__(self, keys: Mapping[bytes, bytes]) -> None:
        self._keys = keys
        self._all: list[_Connection] = []
        self._ways: dict[_Way, tuple[_Connection, int]] = {}  # 4-tuple, initiator first, to its latest epoch

    def streams(self) -> list[Stream]:
        return [connection.stream() for connection in self._all]

    def add(self, packet: Packet) -> None:
        src, dst = Endpoint(packet.src, packet.sport), Endpoint(packet.dst, packet.dport)
        migrates = packet.flags & SYN and any(kind == MIGRATE_KIND for kind, _ in packet.options)
        # With ACK it would be wrong, but the attempt belongs to its connection all the same.
        if migrates and (not packet.flags & ACK or not {(src, dst), (dst, src)} & self._ways.keys()):
            if self._migrate(packet, src, dst):
                return
        elif packet.flags & (SYN | ACK) == SYN:
            self._open(packet, src, dst)
            return
        way, from_initiator = ((src, dst), True) if (src, dst) in self._ways else ((dst, src), False)
        if way not in self._ways and self._crossed(src, dst):
            way, from_initiator = ((src, dst), True) if (src, dst) in self._ways else ((dst, src), False)
        if way not in self._ways:
            # Captured from the middle: whoever is seen first counts as the initiator.
            way, from_initiator = (src, dst), True
            self._ways[way] = self._new(src, dst), 0
        connection, epoch = self._ways[way]
        connection.add(packet, epoch, from_initiator)
        if packet.flags & (SYN | ACK) == SYN | ACK and epoch == 0 and not from_initiator and not connection.syn_ack:
            self._opened(connection, packet)

    def _new(self, initiator: Endpoint, responder: Endpoint) -> _Connection:
        connection = _Connection()
        connection.epochs.append(Epoch(0, initiator, responder, None, None, None, "handshake"))
        self._all.append(connection)
        return connection

    def _open(self, packet: Packet, src: Endpoint, dst: Endpoint) -> None:
        known = self._ways.get((src, dst))
        again = known is not None and known[1] == 0 and known[0].syn is not None and known[0].syn.seq == packet.seq
        if known is None or not again:
            self._ways.pop((dst, src), None)
            known = self._ways[src, dst] = self._new(src, dst), 0
            known[0].syn = packet
        known[0].add(packet, 0, True)

    def _opened(self, connection: _Connection, syn_ack: Packet) -> None:
        connection.syn_ack = syn_ack
        if connection.syn is not None:
            connection.secret = keylog.secret(connection.syn, syn_ack, self._keys)
            if connection.secret is not None:
                connection.token = token(connection.syn.seq, syn_ack.seq, connection.secret)

    def _migrate(self, packet: Packet, src: Endpoint, dst: Endpoint) -> bool:
        """Whether this Migrate SYN, well-formed or not, has found its connection."""
        option = migrate_option(packet)
        if self._again(packet, src, dst):
            return True
        found = self._owner(packet, option, src, dst)
        if found is None:
            return False
        connection, mover, joined_by = found
        index = len(connection.epochs)
        segment = connection.add(packet, index, mover)
        count = connection.counts.get(mover, 0)
        if option is not None:
            count = full_count(option.reqno, count)
        connection.counts[mover] = max(count, connection.counts.get(mover, 0))
        initiator, responder = (src, dst) if mover else (dst, src)
        connection.epochs.append(Epoch(index, initiator, responder, segment, mover, count, joined_by))
        self._ways.pop((responder, initiator), None)
        self._ways[initiator, responder] = connection, index
        return True

    def _crossed(self, src: Endpoint, dst: Endpoint) -> bool:
        """Whether two Migrate SYNs that crossed lead here: each end has said that it is at one of these addresses, and
        neither's SYN could know of the other's."""
        for connection in reversed(self._all):
            asked = {epoch.mover_is_initiator: epoch for epoch in connection.epochs if epoch.migrate_syn}
            if True not in asked or False not in asked:
                continue
            initiator, responder = asked[True].initiator, asked[False].responder
            if {src, dst} == {initiator, responder}:
                index = len(connection.epochs)
                joined_by = max(asked[True].joined_by, asked[False].joined_by, key=("token", "sequence").index)
                connection.epochs.append(Epoch(index, initiator, responder, None, None, None, joined_by))
                self._ways[initiator, responder] = connection, index
                return True
        return False

    def _again(self, packet: Packet, src: Endpoint, dst: Endpoint) -> bool:
        """A Migrate SYN seen before, sent again or late, stays in the epoch that it opened."""
        for connection in reversed(self._all):
            for epoch in connection.epochs[1:]:
                first = epoch.migrate_syn
                if first is None or (first.packet.seq, first.packet.options) != (packet.seq, packet.options):
                    continue
                ends = (
                    (epoch.initiator, epoch.responder) if first.from_initiator else (epoch.responder, epoch.initiator)
                )
                if ends == (src, dst):
                    connection.add(packet, epoch.index, first.from_initiator)
                    return True
        return False

    def _owner(
        self, packet: Packet, option: Migrate | None, src: Endpoint, dst: Endpoint
    ) -> tuple[_Connection, bool, str] | None:
        """The connection that a Migrate SYN carries on, whether its initiator sent it, and how that is known."""
        for connection in self._all:
            if option is not None and connection.token == option.token:
                mover = connection.side(dst) is False or connection.side(src) is True
                return connection, mover, "token"
        best: tuple[tuple[bool, bool, bool, int], _Connection, bool] | None = None
        for connection in self._all:
            receiver = connection.side(dst)
            if receiver is None:
                continue
            mover = not receiver
            last = connection.epochs[-1]
            same_port = src.port == (last.initiator if mover else last.responder).port
            same_token = any(
                (earlier := migrate_option(epoch.migrate_syn.packet)) and option and earlier.token == option.token
                for epoch in connection.epochs
                if epoch.migrate_syn
            )
            counter = connection.counters[0 if mover else 1]
            gap = abs(seq.diff(packet.seq, seq.add(counter.base or 0, counter.head)))
            if same_port or same_token or gap < _NEAR or (option and option.preload):
                rank = (same_token, gap < _NEAR, same_port, -gap)
                if best is None or rank > best[0]:
                    best = rank, connection, mover
        return None if best is None else (best[1], best[2], "sequence")


def full_count(reqno: int, last: int) -> int:
    """The full count of a request whose last seven bits are `reqno`: the one nearest to the highest count so far, since
    a request may come late, behind newer ones."""
    step = (reqno - last) & REQNO_MASK
    late = last + step - REQNO_MASK - 1
    return late if step > REQNO_MASK // 2 and late > 0 else last + step


def _window_shift(packet: Packet) -> int | None:
    for kind, data in packet.options:
        if kind == WINDOW_SCALE_KIND and len(data) == 1:
            return min(data[0], _MAX_SHIFT)
    return None
