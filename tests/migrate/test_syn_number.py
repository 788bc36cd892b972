"""Which number segments 5 and 6 have (`--syn-number`), and what a firewall that checks numbers makes of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from migrate.core import ACK, RST, SYN, Segment, SendSyn, SendSynAck, State, SynNumber, rules, seq
from migrate.core.options import find
from tests.migrate.fixtures import (
    AGAIN,
    NXT,
    RCV,
    UNA,
    WINDOW,
    answered,
    asked,
    connection,
    move,
    of,
    one,
    position,
    rebound,
)
from tests.migrate.journeys import Mover, open_pair
from tests.migrate.network import Network
from tests.migrate.pump import Pair

NXT_NUMBER, UNA_NUMBER = SynNumber.NXT, SynNumber.UNA
WINDOW_SCALE = 3


def test_the_drafts_number_is_the_default() -> None:
    assert connection().syn_number is SynNumber.UNA


@pytest.mark.parametrize(("number", "end"), [(UNA_NUMBER, UNA), (NXT_NUMBER, NXT)])
def test_5_has_the_number_that_was_chosen_and_keeps_it(number: SynNumber, end: int) -> None:
    c = connection()
    c.syn_number = number
    assert one(SendSyn, c.handle(move())).seq == end - 1
    assert one(SendSyn, c.handle(AGAIN)).seq == end - 1


@pytest.mark.parametrize(("number", "end"), [(UNA_NUMBER, UNA), (NXT_NUMBER, NXT)])
def test_6_has_the_number_that_was_chosen_and_keeps_it(number: SynNumber, end: int) -> None:
    c = connection()
    c.syn_number = number
    assert one(SendSynAck, c.handle(asked())).seq == end - 1
    assert one(SendSynAck, c.handle(AGAIN)).seq == end - 1
    assert one(SendSynAck, c.handle(asked())).seq == end - 1  # the request once more


def test_after_a_rebind_nxt_is_all_that_was_ever_sent() -> None:
    """Everything counts as unsent then, and the kernel's snd_nxt lies behind what the peer may have."""
    c = connection(State.SYN_SENT)
    c.syn_number = NXT_NUMBER
    c.handle(answered())
    rebound(c)
    again = move("10.1.0.10")
    unsent = type(again)(again.local_ip, position(snd_nxt=UNA))
    assert one(SendSyn, c.handle(unsent)).seq == NXT - 1


def test_a_replica_and_whoever_answers_it_have_the_drafts_number() -> None:
    """It takes 6's number, plus one, for the first byte that it is to expect."""
    c = connection()
    c.syn_number = NXT_NUMBER
    assert one(SendSyn, c.handle(move(preload=True))).seq == UNA - 1
    c = connection()
    c.syn_number = NXT_NUMBER
    assert one(SendSynAck, c.handle(asked(preload=True))).seq == UNA - 1


@pytest.mark.parametrize(
    ("s", "lost", "accepted"),
    [(RCV - 1, "nothing", True), (RCV + 1447, "one segment", True), (RCV + WINDOW - 1, "a whole window", True)],
)
def test_a_mover_whose_data_was_lost_is_answered(s: int, lost: str, accepted: bool) -> None:
    assert bool(of(SendSynAck, connection().handle(asked(s=s)))) is accepted, lost


def test_an_answer_from_one_whose_data_was_lost_is_followed() -> None:
    c = connection(State.SYN_SENT)
    c.handle(answered(number=RCV + WINDOW - 1))
    assert c.rebinding is not None


def test_the_window_scale_is_repeated_only_if_there_is_one() -> None:
    syn, answer = one(SendSyn, connection().handle(move())), one(SendSynAck, connection().handle(asked()))
    for action in (syn, answer):
        assert find(action.segment().options, WINDOW_SCALE) is None
        assert find(action.segment(7).options, WINDOW_SCALE) == b"\x07"
        assert find(action.segment(0).options, WINDOW_SCALE) == b"\x00"
        assert len(action.segment(7).options) % 4 == 0
    assert answer.segment().options == b""


# ---- a firewall between


@dataclass
class Firewall:
    """Linux's conntrack, as far as it matters here: an acknowledgement of what it has not seen sent is dropped."""

    ends: dict[object, int] = field(default_factory=dict)
    dropped: list[Segment] = field(default_factory=list)

    def drop(self, segment: Segment) -> bool:
        here, there = (segment.src, segment.sport), (segment.dst, segment.dport)
        flow = frozenset((here, there))
        if segment.flags & (SYN | ACK) == SYN:
            self.ends[flow, here] = seq.add(segment.seq, 1)
            return False
        known = self.ends.get((flow, there))
        if segment.flags & ACK and not segment.flags & RST and known is not None and seq.gt(segment.ack, known):
            self.dropped.append(segment)
            return True
        end = seq.add(segment.seq, segment.length)
        mine = self.ends.get((flow, here))
        if mine is None or seq.gt(end, mine):
            self.ends[flow, here] = end
        return False


def behind_a_firewall(number: SynNumber, who: int, lost: str) -> tuple[Pair, Firewall]:
    """Data goes both ways; from 0.12 s on what is named is lost, at 0.28 s one side moves."""
    network = Network()
    pair, firewall = open_pair(network, size=4096), Firewall()
    for host in pair.hosts:
        host.connection.syn_number = number
    mover = pair.hosts[who]
    old = mover.socket.pair

    def drop(segment: Segment) -> bool:
        if old.local_ip in (segment.src, segment.dst) and network.now > 0.12:
            gone = {
                "acknowledgements": not segment.payload,
                "data": bool(segment.payload),
                "nothing": False,
            }[lost]
            return gone or firewall.drop(segment)
        return firewall.drop(segment)

    network.drop = drop
    network.later(0.28, lambda: Mover(pair, who, 4).move("break"))
    network.run(60, done=lambda: network.now > 2 and pair.finished())
    return pair, firewall


@pytest.mark.parametrize("who", [0, 1])
@pytest.mark.parametrize(
    ("number", "lost"),
    [(UNA_NUMBER, "data"), (NXT_NUMBER, "nothing"), (NXT_NUMBER, "data"), (NXT_NUMBER, "acknowledgements")],
)
def test_a_firewall_passes_what_acknowledges_what_it_has_seen(number: SynNumber, lost: str, who: int) -> None:
    pair, firewall = behind_a_firewall(number, who, lost)
    assert pair.finished(), pair.story()
    assert not firewall.dropped


@pytest.mark.parametrize("who", [0, 1])
@pytest.mark.parametrize("lost", ["nothing", "acknowledgements"])
def test_with_the_drafts_number_a_lost_acknowledgement_is_the_end(lost: str, who: int) -> None:
    """It need not be lost on purpose: those that were on their way when the address went are lost as well."""
    pair, firewall = behind_a_firewall(UNA_NUMBER, who, lost)
    assert not pair.finished()
    assert firewall.dropped


def test_nxt_is_never_behind_una() -> None:
    for highest in (None, NXT + 100, UNA - 5):
        una, nxt = (rules.syn_number(number, position(), highest) for number in (UNA_NUMBER, NXT_NUMBER))
        assert seq.leq(una, nxt)
