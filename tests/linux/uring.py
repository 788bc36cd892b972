"""A program that receives by io_uring: `python -I uring.py ADDRESS PORT HOW COUNT`.

It connects, has a receive in flight before there is anything to receive, says "waiting", and then what each of COUNT
receives gave: the data, or the number of its error; then it does nothing until its input ends.  HOW is one of `WAYS`.
Needs nothing but Python's library."""

from __future__ import annotations

import ctypes
import mmap
import socket
import struct
import sys

SETUP, ENTER = 425, 426  # numbers of the system calls, on every machine
OP_RECV, ENTER_GETEVENTS = 27, 1
OFF_SQ_RING, OFF_SQES = 0, 0x10000000
_PARAMETERS = struct.Struct("=10I10I10I")  # struct io_uring_params: ten numbers, then where the rings' fields are
_SQE = struct.Struct("=BBHiQQIIQ24x")
_CQE = struct.Struct("=QiI")
SHARES_A_MAP = 1
_ASYNC, _WAITALL = 1 << 4, 0x100  # IOSQE_ASYNC: by a thread of the kernel's; MSG_WAITALL
WAYS = {"polled": (0, 0, 1 << 16), "threaded": (_ASYNC, 0, 1 << 16), "whole": (0, _WAITALL, 20)}
"""Flags of the request and of the receive, and for how many bytes."""
_libc = ctypes.CDLL(None, use_errno=True)


class Ring:
    """One request at a time."""

    def __init__(self) -> None:
        raw = ctypes.create_string_buffer(_PARAMETERS.size)
        self._fd = _libc.syscall(SETUP, 4, raw)
        assert self._fd >= 0, "no io_uring here"
        numbers = _PARAMETERS.unpack(raw.raw)
        entries, slots, features = numbers[0], numbers[1], numbers[5]
        assert features & SHARES_A_MAP
        self._sq, self._cq = numbers[10:20], numbers[20:30]
        size = max(self._sq[6] + 4 * entries, self._cq[5] + _CQE.size * slots)
        self._ring = mmap.mmap(self._fd, size, offset=OFF_SQ_RING)
        self._sqes = mmap.mmap(self._fd, 64 * entries, offset=OFF_SQES)
        self._buffer = ctypes.create_string_buffer(1 << 16)

    def _number(self, at: int) -> int:
        return int(struct.unpack_from("=I", self._ring, at)[0])

    def start(self, sock: socket.socket, how: str) -> None:
        flags, receive_flags, most = WAYS[how]
        tail, mask = self._number(self._sq[1]), self._number(self._sq[2])
        place = tail & mask
        address = ctypes.addressof(self._buffer)
        self._sqes[64 * place : 64 * place + 64] = _SQE.pack(
            OP_RECV, flags, 0, sock.fileno(), 0, address, most, receive_flags, 7
        )
        struct.pack_into("=I", self._ring, self._sq[6] + 4 * place, place)
        struct.pack_into("=I", self._ring, self._sq[1], tail + 1)
        assert _libc.syscall(ENTER, self._fd, 1, 0, 0, None, 0) == 1

    def wait(self) -> bytes | int:
        """What was received, or the number of an error, negative."""
        head = self._number(self._cq[0])
        while self._number(self._cq[1]) == head:
            _libc.syscall(ENTER, self._fd, 0, 1, ENTER_GETEVENTS, None, 0)
        at = self._cq[5] + _CQE.size * (head & self._number(self._cq[2]))
        result = int(_CQE.unpack_from(self._ring, at)[1])
        struct.pack_into("=I", self._ring, self._cq[0], head + 1)
        return self._buffer.raw[:result] if result >= 0 else result


def main() -> None:
    address, port, how, count = sys.argv[1:]
    ring = Ring()
    sock = socket.create_connection((address, int(port)))
    for number in range(int(count)):
        ring.start(sock, how)
        if number == 0:
            print("waiting", flush=True)
        print(ring.wait(), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
