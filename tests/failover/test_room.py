"""Room in the unix socket between a server and its wedge: at the server's end, whichever of its processes has that."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

from migrate.failover.room import LARGE, SIZE, Rooms
from tests.failover.house import OUT, House, Reader, house, until
from tests.topologies.inside import in_sandbox

# As nginx: one process listens, goes into the background perhaps, and makes those that accept.
SERVER = """
import os, signal, socket, sys
path, workers, background = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "True"
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen()
print("listens", flush=True)
if background and os.fork():
    os._exit(0)
if not workers or any(not os.fork() for _ in range(workers)):
    kept = []
    while True:
        end, _ = listener.accept()
        kept.append(end)
        print("accepted", flush=True)
        while said := end.recv(1):
            print(end.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF), flush=True)
            if said == b"n":
                break
signal.pause()
"""


@contextmanager
def server(path: Path, workers: int, background: bool = False) -> Iterator[IO[str]]:
    """What it says: that it has accepted a connection, and for each byte how large the buffer at its end is.  Another
    connection is accepted after an "n"."""
    words: list[str | Path] = [sys.executable, "-I", "-c", SERVER, path, str(workers), str(background)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "listens\n"
        if background:
            process.wait()
        yield process.stdout
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


@contextmanager
def connected(path: Path, said: IO[str]) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        assert said.readline() == "accepted\n"
        yield sock


def make(rooms: Rooms, sock: socket.socket) -> bool:
    """To the end of all that this leads to; whether it has led to a search."""
    searches: list[Coroutine[Any, Any, None]] = []
    rooms.make(sock, searches.append)
    for search in searches:
        asyncio.run(search)
    return bool(searches)


def size(sock: socket.socket, said: IO[str], word: bytes = b"n") -> int:
    sock.send(word)
    return int(said.readline()) // 2  # the kernel counts its own needs, too


@pytest.mark.kernel
@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("background", [False, True])
def test_it_is_made_at_the_end_of_who_writes(tmp_path: Path, workers: int, background: bool) -> None:
    rooms, path = Rooms(), tmp_path / "socket"
    with server(path, workers, background) as said:
        searches = 0
        for _ in range(10):
            with connected(path, said) as sock:
                searches += make(rooms, sock)
                assert size(sock, said) == SIZE
        assert searches == 1 or workers > 1, "who has been found is looked at first"


@pytest.mark.kernel
def test_the_other_connections_of_a_server_stay_as_they_are(tmp_path: Path) -> None:
    rooms, path = Rooms(), tmp_path / "socket"
    with server(path, 2) as said, connected(path, said) as first, connected(path, said) as second:
        make(rooms, second)
        assert size(first, said, b"?") < SIZE
        assert size(second, said, b"?") == SIZE


@pytest.mark.kernel
def test_none_where_there_is_no_other_end_any_more(tmp_path: Path) -> None:
    one, other = socket.socketpair()
    other.close()
    with one:
        make(Rooms(), one)
    rooms, path = Rooms(), tmp_path / "socket"
    with server(path, 1) as said, connected(path, said) as sock:
        searches: list[Coroutine[Any, Any, None]] = []
        rooms.make(sock, searches.append)
        sock.close()
        for search in searches:
            asyncio.run(search)
        with connected(path, said) as next_one:
            make(rooms, next_one)
            assert size(next_one, said) == SIZE, "what has failed once is not hopeless"


@in_sandbox
def test_nginx_has_it_for_a_large_object_only() -> None:
    with house("sA") as place:
        place.serve("sA")
        place.wedge("sA")
        for length in (LARGE // 2, 2 * LARGE):
            place.file("object", length)
            reader = Reader(place.client)
            number = reader.connect()
            reader.get(number, "object")
            reader.read(number, length // 2)
            if length > LARGE:
                until(lambda: f"tb{2 * SIZE}," in ends(place), "there is room")
            assert "tb" in ends(place)
            assert (f"tb{2 * SIZE}," in ends(place)) is (length > LARGE), ends(place)
            reader("end", number)


def ends(place: House) -> str:
    """nginx's ends of its connections with the wedge."""
    return place.servers["sA"].run(["ss", "-Hxm", "src", str(OUT / "sA" / "nginx.sock")]).stdout
