"""What is known beforehand to be beyond a rebind, so that it is refused while nothing is lost."""

from __future__ import annotations

from migrate.linux.position import SocketPosition
from migrate.linux.repair import CARRIED, FIN_SENT
from migrate.linux.sockdiag import STATE_NAMES, SocketEntry

LAYERS = {"tls": "the kernel encrypts its data (kTLS)", "mptcp": "it is part of an MPTCP connection"}
IO_URING = "io_uring requests of its program are in flight"


def why_not(position: SocketPosition, moves: bool, entry: SocketEntry | None = None) -> str | None:
    """Why a socket cannot be carried, None if it can, unless io_uring is at work on it; `moves`: its own address is to
    change."""
    if entry is not None and entry.ulp:
        return LAYERS.get(entry.ulp, f"the kernel's {entry.ulp} sits on it")
    if position.state not in CARRIED:
        return f"a connection in {STATE_NAMES.get(position.state, position.state)} is not carried"
    if moves and position.bound_address and position.bound_port:
        return "its program bound both the address and the port"
    return None


def foreseen(entry: SocketEntry, position: SocketPosition | None, busy: set[int]) -> str:
    """What `why_not` would say of a move of its own address, or what will be met on the way; "" where nothing is.

    `busy`: inodes of the sockets that io_uring may be at work on."""
    if entry.ulp:
        return LAYERS.get(entry.ulp, f"the kernel's {entry.ulp} sits on it")
    if not entry.inode and entry.state not in FIN_SENT:
        return "its program has not accepted it yet"
    if entry.inode in busy:
        return IO_URING
    return (position and why_not(position, True)) or ""
