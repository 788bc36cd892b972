"""A refused request, or no address: the connection is suspended, and ready for the next one."""

from __future__ import annotations

import pytest

from migrate.core import (
    Action,
    AddressLost,
    Direction,
    Disarm,
    Hold,
    Mute,
    Notice,
    Rebind,
    Reset,
    SendSyn,
    State,
    Timer,
    Unmute,
)
from tests.migrate.fixtures import (
    AGAIN,
    MOVED,
    OLD,
    UNA,
    answered,
    connection,
    move,
    notices,
    of,
    one,
    only_ignored,
    pair,
    rebound,
    refused,
    reset,
)

# ---- refused, or without an address


def test_a_refused_request_leaves_the_connection_suspended_and_ready() -> None:
    c = connection(State.SYN_SENT)
    actions = c.handle(refused())
    assert c.state is State.SUSPENDED
    assert Disarm(Timer.RETRANSMIT) in actions
    assert notices(actions) == [Notice.REFUSED]
    assert not of(Reset, actions)
    assert c.handle(AGAIN) == []
    again = one(SendSyn, c.handle(move("10.1.0.5")))
    assert again.option.reqno == 2


@pytest.mark.parametrize(
    "event", [refused(s=UNA), refused(on=OLD), refused(on=pair("10.1.0.5")), reset(MOVED), reset(OLD)]
)
def test_a_rst_that_does_not_acknowledge_our_syn_refuses_nothing(event: Action) -> None:
    c = connection(State.SYN_SENT)
    assert only_ignored(c.handle(event))  # type: ignore[arg-type]
    assert c.state is State.SYN_SENT


def test_an_address_that_vanishes_leaves_the_connection_suspended() -> None:
    c = connection(State.SYN_SENT)
    assert c.handle(AddressLost(OLD.local_ip)) == []
    actions = c.handle(AddressLost(MOVED.local_ip))
    assert c.state is State.SUSPENDED
    assert notices(actions) == [Notice.SUSPENDED]
    assert Disarm(Timer.RETRANSMIT) in actions
    c = connection()
    assert c.handle(AddressLost(MOVED.local_ip)) == []
    assert of(Mute, c.handle(AddressLost(OLD.local_ip))) == [Mute(OLD, Direction.OUT)]


def test_it_does_not_end_by_the_number_of_moves() -> None:
    c = connection()
    for turn in range(300):
        c.handle(move(f"10.1.{1 + turn // 250}.{turn % 250}"))
        assert not of(Reset, c.handle(AddressLost()))
        assert c.state is State.SUSPENDED
    assert of(SendSyn, c.handle(move()))


def test_a_host_that_comes_back_to_the_same_address_asks_too() -> None:
    """The peer may have waited, or moved, meanwhile."""
    c = connection()
    c.handle(AddressLost())
    actions = c.handle(move("10.1.0.1"))
    assert one(SendSyn, actions).tuple == OLD
    assert not of(Hold, actions)
    actions = c.handle(answered(on=OLD))
    rebind = one(Rebind, actions)
    assert (rebind.old, rebind.new) == (OLD, OLD)
    assert not of(Unmute, actions), "the socket of before would speak once more"
    assert Unmute(OLD) in rebound(c)
