"""Data beyond a hole, carried through a rebind on both sides, so that nothing that was SACKed is sent again (slide 29).

The mover's kernel has forgotten its out-of-order queue.  It is fed back, as from the peer, before anything is said
on the new address pair; segment 7 then carries the SACK blocks for it.

The answerer's kernel has forgotten its scoreboard.  A SACKed block is written in repair mode, as sent already, and an
ACK that SACKs it is fed to the kernel, which marks it.  What makes the kernel send the holes at once, and not after its
first timeout, a second?  RACK marks losses today, however many duplicate ACKs come, and it takes no time from what
was written in repair mode unless that is older than the least round trip ever seen, which a rebind does not forget.

  * A path of some length: holes are handed over as new data.  The kernel sends them by its initial window, as nothing
    but data in flight: no loss, slow start goes on.  Holes beyond the initial window count as sent when the next block
    is written; RACK finds them lost once later data is acknowledged.
  * A quick path: there RACK would take holes just sent for lost, and send them again.  So they are written as sent too,
    and the ACK waits for that round trip.  RACK then finds all holes lost, and the kernel sends them in fast recovery.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterable

from migrate.core import ACK, FourTuple, Segment, sack_option, seq, timestamp_option
from migrate.linux import repair
from migrate.linux.repair import Checkpoint

Block = tuple[int, int]

# Of one segment that is fed: with its headers it fills a buffer of the kernel's of 16 KB.
_FED_BYTES = 14_480
# struct tcp_info (linux/tcp.h): tcpi_min_rtt, tcpi_rcv_ooopack.
_INFO_BYTES, _INFO_LEAST_ROUND_TRIP, _INFO_OUT_OF_ORDER = 232, 148, 224
# A path is quick if its round trip is not far above what a rebind itself takes.
_QUICK_SECONDS = 0.005
# Linux acknowledges three segments beyond a hole at once, more within a millisecond (tcp_comp_sack_delay_ns).
_AT_ONCE, _SACK_DELAY_SECONDS = 3, 0.0012


def held(pieces: Iterable[tuple[int, bytes]], image: Checkpoint) -> list[tuple[int, bytes]]:
    """Of an out-of-order queue what is still beyond a hole, and inside the window; nothing without SACK: a peer that is
    not told could not make sense of an ACK that jumps."""
    edge = seq.add(image.rcv_wup, image.rcv_wnd)
    return [
        (number, data[: seq.diff(edge, number)])
        for number, data in pieces
        if image.sack and seq.diff(number, image.rcv_nxt) > 0 and seq.diff(edge, number) > 0
    ]


def blocks(image: Checkpoint) -> list[Block]:
    """What the socket holds beyond a hole, in rising order."""
    return [(number, seq.add(number, len(data))) for number, data in image.beyond]


def third_segment(new: FourTuple, image: Checkpoint, ts_recent: int = 0) -> Segment:
    """Segment 7: what the mover says first from its new address (draft, section 4).

    It has room for three SACK blocks, four without timestamps.  The highest must be among them: it says how far the
    answerer's data counts as sent, and ACKs beyond that are refused there.  Then the lowest, which lie among what is
    sent first.  The others come in the kernel's ACKs, as the holes are filled."""
    times = timestamp_option(image.timestamp, ts_recent) if image.timestamps else b""
    held = blocks(image)
    return Segment(
        src=new.local_ip,
        sport=new.local_port,
        dst=new.remote_ip,
        dport=new.remote_port,
        flags=ACK,
        seq=image.snd_una,
        ack=image.rcv_nxt,
        window=image.advertised_window,
        options=times + sack_option([*held[-1:], *held[:-1]][: 3 if times else 4]),
    )


def beyond(new: FourTuple, image: Checkpoint) -> list[Segment]:
    """The out-of-order queue as the peer would send it.  Without timestamps: they are not looked at where there are
    none.  In rising order: the kernel names what it gets last first, and that must be the highest block."""
    return [
        _from_peer(new, image, seq.add(number, at), payload=data[at : at + _FED_BYTES])
        for number, data in image.beyond
        for at in range(0, len(data), _FED_BYTES)
    ]


def _from_peer(new: FourTuple, image: Checkpoint, number: int, options: bytes = b"", payload: bytes = b"") -> Segment:
    window = image.snd_wnd >> (image.snd_wscale if image.window_scaling else 0)
    ends = (new.remote_ip, new.remote_port, new.local_ip, new.local_port)
    return Segment(*ends, ACK, number, image.snd_una, min(window, 0xFFFF), options, payload)


def feed_back(new: FourTuple, image: Checkpoint, feed: Callable[[Segment], None]) -> None:
    """The kernel gets its out-of-order queue again; returns when it has nothing more to say about it."""
    segments = beyond(new, image)
    for segment in segments:
        feed(segment)
    if len(segments) > _AT_ONCE:
        time.sleep(_SACK_DELAY_SECONDS)


def stretches(image: Checkpoint) -> list[tuple[int, int, Block | None]]:
    """`send_data` up to the last SACKed byte: offset of the first byte and of the one after the last, and the block if
    it is SACKed."""
    result: list[tuple[int, int, Block | None]] = []
    at = 0
    for left, right in image.sacked:
        first, last = seq.diff(left, image.snd_una), seq.diff(right, image.snd_una)
        if not at <= first < last <= len(image.send_data):
            continue  # not what was ever sent: nothing to build on
        if first > at:
            result.append((at, first, None))
        result.append((first, last, (left, right)))
        at = last
    return result


def resume(
    sock: socket.socket, new: FourTuple, image: Checkpoint, feed: Callable[[Segment], None], done: int = 0
) -> int:
    """Hands over `send_data` up to the last SACKed byte, and up to `image.maybe_received`, from byte `done` on, and
    lets the kernel know what is SACKed.  All from the offset returned on is still unsent."""
    view = memoryview(image.send_data)
    nodelay = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    least = least_round_trip(sock)
    quick = least <= _QUICK_SECONDS
    end = 0
    for first, end, block in stretches(image):
        part = view[max(first, done) : end]
        if block or quick:
            _as_sent(sock, image, part)
        elif part:
            repair.hand_over(sock, image, part, socket.MSG_EOR)  # what is SACKed shares no segment with it
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # pushes a last small segment too
        if block and not quick:
            feed(_from_peer(new, image, image.rcv_nxt, sack_option([block])))
    if image.maybe_received > max(end, done):
        repair.hand_over(sock, image, view[max(end, done) : image.maybe_received], socket.MSG_EOR)
        _as_sent(sock, image, view[:0])  # what the initial window did not let out
        end = image.maybe_received
    if quick and image.sacked:
        time.sleep(least)
        feed(_from_peer(new, image, image.rcv_nxt, sack_option(image.sacked)))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, nodelay)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, image.reuse_address)  # repair mode overwrites it
    return max(end, done)


def _as_sent(sock: socket.socket, image: Checkpoint, part: memoryview) -> None:
    repair.enter(sock)
    sock.setsockopt(socket.IPPROTO_TCP, repair.TCP_REPAIR_QUEUE, repair.SEND_QUEUE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # pushes what waits, which then counts as sent
    repair.hand_over(sock, image, part)
    sock.setsockopt(socket.IPPROTO_TCP, repair.TCP_REPAIR_QUEUE, repair.NO_QUEUE)
    repair.leave(sock)


def least_round_trip(sock: socket.socket) -> float:
    """Seconds, of this connection's whole life; over an hour where there was none."""
    return _info(sock, _INFO_LEAST_ROUND_TRIP) / 1e6


def taken(sock: socket.socket) -> int:
    """How many segments the rebuilt socket has queued beyond a hole."""
    return _info(sock, _INFO_OUT_OF_ORDER)


def _info(sock: socket.socket, offset: int) -> int:
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES)
    return int(struct.unpack_from("=I", info, offset)[0])
