"""Two machines, their sockets and the network between them as values: what can happen next, and what it leads to.

A step delivers one of the segments under way, whichever; or loses or doubles one, while the budget for that lasts; or
lets a host take the next line of its script.  Timers run out when nothing is under way, being longer than any
segment's way; ahead of that only from a budget.  Tries are counted no further than the machine tells them apart, so
there are finitely many states.  A host is `pump.Host` without a clock, its socket `toytcp.Socket` with one segment
under way at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from migrate.core import (
    ACK,
    RST,
    SYN,
    Ack,
    Action,
    AddressLost,
    Arm,
    Await,
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
    seq,
)
from tests.migrate.values import PLAIN, SEGMENTS, UNIT, WINDOW, Addresses, End, Wrong, option_of, with_one, words


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
            one, rest = SEGMENTS[number], self.flight[:index] + self.flight[index + 1 :]
            yield f"deliver {words(one)}", False, partial(self._delivered, one, rest)
            if losses:
                yield f"lose {words(one)}", True, partial(self.copy, flight=rest, spent=0)
            if duplicates:
                yield f"double {words(one)}", True, partial(self.copy, flight=with_one(self.flight, one), spent=1)
            if reflections and one.flags == SYN:
                back = replace(one, src=one.dst, sport=one.dport, dst=one.src, dport=one.sport)
                yield f"reflect {words(one)}", True, partial(self.copy, flight=with_one(self.flight, back), spent=3)
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
            world.flight = with_one(rest, FourTuple.of_arriving(one).segment(*number))
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
        mute, awaited, held, kept = end.marks.get(pair, PLAIN)
        if segment.flags == SYN:
            option = option_of(segment.options)
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
                marks[pair] = (direction, *marks.get(pair, PLAIN)[1:])
            case Unmute(pair):
                self.feed(which, marks.pop(pair, PLAIN)[3])
            case Await(pair):
                mute, _, held, kept = marks.get(pair, PLAIN)
                marks[pair] = (mute, True, held, kept)
            case Hold(pair):
                mute, awaited, _, kept = marks.get(pair, PLAIN)
                marks[pair] = (mute, awaited, True, kept)
            case Release(pair):
                mute, awaited, _, kept = marks.get(pair, PLAIN)
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
            self.flight = with_one(self.flight, segment)

    def kernel_emit(self, which: int, segment: Segment) -> None:
        pair = FourTuple(segment.src, segment.sport, segment.dst, segment.dport)
        if self.ends[which].marks.get(pair, PLAIN)[0] is None:
            if (state := self.ends[which].c.state) is not State.ESTABLISHED:
                raise Wrong(f"{state.name} speaks")
            self.emit(which, segment)

    def feed(self, which: int, kept: tuple[Segment, ...]) -> None:
        for segment in kept:
            self.kernel(which, segment)

    def kernel(self, which: int, segment: Segment) -> None:
        end = self.ends[which]
        if FourTuple.of_arriving(segment) != end.pair:
            raise Wrong(f"the kernel resets {words(segment)}, which it knows nothing of")
        if seq.gt(segment.ack, end.high):
            raise Wrong(f"{words(segment)} acknowledges what was never sent")
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
        if any(SEGMENTS[one].dst not in there for one in self.flight):
            self.flight = tuple(one for one in self.flight if SEGMENTS[one].dst in there)
        return self
