"""What the three runs of `reassigned` know beside their captures.  Times are seconds since 1970."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from analysis.daemon_events import Told
from migrate.core import RST, Segment, seq


@dataclass(frozen=True)
class Numbers:
    """The server's side of a connection when the mobile lost its address."""

    local: tuple[str, int]
    remote: tuple[str, int]
    rcv_nxt: int
    """Raw."""

    def reset(self, beyond: int = 0) -> Segment:
        """A RST from the old address, so many bytes beyond what the server expects."""
        (source, sport), (server, port) = self.remote, self.local
        return Segment(ip_address(source), sport, ip_address(server), port, RST, seq.add(self.rcv_nxt, beyond))


@dataclass(frozen=True)
class Back:
    """The mobile came back elsewhere."""

    addresses: tuple[str, str, str]
    """The mobile's old one, its new one, the server's."""
    round_trip: float
    """Seconds, of small packets between the new location and the base station, measured beforehand."""
    lost_at: float
    given_at: float
    """When the stranger had the old address."""
    arrived_at: float
    """When the mobile was about to have the new one."""
    rcv_nxt: int
    """The server's, raw; the mobile had nothing more to say."""
    retransmission_timeout: float
    """Seconds: the server's kernel's, when it waited."""
    inexact: int
    """RSTs not at rcv_nxt that were sent before the connection waited."""
    tried_at: tuple[float, float]
    """When these were sent, and those that follow."""
    further: int
    """RSTs that were sent while it waited, one at rcv_nxt at least."""
    waiting: Told
    server_events: tuple[Told, ...]
    mobile_events: tuple[Told, ...]
    object_bytes: int
    exit_status: int
    wanted: str
    got: str


@dataclass(frozen=True)
class Gone:
    """Nobody came back."""

    addresses: tuple[str, str]
    """The mobile's old one, the server's."""
    round_trip: float
    lost_at: float
    given_at: float
    msl: float
    """Seconds, as the server's daemon was told."""
    waiting: Mapping[str, Told]
    """By connection."""
    ports: Mapping[int, str]
    """The server's ports, and which program listens there."""
    told_at: Mapping[str, float]
    """When each program's log first had ECONNRESET."""
    server_events: tuple[Told, ...]
    mobile_events: tuple[Told, ...]
    left: int
    """Connections that the server had in the end."""
    mobiles_running: int
    """The mobile's programs that still waited."""


@dataclass(frozen=True)
class NewcomerOutcome:
    """One download of the run: its size in bytes, curl's exit status, SHA-256 of what was sent and received."""

    object_bytes: int
    exit_status: int
    wanted: str
    got: str


@dataclass(frozen=True)
class Newcomer:
    """The stranger opened connections of its own."""

    addresses: tuple[str, str, str]
    round_trip: float
    lost_at: float
    arrived_at: float
    """When the mobile was about to appear at the new location."""
    waiting: Told
    port: int
    """The mobile's, and that of the stranger's second connection."""
    other_finished_at: float
    server_events: tuple[Told, ...]
    mobile_events: tuple[Told, ...]
    outcomes: Mapping[str, NewcomerOutcome]
    """Of "object" (the mobile's), "other-port" and "same-port" (the stranger's)."""
