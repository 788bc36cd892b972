"""A TCP socket as small as can be: what the kernel is to the state machine, in memory.

Windowed, cumulative ACKs, an out-of-order queue, slow start, one retransmission timer.  It checks what it is told: an
ACK of what was never sent, or bytes that differ from the stream's, are assertion errors.
"""

from __future__ import annotations

from collections.abc import Callable

from migrate.core import ACK, FIN, PSH, FourTuple, Position, Rebind, Segment, TcpState, seq

MSS = 100
WINDOW = 8 * MSS
INITIAL_WINDOW = 2 * MSS


class Socket:
    """One end.  `data` is all that its program sends; it closes after that if `closes` is set."""

    def __init__(
        self,
        pair: FourTuple,
        iss: int,
        irs: int,
        data: bytes,
        expected: bytes,
        closes: bool,
        emit: Callable[[Segment], None],
        later: Callable[[float, Callable[[], None]], None],
    ) -> None:
        self.pair, self.emit, self.later = pair, emit, later
        self.first_sent, self.first_expected = seq.add(iss, 1), seq.add(irs, 1)
        self.data, self.expected, self.closes = data, expected, closes
        self.snd_una = self.snd_nxt = self.highest = self.first_sent
        self.rcv_nxt = self.first_expected
        self.received = bytearray()
        self.out_of_order: dict[int, Segment] = {}
        self.peer_closed = False
        self._clock = 0  # generation of the retransmission timer
        self._rto = 1.0
        self._cwnd = INITIAL_WINDOW

    @property
    def end(self) -> int:
        """The sequence number after all that there is to send, FIN included."""
        return seq.add(self.first_sent, len(self.data) + self.closes)

    @property
    def finished(self) -> bool:
        """Everything is sent and acknowledged, and everything has come."""
        return self.snd_una == self.end and bytes(self.received) == self.expected

    def position(self) -> Position:
        sent_fin = self.closes and self.highest == self.end
        fin_acked = sent_fin and self.snd_una == self.end
        if not sent_fin:
            state = TcpState.CLOSE_WAIT if self.peer_closed else TcpState.ESTABLISHED
        elif self.peer_closed:
            state = TcpState.TIME_WAIT if fin_acked else TcpState.LAST_ACK
        else:
            state = TcpState.FIN_WAIT2 if fin_acked else TcpState.FIN_WAIT1
        return Position(self.snd_una, self.snd_nxt, self.rcv_nxt, WINDOW, state)

    def rebind(self, action: Rebind) -> None:
        """New addresses; everything that the peer has not got counts as unsent."""
        assert seq.leq(action.snd_una, self.highest), "a rebind acknowledges what was never sent"
        assert action.old == self.pair
        self.pair = action.new
        if seq.gt(action.snd_una, self.snd_una):
            self.snd_una = action.snd_una
        # What has been sent on this very pair may still arrive, and an ACK of what was not sent is refused.
        back = action.new == action.old and seq.gt(self.snd_nxt, self.snd_una)
        self.snd_nxt = self.snd_nxt if back else self.snd_una
        self._rto, self._cwnd = 1.0, INITIAL_WINDOW
        self.out_of_order.clear()  # without SACK neither side could tell of it

    def output(self) -> None:
        """Sends what the window allows."""
        while seq.lt(self.snd_nxt, self.end) and seq.diff(self.snd_nxt, self.snd_una) < min(WINDOW, self._cwnd):
            self.snd_nxt = self._send(self.snd_nxt)
            if seq.gt(self.snd_nxt, self.highest):
                self.highest = self.snd_nxt
        if self.snd_nxt != self.snd_una:
            self._arm()

    def acknowledge(self) -> None:
        self.emit(self.pair.segment(ACK, self.snd_nxt, self.rcv_nxt, WINDOW))

    def input(self, segment: Segment) -> None:
        assert seq.leq(segment.ack, self.highest), "the peer acknowledges what was never sent"
        if seq.gt(segment.ack, self.snd_nxt):
            self.acknowledge()  # and otherwise ignored, as Linux does
            return
        if seq.gt(segment.ack, self.snd_una):
            self._cwnd += seq.diff(segment.ack, self.snd_una)
            self.snd_una, self._rto = segment.ack, 1.0
            self._clock += 1
        if segment.length:
            self._receive(segment)
            self.acknowledge()
        self.output()

    def _send(self, start: int) -> int:
        at = seq.diff(start, self.first_sent)
        payload = self.data[at : at + MSS]
        fin = self.closes and at + len(payload) == len(self.data)
        flags = ACK | (PSH if payload else 0) | (FIN if fin else 0)
        pair = self.pair
        self.emit(
            Segment(
                pair.local_ip,
                pair.local_port,
                pair.remote_ip,
                pair.remote_port,
                flags,
                start,
                self.rcv_nxt,
                WINDOW,
                payload=payload,
            )
        )
        return seq.add(start, len(payload) + fin)

    def _arm(self) -> None:
        self._clock += 1
        self.later(self._rto, lambda now=self._clock: self._expired(now))  # type: ignore[misc]

    def _expired(self, clock: int) -> None:
        if clock == self._clock and self.snd_una != self.snd_nxt:
            self._rto = min(2 * self._rto, 8.0)
            self._send(self.snd_una)
            self._arm()

    def _receive(self, segment: Segment) -> None:
        if seq.gt(segment.seq, self.rcv_nxt):
            self.out_of_order[segment.seq] = segment
            return
        self._take(segment)
        for start in sorted(self.out_of_order, key=lambda one: seq.diff(one, self.rcv_nxt)):
            if seq.leq(start, self.rcv_nxt):
                self._take(self.out_of_order.pop(start))

    def _take(self, segment: Segment) -> None:
        known = seq.diff(self.rcv_nxt, segment.seq)
        fresh = segment.payload[known:]
        at = len(self.received)
        assert bytes(fresh) == self.expected[at : at + len(fresh)], "bytes that are not the stream's"
        self.received += fresh
        if segment.flags & FIN and not self.peer_closed and known <= len(segment.payload):
            self.peer_closed = True
            self.rcv_nxt = seq.add(self.rcv_nxt, 1)
        self.rcv_nxt = seq.add(self.rcv_nxt, len(fresh))
