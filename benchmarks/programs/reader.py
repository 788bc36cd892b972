"""Clients of an HTTP server that have begun to read an answer, and go on when they are told to.

    python -m benchmarks.programs.reader ADDRESS PORT COUNT NAME SIZE FIRST

Each of COUNT connections has asked for the object NAME of SIZE bytes and read FIRST bytes of the answer; their buffers
are small, so that most of it is still to be sent.  Each line of its input is a SHA-256: it reads all the rest, and
answers how many of the objects have that.
"""

from __future__ import annotations

import contextlib
import hashlib
import resource
import socket
import sys

DESCRIPTORS = 8192
RECEIVE_BUFFER = 4096
STALLED_SECONDS = 60.0


class Client:
    def __init__(self, address: str, port: int, name: str, first: int) -> None:
        self._sock = socket.socket()
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        self._sock.settimeout(STALLED_SECONDS)
        self._sock.connect((address, port))
        self._sock.sendall(f"GET /{name} HTTP/1.1\r\nHost: replicas\r\n\r\n".encode())
        self._first, self._read = first, bytearray()

    def begin(self) -> None:
        self._read_to(self._first)

    def rest(self, size: int) -> str:
        """The SHA-256 of the whole object; "" where it does not come."""
        with self._sock, contextlib.suppress(OSError):
            self._read_to(self._read.index(b"\r\n\r\n") + 4 + size)
        return hashlib.sha256(self._read.partition(b"\r\n\r\n")[2]).hexdigest()

    def _read_to(self, count: int) -> None:
        while len(self._read) < count and (part := self._sock.recv(count - len(self._read))):
            self._read += part


def main() -> None:
    address, port, count, name, size, first = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    clients = [Client(address, int(port), name, int(first)) for _ in range(int(count))]
    for client in clients:
        client.begin()
    print("ready", flush=True)
    for line in sys.stdin:
        print(sum(client.rest(int(size)) == line.strip() for client in clients), flush=True)


if __name__ == "__main__":
    main()
