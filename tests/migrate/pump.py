"""Two endpoints pumped against each other in memory: hosts with addresses and a toy TCP, on a network with faults.

The host is the model of an edge: it carries the machine's actions out and hands events in.  Time is virtual.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from migrate.core import (
    ACK,
    RST,
    SYN,
    Ack,
    Action,
    Address,
    AddressLost,
    Admission,
    Admitted,
    Arm,
    Await,
    Connection,
    Direction,
    Disarm,
    Event,
    Expired,
    FourTuple,
    Hold,
    MigrateSyn,
    Move,
    MoveAgain,
    Mute,
    Notice,
    Peer,
    Rebind,
    RebindFailed,
    Rebound,
    Release,
    Report,
    Reset,
    Rst,
    Segment,
    SendAck,
    SendRst,
    SendSyn,
    SendSynAck,
    State,
    SynAck,
    Timer,
    TokenTable,
    Unmute,
    migrate_option,
)
from migrate.core.admission import RstLimiter
from tests.migrate.network import Network
from tests.migrate.toytcp import Socket

REBIND_SECONDS = 0.001


@dataclass
class Marks:
    """What is special about one address pair."""

    mute: Direction | None = None
    awaiting: bool = False
    holding: bool = False
    held: list[Segment] = field(default_factory=list)


class Host:
    """One end: its addresses, its socket, its machine, and the edge between them."""

    def __init__(self, network: Network, connection: Connection, socket: Socket, addresses: set[Address]) -> None:
        self.network, self.connection, self.socket, self.addresses = network, connection, socket, addresses
        self.marks: dict[FourTuple, Marks] = {}
        self.reports: list[Report] = []
        self.was_reset = False
        self.admission: Admission[int] = Admission(TokenTable(), RstLimiter())
        self.admission.tokens.add(1, lambda: connection.token)
        self.name_of_peer: Callable[[], Address | None] = lambda: None
        self._timers: dict[Timer, int] = {}
        network.hosts.append(self)

    # ---- what the outside does

    def appear(self, address: Address, moves: bool = True) -> None:
        self.addresses.add(address)
        if moves:
            self.handle(Move(address, self.socket.position()))

    def vanish(self, address: Address) -> None:
        self.addresses.discard(address)
        self.handle(AddressLost(address))
        self._go_on_elsewhere()

    def deliver(self, segment: Segment) -> None:
        """What the tc program and the kernel do with an arriving segment, in their order."""
        pair = FourTuple.of_arriving(segment)
        marks = self.marks.get(pair, Marks())
        if migrate_option(segment) is not None:
            self._migrate_syn(segment)
        elif segment.flags & RST:
            if marks.awaiting or marks.holding or pair == self.socket.pair:
                self.handle(Rst(segment, self.socket.position()))
        elif segment.flags & SYN:
            if marks.awaiting:
                if self.connection.state is State.SYN_SENT and not self.connection.rebinding:
                    marks.held.clear()  # left on the way by an earlier stay: 7 does not mention it
                self.handle(SynAck(segment, self.socket.position()))
            elif not marks.holding and marks.mute is not Direction.BOTH:
                self._kernel(segment)
        elif marks.holding:
            marks.held.append(segment)
            self.handle(Ack(segment, self.socket.position()))
        elif marks.mute is not Direction.BOTH:
            self._kernel(segment)

    # ---- the edge

    def handle(self, event: Event) -> None:
        for action in self.connection.handle(event):
            self.carry_out(action)

    def carry_out(self, action: Action) -> None:
        match action:
            case Mute(pair, Direction.BOTH):
                self.marks[pair] = Marks(Direction.BOTH)
            case Mute(pair, direction):
                self.marks.setdefault(pair, Marks()).mute = direction
            case Unmute(pair):
                self._feed(self.marks.pop(pair, Marks()))
            case Await(pair):
                self.marks.setdefault(pair, Marks()).awaiting = True
            case Hold(pair):
                self.marks.setdefault(pair, Marks()).holding = True
            case Release(pair):
                marks = self.marks.setdefault(pair, Marks())
                marks.holding, held = False, marks.held
                marks.held = []
                self._feed(Marks(held=held))
            case SendSyn() | SendSynAck():
                asked = self.connection.pending
                if isinstance(action, SendSyn) and asked and asked.tuple == action.tuple != self.socket.pair:
                    self.network.come_to(action.tuple, asked)
                self._emit(action.segment())
            case SendRst(pair):
                if self.admission.rst_limiter.allow(pair.remote_ip, self.network.now):
                    self._emit(action.segment())
            case SendAck(pair):
                assert pair == self.socket.pair
                self._emit(pair.segment(ACK, self.socket.snd_nxt, self.socket.rcv_nxt, 8))
            case Rebind():
                self.network.later(REBIND_SECONDS, lambda: self._rebind(action))
            case MoveAgain(address, port, remote):
                if address in self.addresses:
                    self.handle(Move(address, self.socket.position(), port, remote))
            case Arm(timer, seconds):
                self._timers[timer] = clock = self._timers.get(timer, 0) + 1
                self.network.later(seconds, lambda: self._expired(timer, clock))
            case Disarm(timer):
                self._timers[timer] = self._timers.get(timer, 0) + 1
            case Reset():
                self.was_reset = True
            case Report(event):
                self.reports.append(action)
                if event is Notice.UNANSWERED:
                    self._look_peer_up()

    def kernel_emit(self, segment: Segment) -> None:
        """What the kernel sends passes the tc program."""
        pair = FourTuple(segment.src, segment.sport, segment.dst, segment.dport)
        if self.marks.get(pair, Marks()).mute is None:
            self._emit(segment)

    def _emit(self, segment: Segment) -> None:
        if segment.src in self.addresses:
            self.network.send(segment)

    def _migrate_syn(self, segment: Segment) -> None:
        verdict = self.admission.judge(segment, self.network.now)
        if isinstance(verdict, Admitted):
            self.handle(MigrateSyn(segment, verdict.option, self.socket.position()))
        elif verdict is not None:
            self.carry_out(verdict)

    def _rebind(self, action: Rebind) -> None:
        if self.network.chance(self.network.faults.rebind_failure):
            self.handle(RebindFailed("a test"))
            return
        expected = self.connection.state_after_rebind()
        self.socket.rebind(action)
        if action.acknowledge:
            self._emit(action.new.segment(ACK, self.socket.snd_una, self.socket.rcv_nxt, 8))
        deferred = bool(self.connection.deferred)
        actions = self.connection.handle(Rebound())
        assert deferred or self.connection.to_bytes() == expected
        for one in actions:
            self.carry_out(one)
        self.socket.output()
        if deferred:
            self._go_on_elsewhere()

    def _go_on_elsewhere(self) -> None:
        waits = self.connection.state is State.MIGRATE_WAIT and self.socket.pair.local_ip not in self.addresses
        if (waits or self.connection.state is State.SUSPENDED) and self.addresses:
            self.handle(Move(max(self.addresses), self.socket.position()))

    def _feed(self, marks: Marks) -> None:
        for segment in marks.held:
            self._kernel(segment)

    def _kernel(self, segment: Segment) -> None:
        if FourTuple.of_arriving(segment) == self.socket.pair:
            if segment.flags & SYN:
                self.socket.acknowledge()  # a challenge ACK (RFC 5961, section 4)
            else:
                self.socket.input(segment)
        else:
            self._kernel_reset(segment)

    def _kernel_reset(self, segment: Segment) -> None:
        self.kernel_emit(FourTuple.of_arriving(segment).segment(RST, segment.ack))

    def _expired(self, timer: Timer, clock: int) -> None:
        if self._timers[timer] == clock:
            self.handle(Expired(timer))

    def _look_peer_up(self) -> None:
        pending, address = self.connection.pending, self.name_of_peer()
        if pending and address and address != pending.tuple.remote_ip:
            remote = Peer(address, pending.tuple.remote_port)
            self.handle(Move(pending.tuple.local_ip, self.socket.position(), remote=remote))


class Pair:
    """A connection between two hosts, opened and with data in both directions."""

    def __init__(
        self,
        network: Network,
        here: Peer,
        there: Peer,
        *,
        down: bytes = b"",
        up: bytes = b"",
        closes: bool = False,
        isns: tuple[int, int] = (1_000_000, 3_000_000_000),
        secret: bytes = b"\0" + b"\xab" * 24,
    ) -> None:
        self.network = network
        ni, na = isns
        self.hosts: list[Host] = []
        ends = ((here, there, ni, na, up, down, True), (there, here, na, ni, down, up, False))
        for local, remote, iss, irs, data, expected, initiator in ends:
            pair = FourTuple.of_ends(local, remote)
            socket = Socket(pair, iss, irs, data, expected, closes, self._emit_of(len(self.hosts)), network.later)
            connection = Connection(pair, ni, na, secret, initiator)
            self.hosts.append(Host(network, connection, socket, {local.ip}))
        self.a, self.b = self.hosts
        for host in self.hosts:
            network.later(0.0, host.socket.output)

    def _emit_of(self, index: int) -> Callable[[Segment], None]:
        return lambda segment: self.hosts[index].kernel_emit(segment)

    def finished(self) -> bool:
        return self.agreed() and self.a.socket.finished and self.b.socket.finished

    def agreed(self) -> bool:
        """Both are ESTABLISHED, and mean the same two addresses, which are there."""
        a, b = self.a.socket.pair, self.b.socket.pair
        return (
            all(host.connection.state is State.ESTABLISHED and not host.connection.rebinding for host in self.hosts)
            and all(host.connection.tuple == host.socket.pair for host in self.hosts)
            and (a.local, a.remote) == (b.remote, b.local)
            and all(host.socket.pair.local_ip in host.addresses for host in self.hosts)
        )

    def story(self) -> str:
        """What happened, for the message of a failed assertion."""
        lines = []
        for time, s in self.network.wire:
            if s.flags & (SYN | RST) or not s.payload:
                lines.append(f"{time:9.3f} {s.src}.{s.sport} > {s.dst}.{s.dport} flags {s.flags} {s.seq} ack {s.ack}")
        for name, host in (("a", self.a), ("b", self.b)):
            lines.append(f"{name}: {host.connection.state} {host.socket.pair} received {len(host.socket.received)}")
            lines += [f"   {report.event}: {report.cause}" for report in host.reports]
        return "\n".join(lines)
