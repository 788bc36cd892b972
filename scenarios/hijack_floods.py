"""100,000 Migrate SYNs during a transfer, beside as many ordinary SYNs to a closed port, in one run."""

from __future__ import annotations

import time
from random import Random

from scenarios.attack_packets import End, Seen, migrate_syn, ordinary_syn, variations
from scenarios.event_file import NoEvent
from scenarios.hijack_checks import Round
from scenarios.hijack_lab import Battlefield

PACKETS, RATE = 100_000, 20_000.0
ORDER = ("quiet", "ordinary", "migrate", "quiet", "migrate", "ordinary", "quiet")
"""Turn and turn about, so that what else goes on in the machine meets both alike."""
CLOSED_PORT = 9
PATIENCE = 2.0
"""Seconds that a true move has in the middle of a flood; a Migrate SYN that is lost goes out again after one."""
_QUIET_SECONDS = 2.0
_TOKEN, _REQUEST = slice(4, 12), slice(12, 20)


def rounds(field: Battlefield, record: Seen, random: Random) -> list[Round]:
    """That transfer at full speed, in rounds.  `record` is its last Migrate SYN: a quarter of the flood repeats it, and
    a quarter names its connection."""
    each = PACKETS // sum(kind == "migrate" for kind in ORDER)
    places = [field.lab.locations[name] for name in ("loc1", "loc2")]
    found = []
    for kind in ORDER:
        field.context.step(f"flood: {kind}")
        flood = _packets(field, kind, each, record, random)
        elsewhere = next(place for place in places if place.address != field.lab.mobile_address)
        found.append(_round(field, kind, flood, elsewhere.name))
    return found


def _packets(field: Battlefield, kind: str, count: int, record: Seen, random: Random) -> bytes:
    """Half of the Migrate SYNs name no connection; a quarter name one without proof, a quarter are the recorded one."""
    own = End(field.lab.attackers_address(0), 1)
    sources = [field.lab.attackers_address(number) for number in range(1, 5000)]
    if kind == "quiet":
        return b""
    if kind == "ordinary":
        syn = ordinary_syn(own, End(field.server.address, CLOSED_PORT), random.randrange(1 << 32))
        kinds = [variations(syn, sources, random, slice(0, 0))]
    else:
        assert record.migrate is not None
        syn = migrate_syn(own, field.server, record.seq, record.migrate)
        next_number = bytes((record.migrate[0] + 1 & 127,))
        unproved = migrate_syn(own, field.server, record.seq, next_number + record.migrate[1:])
        kinds = [
            variations(syn, sources, random, _TOKEN),
            variations(unproved, sources, random, _REQUEST),
            variations(syn, sources, random, _TOKEN),
            variations(syn, sources, random, slice(0, 0)),
        ]
    return b"".join(next(kinds[number % len(kinds)]) for number in range(count))


def _round(field: Battlefield, kind: str, flood: bytes, to: str) -> Round:
    before, daemon, received, began = field.passed(), field.daemon_seconds(), field.received_bytes(), time.monotonic()
    said = {"sent": 0.0}
    moved: float | None = None

    def move() -> None:
        nonlocal moved
        time.sleep(_QUIET_SECONDS / 2)
        moved = _move(field, to)

    if flood:
        said = field.flood(flood, RATE, move)
    else:
        move()
        time.sleep(_QUIET_SECONDS / 2)
    seconds, transferred = time.monotonic() - began, field.received_bytes() - received
    time.sleep(0.5)
    passed = field.passed().since(before)
    used = field.daemon_seconds() - daemon
    return Round(kind, int(said["sent"]), passed.syn, passed.syn_ack, passed.rst, seconds, transferred, used, moved)


def _move(field: Battlefield, to: str) -> float | None:
    """Seconds from the Migrate SYN until server and mobile have followed."""
    mobile, server = field.events["mobile"], field.events["server"]
    marks = len(mobile.all()), len(server.all())
    field.lab.move(to)
    try:
        asked = mobile.wait(1, "migrating", since=marks[0], patience=PATIENCE)
        ends = [
            events.wait(1, "migrated", since=mark, patience=PATIENCE)
            for events, mark in zip((mobile, server), marks, strict=True)
        ]
    except NoEvent:
        return None
    return max(float(end["time"]) for end in ends) - float(asked["time"])
