"""Sockets get other addresses: those of this host's connections, and those of connections that it takes over.

The programs are held still once for all connections that move together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from migrate.core import Event, FourTuple, Rebind, RebindFailed, Rebound
from migrate.daemon.registry import Managed, Registry
from migrate.daemon.speaking import Speaker
from migrate.linux import carryable
from migrate.linux.addresses import Tables
from migrate.linux.beyond import OutOfOrder
from migrate.linux.journal import Order
from migrate.linux.maps import Address, Switchboard
from migrate.linux.position import Probe, SocketPosition
from migrate.linux.rebind import Rebinder
from migrate.linux.repair import CannotCarry, Checkpoint
from migrate.linux.resend import third_segment
from migrate.linux.routing import Routing
from migrate.linux.sockdiag import Lookup
from migrate.linux.source_rule import speaking_from

Step = Callable[[Managed, Event], None]
"""Hands a connection's machine an event."""


class Carrier:
    """One per daemon."""

    def __init__(
        self,
        registry: Registry,
        switchboard: Switchboard,
        rebinder: Rebinder,
        probe: Probe,
        routing: Routing,
        tables: Tables,
        speaker: Speaker,
        out_of_order: OutOfOrder | None,
    ) -> None:
        """`out_of_order`: reads what sockets hold beyond a hole."""
        self._registry, self._switchboard = registry, switchboard
        self._rebinder, self._probe, self._routing, self._tables = rebinder, probe, routing, tables
        self._speaker, self._out_of_order = speaker, out_of_order
        self._lookup = Lookup()

    def why_not(self, managed: Managed, position: SocketPosition, to: Address) -> str | None:
        """Why its socket cannot be carried to a local address, None if it can: known before anything is lost."""
        pair = managed.machine.tuple
        entry = self._lookup(pair)
        if entry is not None and entry.inode in self._rebinder.descriptors.recent():
            return carryable.IO_URING
        return carryable.why_not(position, to != pair.local_ip, entry)

    def find_holders(self, soon: list[Managed]) -> None:
        """Of sockets that are about to be carried: there is time for it while the handshake is on its way."""
        by_pair = {managed.machine.tuple: managed for managed in soon}
        for pair, holder in self._rebinder.find(list(by_pair)).items():
            by_pair[pair].holder = holder

    def carry(self, batch: list[tuple[Managed, Rebind]], step: Step) -> None:
        """Sockets of this host, to other addresses; their machines hear what has become of it."""
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
                step(managed, Rebound())
                if order.old != order.new:
                    # What is still on its way there has died out by then; nothing else of it is left.
                    self._switchboard.mark(order.old, seconds=2 * managed.machine.msl)
            else:
                managed.failure = reason
                step(managed, RebindFailed(reason))

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
                self._speaker.send(managed, third_segment(order.new, image, managed.ts_recent))
            elif _has_widened(managed, image):
                self._speaker.acknowledge_again(order.new)
            self._speaker.feed_held(managed, order.new)

        known = {pair: managed.holder for pair, managed in by_pair.items() if managed.holder}
        beyond = self._beyond(orders, holding) if holding else {}
        ends = {(order.new.remote_ip, order.new.local_ip) for order in orders.values()}
        with speaking_from(self._routing, ends, self._tables.source_towards):
            done = self._rebinder.carry(list(orders.values()), lead, known, beyond)
        return [*outcomes, *((each.order, each.reason) for each in done)]

    def join(self, batch: list[tuple[Managed, Rebind]], step: Step) -> None:
        """Connections that this host takes over: there is nothing to be carried, and nobody to be held still."""
        for managed, action in batch:
            assert managed.newcomer is not None
            try:
                ends = {(action.new.remote_ip, action.new.local_ip)}
                with speaking_from(self._routing, ends, self._tables.source_towards):
                    image = managed.newcomer.build(action, managed.machine.state_after_rebind())
            except (CannotCarry, OSError) as error:
                step(managed, RebindFailed(getattr(error, "strerror", None) or str(error)))
                continue
            self._speaker.send(managed, third_segment(action.new, image))
            self._speaker.feed_held(managed, action.new)
            self._registry.rebound(managed, action.old, action.new)
            step(managed, Rebound())
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
                self._speaker.tell(managed, "out-of-order-dropped", "another machine's bytes may differ in layout")
            elif not order.acknowledge:
                self._speaker.tell(
                    managed, "out-of-order-dropped", "the answer to a Migrate SYN has no room for SACK blocks"
                )
            elif self._out_of_order is None:
                self._speaker.tell(managed, "out-of-order-dropped", "this kernel does not let it be read")
            else:
                read[pair] = managed
        found = self._out_of_order(read) if self._out_of_order and read else {}
        for pair, queue in found.items():
            if queue.missed:
                self._speaker.tell(read[pair], "out-of-order-dropped", f"{queue.missed} bytes could not be read")
        return {pair: queue.pieces for pair, queue in found.items()}


def _has_widened(managed: Managed, image: Checkpoint) -> bool:
    """Has a program read since 6, so that its kernel has offered a wider window, and nobody could hear it?  A mover to
    whom 6 offered too little would ask only after its first timeout, which is 3 s."""
    accepted = managed.machine.accepted
    return accepted is not None and accepted.window < min(image.offered_window, 0xFFFF)
