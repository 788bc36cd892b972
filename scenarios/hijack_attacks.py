"""The attacks of `hijack`, one after another, and what attacker and witnesses have counted of each.  Judges nothing."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random

from scenarios.attack_packets import (
    ACK,
    NO_SECRET,
    PSH,
    RST,
    SYN,
    End,
    Identity,
    Seen,
    heard,
    migrate_syn,
    own_option,
    read,
    segment,
)
from scenarios.attacker import Loot
from scenarios.event_file import NoEvent
from scenarios.hijack_checks import Attack, Beaten, Takeover
from scenarios.hijack_lab import PATIENCE, SILENCE, Battlefield
from scenarios.programs import Download, ProgramError
from scenarios.verdict import Invalid

MANY, SOME = 200, 20
CIRCLE = 1 << 32
NOT_LARGER = "a request number that is not larger than the last accepted"
WRONG_PROOF = "with a wrong proof"
OWN_REQUEST = "our own request, sent back to us"
INEXACT = "a RST that is not exactly at rcv_nxt"
STALL_SECONDS = 2.0
CAPTURE_SECONDS = 3.0
GAP_SECONDS = 0.001
"""Between the packets of an attack, which have to find room in the transfer's queue."""
BOOTY = 20_000
"""Bytes that an attacker takes to show that it has the connection."""


class Attacks:
    """Those against one download."""

    def __init__(self, field: Battlefield, captures: dict[str, Path], download: Download, random: Random) -> None:
        self._field, self._captures, self._download, self._random = field, captures, download, random
        self.done: list[Attack] = []
        self._own = End(field.lab.attackers_address(1), 5555)

    def against_one_transfer(self, moves: int) -> None:
        """Raises `Beaten` once an attack that must fail does not."""
        field, server, random = self._field, self._field.server, self._random
        s = random.randrange(CIRCLE)
        self._try(
            "forged tokens",
            "token and request",
            [migrate_syn(self._own, server, s, bytes((1,)) + random.randbytes(16)) for _ in range(MANY)],
        )

        first = self._move("loc2")
        self._try(
            "recorded request, at once",
            "a new request",
            [migrate_syn(self._own, server, first.seq, _option(first))] * SOME,
            cause=NOT_LARGER,
        )
        self._try(
            "recorded request, from the mover's address",
            "a new request",
            [migrate_syn(first.source, server, first.seq, _option(first))] * SOME,
        )
        token, proof = _option(first)[1:9], _option(first)[9:]
        wrong = [bytes((2,)) + token + random.randbytes(8) for _ in range(MANY // 2)]
        wrong += [bytes((1 + number,)) + token + proof for number in range(1, 1 + SOME)]
        self._try(
            "right token, wrong request",
            "the request",
            [migrate_syn(self._own, server, first.seq, option) for option in wrong],
            cause=WRONG_PROOF,
        )
        self._reflect("request reflected to its sender", first, cause=OWN_REQUEST)
        self._blind_resets(first)

        present = field.lab.locations["loc2"]
        addresses = [present.address, field.lab.second_address("loc2")]
        length = 24 if field.lab.version == 4 else 64
        field.lab.mobile.add_address(present.mobile_interface, f"{addresses[1]}/{length}")
        at = field.quick_moves(1, addresses)
        self._try(
            "recorded request, after another move",
            "a new request",
            [migrate_syn(self._own, server, first.seq, _option(first))] * SOME,
            cause=NOT_LARGER,
        )
        field.context.step(f"moving {moves} times")
        at = field.quick_moves(moves, [addresses[at], addresses[1 - at]]) ^ at
        records = field.recorded(self._captures["server"])
        self._wrapped(records, addresses[at])
        self._reflect("request reflected, after the wrap", first)

    def _wrapped(self, records: list[Seen], address: str) -> None:
        """Half a turn and a whole turn of the seven bits ago.  Where the number looks new again, only R protects."""
        if records[-1].source.address != address:
            raise Invalid(f"the last Migrate SYN recorded is not from {address}")
        for ago, cause in ((64, NOT_LARGER), (65, WRONG_PROOF), (127, WRONG_PROOF), (128, NOT_LARGER)):
            old = records[-1 - ago]
            self._try(
                f"recorded request, {ago} moves ago",
                "a new request",
                [migrate_syn(self._own, self._field.server, old.seq, _option(old))] * SOME,
                cause=cause,
            )

    def _reflect(self, name: str, own: Seen, cause: str = "") -> None:
        at = End(self._field.lab.mobile_address, own.source.port)
        packets = [migrate_syn(source, at, own.seq, _option(own)) for source in (self._own, own.target)]
        self._try(name, "a request of the other side", packets * (SOME // 2), cause=cause, target="mobile")

    def _blind_resets(self, first: Seen) -> None:
        """All that an attacker off the path can do is guess the number; addresses and ports are a present to it."""
        mobile, server, random = first.source, self._field.server, self._random
        expected = first.seq + 1
        near = [expected + random.choice((-1, 1)) * random.randrange(1, 30_000) for _ in range(MANY // 2)]
        far = [expected + random.randrange(1, CIRCLE) for _ in range(MANY // 2)]
        self._try(
            "RSTs to the server, in and out of the window",
            "the sequence number",
            [segment(mobile, server, RST, seq) for seq in near + far],
            cause=INEXACT,
        )
        self._try(
            "RSTs to the mobile",
            "the sequence number",
            [segment(server, mobile, RST, seq) for seq in random.sample(range(CIRCLE), MANY)],
            cause=INEXACT,
            target="mobile",
        )

    def exact_reset(self) -> dict[str, float]:
        """What an attacker achieves who knows the very number: seconds of the stall, bytes that came during it, and
        how the mobile gets the transfer going again."""
        field = self._field
        server_events, mobile_events = field.events["server"], field.events["mobile"]
        last = field.recorded(self._captures["server"])[-1]
        marks = len(server_events.all()), mobile_events.count("migrated")
        field.attacker.send([segment(last.source, field.server, RST, last.seq + 1)])
        server_events.wait(1, "waiting", since=marks[0])
        time.sleep(SILENCE)  # what was on its way arrives
        before, began = self._download.received, time.monotonic()
        time.sleep(STALL_SECONDS)
        stalled = self._download.received - before
        resets = server_events.count("reset", since=marks[0])
        field.lab.move("loc1")
        mobile_events.wait(marks[1] + 1, "migrated")
        self._download.wait_for(self._download.received + 1, PATIENCE)
        return {
            "bytes during the stall": stalled,
            "stall": time.monotonic() - began,
            "resets": resets,
        }

    # --- one attack ---------------------------------------------------------------------------------------------------

    def _move(self, to: str) -> Seen:
        """The mobile moves; its Migrate SYN."""
        done = [self._field.events[name].count("migrated") + 1 for name in ("mobile", "server")]
        self._field.lab.move(to)
        for name, count in zip(("mobile", "server"), done, strict=True):
            self._field.events[name].wait(count, "migrated")
        return self._field.recorded(self._captures["server"])[-1]

    def _try(self, name: str, lacks: str, packets: Sequence[bytes], *, cause: str = "", target: str = "server") -> None:
        field = self._field
        field.context.step(f"attacking: {name}")
        events = field.events[target]
        mark, began, had = len(events.all()), time.time(), self._download.received
        with field.attacker.listening() as hear:
            sent = field.attacker.send(packets, GAP_SECONDS)
            if cause:
                with contextlib.suppress(NoEvent):
                    events.wait(sent, "ignored", cause, since=mark, patience=3)
            ear = [seen for seen in hear(SILENCE) if seen.flags & (SYN | RST)]
        seconds = time.time() - began
        with contextlib.suppress(ProgramError):
            self._download.wait_for(had + 10_000, 15)
        wanted = {_identity(packet) for packet in packets}
        seen = self._seen(target, began, wanted, sent)
        out = [one for one in seen if one.target in {each.target for each in ear} | {self._own}]
        attack = Attack(
            name=name,
            lacks=lacks,
            sent=sent,
            arrived=sum(one.identity in wanted for one in seen),
            answered=sum(_answers(one) for one in ear),
            answered_there=sum(_answers(one) for one in out),
            refused=sum(bool(one.flags & RST) for one in ear),
            refused_there=sum(bool(one.flags & RST) for one in out),
            ignored=events.count("ignored", cause, since=mark),
            cause=cause,
            accepted=events.count("answered", since=mark) + events.count("waiting", since=mark),
            seconds=seconds,
            progress=self._download.received - had,
        )
        self.done.append(attack)
        if attack.accepted or attack.answered or not attack.progress:
            if not self._download.running:
                raise Invalid(f"the transfer ended while it was attacked by {name}")
            raise Beaten(name)

    def _seen(self, target: str, since: float, wanted: set[Identity], count: int) -> list[Seen]:
        """What the capture at the victim has, once it has all that was sent, or has had its time."""
        files = (
            [self._captures[target]]
            if target == "server"
            else [self._captures[f"mobile-{place}"] for place in ("loc1", "loc2")]
        )
        end = time.monotonic() + CAPTURE_SECONDS
        while True:
            seen = [one for file in files for one in read(file) if one.time >= since]
            if time.monotonic() > end or sum(one.identity in wanted for one in seen) >= count:
                return seen
            time.sleep(0.1)


def _option(seen: Seen) -> bytes:
    assert seen.migrate is not None
    return seen.migrate


def _answers(seen: Seen) -> bool:
    return seen.flags & (SYN | ACK) == SYN | ACK


def _identity(packet: bytes) -> Identity:
    kind = b"\x08\x00" if packet[0] >> 4 == 4 else b"\x86\xdd"
    seen = heard(bytes(12) + kind + packet)
    assert seen is not None
    return seen.identity


# --- attackers who know enough ----------------------------------------------------------------------------------------


def numbers(captures: dict[str, Path], opened: float) -> tuple[Seen, Seen, int]:
    """SYN, SYN/ACK and snd_una - 1 of the mobile, of the last connection that was opened before that time."""
    capture = read(captures["server"], SYN | PSH)
    syns = [one for one in capture if one.flags & (SYN | ACK) == SYN and one.migrate is None and one.time < opened]
    syn = syns[-1]
    answer = next(one for one in capture if _answers(one) and one.target == syn.source and one.ack == syn.seq + 1)
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
