"""A plain client that does what it is told, one line at a time; it knows nothing of Migrate.

connect(address, port, receive buffer)   send(number, hex)   read(number, count)   rest(number)   end(number)
"""

from __future__ import annotations

import hashlib
import json
import resource
import socket
import sys
from typing import Any

socks: list[socket.socket] = []
fronts: dict[int, bytes] = {}


def connect(address: str, port: int, buffer: int = 0) -> int:
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    if buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    sock.settimeout(60)
    sock.connect((address, port))
    socks.append(sock)
    return len(socks) - 1


def patience(number: int, seconds: float) -> float:
    """How long a read waits for each piece."""
    socks[number].settimeout(seconds)
    return seconds


def send(number: int, data: str) -> int:
    socks[number].sendall(bytes.fromhex(data))
    return len(data) // 2


def read(number: int, count: int) -> str:
    """Exactly so many bytes, or those before the end; hex."""
    found = b""
    while len(found) < count and (piece := socks[number].recv(count - len(found))):
        found += piece
    return found.hex()


def rest(number: int) -> list[Any]:
    """(length, SHA-256) of all until the end."""
    digest, length = hashlib.sha256(), 0
    while piece := socks[number].recv(1 << 20):
        digest.update(piece)
        length += len(piece)
    return [length, digest.hexdigest()]


def many(address: str, port: int, count: int, request: str, first: int) -> int:
    """So many connections, each of which has asked the same and read so many bytes of the answer."""
    for _ in range(count):
        send(connect(address, port, 4096), request)
    for number in range(len(socks) - count, len(socks)):
        fronts[number] = bytes.fromhex(read(number, first))
    return len(socks) - count


def rests(size: int) -> dict[str, int]:
    """What all connections of `many` get of an object of that size: how many have each checksum."""
    found: dict[str, int] = {}
    for number, front in fronts.items():
        try:
            length = front.index(b"\r\n\r\n") + 4 + size
            stream = front + bytes.fromhex(read(number, length - len(front)))
            digest = hashlib.sha256(stream.partition(b"\r\n\r\n")[2]).hexdigest()
        except OSError as error:
            digest = f"{type(error).__name__}: {error.strerror or error}"
        found[digest] = found.get(digest, 0) + 1
    return found


def end(number: int) -> int:
    socks[number].close()
    return number


resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
for line in sys.stdin:
    name, *arguments = json.loads(line)
    try:
        answer: Any = globals()[name](*arguments)
    except OSError as error:
        answer = f"{type(error).__name__}: {error.strerror or error}"
    print(json.dumps(answer), flush=True)
