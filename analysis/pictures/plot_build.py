"""From a view of a connection to the points and lines of its time-sequence picture.  Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

from analysis.capture import RST
from analysis.pictures.facts import late, retransmitted
from analysis.pictures.plot_data import (
    DataArrow,
    HandshakeMark,
    Interruption,
    Mark,
    PlotData,
    SackBlock,
    Step,
)
from analysis.pictures.view import View


def build(view: View, moves: Sequence[float] = (), called: str = "move") -> PlotData:
    """The picture of the direction in which more data went.

    `moves` are the moments at which an end lost its address, in seconds from the epoch, on the capture's clock; or at
    which something else happened that led to a migration, which `called` names.
    """
    moves = sorted(move - view.start for move in moves)
    from_initiator = _more_from_initiator(view)
    names, indices = _moving_addresses(view)
    at_receiver = _at_receiver(view, from_initiator)
    arrows = _arrows(view, from_initiator, indices, moves)
    acks, edges, sacks = _acknowledgements(view, from_initiator)
    return PlotData(
        sender=view.side(initiator=from_initiator),
        receiver=view.side(initiator=not from_initiator),
        origin=view.origins[0 if from_initiator else 1],
        addresses=names,
        sender_moves=from_initiator == view.initiator_moves,
        left=view.left,
        at_receiver=at_receiver,
        data=arrows,
        acks=acks,
        edges=edges,
        sacks=sacks,
        marks=_marks(view, moves, called),
        handshakes=_handshakes(view, from_initiator, acks),
        interruptions=_interruptions(view, arrows, acks, at_receiver),
    )


def _more_from_initiator(view: View) -> bool:
    sent = [0, 0]
    for seen in view.seen:
        sent[seen.from_initiator] += seen.length
    return sent[True] > sent[False]


def _moving_addresses(view: View) -> tuple[tuple[str, ...], list[int]]:
    """Names of the moving side's addresses in order of first use, and for each epoch which of them it has."""
    addresses = [view.address(epoch, initiator=view.initiator_moves) for epoch in range(len(view.ends))]
    ports = [e.initiator_port if view.initiator_moves else e.responder_port for e in view.ends]
    # One address with several ports (a NAT, or replicas behind one) is told apart by them.
    told = list(zip(addresses, ports, strict=True)) if len(set(ports)) > 1 else [(a, 0) for a in addresses]
    unique = list(dict.fromkeys(told))
    words = [f"{address} port {port}" if port else address for address, port in unique]
    hosts = [view.names.get(address, "") for address, _ in unique]
    if len(set(hosts)) > 1:
        words = [f"{host} {word}".strip() for host, word in zip(hosts, words, strict=True)]
    elif len(unique) == 2 and sum(a != b for a, b in pairwise(told)) == 1:  # it has not gone back
        words = [f"old address {words[0]}", f"new address {words[1]}"]
    return tuple(words), [unique.index(item) for item in told]


def _arrows(view: View, from_initiator: bool, indices: Sequence[int], moves: Sequence[float]) -> tuple[DataArrow, ...]:
    return tuple(
        DataArrow(seen.time, seen.seq, seen.end, seen.epoch, indices[seen.epoch], again, is_late)
        for seen, again, is_late in zip(view.seen, retransmitted(view), late(view, moves), strict=True)
        if seen.from_initiator == from_initiator and seen.length
    )


def _acknowledgements(
    view: View, from_initiator: bool
) -> tuple[tuple[Step, ...], tuple[Step, ...], tuple[SackBlock, ...]]:
    """The receiver's ACKs, the window's edge that goes with each, and the SACK blocks."""
    acks: list[Step] = []
    edges: list[Step] = []
    sacks: list[SackBlock] = []
    newest = 0
    for seen in view.seen:
        if seen.from_initiator == from_initiator or seen.ack is None or seen.flags & RST:
            continue
        newest = max(newest, seen.epoch)
        stale = seen.epoch < newest
        acks.append(Step(seen.time, seen.ack, seen.epoch, stale))
        if view.shifts is not None:
            # RFC 7323, section 2.2: the window of a segment with SYN is never scaled.
            shift = 0 if seen.is_syn else view.shifts[0 if seen.from_initiator else 1]
            edges.append(Step(seen.time, seen.ack + (seen.packet.window << shift), seen.epoch, stale))
        sacks += [SackBlock(seen.time, first, last) for first, last in seen.sacks]
    return tuple(acks), tuple(edges), tuple(sacks)


def _at_receiver(view: View, from_initiator: bool) -> bool | None:
    """Near which end was captured?  Beside the responder, 2 follows 1 at once; beside the initiator, 3 follows 2."""
    times = [next((s.time for s in view.seen if s.role == role), None) for role in (1, 2, 3)]
    first, second, third = times
    if first is None or second is None or third is None:
        return None
    at_initiator = second - first > third - second
    return at_initiator != from_initiator


def _marks(view: View, moves: Sequence[float], called: str) -> tuple[Mark, ...]:
    words = [f"{called} {index}" if len(moves) > 1 else called for index in range(1, len(moves) + 1)]
    marks = [Mark(move, "move", word, word) for move, word in zip(moves, words, strict=True)]
    said: set[int] = set()
    for seen in view.seen:
        if seen.role != 5:
            continue
        address = view.address(seen.epoch, initiator=seen.from_initiator)
        if seen.epoch in said:
            marks.append(Mark(seen.time, "migrate", "Migrate SYN again", "again"))
        else:
            who = view.names.get(address, address) if view.left == "server" else address
            marks.append(Mark(seen.time, "migrate", f"Migrate SYN from {who}", "Migrate SYN"))
        said.add(seen.epoch)
    return tuple(sorted(marks, key=lambda mark: mark.time))


def _handshakes(view: View, from_initiator: bool, acks: Sequence[Step]) -> tuple[HandshakeMark, ...]:
    """Segments 5 to 7 where the picture's direction can show them: at their seq, or at their ack."""
    times = [step.time for step in acks]
    found: list[HandshakeMark] = []
    for seen in view.seen:
        if seen.role not in (5, 6, 7):
            continue
        if seen.from_initiator == from_initiator and not seen.preload:
            value = seen.seq
        elif seen.ack is not None:
            value = seen.ack
        else:
            # A Migrate SYN of the data's receiver says nothing about this direction, and one with PRELOAD may be
            # stale; it stands at what is acknowledged.
            value = acks[position - 1].value if (position := bisect_right(times, seen.time)) else 0
        found.append(HandshakeMark(seen.time, value, seen.role))
    return tuple(found)


def _interruptions(
    view: View, arrows: Sequence[DataArrow], acks: Sequence[Step], at_receiver: bool | None
) -> tuple[Interruption, ...]:
    """From the last new byte before each migration to the first one after it.

    Beside the receiver a byte counts when it was acknowledged; beside the sender, when it was sent.
    """
    answered = {step.epoch: step.time for step in acks}  # the last time of each epoch, since acks are in order of time
    found: list[Interruption] = []
    for epoch in range(1, len(view.ends)):
        after = [arrow for arrow in arrows if arrow.epoch == epoch]
        before = [arrow for arrow in arrows if arrow.epoch < epoch and after and arrow.time < after[0].time]
        known = max((step.value for step in acks if after and step.time < after[0].time), default=0)
        if at_receiver:
            # Nobody answers a buffered packet: what came after the last ACK from its address, and is covered by no
            # other, was not accepted.
            before = [a for a in before if a.last <= known or a.time <= answered.get(a.epoch, -1.0)]
            before = [arrow for arrow in before if not arrow.retransmitted]
        else:
            before = [arrow for arrow in before if not arrow.late]
        if not before:
            continue
        new = next((arrow for arrow in after if arrow.last > known), after[0])
        found.append(Interruption(before[-1].time, new.time, new.first, epoch))
    return tuple(found)
