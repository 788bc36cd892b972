"""Rules that need no memory: numbers on circles, and what a believable segment looks like."""

from __future__ import annotations

from enum import StrEnum

from migrate.core import seq
from migrate.core.options import REQNO_MASK, OptionError
from migrate.core.segment import ACK, RST, SYN, Segment, sack_blocks
from migrate.core.tuples import Position, TcpState

# Both sides have closed, and the peer may have forgotten the connection but for a TIME-WAIT.
CLOSING = frozenset((TcpState.CLOSING, TcpState.LAST_ACK))
# Migration starts from ESTABLISHED or FIN-WAIT (draft), and from the other states in which something is still to come.
MOVABLE = CLOSING | {TcpState.ESTABLISHED, TcpState.FIN_WAIT1, TcpState.FIN_WAIT2, TcpState.CLOSE_WAIT}

FIRST_TIMEOUT = 1.0  # seconds; segments 5 and 6 go out again after it, then after twice as long, and so on
LAST_TIMEOUT = 64.0  # seconds; the doubling ends here, so that a path that comes back is found within a minute
MANY_TRIES = 6  # after so many (half a minute) somebody is told that nothing comes back

# After so many tries (15 seconds) an answerer asks at the peer's last address too: the request may have been long on
# its way, from a mover that has meanwhile settled where it was.
DOUBT_TRIES = 5

_HALF_CIRCLE = (REQNO_MASK + 1) // 2

# As many requests may go unanswered before their number stops rising.  Beyond half the circle the peer would take
# them for old ones for ever; half of that again leaves room for an answer that was meant for an older request.
UNANSWERED_MAX = _HALF_CIRCLE // 2

# How far behind rcv_nxt a believable segment may begin, at least.  A window shrinks to nothing when its program
# does not read, so the present window alone would refuse what was sent into an earlier, larger one.
REACH = 64 << 20
_WINDOW_MAX = 1 << 30  # RFC 7323, section 2.3


class SynNumber(StrEnum):
    """Which sequence number segments 5 and 6 have: one less than their sender's snd_una, or than its snd_nxt.

    `una` is the draft's.  A stateful firewall takes it, plus one, for the end of what the sender has ever sent, and so
    for the most that the peer may acknowledge: where data has arrived and its acknowledgement has not, it drops 6 (data
    of the mover's) or 7 (of the answerer's).  With `nxt` no acknowledgement is ever beyond it."""

    UNA = "una"
    NXT = "nxt"


def timeout(tries: int) -> float:
    """Seconds until the next try, when so many have left."""
    return float(min(FIRST_TIMEOUT * 2 ** min(tries - 1, 16), LAST_TIMEOUT))


def full_count(reqno: int, accepted: int) -> int | None:
    """The full count of a request whose last seven bits are `reqno`: the smallest larger than `accepted`.

    None where the number is not larger in serial-number arithmetic over 7 bits (RFC 1982): a distance of 0 is the
    last accepted one, and one of half the circle or more lies behind it.  A true request is never that far ahead
    (UNANSWERED_MAX); an old one that comes out as new, a full turn later, is caught by R, which covers the count."""
    ahead = (reqno - accepted) & REQNO_MASK
    return accepted + ahead if 0 < ahead < _HALF_CIRCLE else None


def next_count(sent: int, confirmed: int) -> int:
    """The full count of the next request: one more, unless too many have gone unanswered."""
    return min(sent + 1, confirmed + UNANSWERED_MAX)


def believable_s(s: int, position: Position) -> bool:
    """S + 1 is a byte that the mover may be at: from its oldest that we have not acknowledged to it, which lies in the
    window at or below our rcv_nxt, to the end of what it may have sent, our receive window."""
    return _known(seq.add(s, 1), position)


def sent(position: Position, highest: int | None) -> int:
    """The sequence number that the peer's ACKs may reach.

    After a rebind everything counts as unsent, so snd_nxt may lie behind what the peer already has; `highest` is
    snd_nxt before the rebind, void once it is not ahead of snd_una by at most the largest window there is."""
    if highest is not None and 0 < seq.diff(highest, position.snd_una) <= _WINDOW_MAX:
        return highest if seq.gt(highest, position.snd_nxt) else position.snd_nxt
    return position.snd_nxt


def syn_number(number: SynNumber, position: Position, highest: int | None) -> int:
    """The sequence number of a segment 5 or 6 of ours."""
    end = position.snd_una if number is SynNumber.UNA else sent(position, highest)
    return seq.add(end, -1)


def answers(segment: Segment, position: Position, highest: int | None) -> bool:
    """Segment 6 is believable: it acknowledges what we sent, and its own number is one that its sender may be at."""
    return (
        segment.flags & (SYN | ACK | RST) == SYN | ACK
        and seq.between(position.snd_una, segment.ack, sent(position, highest))
        and _known(seq.add(segment.seq, 1), position)
    )


def answers_replica(segment: Segment) -> bool:
    """Segment 6 for a host that was no end point before: it has no numbers of its own to compare with."""
    return segment.flags & (SYN | ACK | RST) == SYN | ACK


def completes(segment: Segment, position: Position, highest: int | None) -> bool:
    """Segment 7, or data in its place, is believable: it acknowledges what we sent and lies around rcv_nxt."""
    window = max(position.rcv_wnd, REACH)
    low, high = seq.add(position.rcv_nxt, -window), seq.add(position.rcv_nxt, window)
    return (
        segment.flags & (SYN | ACK | RST) == ACK
        and seq.between(position.snd_una, segment.ack, sent(position, highest))
        and seq.between(low, segment.seq, high)
    )


def sacked(segment: Segment, highest: int) -> tuple[tuple[int, int], ...]:
    """What segment 7 SACKs, in rising order and joined: (first byte, the one after the last).

    Nothing at or below its ACK (that is a duplicate, RFC 2883), nothing beyond `highest`, the end of what we sent."""
    try:
        blocks = sack_blocks(segment.options)
    except OptionError:
        return ()
    reach = seq.diff(highest, segment.ack)
    ranges = sorted((seq.diff(left, segment.ack), seq.diff(right, segment.ack)) for left, right in blocks)
    joined: list[tuple[int, int]] = []
    for first, last in ranges:
        if not 0 < first < last <= reach:
            continue
        if joined and first <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(last, joined[-1][1])
        else:
            joined.append((first, last))
    return tuple((seq.add(segment.ack, first), seq.add(segment.ack, last)) for first, last in joined)


def resets(segment: Segment, rcv_nxt: int) -> bool:
    """A RST that counts in a synchronised state: exactly at rcv_nxt (RFC 5961, section 3.2)."""
    return bool(segment.flags & RST) and segment.seq == rcv_nxt


def refuses(segment: Segment, s: int) -> bool:
    """A RST that answers our Migrate SYN: it acknowledges it, as any answer to a SYN does (RFC 9293, 3.10.7.3)."""
    return segment.flags & (RST | ACK) == RST | ACK and segment.ack == seq.add(s, 1)


def _known(number: int, position: Position) -> bool:
    reach = max(position.rcv_wnd, REACH)
    low, high = seq.add(position.rcv_nxt, -reach), seq.add(position.rcv_nxt, position.rcv_wnd)
    return seq.between(low, number, high)
