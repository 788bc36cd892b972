"""A Migrate SYN that is not simply new and valid: an old number, a wrong proof, an S that nobody can believe."""

from __future__ import annotations

import pytest

from migrate.core import (
    ACK,
    RST,
    SYN,
    Event,
    FourTuple,
    Migrate,
    MigrateSyn,
    SendRst,
    SendSyn,
    SendSynAck,
    State,
    seq,
)
from tests.migrate.fixtures import (
    AGAIN,
    ELSEWHERE,
    OLD,
    PEER_MOVED,
    RCV,
    UNA,
    WINDOW,
    acked,
    answered,
    asked,
    connection,
    followed,
    move,
    of,
    one,
    only_ignored,
    pair,
    position,
    proof,
    rebound,
    reset,
)

# ---- 2: duplicates


def test_the_accepted_request_again_is_answered_again() -> None:
    """Same 4-tuple and same S: 6 was lost."""
    c = connection()
    first = one(SendSynAck, c.handle(asked()))
    assert c.handle(asked()) == [first]
    assert c.state is State.SYN_RCVD


@pytest.mark.parametrize(
    "other",
    [asked(on=ELSEWHERE), asked(s=RCV - 2), asked(preload=True), asked(count=1, request=b"forged!!"), asked(on=OLD)],
)
def test_anything_else_with_that_number_is_dropped_silently(other: Event) -> None:
    c = connection(State.SYN_RCVD)
    before = c.to_bytes()
    assert only_ignored(c.handle(other))
    assert c.to_bytes() == before


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_number_that_is_not_larger_is_dropped_silently(count: int) -> None:
    c = connection()
    c.handle(asked(count=3))
    c.handle(acked())
    rebound(c)
    assert only_ignored(c.handle(asked(on=ELSEWHERE, count=count)))
    assert c.state is State.ESTABLISHED


def test_exactly_one_of_several_racing_replicas_wins() -> None:
    c = connection()
    racing = [asked(on=pair(remote=f"10.2.0.{n}"), s=RCV - n, preload=True) for n in range(10, 15)]
    answers = [answer for event in racing for answer in of(SendSynAck, c.handle(event))]
    assert [answer.tuple for answer in answers] == [pair(remote="10.2.0.10")]
    for loser in racing[1:]:
        assert only_ignored(c.handle(loser))


def test_a_request_of_128_moves_ago_does_not_verify_again() -> None:
    """Seven bits wrap: without the high bits in R the recorded one would be new."""
    recorded = asked(on=ELSEWHERE, count=5)
    c = connection()
    c.accepted_count = 5 + 128 - 10
    assert of(SendRst, c.handle(recorded))
    assert c.state is State.ESTABLISHED
    assert of(SendSynAck, c.handle(asked(on=ELSEWHERE, count=5 + 128)))


def test_the_first_128_requests_are_the_drafts() -> None:
    c = connection()
    c.accepted_count = 126
    assert of(SendSynAck, c.handle(asked(count=127)))
    assert proof(RCV - 1, 127, 127) == asked(count=127).option.request


def test_a_request_that_comes_again_after_it_was_followed_says_where_we_are() -> None:
    """The mover's socket has not followed, or it asks to be sure: 6 with the numbers of now, and nothing changes."""
    c = followed()
    again = c.handle(asked(where=position(snd_una=UNA + 50, snd_nxt=UNA + 60, rcv_nxt=RCV + 70)))
    assert [(action.seq, action.ack) for action in of(SendSynAck, again)] == [(UNA + 49, RCV + 70)]
    assert len(again) == 1
    assert c.state is State.ESTABLISHED


def test_a_request_that_comes_again_later_and_elsewhere_moves_nobody() -> None:
    c = followed()
    c.handle(asked(on=ELSEWHERE, count=2))
    c.handle(acked(on=ELSEWHERE))
    rebound(c)
    assert only_ignored(c.handle(asked()))
    assert c.tuple == ELSEWHERE


def test_who_waits_hears_a_request_again() -> None:
    """The peer cannot have heard that we followed it: it still asks."""
    c = followed()
    c.handle(reset(PEER_MOVED))
    assert c.state is State.MIGRATE_WAIT
    assert of(SendSynAck, c.handle(asked()))
    assert c.state.name == "SYN_RCVD"


def test_the_answer_again_has_the_numbers_of_now() -> None:
    """A rebind to the pair that we have lets the kernel speak before it fails: 6 must not stay behind."""
    c = connection()
    c.handle(asked(on=OLD))
    c.handle(asked(on=OLD, where=position(snd_una=UNA + 5, rcv_nxt=RCV + 7)))
    answer = one(SendSynAck, c.handle(AGAIN))
    assert (answer.seq, answer.ack) == (UNA + 4, RCV + 7)


# ---- 2: reflected requests, and S


def test_our_own_request_reflected_is_refused_silently() -> None:
    """R has no direction: T, S, octet and R are what we would accept, were it the peer's."""
    c = connection()
    syn = one(SendSyn, c.handle(move()))
    reflected = MigrateSyn(
        FourTuple.of_ends(PEER_MOVED.remote, PEER_MOVED.local).segment(SYN, syn.seq, options=syn.option.encode()),
        syn.option,
        position(rcv_nxt=UNA),  # even where S + 1 lies in the window
    )
    before = c.to_bytes()
    assert only_ignored(c.handle(reflected))
    assert c.to_bytes() == before


def test_our_first_request_is_still_known_a_hundred_requests_later() -> None:
    """A side whose peer never moves takes its own first requests for new ones for ever, but for its memory."""
    c = connection()
    first = one(SendSyn, c.handle(move()))
    for number in range(100):  # more, and the octets would come again
        here = pair(local=f"10.1.1.{number}")
        c.handle(move(to=str(here.local_ip)))
        c.handle(answered(on=here))
        rebound(c)
    segment = FourTuple.of_ends(PEER_MOVED.remote, PEER_MOVED.local).segment(SYN, first.seq)
    assert only_ignored(c.handle(MigrateSyn(segment, first.option, position(rcv_nxt=UNA))))
    assert c.accepted_count == 0


def test_a_replicas_own_request_reflected_is_refused_too() -> None:
    c = connection()
    syn = one(SendSyn, c.handle(move(preload=True)))
    segment = FourTuple.of_ends(PEER_MOVED.remote, PEER_MOVED.local).segment(SYN, syn.seq)
    assert only_ignored(c.handle(MigrateSyn(segment, syn.option, position())))


@pytest.mark.parametrize("s", [RCV + WINDOW, RCV + WINDOW + 1, seq.add(RCV, 1 << 31), seq.add(RCV, -(1 << 27))])
def test_without_p_s_must_lie_in_the_window_around_rcv_nxt(s: int) -> None:
    c = connection()
    assert only_ignored(c.handle(asked(s=s)))
    assert c.accepted_count == 0


# ---- 3: R


def test_r_covers_p() -> None:
    """The octet is authenticated: nobody makes a replica's request of a mover's."""
    c = connection()
    event = asked()
    turned = Migrate(True, event.option.reqno, event.option.token, event.option.request)
    assert of(SendRst, c.handle(MigrateSyn(event.segment, turned, position())))
    assert c.state is State.ESTABLISHED


@pytest.mark.parametrize(
    "state", [State.ESTABLISHED, State.SYN_SENT, State.SYN_RCVD, State.MIGRATE_WAIT, State.SUSPENDED]
)
def test_a_wrong_r_is_refused_and_the_connection_untouched(state: State) -> None:
    c = connection(state)
    before = c.to_bytes()
    actions = c.handle(asked(on=ELSEWHERE, count=9, request=b"forged!!"))
    rst = one(SendRst, actions).segment()
    assert (rst.flags, rst.ack, rst.dst) == (RST | ACK, RCV, ELSEWHERE.remote_ip)
    assert only_ignored([action for action in actions if not isinstance(action, SendRst)])
    assert c.to_bytes() == before
