"""The side that stays: 5 in, 6 out, 7 in; RSTs and MIGRATE_WAIT.  Each test names the rule that it holds."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from migrate.core import (
    ACK,
    SYN,
    Ack,
    AddressLost,
    Arm,
    Await,
    Direction,
    Disarm,
    Event,
    Expired,
    FourTuple,
    Hold,
    MoveAgain,
    Mute,
    Notice,
    Rebind,
    Release,
    SendSyn,
    SendSynAck,
    State,
    Timer,
    Unmute,
    sack_option,
    seq,
)
from tests.migrate.fixtures import (
    AGAIN,
    BOTH_MOVED,
    ELSEWHERE,
    MOVED,
    NXT,
    OLD,
    PEER_MOVED,
    RCV,
    UNA,
    WINDOW,
    acked,
    arriving,
    asked,
    connection,
    followed,
    move,
    notices,
    of,
    one,
    only_ignored,
    pair,
    position,
    rebound,
    reset,
)

# ---- 4: valid


def test_6_says_what_data_is_here() -> None:
    """seq is snd_una - 1, ack is rcv_nxt and not S + 1; no options."""
    actions = connection().handle(asked(s=RCV - 501))
    segment = one(SendSynAck, actions).segment()
    assert (segment.flags, segment.seq, segment.ack) == (SYN | ACK, UNA - 1, RCV)
    assert segment.window == WINDOW
    assert segment.options == b""
    assert FourTuple.of_arriving(segment) == FourTuple.of_ends(PEER_MOVED.remote, PEER_MOVED.local)


def test_6_has_an_unscaled_window() -> None:
    actions = connection().handle(asked(where=position(rcv_wnd=1 << 20)))
    assert one(SendSynAck, actions).segment().window == 65535


def test_6_goes_to_the_segments_source_address_and_port() -> None:
    """A NAT may have changed both."""
    nat = FourTuple(OLD.local_ip, OLD.local_port, ip_address("198.51.100.7"), 61234)
    c = connection()
    assert one(SendSynAck, c.handle(asked(on=nat))).tuple == nat
    assert one(Rebind, c.handle(acked(on=nat))).new == nat


def test_until_7_nothing_is_sent_and_what_comes_is_held() -> None:
    """The side that answers waits for 7 before it sends data; the socket is not touched."""
    c = connection()
    actions = c.handle(asked())
    assert c.state is State.SYN_RCVD
    assert of(Mute, actions) == [Mute(OLD, Direction.BOTH)]
    assert of(Hold, actions) == [Hold(PEER_MOVED)]
    assert not of(Rebind, actions)
    assert c.tuple == OLD
    assert notices(actions) == [Notice.ANSWERED]


@pytest.mark.parametrize("segment", [(ACK, RCV, UNA), (ACK | 8, RCV, UNA + 100), (ACK | 8, RCV + 100, NXT)])
def test_7_or_data_in_its_place_completes(segment: tuple[int, int, int]) -> None:
    c = connection(State.SYN_RCVD)
    actions = c.handle(Ack(arriving(PEER_MOVED, *segment), position()))
    assert one(Rebind, actions) == Rebind(OLD, PEER_MOVED, segment[2], 500, preload=False, acknowledge=False)
    assert Disarm(Timer.RETRANSMIT) in actions
    assert of(Mute, rebound(c))[0] == Mute(OLD, Direction.BOTH)
    assert c.state is State.ESTABLISHED


@pytest.mark.parametrize("wrong", [(ACK, RCV, UNA - 1), (ACK, RCV, NXT + 1), (ACK, seq.add(RCV, 1 << 30), UNA)])
def test_7_with_impossible_numbers_completes_nothing(wrong: tuple[int, int, int]) -> None:
    c = connection(State.SYN_RCVD)
    assert only_ignored(c.handle(Ack(arriving(PEER_MOVED, *wrong), position())))
    assert c.rebinding is None


def test_7_elsewhere_completes_nothing() -> None:
    c = connection(State.SYN_RCVD)
    for elsewhere in (OLD, ELSEWHERE, BOTH_MOVED):
        assert c.handle(acked(on=elsewhere)) == []


def test_after_the_move_data_goes_where_the_mover_is() -> None:
    c = followed()
    actions = c.handle(move())
    assert one(SendSyn, actions).tuple == BOTH_MOVED


# ---- moved again


def test_a_larger_number_in_syn_rcvd_starts_over() -> None:
    c = connection(State.SYN_RCVD)
    actions = c.handle(asked(on=ELSEWHERE, count=2))
    assert c.state is State.SYN_RCVD
    assert one(SendSynAck, actions).tuple == ELSEWHERE
    assert Mute(PEER_MOVED, Direction.BOTH) in actions
    assert of(Arm, actions) == [Arm(Timer.RETRANSMIT, 1.0)]
    assert c.handle(acked(on=PEER_MOVED)) == []
    assert one(Rebind, c.handle(acked(on=ELSEWHERE))).new == ELSEWHERE


def test_a_pair_that_we_ask_on_ourselves_stays_open() -> None:
    """The peer moved on from the very pair that our own request left on: its answer may still come there."""
    c = connection(State.SYN_SENT)
    c.handle(asked(on=MOVED))
    actions = c.handle(asked(on=pair("10.1.0.9", "10.2.0.5"), count=2))
    assert Mute(MOVED, Direction.BOTH) not in actions
    actions += c.handle(asked(on=MOVED, count=3))
    assert Mute(MOVED, Direction.BOTH) not in actions


def test_back_at_the_old_address() -> None:
    """The pair that we have, from MIGRATE_WAIT: only silent towards the peer, and heard again after the rebind.  What
    is held meanwhile is not for the socket of before, which may have more beyond a hole than 6 could say."""
    c = connection(State.MIGRATE_WAIT)
    actions = c.handle(asked(on=OLD))
    assert of(Mute, actions) == [Mute(OLD, Direction.OUT)]
    actions = c.handle(acked(on=OLD))
    assert not of(Unmute, actions)
    assert not of(Release, actions)
    assert one(Rebind, actions).new == OLD
    actions = rebound(c)
    assert Unmute(OLD) in actions
    assert not of(Mute, actions)


# ---- 6 again


def test_6_goes_out_again_after_1_s_doubling() -> None:
    c = connection()
    actions = c.handle(asked())
    first, waits = one(SendSynAck, actions), [one(Arm, actions).seconds]
    for _ in range(8):
        actions = c.handle(AGAIN)
        assert of(SendSynAck, actions)[:1] == [first]
        waits.append(one(Arm, actions).seconds)
    assert waits == [1, 2, 4, 8, 16, 32, 64, 64, 64]


def test_in_doubt_the_last_address_is_asked_too() -> None:
    """The request may have come late, from a mover that has settled where it was."""
    c = connection(State.SYN_RCVD)
    asked_where = [{answer.tuple for answer in of(SendSynAck, c.handle(AGAIN))} for _ in range(6)]
    assert asked_where == [{PEER_MOVED}] * 3 + [{PEER_MOVED, OLD}] * 3
    assert one(Rebind, c.handle(acked(on=OLD))).new == OLD


def test_somebody_is_told_once_that_7_does_not_come() -> None:
    c = connection(State.SYN_RCVD)
    assert [notice for _ in range(12) for notice in notices(c.handle(AGAIN))] == [Notice.UNACKNOWLEDGED]


@pytest.mark.parametrize("event", [move(), AddressLost(), reset(PEER_MOVED)], ids=["move", "lost", "stranger"])
def test_what_6_has_said_stays_true_whatever_comes_next(event: Event) -> None:
    """The peer may act on it later.  What is still on its way to the old pair would be more than it knows of."""
    c = connection()
    c.handle(asked())
    actions = c.handle(event)
    assert c.state is not State.SYN_RCVD
    assert Mute(OLD, Direction.BOTH) in actions
    assert Mute(OLD, Direction.OUT) not in actions
    assert Mute(OLD, Direction.BOTH) in c.resume()


@pytest.mark.parametrize("stranger", [False, True])
def test_an_answer_to_a_request_from_the_pair_that_we_have_is_heard_whatever_is_muted(stranger: bool) -> None:
    """We are back at our address and ask there, and the peer's own request crosses ours."""
    c = connection()
    c.handle(AddressLost())
    assert one(SendSyn, c.handle(move("10.1.0.1"))).tuple == OLD
    actions = c.handle(asked(on=PEER_MOVED))
    if stranger:
        for _ in range(6):
            actions += c.handle(AGAIN)  # in doubt, it asks on the pair that we have, too
        actions += c.handle(reset(PEER_MOVED))
        assert c.state is State.SYN_SENT
    silent = [at for at, action in enumerate(actions) if action == Mute(OLD, Direction.BOTH)]
    assert Await(OLD) in actions[silent[-1] :]


def test_an_address_lost_before_7() -> None:
    c = connection(State.SYN_RCVD)
    assert c.handle(AddressLost(MOVED.local_ip)) == []
    actions = c.handle(AddressLost(OLD.local_ip))
    assert c.state is State.SUSPENDED
    assert notices(actions) == [Notice.SUSPENDED]
    again = one(SendSyn, c.handle(move()))
    assert again.tuple == BOTH_MOVED  # towards the address that the peer has proved to be at


def test_an_address_lost_before_7_lets_our_own_request_start_over() -> None:
    c = connection(State.SYN_SENT)
    c.handle(asked())
    actions = c.handle(AddressLost(PEER_MOVED.local_ip))
    assert of(MoveAgain, actions) == [MoveAgain(MOVED.local_ip, MOVED.local_port, PEER_MOVED.remote)]
    assert not of(MoveAgain, connection(State.SYN_RCVD).handle(AddressLost()))


# ---- data that the mover holds beyond a hole


def sacked(blocks: list[tuple[int, int]]) -> Ack:
    """Segment 7 with SACK blocks."""
    event = acked()
    return Ack(replace(event.segment, options=sack_option(blocks)), event.position)


def test_what_7_sacks_is_not_to_be_sent_again() -> None:
    blocks = [(UNA + 300, UNA + 400), (UNA + 100, UNA + 200)]
    rebind = one(Rebind, connection(State.SYN_RCVD).handle(sacked(blocks)))
    assert rebind.sacked == ((UNA + 100, UNA + 200), (UNA + 300, UNA + 400))
    assert one(Rebind, connection(State.SYN_RCVD).handle(acked())).sacked == ()


def test_what_was_sent_before_an_earlier_move_may_be_sacked_too() -> None:
    """After a rebind snd_nxt is behind; what counts is what was ever sent."""
    c = followed()
    again = PEER_MOVED.local, ELSEWHERE.remote
    c.handle(asked(FourTuple.of_ends(*again), count=2, where=position(snd_nxt=UNA)))
    seven = acked(FourTuple.of_ends(*again))
    event = Ack(replace(seven.segment, options=sack_option([(UNA + 100, NXT)])), position(snd_nxt=UNA))
    assert one(Rebind, c.handle(event)).sacked == ((UNA + 100, NXT),)


# ---- preload


def test_a_replica_is_believed_with_a_stale_s() -> None:
    """S may be 0, as in the trace of slide 30; out-of-order data is dropped, timestamps are off."""
    c = connection()
    assert of(SendSynAck, c.handle(asked(s=0, preload=True, where=position(rcv_nxt=3_000_000_000))))
    rebind = one(Rebind, c.handle(sacked([(UNA + 100, UNA + 200)])))
    assert rebind.preload
    assert rebind.sacked == ()


def test_a_server_takes_no_replica_for_its_peer() -> None:
    """A replica's request, recorded on its way to the client, would else lead the replaced server to anybody."""
    c = connection()
    c.initiator = False
    assert only_ignored(c.handle(asked(preload=True)))
    assert c.accepted_count == 0
    assert of(SendSynAck, c.handle(asked()))


def test_6_says_what_is_here_once_the_old_pair_is_silent() -> None:
    """The server that is replaced has not stopped: what came of it between the look at the socket and the silence is
    acknowledged in 6, and in its repetitions."""
    c = connection()
    answer = one(SendSynAck, c.handle(asked(s=0, preload=True)))
    later = position(rcv_nxt=RCV + 30_000)
    now = c.answer_as_of(answer, later)
    assert (now.tuple, now.seq, now.ack) == (PEER_MOVED, UNA - 1, RCV + 30_000)
    assert one(SendSynAck, c.handle(Expired(Timer.RETRANSMIT))) == now


@pytest.mark.parametrize("again", [Expired(Timer.RETRANSMIT), asked()])
def test_of_all_windows_that_6_has_offered_the_least_counts_as_heard(again: Event) -> None:
    """The program has read since: the mover may go by the first 6, and is told then."""
    c = connection()
    c.handle(asked(where=position(rcv_wnd=100)))
    (answer,) = (action for action in c.handle(again) if isinstance(action, SendSynAck))
    assert c.answer_as_of(answer, position(rcv_wnd=5000)).window == 5000
    assert c.accepted is not None
    assert c.accepted.window == 100


def test_only_the_answer_to_the_accepted_request_gets_the_numbers_of_now() -> None:
    c = connection()
    answer = one(SendSynAck, c.handle(asked(s=0, preload=True)))
    other = replace(answer, ack=answer.ack + 1)
    assert c.answer_as_of(other, position(rcv_nxt=RCV + 30_000)) == other
    c.handle(acked())
    rebound(c)
    assert c.answer_as_of(answer, position(rcv_nxt=RCV + 30_000)) == answer


def test_without_p_the_out_of_order_queue_survives() -> None:
    c = connection(State.SYN_RCVD)
    assert not one(Rebind, c.handle(acked())).preload


def test_a_machine_pronounced_dead_learns_that_it_was_replaced() -> None:
    """Slide 30: the old server hears the kernel's RST, so its pair is not muted."""
    c = connection()
    c.handle(asked(s=0, preload=True))
    c.handle(acked())
    actions = rebound(c)
    assert Unmute(OLD) in actions
    assert Mute(OLD, Direction.BOTH) not in actions
