"""Carries a batch of connections to new addresses while their programs stand still; and finishes what a
killed worker left half done.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from migrate.core import FourTuple, seq
from migrate.linux import carryable, ending, freezer, orphans, repair, resend
from migrate.linux.borrow import Holder, borrow
from migrate.linux.descriptors import Descriptors
from migrate.linux.freezer import Freezer
from migrate.linux.journal import Entry, Journal, Order, Phase
from migrate.linux.maps import PROMISE_SECONDS, WATCH_MUTE_OUT, Address, Connections, Negotiated, Switchboard
from migrate.linux.orphans import Orphans
from migrate.linux.ports import Ports, put_back
from migrate.linux.repair import CannotCarry, Checkpoint
from migrate.linux.sockdiag import Lookup
from migrate.linux.source_rule import standing_in
from migrate.linux.wire import Wire

NOBODY = Holder(0, 0, 0)
STANDSTILL_SECONDS = 86400.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """`reason` is None where the connection was carried."""

    order: Order
    reason: str | None


def _ends(pair: FourTuple, family: int) -> tuple[tuple[str, int], tuple[str, int]]:
    """Both ends as a socket of that family names them."""
    local, remote = (_host(ip, family) for ip in (pair.local_ip, pair.remote_ip))
    return (local, pair.local_port), (remote, pair.remote_port)


def _host(address: Address, family: int) -> str:
    return f"::ffff:{address}" if family == socket.AF_INET6 and address.version == 4 else str(address)


class Rebinder:
    """Everything it touches, it leaves as found: repair mode off, the port range restored, the programs running."""

    def __init__(
        self,
        cgroup: Path,
        connections: Connections,
        switchboard: Switchboard,
        wire: Wire,
        journal: Journal,
        orphans: Orphans | None = None,
    ) -> None:
        self._cgroup, self._connections, self._wire, self._journal = cgroup, connections, wire, journal
        self._switchboard, self._orphans = switchboard, orphans
        self._freezer, self.descriptors = Freezer(cgroup), Descriptors(cgroup)
        self._lookup = Lookup()
        self._ports = Ports(cgroup, journal, switchboard)

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Around `carry`, and what must be found out for it: it takes programs a while to stand still."""
        self._journal.begin()
        # Until somebody finishes what begins here, the eBPF side keeps away what it is told to, should that take long.
        self._switchboard.promise(STANDSTILL_SECONDS)
        try:
            self._freezer.begin()
            yield
        finally:
            self._thaw()

    def carry(
        self,
        orders: Sequence[Order],
        lead: Callable[[Order, Checkpoint], None],
        known: Mapping[FourTuple, Holder] | None = None,
        beyond: Mapping[FourTuple, Sequence[tuple[int, bytes]]] | None = None,
    ) -> list[Outcome]:
        """Rebinds each, in a `batch`; `lead(order, image)` speaks first on the new address pair, before any data does.
        `known`: what `find` gave a while ago.  `beyond`: out-of-order queues by the old pair, of those that are to keep
        them.

        Raises `FreezeError`."""
        outcomes: list[Outcome] = []
        where = dict(known or {})
        lacking = [order.old for order in orders if order.old not in where]
        if lacking:
            where |= self.find(lacking)
        self._freezer.freeze(note=self._journal.hurried)
        busy = self.descriptors.now({holder.pid for holder in where.values()})
        for index, order in enumerate(orders):
            try:
                held = self._borrowed(order.old, where)
                if held and held[0].inode in busy:
                    held[1].close()
                    raise CannotCarry(carryable.IO_URING)
                if held is not None:
                    self._carry_one(index, order, *held, lead, (beyond or {}).get(order.old, ()))
                else:
                    self._carry_orphan(index, order, lead)
                outcomes.append(Outcome(order, None))
            except (CannotCarry, OSError) as error:  # one that cannot be carried is no harm to the others
                outcomes.append(Outcome(order, getattr(error, "strerror", None) or str(error)))
        return outcomes

    def recover(self, lead: Callable[[Order, Checkpoint], None]) -> list[Outcome]:
        """Finishes or undoes what the journal tells of, and thaws the programs."""
        story = self._journal.read()
        if story.port_range is None:
            return []
        outcomes: list[Outcome] = []
        try:
            freezer.restore(story.hurried)
            if story.port_range:
                put_back(story.port_range)
            self._ports.release(story.aside)
            for index, entry in story.entries.items():
                if entry.phase is Phase.DONE:
                    continue
                try:
                    outcomes.append(Outcome(entry.order, self._recover_one(index, entry, lead)))
                except (CannotCarry, OSError) as error:
                    outcomes.append(Outcome(entry.order, f"lost in a killed rebind: {error}"))
                # Who recovers may be killed too: what is done by then must not be done again.
                self._journal.phase(index, Phase.DONE)
        finally:
            self._thaw()
        return outcomes

    def _thaw(self) -> None:
        self._freezer.thaw()
        self._switchboard.promise(PROMISE_SECONDS)
        self._journal.clear()
        self._ports.forget()

    def find(self, tuples: Sequence[FourTuple], again: bool = False) -> dict[FourTuple, Holder]:
        """Who holds the sockets of these pairs, as far as a program does.  `again`: it has just let go of one."""
        entries = {pair: self._lookup(pair) for pair in tuples}
        inodes = {entry.inode: pair for pair, entry in entries.items() if entry and entry.inode}
        self.descriptors.look() if again else self.descriptors.recent()
        found = self.descriptors.holders(inodes)
        if len(found) < len(inodes) and not again:
            self.descriptors.look()
            found = self.descriptors.holders(inodes)
        return {inodes[inode]: holder for inode, holder in found.items()}

    def _borrowed(self, pair: FourTuple, where: dict[FourTuple, Holder]) -> tuple[Holder, socket.socket] | None:
        """The socket of this pair: where it was found before, or, if it has meanwhile changed hands, wherever it is.
        None where no program holds it."""
        holder = where.get(pair)
        sock = borrow(holder) if holder else None
        if sock is None:
            holder = self.find([pair], again=True).get(pair)
            sock = borrow(holder) if holder else None
        if holder is None:
            return None
        if sock is None:
            raise CannotCarry("its program has just let go of it")
        return holder, sock

    def _carry_one(
        self,
        index: int,
        order: Order,
        holder: Holder,
        sock: socket.socket,
        lead: Callable[[Order, Checkpoint], None],
        pieces: Sequence[tuple[int, bytes]],
    ) -> None:
        with sock:
            reuse = sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)  # repair mode overwrites it
            self._journal.take(index, order, holder, reuse)
            repair.enter(sock)
            try:
                image = self._image(sock, order, reuse)
                image.beyond = resend.held(pieces, image)
                self._journal.image(index, image)
            except (CannotCarry, OSError):  # OSError: too much waits in its queues for the journal
                self._put_back(sock, reuse)
                self._journal.phase(index, Phase.DONE)
                raise
            try:
                self._finish(sock, order, image, lead, lambda phase: self._journal.phase(index, phase))
            except (CannotCarry, OSError) as error:  # OSError: the new address has gone in this very moment
                self._return(sock, order, image)
                self._journal.phase(index, Phase.DONE)
                raise CannotCarry(str(error)) from error

    def _carry_orphan(self, index: int, order: Order, lead: Callable[[Order, Checkpoint], None]) -> None:
        """A socket that its program has closed.  Its successor is there, silent, before it ends."""
        if self._orphans is None:
            raise CannotCarry("no program holds its socket, and this kernel does not let a closed one be read")
        image = self._orphans(order.old)
        image.acknowledge(order.snd_una, order.peer_window, scaled=not order.acknowledge)
        image.local, image.remote = _ends(order.new, image.family)
        if order.preload:
            image.options &= ~1
        self._journal.take(index, order, NOBODY, 0)
        self._journal.image(index, image)
        self._replace_orphan(order, image, lead)
        self._journal.phase(index, Phase.DONE)

    def _replace_orphan(self, order: Order, image: Checkpoint, lead: Callable[[Order, Checkpoint], None]) -> None:
        if order.old == order.new:
            orphans.end(order.old, image.rcv_nxt, self._wire.feed, self._lookup)
            self._open(order.new)
        self._connections.put(order.new, Negotiated.unpack(order.negotiated), order.state)
        try:
            orphans.rebuild(image, order.new, self._ports, self._wire.feed)
        except (CannotCarry, OSError):
            self._connections.remove(order.new)
            raise
        if order.old != order.new:
            try:
                orphans.end(order.old, image.rcv_nxt, self._wire.feed, self._lookup)
            except (CannotCarry, OSError):
                orphans.end(order.new, image.rcv_nxt, self._wire.feed, self._lookup)
                self._connections.remove(order.new)
                raise
        lead(order, image)
        orphans.release(image, order.new, self._wire.feed)

    def _recover_orphan(self, entry: Entry, lead: Callable[[Order, Checkpoint], None]) -> str | None:
        """The worker may have left a successor that has not all the data: it ends before it has said anything."""
        order, image = entry.order, entry.image
        if image is None:
            return "undone: the daemon was killed before it began"
        if order.new != order.old and self._lookup(order.new) is not None:
            orphans.end(order.new, image.rcv_nxt, self._wire.feed, self._lookup)
        self._replace_orphan(order, image, lead)
        return None

    def _image(self, sock: socket.socket, order: Order, reuse: int) -> Checkpoint:
        image = repair.dump(sock)
        if (image.local, image.remote) != tuple(_ends(order.old, image.family)):
            raise CannotCarry("its program has used the socket for something else")
        flight = seq.add(image.snd_una, repair.sent(sock))
        image.acknowledge(order.snd_una, order.peer_window, scaled=not order.acknowledge)
        if order.old == order.new:
            # What was sent on this very pair may still arrive: a mover that is where it was has not stopped, any ACK of
            # its counts as 7, and the network may be late.  An ACK of what had not been sent by then is refused, and
            # all that follow it, for ever.
            image.maybe_received = max(0, seq.diff(flight, image.snd_una))
        image.sacked = order.sacked
        image.reuse_address = reuse
        image.local, image.remote = _ends(order.new, image.family)
        if order.preload:
            image.options &= ~1
        return image

    def _finish(
        self,
        sock: socket.socket,
        order: Order,
        image: Checkpoint,
        lead: Callable[[Order, Checkpoint], None],
        record: Callable[[Phase], None],
    ) -> None:
        # The entry of the new pair comes first: the kernel's callback for the old one removes only that.  Where the two
        # are the same, the callback comes first.
        if order.new == order.old:
            repair.disconnect(sock)
            self._open(order.new)
        self._connections.put(order.new, Negotiated.unpack(order.negotiated), order.state)
        repair.restore(sock, image, self._ports)
        record(Phase.REBUILT)
        self._speak(sock, order, image, lead)
        record(Phase.DONE)

    def _open(self, pair: FourTuple) -> None:
        """A socket that is rebuilt on the very pair that it had is heard from now on.  Not before: until it was taken
        apart it was another, which has sent and received more than its successor will know of."""
        self._switchboard.mark(pair, remove=WATCH_MUTE_OUT)

    def _speak(
        self,
        sock: socket.socket,
        order: Order,
        image: Checkpoint,
        lead: Callable[[Order, Checkpoint], None],
        done: int = 0,
    ) -> None:
        """The first words on the new pair, and all data of which `done` bytes have been handed over."""
        if image.beyond:
            self._feed_back(sock, order.new, image)
        if order.acknowledge:
            lead(order, image)
        if image.sacked or image.maybe_received:
            done = resend.resume(sock, order.new, image, self._wire.feed, done)
        if not order.acknowledge:
            lead(order, image)
        ending.resume(sock, image, order.new, self._wire.feed, done)

    def _feed_back(self, sock: socket.socket, new: FourTuple, image: Checkpoint) -> None:
        """The kernel has the out-of-order queue again.  It would acknowledge each piece, before 7 and with some of the
        blocks only: it stays mute.  (Its SACKs may come back to us in 7 even if it has run out of room for some of it:
        Linux on the other side sends again what then turns out to be missing.)"""
        self._switchboard.mark(new, add=WATCH_MUTE_OUT)
        try:
            resend.feed_back(new, image, self._wire.feed)
        finally:
            self._switchboard.mark(new, remove=WATCH_MUTE_OUT)
        if not resend.taken(sock):
            image.beyond = []

    def _return(self, sock: socket.socket, order: Order, image: Checkpoint) -> None:
        """The socket has been taken apart and cannot have the new pair: it gets the old one again."""
        image.local, image.remote = _ends(order.old, image.family)
        self._switchboard.mark(order.old, add=WATCH_MUTE_OUT)
        repair.enter(sock)
        repair.disconnect(sock)  # before the entry is written: the kernel's callback for it removes entries
        negotiated = Negotiated.unpack(order.negotiated)
        state = self._connections.state(order.old, negotiated)  # before the two may be one and the same
        self._connections.remove(order.new)
        self._connections.put(order.old, negotiated, state)
        # The old address may have gone long since.
        with standing_in(sock, order.old.remote_ip, order.old.local_ip, image.mark):
            repair.restore(sock, image, self._ports)
        ending.resume(sock, image, order.old, self._wire.feed)

    def _put_back(self, sock: socket.socket, reuse: int) -> None:
        repair.leave(sock)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)

    def _recover_one(self, index: int, entry: Entry, lead: Callable[[Order, Checkpoint], None]) -> str | None:
        if entry.holder == NOBODY:
            return self._recover_orphan(entry, lead)
        sock = borrow(entry.holder)
        if sock is None:
            return "its program has let go of it"
        with sock:
            if entry.phase is Phase.TAKEN:
                self._put_back(sock, entry.reuse_address)
                return "undone: the daemon was killed before it began"
            image = entry.image
            assert image is not None
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, image.mark)
            try:
                self._go_on(sock, index, entry, image, lead)
            except (CannotCarry, OSError) as error:  # OSError: the new address has gone meanwhile
                self._return(sock, entry.order, image)
                return f"put back where it was: {error}"
        return None

    def _go_on(
        self,
        sock: socket.socket,
        index: int,
        entry: Entry,
        image: Checkpoint,
        lead: Callable[[Order, Checkpoint], None],
    ) -> None:
        repair.enter(sock)
        if entry.phase is Phase.IMAGED:
            # It may be at the new pair already: its closing would remove the entry that is written next.
            repair.disconnect(sock)
            self._finish(sock, entry.order, image, lead, lambda phase: self._journal.phase(index, phase))
            return
        sock.setsockopt(socket.IPPROTO_TCP, repair.TCP_REPAIR_QUEUE, repair.SEND_QUEUE)
        write_seq = sock.getsockopt(socket.IPPROTO_TCP, repair.TCP_QUEUE_SEQ) & 0xFFFFFFFF
        self._put_back(sock, image.reuse_address)
        self._speak(sock, entry.order, image, lead, done=seq.diff(write_seq, image.send_start))
