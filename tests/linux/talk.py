"""A program with plain TCP sockets that does what it is told, one line at a time; it knows nothing of Migrate.

Run on a host by `lab.Talker`, so it needs nothing but Python's library.  Each request is a JSON list, each answer one
line of JSON; a socket's error is answered by its name ("ECONNRESET").  What is sent is one pattern that never repeats
within 16 GiB, so a byte that is lost, doubled or swapped is seen by whoever receives it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import socket
import struct
import sys
import termios
import threading
from typing import Any

WORD = 4
PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "mptcp": socket.IPPROTO_MPTCP}


def pattern(start: int, count: int) -> bytes:
    """Bytes `start` to `start + count` of the endless pattern: each 4-byte word holds its own number."""
    first, last = start // WORD, (start + count + WORD - 1) // WORD
    words = b"".join(number.to_bytes(WORD, "big") for number in range(first, last))
    return words[start - first * WORD :][:count]


class Talk:
    """The sockets of this program, by number."""

    def __init__(self) -> None:
        self._listeners: list[socket.socket] = []
        self._sockets: list[socket.socket] = []
        self._sent: dict[int, int] = {}
        self._received: dict[int, int] = {}
        self._threads: dict[int, threading.Thread] = {}

    def _add(self, sock: socket.socket) -> int:
        self._sockets.append(sock)
        number = len(self._sockets) - 1
        self._sent[number] = self._received[number] = 0
        return number

    def listen(self, address: str, port: int, protocol: str = "tcp") -> int:
        """A listener; "" for the address: every address of both IP versions."""
        family = socket.AF_INET6 if ":" in address or not address else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM, PROTOCOLS[protocol])
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(64)
        self._listeners.append(listener)
        return len(self._listeners) - 1

    def accept(self, listener: int = 0) -> int:
        return self._add(self._listeners[listener].accept()[0])

    def connect(self, address: str, port: int, source: str = "", source_port: int = 0, protocol: str = "tcp") -> int:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM, PROTOCOLS[protocol])
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source or source_port:
            sock.bind((source, source_port))
        sock.connect((address, port))
        return self._add(sock)

    def names(self, number: int) -> list[Any]:
        """Own address and port, the peer's address and port."""
        sock = self._sockets[number]
        return [*sock.getsockname()[:2], *sock.getpeername()[:2]]

    def send(self, number: int, count: int) -> int:
        """The next bytes of the pattern, all of them, however long that takes."""
        start = self._sent[number]
        self._sent[number] += count
        self._sockets[number].sendall(pattern(start, count))
        return count

    def fill(self, number: int, most: int) -> int:
        """As many of the next bytes as the kernel takes at once; how many."""
        sock, start = self._sockets[number], self._sent[number]
        sock.setblocking(False)
        try:
            while (sent := self._sent[number] - start) < most:
                self._sent[number] += sock.send(pattern(start + sent, min(1 << 20, most - sent)))
        except BlockingIOError:
            pass
        finally:
            sock.setblocking(True)
        return self._sent[number] - start

    def sent(self, number: int) -> int:
        return self._sent[number]

    def send_meanwhile(self, number: int, count: int) -> int:
        """The same in a thread of its own; `join` waits for it."""
        self._threads[number] = threading.Thread(target=self.send, args=(number, count))
        self._threads[number].start()
        return count

    def join(self, number: int) -> int:
        self._threads.pop(number).join()
        return self._sent[number]

    def receive(self, number: int, count: int) -> str:
        """The next bytes, to be those of the pattern: "right", or where it goes wrong."""
        start, data = self._received[number], bytearray()
        while len(data) < count:
            part = self._sockets[number].recv(count - len(data))
            if not part:
                return f"the stream ends after {start + len(data)} bytes"
            data += part
        self._received[number] += count
        wanted = pattern(start, count)
        if data == wanted:
            return "right"
        wrong = next(at for at, (one, other) in enumerate(zip(data, wanted, strict=True)) if one != other)
        return f"wrong from byte {start + wrong} on"

    def exchange(self, address: str, port: int, times: int) -> list[str]:
        """So many connections one after another, each with a request and a longer answer; their failures."""
        failures = []
        for _ in range(times):
            number = self.connect(address, port)
            self.send(number, 100)
            said = self.receive(number, 5000)
            if said != "right":
                failures.append(said)
            self.close(number)
        return failures

    def serve(self, listener: int, times: int) -> int:
        """The other side of `exchange`, in a thread of its own."""

        def work() -> None:
            for _ in range(times):
                number = self.accept(listener)
                self.receive(number, 100)
                self.send(number, 5000)
                self._sockets[number].recv(1)
                self.close(number)

        threading.Thread(target=work, daemon=True).start()
        return times

    def at_end(self, number: int) -> bool:
        """Waits for what comes next: true if it is the end of the stream."""
        return self._sockets[number].recv(1, socket.MSG_PEEK) == b""

    def state(self, number: int) -> int:
        """The kernel's number of its TCP state."""
        return self._sockets[number].getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]

    def unacknowledged(self, number: int) -> int:
        """Bytes that the peer's kernel has not said that it has."""
        return int(struct.unpack("=i", fcntl.ioctl(self._sockets[number], termios.TIOCOUTQ, bytes(4)))[0])

    def option(self, number: int, level: int, name: int) -> int:
        return self._sockets[number].getsockopt(level, name)

    def set_option(self, number: int, level: int, name: int, value: int) -> int:
        self._sockets[number].setsockopt(level, name, value)
        return value

    def layer(self, number: int, name: str) -> int:
        """One of the kernel's own layers on the socket (TCP_ULP)."""
        self._sockets[number].setsockopt(socket.IPPROTO_TCP, 31, name.encode())
        return number

    def shutdown(self, number: int) -> int:
        self._sockets[number].shutdown(socket.SHUT_WR)
        return number

    def stop_reading(self, number: int) -> int:
        self._sockets[number].shutdown(socket.SHUT_RD)
        return number

    def close(self, number: int) -> int:
        self._sockets[number].close()
        return number


def main() -> None:
    talk = Talk()
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        try:
            answer = getattr(talk, name)(*arguments)
        except OSError as error:
            answer = errno.errorcode.get(error.errno or 0, str(error))
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
