"""The state machine of one migratable connection.

Theory of operation
-------------------

The kernel's TCP does all the transport.  This machine stands beside it and knows one thing: between which two
addresses the connection lives, and who may change that.  Its states are those of slide 22: RFC 793's as far as a
migration sees them, with MIGRATE_WAIT; SUSPENDED is this project's.

A migration is a three-way handshake around an established connection (segments 5, 6, 7) that takes no sequence
space.  The *mover* proves who it is by a token and a request (SHA-1 over the secret of the first handshake), and says
where it is by the source address of its SYN.  The *answerer* says in 6 what data it has and how much more it takes,
the mover in 7.  Each side then carries its socket to the new address pair and takes everything the other has not got
for unsent.

    mover      Move -> SYN_SENT: 5.   6 -> Rebind, then 7.   Rebound -> ESTABLISHED
    answerer   5 -> SYN_RCVD: 6.      7 -> Rebind.           Rebound -> ESTABLISHED

The answerer's socket is not touched before 7, so a program is never held still across a round trip, and a request
that comes to nothing costs nothing.  The old pair falls silent when 5 leaves, or is accepted, and stays silent.

Requests are numbered per sender.  The wire has seven bits of the number, both sides keep the full count, and R
covers it: neither an old request, nor one's own sent back, nor one of a replica that lost a race, is accepted.
The newest request always wins; that makes the handshake safe against loss, duplicates and reordering, because
a side that is unsure asks again with a larger number.  Places where it is unsure:

  * Requests cross.  The mover in SYN_SENT gets a valid Migrate SYN and answers it (a simultaneous open).  Each side
    may then hear from the other at the address that the peer's SYN was sent to, or at the pair of both new
    addresses: it follows whichever is spoken on.
  * A side follows its peer while a request of its own is under way.  It asks again (MoveAgain).
  * 6 does not say which request it answers.  Where an earlier request left on the same pair not long ago, the mover
    follows the answer, and asks once more to be sure.
  * 7 does not come.  It is lost, and the mover has nothing to say; or the mover is gone again; or the request was an
    old one that came late, and the mover is where it was.  6 goes out again until it is answered, without end; after a
    while to the peer's last address too, and then somebody is told (Report).

Between Rebind and Rebound or RebindFailed the connection is in the edge's hands: what the network says is dropped
(the peer repeats it), what this host's addresses do is remembered and handled afterwards.

The machine is the table below.  `handle` looks the row up and calls its handler, which changes the record and
returns actions; it then holds the handler to the states that the row names, so the diagram drawn from the table
(`diagram`) cannot lie.  What a peer sends never raises; LocalError is a mistake of the edge.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from migrate.core import answering, moving, settling
from migrate.core.actions import Action, Arm, Await, Direction, Hold, MoveAgain, Mute, SendSyn, SendSynAck
from migrate.core.events import (
    Ack,
    AddressLost,
    Event,
    Expired,
    Gone,
    MigrateSyn,
    Move,
    RebindFailed,
    Rebound,
    Rst,
    SynAck,
    Timer,
)
from migrate.core.record import Record, State
from migrate.core.rules import timeout
from migrate.core.settling import LocalError
from migrate.core.tuples import Position

ESTABLISHED, SYN_SENT, SYN_RCVD = State.ESTABLISHED, State.SYN_SENT, State.SYN_RCVD
MIGRATE_WAIT, SUSPENDED, CLOSED = State.MIGRATE_WAIT, State.SUSPENDED, State.CLOSED

Handler = Callable[[Record, Any], list[Action]]


@dataclass(frozen=True, slots=True)
class Row:
    """What an event does in a state: the handler, the other states that it may lead to, and the diagram's words."""

    handler: Handler
    leads_to: tuple[State, ...]
    label: str


def _ignore(c: Record, event: Event) -> list[Action]:
    return []


IGNORE = Row(_ignore, (), "")
MOVE = Row(moving.on_move, (SYN_SENT,), "move: send Migrate SYN")
ANSWER = Row(answering.on_migrate_syn, (SYN_RCVD,), "valid Migrate SYN: send SYN/ACK")
REBOUND = Row(settling.on_rebound, (ESTABLISHED,), "")
GONE = Row(settling.on_gone, (CLOSED,), "socket gone")
TWO_MSL = Row(moving.on_two_msl, (CLOSED,), "2MSL: reset")

TABLE: dict[State, dict[type[Event], Row]] = {
    ESTABLISHED: {
        Move: MOVE,
        AddressLost: Row(moving.on_address_lost, (SUSPENDED,), "address lost"),
        MigrateSyn: ANSWER,
        SynAck: Row(moving.on_late_answer, (), "SYN/ACK again: send ACK"),
        Ack: IGNORE,
        Rst: Row(answering.on_rst, (MIGRATE_WAIT,), "RST from the peer's address"),
        Expired: Row(moving.on_verify_timeout, (), "timeout, answer ambiguous: Migrate SYN again"),
        Rebound: REBOUND,
        RebindFailed: Row(settling.on_rebind_failed, (), ""),
        Gone: GONE,
    },
    SYN_SENT: {
        Move: Row(moving.on_move, (), "move again: send a new Migrate SYN"),
        AddressLost: Row(moving.on_request_address_lost, (SUSPENDED,), "address lost"),
        MigrateSyn: Row(answering.on_migrate_syn, (SYN_RCVD,), "valid Migrate SYN (crossing): send SYN/ACK"),
        SynAck: Row(moving.on_answer, (), "SYN/ACK: rebind"),
        Ack: IGNORE,
        Rst: Row(moving.on_refusal, (SUSPENDED, ESTABLISHED), "RST: refused (at its own address: stays)"),
        Expired: Row(moving.on_syn_timeout, (CLOSED,), "timeout: Migrate SYN again; 2MSL of MIGRATE_WAIT: reset"),
        Rebound: Row(settling.on_rebound, (ESTABLISHED,), "SYN/ACK, rebound: send ACK"),
        RebindFailed: Row(settling.on_rebind_failed, (SUSPENDED,), "socket cannot move"),
        Gone: GONE,
    },
    SYN_RCVD: {
        Move: Row(moving.on_move, (SYN_SENT,), "move: send Migrate SYN to the peer's new address"),
        AddressLost: Row(answering.on_address_lost_while_answering, (SUSPENDED,), "address lost"),
        MigrateSyn: Row(answering.on_migrate_syn, (), "larger ReqNo: start over"),
        SynAck: Row(moving.on_crossing_answer, (), "SYN/ACK for a crossing request: rebind"),
        Ack: Row(answering.on_ack, (), "ACK: rebind"),
        Rst: Row(answering.on_rst_while_answering, (MIGRATE_WAIT, SYN_SENT), "RST from the new address"),
        Expired: Row(answering.on_answer_timeout, (), "timeout: SYN/ACK again"),
        Rebound: Row(settling.on_rebound, (ESTABLISHED,), "ACK, rebound"),
        RebindFailed: Row(settling.on_rebind_failed, (MIGRATE_WAIT, SUSPENDED), "socket cannot move"),
        Gone: GONE,
    },
    MIGRATE_WAIT: {
        Move: MOVE,
        AddressLost: IGNORE,
        MigrateSyn: ANSWER,
        SynAck: IGNORE,
        Ack: IGNORE,
        Rst: IGNORE,
        Expired: TWO_MSL,
        Rebound: REBOUND,
        RebindFailed: Row(settling.on_rebind_failed, (), ""),
        Gone: GONE,
    },
    SUSPENDED: {
        Move: Row(moving.on_move, (SYN_SENT, ESTABLISHED), "move: send Migrate SYN (a closing socket stays)"),
        AddressLost: IGNORE,
        MigrateSyn: ANSWER,
        SynAck: IGNORE,
        Ack: IGNORE,
        Rst: IGNORE,
        Expired: TWO_MSL,
        Rebound: REBOUND,
        RebindFailed: Row(settling.on_rebind_failed, (), ""),
        Gone: GONE,
    },
    CLOSED: dict.fromkeys(
        (Move, AddressLost, MigrateSyn, SynAck, Ack, Rst, Expired, Rebound, RebindFailed, Gone), IGNORE
    ),
}


class Connection(Record):
    """One connection: the record, and the machine that changes it.

    All arguments of `Record` are its own; `secret` may be a callable, called when K is first needed."""

    def handle(self, event: Event) -> list[Action]:
        """What is to be done about an event, in order.

        Raises LocalError for a Rebound or RebindFailed that nobody asked for, and whatever the secret's callable
        raises (the record is then unchanged)."""
        if event == Expired(Timer.QUIET):
            self.recent.clear()
            return []
        if self.rebinding and not isinstance(event, Rebound | RebindFailed | Gone):
            return settling.defer(self, event)
        before = self.state
        row = TABLE[before][type(event)]
        actions = row.handler(self, event)
        if self.state is not before and self.state not in row.leads_to:
            raise AssertionError(f"{type(event).__name__} led from {before.name} to {self.state.name}")
        return actions + self._catch_up() if self.deferred and not self.rebinding else actions

    def answer_as_of(self, answer: SendSynAck, position: Position) -> SendSynAck:
        """What is to be sent for an answer that was asked for, `position` being the socket's once all before it in the
        list of actions is done."""
        return answering.as_of(self, answer, position)

    def _catch_up(self) -> list[Action]:
        """What had to wait for the edge to have rebound the socket."""
        deferred, self.deferred = self.deferred, []
        actions: list[Action] = []
        for event in deferred:
            if isinstance(event, Move):
                actions.append(MoveAgain(event.local_ip, event.local_port, event.remote))
            else:
                actions += self.handle(event)
        return actions

    def state_after_rebind(self, limit: int = 192) -> bytes:
        """What `to_bytes` will give once the rebind under way is done: for whoever must write it down beforehand."""
        future = copy.copy(self)
        future.accepted = copy.copy(self.accepted)
        future.deferred = []
        future.handle(Rebound())
        return future.to_bytes(limit)

    def resume(self) -> list[Action]:
        """For a new daemon that has just `load`ed the record: marks set, timers started, 5 or 6 sent again."""
        if self.state is SYN_SENT and self.pending:
            pending = self.pending
            option = self.option(pending.s, pending.preload, self.sent_count)
            return [
                moving.silence(self),
                Await(pending.tuple),
                SendSyn(pending.tuple, pending.s, option),
                Arm(Timer.RETRANSMIT, timeout(pending.tries)),
            ]
        if self.state is SYN_RCVD and self.accepted:
            accepted, pairs = self.accepted, moving.answered_pairs(self)
            return [
                Mute(self.tuple, Direction.OUT if self.tuple in pairs else Direction.BOTH),
                *(mark for pair in pairs for mark in (Await(pair), Hold(pair))),
                *([Await(self.pending.tuple)] if self.pending else []),
                SendSynAck(accepted.tuple, accepted.seq, accepted.ack, accepted.window),
                Arm(Timer.RETRANSMIT, timeout(accepted.tries)),
            ]
        if self.state is MIGRATE_WAIT:
            return [moving.silence(self), Arm(Timer.TWO_MSL, 2 * self.msl)]
        if self.state is SUSPENDED:
            return [moving.silence(self)]
        return []


def diagram() -> str:
    """The state diagram as Graphviz text, drawn from the table."""
    lines = ["digraph migrate {", "    rankdir=LR;"]
    for state, row in ((state, row) for state, rows in TABLE.items() for row in rows.values()):
        for target in row.leads_to or (state,):
            if row.label:
                lines.append(f'    {state.name} -> {target.name} [label="{row.label}"];')
    return "\n".join([*lines, "}", ""])


__all__ = ["TABLE", "Connection", "LocalError", "Row", "State", "diagram"]
