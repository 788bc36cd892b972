"""The side that moves: segment 5 out, 6 in, 7 out.  Each test names the rule that it holds."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from migrate.core import (
    MIGRATE_KIND,
    SYN,
    AddressLost,
    Arm,
    Await,
    Connection,
    Direction,
    Disarm,
    Hold,
    Migrate,
    Move,
    Mute,
    Notice,
    Peer,
    Rebind,
    Report,
    Rst,
    SendAck,
    SendSyn,
    State,
    TcpState,
    Timer,
    Unmute,
    options,
    seq,
)
from migrate.core.record import Request
from tests.migrate.fixtures import (
    AGAIN,
    BOTH_MOVED,
    MOVED,
    NXT,
    OLD,
    RCV,
    UNA,
    WINDOW,
    answered,
    asked,
    connection,
    move,
    moved,
    notices,
    of,
    one,
    only_ignored,
    pair,
    position,
    proof,
    rebound,
    refused,
    token,
)

# ---- segment 5


def test_5_is_a_syn_from_the_new_address_with_the_migrate_option_only() -> None:
    """seq is snd_una - 1, no ack, window 0; Migrate behind a NOP and nothing else."""
    segment = one(SendSyn, connection().handle(move())).segment()
    assert (segment.src, segment.sport, segment.dst, segment.dport) == (
        MOVED.local_ip,
        MOVED.local_port,
        OLD.remote_ip,
        OLD.remote_port,
    )
    assert (segment.flags, segment.seq, segment.ack, segment.window) == (SYN, UNA - 1, 0, 0)
    assert [option.kind for option in options.split(segment.options)] == [MIGRATE_KIND]
    assert len(segment.options) == 20
    assert segment.payload == b""


def test_5_proves_itself() -> None:
    option = one(SendSyn, connection().handle(move())).option
    assert option == Migrate(False, 1, token(), proof(UNA - 1, 1, 1))


def test_5_silences_the_old_pair_and_catches_the_answer() -> None:
    actions = connection().handle(move())
    assert of(Mute, actions) == [Mute(OLD, Direction.OUT)]
    assert of(Await, actions) == [Await(MOVED)]
    assert of(Hold, actions) == [Hold(MOVED)]
    assert actions.index(Await(MOVED)) < actions.index(one(SendSyn, actions))
    assert actions.index(Mute(OLD, Direction.OUT)) < actions.index(one(SendSyn, actions))
    assert notices(actions) == [Notice.MIGRATING]


def test_snd_una_at_the_turn_of_the_circle() -> None:
    c = connection()
    actions = c.handle(Move(MOVED.local_ip, position(snd_una=0, snd_nxt=9)))
    assert one(SendSyn, actions).seq == 2**32 - 1


@pytest.mark.parametrize("state", list(TcpState))
def test_migration_starts_from_every_state_in_which_something_is_to_come(state: TcpState) -> None:
    c = connection()
    actions = c.handle(Move(MOVED.local_ip, position(tcp_state=state)))
    if state.name in ("ESTABLISHED", "FIN_WAIT1", "FIN_WAIT2", "CLOSE_WAIT", "LAST_ACK", "CLOSING"):
        assert c.state is State.SYN_SENT
    else:
        assert only_ignored(actions)
        assert c.state is State.ESTABLISHED


def test_a_closing_socket_goes_on_where_its_address_comes_back() -> None:
    c = connection()
    c.handle(AddressLost())
    actions = c.handle(Move(OLD.local_ip, position(tcp_state=TcpState.LAST_ACK)))
    assert Unmute(OLD) in actions
    assert not of(SendSyn, actions)
    assert c.state is State.ESTABLISHED


def closing_and_back(asked_elsewhere: bool) -> Connection:
    """A closing connection that has been without an address, and perhaps elsewhere in vain."""
    c = connection()
    c.handle(AddressLost())
    if asked_elsewhere:
        c.handle(Move(MOVED.local_ip, position(tcp_state=TcpState.LAST_ACK)))
        c.handle(AddressLost())
    return c


def test_a_closing_socket_that_has_asked_elsewhere_asks_where_its_address_comes_back() -> None:
    """The peer may have been told, and be silent on the old pair."""
    c = closing_and_back(asked_elsewhere=True)
    actions = c.handle(Move(OLD.local_ip, position(tcp_state=TcpState.LAST_ACK)))
    assert one(SendSyn, actions).tuple == OLD
    assert c.state is State.SYN_SENT


def test_one_that_is_refused_there_goes_on() -> None:
    """The peer is in TIME-WAIT, say, and acknowledges the FIN that is sent again."""
    c = closing_and_back(asked_elsewhere=True)
    here = position(tcp_state=TcpState.CLOSING)
    s = one(SendSyn, c.handle(Move(OLD.local_ip, here))).seq
    actions = c.handle(Rst(refused(OLD, s).segment, here))
    assert c.state is State.ESTABLISHED
    assert Unmute(OLD) in actions
    assert Disarm(Timer.RETRANSMIT) in actions


def test_a_verification_that_is_refused_is_over() -> None:
    """The peer has closed meanwhile."""
    c = connection()
    c.verifying = Request(OLD, UNA - 1, preload=False)
    assert of(SendSyn, c.handle(AGAIN))
    assert c.handle(refused(OLD, s=UNA)) == [Report(Notice.IGNORED, "a RST that is not exactly at rcv_nxt")]
    assert c.handle(refused(OLD)) == [Disarm(Timer.RETRANSMIT)]
    assert c.state is State.ESTABLISHED
    assert c.handle(AGAIN) == []


def test_no_request_leads_from_one_ip_version_to_the_other() -> None:
    c = connection()
    assert only_ignored(c.handle(move("fd00::9")))
    assert c.state is State.ESTABLISHED


def test_who_is_there_already_does_not_ask() -> None:
    assert only_ignored(connection().handle(move("10.1.0.1")))
    c = connection(State.SYN_SENT)
    assert only_ignored(c.handle(move()))
    assert c.sent_count == 1


def test_a_move_can_name_a_port_and_a_new_address_of_the_peer() -> None:
    """The peer's name was looked up again (both old addresses gone)."""
    actions = connection().handle(move(local_port=7, remote=Peer(ip_address("10.2.0.77"), 81)))
    pair_ = one(SendSyn, actions).tuple
    assert (pair_.local_port, str(pair_.remote_ip), pair_.remote_port) == (7, "10.2.0.77", 81)


# ---- retransmission


def test_5_goes_out_again_after_1_s_doubling_with_the_same_number_s_and_r() -> None:
    c = connection()
    actions = c.handle(move())
    first, waits = one(SendSyn, actions), [timer.seconds for timer in of(Arm, actions) if timer.timer is AGAIN.timer]
    for _ in range(8):
        actions = c.handle(AGAIN)
        assert one(SendSyn, actions).segment() == first.segment()
        waits.append(one(Arm, actions).seconds)
    assert waits == [1, 2, 4, 8, 16, 32, 64, 64, 64]
    assert c.sent_count == 1
    assert c.state is State.SYN_SENT


def test_somebody_is_told_once_that_nothing_comes_back() -> None:
    c = connection(State.SYN_SENT)
    told = [notice for _ in range(12) for notice in notices(c.handle(AGAIN))]
    assert told == [Notice.UNANSWERED]


def test_each_new_address_starts_a_new_request() -> None:
    c = connection(State.SYN_SENT)
    actions = c.handle(move("10.1.0.5"))
    again = one(SendSyn, actions)
    assert again.option.reqno == 2
    assert again.option.request == proof(UNA - 1, 2, 2)
    assert Mute(MOVED, Direction.BOTH) in actions
    assert c.pending is not None
    assert c.pending.tuple == pair("10.1.0.5")


def test_the_number_goes_on_through_127_and_covers_the_high_bits() -> None:
    c = connection()
    c.sent_count = c.confirmed_count = 127
    option = one(SendSyn, c.handle(move())).option
    assert option.reqno == 0
    assert option.request == proof(UNA - 1, 0, 128)
    assert option.request != proof(UNA - 1, 0, 0)


def test_unanswered_requests_stop_rising_before_they_look_old() -> None:
    c = connection()
    for turn in range(100):
        c.handle(move(f"10.1.1.{turn}"))
    assert c.sent_count == 32


# ---- segment 6 in, 7 out


def test_6_leads_to_the_rebind_and_7() -> None:
    """What 6 acknowledges has arrived: the rest counts as unsent.  The mover speaks first."""
    c = connection(State.SYN_SENT)
    actions = c.handle(answered(ack=UNA + 100))
    assert one(Rebind, actions) == Rebind(OLD, MOVED, UNA + 100, 500, preload=False, acknowledge=True)
    assert Disarm(Timer.RETRANSMIT) in actions
    assert c.state is State.SYN_SENT
    actions = rebound(c)
    assert c.state.name == "ESTABLISHED"
    assert c.tuple == MOVED
    assert c.confirmed_count == 1
    assert Mute(OLD, Direction.BOTH) in actions
    assert Notice.MIGRATED in notices(actions)


@pytest.mark.parametrize(
    ("number", "ack"),
    [(RCV - 1, UNA - 1), (RCV - 1, NXT + 1), (RCV + WINDOW, UNA), (seq.add(RCV, -(1 << 27)), UNA)],
)
def test_6_with_impossible_numbers_is_ignored(number: int, ack: int) -> None:
    c = connection(State.SYN_SENT)
    assert only_ignored(c.handle(answered(number=number, ack=ack)))
    assert c.rebinding is None


def test_6_on_another_pair_is_ignored() -> None:
    c = connection(State.SYN_SENT)
    assert only_ignored(c.handle(answered(on=OLD)))
    assert only_ignored(c.handle(answered(on=pair("10.1.0.5"))))
    assert c.rebinding is None


def test_6_again_means_that_7_was_lost() -> None:
    c = moved()
    assert c.handle(answered()) == [SendAck(MOVED)]
    assert c.state is State.ESTABLISHED


def test_6_again_with_numbers_of_the_past_is_acknowledged_too() -> None:
    """RFC 5961, section 4: the ACK tells its sender where we are."""
    c = moved()
    assert c.handle(answered(where=position(snd_una=UNA + 300))) == [SendAck(MOVED)]
    assert c.handle(answered(on=pair("10.1.0.5"))) == []


def test_7_lost_is_repaired_on_the_pair_that_was_asked_too() -> None:
    """A crossing answer came to the pair of our request, and led to the pair of both new addresses."""
    c = connection(State.SYN_SENT)
    c.handle(asked())
    c.handle(answered())
    rebound(c)
    assert c.tuple == BOTH_MOVED
    assert c.handle(answered(on=MOVED)) == [SendAck(BOTH_MOVED)]
    assert c.handle(answered(on=BOTH_MOVED)) == [SendAck(BOTH_MOVED)]


# ---- preload


def test_a_replica_sends_p_and_takes_its_numbers_from_6() -> None:
    """P=1: rcv_nxt is the SYN/ACK's seq + 1, snd_nxt its ack; S may be stale."""
    c = connection()
    stale = position(snd_una=1, snd_nxt=1, rcv_nxt=1)
    syn = one(SendSyn, c.handle(Move(MOVED.local_ip, stale, preload=True)))
    assert (syn.seq, syn.option.preload) == (0, True)
    assert syn.option.request == proof(0, 0x81, 1)
    rebind = one(Rebind, c.handle(answered(number=9000, ack=8000, where=stale)))
    assert rebind == Rebind(OLD, MOVED, 8000, 500, preload=True, acknowledge=True, rcv_nxt=9001)


def test_without_p_the_same_answer_is_not_believed() -> None:
    c = connection(State.SYN_SENT)
    assert only_ignored(c.handle(answered(number=9000, ack=8000)))
