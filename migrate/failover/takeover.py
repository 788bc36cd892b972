"""Taking a connection over, as a program on a replica sees it: requests to the `migrated` of its own host.

    at the server   secrets = await export(pair); options = Options.of(sock)    -> soft state, to the support group
    at a replica    taken = await take_over(secrets, client, options)           -> taken.sock, at taken.position

The client hears a Migrate SYN with Preload from the replica.  Its SYN/ACK says what it has of the stream, and only
then the socket is built, by TCP_REPAIR, on the descriptor that `take_over` has reserved; until then nothing of it
exists that would have to be silenced or taken down.  From there on it is a connection of migrated's like all others: it
can move, follow its client, be exported and be taken over again.

Request numbers.  A take-over asks with the number `secrets.sent + 1`.  The client accepts each number once, so of
several replicas that ask with one number exactly one wins; the others are not answered.  A number may be used up
without a winner, by a replica that died meanwhile: whoever is not answered, and hears of no winner, asks with a larger
one (`secrets.after(1)`).  `Taken.secrets` has the counts of now, for the soft state of the new owner.

A server whose process is killed still has a kernel, which ends its connections by FIN, and the client would take that
for the end of the stream.  With SO_LINGER 0 (on the listener, and on what is taken over) it resets them instead; the
client then waits, as in MIGRATE_WAIT, for 2MSL.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import os
import socket
import struct
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any, Self

from migrate.core import FourTuple, Peer, seq
from migrate.core.segment import Address
from migrate.daemon.control import SOCKET_NAME
from migrate.failover.sockets import ask_when_silent, connect_here, mind
from migrate.linux import repair

_INFO = struct.Struct("=5xBB1x")
_SND_MSS, _NUMBER = 16, struct.Struct("=I")
_INFO_BYTES = 104
_HAS_TIMESTAMPS, _HAS_SACK, _HAS_SCALES = 1, 2, 4
_TIMESTAMP_BYTES = 12
# A migrated that was killed is there again within that.
_RESTART_SECONDS, _PAUSE_SECONDS = 5.0, 0.05
_LINE_BYTES = 1 << 16
_KEPT, _KEPT_SECONDS = 8, 1.0
_kept: dict[socket.socket, asyncio.TimerHandle] = {}
"""Connections to migrated on which nothing is being asked, and what will close them: opening one takes as long as the
answer."""


class Refused(Exception):
    """The connection was not taken over; nothing of the attempt is left.

    `reason` says in one line why.  `unanswered`: nothing is known of what the client says; the connection is another
    replica's by now, or out of reach, or this host's migrated has ended meanwhile.  Ask with a larger number, if at
    all.  `gone`: the client's host has refused by RST, as it would anybody.  Where neither is set the trouble is this
    host's own, and another replica may have none."""

    def __init__(self, reason: str, unanswered: bool = False, gone: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.unanswered, self.gone = reason, unanswered, gone


@dataclass(frozen=True, slots=True)
class Secrets:
    """What proves a take-over to the client.  Whoever has it can take the connection: it travels encrypted only.

    ni, na: first sequence numbers of the original SYN (the client's) and SYN/ACK; k: the secret, 25 bytes; sent: full
    count of the Migrate requests that servers have sent so far; accepted: of those of the client's that were accepted;
    name: the connection's name in the logs of all hosts, 8 hex digits."""

    ni: int
    na: int
    k: bytes
    sent: int
    accepted: int
    name: str

    def after(self, more: int) -> Secrets:
        """The same once `more` further requests have been sent."""
        return replace(self, sent=self.sent + more)


@dataclass(frozen=True, slots=True)
class Options:
    """What the first handshake negotiated.  Timestamps are not among it: they are off after a take-over.

    mss: bytes of a segment without options; snd_wscale, rcv_wscale: of the windows that the client offers and of the
    server's own, in bits, None without window scaling; sack: selective acknowledgements."""

    mss: int
    snd_wscale: int | None
    rcv_wscale: int | None
    sack: bool

    @classmethod
    def of(cls, sock: socket.socket) -> Self:
        """Of a connection that this process has accepted.  Of one that it has taken over they are `Taken.options`: its
        kernel leaves room for timestamps that are not sent."""
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES)
        options, scales = _INFO.unpack_from(info)
        (mss,) = _NUMBER.unpack_from(info, _SND_MSS)
        scaled = bool(options & _HAS_SCALES)
        return cls(
            mss=mss + (_TIMESTAMP_BYTES if options & _HAS_TIMESTAMPS else 0),
            snd_wscale=scales & 15 if scaled else None,
            rcv_wscale=scales >> 4 if scaled else None,
            sack=bool(options & _HAS_SACK),
        )


@dataclass(frozen=True, slots=True)
class Taken:
    """A connection that is this host's now: `sock` is connected and non-blocking, and has sent nothing but segment 7.

    position: offset in the server's stream (0 is its first byte) of the next byte to send, that is, how many bytes the
    client has, and one more if it has a FIN; received: offset in the client's stream of the next byte to receive.  What
    the client has sent beyond that it sends again.  Both modulo 2^32, as TCP counts.
    secrets: with the counts as they are now; options: what it was built with, for the next replica."""

    sock: socket.socket
    position: int
    received: int
    secrets: Secrets
    options: Options


async def export(pair: FourTuple) -> Secrets:
    """The secrets of a connection of this host.  Raises `Refused` where it is none of Migrate's."""
    ends = {
        "local": str(pair.local_ip),
        "local_port": pair.local_port,
        "remote": str(pair.remote_ip),
        "remote_port": pair.remote_port,
    }
    said = await _ask({"do": "export", "connection": ends}, keep=True)
    return _secrets(said)


async def take_over(
    secrets: Secrets, client: Peer, options: Options, *, tries: int = 3, source: Address | None = None
) -> Taken:
    """This host becomes the server of a connection.

    `client`: its present address; `tries`: so many Migrate SYNs go out, after 0, 1, 3, 7... seconds, and then it waits
    as long as it would for the next; `source`: the address to speak from, by default the
    one that the route to the client has.  Cancelling it gives up at once.  Raises `Refused`."""
    family = socket.AF_INET if client.ip.version == 4 else socket.AF_INET6
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        # Before it is connected: this process may be killed while migrated connects it, and migrated then closes it.
        mind(sock)
        ask_when_silent(sock)
        said = await _ask(
            {
                "do": "adopt",
                "ni": secrets.ni,
                "na": secrets.na,
                "k": secrets.k.hex(),
                "sent": secrets.sent,
                "accepted": secrets.accepted,
                "remote": str(client.ip),
                "remote_port": client.port,
                "mss": options.mss,
                "snd_wscale": options.snd_wscale,
                "rcv_wscale": options.rcv_wscale,
                "sack": options.sack,
                "tries": tries,
                "source": None if source is None else str(source),
                "fd": sock.fileno(),
                "inode": os.fstat(sock.fileno()).st_ino,
            },
            _RESTART_SECONDS,
        )
    except BaseException:
        drop(sock)
        raise
    position = seq.add(said["snd_nxt"], -secrets.na - 1)
    received = seq.add(said["rcv_nxt"], -secrets.ni - 1)
    return Taken(sock, position, received, _secrets(said), options)


async def moves() -> AsyncIterator[str]:
    """For ever: the name of each connection of this host that has moved, and "" where any may have: nobody has listened
    to migrated before."""
    while True:
        with contextlib.suppress(OSError, json.JSONDecodeError):
            reader, writer = await asyncio.open_unix_connection(SOCKET_NAME)
            writer.write(b'{"do": "events"}\n')
            yield ""
            while line := await reader.readline():
                event = json.loads(line)
                if event.get("event") == "migrated":
                    yield event["connection"]
            writer.close()
        await asyncio.sleep(1)


def drop(sock: socket.socket) -> None:
    """Closes a socket without a word to its peer: the connection is another host's by now, or never was this one's."""
    with sock:
        # A socket without repair mode is not connected any more, or not yet: closing it says nothing.
        with contextlib.suppress(repair.CannotCarry):
            repair.enter(sock)


def pair_of(sock: socket.socket) -> FourTuple:
    """The present address pair of a connected socket (it follows a client that moves)."""
    local, remote = sock.getsockname(), sock.getpeername()
    return FourTuple(_address(local[0]), local[1], _address(remote[0]), remote[1])


def _address(text: str) -> Address:
    address = ipaddress.ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _secrets(said: dict[str, Any]) -> Secrets:
    return Secrets(said["ni"], said["na"], bytes.fromhex(said["k"]), said["sent"], said["accepted"], said["connection"])


async def _ask(request: dict[str, Any], patience: float = 0.0, *, keep: bool = False) -> dict[str, Any]:
    """The result of a request to this host's migrated, which may take `patience` seconds to be there.  With `keep` the
    connection to it serves the next such request, too, and the request may be said twice.  Raises `Refused`."""
    line, kept = b"", True
    while not line and kept:  # a kept connection may be that of a daemon that has ended since
        kept = keep and bool(_kept)
        sock = _take_kept() if kept else await _connect(patience)
        try:
            line = await _exchange(sock, json.dumps(request).encode() + b"\n")
        finally:
            if line and keep and len(_kept) < _KEPT:
                _kept[sock] = asyncio.get_running_loop().call_later(_KEPT_SECONDS, _let_go, sock)
            else:
                sock.close()
    if not line:
        raise Refused("migrated has ended before it answered", unanswered=True)
    answer = json.loads(line)
    if "error" in answer:
        raise Refused(answer["error"], bool(answer.get("unanswered")), bool(answer.get("gone")))
    result: dict[str, Any] = answer["result"]
    return result


async def _connect(patience: float) -> socket.socket:
    end = time.monotonic() + patience
    while True:
        try:
            return await connect_here(SOCKET_NAME)
        except OSError as error:
            if time.monotonic() >= end:
                raise Refused(f"no migrated serves this host: {error.strerror}", unanswered=True) from error
        await asyncio.sleep(_PAUSE_SECONDS)


def _take_kept() -> socket.socket:
    sock, closing = _kept.popitem()
    closing.cancel()
    return sock


def _let_go(sock: socket.socket) -> None:
    del _kept[sock]
    sock.close()


async def _exchange(sock: socket.socket, request: bytes) -> bytes:
    """The line that answers; b"" where migrated ends before."""
    loop, line = asyncio.get_running_loop(), b""
    with contextlib.suppress(ConnectionError):
        await loop.sock_sendall(sock, request)
        while not line.endswith(b"\n"):
            chunk = await loop.sock_recv(sock, _LINE_BYTES)
            if not chunk:
                return b""
            line += chunk
        return line
    return b""
