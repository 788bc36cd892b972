"""Keeps connections to an echo server, and talks on all of them when it is told to.

    python -m benchmarks.programs.caller ADDRESS PORT COUNT

Each line of its input is a number of bytes.  It sends so many on each connection, each its own random ones, waits for
all of them to come back, and answers on how many connections they came back unchanged.  Connections on which nothing
comes back while none of the others has anything to say either are given up after a minute.
"""

from __future__ import annotations

import os
import resource
import selectors
import socket
import sys
from typing import cast

DESCRIPTORS = 8192
STALLED_SECONDS = 60.0


class Caller:
    def __init__(self, address: str, port: int, count: int) -> None:
        self._selector = selectors.DefaultSelector()
        self._sockets: list[socket.socket] = []
        for _ in range(count):
            sock = socket.create_connection((address, port))
            self._selector.register(sock, selectors.EVENT_READ)
            self._sockets.append(sock)

    def exchange(self, size: int) -> int:
        """On how many connections the bytes came back; a connection that failed counts no more."""
        wanted: dict[socket.socket, bytes] = {}
        got: dict[socket.socket, bytearray] = {}
        for sock in list(self._sockets):
            data = os.urandom(size)
            try:
                sock.sendall(data)
            except OSError:
                self._forget(sock)
                continue
            wanted[sock], got[sock] = data, bytearray()
        waiting = set(wanted)
        while waiting:
            ready = self._selector.select(STALLED_SECONDS)
            if not ready:
                for sock in waiting:
                    self._forget(sock)
                break
            for key, _ in ready:
                sock = cast(socket.socket, key.fileobj)
                try:
                    data = sock.recv(65536)
                except OSError:
                    data = b""
                if data:
                    got.setdefault(sock, bytearray()).extend(data)
                else:
                    self._forget(sock)
                if not data or len(got[sock]) >= len(wanted.get(sock, b"")):
                    waiting.discard(sock)
        return sum(got[sock] == data for sock, data in wanted.items())

    def _forget(self, sock: socket.socket) -> None:
        self._selector.unregister(sock)
        self._sockets.remove(sock)
        sock.close()


def main() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    caller = Caller(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    print("ready", flush=True)
    for line in sys.stdin:
        print(caller.exchange(int(line)), flush=True)


if __name__ == "__main__":
    main()
