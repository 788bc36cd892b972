"""What must be seen in the traces of `lossy` beyond what `mobility` shows, each a check.  Pure.

What the mobile held is reckoned from what its old interface received; what the server may send, from what segment 7
says, and from every later acknowledgement at the moment it passes the server.
"""

from __future__ import annotations

from analysis import measures
from analysis.measures import Move, NoMeasure, Range
from analysis.stream import Stream
from scenarios.base import Context
from scenarios.mobility_checks import SENDER, Seen
from scenarios.verdict import Check, Invalid


def judge(context: Context, seen: Seen) -> list[Check]:
    """All checks; raises `Invalid` where the mobile held nothing beyond a hole."""
    mobile, server = seen.judged["mobile"].stream, seen.judged["server"].stream
    try:
        here, there = measures.the_move(mobile), measures.the_move(server)
        held = held_beyond(mobile, here, seen.moved_at)
        if not held:
            raise Invalid("the mobile held nothing beyond a hole when it moved: the move proves nothing")
        holes = measures.gaps(held, (here.resumes_at(sender=SENDER), held[-1][1]))
        context.report("held beyond holes at the move", measures.size(held), "bytes")
        context.report("holes at the move", measures.size(holes), "bytes")
        return [
            Check.equal("holes at the move", 2, len(holes)),
            Check.equal("SACK blocks of segment 7, mobile", _written(held), _written(here.kept(sender=SENDER))),
            Check.equal("SACK blocks of segment 7, server", _written(held), _written(there.kept(sender=SENDER))),
            Check.equal("bytes sent again that had been SACKed", 0, sent_although_sacked(server, there), "bytes"),
            *_holes_first(server, there, holes),
            _jump(mobile, here, held, holes),
        ]
    except NoMeasure as cause:
        return [Check.equal("what the traces show of the holes", "all of it", str(cause))]


def held_beyond(mobile: Stream, move: Move, moved_at: float) -> list[Range]:
    """What had arrived at the mobile's old address by then, beyond what 7 acknowledges."""
    resumes = move.resumes_at(sender=SENDER)
    arrived = [one for one in measures.data(mobile, sender=SENDER, epochs=range(move.epoch)) if one.time < moved_at]
    return measures.joined((one.seq, one.end) for one in arrived if one.seq > resumes)


def sent_although_sacked(server: Stream, move: Move, sender: bool = SENDER) -> int:
    """Bytes of data after the move that an acknowledgement on the new path had SACKed when they left; exact at the
    sender."""
    sacked = move.kept(sender=sender)
    again: list[Range] = []
    for one in server.of_epoch(move.epoch):
        if one.from_initiator != sender:
            if one.time >= move.ack.time and one.ack is not None:
                # A duplicate is reported below the acknowledgement (RFC 2883); that is no promise.
                sacked = measures.joined([*sacked, *((a, b) for a, b in measures.sacked(one) if a > one.ack)])
        elif one.length:
            again += measures.overlap([(one.seq, one.end)], sacked)
    return measures.size(again)


def _holes_first(server: Stream, move: Move, holes: list[Range]) -> list[Check]:
    """The server sends the holes, each once, and then goes on behind the last block."""
    data = [(one.seq, one.end) for one in measures.data(server, sender=SENDER, epochs=[move.epoch])]
    beyond = next((at for at, (first, _) in enumerate(data) if first >= holes[-1][1]), len(data))
    end = max(last for _, last in move.kept(sender=SENDER)) if move.kept(sender=SENDER) else 0
    behind = data[beyond][0] if beyond < len(data) else None
    return [
        Check.equal("what the server sends first", _written(holes), _written(measures.joined(data[:beyond]))),
        Check.equal("bytes of the holes sent", measures.size(holes), measures.size(measures.overlap(data, holes))),
        Check.equal("where it goes on behind the holes", end, behind),
    ]


def _jump(mobile: Stream, move: Move, held: list[Range], holes: list[Range]) -> Check:
    """Filling the last hole is acknowledged together with all that was held behind it."""
    filled = next(
        (one.time for one in measures.data(mobile, sender=SENDER, epochs=[move.epoch]) if one.end >= holes[-1][1]), None
    )
    if filled is None:
        raise NoMeasure(f"{mobile} shows nothing that fills the last hole.")
    acks = [
        one.ack for one in mobile.of_epoch(move.epoch)
        if one.from_initiator != SENDER and one.time >= filled and one.ack is not None
    ]  # fmt: skip
    return Check.equal("cumulative ACK when the last hole is filled", held[-1][1], acks[0] if acks else None)


def _written(ranges: list[Range]) -> str:
    return ", ".join(f"{first}:{last}" for first, last in ranges) or "none"
