"""The end of a rebind: unsent data goes out again, and a half-closed connection gets its FINs back.

`repair.restore` knows one state only, ESTABLISHED.  From there the socket is led to the state it had by what leads
any socket there: the peer's FIN arrives (fed to the kernel, for the peer does not repeat one that was acknowledged),
and `shutdown` queues its own behind the data.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Collection

from migrate.core import ACK, FIN, FourTuple, Segment
from migrate.core.tuples import TcpState
from migrate.linux import repair
from migrate.linux.repair import FIN_RECEIVED, FIN_SENT, CannotCarry, Checkpoint

PATIENCE_SECONDS = 0.2
"""For a segment that this host sends to itself; the kernel takes it in microseconds unless the machine is swamped."""

_AFTER_OWN_FIN = (TcpState.FIN_WAIT2, TcpState.TIME_WAIT, TcpState.CLOSE)

Feed = Callable[[Segment], None]


def resume(sock: socket.socket, image: Checkpoint, pair: FourTuple, feed: Feed, done: int = 0) -> None:
    """Sends what is unsent, from byte `done` of it on, and brings the socket to `image.state`, or beyond it if the peer
    has acknowledged a FIN meanwhile.  May be called again after it was interrupted anywhere.

    Raises `CannotCarry` where the kernel does not take the FIN that is fed to it."""
    # A FIN that crossed ours: had it come first, ours would lead to LAST_ACK.
    crossed = image.state == TcpState.CLOSING
    if image.fin_received and not crossed:
        _receive_fin(sock, image, pair, feed)
    repair.send_again(sock, image, done=min(done, len(image.send_data)))
    if image.fin_sent:
        _send_fin(sock, image, pair, feed)
    if crossed:
        _receive_fin(sock, image, pair, feed)
    if image.read_shut:
        sock.shutdown(socket.SHUT_RD)


def _receive_fin(sock: socket.socket, image: Checkpoint, pair: FourTuple, feed: Feed) -> None:
    # Without a Timestamp option: the peer's clock is not ours to invent.
    fin = _from_peer(image, pair, FIN | ACK, image.recv_end, image.send_start)
    if not _fed(sock, fin, feed, (*FIN_RECEIVED, TcpState.TIME_WAIT, TcpState.CLOSE)):
        raise CannotCarry("the kernel did not take the peer's FIN back")


def _send_fin(sock: socket.socket, image: Checkpoint, pair: FourTuple, feed: Feed) -> None:
    if not image.fin_acknowledged:
        sock.shutdown(socket.SHUT_WR)
        return
    # The peer has it, so it does not go out again: in repair mode it counts as sent, and this is its ACK.
    if repair.state(sock) not in FIN_SENT:
        repair.enter(sock)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, repair.TCP_REPAIR_QUEUE, repair.SEND_QUEUE)
            sock.shutdown(socket.SHUT_WR)
            sock.setsockopt(socket.IPPROTO_TCP, repair.TCP_REPAIR_QUEUE, repair.NO_QUEUE)
        finally:
            repair.leave(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, image.reuse_address)
    # Should it be lost, the kernel sends the FIN once more, and the peer acknowledges that.
    _fed(sock, _from_peer(image, pair, ACK, image.rcv_nxt, image.snd_una), feed, _AFTER_OWN_FIN)


def _from_peer(image: Checkpoint, pair: FourTuple, flags: int, number: int, ack: int) -> Segment:
    window = min(0xFFFF, image.snd_wnd >> (image.snd_wscale if image.window_scaling else 0))
    return Segment(pair.remote_ip, pair.remote_port, pair.local_ip, pair.local_port, flags, number, ack, window)


def _fed(sock: socket.socket, segment: Segment, feed: Feed, states: Collection[TcpState]) -> bool:
    """Feeds the segment until the socket is in one of the states; false if it does not get there."""
    end = time.monotonic() + PATIENCE_SECONDS
    while repair.state(sock) not in states:
        feed(segment)
        if repair.state(sock) in states:
            break
        if time.monotonic() > end:  # only now: however late it is, it has been fed
            return False
        time.sleep(0.001)
    return True
