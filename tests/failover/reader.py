"""A plain client that does what it is told, one line at a time; it knows nothing of Migrate.

connect(address, port, receive buffer)   send(number, hex)   read(number, count)   rest(number)   end(number)
"""

from __future__ import annotations

import hashlib
import json
import socket
import sys
from typing import Any

socks: list[socket.socket] = []


def connect(address: str, port: int, buffer: int = 0) -> int:
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    if buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    sock.settimeout(60)
    sock.connect((address, port))
    socks.append(sock)
    return len(socks) - 1


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


def end(number: int) -> int:
    socks[number].close()
    return number


for line in sys.stdin:
    name, *arguments = json.loads(line)
    try:
        answer: Any = globals()[name](*arguments)
    except OSError as error:
        answer = f"{type(error).__name__}: {error.strerror or error}"
    print(json.dumps(answer), flush=True)
