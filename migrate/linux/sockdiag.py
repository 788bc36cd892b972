"""Which TCP sockets this network namespace has: the inet_diag dump (sock_diag(7))."""

from __future__ import annotations

import ipaddress
import socket
import struct
from dataclasses import dataclass

from migrate.core import FourTuple
from migrate.linux.maps import Address
from migrate.linux.netlink import Netlink, attributes

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
INET_DIAG_ULP_INFO, INET_ULP_INFO_NAME = 19, 1

# Connected states: all but LISTEN (10), CLOSE (7), TIME_WAIT (6), NEW_SYN_RECV (12).
CONNECTED = 0xFFF & ~(1 << 10 | 1 << 7 | 1 << 6)
HOLDING_A_PORT = 0xFFF & ~(1 << 7 | 1 << 6)  # and LISTEN

STATE_NAMES = {
    1: "ESTABLISHED", 2: "SYN_SENT", 3: "SYN_RECV", 4: "FIN_WAIT1", 5: "FIN_WAIT2", 6: "TIME_WAIT",
    7: "CLOSE", 8: "CLOSE_WAIT", 9: "LAST_ACK", 10: "LISTEN", 11: "CLOSING",
}  # fmt: skip

_LAYERS = 1 << 1  # INET_DIAG_INFO: the kernel tells of layers beside its tcp_info only
_REQUEST = struct.Struct("=BBBxI48s")
_MESSAGE = struct.Struct("=BBBB2s2s16s16s4x8x4xIIII")


@dataclass(frozen=True, slots=True)
class SocketEntry:
    tuple: FourTuple
    state: int
    inode: int  # 0: no process holds it
    ulp: str = ""  # "tls" (kTLS) or "mptcp", where one of the kernel's own layers sits on the socket


def _address(family: int, raw: bytes) -> Address:
    if family == socket.AF_INET:
        return ipaddress.IPv4Address(raw[:4])
    address = ipaddress.IPv6Address(raw)
    return address.ipv4_mapped or address


def tcp_sockets(states: int = CONNECTED, layers: bool = False) -> list[SocketEntry]:
    """Every TCP socket in one of `states` (a bit mask of 1 << state), with `ulp` if `layers` are asked for.  Raises
    OSError where the kernel refuses."""
    netlink = Netlink(NETLINK_SOCK_DIAG)
    try:
        return [
            _entry(message)
            for family in (socket.AF_INET, socket.AF_INET6)
            for message in netlink.dump(
                SOCK_DIAG_BY_FAMILY,
                _REQUEST.pack(family, socket.IPPROTO_TCP, _LAYERS if layers else 0, states, bytes(48)),
            )
        ]
    finally:
        netlink.close()


class Lookup:
    """Looks single sockets up by their address pair, which costs microseconds where a dump walks the machine's whole
    table.  Belongs to the network namespace in which it was made."""

    def __init__(self) -> None:
        self._netlink = Netlink(NETLINK_SOCK_DIAG)

    def __call__(self, pair: FourTuple) -> SocketEntry | None:
        """None where there is no such socket."""
        family = socket.AF_INET if pair.local_ip.version == 4 else socket.AF_INET6
        identity = struct.pack("!HH", pair.local_port, pair.remote_port)
        identity += pair.local_ip.packed.ljust(16, b"\0") + pair.remote_ip.packed.ljust(16, b"\0")
        identity += bytes(4) + b"\xff" * 8  # any interface, any cookie
        request = _REQUEST.pack(family, socket.IPPROTO_TCP, _LAYERS, 0xFFFFFFFF, identity)
        try:
            found = self._netlink.get(SOCK_DIAG_BY_FAMILY, request)
        except FileNotFoundError:
            return None
        entry = _entry(found[0]) if found else None
        # Where there is none, the kernel gives the listener that would take its SYN.
        return entry if entry and entry.tuple == pair else None

    def close(self) -> None:
        self._netlink.close()


def _entry(message: bytes) -> SocketEntry:
    family, state, _, _, sport, dport, source, destination, _, _, _, inode = _MESSAGE.unpack_from(message)
    pair = FourTuple(
        _address(family, source),
        int.from_bytes(sport, "big"),
        _address(family, destination),
        int.from_bytes(dport, "big"),
    )
    ulp = attributes(attributes(message, _MESSAGE.size).get(INET_DIAG_ULP_INFO, b""), 0).get(INET_ULP_INFO_NAME, b"")
    return SocketEntry(pair, state, inode, ulp.rstrip(b"\0").decode())
