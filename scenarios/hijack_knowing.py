"""Attackers who know enough: the sequence numbers, or the Migrate SYN itself.  What `hijack` lets them try."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from scenarios.attack_packets import (
    ACK,
    CIRCLE,
    NO_SECRET,
    PSH,
    RST,
    SYN,
    End,
    Seen,
    answers,
    migrate_syn,
    own_option,
    read,
    segment,
)
from scenarios.attacker import Loot
from scenarios.hijack_checks import Takeover
from scenarios.hijack_lab import PATIENCE, Battlefield
from scenarios.verdict import Invalid

BOOTY = 20_000
"""Bytes that an attacker takes to show that it has the connection."""


def numbers(captures: dict[str, Path], opened: float) -> tuple[Seen, Seen, int]:
    """SYN, SYN/ACK and snd_una - 1 of the mobile, of the last connection that was opened before that time."""
    capture = read(captures["server"], SYN | PSH)
    syns = [one for one in capture if one.flags & (SYN | ACK) == SYN and one.migrate is None and one.time < opened]
    syn = syns[-1]
    answer = next(one for one in capture if answers(one) and one.target == syn.source and one.ack == syn.seq + 1)
    # A download: the mobile has sent its request once, in one piece.
    sent = next(len(one.payload) for one in capture if one.source == syn.source and one.payload)
    return syn, answer, (syn.seq + sent) % CIRCLE


def plain_reset(field: Battlefield, captures: dict[str, Path]) -> bool:
    """The same RST against a connection without Migrate; whether that is gone."""
    curl = field.endless(plain=True)
    syn, answer, s = numbers(captures, time.time())
    if syn.permits or answer.permits:
        raise Invalid("the connection without Migrate has Migrate-Permitted")
    if not field.has_connection(syn.source.port):
        raise Invalid("the connection without Migrate is gone before it is attacked")
    field.attacker.send([segment(syn.source, field.server, RST, s + 1)])
    end = time.monotonic() + 1
    while field.has_connection(syn.source.port) and time.monotonic() < end:
        time.sleep(0.02)
    gone = not field.has_connection(syn.source.port)
    curl.kill()
    curl.wait()
    return gone


def known_numbers(field: Battlefield, captures: dict[str, Path], opened: float, source: int) -> Takeover:
    """An attacker off the path who knows the sequence numbers of the last connection that was opened before `opened`,
    and takes its secret for zero: what it gets."""
    syn, answer, s = numbers(captures, opened)
    own = End(field.lab.attackers_address(source), 6666)
    server_events = field.events["server"]
    mark = len(server_events.all())
    option = own_option(syn.seq, answer.seq, NO_SECRET, s)
    loot = field.attacker.take_over(own, field.server, s, option, BOOTY, 2.0)
    return Takeover(loot, server_events.count("migrated", str(own.address), since=mark))


def overtaken(field: Battlefield, source: int) -> Takeover:
    """The mobile moves to the café, whose access point is the attacker's: it hears the Migrate SYN, and its own copy is
    at the server first."""
    own = End(field.lab.attackers_address(source), 7777)
    server_events = field.events["server"]
    mark = len(server_events.all())
    found: list[Loot] = []
    with field.attacker.listening("attacker-cafe") as overhear, field.attacker.listening() as hear:

        def wait_and_overtake() -> None:
            for seen in overhear(PATIENCE / 4):
                if seen.migrate:
                    field.attacker.send([migrate_syn(own, field.server, seen.seq, seen.migrate)])
                    found.append(field.attacker.follow(hear, own, field.server, BOOTY, 2.0))
                    return

        thread = threading.Thread(target=wait_and_overtake)
        thread.start()
        field.lab.move("cafe")
        thread.join()
    if not found:
        raise Invalid("no Migrate SYN came by the café")
    return Takeover(found[0], server_events.count("migrated", str(own.address), since=mark))
