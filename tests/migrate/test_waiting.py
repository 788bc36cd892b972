"""A RST from the old address, and MIGRATE_WAIT (slides 20 and 22)."""

from __future__ import annotations

import pytest

from migrate.core import (
    AddressLost,
    Arm,
    Await,
    Direction,
    Disarm,
    Expired,
    Hold,
    Mute,
    Notice,
    Rebind,
    Reset,
    SendSynAck,
    State,
    Timer,
)
from tests.migrate.fixtures import (
    AGAIN,
    ELSEWHERE,
    MOVED,
    OLD,
    PEER_MOVED,
    RCV,
    WINDOW,
    acked,
    answered,
    asked,
    connection,
    followed,
    move,
    notices,
    of,
    one,
    only_ignored,
    rebound,
    refused,
    reset,
)

# ---- RST and MIGRATE_WAIT


def test_a_rst_of_the_old_address_makes_it_wait() -> None:
    """Slide 20; nothing is emitted, what arrives is accepted."""
    c = connection()
    actions = c.handle(reset(OLD))
    assert c.state is State.MIGRATE_WAIT
    assert Mute(OLD, Direction.OUT) in actions
    assert Arm(Timer.TWO_MSL, 60.0) in actions
    assert notices(actions) == [Notice.WAITING]
    assert not of(Reset, actions)


@pytest.mark.parametrize("number", [RCV - 1, RCV + 1, RCV + WINDOW, 0])
def test_a_rst_elsewhere_in_the_window_is_ignored(number: int) -> None:
    """RFC 5961, section 3.2: exactly rcv_nxt."""
    c = connection()
    assert only_ignored(c.handle(reset(OLD, number)))
    assert c.state is State.ESTABLISHED


def test_a_rst_on_a_pair_of_the_past_is_ignored() -> None:
    c = followed()
    assert c.handle(reset(OLD)) == []
    assert c.state is State.ESTABLISHED


def test_migrate_wait_is_silent() -> None:
    """Nothing is emitted, further RSTs are ignored, SYN/ACKs and ACKs mean nothing."""
    c = connection(State.MIGRATE_WAIT)
    for event in (reset(OLD), answered(on=OLD), acked(on=OLD), AddressLost(), AGAIN, refused(on=OLD)):
        assert c.handle(event) == []
    assert c.state is State.MIGRATE_WAIT


def test_migrate_wait_ends_after_2_msl_with_a_reset() -> None:
    c = connection(msl=7.0)
    assert Arm(Timer.TWO_MSL, 14.0) in c.handle(reset(OLD))
    actions = c.handle(Expired(Timer.TWO_MSL))
    assert one(Reset, actions)
    assert notices(actions) == [Notice.RESET]
    assert c.state is State.CLOSED


def test_a_migrate_syn_ends_migrate_wait() -> None:
    c = connection(State.MIGRATE_WAIT)
    actions = c.handle(asked())
    assert Disarm(Timer.TWO_MSL) in actions
    assert c.state is State.SYN_RCVD
    c.handle(acked())
    assert Disarm(Timer.TWO_MSL) in rebound(c)
    assert c.handle(Expired(Timer.TWO_MSL)) == []


def test_a_move_of_our_own_does_not_prolong_the_wait() -> None:
    c = connection(State.MIGRATE_WAIT)
    actions = c.handle(move())
    assert Disarm(Timer.TWO_MSL) not in actions
    actions = c.handle(Expired(Timer.TWO_MSL))
    assert one(Reset, actions)
    assert Mute(MOVED, Direction.BOTH) in actions


def test_a_stranger_at_the_new_address() -> None:
    """RST in place of 7, at what 6 acknowledged: wait for the next request."""
    c = connection(State.SYN_RCVD)
    assert only_ignored(c.handle(reset(PEER_MOVED, RCV + 1)))
    assert c.handle(reset(OLD)) == []  # the pair that was left no longer matters
    actions = c.handle(reset(PEER_MOVED))
    assert c.state is State.MIGRATE_WAIT
    assert Mute(PEER_MOVED, Direction.BOTH) in actions
    assert Disarm(Timer.RETRANSMIT) in actions
    assert of(SendSynAck, c.handle(asked(on=ELSEWHERE, count=2)))


def test_a_stranger_at_the_peers_new_address_leaves_our_own_request_under_way() -> None:
    c = connection(State.SYN_SENT)
    c.handle(asked())
    actions = c.handle(reset(PEER_MOVED))
    assert c.state is State.SYN_SENT
    assert Arm(Timer.RETRANSMIT, 1.0) in actions
    assert Mute(MOVED, Direction.BOTH) not in actions
    assert one(Rebind, c.handle(answered())).new == MOVED


@pytest.mark.parametrize(
    "state", [State.ESTABLISHED, State.SYN_SENT, State.SYN_RCVD, State.MIGRATE_WAIT, State.SUSPENDED]
)
def test_no_segment_of_a_handshake_resets_the_application(state: State) -> None:
    """Only 2MSL does."""
    for event in (reset(OLD), reset(MOVED), reset(PEER_MOVED), refused(), asked(request=b"forged!!"), AddressLost()):
        c = connection(state)
        assert not of(Reset, c.handle(event))
        assert c.state is not State.CLOSED


def test_every_state_that_can_answers_a_valid_request() -> None:
    for state in (State.ESTABLISHED, State.SYN_SENT, State.SYN_RCVD, State.MIGRATE_WAIT, State.SUSPENDED):
        c = connection(state)
        actions = c.handle(asked(on=ELSEWHERE, count=2))
        assert one(SendSynAck, actions).tuple == ELSEWHERE, state
        assert {Await(ELSEWHERE), Hold(ELSEWHERE)} <= set(actions)
        assert c.state is State.SYN_RCVD
