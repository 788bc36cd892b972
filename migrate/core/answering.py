"""The state machine's handlers on the side that stays: 5 in, 6 out, 7 in; and RSTs."""

from __future__ import annotations

from migrate.core import rules, seq
from migrate.core.actions import (
    Action,
    Arm,
    Await,
    Direction,
    Disarm,
    Hold,
    MoveAgain,
    Mute,
    Notice,
    Rebind,
    Report,
    SendRst,
    SendSyn,
    SendSynAck,
    Unmute,
)
from migrate.core.events import Ack, AddressLost, Expired, MigrateSyn, Rst, Timer
from migrate.core.moving import answered_pairs, ignored, leave, silence
from migrate.core.options import octet
from migrate.core.record import Accepted, Outcome, Rebinding, Record, State
from migrate.core.segment import Segment
from migrate.core.tuples import FourTuple, Position


def refusal(segment: Segment) -> SendRst:
    """What refuses a Migrate SYN: it has no ACK, so the RST acknowledges it (RFC 9293, 3.10.7.1)."""
    return SendRst(FourTuple.of_arriving(segment), 0, seq.add(segment.seq, segment.length))


def on_migrate_syn(c: Record, event: MigrateSyn) -> list[Action]:
    """The checks on a Migrate SYN in their order; the first, for the token, is admission.py's."""
    option, s = event.option, event.segment.seq
    count = rules.full_count(option.reqno, c.accepted_count)
    if count is None:
        return _duplicate(c, event)
    if any((s, option.octet) == (own_s, octet(option.preload, own)) for own, own_s in c.own):
        return ignored("our own request, sent back to us")
    if option.preload and not c.initiator:
        # Replicas are of servers.  Else the request of one, recorded, would lead the one that it replaced to anybody.
        return ignored("a replica's request, which is for the initiator")
    if not option.preload and not rules.believable_s(s, event.position):
        return ignored(f"request {count} with an S outside the window")
    if option.request != c.request(s, option.octet, count):
        return [refusal(event.segment), Report(Notice.IGNORED, f"request {count} with a wrong proof")]
    return _accept(c, event, count)


def _accept(c: Record, event: MigrateSyn, count: int) -> list[Action]:
    left = answered_pairs(c) if c.state is State.SYN_RCVD else []
    c.accepted_count = count
    return _answer(c, event, left)


def _duplicate(c: Record, event: MigrateSyn) -> list[Action]:
    """The accepted request again, since its 6 was lost; or one of the past, or of a replica that lost the race."""
    here = FourTuple.of_arriving(event.segment)
    option, s, accepted = event.option, event.segment.seq, c.accepted
    if accepted is None or (here, s, option.octet) != (accepted.tuple, accepted.s, accepted.octet):
        return ignored("a request number that is not larger than the last accepted")
    if option.request != c.request(s, option.octet, c.accepted_count):
        return ignored("a duplicate request with a wrong proof")
    if c.state is State.SYN_RCVD:
        # The numbers of now: what was about to reach the socket may have been slower than the first 6.
        return [_note(accepted, _syn_ack(c, event))]
    if accepted.outcome is not Outcome.FOLLOWED:
        return _answer(c, event, [])
    if c.state is State.MIGRATE_WAIT:
        return _answer(c, event, [])  # the peer still asks: it has not heard that we followed
    if c.state is State.ESTABLISHED and here == c.tuple:
        return [_syn_ack(c, event)]
    return ignored("a duplicate of a request that has been followed")


def _syn_ack(c: Record, event: MigrateSyn) -> SendSynAck:
    """Segment 6.  A replica (preload) takes its number, plus one, for the first byte that it is to expect."""
    return SendSynAck(FourTuple.of_arriving(event.segment), *_numbers(c, event.option.preload, event.position))


def _numbers(c: Record, preload: bool, position: Position) -> tuple[int, int, int]:
    number = rules.SynNumber.UNA if preload else c.syn_number
    return rules.syn_number(number, position, c.highest), position.rcv_nxt, min(position.rcv_wnd, 0xFFFF)


def as_of(c: Record, answer: SendSynAck, position: Position) -> SendSynAck:
    """Segment 6 with the numbers of now, when the old pair is silent: until it was, a peer that has not moved, but was
    replaced, may have sent more.  A replica would never come to what it believes to be missing."""
    accepted = c.accepted
    if c.state is not State.SYN_RCVD or not accepted or (answer.seq, answer.ack) != (accepted.seq, accepted.ack):
        return answer
    return _note(accepted, SendSynAck(answer.tuple, *_numbers(c, accepted.preload, position)))


def _note(accepted: Accepted, said: SendSynAck) -> SendSynAck:
    """Segment 6 again.  Which of them the mover goes by is not known: it may have heard of the least window only."""
    accepted.seq, accepted.ack = said.seq, said.ack
    accepted.window = min(accepted.window, said.window)
    return said


def _answer(c: Record, event: MigrateSyn, left: list[FourTuple]) -> list[Action]:
    """Segment 6.  The socket stays untouched until 7; until then the old pair is silent both ways, so that what 6
    says stays true."""
    here = FourTuple.of_arriving(event.segment)
    answer = _syn_ack(c, event)
    c.accepted = Accepted(here, event.segment.seq, event.option.octet, answer.seq, answer.ack, answer.window)
    pairs = answered_pairs(c)
    c.state = State.SYN_RCVD
    actions: list[Action] = [Disarm(Timer.TWO_MSL)]
    own = c.pending.tuple if c.pending else None  # an answer to our own request may still come there
    actions += leave(c, [pair for pair in left if pair not in pairs], keep=own)
    for pair in pairs:
        if pair not in (c.tuple, own, *left):
            actions.append(Unmute(pair))
        actions += [Await(pair), Hold(pair)]
    actions.append(Mute(c.tuple, Direction.OUT if c.tuple in pairs else Direction.BOTH))
    return [
        *actions,
        *_await_own(c),
        answer,
        Arm(Timer.RETRANSMIT, rules.timeout(1)),
        Report(Notice.ANSWERED, f"request {c.accepted_count} from {here.remote_ip}"),
    ]


def _await_own(c: Record) -> list[Action]:
    """An answer to our own request may still come where that left, though that be the pair that has just fallen silent
    both ways."""
    return [Await(c.pending.tuple)] if c.pending and c.pending.tuple == c.tuple else []


def on_answer_timeout(c: Record, event: Expired) -> list[Action]:
    """Segment 6 again, for as long as it takes: a mover that lost its 7 may have nothing else to say.  And a request of
    our own that crossed: the peer may have followed an earlier one, and hear nothing where that led; it goes to where
    the peer has proved to be, and to where it was."""
    if event.timer is not Timer.RETRANSMIT:
        return []
    assert c.accepted is not None
    c.accepted.tries += 1
    accepted = c.accepted
    asked = [accepted.tuple]
    actions: list[Action] = []
    if accepted.tries >= rules.DOUBT_TRIES and c.tuple != accepted.tuple:
        asked.append(c.tuple)
        actions += [Await(c.tuple), Hold(c.tuple), Mute(c.tuple, Direction.OUT)]
    actions += [SendSynAck(pair, accepted.seq, accepted.ack, accepted.window) for pair in asked]
    own = c.pending or c.verifying
    if own:
        option = c.option(own.s, own.preload, c.sent_count)
        proved = FourTuple.of_ends(own.tuple.local, accepted.tuple.remote)
        actions += [SendSyn(pair, own.s, option) for pair in dict.fromkeys((proved, own.tuple))]
    actions.append(Arm(Timer.RETRANSMIT, rules.timeout(accepted.tries)))
    if accepted.tries == rules.MANY_TRIES:
        cause = f"{accepted.tries} answers to {accepted.tuple.remote_ip}: silent until it speaks, or asks anew"
        actions.append(Report(Notice.UNACKNOWLEDGED, cause))
    return actions


def on_ack(c: Record, event: Ack) -> list[Action]:
    """Segment 7, or data in its place."""
    assert c.accepted is not None
    here = FourTuple.of_arriving(event.segment)
    if here not in answered_pairs(c):
        return []
    if not rules.completes(event.segment, event.position, c.highest):
        return ignored("an ACK with impossible numbers in place of segment 7")
    c.rebinding = Rebinding(here, acknowledge=False)
    c.highest = rules.sent(event.position, c.highest)
    preload = c.accepted.preload
    # A replica's bytes may differ in layout: what was SACKed then counts for nothing.
    sacked = () if preload else rules.sacked(event.segment, c.highest)
    ack, window = event.segment.ack, event.segment.window
    return [
        Disarm(Timer.RETRANSMIT),
        Hold(here),
        Rebind(c.tuple, here, ack, window, preload, acknowledge=False, sacked=sacked),
    ]


def on_rst(c: Record, event: Rst) -> list[Action]:
    """A RST from the peer's address: it may be someone else's by now (slide 20)."""
    if FourTuple.of_arriving(event.segment) != c.tuple:
        return []
    if c.verifying and rules.refuses(event.segment, c.verifying.s):
        c.verifying = None  # the peer has closed, and with that all questions
        return [Disarm(Timer.RETRANSMIT)]
    if not rules.resets(event.segment, event.position.rcv_nxt):
        return ignored("a RST that is not exactly at rcv_nxt")
    return _wait(c, f"RST from {c.tuple.remote_ip}")


def _wait(c: Record, cause: str) -> list[Action]:
    c.state = State.MIGRATE_WAIT
    return [
        Disarm(Timer.RETRANSMIT),
        silence(c),
        Report(Notice.WAITING, cause),
        Arm(Timer.TWO_MSL, 2 * c.msl),  # after the report: what is counted from its time is at least that long
    ]


def on_rst_while_answering(c: Record, event: Rst) -> list[Action]:
    """Refused where we asked, or a stranger where we answered.  The old pair's RSTs no longer matter."""
    assert c.accepted is not None
    here = FourTuple.of_arriving(event.segment)
    if c.pending and here == c.pending.tuple and rules.refuses(event.segment, c.pending.s):
        return _forget_request(c)
    pairs = answered_pairs(c)
    if here not in pairs or not rules.resets(event.segment, c.accepted.ack):
        return []
    cause = f"RST from {here.remote_ip} in place of segment 7"
    actions = leave(c, pairs, keep=c.pending.tuple if c.pending else None)
    if c.pending:
        c.state = State.SYN_SENT
        return [
            *actions,
            *_await_own(c),
            Arm(Timer.RETRANSMIT, rules.timeout(c.pending.tries)),
            Report(Notice.MIGRATING, f"{cause}: our own request {c.sent_count} goes on"),
        ]
    return [*actions, *_wait(c, cause)]


def _forget_request(c: Record) -> list[Action]:
    assert c.pending is not None
    gone = [c.pending.tuple, *answered_pairs(c)]
    c.pending = None
    actions = leave(c, [pair for pair in gone if pair not in answered_pairs(c)])
    return [*actions, Report(Notice.REFUSED, f"request {c.sent_count}, while an answer to the peer's is under way")]


def on_address_lost_while_answering(c: Record, event: AddressLost) -> list[Action]:
    """The address that the peer's SYN came to is gone: no 7 will come.  Or that of our own request, which the peer
    may have followed.  We ask anew from the one that is left, towards the address that the peer has proved to be at."""
    assert c.accepted is not None
    here = c.accepted.tuple
    own = c.pending.tuple if c.pending else here
    if event.local_ip not in (None, here.local_ip, own.local_ip):
        return []
    left = next((pair for pair in (own, here) if event.local_ip not in (None, pair.local_ip)), None)
    actions: list[Action] = [Disarm(Timer.RETRANSMIT), *leave(c, [*answered_pairs(c), own])]
    c.pending = None
    c.state = State.SUSPENDED
    lost = here.local_ip if left is None else event.local_ip
    actions += [silence(c), Report(Notice.SUSPENDED, f"address {lost} lost before segment 7")]
    if left:
        actions.append(MoveAgain(left.local_ip, left.local_port, here.remote))
    return actions
