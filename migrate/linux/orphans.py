"""Sockets that their program has closed with data still to be sent.  No process has a descriptor of such a socket, so
TCP_REPAIR cannot reach it: it is read from the kernel (bpf/orphan.bpf.c), built anew at the new address pair, and
the old one ended by a RST that only this host sees.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import struct
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from ipaddress import ip_address

from migrate.core import ACK, RST, FourTuple, Segment, TcpState, seq
from migrate.linux import ending, libbpf, repair
from migrate.linux.maps import Address
from migrate.linux.queues import MISSED, Queues
from migrate.linux.repair import FIN_SENT, CannotCarry, Checkpoint, Room
from migrate.linux.sockdiag import Lookup
from migrate.linux.source_rule import at_hand

_PROOF_BYTES = 200_000

Feed = Callable[[Segment], None]


class Orphans:
    """Loaded once; reads in the network namespace of the calling thread."""

    def __init__(self) -> None:
        """Raises `libbpf.BpfError` where this kernel does not let the queues be read, or reads something else."""
        self.queues = Queues("orphan.bpf.o", "orphans", numbers=18)
        if not self._proves_true():
            raise libbpf.BpfError(0, "the queues are not where this kernel should have them")

    def __call__(self, pair: FourTuple) -> Checkpoint:
        """What is to be built anew elsewhere.  Raises `CannotCarry`, also where a program still may get the socket."""
        numbers, data = self._read(pair)
        if numbers is None:
            raise CannotCarry("no program holds its socket")
        state, missed = numbers[3], numbers[MISSED]
        if state not in FIN_SENT:
            raise CannotCarry("its program has not accepted it yet")
        snd_una, write_seq, rcv_nxt = numbers[4:7]
        outstanding = seq.diff(write_seq, snd_una)
        if missed or len(data) != max(0, outstanding - 1):
            raise CannotCarry(f"{len(data)} of {outstanding - 1} bytes of a closed socket could be read")
        return _checkpoint(pair, numbers, data, TcpState(state), snd_una, rcv_nxt, fin_acknowledged=not outstanding)

    def _read(self, pair: FourTuple) -> tuple[tuple[int, ...] | None, bytes]:
        """The numbers of bpf/orphan.bpf.c's `struct wish`, and the bytes from snd_una on."""
        queue = self.queues.read([pair])[pair]
        if not queue.numbers[3]:
            return None, b""
        return queue.numbers, _in_order((seq.diff(number, queue.numbers[4]), piece) for number, piece in queue.pieces)

    def _proves_true(self) -> bool:
        """Reads the queues of a connection of our own, over the loopback interface, whose content we know."""
        with socket.socket() as listener, socket.socket() as sender:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            listener.bind(("127.0.0.1", 0))
            listener.listen(1)
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * _PROOF_BYTES)
            sender.connect(listener.getsockname())
            content = secrets.token_bytes(_PROOF_BYTES)
            sent = sender.send(content, socket.MSG_DONTWAIT)
            (local, local_port), (remote, remote_port) = sender.getsockname(), sender.getpeername()
            _, data = self._read(FourTuple(ip_address(local), local_port, ip_address(remote), remote_port))
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # no TIME_WAIT
        return len(data) > _PROOF_BYTES // 4 and content[:sent].endswith(data)


def _in_order(pieces: Iterable[tuple[int, bytes]]) -> bytes:
    """The bytes from 0 on, up to the first hole; pieces may overlap, or begin before 0."""
    data = bytearray()
    for start, piece in sorted(pieces):
        if start > len(data):
            break
        data += piece[len(data) - start :]
    return bytes(data)


def _checkpoint(
    pair: FourTuple,
    numbers: tuple[int, ...],
    data: bytes,
    state: TcpState,
    snd_una: int,
    rcv_nxt: int,
    fin_acknowledged: bool,
) -> Checkpoint:
    snd_wl1, snd_wnd, max_window, rcv_wnd, rcv_wup, tsoffset, mss_clamp, options, snd_wscale, rcv_wscale = numbers[8:]
    return Checkpoint(
        # Nobody has a descriptor of it: an IPv4 connection of an IPv6 socket need not be one any more.
        family=socket.AF_INET if pair.local_ip.version == 4 else socket.AF_INET6,
        local=(str(pair.local_ip), pair.local_port),
        remote=(str(pair.remote_ip), pair.remote_port),
        state=state,
        snd_una=snd_una,
        rcv_nxt=rcv_nxt,
        send_data=data,
        recv_data=b"",
        snd_wl1=snd_wl1,
        snd_wnd=snd_wnd,
        max_window=max_window,
        rcv_wnd=rcv_wnd,
        rcv_wup=rcv_wup,
        mss_clamp=mss_clamp,
        options=options,
        snd_wscale=snd_wscale,
        rcv_wscale=rcv_wscale,
        # TSvals count milliseconds of CLOCK_MONOTONIC, from an offset of the connection's own.
        timestamp=(time.monotonic_ns() // 1_000_000 + tsoffset) & 0xFFFFFFFF,
        reuse_address=0,
        window_clamp=0,
        send_buffer=0,
        buffer_locks=0,
        fin_acknowledged=fin_acknowledged,
    )


def rebuild(image: Checkpoint, pair: FourTuple, ports: Room, feed: Feed) -> None:
    """A socket at `pair` with all that `image` has, and nobody's again; it says nothing before `release`: it believes
    that its peer's window is closed.  Raises `CannotCarry`; nothing is left then."""
    silent = replace(image, snd_wnd=0)
    with socket.socket(image.family, socket.SOCK_STREAM) as sock:
        silent.send_buffer = sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        repair.enter(sock)
        repair.restore(sock, silent, ports)
        try:
            ending.resume(sock, silent, pair, feed)
        except CannotCarry:
            repair.enter(sock)  # closing it now says nothing
            raise


def release(image: Checkpoint, pair: FourTuple, feed: Feed) -> None:
    """From now on it sends: it hears of its peer's window."""
    window = min(0xFFFF, image.snd_wnd >> (image.snd_wscale if image.window_scaling else 0))
    feed(_from_peer(pair, ACK, image.rcv_nxt, image.snd_una, window))


def end(pair: FourTuple, rcv_nxt: int, feed: Feed, lookup: Lookup) -> None:
    """Ends a socket that nobody holds; its peer hears nothing of it.  Its address may have gone: what is fed reaches it
    all the same.  Raises `CannotCarry` where it does not end."""
    deadline = time.monotonic() + ending.PATIENCE_SECONDS
    with contextlib.nullcontext() if _is_ours(pair.local_ip) else at_hand(pair.local_ip):
        while _is_there(lookup, pair):
            feed(_from_peer(pair, RST, rcv_nxt, 0, 0))
            if time.monotonic() > deadline and _is_there(lookup, pair):  # however late it is, it has heard it once
                raise CannotCarry("its closed socket does not end")


def _is_there(lookup: Lookup, pair: FourTuple) -> bool:
    entry = lookup(pair)
    return entry is not None and entry.state != TcpState.TIME_WAIT


def _is_ours(address: Address) -> bool:
    with socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((str(address), 0))
        except OSError:
            return False
    return True


def _from_peer(pair: FourTuple, flags: int, number: int, ack: int, window: int) -> Segment:
    return Segment(pair.remote_ip, pair.remote_port, pair.local_ip, pair.local_port, flags, number, ack, window)
