"""What is said for a connection: to its peer, to this host's own kernel as if by the peer, and to the events file."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from migrate.core import ACK, RST, FourTuple, RstLimiter, Segment, SendSyn, SendSynAck, seq
from migrate.daemon.events import EventLog
from migrate.daemon.registry import Managed
from migrate.linux.position import Probe
from migrate.linux.wire import Wire

if TYPE_CHECKING:
    from migrate.linux.tracking import Tracking


class Speaker:
    """One per daemon."""

    def __init__(self, wire: Wire, probe: Probe, log: EventLog, repeats_scale: bool, tracking: Tracking | None) -> None:
        """`repeats_scale`: segments 5 and 6 say the window scale again.  `tracking`: is told of what moves."""
        self._wire, self._probe, self._log = wire, probe, log
        self._repeats_scale, self._tracking = repeats_scale, tracking
        self._limiter = RstLimiter()

    def tell(self, managed: Managed, event: str, cause: str = "") -> None:
        """A line of the events file."""
        pair = managed.machine.tuple
        where = {
            "local": str(pair.local_ip),
            "local_port": pair.local_port,
            "remote": str(pair.remote_ip),
            "remote_port": pair.remote_port,
        }
        self._log.write(managed.name, managed.machine.state.name, event, cause, **where)

    # -- to the peer -------------------------------------------------------------------------------------------------

    def send(self, managed: Managed, segment: Segment) -> None:
        """One that does not leave is as good as lost on the way: the machine's own timer sends it again."""
        try:
            self._wire.send(segment)
        except OSError as error:
            self.tell(managed, "not-sent", error.strerror or str(error))

    def shake_hands(self, managed: Managed, action: SendSyn | SendSynAck) -> None:
        """Segment 5 or 6."""
        if self._tracking is not None:
            try:
                self._tracking.enter(action.tuple, ours=isinstance(action, SendSyn))
            except OSError as error:
                self.tell(managed, "not-tracked", error.strerror or str(error))
        position = self._probe(managed.machine.tuple) if self._repeats_scale else None
        self.send(managed, action.segment(position.window_scale if position else None))

    def refuse(self, name: str, rst: Segment) -> None:
        """Answers a Migrate SYN by RST, unless that source has had its share."""
        if self._limiter.allow(rst.dst, asyncio.get_running_loop().time()):
            try:
                self._wire.send(rst)
            except OSError as error:
                self._log.write(name, "", "not-sent", f"RST to {rst.dst}: {error.strerror}")

    def refuse_curve(self, pair: FourTuple, synack: Segment) -> None:
        """The answer to our MP names another curve, or is no answer to it: the initiator resets (draft).

        The program learns it as from the peer itself: connection refused."""
        self._log.write("", "", "refused", f"{synack.src} answers Migrate-Permitted with another curve")
        self.refuse("", pair.segment(RST, synack.ack))
        self.feed(_arriving(pair, RST | ACK, synack.seq, synack.ack))

    # -- to this host's kernel ---------------------------------------------------------------------------------------

    def feed(self, segment: Segment) -> None:
        """Hands it a segment that was kept from it; without the address that it is for, it is lost."""
        try:
            self._wire.feed(segment)
        except OSError as error:
            self._log.write("", "", "not-fed", f"a segment from {segment.src} for {segment.dst}: {error.strerror}")

    def feed_held(self, managed: Managed, pair: FourTuple) -> None:
        """All that was kept from it of this address pair."""
        for held in managed.held.pop(pair, []):
            self.feed(held)

    def acknowledge_again(self, pair: FourTuple) -> None:
        """Lets the kernel itself say where it stands: it answers a probe below its window (RFC 9293, 3.10.7.4)."""
        position = self._probe(pair)
        if position is not None:
            self.feed(_arriving(pair, ACK, seq.add(position.rcv_wup, -1), position.snd_una))

    def reset(self, pair: FourTuple) -> None:
        """The program sees what it would have seen at once without Migrate: the kernel gets the RST now.  Nothing
        may keep it from its socket any more."""
        position = self._probe(pair)
        if position is not None:
            self.feed(_arriving(pair, RST, position.rcv_nxt))


def _arriving(pair: FourTuple, flags: int, number: int, ack: int = 0) -> Segment:
    """A segment as if from the peer, to be fed to this host's kernel."""
    return Segment(pair.remote_ip, pair.remote_port, pair.local_ip, pair.local_port, flags, number, ack)
