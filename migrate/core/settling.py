"""The state machine's handlers for what becomes of the kernel's socket itself: rebound, not rebound, gone."""

from __future__ import annotations

from migrate.core import rules
from migrate.core.actions import (
    Action,
    Arm,
    Await,
    Direction,
    Disarm,
    MoveAgain,
    Mute,
    Notice,
    Release,
    Report,
    Unmute,
)
from migrate.core.events import AddressLost, Event, Gone, Move, RebindFailed, Rebound, Timer
from migrate.core.moving import answered_pairs, leave, silence
from migrate.core.record import Outcome, Record, Request, State
from migrate.core.tuples import FourTuple


class LocalError(Exception):
    """The edge did something that the machine did not ask for."""


def defer(c: Record, event: Event) -> list[Action]:
    """While the edge rebinds, what the network says is dropped, the peer says it again; a move is remembered."""
    if isinstance(event, Move | AddressLost):
        c.deferred.append(event)
    return []


def on_rebound(c: Record, event: Rebound) -> list[Action]:
    """The kernel's socket is where the rebinding led, and the handshake is over on this side."""
    if c.rebinding is None:
        raise LocalError("Rebound without a Rebind")
    rebinding, old, pending = c.rebinding, c.tuple, c.pending
    new, acknowledge = rebinding.new, rebinding.acknowledge
    open_ = c.accepted if c.accepted and c.accepted.outcome is Outcome.OPEN else None
    deposed = bool(open_ and open_.preload and not acknowledge)
    actions = _end_handshake(c, new, deposed)
    # Where the peer speaks to the address that we asked for, it has accepted the request.  An answer elsewhere was one
    # to an earlier request, and taken for 7.
    resolved = bool(pending and new.local == pending.tuple.local)
    c.tuple, c.pending, c.rebinding, c.state = new, None, None, State.ESTABLISHED
    if open_:
        open_.outcome = Outcome.FOLLOWED if new.remote == open_.tuple.remote else Outcome.DECLINED
    if resolved:
        c.confirmed_count = c.sent_count
    actions += [Release(new), Disarm(Timer.TWO_MSL)]
    c.asked = pending.tuple if acknowledge and pending else None
    if c.asked:
        # Our 7 may be lost: the answer then comes again.
        actions += [Await(pair) for pair in dict.fromkeys((new, c.asked))]
    actions.append(Report(Notice.MIGRATED, f"{old.local_ip} > {old.remote_ip} to {new.local_ip} > {new.remote_ip}"))
    # At the address that it has always known, a peer that says 7 may not have heard of the request at all.
    unsure = pending and (pending.ambiguous or (not acknowledge and pending.tuple.local == old.local))
    doubtful = pending if pending and unsure and resolved else None
    if not pending and not acknowledge and c.verifying:
        doubtful = c.verifying  # the peer has moved on meanwhile
    c.verifying = Request(new, doubtful.s, doubtful.preload) if doubtful else None
    if c.verifying:
        actions += [Await(new), Arm(Timer.RETRANSMIT, rules.timeout(1))]
    if pending and not resolved:
        actions.append(MoveAgain(pending.tuple.local_ip, pending.tuple.local_port, None))
    return actions


def _end_handshake(c: Record, new: FourTuple, deposed: bool) -> list[Action]:
    left = [c.pending.tuple] if c.pending else []
    left += answered_pairs(c) if c.state is State.SYN_RCVD else []
    actions: list[Action] = [Mute(pair, Direction.BOTH) for pair in dict.fromkeys(left) if pair not in (c.tuple, new)]
    if c.tuple == new:
        return [*actions, Unmute(new)]
    # A machine that was pronounced dead and is not learns it by the kernel's RST (slide 30).
    return [*actions, Unmute(c.tuple) if deposed else Mute(c.tuple, Direction.BOTH)]


def on_rebind_failed(c: Record, event: RebindFailed) -> list[Action]:
    """Not final: the handshake's own retransmissions bring the next try.  Final: the mover stays where it is and is
    ready for another address; the answerer cannot follow, and its peer has 2MSL to come back."""
    if c.rebinding is None:
        raise LocalError("RebindFailed without a Rebind")
    acknowledge, c.rebinding = c.rebinding.acknowledge, None
    report = Report(Notice.REBIND_FAILED, event.reason)
    if not event.final:
        asked = c.pending if c.state is State.SYN_SENT else c.accepted
        assert asked is not None
        return [report, Arm(Timer.RETRANSMIT, rules.timeout(asked.tries))]
    left = [c.pending.tuple] if c.pending else []
    left += answered_pairs(c) if c.state is State.SYN_RCVD else []
    actions = [report, *leave(c, left), silence(c)]
    c.pending = None
    if acknowledge:
        c.state = State.SUSPENDED
    else:
        c.state = State.MIGRATE_WAIT
        actions += [Arm(Timer.TWO_MSL, 2 * c.msl), Report(Notice.WAITING, "the socket cannot follow its peer")]
    return actions


def on_gone(c: Record, event: Gone) -> list[Action]:
    """Nothing is left to silence or to hold: whoever still speaks to the socket hears from the kernel."""
    pairs = [c.tuple, *([c.pending.tuple] if c.pending else [])]
    pairs += answered_pairs(c) if c.state is State.SYN_RCVD else []
    c.pending, c.rebinding, c.deferred, c.state = None, None, [], State.CLOSED
    return [
        Disarm(Timer.RETRANSMIT),
        Disarm(Timer.TWO_MSL),
        *(Unmute(pair) for pair in dict.fromkeys(pairs)),
        Report(Notice.CLOSED, "the socket is gone"),
    ]
