"""snd_una, snd_nxt, rcv_nxt and window edge of both ends, from what a trace at one vantage point shows.

What a vantage point can know:

- At a host itself its own variables are known, with one doubt: when its address goes, no packet says so.  What arrived
  on that address after the host's last own segment may have been received or may have come too late.  A receiver
  acknowledges within half a second (RFC 1122, 4.2.3.2), so only arrivals within that time of the first
  unacknowledged one count as possibly received; segment 7 then tells which it was.
- Of the other end only bounds are known: its snd_una is an acknowledgement that this end has sent, its rcv_nxt lies
  between its last acknowledgement and the last byte that was sent to it.
- In between, both ends are "other".

So each variable is a set of possible values; a relation holds if it holds for one of them.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass, field

from analysis.capture import ACK, FIN, RST, SYN
from analysis.measures import sacked
from analysis.stream import Segment, Stream

MAX_DELAYED_ACK = 0.5  # seconds


@dataclass(frozen=True, slots=True)
class Possible:
    """Values that a number may have: ranges, ends included, in rising order."""

    ranges: tuple[tuple[int, int], ...]

    @classmethod
    def exactly(cls, value: int) -> Possible:
        return cls(((value, value),))

    def plus(self, other: Possible, sign: int = 1) -> Possible:
        """Every sum (or difference) of one value of each."""
        sums = set()
        for low, high in self.ranges:
            for first, last in other.ranges:
                sums.add((low + first, high + last) if sign > 0 else (low - last, high - first))
        return Possible(tuple(sorted(sums)))

    def holds(self, value: int, comparison: str) -> bool:
        """Whether `value COMPARISON one of these` is true for one of these."""
        lowest, highest = self.ranges[0][0], max(high for _, high in self.ranges)
        match comparison:
            case "=":
                return any(low <= value <= high for low, high in self.ranges)
            case "!=":
                return (lowest, highest) != (value, value)
            case "<=":
                return value <= highest
            case "<":
                return value < highest
            case ">=":
                return value >= lowest
            case _:
                return value > lowest

    def bound(self, comparison: str) -> Possible:
        """All that matters to a comparison: of `<=` the highest value, of `>=` the lowest."""
        if comparison in ("<", "<="):
            return Possible.exactly(max(high for _, high in self.ranges))
        return Possible.exactly(self.ranges[0][0]) if comparison in (">", ">=") else self

    def __str__(self) -> str:
        parts = [str(low) if low == high else f"{low} to {high}" for low, high in self.ranges]
        if len(parts) > 4:
            parts = [*parts[:2], "...", parts[-1]]
        return " or ".join(parts)


@dataclass(slots=True)
class _Position:
    """What one end's socket would say."""

    snd_una: int = 0
    rcv_nxt: int = 0
    beyond: list[tuple[int, int]] = field(default_factory=list)  # out of order, not overlapping what is before rcv_nxt

    def copy(self) -> _Position:
        return _Position(self.snd_una, self.rcv_nxt, list(self.beyond))

    def receive(self, segment: Segment, sent: int) -> None:
        """A segment arrives; `sent` is the highest number that this end has sent, so acknowledgements end there."""
        if segment.ack is not None and segment.ack <= sent:
            self.snd_una = max(self.snd_una, segment.ack)
        start, end = segment.seq, _end(segment)
        if end > start and end > self.rcv_nxt:
            insort(self.beyond, (start, end))
            while self.beyond and self.beyond[0][0] <= self.rcv_nxt:
                self.rcv_nxt = max(self.rcv_nxt, self.beyond.pop(0)[1])


@dataclass(slots=True)
class _End:
    """One end of the connection."""

    snd_nxt: int = 0
    una_floor: int = 0  # its snd_una is known to have been that high
    acks: set[int] = field(default_factory=lambda: {0})  # that it has sent
    sure: _Position = field(default_factory=_Position)
    unsure: list[Segment] = field(default_factory=list)  # arrived since it last sent something
    gone_at: float | None = None  # when it announced that it is elsewhere
    edges: dict[int, int] = field(default_factory=dict)  # right edge of its window by epoch

    def possible(self) -> Iterator[_Position]:
        """Where it may stand: without any of the unsure arrivals, or with the first, the first two, ..."""
        position = self.sure.copy()
        yield position
        first = next((segment.time for segment in self.unsure if segment.length), None)
        for segment in self.unsure:
            if self.gone_at is not None and segment.time > self.gone_at:
                return
            if first is not None and segment.time > first + MAX_DELAYED_ACK:
                return
            position = position.copy()
            position.receive(segment, self.snd_nxt)
            yield position

    def settle(self, ack: int) -> None:
        """It has sent an acknowledgement from the same address: what that covers has been received."""
        position = self.sure.copy()
        settled = 0
        for index, segment in enumerate(self.unsure, 1):
            position.receive(segment, self.snd_nxt)
            if position.rcv_nxt <= ack:
                self.sure, settled = position.copy(), index
        del self.unsure[:settled]
        self.gone_at = None


class Tracker:
    """Takes the segments of a stream in order; says how things stand before the next one."""

    def __init__(self, stream: Stream, vantage_is_initiator: bool | None) -> None:
        self._stream = stream
        self._vantage = vantage_is_initiator
        self._ends = {True: _End(), False: _End()}
        self._epoch = 0
        self._unsettled: int | None = None  # epoch whose segment 7 is still to come

    def snd_nxt(self, initiator: bool) -> Possible:
        return Possible.exactly(self._ends[initiator].snd_nxt)

    def snd_una(self, initiator: bool) -> Possible:
        end = self._ends[initiator]
        if initiator == self._vantage:
            values = {position.snd_una for position in end.possible()}
        else:
            known = self._ends[not initiator].acks
            values = {ack for ack in known if end.una_floor <= ack <= end.snd_nxt} | {end.una_floor}
        return Possible(tuple((value, value) for value in sorted(values)))

    def rcv_nxt(self, initiator: bool) -> Possible:
        end = self._ends[initiator]
        if initiator == self._vantage:
            values = {position.rcv_nxt for position in end.possible()}
            return Possible(tuple((value, value) for value in sorted(values)))
        least = max(end.acks)
        return Possible(((least, max(least, self._ends[not initiator].snd_nxt)),))

    def edge(self, initiator: bool, epochs: set[int]) -> Possible | None:
        """The right edge of the window that this end has offered in these epochs; None if none is known."""
        edges = [edge for epoch, edge in self._ends[initiator].edges.items() if epoch in epochs]
        return Possible.exactly(max(edges)) if edges else None

    def observe(self, segment: Segment) -> None:
        """The next segment has gone by."""
        if segment.has(RST):
            return
        own, other = self._ends[segment.from_initiator], self._ends[not segment.from_initiator]
        if segment.epoch and segment.has(SYN):
            self._handshake(segment, own, other)
            return
        if segment.epoch < self._epoch:
            return  # left behind: neither end looks at it
        if segment.epoch > self._epoch:
            self._epoch = self._unsettled = segment.epoch
        if self._unsettled == segment.epoch and segment.from_initiator == self._mover(segment.epoch):
            self._go_on(segment, own, other)
        elif self._vantage == segment.from_initiator and segment.ack is not None:
            own.settle(segment.ack)
        own.snd_nxt = max(own.snd_nxt, _end(segment))
        if segment.length and self._stream.ni is not None:
            own.una_floor = max(own.una_floor, 1)  # nobody sends data before its SYN is acknowledged
        if segment.ack is not None:
            own.acks.add(segment.ack)
            self._note_edge(segment, own)
        if self._vantage == (not segment.from_initiator):
            if self._will_move(not segment.from_initiator):
                other.unsure.append(segment)
            else:
                other.sure.receive(segment, other.snd_nxt)

    def _handshake(self, segment: Segment, own: _End, other: _End) -> None:
        """Segment 5 or 6: no sequence space is taken, but both say where their sender stands."""
        if segment.seq + 1 <= own.snd_nxt:
            own.una_floor = max(own.una_floor, segment.seq + 1)
        if not segment.has(ACK):
            own.gone_at = segment.time if own.gone_at is None else own.gone_at
        elif segment.epoch > self._epoch:
            self._epoch = self._unsettled = segment.epoch
            if segment.ack is not None and segment.ack <= other.snd_nxt:
                own.acks.add(segment.ack)
                other.una_floor = max(other.una_floor, segment.ack)
                other.sure.snd_una = max(other.sure.snd_una, segment.ack)

    def _go_on(self, segment: Segment, own: _End, other: _End) -> None:
        """Segment 7: both ends send again from where the other says it is."""
        self._unsettled = None
        for position in own.possible():
            own.sure = position
            if position.rcv_nxt == segment.ack:
                break
        own.unsure.clear()
        own.gone_at = None
        own.snd_nxt = segment.seq
        if segment.ack is not None:
            own.sure.rcv_nxt = segment.ack
            other.una_floor = segment.ack
            # What it SACKs counts as sent: new data begins beyond.
            other.snd_nxt = max([segment.ack, *(last for _, last in sacked(segment))])
            other.sure.snd_una = max(other.sure.snd_una, segment.ack)

    def _note_edge(self, segment: Segment, own: _End) -> None:
        shifts = self._stream.shifts
        if shifts is None or segment.ack is None:
            return
        # The window of a SYN is never scaled (RFC 7323, section 2.2).
        shift = 0 if segment.has(SYN) else shifts[0 if segment.from_initiator else 1]
        edge = segment.ack + (segment.packet.window << shift)
        own.edges[segment.epoch] = max(edge, own.edges.get(segment.epoch, 0))

    def _mover(self, epoch: int) -> bool | None:
        return self._stream.epochs[epoch].mover_is_initiator

    def _will_move(self, initiator: bool) -> bool:
        return any(epoch.mover_is_initiator == initiator for epoch in self._stream.epochs[self._epoch + 1 :])


def _end(segment: Segment) -> int:
    """The number after the last that it takes, SYN and FIN counted."""
    return segment.end + bool(segment.flags & SYN) + bool(segment.flags & FIN)
