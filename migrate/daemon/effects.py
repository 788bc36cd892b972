"""Carries out the actions that the state machine asks for.

Rebinds are gathered, and done in one go (carrying.py).
"""

from __future__ import annotations

import asyncio
import time

from migrate.core import (
    Action,
    Arm,
    Await,
    Direction,
    Disarm,
    Event,
    Expired,
    Gone,
    Hold,
    Move,
    MoveAgain,
    Mute,
    Rebind,
    Release,
    Report,
    Reset,
    SendAck,
    SendRst,
    SendSyn,
    SendSynAck,
    Timer,
    Unmute,
)
from migrate.daemon.carrying import Carrier
from migrate.daemon.registry import Managed, Registry
from migrate.daemon.speaking import Speaker
from migrate.linux.maps import WATCH_ALL, WATCH_HOLD, WATCH_MUTE_IN, WATCH_MUTE_OUT, WATCH_SYNACK, Switchboard
from migrate.linux.position import Probe

PATIENCE_SECONDS = 0.02
"""For a program that has been interrupted while it held its socket's lock."""


class Effects:
    """One per daemon; `step(managed, event)` is the way in for everything that happens to a connection."""

    def __init__(
        self, registry: Registry, switchboard: Switchboard, probe: Probe, speaker: Speaker, carrier: Carrier
    ) -> None:
        self._registry, self._switchboard, self._probe = registry, switchboard, probe
        self._speaker, self._carrier = speaker, carrier
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
                self._carrier.join(joining, self.step)
            if carried:
                self._carrier.carry(carried, self.step)
        if self._soon:
            soon, self._soon = self._soon, []
            self._carrier.find_holders(soon)

    def _do(self, managed: Managed, action: Action) -> None:
        mark = self._switchboard.mark
        match action:
            case Mute(pair, Direction.OUT):
                mark(pair, add=WATCH_MUTE_OUT, remove=WATCH_MUTE_IN)
            case Mute(pair):
                managed.held.pop(pair, None)
                self._registry.pending.pop(pair, None)
                # One that the connection has left: what is still on its way there has died out by then.
                lasts = {} if pair == managed.machine.tuple else {"seconds": 2 * managed.machine.msl}
                mark(pair, add=WATCH_MUTE_OUT | WATCH_MUTE_IN, remove=WATCH_HOLD | WATCH_SYNACK, **lasts)
            case Unmute(pair):
                self._speaker.feed_held(managed, pair)
                self._registry.pending.pop(pair, None)
                mark(pair, remove=WATCH_ALL)
            case Await(pair):
                self._registry.pending[pair] = managed
                mark(pair, add=WATCH_SYNACK)
            case Hold(pair):
                self._registry.pending[pair] = managed
                mark(pair, add=WATCH_HOLD)
            case Release(pair):
                self._speaker.feed_held(managed, pair)
                mark(pair, remove=WATCH_HOLD)
            case SendSyn() | SendSynAck():
                if isinstance(action, SendSynAck):
                    action = self._as_of_now(managed, action)
                self._speaker.shake_hands(managed, action)
                if managed.newcomer is None:
                    self._soon.append(managed)
            case SendRst():
                self._speaker.refuse(managed.name, action.segment())
            case SendAck(pair):
                self._speaker.acknowledge_again(pair)
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
                mark(managed.machine.tuple, remove=WATCH_ALL)
                self._speaker.reset(managed.machine.tuple)
            case Report(event, cause):
                self._speaker.tell(managed, event, cause)
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
