"""The support group's datagrams: sealed, by UDP, to each member's address or to a multicast group's.

Those to a multicast group pass no router: its members are of one subnet."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from migrate.failover.complaints import Complaints
from migrate.failover.messages import Message, MessageError, pack, parse
from migrate.failover.seal import NotOurs, Opened, Opener, Sealer

BUFFER_BYTES = 4 << 20
COMPLAIN_SECONDS = 10.0
_SO_RCVBUFFORCE = 33
_INTERFACES = Path("/proc/thread-self/net/if_inet6")

Address = tuple[str, int]


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def parse_address(text: str) -> Address:
    """Of ADDRESS:PORT, an IPv6 address in brackets.  Raises ValueError."""
    host, _, port = text.rpartition(":")
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{text} is no ADDRESS:PORT")
    return str(ipaddress.ip_address(host.strip("[]"))), int(port)


class Group:
    """One member's end of it.  Counts what it sends and takes, in datagrams and bytes (UDP payload)."""

    def __init__(
        self, key: bytes, name: str, own: Address | None, members: list[Address], complain: Callable[[str], None]
    ) -> None:
        """`own`: where it listens (None: it only speaks)."""
        self.name = name
        self._sealer, self._opener = Sealer(key, name, now_ms()), Opener(key)
        self._complain = complain
        self._complaints = Complaints(COMPLAIN_SECONDS)
        self.counters: Counter[str] = Counter()
        self._members = [member for member in members if member != own]
        self._sockets = {version: _socket(version) for version in {ipaddress.ip_address(m[0]).version for m in members}}
        self._listening = _listen(own, members) if own else None
        if own and (speaking := self._sockets.get(ipaddress.ip_address(own[0]).version)):
            _speak_from(speaking, own[0])

    def start(self, receive: Callable[[Opened, Message], None]) -> None:
        """`receive` is called with what others say."""
        if self._listening is not None:
            asyncio.get_running_loop().add_reader(self._listening, self._read, receive)

    def close(self) -> None:
        for sock in (*self._sockets.values(), *((self._listening,) if self._listening else ())):
            with contextlib.suppress(RuntimeError, ValueError):
                asyncio.get_running_loop().remove_reader(sock)
            sock.close()

    def say(self, message: Message) -> None:
        """Tells all members, once.  Raises `StateError` where a soft state is too large."""
        datagram = self._sealer.seal(pack(message), now_ms())
        for member in self._members:
            try:
                self._sockets[ipaddress.ip_address(member[0]).version].sendto(datagram, member)
            except OSError as error:  # it is down, or the network is: it will hear the next one
                self._note(f"cannot tell {member[0]}: {error.strerror}")
                continue
            self.counters["datagrams sent"] += 1
            self.counters["bytes sent"] += len(datagram)

    def _read(self, receive: Callable[[Opened, Message], None]) -> None:
        assert self._listening is not None
        for _ in range(64):
            try:
                datagram, source = self._listening.recvfrom(65535)
            except OSError:
                return
            try:
                opened = self._opener.open(datagram, now_ms())
                if opened.sender == self.name:
                    continue  # our own, from the multicast group
                message = parse(opened.body)
            except (NotOurs, MessageError) as error:
                self.counters["refused"] += 1
                self._note(f"refused a datagram from {source[0]}: {error}")
                continue
            self.counters["datagrams received"] += 1
            self.counters["bytes received"] += len(datagram)
            receive(opened, message)

    def _note(self, sentence: str) -> None:
        """Each complaint is made once in a while."""
        if self._complaints.due(sentence):
            self._complain(sentence)


def _socket(version: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
    sock.setblocking(False)
    return sock


def _listen(own: Address, members: list[Address]) -> socket.socket:
    """Bound to the own address, or to all of them where the group has a multicast address, which is then joined."""
    joined = [address for address, _ in members if ipaddress.ip_address(address).is_multicast]
    version = ipaddress.ip_address(own[0]).version
    sock = _socket(version)
    with contextlib.suppress(PermissionError):
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, BUFFER_BYTES)
    if joined:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("" if joined else own[0], own[1]))
    for address in joined:
        packed = ipaddress.ip_address(address).packed
        if version == 4:
            joining = packed + ipaddress.ip_address(own[0]).packed
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, joining)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, packed + struct.pack("=i", _interface(own[0])))
    return sock


def _speak_from(sock: socket.socket, own: str) -> None:
    """To a multicast group it speaks where it listens, whatever the routes are."""
    if sock.family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, ipaddress.ip_address(own).packed)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, _interface(own))


def _interface(own: str) -> int:
    """The index of the interface with this IPv6 address; 0, any, where there is none."""
    wanted = ipaddress.ip_address(own).packed.hex()
    with contextlib.suppress(OSError):
        for line in _INTERFACES.read_text().splitlines():
            address, index, *_ = line.split()
            if address == wanted:
                return int(index, 16)
    return 0
