"""Both ends move at once, and answers that do not say what they answer."""

from __future__ import annotations

import pytest

from migrate.core import (
    Action,
    AddressLost,
    Arm,
    Await,
    Connection,
    Direction,
    Disarm,
    Expired,
    Hold,
    Mute,
    Notice,
    Rebind,
    Report,
    SendAck,
    SendRst,
    SendSyn,
    SendSynAck,
    State,
    Timer,
)
from tests.migrate.fixtures import (
    AGAIN,
    BOTH_MOVED,
    MOVED,
    PEER_MOVED,
    RCV,
    UNA,
    WINDOW,
    acked,
    answered,
    asked,
    connection,
    move,
    notices,
    of,
    one,
    only_ignored,
    pair,
    position,
    proof,
    rebound,
    refused,
    reset,
)

# ---- both ends move


def test_a_crossing_request_is_answered_and_both_are_held() -> None:
    """A simultaneous open: 7 may come to the pair of the peer's SYN, or to that of both new addresses."""
    c = connection(State.SYN_SENT)
    actions = c.handle(asked())
    assert c.state is State.SYN_RCVD
    assert one(SendSynAck, actions).tuple == PEER_MOVED
    assert {action.tuple for action in of(Hold, actions)} == {PEER_MOVED, BOTH_MOVED}
    assert {action.tuple for action in of(Await, actions)} == {PEER_MOVED, BOTH_MOVED}
    assert Mute(MOVED, Direction.BOTH) not in actions


@pytest.mark.parametrize(
    ("event", "end"),
    [
        (answered(on=MOVED), BOTH_MOVED),
        (acked(on=BOTH_MOVED), BOTH_MOVED),
        (acked(on=PEER_MOVED), PEER_MOVED),
        (answered(on=PEER_MOVED), PEER_MOVED),
    ],
)
def test_after_crossing_each_follows_what_it_hears(event: Action, end: object) -> None:
    c = connection(State.SYN_SENT)
    c.handle(asked())
    assert one(Rebind, c.handle(event)).new == end  # type: ignore[arg-type]
    actions = rebound(c)
    assert c.tuple == end
    # Not where we wanted to be: our own request is still to be made.
    assert [type(action).__name__ for action in actions if type(action).__name__ == "MoveAgain"] == (
        ["MoveAgain"] if end == PEER_MOVED else []
    )
    assert c.confirmed_count == (1 if end == BOTH_MOVED else 0)


def test_crossing_requests_both_go_out_again() -> None:
    """Ours to where the peer has proved to be, and to where it was."""
    c = connection()
    syn = one(SendSyn, c.handle(move()))
    c.handle(asked())
    actions = c.handle(AGAIN)
    assert [again.tuple for again in of(SendSyn, actions)] == [BOTH_MOVED, MOVED]
    assert {(again.seq, again.option) for again in of(SendSyn, actions)} == {(syn.seq, syn.option)}
    assert one(SendSynAck, actions).tuple == PEER_MOVED


def test_a_crossing_request_that_is_refused_leaves_the_answer_under_way() -> None:
    c = connection(State.SYN_SENT)
    c.handle(asked())
    assert notices(c.handle(refused())) == [Notice.REFUSED]
    assert c.state is State.SYN_RCVD
    assert one(Rebind, c.handle(acked())).new == PEER_MOVED


def test_a_lost_address_of_a_crossing_request_is_asked_anew() -> None:
    """The peer may have followed us to it."""
    c = connection(State.SYN_SENT)
    c.handle(asked())
    actions = c.handle(AddressLost(MOVED.local_ip))
    again = actions[-1]
    assert (type(again).__name__, again.local_ip, again.remote) == (  # type: ignore[union-attr]
        "MoveAgain",
        PEER_MOVED.local_ip,
        PEER_MOVED.remote,
    )
    assert c.state is State.SUSPENDED


def test_a_move_while_answering_goes_to_the_peers_new_address() -> None:
    c = connection(State.SYN_RCVD)
    actions = c.handle(move())
    assert one(SendSyn, actions).tuple == BOTH_MOVED
    assert Mute(PEER_MOVED, Direction.BOTH) in actions


# ---- an answer does not say what it answers


def asked_twice_from_one_pair() -> Connection:
    c = connection(State.SYN_SENT)
    c.handle(move("10.1.0.5"))
    c.handle(move())
    c.handle(answered())
    return c


def test_an_ambiguous_answer_is_followed_and_asked_about() -> None:
    c = asked_twice_from_one_pair()
    assert Arm(Timer.RETRANSMIT, 1.0) in rebound(c)
    actions = c.handle(AGAIN)
    assert one(SendSyn, actions).option.reqno == 3
    assert one(SendSyn, actions).tuple == MOVED
    assert c.handle(answered()) == [SendAck(MOVED), Disarm(Timer.RETRANSMIT)]
    assert c.handle(AGAIN) == []


def test_the_first_answer_again_does_not_settle_it() -> None:
    c = asked_twice_from_one_pair()
    rebound(c)
    assert c.handle(answered()) == [SendAck(MOVED)]
    assert of(SendSyn, c.handle(AGAIN))


def test_who_is_not_answered_asks_with_a_larger_number() -> None:
    """A late copy of the request may have been accepted, and have led the peer elsewhere."""
    c = asked_twice_from_one_pair()
    rebound(c)
    options = [one(SendSyn, c.handle(AGAIN)).option for _ in range(4)]
    assert [option.reqno for option in options] == [3, 4, 4, 4]
    assert options[1].request == proof(UNA - 1, 4, 4)
    assert only_ignored(c.handle(asked(count=4, s=UNA - 1, where=position(rcv_nxt=UNA))))  # it is our own too


def test_a_7_at_the_address_that_we_always_had_answers_nothing() -> None:
    """The peer may have sent it there without having heard of our request."""
    c = connection()
    c.handle(AddressLost())
    c.handle(move("10.1.0.1"))
    c.handle(asked())
    c.handle(acked())
    assert Arm(Timer.RETRANSMIT, 1.0) in rebound(c)
    assert one(SendSyn, c.handle(AGAIN)).tuple == PEER_MOVED


def test_who_is_unsure_goes_on_asking_while_it_answers() -> None:
    c = asked_twice_from_one_pair()
    rebound(c)
    c.handle(asked(on=BOTH_MOVED))
    assert {syn.tuple for syn in of(SendSyn, c.handle(AGAIN))} == {BOTH_MOVED, MOVED}


def test_who_is_unsure_goes_on_asking_when_its_peer_has_moved_on() -> None:
    c = asked_twice_from_one_pair()
    rebound(c)
    c.handle(asked(on=BOTH_MOVED))
    c.handle(acked(on=BOTH_MOVED))
    assert Arm(Timer.RETRANSMIT, 1.0) in rebound(c)
    assert one(SendSyn, c.handle(AGAIN)).tuple == BOTH_MOVED


def test_who_is_unsure_goes_on_asking_from_wherever_its_peer_has_found_it() -> None:
    """The doubtful request may still be accepted, and lead the peer to where we no longer are."""
    c = asked_twice_from_one_pair()
    rebound(c)
    here = pair("10.1.0.33", "10.2.0.5")
    c.handle(asked(on=here))
    c.handle(acked(on=here))
    assert Arm(Timer.RETRANSMIT, 1.0) in rebound(c)
    first, second = (one(SendSyn, c.handle(AGAIN)) for _ in range(2))
    assert (first.tuple, second.tuple) == (here, here)
    assert second.option.reqno == first.option.reqno + 1, "the doubtful one has used up its number"


def test_a_new_request_ends_the_asking() -> None:
    c = asked_twice_from_one_pair()
    rebound(c)
    c.handle(move("10.1.0.7"))
    c.handle(AddressLost())
    c.handle(asked())
    assert not of(SendSyn, c.handle(AGAIN))


def test_asking_about_it_ends() -> None:
    c = asked_twice_from_one_pair()
    rebound(c)
    sent = sum(len(of(SendSyn, c.handle(AGAIN))) for _ in range(20))
    assert sent == 5


def test_an_answer_after_a_quiet_minute_is_not_ambiguous() -> None:
    c = connection()
    actions = c.handle(move())
    assert Arm(Timer.QUIET, 60.0) in actions
    c.handle(AddressLost())
    c.handle(Expired(Timer.QUIET))
    c.handle(move())
    c.handle(answered())
    assert Arm(Timer.RETRANSMIT, 1.0) not in rebound(c)


def test_no_rst_ever_comes_from_the_moving_side() -> None:
    c = connection(State.SYN_SENT)
    for event in (reset(MOVED), answered(number=RCV + WINDOW), refused(), move(), answered()):
        actions = c.handle(event)
        assert not of(SendRst, actions)
        assert not [report for report in of(Report, actions) if report.event is Notice.RESET]
    assert one(Rebind, actions).snd_una == UNA
