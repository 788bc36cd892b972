"""What is known beforehand to be beyond a rebind, so that it is refused while nothing is lost."""

from __future__ import annotations

import socket
from collections.abc import Callable

from migrate.core import FourTuple
from migrate.linux.position import SocketPosition
from migrate.linux.repair import CARRIED, FIN_SENT
from migrate.linux.sockdiag import STATE_NAMES, SocketEntry, tcp_sockets

CLOSE, TIME_WAIT = 7, 6
_HOLDING_A_PORT = 0xFFF & ~(1 << CLOSE | 1 << TIME_WAIT)


def why_not(position: SocketPosition, moves: bool, alone: Callable[[], bool]) -> str | None:
    """Why a socket cannot be carried, None if it can.

    `moves`: its own address is to change.  `alone()`: no other socket of this host has its port."""
    if position.state not in CARRIED:
        return f"a connection in {STATE_NAMES.get(position.state, position.state)} is not carried"
    if not position.bound_address:
        return None
    if position.bound_port:
        return "its program bound both the address and the port" if moves else None
    # IPv4 has a way around (repair.restore); elsewhere a second bind to a shared port is refused.
    if position.family != socket.AF_INET and not alone():
        return "its address was bound by a listener, or shares its port with another socket's"
    return None


LAYERS = {"tls": "the kernel encrypts its data (kTLS)", "mptcp": "it is part of an MPTCP connection"}


def foreseen(entry: SocketEntry, position: SocketPosition | None, alone: Callable[[], bool]) -> str:
    """What `why_not` would say of a move of its own address, or what will be met on the way; "" where nothing is."""
    if entry.ulp:
        return LAYERS.get(entry.ulp, f"the kernel's {entry.ulp} sits on it")
    if not entry.inode and entry.state not in FIN_SENT:
        return "its program has not accepted it yet"
    return (position and why_not(position, True, alone)) or ""


def alone_on_port(pair: FourTuple) -> bool:
    """No other socket of this host, listeners included, has the local port of this one."""
    others = (entry for entry in tcp_sockets(_HOLDING_A_PORT) if entry.tuple != pair)
    return all(entry.tuple.local_port != pair.local_port for entry in others)
