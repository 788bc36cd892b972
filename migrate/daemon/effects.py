"""Carries out the actions that the state machine asks for.

Rebinds are gathered and done in one go, so that the programs are held still once for all connections that move
together.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from migrate.core import (
    ACK,
    RST,
    Action,
    Arm,
    Await,
    Direction,
    Disarm,
    Event,
    Expired,
    FourTuple,
    Gone,
    Hold,
    Move,
    MoveAgain,
    Mute,
    Rebind,
    RebindFailed,
    Rebound,
    Release,
    Report,
    Reset,
    RstLimiter,
    Segment,
    SendAck,
    SendRst,
    SendSyn,
    SendSynAck,
    Timer,
    Unmute,
    seq,
)
from migrate.daemon.events import EventLog
from migrate.daemon.registry import Managed, Registry
from migrate.linux import carryable
from migrate.linux.addresses import Tables
from migrate.linux.beyond import OutOfOrder
from migrate.linux.journal import Order
from migrate.linux.maps import WATCH_ALL, WATCH_HOLD, WATCH_MUTE_IN, WATCH_MUTE_OUT, WATCH_SYNACK, Address, Switchboard
from migrate.linux.position import Probe, SocketPosition
from migrate.linux.rebind import Rebinder
from migrate.linux.repair import CannotCarry, Checkpoint
from migrate.linux.resend import third_segment
from migrate.linux.routing import Routing
from migrate.linux.sockdiag import Lookup
from migrate.linux.source_rule import speaking_from
from migrate.linux.wire import Wire

if TYPE_CHECKING:
    from migrate.linux.tracking import Tracking

PATIENCE_SECONDS = 0.02
"""For a program that has been interrupted while it held its socket's lock."""


class Effects:
    """One per daemon; `step(managed, event)` is the way in for everything that happens to a connection."""

    def __init__(
        self,
        registry: Registry,
        switchboard: Switchboard,
        wire: Wire,
        rebinder: Rebinder,
        probe: Probe,
        routing: Routing,
        tables: Tables,
        log: EventLog,
        repeats_scale: bool,
        tracking: Tracking | None,
        out_of_order: OutOfOrder | None,
    ) -> None:
        """`repeats_scale`: segments 5 and 6 say the window scale again.  `tracking`: is told of what moves.
        `out_of_order`: reads what sockets hold beyond a hole."""
        self._registry, self._switchboard, self._wire = registry, switchboard, wire
        self._rebinder, self._probe, self._log = rebinder, probe, log
        self._routing, self._tables = routing, tables
        self._repeats_scale, self._tracking, self._out_of_order = repeats_scale, tracking, out_of_order
        self._limiter, self._lookup = RstLimiter(), Lookup()
        self._orders: list[tuple[Managed, Rebind]] = []
        self._soon: list[Managed] = []  # a handshake under way is about to carry their sockets

    def step(self, managed: Managed, event: Event) -> None:
        """Hands one event to a connection's machine and does what it asks for; rebinds wait for `flush`."""
        self.carry_out(managed, managed.machine.handle(event))

    def carry_out(self, managed: Managed, actions: list[Action]) -> None:
        """Does what the machine asks for.  Its state is written down first: once a segment has left, the peer goes by
        it, and a daemon that has forgotten it would leave both sides waiting for the other."""
        self._registry.persist(managed)
        for action in actions:
            self._do(managed, action)

    def flush(self) -> None:
        """Does the rebinds that have gathered, and those that they lead to."""
        while self._orders:
            batch, self._orders = self._orders, []
            joining = [order for order in batch if order[0].newcomer]
            carried = [order for order in batch if not order[0].newcomer]
            if joining:
                self._join(joining)
            if carried:
                self._carry(carried)
        if self._soon:
            # There is time for it now, while the handshake is on its way.
            soon, self._soon = {managed.machine.tuple: managed for managed in self._soon}, []
            for pair, holder in self._rebinder.find(list(soon)).items():
                soon[pair].holder = holder

    def _do(self, managed: Managed, action: Action) -> None:
        mark = self._switchboard.mark
        match action:
            case Mute(pair, Direction.OUT):
                mark(pair, add=WATCH_MUTE_OUT, remove=WATCH_MUTE_IN)
            case Mute(pair):
                self._drop(managed, pair)
                self._registry.pending.pop(pair, None)
                # One that the connection has left: what is still on its way there has died out by then.
                lasts = {} if pair == managed.machine.tuple else {"seconds": 2 * managed.machine.msl}
                mark(pair, add=WATCH_MUTE_OUT | WATCH_MUTE_IN, remove=WATCH_HOLD | WATCH_SYNACK, **lasts)
            case Unmute(pair):
                self._feed(managed, pair)
                self._registry.pending.pop(pair, None)
                mark(pair, remove=WATCH_ALL)
            case Await(pair):
                self._registry.pending[pair] = managed
                mark(pair, add=WATCH_SYNACK)
            case Hold(pair):
                self._registry.pending[pair] = managed
                mark(pair, add=WATCH_HOLD)
            case Release(pair):
                self._feed(managed, pair)
                mark(pair, remove=WATCH_HOLD)
            case SendSyn() | SendSynAck():
                if isinstance(action, SendSynAck):
                    action = self._as_of_now(managed, action)
                self._let_through(managed, action)
                self._send(managed, action.segment(self._repeated_scale(managed)))
                if managed.newcomer is None:
                    self._soon.append(managed)
            case SendRst():
                self.refuse(managed.name, action.segment())
            case SendAck(pair):
                self._acknowledge_again(managed, pair)
            case Rebind():
                self._orders.append((managed, action))
            case MoveAgain(local_ip, local_port, remote):
                position = self._probe(managed.machine.tuple)
                if position is not None:
                    self.step(managed, Move(local_ip, position.core(), local_port, remote))
            case Arm(timer, seconds):
                self._disarm(managed, timer)
                managed.timers[timer] = asyncio.get_running_loop().call_later(seconds, self._expired, managed, timer)
            case Disarm(timer):
                self._disarm(managed, timer)
            case Reset():
                self._reset(managed)
            case Report(event, cause):
                self.tell(managed, event, cause)
                if managed.newcomer is not None:
                    managed.newcomer.hear(event, cause)

    def _as_of_now(self, managed: Managed, answer: SendSynAck) -> SendSynAck:
        """The old pair is silent from here on; what had come before that is in the socket, or about to be."""
        end = time.monotonic() + PATIENCE_SECONDS
        while (position := self._probe(managed.machine.tuple)) and position.backlog and time.monotonic() < end:
            time.sleep(PATIENCE_SECONDS / 100)
        if position is None:
            return answer
        now = managed.machine.answer_as_of(answer, position.core())
        if now != answer:
            self._registry.persist(managed)
        return now

    def tell(self, managed: Managed, event: str, cause: str = "") -> None:
        pair = managed.machine.tuple
        where = {
            "local": str(pair.local_ip),
            "local_port": pair.local_port,
            "remote": str(pair.remote_ip),
            "remote_port": pair.remote_port,
        }
        self._log.write(managed.name, managed.machine.state.name, event, cause, **where)

    def why_not(self, managed: Managed, position: SocketPosition, to: Address) -> str | None:
        """Why its socket cannot be carried to a local address, None if it can: known before anything is lost."""
        pair = managed.machine.tuple
        entry = self._lookup(pair)
        if entry is not None and entry.inode in self._rebinder.descriptors.recent():
            return carryable.IO_URING
        return carryable.why_not(position, to != pair.local_ip, entry)

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

    def _carry(self, batch: list[tuple[Managed, Rebind]]) -> None:
        by_pair = {action.old: managed for managed, action in batch}
        try:
            with self._rebinder.batch():
                outcomes = self._carried(batch, by_pair)
        except OSError as error:
            # Nothing was begun: there is no route, or the programs do not stand still.
            outcomes = [(self._order(*one), error.strerror or str(error)) for one in batch]
        for order, reason in outcomes:
            managed = by_pair[order.old]
            if reason is None:
                self._registry.rebound(managed, order.old, order.new)
                self.step(managed, Rebound())
                if order.old != order.new:
                    # What is still on its way there has died out by then; nothing else of it is left.
                    self._switchboard.mark(order.old, seconds=2 * managed.machine.msl)
            else:
                managed.failure = reason
                self.step(managed, RebindFailed(reason))

    def _carried(
        self, batch: list[tuple[Managed, Rebind]], by_pair: dict[FourTuple, Managed]
    ) -> list[tuple[Order, str | None]]:
        """What has become of each, the reason where it could not be carried.  Raises OSError, with nothing begun."""
        outcomes: list[tuple[Order, str | None]] = []
        orders: dict[FourTuple, Order] = {}
        holding: dict[FourTuple, Managed] = {}
        for managed, action in batch:
            position = self._probe(action.old)
            if position and position.out_of_order:
                holding[action.old] = managed
            managed.ts_recent = position.ts_recent if position else 0
            moves = action.new.local_ip != action.old.local_ip
            reason = carryable.why_not(position, moves, self._lookup(action.old)) if position else None
            order = self._order(managed, action)
            if reason:
                outcomes.append((order, reason))
            else:
                orders[action.old] = order
        if not orders:
            return outcomes

        def lead(order: Order, image: Checkpoint) -> None:
            managed = by_pair[order.old]
            if order.acknowledge:
                self._send(managed, third_segment(order.new, image, managed.ts_recent))
            elif _has_widened(managed, image):
                self._acknowledge_again(managed, order.new)
            self._feed(managed, order.new)

        known = {pair: managed.holder for pair, managed in by_pair.items() if managed.holder}
        beyond = self._beyond(orders, holding) if holding else {}
        ends = {(order.new.remote_ip, order.new.local_ip) for order in orders.values()}
        with speaking_from(self._routing, ends, self._tables.source_towards):
            done = self._rebinder.carry(list(orders.values()), lead, known, beyond)
        return [*outcomes, *((each.order, each.reason) for each in done)]

    def _join(self, batch: list[tuple[Managed, Rebind]]) -> None:
        """Connections that this host takes over: there is nothing to be carried, and nobody to be held still."""
        for managed, action in batch:
            assert managed.newcomer is not None
            try:
                ends = {(action.new.remote_ip, action.new.local_ip)}
                with speaking_from(self._routing, ends, self._tables.source_towards):
                    image = managed.newcomer.build(action, managed.machine.state_after_rebind())
            except (CannotCarry, OSError) as error:
                self.step(managed, RebindFailed(getattr(error, "strerror", None) or str(error)))
                continue
            self._send(managed, third_segment(action.new, image))
            self._feed(managed, action.new)
            self._registry.rebound(managed, action.old, action.new)
            self.step(managed, Rebound())
            managed.newcomer = None

    def _order(self, managed: Managed, action: Rebind) -> Order:
        return Order(
            old=action.old,
            new=action.new,
            snd_una=action.snd_una,
            peer_window=action.peer_window,
            preload=action.preload,
            acknowledge=action.acknowledge,
            negotiated=managed.negotiated.pack(),
            state=managed.machine.state_after_rebind(),
            sacked=action.sacked,
        )

    def _beyond(
        self, orders: dict[FourTuple, Order], holding: dict[FourTuple, Managed]
    ) -> dict[FourTuple, Sequence[tuple[int, bytes]]]:
        """The out-of-order queues that can be carried, read before anything stands still: what is in them does not
        change.  Of the others it is said that they are dropped, which costs no more than sending it again."""
        read = {}
        for pair, managed in holding.items():
            order = orders.get(pair)
            if order is None:
                continue
            if order.preload:
                self.tell(managed, "out-of-order-dropped", "another machine's bytes may differ in layout")
            elif not order.acknowledge:
                self.tell(managed, "out-of-order-dropped", "the answer to a Migrate SYN has no room for SACK blocks")
            elif self._out_of_order is None:
                self.tell(managed, "out-of-order-dropped", "this kernel does not let it be read")
            else:
                read[pair] = managed
        found = self._out_of_order(read) if self._out_of_order and read else {}
        for pair, queue in found.items():
            if queue.missed:
                self.tell(read[pair], "out-of-order-dropped", f"{queue.missed} bytes could not be read")
        return {pair: queue.pieces for pair, queue in found.items()}

    def feed(self, segment: Segment) -> None:
        """Hands this host's kernel a segment that was kept from it; without the address that it is for, it is lost."""
        try:
            self._wire.feed(segment)
        except OSError as error:
            self._log.write("", "", "not-fed", f"a segment from {segment.src} for {segment.dst}: {error.strerror}")

    def _feed(self, managed: Managed, pair: FourTuple) -> None:
        for held in managed.held.pop(pair, []):
            self.feed(held)

    def _drop(self, managed: Managed, pair: FourTuple) -> None:
        managed.held.pop(pair, None)

    def _send(self, managed: Managed, segment: Segment) -> None:
        try:
            self._wire.send(segment)
        except OSError as error:
            # As good as lost on the way: the machine's own timer sends it again.
            self.tell(managed, "not-sent", error.strerror or str(error))

    def _let_through(self, managed: Managed, action: SendSyn | SendSynAck) -> None:
        if self._tracking is not None:
            try:
                self._tracking.enter(action.tuple, ours=isinstance(action, SendSyn))
            except OSError as error:
                self.tell(managed, "not-tracked", error.strerror or str(error))

    def _repeated_scale(self, managed: Managed) -> int | None:
        position = self._probe(managed.machine.tuple) if self._repeats_scale else None
        return position.window_scale if position else None

    def _acknowledge_again(self, managed: Managed, pair: FourTuple) -> None:
        """Lets the kernel itself say where it stands: it answers a probe below its window (RFC 9293, 3.10.7.4)."""
        position = self._probe(pair)
        if position is not None:
            self.feed(_arriving(pair, ACK, seq.add(position.rcv_wup, -1), position.snd_una))

    def _reset(self, managed: Managed) -> None:
        """The program sees what it would have seen at once without Migrate: the kernel gets the RST now."""
        pair = managed.machine.tuple
        position = self._probe(pair)
        self._switchboard.mark(pair, remove=WATCH_ALL)
        if position is not None:
            self.feed(_arriving(pair, RST, position.rcv_nxt))

    def _disarm(self, managed: Managed, timer: Timer) -> None:
        handle = managed.timers.pop(timer, None)
        if handle is not None:
            handle.cancel()

    def _expired(self, managed: Managed, timer: Timer) -> None:
        managed.timers.pop(timer, None)
        # A connection that has ended meanwhile has nothing more to ask.
        ended = managed.newcomer is None and self._probe(managed.machine.tuple) is None
        self.step(managed, Gone() if ended else Expired(timer))
        self.flush()


def _has_widened(managed: Managed, image: Checkpoint) -> bool:
    """Has a program read since 6, so that its kernel has offered a wider window, and nobody could hear it?  A mover to
    whom 6 offered too little would ask only after its first timeout, which is 3 s."""
    accepted = managed.machine.accepted
    return accepted is not None and accepted.window < min(image.offered_window, 0xFFFF)


def _arriving(pair: FourTuple, flags: int, number: int, ack: int = 0) -> Segment:
    """A segment as if from the peer, to be fed to this host's kernel."""
    return Segment(pair.remote_ip, pair.remote_port, pair.local_ip, pair.local_port, flags, number, ack)
