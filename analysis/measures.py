"""Quantities of a migration, as one vantage point's stream shows them.  Pure.

`sender` says which direction of the data is meant: True for what the initiator sends.  Times are seconds, sizes bytes
of payload where nothing else is said.  What has no answer in a trace raises NoMeasure: nothing is made up.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from analysis.capture import ACK, END_OF_OPTIONS, FIN, NOP, RST, SYN, Packet
from analysis.stream import Segment, Stream
from migrate.core import seq

SACK_KIND = 5
Range = tuple[int, int]  # first byte and the one after the last


class NoMeasure(Exception):
    """The stream does not hold what was to be measured; the text is one sentence."""


@dataclass(frozen=True, slots=True)
class Move:
    """Segments 5, 6 and 7 of one migration."""

    epoch: int
    mover_is_initiator: bool
    syn: Segment  # the first Migrate SYN
    syn_ack: Segment  # the last SYN/ACK before 7
    ack: Segment  # the mover's first segment after it: 7, or data in its place

    @property
    def answer_time(self) -> float:
        """Migrate SYN to SYN/ACK: at the host that answers, its own time; at the mover, a round trip more."""
        return self.syn_ack.time - self.syn.time

    @property
    def handshake_time(self) -> float:
        """Migrate SYN to segment 7; at the mover, one round trip and both hosts' own times."""
        return self.ack.time - self.syn.time

    def resumes_at(self, *, sender: bool) -> int:
        """The byte from which this direction goes on: what the other side has received, as 6 or 7 says."""
        said = self.syn_ack.ack if sender == self.mover_is_initiator else self.ack.ack
        if said is None:
            raise NoMeasure(f"Segment 7 of the migration to {self.epoch} acknowledges nothing.")
        return said

    def kept(self, *, sender: bool) -> list[Range]:
        """What the mover has received beyond a hole, as segment 7 SACKs it; nothing of the other direction, since 6 has
        no options."""
        return joined(sacked(self.ack)) if sender != self.mover_is_initiator else []


def sacked(segment: Segment) -> list[Range]:
    """The SACK blocks of a segment, as they stand in it, counted like its ack."""
    ack = segment.ack
    for kind, data in segment.packet.options:
        if kind == SACK_KIND and ack is not None and len(data) % 8 == 0:
            numbers = [int.from_bytes(data[at : at + 4], "big") for at in range(0, len(data), 4)]
            edges = [ack + seq.diff(number, segment.packet.ack) for number in numbers]
            return list(zip(edges[0::2], edges[1::2], strict=True))
    return []


def moves(stream: Stream) -> list[Move]:
    """The migrations whose handshakes the stream shows whole, in order."""
    found = []
    for epoch in stream.epochs[1:]:
        syn, mover = epoch.migrate_syn, epoch.mover_is_initiator
        if syn is None or mover is None:
            continue
        answer: Segment | None = None
        for segment in stream.of_epoch(epoch.index):
            if segment.has(RST):
                continue
            if segment.has(SYN | ACK) and segment.from_initiator != mover:
                answer = segment
            elif answer is not None and segment.from_initiator == mover and not segment.has(SYN):
                found.append(Move(epoch.index, mover, syn, answer, segment))
                break
    return found


def the_move(stream: Stream) -> Move:
    """The only migration of a stream."""
    found = moves(stream)
    if len(found) != 1:
        raise NoMeasure(f"{stream} migrates {len(found)} times, not once.")
    return found[0]


def data(stream: Stream, *, sender: bool, epochs: Iterable[int] | None = None) -> list[Segment]:
    """The data segments of one direction, in order of time; of these epochs, or of all."""
    wanted = None if epochs is None else set(epochs)
    return [
        segment
        for segment in stream.segments
        if segment.length and segment.from_initiator == sender and (wanted is None or segment.epoch in wanted)
    ]


@dataclass(frozen=True, slots=True)
class Interruption:
    """From the last new byte before a move to the first new byte after it."""

    last: Segment
    first: Segment

    @property
    def seconds(self) -> float:
        return self.first.time - self.last.time

    def round_trips(self, rtt: float) -> float:
        return self.seconds / rtt


def interruption(stream: Stream, move: Move, *, sender: bool) -> Interruption:
    """Last new byte on the old address to the first new byte on the new one, best seen at the receiver.

    A packet that still arrives for the old address after the move brings no new byte: the receiver does not have it,
    as segment 6 or 7 says.
    """
    start = move.resumes_at(sender=sender)
    before = [one for one in data(stream, sender=sender, epochs=range(move.epoch)) if one.end >= start > one.seq]
    after = [one for one in data(stream, sender=sender, epochs=[move.epoch]) if one.end > start]
    if not before or not after:
        raise NoMeasure(f"{stream} shows no data {'after' if before else 'before'} the move.")
    return Interruption(before[0], after[0])


def resume_time(stream: Stream, move: Move, *, sender: bool) -> float:
    """Seconds from segment 7 to the first data on the new address."""
    after = [one for one in data(stream, sender=sender, epochs=[move.epoch]) if one.time >= move.ack.time]
    if not after:
        raise NoMeasure(f"{stream} shows no data after the move.")
    return after[0].time - move.ack.time


def flight_at_move(stream: Stream, move: Move, *, sender: bool) -> Range:
    """Sent before the move and not known to be received when the Migrate SYN passed; exact at the sender."""
    before = [one for one in stream.segments if one.epoch < move.epoch and one.time <= move.syn.time]
    sent = max((one.end for one in before if one.from_initiator == sender), default=0)
    acked = max((one.ack or 0 for one in before if one.from_initiator != sender), default=0)
    return acked, max(acked, sent)


def retransmitted(stream: Stream, move: Move, *, sender: bool) -> list[Range]:
    """The bytes sent on the new address that had been sent before, there or on an older one, each time they were.

    Exact at the sender; elsewhere bytes that were lost on the way the first time are not counted.
    """
    old = [(one.seq, one.end) for one in data(stream, sender=sender, epochs=range(move.epoch))]
    seen = joined(old)
    again: list[Range] = []
    for one in data(stream, sender=sender, epochs=[move.epoch]):
        again += overlap([(one.seq, one.end)], seen)
        seen = joined([*seen, (one.seq, one.end)])
    return again


@dataclass(frozen=True, slots=True)
class SlowStart:
    """How the flight grew after a move.  Sizes in bytes."""

    first_flight: int
    first_flight_segments: int
    excess: int  # the most that was outstanding beyond initial window + newly acknowledged; 0 in slow start
    rounds: tuple[int, ...]  # sent in each round trip; in slow start each up to twice the one before


def slow_start(stream: Stream, move: Move, *, sender: bool, initial_window: int) -> SlowStart:
    """The start on the new address, for the sender's vantage; `initial_window` in bytes.

    In slow start the window is the initial one plus what was newly acknowledged (RFC 5681, 3.1), so that much at most
    is outstanding.  A round ends with the acknowledgement of the first byte that was sent in it.  What segment 7 SACKs
    is neither: it has been received before.
    """
    start = move.resumes_at(sender=sender)
    kept = move.kept(sender=sender)

    def count(first: int, last: int) -> int:
        return last - first - size(overlap([(first, last)], kept))

    def next_byte(at: int) -> int:
        return next((last for first, last in kept if first <= at < last), at)

    sent_to = acked = start
    excess = first_flight = first_segments = 0
    rounds = [0]
    round_starts = start
    for one in stream.of_epoch(move.epoch):
        if one.time < move.ack.time or one is move.ack:
            continue
        if one.from_initiator != sender:
            if one.ack is not None and one.ack > acked:
                acked = one.ack
                if acked > round_starts and rounds[-1]:
                    rounds.append(0)
                    round_starts = next_byte(sent_to)
            continue
        if not one.length:
            continue
        if acked == start:
            first_flight += one.length
            first_segments += 1
        rounds[-1] += one.length
        sent_to = max(sent_to, one.end)
        excess = max(excess, count(acked, sent_to) - (initial_window + count(start, acked)))
    if not first_segments:
        raise NoMeasure(f"{stream} shows no data after the move.")
    return SlowStart(first_flight, first_segments, excess, tuple(size for size in rounds if size))


def resets(stream: Stream) -> list[Segment]:
    """The RSTs while the connection lived: until each side had acknowledged the other's FIN.  A socket may be gone by
    then, and what comes to it late, because it was overtaken, is answered so."""
    found: list[Segment] = []
    fins: dict[bool, int] = {}  # by whose it is: the number behind it
    acknowledged: set[bool] = set()
    for one in stream.segments:
        if one.has(RST):
            found.append(one)
        if one.has(FIN):
            fins[one.from_initiator] = one.end + 1
        if one.ack is not None and one.ack == fins.get(not one.from_initiator):
            acknowledged.add(one.from_initiator)
        if len(acknowledged) == 2:
            break
    return found


def rate(segments: Sequence[Segment]) -> float:
    """Bits per second of whole IP packets, from the first to the last of these; the first starts the clock."""
    if len(segments) < 2 or segments[-1].time <= segments[0].time:
        raise NoMeasure("A rate needs two packets at different times.")
    return sum(ip_bytes(one.packet) for one in segments[1:]) * 8 / (segments[-1].time - segments[0].time)


def ip_bytes(packet: Packet) -> int:
    """Size of the whole IP packet (without IP options and extension headers, which TCP over a plain path has not)."""
    options = sum(1 if kind in (NOP, END_OF_OPTIONS) else 2 + len(value) for kind, value in packet.options)
    return (40 if ":" in packet.src else 20) + 20 + options + packet.length


@dataclass(frozen=True, slots=True)
class Coverage:
    """What became of each byte of one direction."""

    missing: tuple[Range, ...]  # never seen where it counts
    twice: tuple[Range, ...]  # seen more than once where it counts


def every_byte_once(stream: Stream, *, sender: bool, since: Move | None = None) -> Coverage:
    """Whether each byte was brought exactly once, up to the last (or from a move on); best seen at the receiver.

    What arrives for an address after its host has left it does not count: of each epoch only the bytes up to where
    the next one resumes, and those that segment 7 SACKs beyond.
    """
    first = 0 if (stream.ni if sender else stream.na) is None else 1
    seen: list[Range] = []
    if since is not None:
        first = since.resumes_at(sender=sender)
        seen = since.kept(sender=sender)
    had = {move.epoch: [(0, move.resumes_at(sender=sender)), *move.kept(sender=sender)] for move in moves(stream)}
    twice: list[Range] = []
    for one in data(stream, sender=sender):
        if since is not None and one.epoch < since.epoch:
            continue
        pieces = [(one.seq, one.end)]
        for epoch, ranges in had.items():
            if epoch > one.epoch:
                pieces = overlap(pieces, ranges)
        twice += overlap(pieces, seen)
        seen = joined([*seen, *pieces])
    end = max((last for _, last in seen), default=first)
    return Coverage(tuple(gaps(seen, (first, end))), tuple(joined(twice)))


# Ranges.


def size(ranges: Iterable[Range]) -> int:
    """Bytes in all."""
    return sum(last - first for first, last in ranges)


def joined(ranges: Iterable[Range]) -> list[Range]:
    """The same bytes in rising order, each once."""
    result: list[Range] = []
    for first, last in sorted(ranges):
        if result and first <= result[-1][1]:
            result[-1] = result[-1][0], max(last, result[-1][1])
        elif last > first:
            result.append((first, last))
    return result


def overlap(some: Iterable[Range], others: Sequence[Range]) -> list[Range]:
    """The bytes of the first that are also in the second."""
    pairs = ((max(a, first), min(b, last)) for a, b in some for first, last in others)
    return [(first, last) for first, last in pairs if last > first]


def gaps(ranges: Iterable[Range], within: Range) -> list[Range]:
    """The bytes of `within` that are in none of the ranges."""
    result = []
    at = within[0]
    for first, last in joined(ranges):
        if first > at:
            result.append((at, min(first, within[1])))
        at = max(at, last)
    if at < within[1]:
        result.append((at, within[1]))
    return [(first, last) for first, last in result if last > first]
