"""Who takes a connection over.  Each member decides alone, from what it has heard; nobody is asked.

That exactly one gets it is the protocol's doing: the client accepts each request number once.  The order here only
saves the others the trouble: of the members that seem alive and willing, one is first for each connection (rendezvous
hashing: the connections of a dead server spread over all), and the next follow, a step later each, if they have not
heard by then that it is done.  Those that are busy come after all these, the least loaded first: a client is better
served slowly than not at all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from migrate.failover.ledger import Peer

STEP_SECONDS = 0.5
"""Between one member's turn and the next's: long enough for a take-over and the news of it."""
SILENT_SECONDS = 6.0
"""A member that has not been heard of for so long is not counted on."""


def turns(token: bytes, members: Iterable[str]) -> list[str]:
    """The members in the order in which the connection is theirs to take; the same at each of them."""
    return sorted(members, key=lambda name: hashlib.sha256(token + name.encode()).digest())


def wait(token: bytes, me: str, peers: Iterable[Peer], dead: str, now: float, step: float = STEP_SECONDS) -> float:
    """Seconds until it is this member's turn; `dead` is the server that has it."""
    willing = {peer.name for peer in _alive(peers, now) if not peer.declines}
    order = turns(token, (willing | {me}) - ({dead} - {me}))
    return order.index(me) * step


def last_wait(
    token: bytes, me: str, connections: int, peers: Iterable[Peer], dead: str, now: float, step: float = STEP_SECONDS
) -> float:
    """The same for a member that declines: seconds until all others have had their turn, those that decline too and
    have fewer connections included.  There is a step between two turns, even where the willing have none."""
    others = [peer for peer in _alive(peers, now) if peer.name not in (dead, me)]
    willing = sum(not peer.declines for peer in others)
    load = {peer.name: peer.connections for peer in others if peer.declines} | {me: connections}
    order = sorted(turns(token, load), key=lambda name: load[name])
    return (willing + 1 + order.index(me)) * (step or STEP_SECONDS)


def _alive(peers: Iterable[Peer], now: float) -> list[Peer]:
    return [peer for peer in peers if now - peer.heard <= SILENT_SECONDS]


def declines(connections: int, most: int, lag: float, most_lag: float) -> bool:
    """Whether a member with so many connections, and whose timers come so many seconds late, leaves what a dead server
    had to the others.  (A load average would also count what goes on beside it, and tell of it a minute later.)"""
    return connections >= most or lag >= most_lag
