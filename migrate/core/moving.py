"""The state machine's handlers on the side that moves: segment 5 out, 6 in, 7 out."""

from __future__ import annotations

from migrate.core import rules, seq
from migrate.core.actions import (
    Action,
    Arm,
    Await,
    Direction,
    Disarm,
    Hold,
    Mute,
    Notice,
    Rebind,
    Release,
    Report,
    Reset,
    SendAck,
    SendSyn,
    Unmute,
)
from migrate.core.events import AddressLost, Expired, Move, Rst, SynAck, Timer
from migrate.core.record import OWN_REQUESTS, Outcome, Rebinding, Record, Request, State
from migrate.core.tuples import FourTuple, Peer

_LARGER_NUMBER_TRIES = 3  # of asking to be sure


def ignored(cause: str) -> list[Action]:
    return [Report(Notice.IGNORED, cause)]


def destination(c: Record, event: Move) -> FourTuple:
    """Where a move leads: to the peer at the newest address that it has proved to be at."""
    open_ = c.accepted is not None and c.accepted.outcome is Outcome.OPEN
    peer = c.accepted.tuple.remote if c.accepted and open_ else c.tuple.remote
    return FourTuple.of_ends(Peer(event.local_ip, event.local_port or c.tuple.local_port), event.remote or peer)


def answered_pairs(c: Record, doubtful: bool = True) -> list[FourTuple]:
    """Where segment 7 may come in: the pair of the peer's SYN; the pair of both new addresses, where the SYN was sent
    to an address that we leave or have left, and the peer learns of that meanwhile; in doubt, the pair that we have."""
    if c.accepted is None:
        return []
    local = c.pending.tuple.local if c.pending else c.tuple.local
    pairs = [c.accepted.tuple, FourTuple.of_ends(local, c.accepted.tuple.remote)]
    if doubtful and c.accepted.tries >= rules.DOUBT_TRIES:
        pairs.append(c.tuple)
    return list(dict.fromkeys(pairs))


def silence(c: Record) -> Mute:
    """Nothing leaves on the pair that the kernel has.  Nor does anything reach it where a 6 of ours is on its way: what
    that says must stay true.  The peer may act on it however late, and would refuse ACKs of more than it says."""
    open_ = c.accepted is not None and c.accepted.outcome is Outcome.OPEN
    return Mute(c.tuple, Direction.BOTH if open_ else Direction.OUT)


def leave(c: Record, pairs: list[FourTuple], keep: FourTuple | None = None) -> list[Action]:
    """Ends what was begun on these pairs: they stay silent, but for the kernel's own pair and the one to keep."""
    actions: list[Action] = []
    for pair in pairs:
        if pair == c.tuple:
            own = silence(c)
            actions.append(own if own.direction is Direction.BOTH else Release(pair))
        elif pair != keep:
            actions.append(Mute(pair, Direction.BOTH))
    return actions


def on_move(c: Record, event: Move) -> list[Action]:
    """A new request, whatever was under way (each new address starts one)."""
    new = destination(c, event)
    if new.local_ip.version != new.remote_ip.version:
        return ignored(f"the peer at {new.remote_ip} cannot be reached from {new.local_ip}: different IP versions")
    if event.position.tcp_state not in rules.MOVABLE:
        return ignored(f"a socket in {event.position.tcp_state.name} does not move")
    told = c.sent_count != c.confirmed_count  # the peer may have been, that the address was gone
    if c.state is State.SUSPENDED and new == c.tuple and event.position.tcp_state in rules.CLOSING and not told:
        return [*_go_on(c), *ignored(f"{new.local_ip} is back, a closing socket goes on there")]
    if c.state is State.ESTABLISHED and new == c.tuple:
        return ignored(f"already at {new.local_ip}")
    if c.state is State.SYN_SENT and c.pending and new == c.pending.tuple:
        return ignored(f"a request from {new.local_ip} is under way")
    if c.state is State.SYN_RCVD and new in answered_pairs(c):
        return ignored(f"an answer from {new.local_ip} is under way")
    return _ask(c, new, _own_number(c, event), event.preload)


def _own_number(c: Record, event: Move) -> int:
    """S.  A replica (preload) has no numbers of its own yet, and the draft's are the peer's to correct."""
    number = rules.SynNumber.UNA if event.preload else c.syn_number
    return rules.syn_number(number, event.position, c.highest)


def _ask(c: Record, new: FourTuple, s: int, preload: bool) -> list[Action]:
    count = rules.next_count(c.sent_count, c.confirmed_count)
    option = c.option(s, preload, count)  # first: the secret may turn out to be no secret
    left = [c.pending.tuple] if c.pending else []
    left += answered_pairs(c) if c.state is State.SYN_RCVD else []
    actions = [*leave(c, left, keep=new), silence(c)]
    if new != c.tuple:
        # Held from now on: a peer that already knows of this pair (it moved itself, or we come back to where we were)
        # may be speaking on it, and the kernel would reset it.
        actions += [Unmute(new), Hold(new)]
    _count_up(c, count, s)
    c.pending, c.verifying = Request(new, s, preload, ambiguous=new in c.recent), None
    c.recent = [*(pair for pair in c.recent if pair != new), new]
    c.state = State.SYN_SENT
    return [
        *actions,
        Await(new),
        SendSyn(new, s, option),
        Arm(Timer.RETRANSMIT, rules.timeout(1)),
        Arm(Timer.QUIET, 2 * c.msl),
        Report(Notice.MIGRATING, f"request {count} from {new.local_ip}"),
    ]


def _count_up(c: Record, count: int, s: int) -> None:
    c.sent_count = count
    still_new = (one for one in c.own if one[0] > c.accepted_count)
    c.own = [*still_new, (count, s)][-OWN_REQUESTS:]


def on_syn_timeout(c: Record, event: Expired) -> list[Action]:
    """The same request again: same number, S and R."""
    if event.timer is Timer.TWO_MSL:
        return on_two_msl(c, event)
    assert c.pending is not None
    c.pending.tries += 1
    pending = c.pending
    actions: list[Action] = [
        SendSyn(pending.tuple, pending.s, c.option(pending.s, pending.preload, c.sent_count)),
        Arm(Timer.RETRANSMIT, rules.timeout(pending.tries)),
    ]
    if pending.tries == rules.MANY_TRIES:
        actions.append(Report(Notice.UNANSWERED, f"{pending.tries} requests from {pending.tuple.local_ip}"))
    return actions


def on_two_msl(c: Record, event: Expired) -> list[Action]:
    """MIGRATE_WAIT is over, and nobody has come.  A move of our own since then has not helped either."""
    if event.timer is not Timer.TWO_MSL:
        return []
    pairs = [c.pending.tuple] if c.pending else []
    actions = leave(c, pairs)
    c.pending = None
    c.state = State.CLOSED
    return [*actions, Disarm(Timer.RETRANSMIT), Reset(), Report(Notice.RESET, "2MSL over without a Migrate SYN")]


def on_answer(c: Record, event: SynAck) -> list[Action]:
    """Segment 6: follow our own request."""
    assert c.pending is not None
    if FourTuple.of_arriving(event.segment) != c.pending.tuple:
        return []
    return _follow(c, event, c.pending.tuple, c.pending.preload)


def on_crossing_answer(c: Record, event: SynAck) -> list[Action]:
    """A simultaneous open: each has the other's request.  Segment 6 for ours leads to the pair of both new addresses;
    one on a pair where we expect 7 says as much as 7 does (RFC 9293, 3.10.7.4), and leads to that pair."""
    assert c.accepted is not None
    here = FourTuple.of_arriving(event.segment)
    if c.pending and here == c.pending.tuple:
        both = FourTuple.of_ends(c.pending.tuple.local, c.accepted.tuple.remote)
        return _follow(c, event, both, c.pending.preload)
    # Not the pair that we ask on in doubt: the peer may be in doubt too, and then there are two such pairs.
    return _follow(c, event, here, preload=False) if here in answered_pairs(c, doubtful=False) else []


def _follow(c: Record, event: SynAck, new: FourTuple, preload: bool) -> list[Action]:
    segment, position = event.segment, event.position
    if not (rules.answers_replica(segment) if preload else rules.answers(segment, position, c.highest)):
        return ignored("a SYN/ACK with impossible numbers")
    c.rebinding = Rebinding(new, acknowledge=True)
    c.highest = rules.sent(position, c.highest)
    rcv_nxt = seq.add(segment.seq, 1) if preload else None
    return [
        Disarm(Timer.RETRANSMIT),
        Await(new),
        Hold(new),
        Rebind(c.tuple, new, segment.ack, segment.window, preload, acknowledge=True, rcv_nxt=rcv_nxt),
    ]


def on_late_answer(c: Record, event: SynAck) -> list[Action]:
    """Segment 6 once more: our 7 was lost, or the answer that we verify has come.  One with other numbers is answered
    as well, as any SYN in a synchronised state is (RFC 5961, section 4): its sender may be behind, and waits for 7."""
    if FourTuple.of_arriving(event.segment) not in (c.tuple, c.asked):
        return []
    if c.verifying and c.verifying.tries > 1 and rules.answers(event.segment, event.position, c.highest):
        c.verifying = None
        return [SendAck(c.tuple), Disarm(Timer.RETRANSMIT)]
    return [SendAck(c.tuple)]


def on_verify_timeout(c: Record, event: Expired) -> list[Action]:
    """Segment 6 does not say which request it answers.  Where it may have been an earlier one from the same pair, the
    last request is sent again: it may be lost, and an older one from elsewhere be accepted after all.  Then with a
    larger number: a copy of it that came late may have led the peer elsewhere, and its number is used up."""
    verifying = c.verifying
    if event.timer is not Timer.RETRANSMIT or verifying is None:
        return []
    verifying.tries += 1
    if verifying.tries > rules.MANY_TRIES:
        c.verifying = None
        return []
    if verifying.tries == _LARGER_NUMBER_TRIES:
        _count_up(c, rules.next_count(c.sent_count, c.confirmed_count), verifying.s)
    option = c.option(verifying.s, verifying.preload, c.sent_count)
    return [SendSyn(verifying.tuple, verifying.s, option), Arm(Timer.RETRANSMIT, rules.timeout(verifying.tries))]


def on_refusal(c: Record, event: Rst) -> list[Action]:
    """A RST for our Migrate SYN.  What comes for the old pair is of no interest: we have left it."""
    assert c.pending is not None
    if FourTuple.of_arriving(event.segment) != c.pending.tuple or not rules.refuses(event.segment, c.pending.s):
        return []
    refused = c.pending.tuple
    if refused == c.tuple and not c.pending.preload:  # a replica has nothing to go back to
        # The peer is where it was, and so are we: whether it cannot move, or has closed and awaits our FIN.
        c.pending = None
        return [Disarm(Timer.RETRANSMIT), *_go_on(c), *ignored(f"refused, and back at {refused.local_ip}")]
    return [
        *_suspend(c),
        Report(Notice.REFUSED, f"by {refused.remote_ip}, request {c.sent_count} from {refused.local_ip}"),
    ]


def _go_on(c: Record) -> list[Action]:
    """The kernel goes on by itself, on the pair that it has."""
    c.state = State.ESTABLISHED
    return [Unmute(c.tuple)]


def on_request_address_lost(c: Record, event: AddressLost) -> list[Action]:
    assert c.pending is not None
    if event.local_ip not in (None, c.pending.tuple.local_ip):
        return []
    lost = c.pending.tuple.local_ip
    return [*_suspend(c), Report(Notice.SUSPENDED, f"address {lost} lost before an answer came")]


def on_address_lost(c: Record, event: AddressLost) -> list[Action]:
    if event.local_ip not in (None, c.tuple.local_ip):
        return []
    c.state = State.SUSPENDED
    return [silence(c), Report(Notice.SUSPENDED, f"address {c.tuple.local_ip} lost")]


def _suspend(c: Record) -> list[Action]:
    assert c.pending is not None
    actions = leave(c, [c.pending.tuple])
    c.pending = None
    c.state = State.SUSPENDED
    return [Disarm(Timer.RETRANSMIT), *actions]
