"""The kernel's tables over netlink(7), as bytes: the messages of interest are small and of fixed layout, and the daemon
reads and writes them while a connection stands still."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR = 0x1, 0x4, 0x300, 0x10
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE = 0x100, 0x200, 0x400
NLMSG_ERROR, NLMSG_DONE = 2, 3

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_NUMBER = struct.Struct("=i")
_TYPE_MASK = 0x3FFF  # the two upper bits say how the value is to be read


class Netlink:
    """A socket for questions to one netlink family, in the network namespace in which it is made."""

    def __init__(self, protocol: int) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)

    def dump(self, kind: int, request: bytes) -> list[bytes]:
        """The bodies of all messages that answer; a table that changed meanwhile is read again.

        Raises OSError where the kernel refuses."""
        while True:
            self._send(kind, request, NLM_F_REQUEST | NLM_F_DUMP)
            found: list[bytes] = []
            changed = done = False
            while not done:
                for kind_, flags, body in _messages(self._socket.recv(1 << 16)):
                    changed |= bool(flags & NLM_F_DUMP_INTR)
                    if kind_ == NLMSG_DONE:
                        done = True
                    else:
                        found.append(body)
            if not changed:
                return found

    def get(self, kind: int, request: bytes) -> list[bytes]:
        """The answer to a question for one thing.  Raises OSError where the kernel has none."""
        self._send(kind, request, NLM_F_REQUEST)
        return [body for _, _, body in _messages(self._socket.recv(1 << 16))]

    def change(self, kind: int, request: bytes, flags: int = 0) -> None:
        """Has the kernel do something.  Raises OSError where it refuses."""
        self._send(kind, request, NLM_F_REQUEST | NLM_F_ACK | flags)
        list(_messages(self._socket.recv(1 << 16)))

    def _send(self, kind: int, request: bytes, flags: int) -> None:
        self._socket.send(_HEADER.pack(_HEADER.size + len(request), kind, flags, 1, 0) + request)

    def close(self) -> None:
        self._socket.close()


def _messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Type, flags and body of each message of a datagram."""
    at = 0
    while at < len(data):
        length, kind, flags, _, _ = _HEADER.unpack_from(data, at)
        body = data[at + _HEADER.size : at + length]
        if kind == NLMSG_ERROR:
            if number := -_NUMBER.unpack_from(body)[0]:
                raise OSError(number, f"netlink: {os.strerror(number)}")
        else:
            yield kind, flags, body
        at += (length + 3) & ~3


def kinds(data: bytes) -> Iterator[int]:
    """The type of each message of a datagram."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, _, _, _ = _HEADER.unpack_from(data, at)
        yield kind
        at += (max(length, _HEADER.size) + 3) & ~3


def attributes(body: bytes, at: int) -> dict[int, bytes]:
    """The attributes from byte `at` of a message on, by type."""
    found = {}
    while at + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, at)
        found[kind & _TYPE_MASK] = body[at + _ATTRIBUTE.size : at + length]
        at += max(4, (length + 3) & ~3)
    return found


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute of a message, filled up to whole words."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)
