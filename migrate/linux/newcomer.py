"""A socket for a connection in which this host was no end point: built by TCP_REPAIR from what a replica knows of it.

The descriptor is a program's own, of a socket that it has made and not used.  Its port is reserved before the peer is
asked; all else is done once the peer has said where the streams stand.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import NoReturn

from migrate.core import FourTuple, TcpState
from migrate.linux import repair
from migrate.linux.repair import CannotCarry, Checkpoint

_SMALLEST_MSS, _LARGEST_MSS, _LARGEST_SCALE = 48, 65495, 14
_UNSCALED_WINDOW = 65535


@dataclass(frozen=True, slots=True)
class Terms:
    """What the first handshake negotiated: bytes of a segment without options; by how many bits the peer's windows and
    our own are shifted, None without window scaling; and selective acknowledgements.  Never timestamps: they would be
    another machine's."""

    mss: int
    snd_wscale: int | None
    rcv_wscale: int | None
    sack: bool

    def __post_init__(self) -> None:
        """Raises ValueError for what no handshake negotiates."""
        if not _SMALLEST_MSS <= self.mss <= _LARGEST_MSS:
            raise ValueError(f"no connection has a maximum segment size of {self.mss}")
        if (self.snd_wscale is None) != (self.rcv_wscale is None):
            raise ValueError("window scaling is for both directions or for none")
        if any(scale is not None and not 0 <= scale <= _LARGEST_SCALE for scale in (self.snd_wscale, self.rcv_wscale)):
            raise ValueError(f"window scales are 0 to {_LARGEST_SCALE}: {self.snd_wscale}, {self.rcv_wscale}")


def reserve(sock: socket.socket) -> int:
    """Gives an unused socket a port of its own; the port.  The address stays open: `build` and later moves take it
    from the route.  Raises `CannotCarry`."""
    if sock.type != socket.SOCK_STREAM or sock.proto not in (0, socket.IPPROTO_TCP):
        raise CannotCarry("it is no TCP socket")
    if repair.state(sock) != TcpState.CLOSE or sock.getsockname()[1]:
        raise CannotCarry("the socket has been used already")
    try:
        sock.bind(("::" if sock.family == socket.AF_INET6 else "0.0.0.0", 0))
    except OSError as error:
        raise CannotCarry(f"no port is free: {error.strerror}") from error
    return int(sock.getsockname()[1])


def build(sock: socket.socket, pair: FourTuple, terms: Terms, snd_nxt: int, rcv_nxt: int, window: int) -> Checkpoint:
    """Connects a socket of `reserve` between the ends of `pair`; nothing is sent.

    `snd_nxt`, `rcv_nxt`: as the peer said them; `window`: its own, in bytes.  Returns what segment 7 is made of.
    Raises `CannotCarry` or OSError; the socket is of no use then."""
    image = _image(sock, pair, terms, snd_nxt, rcv_nxt, window)
    repair.enter(sock)
    repair.restore(sock, image, _NoRoom())
    return image


class _NoRoom:
    """`reserve` has seen to the port, and bound no address: nobody needs to make room."""

    def only(self, port: int) -> NoReturn:
        raise CannotCarry("the socket is bound to an address")

    def aside(self, sock: socket.socket, host: str, port: int) -> NoReturn:
        raise CannotCarry("the socket is bound to an address")


def _image(sock: socket.socket, pair: FourTuple, terms: Terms, snd_nxt: int, rcv_nxt: int, window: int) -> Checkpoint:
    # What the kernel offers on a new connection: half of the buffer, in whole segments.
    room = min(_UNSCALED_WINDOW, sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2)
    scaled = terms.snd_wscale is not None
    return Checkpoint(
        family=sock.family,
        local=(str(pair.local_ip), pair.local_port),
        remote=(str(pair.remote_ip), pair.remote_port),
        state=TcpState.ESTABLISHED,
        snd_una=snd_nxt,
        rcv_nxt=rcv_nxt,
        send_data=b"",
        recv_data=b"",
        snd_wl1=rcv_nxt,
        snd_wnd=window,
        max_window=window,
        rcv_wnd=max(room - room % terms.mss, terms.mss),
        rcv_wup=rcv_nxt,
        mss_clamp=terms.mss,
        options=2 * terms.sack | 4 * scaled,
        snd_wscale=terms.snd_wscale or 0,
        rcv_wscale=terms.rcv_wscale or 0,
        timestamp=0,
        reuse_address=sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR),
        window_clamp=0,
        send_buffer=sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF),
        buffer_locks=0,
    )
