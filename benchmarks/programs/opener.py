"""Opens connections, uses each for one byte, and closes it: as fast as it goes, several at a time.

    python -m benchmarks.programs.opener serve ADDRESS PORT
    python -m benchmarks.programs.opener open ADDRESS PORT

The second reads a number of seconds from each line of its input, opens connections for so long, and answers how many
they were and how many seconds it took.  At `hold` it opens one and keeps it until the next line.  The same loop runs
with and without Migrate.

`AT_ONCE` processes do so at each end.  With one, both processors would stand idle most of the time, and what is
measured were how long a sleeping processor takes to wake up.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from concurrent.futures import ProcessPoolExecutor

BACKLOG = 128
AT_ONCE = 4


def serve(address: str, port: int) -> None:
    with socket.create_server((address, port), backlog=BACKLOG) as listener:
        print("ready", flush=True)
        for _ in range(AT_ONCE - 1):
            if os.fork() == 0:
                break
        while True:
            connection, _ = listener.accept()
            connection.sendall(connection.recv(1))
            connection.recv(1)  # the client closes first, as most do
            connection.close()


def open_one(address: str, port: int) -> socket.socket:
    connection = socket.socket()
    connection.connect((address, port))
    connection.sendall(b"x")
    if connection.recv(1) != b"x":
        raise ConnectionError("the server did not answer with the byte it was sent")
    return connection


def open_for(address: str, port: int, seconds: float) -> tuple[int, float]:
    """How many connections, in how many seconds."""
    count, clock = 0, time.perf_counter
    began = clock()
    end = began + seconds
    while clock() < end:
        open_one(address, port).close()
        count += 1
    return count, clock() - began


def main() -> None:
    role, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if role == "serve":
        serve(address, port)
        return
    held: socket.socket | None = None
    with ProcessPoolExecutor(AT_ONCE) as pool:
        print("ready", flush=True)
        for line in sys.stdin:
            if held is not None:
                held.close()
                held = None
            if line.strip() == "hold":
                held = open_one(address, port)
                print("held", flush=True)
                continue
            running = [pool.submit(open_for, address, port, float(line)) for _ in range(AT_ONCE)]
            done = [one.result() for one in running]
            print(sum(count for count, _ in done), max(seconds for _, seconds in done), flush=True)


if __name__ == "__main__":
    main()
