"""Every order in which the segments of a migration can be lost, doubled and overtake each other: a search through the
states of two machines, their sockets and the network between them.

A step delivers one of the segments under way, whichever; or loses or doubles one, while the budget for that lasts; or
lets a host take the next line of its script.  Timers run out when nothing is under way, being longer than any
segment's way; ahead of that only from a budget.  States are compared by value, tries are counted no further than the
machine tells them apart, so the graph is finite, and each state is looked at once.

Asked of the whole graph: no step raises, says a wrong number or resets anybody; a state in which nothing more can
happen is a good end; and from every state a good end can still be reached without another fault.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from ipaddress import IPv4Address

from migrate.core import (
    ACK,
    RST,
    SYN,
    Ack,
    Action,
    AddressLost,
    Arm,
    Await,
    Connection,
    Direction,
    Disarm,
    Event,
    Expired,
    FourTuple,
    Hold,
    Migrate,
    MigrateSyn,
    Move,
    MoveAgain,
    Mute,
    Notice,
    Peer,
    Position,
    Rebind,
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
    Unmute,
    migrate_option,
    rules,
    seq,
)

UNIT = 100  # bytes of a data segment; a socket has one under way at a time
WINDOW = 1000
TRIES = rules.MANY_TRIES + 1  # beyond it the machine tells none apart

Addresses = frozenset[IPv4Address]
Marks = tuple[Direction | None, bool, bool, tuple[Segment, ...]]  # muted, awaited, held, what is held
_PLAIN: Marks = (None, False, False, ())


class Place(IPv4Address):
    """An address of which there is one object only, and so quickly compared."""

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other


class Wrong(Exception):
    """Something that must not happen; one sentence."""


@lru_cache(None)
def _option(options: bytes) -> Migrate | None:
    return migrate_option(Segment(IPv4Address(0), 0, IPv4Address(0), 0, SYN, 0, options=options))


_NUMBERS: dict[object, int] = {}
_SEGMENTS: dict[int, Segment] = {}


def _number(what: object) -> int:
    """The same for equal things, so that they are compared in full only once."""
    return _NUMBERS.setdefault(what, len(_NUMBERS))


def _with(flight: tuple[int, ...], one: Segment) -> tuple[int, ...]:
    number = _number(one)
    _SEGMENTS[number] = one
    return tuple(sorted((*flight, number)))


@dataclass(frozen=True)
class Line:
    """Of a host's script: addresses that it gets and loses at once; a stranger may get what it loses."""

    gets: Place | None = None
    loses: Place | None = None
    to_stranger: bool = False


class End:
    """One host: its machine, its socket, and the marks that the machine has set."""

    __slots__ = (
        *("addresses", "c", "end", "high", "known", "marks", "nxt", "pair", "rcv", "script", "timers", "una"),
        "was_reset",
    )

    def __init__(self, c: Connection, iss: int, irs: int, units: int, script: tuple[Line, ...]) -> None:
        self.c, self.pair = c, c.tuple
        self.una = self.nxt = self.high = seq.add(iss, 1)
        self.end = seq.add(self.una, units * UNIT)
        self.rcv = seq.add(irs, 1)
        self.marks: dict[FourTuple, Marks] = {}
        self.timers: frozenset[Timer] = frozenset()
        self.addresses: Addresses = frozenset((c.tuple.local_ip,))  # type: ignore[arg-type]
        self.script, self.was_reset = script, False
        self.known: int | None = None  # the number of its key

    def copy(self) -> End:
        new = End.__new__(End)
        for name in End.__slots__:
            setattr(new, name, getattr(self, name))
        new.marks, new.known = dict(self.marks), None
        old = self.c
        new.c = c = Connection(old.tuple, old.ni, old.na, old.secret, old.initiator, old.msl, old.state)
        c.sent_count, c.confirmed_count, c.accepted_count = old.sent_count, old.confirmed_count, old.accepted_count
        c.pending = replace(old.pending) if old.pending else None
        c.accepted = replace(old.accepted) if old.accepted else None
        c.verifying = replace(old.verifying) if old.verifying else None
        c.asked, c.highest, c.recent, c.own = old.asked, old.highest, old.recent, old.own
        return new

    def key(self) -> int:
        """Equal for equal states."""
        if self.known is None:
            self.known = _number(self._all())
        return self.known

    def _all(self) -> tuple[object, ...]:
        c = self.c
        pending, accepted, verifying = c.pending, c.accepted, c.verifying
        for one in (pending, accepted, verifying):
            if one is not None and one.tries > TRIES:
                one.tries = TRIES
        return (
            *(c.tuple, c.state, c.sent_count, c.confirmed_count, c.accepted_count, c.asked, c.highest),
            pending and (pending.tuple, pending.s, pending.tries, pending.ambiguous),
            accepted
            and (
                accepted.tuple,
                accepted.s,
                accepted.octet,
                accepted.seq,
                accepted.ack,
                accepted.tries,
                accepted.outcome,
            ),
            verifying and (verifying.tuple, verifying.s, verifying.tries),
            *(tuple(c.recent), tuple(c.own), self.una, self.nxt, self.high, self.rcv, self.timers, self.addresses),
            *(frozenset(self.marks.items()), len(self.script), self.was_reset),
        )

    def position(self) -> Position:
        return Position(self.una, self.nxt, self.rcv, WINDOW)


@dataclass
class Budget:
    """How many faults of each kind there may be."""

    losses: int = 0
    duplicates: int = 0
    early_timeouts: int = 0
    reflections: int = 0


class World:
    """Both ends and what is under way between them: the numbers of segments, in order.  A step makes a new one, which
    shares with the old one what does not change."""

    __slots__ = ("budget", "ends", "flight", "stranger")

    def __init__(self, ends: list[End], flight: tuple[int, ...], budget: tuple[int, ...], stranger: Addresses) -> None:
        self.ends, self.flight, self.budget, self.stranger = ends, flight, budget, stranger

    def copy(self, which: int | None = None, flight: tuple[int, ...] | None = None, spent: int | None = None) -> World:
        """For a step of one end, with that in flight, and out of that budget."""
        ends = [end.copy() if index == which else end for index, end in enumerate(self.ends)]
        budget = tuple(left - (index == spent) for index, left in enumerate(self.budget))
        return World(ends, self.flight if flight is None else flight, budget, self.stranger)

    def key(self) -> tuple[object, ...]:
        """Equal for equal states."""
        return (self.ends[0].key(), self.ends[1].key(), self.flight, self.budget, self.stranger)

    # ---- steps

    def steps(self) -> Iterator[tuple[str, bool, Callable[[], World]]]:
        """What may happen now: in words, whether it is a fault, and what it leads to."""
        losses, duplicates, early_timeouts, reflections = self.budget
        for index, number in enumerate(self.flight):
            if index and self.flight[index - 1] == number:
                continue
            one, rest = _SEGMENTS[number], self.flight[:index] + self.flight[index + 1 :]
            yield f"deliver {_words(one)}", False, partial(self._delivered, one, rest)
            if losses:
                yield f"lose {_words(one)}", True, partial(self.copy, flight=rest, spent=0)
            if duplicates:
                yield f"double {_words(one)}", True, partial(self.copy, flight=_with(self.flight, one), spent=1)
            if reflections and one.flags == SYN:
                back = replace(one, src=one.dst, sport=one.dport, dst=one.src, dport=one.sport)
                yield f"reflect {_words(one)}", True, partial(self.copy, flight=_with(self.flight, back), spent=3)
        for which, end in enumerate(self.ends):
            name = "ab"[which]
            if end.script:
                yield f"{name} moves", False, partial(self._moved, which)
            if Timer.RETRANSMIT in end.timers and (not self.flight or early_timeouts):
                early = bool(self.flight)
                yield f"{name}'s timeout", early, partial(self._expired, which, Timer.RETRANSMIT, 2 if early else None)
            if not self.flight and end.una != end.end and not end.was_reset:
                yield f"{name}'s data again", False, partial(self._again, which)
            # 2MSL are longer than it takes anybody who is still there to ask again.
            busy = self.flight or any(other.script or Timer.RETRANSMIT in other.timers for other in self.ends)
            if Timer.TWO_MSL in end.timers and not busy:
                yield f"{name}'s 2MSL", False, partial(self._expired, which, Timer.TWO_MSL, None)

    def _delivered(self, one: Segment, rest: tuple[int, ...]) -> World:
        for which, end in enumerate(self.ends):
            if one.dst in end.addresses:
                world = self.copy(which, rest)
                world.deliver(which, one)
                return world
        world = self.copy(flight=rest)
        if one.dst in world.stranger and not one.flags & RST:
            number = (RST, one.ack, 0) if one.flags & ACK else (RST | ACK, 0, seq.add(one.seq, one.length))
            world.flight = _with(rest, FourTuple.of_arriving(one).segment(*number))
        return world

    def _moved(self, which: int) -> World:
        world = self.copy(which)
        end = world.ends[which]
        line, end.script = end.script[0], end.script[1:]
        if line.loses:
            end.addresses -= {line.loses}
            if line.to_stranger:
                world.stranger |= {line.loses}
            world.handle(which, AddressLost(line.loses))
        if line.gets:
            end.addresses |= {line.gets}
            world.handle(which, Move(line.gets, end.position()))
        return world

    def _expired(self, which: int, timer: Timer, spent: int | None) -> World:
        world = self.copy(which, spent=spent)
        world.ends[which].timers -= {timer}
        world.handle(which, Expired(timer))
        return world

    def _again(self, which: int) -> World:
        world = self.copy(which)
        end = world.ends[which]
        end.nxt = end.una
        world.output(which)
        return world

    # ---- a host, as pump.Host

    def deliver(self, which: int, segment: Segment) -> None:
        end, pair = self.ends[which], FourTuple.of_arriving(segment)
        mute, awaited, held, kept = end.marks.get(pair, _PLAIN)
        if segment.flags == SYN:
            option = _option(segment.options)
            assert option is not None
            self.handle(which, MigrateSyn(segment, option, end.position()))
        elif segment.flags & RST:
            if awaited or held or pair == end.pair:
                self.handle(which, Rst(segment, end.position()))
        elif segment.flags & SYN:
            if awaited:
                self.handle(which, SynAck(segment, end.position()))
            elif not held and mute is not Direction.BOTH:
                self.kernel(which, segment)
        elif held:
            end.marks[pair] = (mute, awaited, held, (*kept, segment))
            self.handle(which, Ack(segment, end.position()))
        elif mute is not Direction.BOTH:
            self.kernel(which, segment)

    def handle(self, which: int, event: Event) -> None:
        for action in self.ends[which].c.handle(event):
            self.carry_out(which, action)

    def carry_out(self, which: int, action: Action) -> None:
        end = self.ends[which]
        marks = end.marks
        match action:
            case Mute(pair, Direction.BOTH):
                marks[pair] = (Direction.BOTH, False, False, ())
            case Mute(pair, direction):
                marks[pair] = (direction, *marks.get(pair, _PLAIN)[1:])
            case Unmute(pair):
                self.feed(which, marks.pop(pair, _PLAIN)[3])
            case Await(pair):
                mute, _, held, kept = marks.get(pair, _PLAIN)
                marks[pair] = (mute, True, held, kept)
            case Hold(pair):
                mute, awaited, _, kept = marks.get(pair, _PLAIN)
                marks[pair] = (mute, awaited, True, kept)
            case Release(pair):
                mute, awaited, _, kept = marks.get(pair, _PLAIN)
                marks[pair] = (mute, awaited, False, ())
                self.feed(which, kept)
            case SendSyn():
                self.emit(which, action.segment())
            case SendSynAck():
                if action.ack != end.rcv or action.seq != seq.add(end.una, -1):
                    raise Wrong(f"6 says {action.seq} ack {action.ack}, its sender is at {end.una} ack {end.rcv}")
                self.emit(which, action.segment())
            case SendRst():
                raise Wrong("an honest request is refused")
            case SendAck(pair):
                self.emit(which, pair.segment(ACK, end.nxt, end.rcv, WINDOW))
            case Rebind():
                self.rebind(which, action)
            case MoveAgain(address, port, remote):
                if address in end.addresses:
                    self.handle(which, Move(address, end.position(), port, remote))
            case Arm(timer, _):
                end.timers |= {timer}
            case Disarm(timer):
                end.timers -= {timer}
            case Reset():
                end.was_reset = True
            case Report(Notice.UNANSWERED):
                self.look_peer_up(which)
            case Report():
                pass

    def rebind(self, which: int, action: Rebind) -> None:
        end, peer = self.ends[which], self.ends[1 - which]
        if seq.gt(action.snd_una, peer.rcv):
            raise Wrong(f"a gap: the stream goes on at {action.snd_una}, its receiver has come to {peer.rcv}")
        end.pair = action.new
        end.una = max(end.una, action.snd_una)
        end.nxt = end.una
        if action.acknowledge:
            self.emit(which, action.new.segment(ACK, end.una, end.rcv, WINDOW))
        self.handle(which, Rebound())
        self.output(which)

    def look_peer_up(self, which: int) -> None:
        """The peer's name leads to its newest address."""
        end, peer = self.ends[which], self.ends[1 - which]
        pending, there = end.c.pending, max(peer.addresses, default=None)
        if pending and there and there is not pending.tuple.remote_ip:
            remote = Peer(there, pending.tuple.remote_port)
            self.handle(which, Move(pending.tuple.local_ip, end.position(), remote=remote))

    def emit(self, which: int, segment: Segment) -> None:
        if segment.src in self.ends[which].addresses:
            self.flight = _with(self.flight, segment)

    def kernel_emit(self, which: int, segment: Segment) -> None:
        pair = FourTuple(segment.src, segment.sport, segment.dst, segment.dport)
        if self.ends[which].marks.get(pair, _PLAIN)[0] is None:
            if (state := self.ends[which].c.state) is not State.ESTABLISHED:
                raise Wrong(f"{state.name} speaks")
            self.emit(which, segment)

    def feed(self, which: int, kept: tuple[Segment, ...]) -> None:
        for segment in kept:
            self.kernel(which, segment)

    def kernel(self, which: int, segment: Segment) -> None:
        end = self.ends[which]
        if FourTuple.of_arriving(segment) != end.pair:
            raise Wrong(f"the kernel resets {_words(segment)}, which it knows nothing of")
        if seq.gt(segment.ack, end.high):
            raise Wrong(f"{_words(segment)} acknowledges what was never sent")
        if segment.flags & SYN or seq.gt(segment.ack, end.nxt):
            self.acknowledge(which)
            return
        if seq.gt(segment.ack, end.una):
            end.una = segment.ack
        if segment.payload:
            if segment.seq == end.rcv:
                end.rcv = seq.add(end.rcv, UNIT)
            self.acknowledge(which)
        self.output(which)

    def acknowledge(self, which: int) -> None:
        end = self.ends[which]
        self.kernel_emit(which, end.pair.segment(ACK, end.nxt, end.rcv, WINDOW))

    def output(self, which: int) -> None:
        end = self.ends[which]
        if end.nxt == end.una and end.una != end.end:
            at, end.nxt = end.nxt, seq.add(end.nxt, UNIT)
            end.high = max(end.high, end.nxt)
            bare = end.pair.segment(ACK, at, end.rcv, WINDOW)
            self.kernel_emit(which, replace(bare, payload=bytes(UNIT)))

    def normal(self) -> World:
        """Without the segments to addresses that nobody has or will have."""
        there = self.ends[0].addresses | self.ends[1].addresses | self.stranger
        there |= {line.gets for end in self.ends for line in end.script if line.gets}
        if any(_SEGMENTS[one].dst not in there for one in self.flight):
            self.flight = tuple(one for one in self.flight if _SEGMENTS[one].dst in there)
        return self


@lru_cache(None)
def _words(one: Segment) -> str:
    number = str(_option(one.options).reqno) if one.flags == SYN else ""  # type: ignore[union-attr]
    kind = {SYN: "5", SYN | ACK: "6"}.get(one.flags, "RST" if one.flags & RST else "data" if one.payload else "ACK")
    return f"{kind}{'/' + number if number else ''} {one.src} > {one.dst} {one.seq} ack {one.ack}"


def agreed(world: World) -> bool:
    """Both are ESTABLISHED between the newest addresses, and all data has come and is acknowledged."""
    a, b = world.ends
    return (
        a.c.state is b.c.state is State.ESTABLISHED
        and a.c.tuple == a.pair
        and b.c.tuple == b.pair
        and (a.pair.local, a.pair.remote) == (b.pair.remote, b.pair.local)
        and all(end.pair.local_ip is max(end.addresses) for end in world.ends)
        and (a.una, b.una) == (a.end, b.end)
        and (a.rcv, b.rcv) == (b.end, a.end)
        and not a.was_reset
        and not b.was_reset
    )


@dataclass(frozen=True)
class Explored:
    """`states`, `steps`: how many there are; `ends`: of the states, those in which nothing more can happen."""

    states: int
    steps: int
    ends: int


def explore(start: World, good: Callable[[World], bool] = agreed, at_most: int = 400_000) -> Explored:
    """The whole graph from `start`.  Raises `Wrong`, with the shortest way there, where it is not as it must be."""
    numbers: dict[tuple[object, ...], int] = {start.normal().key(): 0}
    came: list[tuple[int, str]] = [(-1, "")]
    back: list[list[int]] = [[]]  # by state, those that lead to it without a fault
    fine: list[int] = []
    waiting: deque[tuple[int, World]] = deque([(0, start)])
    steps = ends = 0

    def way(number: int, last: str = "") -> str:
        words = [last] if last else []
        while number > 0:
            number, step = came[number]
            words.append(step)
        return "".join(f"\n    {one}" for one in reversed(words))

    while waiting:
        number, world = waiting.popleft()
        is_good = good(world)
        if is_good:
            fine.append(number)
        moved_on = False
        for words, fault, step in world.steps():
            steps += 1
            try:
                following = step().normal()
            except (Wrong, AssertionError) as error:
                raise Wrong(f"{error}:{way(number, words)}") from error
            key = following.key()
            known = numbers.get(key)
            if known is None:
                known = numbers[key] = len(came)
                came.append((number, words))
                back.append([])
                waiting.append((known, following))
                if known >= at_most:
                    raise Wrong(f"more than {at_most} states: the budget is too large")
            if not fault:
                back[known].append(number)
                moved_on = moved_on or known != number
        if not moved_on:
            ends += 1
            if not is_good:
                raise Wrong(f"stuck:{way(number)}\n{_story(world)}")
    reached = bytearray(len(came))
    hopeful = deque(fine)
    for number in fine:
        reached[number] = 1
    while hopeful:
        for earlier in back[hopeful.popleft()]:
            if not reached[earlier]:
                reached[earlier] = 1
                hopeful.append(earlier)
    lost = reached.find(0)
    if lost >= 0:
        raise Wrong(f"from here no good end can be reached ({reached.count(0)} such states):{way(lost)}")
    return Explored(len(came), steps, ends)


def _story(world: World) -> str:
    return "\n".join(f"{end.c.state.name} {end.pair} una {end.una} of {end.end} rcv {end.rcv}" for end in world.ends)
