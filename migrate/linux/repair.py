"""A live socket's state, taken out by TCP_REPAIR and put back with other addresses, on the same descriptor.

The socket is a program's own, borrowed; the program is held still by the caller, and segments of the old and
the new address pair are kept away meanwhile.  The order of the steps, and what each of them preserves or
forgets, are the kernel's (net/ipv4/tcp.c: do_tcp_setsockopt, tcp_disconnect, tcp_connect_init).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import secrets
import select
import socket
import struct
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from migrate.core import seq
from migrate.core.tuples import TcpState

TCP_REPAIR = 19
TCP_REPAIR_QUEUE = 20
TCP_QUEUE_SEQ = 21
TCP_REPAIR_OPTIONS = 22
TCP_TIMESTAMP = 24
TCP_REPAIR_WINDOW = 29
REPAIR_ON, REPAIR_OFF_WITHOUT_PROBE = 1, -1
NO_QUEUE, RECV_QUEUE, SEND_QUEUE = 0, 1, 2
OPTION_MSS, OPTION_WINDOW, OPTION_SACK, OPTION_TIMESTAMP = 2, 3, 4, 8

SO_BUF_LOCK = 72
SO_SNDBUFFORCE = 32
SO_BINDTOIFINDEX = 62
IP_BIND_ADDRESS_NO_PORT = 24
SIOCINQ, SIOCOUTQ, SIOCOUTQNSD = 0x541B, 0x5411, 0x894B

# Of the kernel's states: those in which the program has sent its FIN, and those in which the peer's has come.
FIN_SENT = frozenset((TcpState.FIN_WAIT1, TcpState.FIN_WAIT2, TcpState.CLOSING, TcpState.LAST_ACK))
FIN_RECEIVED = frozenset((TcpState.CLOSE_WAIT, TcpState.CLOSING, TcpState.LAST_ACK))
CARRIED = frozenset((TcpState.ESTABLISHED, *FIN_SENT, *FIN_RECEIVED))

_libc = ctypes.CDLL(None, use_errno=True)
_INFO = struct.Struct("BBBBBBBB")
_WINDOW = struct.Struct("=IIIII")
_CHUNK = 1 << 18


class CannotCarry(Exception):
    """This socket cannot be rebound; the message says why, for `migratectl` and the log."""


@dataclass(slots=True)
class Checkpoint:
    """All of a connection that its socket forgets in a rebind.

    Sequence numbers are absolute and count FINs, as the kernel's do; `send_data` begins at `snd_una`, `recv_data` ends
    at `rcv_nxt`, or before the peer's FIN; the window fields are bytes, already scaled (struct tcp_repair_window).
    """

    family: int
    local: tuple[str, int]
    remote: tuple[str, int]
    state: int
    snd_una: int
    rcv_nxt: int
    send_data: bytes
    recv_data: bytes
    snd_wl1: int
    snd_wnd: int
    max_window: int
    rcv_wnd: int
    rcv_wup: int
    mss_clamp: int
    options: int
    snd_wscale: int
    rcv_wscale: int
    timestamp: int
    reuse_address: int
    window_clamp: int
    send_buffer: int
    buffer_locks: int
    device: int = 0  # number of the interface that its program has bound it to; 0: none
    mark: int = 0  # SO_MARK that its program has set
    fin_acknowledged: bool = False
    read_shut: bool = False  # by its program, SHUT_RD
    beyond: list[tuple[int, bytes]] = field(default_factory=list)
    """What was received beyond a hole, in rising order: sequence number and bytes."""
    sacked: tuple[tuple[int, int], ...] = ()
    """What the peer has of `send_data` beyond a hole, in rising order: first byte and the one after the last."""
    maybe_received: int = 0
    """The peer may still get, and acknowledge, so many bytes of `send_data` as they were sent before the rebind."""

    @property
    def fin_sent(self) -> bool:
        return self.state in FIN_SENT

    @property
    def fin_received(self) -> bool:
        return self.state in FIN_RECEIVED

    @property
    def send_start(self) -> int:
        """Where the send queue of the rebuilt socket begins: a FIN that the peer has is sent once more, on paper."""
        return seq.add(self.snd_una, -self.fin_acknowledged)

    @property
    def recv_end(self) -> int:
        """Where its receive queue ends: the peer's FIN is given to it afterwards."""
        return seq.add(self.rcv_nxt, -self.fin_received)

    @property
    def timestamps(self) -> bool:
        return bool(self.options & 1)

    @property
    def sack(self) -> bool:
        return bool(self.options & 2)

    @property
    def window_scaling(self) -> bool:
        return bool(self.options & 4)

    @property
    def offered_window(self) -> int:
        """Bytes that the peer may send from `rcv_nxt` on, as the kernel has told it, or wanted to."""
        return max(0, seq.diff(seq.add(self.rcv_wup, self.rcv_wnd), self.rcv_nxt))

    @property
    def advertised_window(self) -> int:
        """The window field of a segment sent now."""
        return min(65535, self.offered_window >> (self.rcv_wscale if self.window_scaling else 0))

    def acknowledge(self, ack: int, window: int, scaled: bool) -> None:
        """The peer has everything before `ack`; `window` is its window field as it came, `scaled` unless that was in a
        SYN/ACK.  Raises `CannotCarry` for an ack outside of what was sent."""
        done = seq.diff(ack, self.snd_una)
        outstanding = len(self.send_data) + (self.fin_sent and not self.fin_acknowledged)
        if not 0 <= done <= outstanding:
            raise CannotCarry(f"the peer acknowledges {ack}, outside of {self.snd_una}+{outstanding}")
        self.fin_acknowledged |= done > len(self.send_data)
        self.snd_una = ack
        self.send_data = self.send_data[done:]
        if scaled:
            self.snd_wnd = window << (self.snd_wscale if self.window_scaling else 0)
        else:
            # It cannot say more than 65535.  What the peer has offered before ends where it did, not so far from `ack`.
            self.snd_wnd = max(window, self.snd_wnd - done)
        self.max_window = max(self.max_window, self.snd_wnd)


def _number(sock: socket.socket, request: int) -> int:
    return int(struct.unpack("=i", fcntl.ioctl(sock, request, b"\0\0\0\0"))[0])


def state(sock: socket.socket) -> int:
    """The kernel's, one of `TcpState`."""
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]


def unacknowledged(sock: socket.socket) -> int:
    """Bytes in the send queue, a FIN counted with them.  Of a connection that was reset they stay there for ever."""
    return _number(sock, SIOCOUTQ)


def sent(sock: socket.socket) -> int:
    """Bytes that have been sent and not acknowledged."""
    return unacknowledged(sock) - _number(sock, SIOCOUTQNSD)


def _queue_seq(sock: socket.socket, queue: int) -> int:
    sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_QUEUE, queue)
    return sock.getsockopt(socket.IPPROTO_TCP, TCP_QUEUE_SEQ) & 0xFFFFFFFF


def _peek(sock: socket.socket, queue: int, count: int) -> bytes:
    if count == 0:
        return b""
    sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_QUEUE, queue)
    data = sock.recv(count, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    if len(data) != count:
        raise CannotCarry(f"read {len(data)} of {count} queued bytes")
    return data


def enter(sock: socket.socket) -> None:
    """Turns repair mode on.  Raises `CannotCarry` where the kernel has none for this socket."""
    try:
        sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, REPAIR_ON)
    except OSError as error:
        raise CannotCarry(f"no TCP_REPAIR on this socket: {error.strerror}") from error


def leave(sock: socket.socket) -> None:
    """Turns repair mode off, without the window probe (it would carry snd_una - 1 and provoke an answer)."""
    sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, REPAIR_OFF_WITHOUT_PROBE)


def dump(sock: socket.socket) -> Checkpoint:
    """The checkpoint of a socket that is in repair mode.  The socket stays as it was."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 232)
    state, _, _, _, _, options, scales, _ = _INFO.unpack_from(info)
    if state not in CARRIED:
        raise CannotCarry(f"TCP state {state} is not carried")
    write_seq = _queue_seq(sock, SEND_QUEUE)
    rcv_nxt = _queue_seq(sock, RECV_QUEUE)
    outstanding, waiting = unacknowledged(sock), _number(sock, SIOCINQ)
    fin_queued = state in FIN_SENT and outstanding > 0
    send_data, recv_data = _peek(sock, SEND_QUEUE, outstanding - fin_queued), _peek(sock, RECV_QUEUE, waiting)
    sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_QUEUE, NO_QUEUE)
    window = _WINDOW.unpack(sock.getsockopt(socket.IPPROTO_TCP, TCP_REPAIR_WINDOW, _WINDOW.size))
    return Checkpoint(
        family=sock.family,
        local=sock.getsockname()[:2],
        remote=sock.getpeername()[:2],
        state=state,
        snd_una=seq.add(write_seq, -outstanding),
        rcv_nxt=rcv_nxt,
        send_data=send_data,
        recv_data=recv_data,
        snd_wl1=window[0],
        snd_wnd=window[1],
        max_window=window[2],
        rcv_wnd=window[3],
        rcv_wup=window[4],
        mss_clamp=sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG),
        options=options,
        snd_wscale=scales & 15,
        rcv_wscale=scales >> 4,
        timestamp=sock.getsockopt(socket.IPPROTO_TCP, TCP_TIMESTAMP) & 0xFFFFFFFF,
        reuse_address=0,
        window_clamp=sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_WINDOW_CLAMP),
        send_buffer=sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF),
        buffer_locks=sock.getsockopt(socket.SOL_SOCKET, SO_BUF_LOCK),
        device=sock.getsockopt(socket.SOL_SOCKET, SO_BINDTOIFINDEX),
        mark=sock.getsockopt(socket.SOL_SOCKET, socket.SO_MARK),
        fin_acknowledged=state in FIN_SENT and not fin_queued,
        read_shut=state not in FIN_RECEIVED and _hung_up(sock),
    )


def _hung_up(sock: socket.socket) -> bool:
    poll = select.poll()
    poll.register(sock, select.POLLRDHUP)
    return any(events & select.POLLRDHUP for _, events in poll.poll(0))


class Room(Protocol):
    """How a socket gets a port that others have (ports.py)."""

    def only(self, port: int) -> AbstractContextManager[None]: ...

    def aside(self, sock: socket.socket, host: str, port: int) -> AbstractContextManager[None]: ...


def restore(sock: socket.socket, image: Checkpoint, room: Room) -> None:
    """Rebuilds the connection on `sock`, which is in repair mode, between `image.local` and `image.remote`.

    Ends in ESTABLISHED with repair off and nothing sent; the rest is `ending.resume`'s.  May be called again after it
    was interrupted anywhere.
    """
    tcp = socket.IPPROTO_TCP
    disconnect(sock)
    sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)  # else the program finds ECONNABORTED there
    locked = sock.getsockname()[0] not in ("0.0.0.0", "::")
    sock.setsockopt(tcp, TCP_REPAIR, REPAIR_ON)
    recv_start = seq.add(image.recv_end, -len(image.recv_data))
    for queue, number in ((RECV_QUEUE, recv_start), (SEND_QUEUE, image.send_start)):
        sock.setsockopt(tcp, TCP_REPAIR_QUEUE, queue)
        sock.setsockopt(tcp, TCP_QUEUE_SEQ, _signed(number))
    sock.setsockopt(tcp, TCP_REPAIR_QUEUE, NO_QUEUE)
    _bind(sock, image, locked, room)
    sock.setsockopt(tcp, socket.TCP_MAXSEG, image.mss_clamp)  # a repaired socket would start from 536
    sock.connect(image.remote)
    sock.setsockopt(tcp, socket.TCP_MAXSEG, 0)
    options = struct.pack("=II", OPTION_MSS, image.mss_clamp)
    if image.window_scaling:
        options += struct.pack("=II", OPTION_WINDOW, image.snd_wscale | image.rcv_wscale << 16)
    if image.sack:
        options += struct.pack("=II", OPTION_SACK, 0)
    if image.timestamps:
        options += struct.pack("=II", OPTION_TIMESTAMP, 0)
    sock.setsockopt(tcp, TCP_REPAIR_OPTIONS, options)
    if image.timestamps:
        sock.setsockopt(tcp, TCP_TIMESTAMP, _signed(image.timestamp))
    _write(sock, RECV_QUEUE, image.recv_data)
    # The window that we have offered ends where it did, also where our ACK of the peer's FIN is taken back for now.
    beyond = max(0, seq.diff(image.rcv_wup, image.recv_end))
    rcv_wnd, rcv_wup = image.rcv_wnd + beyond, seq.add(image.rcv_wup, -beyond)
    window = _WINDOW.pack(image.rcv_nxt, image.snd_wnd, max(image.max_window, image.snd_wnd), rcv_wnd, rcv_wup)
    sock.setsockopt(tcp, TCP_REPAIR_WINDOW, window)
    if sock.getsockname()[:2] != image.local:
        raise CannotCarry(f"the kernel bound it to {sock.getsockname()[0]}, not to {image.local[0]}")
    leave(sock)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, image.reuse_address)
    if image.window_clamp:
        sock.setsockopt(tcp, socket.TCP_WINDOW_CLAMP, image.window_clamp)


def send_again(sock: socket.socket, image: Checkpoint, done: int = 0) -> None:
    """Hands `image.send_data`, from byte `done` on, to the rebuilt socket: the kernel sends it as new data, by its
    initial window."""
    hand_over(sock, image, memoryview(image.send_data)[done:])


def hand_over(sock: socket.socket, image: Checkpoint, view: memoryview, flags: int = 0) -> None:
    """Writes all of `view` to the send queue, which is made to take it; `flags` of send(2)."""
    raised = False
    while view:
        try:
            view = view[sock.send(view[:_CHUNK], flags | socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL) :]
        except BlockingIOError:
            if raised:
                raise CannotCarry(f"{len(view)} bytes do not fit the send buffer") from None
            raised = True
            sock.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 2 * len(image.send_data) + image.send_buffer)
    if raised:
        sock.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, image.send_buffer // 2)
        sock.setsockopt(socket.SOL_SOCKET, SO_BUF_LOCK, image.buffer_locks)


def _signed(number: int) -> int:
    return number - (1 << 32) if number >= 1 << 31 else number


def disconnect(sock: socket.socket) -> None:
    """Closes a socket in repair mode without a word to the peer; its descriptors stay."""
    if _libc.connect(sock.fileno(), bytes(16), 16):  # Python's connect() knows no AF_UNSPEC
        number = ctypes.get_errno()
        raise CannotCarry(f"cannot disconnect: {errno.errorcode.get(number, number)}")


def _bind(sock: socket.socket, image: Checkpoint, locked: bool, room: Room) -> None:
    host, port = image.local
    sock.setsockopt(socket.SOL_SOCKET, SO_BINDTOIFINDEX, image.device)  # where an earlier try was interrupted
    if not locked:
        # The address stays open: connect takes it from the route, now and at every later move.
        try:
            sock.bind(("::" if image.family == socket.AF_INET6 else "0.0.0.0", port))
        except OSError as error:
            if error.errno != errno.EINVAL:  # EINVAL: the port is still bound from the last time
                raise CannotCarry(f"cannot bind port {port}: {error.strerror}") from error
        return
    sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 0)
    try:
        if image.family == socket.AF_INET:
            with room.only(port):
                sock.bind((_nobodys_address(), 0))
        else:
            with room.aside(sock, host, port), room.only(port):
                sock.bind(("::", 0))
    except OSError as error:
        if error.errno == errno.EINVAL and _is_nobodys(sock.getsockname()[0], host):
            return  # address and port are still bound from before, and right
        if error.errno != errno.EADDRINUSE:
            raise CannotCarry(f"its program bound an address that cannot be changed: {error.strerror}") from error
        # No program holds who has the port too: in TIME_WAIT, or not accepted yet.  In repair mode the kernel does not
        # ask who has an explicit port; the price is a lock on it, and that this was the last address of its own.
        sock.bind((host, port))


def _is_nobodys(bound: str, host: str) -> bool:
    return bound == host or ("." in host and bound.startswith("239."))


def _nobodys_address() -> str:
    """A multicast address that no other socket has: bound to it, a socket shares its port with a listener or with
    siblings, and the kernel still takes the source of a connection from the route."""
    return f"239.{secrets.randbelow(256)}.{secrets.randbelow(256)}.{1 + secrets.randbelow(254)}"


def _write(sock: socket.socket, queue: int, data: bytes) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_QUEUE, queue)
    view = memoryview(data)
    while view:
        try:
            view = view[sock.send(view[:_CHUNK], socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL) :]
        except BlockingIOError as error:
            raise CannotCarry(f"{len(view)} received bytes do not fit the receive buffer") from error
    sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_QUEUE, NO_QUEUE)
