"""Which TCP sockets this network namespace has: the inet_diag dump (sock_diag(7))."""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
from dataclasses import dataclass

from migrate.core import FourTuple
from migrate.linux.maps import Address

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
NLM_F_REQUEST, NLM_F_DUMP = 0x1, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3

# Connected states: all but LISTEN (10), CLOSE (7), TIME_WAIT (6), NEW_SYN_RECV (12).
CONNECTED = 0xFFF & ~(1 << 10 | 1 << 7 | 1 << 6)

STATE_NAMES = {
    1: "ESTABLISHED", 2: "SYN_SENT", 3: "SYN_RECV", 4: "FIN_WAIT1", 5: "FIN_WAIT2", 6: "TIME_WAIT",
    7: "CLOSE", 8: "CLOSE_WAIT", 9: "LAST_ACK", 10: "LISTEN", 11: "CLOSING",
}  # fmt: skip

_HEADER = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBBxI48s")
_MESSAGE = struct.Struct("=BBBB2s2s16s16s4x8x4xIIII")


@dataclass(frozen=True, slots=True)
class SocketEntry:
    tuple: FourTuple
    state: int
    inode: int  # 0: no process holds it


def _address(family: int, raw: bytes) -> Address:
    if family == socket.AF_INET:
        return ipaddress.IPv4Address(raw[:4])
    address = ipaddress.IPv6Address(raw)
    return address.ipv4_mapped or address


def tcp_sockets(states: int = CONNECTED) -> list[SocketEntry]:
    """Every TCP socket in one of `states` (a bit mask of 1 << state).  Raises OSError where the kernel refuses."""
    found: list[SocketEntry] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as netlink:
        netlink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        for family in (socket.AF_INET, socket.AF_INET6):
            body = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, states, bytes(48))
            length = _HEADER.size + len(body)
            netlink.send(_HEADER.pack(length, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, 1, 0) + body)
            while not _read(netlink.recv(1 << 16), found):
                pass
    return found


class Lookup:
    """Looks single sockets up by their address pair, which costs microseconds where a dump walks the machine's whole
    table.  Belongs to the network namespace in which it was made."""

    def __init__(self) -> None:
        self._netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG)

    def __call__(self, pair: FourTuple) -> SocketEntry | None:
        """None where there is no such socket."""
        family = socket.AF_INET if pair.local_ip.version == 4 else socket.AF_INET6
        identity = struct.pack("!HH", pair.local_port, pair.remote_port)
        identity += pair.local_ip.packed.ljust(16, b"\0") + pair.remote_ip.packed.ljust(16, b"\0")
        identity += bytes(4) + b"\xff" * 8  # any interface, any cookie
        body = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, 0xFFFFFFFF, identity)
        self._netlink.send(_HEADER.pack(_HEADER.size + len(body), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, 1, 0) + body)
        found: list[SocketEntry] = []
        try:
            _read(self._netlink.recv(1 << 16), found)
        except FileNotFoundError:
            return None
        return found[0] if found else None

    def close(self) -> None:
        self._netlink.close()


def _read(data: bytes, found: list[SocketEntry]) -> bool:
    """Adds one datagram's sockets; true at the end of the dump."""
    at = 0
    while at < len(data):
        length, kind, _, _, _ = _HEADER.unpack_from(data, at)
        if kind == NLMSG_DONE:
            return True
        if kind == NLMSG_ERROR:
            number = -struct.unpack_from("=i", data, at + _HEADER.size)[0]
            raise OSError(number, f"sock_diag: {os.strerror(number)}")
        family, state, _, _, sport, dport, source, destination, _, _, _, inode = _MESSAGE.unpack_from(
            data, at + _HEADER.size
        )
        found.append(
            SocketEntry(
                FourTuple(
                    _address(family, source),
                    int.from_bytes(sport, "big"),
                    _address(family, destination),
                    int.from_bytes(dport, "big"),
                ),
                state,
                inode,
            )
        )
        at += (length + 3) & ~3
    return False
