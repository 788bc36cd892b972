"""The daemon's loop: reports of the eBPF side, address changes, timers and requests become events of machines."""

from __future__ import annotations

import asyncio
import gc
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from migrate.core import (
    ACK,
    SYN,
    Ack,
    AddressLost,
    BadKey,
    FourTuple,
    Gone,
    MigrateSyn,
    Move,
    OptionError,
    Position,
    Rst,
    Segment,
    SegmentError,
    State,
    SynAck,
    SynNumber,
    migrate_option,
)
from migrate.core.answering import refusal
from migrate.daemon import memory
from migrate.daemon.adoption import Adoptions
from migrate.daemon.carrying import Carrier
from migrate.daemon.control import Control
from migrate.daemon.effects import Effects
from migrate.daemon.events import EventLog
from migrate.daemon.loaded import Loaded
from migrate.daemon.registry import Managed, Registry
from migrate.daemon.requests import Requests
from migrate.daemon.speaking import Speaker
from migrate.linux import addresses, maps, source_rule
from migrate.linux.addresses import Interface
from migrate.linux.journal import Journal
from migrate.linux.keyring import Keyring
from migrate.linux.maps import Address
from migrate.linux.rebind import Rebinder
from migrate.linux.routing import Routing
from migrate.linux.wire import Wire

if TYPE_CHECKING:
    from migrate.linux.tracking import Tracking

SWEEP_SECONDS = 60.0
PAUSE_SECONDS = 0.002
NO_SECRET = "no secret"
UNDER_WAY = (State.SYN_SENT, State.SYN_RCVD, State.MIGRATE_WAIT, State.SUSPENDED)
"""In these a daemon that is soon started again has something to go on with."""


@dataclass(frozen=True, slots=True)
class Options:
    """What `migrated` was told on its command line; times in seconds."""

    cgroup: Path
    pins: Path
    events: Path | None
    keylog: Path | None
    msl: float
    key_interval: float
    syn_number: SynNumber
    syn_window_scale: bool
    enter_tracking: bool
    insecure: bool


class Service:
    """Everything of one host's daemon, from `start` to `stop`."""

    def __init__(
        self, options: Options, loaded: Loaded, journal: Journal, log: TextIO | None, keylog: TextIO | None
    ) -> None:
        self._options = options
        loaded.begin()
        self.log = EventLog(log)
        self._routing = Routing()
        source_rule.remove_all(self._routing)  # what a killed daemon may have left
        self._programs = loaded.programs
        self._switchboard = self._programs.switchboard()
        self._table = self._programs.connections(self._switchboard.read().seed)
        self.keyring = Keyring(self._programs.private_keys(), self._switchboard, keylog)
        self.registry = Registry(
            *(self._table, self.keyring, self._switchboard, self._programs.proofs()), options.msl, options.syn_number
        )
        self.probe = self._programs.probe()
        self._wire, self._tables = Wire(), addresses.Tables()
        if loaded.orphans is None:
            why = f"carry sockets that their programs have closed: {loaded.without_orphans}"
            self.log.write("", "", "cannot", why)
        rebinder = Rebinder(options.cgroup, self._table, self._switchboard, self._wire, journal, loaded.orphans)
        self.descriptors = rebinder.descriptors
        tracking = _tracking() if options.enter_tracking else None
        self.speaker = Speaker(self._wire, self.probe, self.log, options.syn_window_scale, tracking)
        self._carrier = Carrier(
            self.registry,
            self._switchboard,
            rebinder,
            self.probe,
            self._routing,
            self._tables,
            self.speaker,
            loaded.out_of_order,
        )
        self.effects = Effects(self.registry, self._switchboard, self.probe, self.speaker, self._carrier)
        self._watch = addresses.Watch()
        self._interfaces: list[Interface] | None = None  # unless they have changed since
        self._attached: set[int] = set()
        self._reports: list[bytes] = []
        self._ring = self._programs.reports(self._reports.append)
        self._ring.consume()
        self._reports.clear()  # they were for a worker that was killed: whatever matters is sent again
        self._look_again: asyncio.TimerHandle | None = None
        self.adoptions = Adoptions(self)
        self.requests = Requests(self)
        self._control: Control | None = None
        self._stopped = asyncio.Event()

    async def run(self) -> None:
        """Serves until SIGTERM or SIGINT."""
        loop = asyncio.get_running_loop()
        self._control = await Control.listen(self)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopped.set)
        self._switchboard.set_insecure(self._options.insecure)
        self._tick()
        self._resume()
        self._sweep()
        loop.add_reader(self._ring.epoll_fd, self._read_reports)
        loop.add_reader(self._watch.fileno(), self._addresses_changed)
        # What an earlier daemon attached to an interface that has gone while there was none.
        self._programs.detach_all_but({interface.index for interface in self._tables.interfaces()})
        self._look(settled=True)
        gc.collect()
        gc.freeze()  # what is here by now stays: to look through it while programs stand still would take milliseconds
        print("ready", flush=True)
        await self._stopped.wait()
        # The kernel would answer a handshake's next segment by RST.
        under_way = any(managed.machine.state in UNDER_WAY for managed in self.registry.managed())
        self._switchboard.promise(maps.PROMISE_SECONDS if under_way else 0)
        self._control.close()
        self._routing.close()

    def _resume(self) -> None:
        """Goes on with the connections that an earlier daemon of this host left in the pinned table."""
        for pair, _, state in list(self.registry.all()):
            managed = self.registry.find(pair) if any(state) else None
            if managed is None:
                continue
            if self.probe(pair) is None:
                self.over(managed)
                continue
            if managed.machine.state is State.ESTABLISHED:
                self._switchboard.mark(pair, remove=maps.WATCH_ALL)  # it may have died between a rebind and its end
            self.effects.carry_out(managed, managed.machine.resume())

    # -- what comes from the eBPF side ----------------------------------------------------------------

    def _read_reports(self) -> None:
        self._ring.consume()
        reports, self._reports[:] = self._reports[:], []
        for raw in reports:
            reason, length, _ = maps.REPORT.unpack_from(raw)
            try:
                segment = Segment.parse(raw[maps.REPORT.size : maps.REPORT.size + length])
            except SegmentError as error:
                self.log.write("", "", "ignored", str(error))
                continue
            self._dispatch(reason, segment)
        self.effects.flush()

    def _dispatch(self, reason: int, segment: Segment) -> None:
        tuple_ = FourTuple(segment.dst, segment.dport, segment.src, segment.sport)
        if reason == maps.REPORT_MIGRATE_SYN:
            self._migrate_syn(segment)
            return
        if reason == maps.REPORT_CURVE:
            self.speaker.refuse_curve(tuple_, segment)
            return
        pending = self.registry.pending.get(tuple_)
        managed = pending or self.registry.find(tuple_)
        if managed is None:
            return
        position = self._position(managed)
        if position is None:
            return
        if reason == maps.REPORT_SYNACK:
            if managed.machine.state is State.SYN_SENT and not managed.machine.rebinding:
                # Sent before 6, on an earlier stay of ours: 7 does not mention it, and the peer sends it again.  Fed to
                # the kernel, it would lie beyond what the peer has sent anew, and ACKs of it would be refused there.
                managed.held.pop(tuple_, None)
            self.effects.step(managed, SynAck(segment, position))
        elif reason == maps.REPORT_RST:
            asking = managed.machine.state is State.SYN_SENT
            self.effects.step(managed, Rst(segment, position))
            if asking and managed.machine.state is State.SUSPENDED:
                self._refused(managed, tuple_.local_ip)
        elif reason == maps.REPORT_HELD and segment.flags & ACK and not segment.flags & SYN:
            if self._switchboard.holds(tuple_):
                managed.held.setdefault(tuple_, []).append(segment)
                self.effects.step(managed, Ack(segment, position))
            elif tuple_ == managed.machine.tuple and not self._switchboard.is_deaf(tuple_):
                self.speaker.feed(segment)  # it was on its way to us when the pair was released

    def _position(self, managed: Managed) -> Position | None:
        if managed.newcomer is not None:
            return managed.newcomer.position
        position = self.probe(managed.machine.tuple)
        return position.core() if position else None

    def _refused(self, managed: Managed, at: Address) -> None:
        managed.refused.add(at)
        own = _not_refused(managed, at, self.local())
        if own is not None:
            self.move(managed, own)  # where it was it may go on

    # -- what comes from the host's interfaces -----------------------------------------------------------

    def _addresses_changed(self) -> None:
        """An address that moves is several notices in a row.  A way to the peer is taken as soon as it is seen; that
        there is none is believed a moment later."""
        if self._watch.drain():
            self._interfaces = None
        if self._look_again is None:
            self._look_again = asyncio.get_running_loop().call_later(PAUSE_SECONDS, self._look_settled)
        self._look(settled=False)

    def _look_settled(self) -> None:
        self._look_again = None
        self._look(settled=True)

    def source_towards(self, remote: Address) -> Address | None:
        """The address from which this host would speak to `remote` now."""
        return self._tables.source_towards(remote)

    def local(self) -> set[Address]:
        """The addresses that connections can be moved to."""
        return addresses.usable(self._tables.places(), self._tables.interfaces())

    def coming(self) -> set[Address]:
        """Those that will be among them in a moment."""
        return self._tables.coming()

    def _look(self, settled: bool) -> None:
        # To list the interfaces waits for whoever configures one, of any network namespace.
        known = self._tables.interfaces() if settled or self._interfaces is None else self._interfaces
        self._interfaces = known
        for interface in known:
            if interface.index not in self._attached and self._programs.attach(
                interface.index, interface.kind, self._routing
            ):
                self._attached.add(interface.index)
        present = {interface.index for interface in known}
        if not self._attached <= present:
            self._programs.detach_all_but(present)
            self._attached &= present
        places = self._tables.places()
        local = addresses.usable(places, known)
        sources: dict[Address, Address | None] = {}
        for pair, negotiated, state in list(self.registry.all() if settled else self.registry.at_hand()):
            if pair.local_ip in local and not any(state):
                continue
            managed = self.registry.found(pair, negotiated, state)
            if _settled(managed, local):
                continue
            if pair.remote_ip not in sources:
                source = self._tables.own_source_towards(pair.remote_ip, places)
                sources[pair.remote_ip] = source if source in local else None
            source = _not_refused(managed, sources[pair.remote_ip], local)
            if source is not None:
                self.move(managed, source)
            elif settled and managed.machine.state is not State.SUSPENDED:
                self.effects.step(managed, AddressLost())
        self.effects.flush()

    def move(self, managed: Managed, to: Address) -> str | None:
        """Starts the migration of one connection to a local address; the reason where it cannot be."""
        position = self.probe(managed.machine.tuple)
        if position is None:
            return "its socket is gone"
        reason = self._carrier.why_not(managed, position, to)
        if reason is not None:
            self._cannot(managed, reason)
            return reason
        try:
            self.effects.step(managed, Move(to, position.core()))
        except BadKey as error:  # a peer may have sent anything for a key: that is its own connection's loss
            reason = f"{NO_SECRET}: {error}"
            self._cannot(managed, reason)
        return reason

    def _cannot(self, managed: Managed, reason: str) -> None:
        if managed.failure != reason:
            managed.failure = reason
            self.speaker.tell(managed, "not-carried", reason)

    # -- a peer asks -----------------------------------------------------------------------------------------

    def _migrate_syn(self, segment: Segment) -> None:
        try:
            option = migrate_option(segment)
        except OptionError as error:
            self.log.write("", "", "ignored", f"a malformed Migrate SYN from {segment.src}: {error}")
            return
        if option is None:
            return
        known = False
        connections = self.registry.by_token(option.token)
        for managed, why in self.registry.without_secret():
            self._cannot(managed, f"{NO_SECRET}: {why}")
        if connections is None:
            return  # if it is a true one, it comes again
        for managed in connections:
            position = self.probe(managed.machine.tuple)
            if position is None:
                continue
            if (reason := self._carrier.why_not(managed, position, segment.dst)) is not None:
                # Better refused than accepted and not followed: the mover is told at once.
                self._cannot(managed, reason)
                continue
            known = True
            self.effects.step(managed, MigrateSyn(segment, option, position.core()))
        if not known:
            self.speaker.refuse("", refusal(segment).segment())

    # -- what comes with time --------------------------------------------------------------------------------

    def _tick(self) -> None:
        self.keyring.rotate()
        self._switchboard.promise(maps.PROMISE_SECONDS)
        asyncio.get_running_loop().call_later(min(1.0, self._options.key_interval), self._tick)

    def _sweep(self) -> None:
        self._switchboard.sweep(self.registry.spoken_of(), 2 * self._options.msl)
        self._table.sweep()
        self.registry.tidy()
        self.keyring.forget({negotiated.key_number for _, negotiated, _ in self.registry.all()}, time.monotonic())
        for managed in self.registry.managed():
            # A socket that we built has no cgroup of ours to tell of its end.
            if self.registry.closed(managed) or self.probe(managed.machine.tuple) is None:
                self.over(managed)
        memory.give_back()
        asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)

    def over(self, managed: Managed) -> None:
        """Its socket is gone."""
        self.effects.step(managed, Gone())
        self._table.remove(managed.machine.tuple)
        self.registry.forget(managed)


def _tracking() -> Tracking:
    from migrate.linux.tracking import Tracking  # which takes as long to load as all else

    return Tracking()


def _not_refused(managed: Managed, source: Address | None, local: set[Address]) -> Address | None:
    """Where a suspended connection is to go, if it may speak from `source`: a peer that has refused is not asked from
    the same address again while that stays, but from the connection's own, should it be back."""
    if managed.machine.state is not State.SUSPENDED:
        managed.refused.clear()
    managed.refused &= local
    own = managed.machine.tuple.local_ip
    if source not in managed.refused:
        return source
    return own if own in local and own not in managed.refused else None


def _settled(managed: Managed, local: set[Address]) -> bool:
    """Nothing is to be done for a connection while the host has these addresses."""
    machine = managed.machine
    match machine.state:
        case State.SUSPENDED:
            return False
        case State.SYN_SENT:
            return machine.pending is not None and machine.pending.tuple.local_ip in local
        case _:
            return machine.tuple.local_ip in local
