"""Rules that need no memory, and the address pairs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.core import ACK, FIN, PSH, RST, SYN, FourTuple, Segment, TcpState, rules, sack_option, seq
from tests.migrate.fixtures import NXT, OLD, RCV, UNA, WINDOW, arriving, pair, position

numbers = st.integers(0, 2**32 - 1)
REACH = 64 << 20


def test_timeouts_double_from_one_second_to_64() -> None:
    assert [rules.timeout(tries) for tries in range(1, 10)] == [1, 2, 4, 8, 16, 32, 64, 64, 64]
    assert rules.timeout(10**6) == 64


@given(st.integers(0, 2**31), st.integers(1, 63))
def test_a_larger_number_is_found_again(accepted: int, ahead: int) -> None:
    assert rules.full_count((accepted + ahead) % 128, accepted) == accepted + ahead


@given(st.integers(0, 2**31), st.integers(0, 64))
def test_a_number_that_is_not_larger_is_none(accepted: int, behind: int) -> None:
    """RFC 1982 over 7 bits: the last one, those before it, and the one half a circle away."""
    assert rules.full_count((accepted - behind) % 128, accepted) is None


@given(st.integers(0, 1000), st.integers(0, 1000))
def test_the_next_number_never_gets_out_of_the_peers_sight(confirmed: int, unanswered: int) -> None:
    """However many requests have gone unanswered: the peer, which accepted at least `confirmed`, takes it as larger."""
    sent = confirmed
    for _ in range(unanswered % 100):
        sent = rules.next_count(sent, confirmed)
    following = rules.next_count(sent, confirmed)
    assert following == min(sent + 1, confirmed + 32)
    assert rules.full_count(following % 128, confirmed) == following


@given(numbers, st.integers(-REACH, WINDOW))
def test_a_believable_s_is_one_that_the_mover_may_be_at(rcv_nxt: int, ahead: int) -> None:
    """From what it may not know that we have, to the end of what our window has let it send."""
    assert rules.believable_s(seq.add(rcv_nxt, ahead - 1), position(rcv_nxt=rcv_nxt))


@given(numbers, st.integers(WINDOW + 1, 2**32 - REACH - 1))
def test_an_s_outside_the_window_is_not_believable(rcv_nxt: int, ahead: int) -> None:
    assert not rules.believable_s(seq.add(rcv_nxt, ahead - 1), position(rcv_nxt=rcv_nxt))


def test_a_window_larger_than_the_reach_counts() -> None:
    wide = position(rcv_nxt=0, rcv_wnd=1 << 30)
    assert rules.believable_s(seq.add(0, -(1 << 30) - 1), wide)
    assert not rules.believable_s(seq.add(0, -(1 << 30) - 2), wide)


def test_how_far_the_peers_acks_may_reach() -> None:
    here = position()
    assert rules.sent(here, None) == NXT
    assert rules.sent(here, NXT + 100) == NXT + 100  # unsent since the last rebind, and yet the peer may have it
    assert rules.sent(here, UNA + 10) == NXT
    assert rules.sent(here, UNA) == NXT  # void: everything of that time is acknowledged
    assert rules.sent(here, UNA - 100) == NXT
    assert rules.sent(here, seq.add(UNA, (1 << 30) + 1)) == NXT


@pytest.mark.parametrize(
    ("flags", "number", "ack", "believed"),
    [
        (SYN | ACK, RCV - 1, UNA, True),
        (SYN | ACK, RCV - 1, NXT, True),
        (SYN | ACK, RCV - 1001, UNA, True),
        (SYN | ACK, RCV - 1, UNA - 1, False),
        (SYN | ACK, RCV - 1, NXT + 1, False),
        (SYN | ACK, RCV + WINDOW - 1, UNA, True),
        (SYN | ACK, RCV + WINDOW, UNA, False),
        (SYN | ACK, seq.add(RCV, -REACH - 2), UNA, False),
        (SYN, RCV - 1, UNA, False),
        (ACK, RCV - 1, UNA, False),
        (SYN | ACK | RST, RCV - 1, UNA, False),
    ],
)
def test_segment_6_is_believed(flags: int, number: int, ack: int, believed: bool) -> None:
    assert rules.answers(arriving(OLD, flags, number, ack), position(), None) is believed


@pytest.mark.parametrize(
    ("flags", "number", "ack", "believed"),
    [
        (ACK, RCV, UNA, True),
        (ACK | PSH, RCV - 10, NXT, True),
        (ACK | FIN, RCV + 10, NXT, True),  # data ahead of what is missing
        (ACK, RCV, UNA - 1, False),
        (ACK, RCV, NXT + 1, False),
        (ACK, seq.add(RCV, REACH + 1), UNA, False),
        (ACK, seq.add(RCV, -REACH - 1), UNA, False),
        (SYN | ACK, RCV, UNA, False),
        (RST | ACK, RCV, UNA, False),
        (PSH, RCV, UNA, False),
    ],
)
def test_segment_7_is_believed(flags: int, number: int, ack: int, believed: bool) -> None:
    assert rules.completes(arriving(OLD, flags, number, ack), position(), None) is believed


@given(numbers)
def test_a_rst_counts_exactly_at_rcv_nxt_only(number: int) -> None:
    """RFC 5961, section 3.2."""
    assert rules.resets(arriving(OLD, RST, number), RCV) is (number == RCV)
    assert rules.resets(arriving(OLD, RST, RCV), RCV)
    assert not rules.resets(arriving(OLD, ACK, RCV), RCV)


@pytest.mark.parametrize(
    ("flags", "ack", "refuses"),
    [(RST | ACK, 501, True), (RST | ACK, 500, False), (RST, 501, False), (ACK, 501, False)],
)
def test_a_rst_refuses_a_syn_that_it_acknowledges(flags: int, ack: int, refuses: bool) -> None:
    assert rules.refuses(arriving(OLD, flags, 0, ack), 500) is refuses


def test_what_moves() -> None:
    assert {state.name for state in rules.MOVABLE} == {
        *("ESTABLISHED", "FIN_WAIT1", "FIN_WAIT2", "CLOSE_WAIT", "LAST_ACK", "CLOSING")
    }
    assert [state.value for state in TcpState] == list(range(1, 12))


def test_a_segment_belongs_to_the_pair_seen_from_here() -> None:
    there = FourTuple.of_ends(OLD.remote, OLD.local)
    assert FourTuple.of_arriving(there.segment(ACK, 1)) == OLD
    assert there != OLD
    assert FourTuple.of_ends(OLD.local, OLD.remote) == OLD


def test_a_segment_of_a_pair() -> None:
    segment = pair("10.1.0.9").segment(SYN, 5, 6, 7, b"\1")
    assert (str(segment.src), segment.sport, str(segment.dst), segment.dport) == ("10.1.0.9", 40000, "10.2.0.1", 80)
    assert (segment.flags, segment.seq, segment.ack, segment.window, segment.options) == (SYN, 5, 6, 7, b"\1")


def sacking(*blocks: tuple[int, int], ack: int = UNA) -> Segment:
    """Segment 7 with these SACK blocks, counted from its ack."""
    option = sack_option([(seq.add(ack, first), seq.add(ack, last)) for first, last in blocks])
    return replace(arriving(OLD, ACK, RCV, ack), options=option)


@pytest.mark.parametrize("ack", [UNA, 2**32 - 150])
@pytest.mark.parametrize(
    ("blocks", "found"),
    [
        ([(200, 300)], [(200, 300)]),
        ([(300, 400), (100, 200)], [(100, 200), (300, 400)]),  # the latest comes first on the wire
        ([(100, 200), (200, 300)], [(100, 300)]),
        ([(100, 300), (200, 250)], [(100, 300)]),
        ([(-100, -50), (100, 200)], [(100, 200)]),  # a duplicate, reported below the ack
        ([(0, 100)], []),  # at the ack: then the ack would be larger
        ([(400, 500)], [(400, 500)]),  # to the last byte that we have sent
        ([(400, 501)], []),  # and one more
        ([(300, 200)], []),
        ([(200, 200)], []),
        ([], []),
    ],
)
def test_what_7_sacks(ack: int, blocks: list[tuple[int, int]], found: list[tuple[int, int]]) -> None:
    segment = sacking(*blocks, ack=ack)
    wanted = tuple((seq.add(ack, first), seq.add(ack, last)) for first, last in found)
    assert rules.sacked(segment, seq.add(ack, 500)) == wanted


def test_malformed_blocks_are_none() -> None:
    assert rules.sacked(replace(sacking(), options=bytes((5, 9, *range(7)))), NXT) == ()
    assert rules.sacked(replace(sacking(), options=bytes((5, 40, *range(8)))), NXT) == ()
