"""A port that several sockets have, for the moment in which one of them is bound to it anew.

A bind to port 0 sets no lock, so that it can be repeated at every move.  Which port the kernel then takes is said by
the namespace's range of ephemeral ports.

In IPv6 it takes none that another socket has (IPv4 has a way around: `repair._bind`), unless both are bound to
devices, and to different ones.  So the newcomer gets a made-up device for that moment, and each of the others the one
on which its segments arrive: it goes on hearing, a listener too.  What comes in by another device meanwhile finds no
socket; the kernel's RST for it is dropped (`Switchboard.guard`), and the peer says it again.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

from migrate.linux.addresses import LOOPBACK, Tables
from migrate.linux.borrow import Holder, borrow, holders, processes
from migrate.linux.journal import Journal
from migrate.linux.maps import Address, Switchboard
from migrate.linux.repair import SO_BINDTOIFINDEX
from migrate.linux.sockdiag import HOLDING_A_PORT, SocketEntry, tcp_sockets

PORT_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
PRIVILEGED = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")  # the range must not reach below it
MADE_UP = 0x40000000  # number of an interface that nobody has


class Ports:
    """Of the namespace in which it was made; `forget` after each batch."""

    def __init__(self, cgroup: Path, journal: Journal, switchboard: Switchboard) -> None:
        self._cgroup, self._journal, self._switchboard = cgroup, journal, switchboard
        self._tables = Tables()
        self._others: dict[tuple[int, int], list[tuple[Holder, socket.socket, int]]] = {}
        self._found = ""

    def forget(self) -> None:
        for others in self._others.values():
            for _, other, _ in others:
                other.close()
        self._others.clear()
        self._found = ""

    @contextmanager
    def only(self, port: int) -> Iterator[None]:
        """Binds to port 0 get this one meanwhile."""
        if not self._found:
            self._found = f"{PORT_RANGE.read_text().strip()} {PRIVILEGED.read_text().strip()}"
            self._journal.ports(self._found)
        if port < int(self._found.split()[2]):
            PRIVILEGED.write_text(str(port))
        PORT_RANGE.write_text(f"{port} {port}")
        try:
            yield
        finally:
            put_back(self._found)

    @contextmanager
    def aside(self, sock: socket.socket, host: str, port: int) -> Iterator[None]:
        """The other sockets that programs have at that port do not keep `sock`, an IPv6 socket, from it meanwhile."""
        own = os.fstat(sock.fileno()).st_ino
        others = [one for one in self._at(host, port, own) if one[0].inode != own and not _device(one[1])]
        device = _device(sock)
        self._journal.aside([holder for holder, _, _ in others])
        self._switchboard.guard(port)
        try:
            for _, other, index in others:
                _set_device(other, index)
            _set_device(sock, MADE_UP)
            yield
        finally:
            _set_device(sock, device)
            for _, other, _ in others:
                _set_device(other, 0)
            self._switchboard.guard(0)

    def release(self, set_aside: Iterable[Holder]) -> None:
        """What a killed worker has not come to.  Raises OSError."""
        for holder in set_aside:
            other = borrow(holder)
            if other is not None:
                with other:
                    _set_device(other, 0)
        self._switchboard.guard(0)

    def _at(self, host: str, port: int, own: int) -> list[tuple[Holder, socket.socket, int]]:
        """The sockets at the port that programs of this host hold, each with the interface that it hears from.  That of
        inode `own`, too: it has no port at the moment, and will be one of the others when the next is bound."""
        # The address of such a socket is either IPv6's own, and then it has no part in IPv4, or a v4-mapped one.
        address = ip_address(host.removeprefix("::ffff:"))
        if (port, address.version) not in self._others:
            places = dict(self._tables.places())
            heard_from = {
                entry.inode: _heard_from(entry, places)
                for entry in tcp_sockets(HOLDING_A_PORT)
                if entry.tuple.local_port == port and entry.inode and entry.tuple.local_ip.version >= address.version
            }
            heard_from[own] = places.get(address, LOOPBACK)
            found = holders(processes(self._cgroup), set(heard_from)) if len(heard_from) > 1 else {}
            borrowed = ((holder, borrow(holder)) for holder in found.values())
            self._others[port, address.version] = [
                (holder, other, heard_from[holder.inode]) for holder, other in borrowed if other is not None
            ]
        return self._others[port, address.version]


def put_back(found: str) -> None:
    """The range and the first port that needs no privilege, as `Ports.only` found them."""
    *range_, start = found.split()
    if PORT_RANGE.read_text().split() != range_:
        PORT_RANGE.write_text(" ".join(range_))
    if PRIVILEGED.read_text().strip() != start:
        PRIVILEGED.write_text(start)


def _heard_from(entry: SocketEntry, places: dict[Address, int]) -> int:
    if entry.tuple.remote_ip in places:
        return LOOPBACK  # it speaks to a program on this host
    return places.get(entry.tuple.local_ip, LOOPBACK)


def _device(sock: socket.socket) -> int:
    return sock.getsockopt(socket.SOL_SOCKET, SO_BINDTOIFINDEX)


def _set_device(sock: socket.socket, index: int) -> None:
    sock.setsockopt(socket.SOL_SOCKET, SO_BINDTOIFINDEX, index)
