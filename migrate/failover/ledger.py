"""What a member knows of the others and of their connections: soft state, which is forgotten when it is not renewed."""

from __future__ import annotations

from dataclasses import dataclass, field

from migrate.failover.state import SoftState

FORGET_SECONDS = 90.0
"""Longer than a client waits in MIGRATE_WAIT: as long as a connection can be taken over, it is known."""


@dataclass(slots=True)
class Entry:
    """One connection of another member."""

    owner: str
    boot: int
    """Which start of its owner told it."""
    state: SoftState
    heard: float
    offered: bool = False


@dataclass(slots=True)
class Peer:
    """Another member."""

    name: str
    heard: float
    boot: int
    connections: int = 0
    declines: bool = False


@dataclass(slots=True)
class Ledger:
    """Times are seconds of any clock that only rises."""

    entries: dict[bytes, Entry] = field(default_factory=dict)
    peers: dict[str, Peer] = field(default_factory=dict)
    ended: dict[bytes, tuple[int, float]] = field(default_factory=dict)
    """This member's own connections that have ended: with which count, and when."""

    def heard_of(self, name: str, boot: int, now: float) -> Peer:
        """A member has said something."""
        peer = self.peers.setdefault(name, Peer(name, now, boot))
        peer.heard, peer.boot = now, boot
        return peer

    def told(self, owner: str, boot: int, state: SoftState, now: float) -> bool:
        """Takes a soft state in; whether it says something new.  An older one than is known changes nothing."""
        known = self.entries.get(state.token)
        if known is not None and state.order < known.state.order:
            return False
        if known is not None and state.secrets.sent == known.state.secrets.sent and owner != known.owner:
            return False  # two cannot have won with one number: the first to say so has
        news = known is None or state.order > known.state.order
        offered = known is not None and known.offered and not news
        self.entries[state.token] = Entry(owner, boot, state, now, offered)
        return news

    def own_over(self, token: bytes, sent: int, now: float) -> None:
        """A connection of this member has ended.  Who has not heard of it, or not even that it was here, tells of it as
        if it were alive."""
        self.ended[token] = sent, now

    def has_ended(self, state: SoftState) -> int | None:
        """The count with which the connection ended here, where somebody tells of it as it was before."""
        sent, _ = self.ended.get(state.token, (None, 0.0))
        return sent if sent is not None and state.secrets.sent < sent else None

    def over(self, owner: str, token: bytes, sent: int) -> None:
        """The connection has ended, as its owner says."""
        known = self.entries.get(token)
        if known is not None and (known.owner == owner or sent > known.state.secrets.sent):
            del self.entries[token]

    def gone(self, token: bytes, sent: int) -> bool:
        """The client's host knows of no connection with that count; whether it was known here.  An owner that has it
        all the same, or another that has taken it since, tells of it again."""
        known = self.entries.get(token)
        if known is None or known.state.secrets.sent > sent:
            return False
        del self.entries[token]
        return True

    def offered(self, owner: str, token: bytes, sent: int) -> Entry | None:
        """The owner cannot go on; the entry if that is news of a connection that is still the owner's."""
        known = self.entries.get(token)
        if known is None or known.owner != owner or known.offered or sent < known.state.secrets.sent:
            return None
        known.offered = True
        return known

    def orphans(self, server: str) -> list[Entry]:
        """The connections of earlier starts of a server, which have died with it."""
        boot = self.peers[server].boot
        return [entry for entry in self.entries.values() if entry.owner == server and entry.boot < boot]

    def silent(self, server: str) -> None:
        """A server is not counted on until it is heard of again."""
        if server in self.peers:
            self.peers[server].heard = float("-inf")

    def owned_by(self, server: str) -> list[Entry]:
        return [entry for entry in self.entries.values() if entry.owner == server]

    def drop(self, token: bytes) -> None:
        self.entries.pop(token, None)

    def expire(self, now: float) -> int:
        """Forgets what has not been renewed; how many connections."""
        old = [token for token, entry in self.entries.items() if now - entry.heard > FORGET_SECONDS]
        for token in old:
            del self.entries[token]
        self.ended = {token: end for token, end in self.ended.items() if now - end[1] <= FORGET_SECONDS}
        return len(old)
