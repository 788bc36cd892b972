"""FINs take a place in the sequence space: S, and the acks of 6 and 7, count them (RFC 9293, 3.4)."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from migrate.core import Move, Rebind, SendSyn, SendSynAck, State, TcpState, rules
from tests.migrate.fixtures import (
    NXT,
    OLD,
    RCV,
    UNA,
    acked,
    answered,
    asked,
    connection,
    of,
    one,
    position,
)

MOVABLE = (TcpState.FIN_WAIT1, TcpState.FIN_WAIT2, TcpState.CLOSE_WAIT, TcpState.LAST_ACK, TcpState.CLOSING)


def moving(**numbers: int) -> Move:
    return Move(ip_address("10.1.0.9"), position(**numbers))


@pytest.mark.parametrize("state", MOVABLE)
def test_a_half_closed_connection_moves(state: TcpState) -> None:
    c = connection()
    assert one(SendSyn, c.handle(moving(tcp_state=state))).seq == UNA - 1
    assert c.state is State.SYN_SENT


def test_s_lies_on_a_fin_that_was_acknowledged() -> None:
    """FIN_WAIT2: snd_una is behind the FIN, so S is the FIN's own number, and S + 1 the peer's rcv_nxt."""
    after_fin = NXT
    here = position(snd_una=after_fin, snd_nxt=after_fin, tcp_state=TcpState.FIN_WAIT2)
    c = connection()
    s = one(SendSyn, c.handle(Move(ip_address("10.1.0.9"), here))).seq
    assert s == after_fin - 1
    assert rules.believable_s(s, position(rcv_nxt=after_fin, tcp_state=TcpState.CLOSE_WAIT))
    assert not rules.believable_s(s, position(rcv_nxt=after_fin - 1, rcv_wnd=0)), "a FIN that the peer has not got"
    rebind = one(Rebind, c.handle(answered(ack=after_fin, where=here)))
    assert rebind.snd_una == after_fin


@pytest.mark.parametrize(("ack", "believed"), [(NXT - 1, True), (NXT, True), (NXT + 1, False)])
def test_6_says_whether_a_fin_in_flight_has_arrived(ack: int, believed: bool) -> None:
    """FIN_WAIT1, the FIN at NXT - 1: everything before it, or it too, but nothing after."""
    here = position(tcp_state=TcpState.FIN_WAIT1)
    c = connection()
    c.handle(Move(ip_address("10.1.0.9"), here))
    assert [rebind.snd_una for rebind in of(Rebind, c.handle(answered(ack=ack, where=here)))] == [ack] * believed


@pytest.mark.parametrize("ack", [NXT, NXT + 1])
def test_a_fin_that_became_unsent_in_an_earlier_rebind_may_be_acknowledged(ack: int) -> None:
    """`highest` remembers that it was sent."""
    here = position(snd_una=UNA, snd_nxt=UNA, tcp_state=TcpState.FIN_WAIT1)
    c = connection()
    c.highest = NXT
    c.handle(Move(ip_address("10.1.0.9"), here))
    assert bool(of(Rebind, c.handle(answered(ack=ack, where=here)))) is (ack == NXT)


@pytest.mark.parametrize("state", [TcpState.ESTABLISHED, *MOVABLE])
def test_the_answerer_may_be_in_any_of_them(state: TcpState) -> None:
    event = asked()
    there = type(event)(event.segment, event.option, position(tcp_state=state))
    c = connection()
    six = one(SendSynAck, c.handle(there))
    assert (six.seq, six.ack) == (UNA - 1, RCV), "rcv_nxt counts the peer's FIN where it has come"
    seven = acked(ack=NXT)
    rebind = one(Rebind, c.handle(type(seven)(seven.segment, position(tcp_state=state))))
    assert (rebind.old, rebind.snd_una) == (OLD, NXT)
