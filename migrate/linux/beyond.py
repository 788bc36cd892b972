"""What sockets hold beyond a hole, read from the kernel (bpf/ooo.bpf.c): TCP_REPAIR does not show it.

It is an extra.  Where the kernel does not let it be read, out-of-order data is dropped in a rebind, and the peer
sends it again.
"""

from __future__ import annotations

import contextlib
import ctypes
import secrets
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from migrate.core import FourTuple, seq
from migrate.linux import libbpf
from migrate.linux.queues import MISSED, Queues

_SO_ATTACH_FILTER = 26
_PROOF_BYTES = 20_000  # several page fragments


@dataclass(frozen=True, slots=True)
class Beyond:
    """One socket's out-of-order queue: pieces in rising order without overlap, each (first sequence number, bytes).

    `missed`: bytes that were there and could not be read."""

    pieces: tuple[tuple[int, bytes], ...]
    missed: int


class OutOfOrder:
    """Loaded once; reads in the network namespace of the calling thread."""

    def __init__(self) -> None:
        """Raises `libbpf.BpfError` where this kernel does not let the queues be read, or reads something else."""
        self.queues = Queues("ooo.bpf.o", "beyond", numbers=4)
        if not self._proves_true():
            raise libbpf.BpfError(0, "it is not where this kernel should have it")

    def __call__(self, pairs: Iterable[FourTuple]) -> dict[FourTuple, Beyond]:
        """The queues of these connections, as far as they are not empty."""
        return {
            pair: Beyond(tuple(merged(queue.pieces)), queue.numbers[MISSED])
            for pair, queue in self.queues.read(pairs).items()
            if queue.pieces or queue.numbers[MISSED]
        }

    def _proves_true(self) -> bool:
        """Reads the queue of a connection of our own, over the loopback interface, whose content we know."""
        content = secrets.token_bytes(_PROOF_BYTES)
        with holding(content) as pair:
            found = self([pair]).get(pair)
        return found is not None and [data for _, data in found.pieces] == [content]


@contextlib.contextmanager
def holding(content: bytes) -> Iterator[FourTuple]:
    """A connection of our own, over the loopback interface, whose receiver holds this beyond a hole."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as sender,
        listener.accept()[0] as receiver,
    ):
        sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _lose_single_bytes(receiver)
        sender.send(b"x")
        sender.sendall(content)
        (local, local_port), (remote, remote_port) = receiver.getsockname(), receiver.getpeername()
        yield FourTuple(ip_address(local), local_port, ip_address(remote), remote_port)
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # no TIME_WAIT


def _lose_single_bytes(sock: socket.socket) -> None:
    """A segment with a header of 32 bytes and one byte of data is as good as lost on the way (a classic BPF filter)."""
    load_length, equals_33, drop, accept = (0x80, 0, 0, 0), (0x15, 0, 1, 33), (6, 0, 0, 0), (6, 0, 0, 0x40000)
    program = b"".join(struct.pack("=HBBI", *one) for one in (load_length, equals_33, drop, accept))
    room = ctypes.create_string_buffer(program)
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HxxxxxxP", 4, ctypes.addressof(room)))


def merged(pieces: Iterable[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """The same bytes in rising order of sequence number, neighbours joined, each byte once."""
    given = list(pieces)
    if not given:
        return []
    origin = given[0][0]
    result: list[tuple[int, bytearray]] = []
    for number, data in sorted(given, key=lambda one: seq.diff(one[0], origin)):
        if result:
            first, last = result[-1]
            gap = seq.diff(number, seq.add(first, len(last)))
            if gap <= 0:
                last += data[-gap:]
                continue
        result.append((number, bytearray(data)))
    return [(number, bytes(data)) for number, data in result]
