"""Scripted losses: one rule a line, in words.

    drop data 3,5 after 40000 bytes         the 3rd and 5th data segment after 40,000 bytes of data have entered
    drop migrate-syn 1                      the first Migrate SYN
    duplicate syn-ack 1 toward mobile       only in the direction that leads to that end
    drop ack 1 after migrate-syn            the first pure ACK after a Migrate SYN has entered
    delay data 4 by 30 ms                   delivered late, so behind those that follow it

    ACTION KIND [NUMBERS] [by TIME] [after CONDITION] [toward END]

ACTION is drop, duplicate or delay (with `by`). KIND is any, data, ack, syn, syn-ack, migrate-syn, fin or rst. NUMBERS
counts packets of that kind from 1, once the condition holds: `3`, `3,5`, `2-4`, `2-`; without it, every one. CONDITION
is `N bytes` of TCP payload, or a kind, with how often it must have been seen if more than once (`after data 10`). A
packet that fulfils the condition is not itself counted. Without `toward` a rule watches both directions as one
sequence. Counting starts when the rule is added, and retransmissions count like any other packet.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field

from migrate.core.options import MIGRATE_KIND

KINDS = ("any", "data", "ack", "syn", "syn-ack", "migrate-syn", "fin", "rst")
_FIN, _SYN, _RST, _ACK = 1, 2, 4, 16
_TCP = 6
_MS = 1_000_000


class RuleError(ValueError):
    """A rule cannot be understood; the text says what is wrong in which rule."""


@dataclass(frozen=True)
class Packet:
    """What the cable and its rules need of a packet."""

    size: int
    """Bytes of the IP packet."""
    kinds: frozenset[str]
    payload: int = 0
    """Bytes of TCP payload."""
    seq: int | None = None
    """TCP sequence number, for the log."""


@dataclass(frozen=True)
class Fate:
    """What the rules do to a packet: how many copies arrive, and how much later."""

    copies: int = 1
    delay_ns: int = 0


@dataclass(frozen=True)
class Firing:
    """A rule has acted on a packet."""

    rule: str
    toward: str
    seq: int | None
    payload: int


@dataclass
class Rule:
    """One rule and how far it has come."""

    text: str
    action: str
    kind: str
    numbers: tuple[tuple[int, int | None], ...]
    delay_ns: int
    after_kind: str | None
    after_count: int
    toward: str | None
    pending: int = field(init=False)
    matched: int = 0
    """Packets of the kind counted since the condition held."""
    fired: int = 0

    def __post_init__(self) -> None:
        self.pending = self.after_count

    def meets(self, packet: Packet, toward: str) -> bool:
        """Count the packet, and say whether the rule acts on it."""
        if self.toward is not None and self.toward != toward:
            return False
        if self.pending > 0:
            if self.after_kind == "bytes":
                self.pending -= packet.payload
            elif self.after_kind in packet.kinds:
                self.pending -= 1
            return False
        if self.kind not in packet.kinds:
            return False
        self.matched += 1
        if not any(low <= self.matched and (high is None or self.matched <= high) for low, high in self.numbers):
            return False
        self.fired += 1
        return True


_RULE = re.compile(
    r"""(?P<action>\S+) \s+ (?P<kind>\S+)
        (?: \s+ (?P<numbers>\d[\d,\s-]*?) )?
        (?: \s+ by \s+ (?P<time>\d+(?:\.\d+)?) \s* (?P<unit>ms|s) )?
        (?: \s+ after \s+ (?: (?P<bytes>\d+)\s+bytes | (?P<after>[a-z-]+)(?:\s+(?P<count>\d+))? ) )?
        (?: \s+ toward \s+ (?P<toward>\S+) )?""",
    re.VERBOSE,
)


def parse(text: str, ends: tuple[str, str]) -> Rule:
    """Read one rule; raises `RuleError`. `ends` are the names that `toward` may have."""
    found = _RULE.fullmatch(text.strip())
    if found is None:
        raise RuleError(
            f"`{text}` is not a rule: write ACTION KIND [NUMBERS] [by TIME] [after CONDITION] [toward END], "
            "for example `drop data 3,5 after 40000 bytes`"
        )
    action, kind, toward = found["action"], found["kind"], found["toward"]
    if action not in ("drop", "duplicate", "delay"):
        raise RuleError(f"`{text}`: {action} is not an action: use drop, duplicate or delay")
    for name in (kind, found["after"]):
        if name is not None and name not in KINDS:
            raise RuleError(f"`{text}`: {name} is not a kind of packet: use {', '.join(KINDS)}")
    if (action == "delay") != (found["time"] is not None):
        raise RuleError(f"`{text}`: `by TIME` belongs to delay, and delay needs it: `delay data 4 by 30 ms`")
    if toward is not None and toward not in ends:
        raise RuleError(f"`{text}`: {toward} is not an end of this cable: use {ends[0]} or {ends[1]}")
    return Rule(
        text=text.strip(),
        action=action,
        kind=kind,
        numbers=_numbers(found["numbers"], text),
        delay_ns=round(float(found["time"] or 0) * (_MS if found["unit"] == "ms" else 1000 * _MS)),
        after_kind="bytes" if found["bytes"] else found["after"],
        after_count=int(found["bytes"] or found["count"] or (1 if found["after"] else 0)),
        toward=toward,
    )


def _numbers(text: str | None, rule: str) -> tuple[tuple[int, int | None], ...]:
    if text is None:
        return ((1, None),)
    ranges: list[tuple[int, int | None]] = []
    for item in re.sub(r"\s+", "", text).split(","):
        found = re.fullmatch(r"(\d+)(-(\d*))?", item)
        low, high = (int(found[1]), found[1] if found[2] is None else found[3]) if found else (0, "")
        last = int(high) if high else None
        if low < 1 or (last is not None and last < low):
            raise RuleError(f"`{rule}`: {item or 'nothing'} is no packet number: they count from 1, as in 3,5 or 2-4")
        ranges.append((low, last))
    return tuple(ranges)


class RuleBook:
    """The rules of one cable, in the order in which they were added."""

    def __init__(self, ends: tuple[str, str]) -> None:
        self._ends = ends
        self.rules: list[Rule] = []
        self.firings: list[Firing] = []

    def add(self, text: str) -> None:
        """Add a rule; it counts from now on. Raises `RuleError`."""
        self.rules.append(parse(text, self._ends))

    def clear(self) -> None:
        """Forget all rules (what they did stays in `firings`)."""
        self.rules.clear()

    def judge(self, packet: Packet, toward: str) -> Fate:
        """Show the packet to every rule; losses beat duplicates, delays add up."""
        if not self.rules:
            return _UNTOUCHED
        copies, delay = 1, 0
        for rule in self.rules:
            if rule.meets(packet, toward):
                self.firings.append(Firing(rule.text, toward, packet.seq, packet.payload))
                if rule.action == "drop":
                    copies = 0
                elif rule.action == "duplicate":
                    copies = copies and copies + 1
                else:
                    delay += rule.delay_ns
        return Fate(copies, delay)


_UNTOUCHED = Fate()
_OTHER = frozenset({"any"})


def describe(frame: bytes) -> Packet:
    """What an Ethernet frame with an IPv4 or IPv6 packet is (of anything else: its size without the header)."""
    size = max(0, len(frame) - 14)
    protocol = frame[12:14]
    try:
        if protocol == b"\x08\x00":
            size = int.from_bytes(frame[16:18], "big")
            if frame[23] != _TCP or int.from_bytes(frame[20:22], "big") & 0x1FFF:
                return Packet(size, _OTHER)
            start = 14 + (frame[14] & 15) * 4
        elif protocol == b"\x86\xdd":
            size = 40 + int.from_bytes(frame[18:20], "big")
            if frame[20] != _TCP:
                return Packet(size, _OTHER)
            start = 54
        else:
            return Packet(size, _OTHER)
        seq, offset, flags = struct.unpack_from("!4xI4xBB", frame, start)
    except (IndexError, struct.error):
        return Packet(size, _OTHER)
    header = (offset >> 4) * 4
    payload = max(0, 14 + size - start - header)
    return Packet(size, _kinds(flags, payload, frame[start + 20 : start + header]), payload, seq)


def _kinds(flags: int, payload: int, options: bytes) -> frozenset[str]:
    kinds = {"any"}
    if payload:
        kinds.add("data")
    if flags & _SYN:
        kinds.add("syn-ack" if flags & _ACK else "migrate-syn" if _has_option(options, MIGRATE_KIND) else "syn")
    elif flags & _RST:
        kinds.add("rst")
    elif flags & _FIN:
        kinds.add("fin")
    elif flags & _ACK and not payload:
        kinds.add("ack")
    return frozenset(kinds)


def _has_option(options: bytes, kind: int) -> bool:
    at = 0
    while at < len(options) and options[at] != 0:
        if options[at] == kind:
            return True
        if options[at] == 1:
            at += 1
        elif at + 1 < len(options) and options[at + 1] >= 2:
            at += options[at + 1]
        else:
            return False
    return False
