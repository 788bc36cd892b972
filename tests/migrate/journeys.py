"""Hosts that wander while their connection carries data; how each journey must end."""

from __future__ import annotations

import random
from ipaddress import ip_address

from migrate.core import Address, Notice, Peer, State, seq
from tests.migrate.network import Faults, Network
from tests.migrate.pump import Host, Pair

PORTS = (40000, 80)
Script = list[tuple[float, int, str]]  # seconds after the one before, which host, how

FOUND = {
    2294: "a crossing request went out once only",
    5747: "a delayed request and a delayed 7, after requests had crossed unanswered",
    10379: "a pair that was asked on was muted when the peer moved on, and stayed muted",
    21263: "a late copy of a request led its peer elsewhere, and asking again had the same number",
    30143: "data that was late on the old pair came after 6 had been sent, which then said too little",
}
"""Each with the fault that it shows when planted."""


def addresses(version: int, host: int) -> list[Address]:
    text = "10.{}.0.{}" if version == 4 else "fd00:{}::{}"
    return [ip_address(text.format(host, number)) for number in range(1, 9)]


def open_pair(
    network: Network,
    *,
    version: int = 4,
    size: int = 4000,
    closes: bool = False,
    isns: tuple[int, int] = (1_000_000, 3_000_000_000),
) -> Pair:
    """A connection between the first addresses of both hosts, with `size` bytes under way in both directions."""
    here, there = addresses(version, 1)[0], addresses(version, 2)[0]
    down = bytes(range(256)) * (size // 256)
    pair = Pair(
        network, Peer(here, PORTS[0]), Peer(there, PORTS[1]), down=down, up=down[::-1], closes=closes, isns=isns
    )
    pair.a.name_of_peer = lambda: max(pair.b.addresses, default=None)
    pair.b.name_of_peer = lambda: max(pair.a.addresses, default=None)
    return pair


class Mover:
    """A host's walk through its addresses."""

    def __init__(self, pair: Pair, index: int, version: int) -> None:
        self.host, self.network = pair.hosts[index], pair.network
        self.ladder = addresses(version, index + 1)
        self.at = 0

    def move(self, kind: str) -> None:
        """Make before break, break before make, or away and back again."""
        old = self.ladder[self.at % len(self.ladder)]
        if kind == "flap":
            self.host.vanish(old)
            self.network.later(0.3, lambda: self.host.appear(old))
            return
        self.at += 1
        new = self.ladder[self.at % len(self.ladder)]
        if kind == "make":
            self.host.appear(new)
            self.network.later(0.5, lambda: self.host.vanish(old))
        else:
            self.host.vanish(old)
            self.network.later(0.2, lambda: self.host.appear(new))

    def arrive(self) -> None:
        """A host that its moves, overlapping, have left without any address gets one."""
        if not self.host.addresses:
            self.host.appear(self.ladder[self.at % len(self.ladder)])


def journey(
    seed: int, faults: Faults, script: Script, version: int, closes: bool, isns: tuple[int, int] = (1000000, 3000000000)
) -> Pair:
    """Plays the script to its end and holds the end to the rules."""
    network = Network(seed, faults)
    pair = open_pair(network, version=version, closes=closes, isns=isns)
    movers = [Mover(pair, index, version) for index in range(2)]
    at = 0.0
    for gap, index, kind in script:
        at += gap
        network.later(at, lambda index=index, kind=kind: movers[index].move(kind))  # type: ignore[misc]
    for mover in movers:
        network.later(at + 2, mover.arrive)
    network.run(until=at + 1)
    network.run(done=lambda: ended(pair))
    # Bytes that differ, and ACKs of what was never sent, have been assertions of the sockets on the way.
    assert ended(pair) or stranded(pair), pair.story()
    assert not any(host.was_reset for host in pair.hosts), pair.story()
    for host in pair.hosts:
        socket = host.socket
        assert seq.diff(socket.rcv_nxt, socket.first_expected) == len(socket.received) + socket.peer_closed
    return pair


def ended(pair: Pair) -> bool:
    """All data is there and acknowledged; where nobody has closed, both also mean the same two addresses."""
    sockets = [host.socket for host in pair.hosts]
    if all(socket.closes for socket in sockets):
        return all(socket.finished for socket in sockets)
    return pair.finished()


def stranded(pair: Pair) -> bool:
    """A host has moved when its socket was in TIME-WAIT already: the protocol does not move those, and what is left is
    the user timeout's.  Its peer's data had all come by then."""
    return any(_left_behind(host) for host in pair.hosts)


def _left_behind(host: Host) -> bool:
    told = [report.cause for report in host.reports if report.event is Notice.IGNORED]
    return (
        any(cause.endswith("in TIME_WAIT does not move") for cause in told)
        and host.connection.state in (State.SUSPENDED, State.ESTABLISHED)
        and host.socket.peer_closed
        and bytes(host.socket.received) == host.socket.expected
    )


def by_seed(seed: int, closes: bool = False) -> Pair:
    """A journey made up from a number."""
    r = random.Random(seed)
    script = [
        (
            (r.uniform(0.01, 12) if r.random() < 0.6 else r.uniform(0.01, 1)) / 10,
            r.randint(0, 1),
            r.choice(["break", "make", "flap"]),
        )
        for _ in range(r.randint(0, 10))
    ]
    ni = r.getrandbits(32)
    na = (ni + r.randint(2**17, 2**32 - 2**17)) % 2**32
    most = r.choice([0, 0.1, 0.4])
    loss, duplicate, reorder = (r.uniform(0, most) for _ in range(3))
    failure = r.uniform(0, 0.3) if r.random() < 0.5 else 0
    version = r.choice([4, 6])
    return journey(seed, Faults(loss, duplicate, reorder, failure, until=20), script, version, closes, (ni, na))
