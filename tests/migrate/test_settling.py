"""What becomes of the kernel's socket: rebound, not rebound, meanwhile; and a daemon that starts anew."""

from __future__ import annotations

import pytest

from migrate.core import (
    Action,
    AddressLost,
    Arm,
    Await,
    Connection,
    Direction,
    Event,
    Expired,
    FourTuple,
    Hold,
    MoveAgain,
    Mute,
    Notice,
    Peer,
    Rebind,
    RebindFailed,
    Rebound,
    Release,
    SendAck,
    SendSyn,
    SendSynAck,
    State,
    Timer,
    Unmute,
)
from tests.migrate.fixtures import (
    BOTH_MOVED,
    MOVED,
    NA,
    NI,
    NXT,
    OLD,
    PEER_MOVED,
    UNA,
    K,
    acked,
    answered,
    asked,
    connection,
    move,
    notices,
    of,
    one,
    position,
    rebound,
    reset,
)

HANDLED = [state for state in State if state is not State.CLOSED]
REBINDING = [(State.SYN_SENT, answered(), MOVED), (State.SYN_RCVD, acked(), PEER_MOVED)]


def reloaded(c: Connection, at: FourTuple | None = None) -> Connection:
    """What a new daemon knows: where the socket is, and the kept bytes."""
    back = Connection(at or c.tuple, NI, NA, K, msl=c.msl)
    back.load(c.to_bytes())
    return back


# ---- rebound


@pytest.mark.parametrize(("state", "event", "new"), REBINDING)
def test_after_the_rebind_what_was_held_is_fed_in(state: State, event: Event, new: FourTuple) -> None:
    c = connection(state)
    c.handle(event)
    actions = rebound(c)
    assert of(Release, actions) == [Release(new)]
    assert notices(actions) == [Notice.MIGRATED]


def test_the_mover_goes_on_catching_answers() -> None:
    """Its 7 may be lost."""
    c = connection(State.SYN_SENT)
    c.handle(answered())
    actions = rebound(c)
    assert Await(MOVED) in actions
    assert actions.index(Release(MOVED)) < actions.index(Await(MOVED))


@pytest.mark.parametrize(("state", "event", "new"), REBINDING)
def test_the_state_after_a_rebind_is_known_beforehand(state: State, event: Event, new: FourTuple) -> None:
    """For a daemon that dies in the middle: written down before the socket moves."""
    c = connection(state)
    c.handle(event)
    before, foretold = c.to_bytes(), c.state_after_rebind()
    assert c.to_bytes() == before
    assert c.rebinding is not None
    rebound(c)
    assert c.to_bytes() == foretold
    assert foretold != before


def test_the_state_after_a_rebind_leaves_a_later_move_alone() -> None:
    c = connection(State.SYN_SENT)
    c.handle(answered())
    c.handle(move("10.1.0.5"))
    c.state_after_rebind()
    assert of(MoveAgain, rebound(c)) == [MoveAgain(move("10.1.0.5").local_ip, None, None)]


def test_what_the_peer_may_acknowledge_after_a_rebind() -> None:
    """Everything counts as unsent, and yet the peer may have it: up to snd_nxt before the rebind."""
    c = connection(State.SYN_SENT)
    c.handle(answered())
    rebound(c)
    assert c.highest == NXT
    restarted = position(snd_nxt=UNA)
    c.handle(AddressLost())
    c.handle(move("10.1.0.5"))
    there = FourTuple(move("10.1.0.5").local_ip, 40000, OLD.remote_ip, 80)
    assert of(Rebind, c.handle(answered(on=there, ack=NXT, where=restarted)))


# ---- meanwhile


@pytest.mark.parametrize(("state", "event", "new"), REBINDING)
def test_while_the_edge_rebinds_the_network_is_not_heard(state: State, event: Event, new: FourTuple) -> None:
    """The peer says it again."""
    c = connection(state)
    c.handle(event)
    before = c.to_bytes()
    for other in (reset(OLD), reset(new), answered(), acked(), asked(count=7), Expired(Timer.RETRANSMIT)):
        assert c.handle(other) == []
    assert c.to_bytes() == before


@pytest.mark.parametrize(("state", "event", "new"), REBINDING)
def test_while_the_edge_rebinds_addresses_are_remembered(state: State, event: Event, new: FourTuple) -> None:
    c = connection(state)
    c.handle(event)
    assert c.handle(AddressLost()) == []
    assert c.handle(move("10.1.0.5", local_port=9, remote=Peer(OLD.remote_ip, 10))) == []
    actions = rebound(c)
    assert c.state is State.SUSPENDED
    assert of(MoveAgain, actions) == [MoveAgain(move("10.1.0.5").local_ip, 9, Peer(OLD.remote_ip, 10))]
    assert c.deferred == []


# ---- not rebound


@pytest.mark.parametrize(("state", "event", "new"), REBINDING)
def test_a_rebind_that_fails_is_tried_with_the_next_retransmission(state: State, event: Event, new: FourTuple) -> None:
    c = connection(state)
    c.handle(event)
    actions = c.handle(RebindFailed("busy"))
    assert notices(actions) == [Notice.REBIND_FAILED]
    assert one(Arm, actions) == Arm(Timer.RETRANSMIT, 1.0)
    assert c.state is state
    assert of(SendSyn if state is State.SYN_SENT else SendSynAck, c.handle(Expired(Timer.RETRANSMIT)))
    assert one(Rebind, c.handle(event)).new == new
    rebound(c)
    assert c.state is State.ESTABLISHED


def test_an_answer_in_place_of_7_and_a_rebind_that_fails() -> None:
    """There is no request of our own to wait for."""
    c = connection(State.SYN_RCVD)
    assert of(Rebind, c.handle(answered(on=PEER_MOVED)))
    assert one(Arm, c.handle(RebindFailed("busy"))).seconds == 1.0
    assert c.state is State.SYN_RCVD


def test_the_pair_that_we_have_stays_silent_where_the_rebind_fails() -> None:
    c = connection()
    actions = [*c.handle(asked(on=OLD)), *c.handle(acked(on=OLD)), *c.handle(RebindFailed("busy"))]
    assert of(Mute, actions) == [Mute(OLD, Direction.OUT)]
    assert not of(Unmute, actions)


def test_a_mover_that_cannot_move_stays_ready() -> None:
    c = connection(State.SYN_SENT)
    c.handle(answered())
    actions = c.handle(RebindFailed("not possible", final=True))
    assert c.state is State.SUSPENDED
    assert {Mute(MOVED, Direction.BOTH), Mute(OLD, Direction.OUT)} <= set(of(Mute, actions))
    assert one(SendSyn, c.handle(move("10.1.0.5"))).option.reqno == 2


def test_an_answerer_that_cannot_follow_waits_for_its_peer() -> None:
    c = connection(State.SYN_RCVD)
    c.handle(acked())
    actions = c.handle(RebindFailed("not possible", final=True))
    assert c.state is State.MIGRATE_WAIT
    assert Arm(Timer.TWO_MSL, 60.0) in actions
    assert notices(actions) == [Notice.REBIND_FAILED, Notice.WAITING]
    assert of(SendSynAck, c.handle(asked(count=2)))


# ---- a new daemon


@pytest.mark.parametrize("state", HANDLED)
def test_a_new_daemon_goes_on_in_every_state(state: State) -> None:
    back = reloaded(connection(state))
    actions: list[Action] = back.resume()
    expected: dict[State, set[Action]] = {
        State.ESTABLISHED: set(),
        State.SYN_SENT: {Mute(OLD, Direction.OUT), Await(MOVED), Arm(Timer.RETRANSMIT, 1.0)},
        State.SYN_RCVD: {
            Mute(OLD, Direction.BOTH),
            Await(PEER_MOVED),
            Hold(PEER_MOVED),
            Arm(Timer.RETRANSMIT, 1.0),
        },
        State.MIGRATE_WAIT: {Mute(OLD, Direction.OUT), Arm(Timer.TWO_MSL, 60.0)},
        State.SUSPENDED: {Mute(OLD, Direction.OUT)},
    }
    assert {action for action in actions if not isinstance(action, SendSyn | SendSynAck)} == expected[state]
    assert back.state is state


def test_a_new_daemon_sends_the_same_5() -> None:
    c = connection()
    syn = one(SendSyn, c.handle(move()))
    assert one(SendSyn, reloaded(c).resume()).segment() == syn.segment()


def test_a_new_daemon_sends_the_same_6() -> None:
    c = connection()
    answer = one(SendSynAck, c.handle(asked()))
    assert one(SendSynAck, reloaded(c).resume()) == answer


@pytest.mark.parametrize(("state", "event", "new"), REBINDING)
def test_a_new_daemon_finishes_what_was_begun(state: State, event: Event, new: FourTuple) -> None:
    back = reloaded(connection(state))
    back.resume()
    assert one(Rebind, back.handle(event)).new == new
    back.handle(Rebound())
    assert back.state is State.ESTABLISHED


def test_a_new_daemon_in_a_crossing() -> None:
    c = connection(State.SYN_SENT)
    c.handle(asked())
    back = reloaded(c)
    actions = back.resume()
    assert {Await(MOVED), Await(PEER_MOVED), Await(BOTH_MOVED)} == set(of(Await, actions))
    assert one(Rebind, back.handle(answered())).new == BOTH_MOVED


def test_a_daemon_that_died_after_the_rebind_knows_that_it_is_over() -> None:
    c = connection(State.SYN_SENT)
    c.handle(answered())
    back = Connection(MOVED, NI, NA, K)
    back.load(c.state_after_rebind())
    assert back.state is State.ESTABLISHED
    assert back.resume() == []
    assert back.handle(answered()) == [SendAck(MOVED)]
    assert back.sent_count == back.confirmed_count == 1


def test_a_reloaded_wait_still_ends() -> None:
    back = reloaded(connection(State.MIGRATE_WAIT))
    back.resume()
    back.handle(Expired(Timer.TWO_MSL))
    assert back.state is State.CLOSED
