"""What must be seen of the attacks of `hijack`, each a check, and the table of all of them.  Pure.

Every number is counted twice: by the attacker (what it has sent, what has come back), and by somebody else (the capture
at the victim, the base station's counters, the victim's daemon).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from scenarios.attacker import Loot
from scenarios.verdict import Check

BURST, RATE, TOTAL = 10, 5, 500
"""RSTs that may answer Migrate SYNs: so many to a source at once, so many a second; and a second to all together."""


class Beaten(Exception):
    """An attack that must fail has not: the connection is no longer what the others need."""


@dataclass(frozen=True)
class Attack:
    """One attack that must fail."""

    name: str
    lacks: str
    """What the attacker does not have."""
    sent: int
    arrived: int
    """At the victim, in the capture there."""
    answered: int
    """SYN/ACKs that the attacker has got."""
    answered_there: int
    """And that the victim has sent to it, by the capture there."""
    refused: int
    """RSTs, likewise."""
    refused_there: int
    ignored: int
    """Events of the victim's daemon with that cause ("": not asked for)."""
    cause: str
    accepted: int
    """Times that the victim's daemon has answered a request, or gone to MIGRATE_WAIT."""
    began: float
    """Seconds since 1970."""
    seconds: float
    progress: int
    """Bytes of the transfer during it and just after."""
    by_rst: bool
    """Whether the protocol refuses it by RST (an unknown token, a wrong request), or drops it silently."""


@dataclass(frozen=True)
class Takeover:
    """An attempt to take the connection itself."""

    loot: Loot
    migrated: int
    """Times that the server's daemon says that it has followed the attacker."""


@dataclass(frozen=True)
class Round:
    """A stretch of the transfer, quiet or under a flood."""

    kind: str
    """"quiet", "ordinary" or "migrate"."""
    sent: int
    arrived: int
    answered: int
    refused: int
    """SYN/ACKs and RSTs that came back, by the base station's counters."""
    seconds: float
    transferred: int
    """Bytes, at the mobile's interfaces."""
    daemon_seconds: float
    """Processor time of the server's migrated."""
    move_seconds: float | None
    """A real move in the middle of it: from the mobile's Migrate SYN until both have followed; None: it did not end."""


def of_attack(attack: Attack) -> list[Check]:
    """All that must hold of one attack that must fail."""
    name = attack.name
    checks = [
        # Some drown in the transfer's own queue.
        Check.at_least(f"{name}: arrived at the victim", (attack.sent + 1) // 2, attack.arrived, "packets"),
        Check.equal(f"{name}: SYN/ACKs to the attacker", 0, attack.answered, "packets"),
        Check.equal(f"{name}: SYN/ACKs to the attacker, at the victim", 0, attack.answered_there, "packets"),
        Check.equal(f"{name}: accepted by the victim's migrated", 0, attack.accepted, "times"),
        Check.equal(f"{name}: RSTs to the attacker, at the victim", attack.refused, attack.refused_there, "packets"),
        _refused(attack),
        Check.at_least(f"{name}: bytes of the transfer meanwhile", 1, attack.progress, "bytes"),
    ]
    if attack.cause:
        checks.append(Check.equal(f"{name}: ignored, {attack.cause}", attack.arrived, attack.ignored, "times"))
    return checks


def _refused(attack: Attack) -> Check:
    """Some are refused, but no more than the limit lets; or none is."""
    name = f"{attack.name}: RSTs to the attacker"
    if not attack.by_rst:
        return Check.equal(name, 0, attack.refused, "packets")
    most = BURST + RATE * (attack.seconds + 1)
    return Check.of(name, f"1 to {most:g}", attack.refused, 1 <= attack.refused <= most, "packets")


def of_takeover(name: str, takeover: Takeover, offered: bytes, succeeds: bool) -> list[Check]:
    """Whether an attacker has the connection: it was answered, followed, and given bytes of the file."""
    loot = takeover.loot
    stolen = len(loot.data) if loot.data and loot.data in offered else 0
    if succeeds:
        return [
            Check.of(f"{name}: answered", True, loot.answer is not None, loot.answer is not None),
            Check.equal(f"{name}: followed by the server's migrated", 1, takeover.migrated, "times"),
            Check.at_least(f"{name}: bytes of the file in the attacker's hands", 1, stolen, "bytes"),
        ]
    return [
        Check.equal(f"{name}: answered", False, loot.answer is not None),
        Check.equal(f"{name}: refused", True, loot.refused),
        Check.equal(f"{name}: followed by the server's migrated", 0, takeover.migrated, "times"),
        Check.equal(f"{name}: bytes in the attacker's hands", 0, len(loot.data), "bytes"),
    ]


def of_exact_reset(seen: dict[str, float]) -> list[Check]:
    """Who knows the number exactly does harm, and this is how much."""
    return [
        Check.equal("RST exactly at rcv_nxt: bytes during the stall", 0, seen["bytes during the stall"], "bytes"),
        Check.equal("RST exactly at rcv_nxt: resets of the program's connection", 0, seen["resets"], "times"),
    ]


def of_floods(rounds: Sequence[Round], wanted: int, patience: float) -> list[Check]:
    """Both floods arrived whole, nobody was answered, RSTs were limited, and a true request came through."""
    checks = []
    for kind in ("ordinary", "migrate"):
        own = [one for one in rounds if one.kind == kind]
        name = {"ordinary": "flood of ordinary SYNs", "migrate": "flood of Migrate SYNs"}[kind]
        sent, arrived = sum(one.sent for one in own), sum(one.arrived for one in own)
        refused, seconds = sum(one.refused for one in own), sum(one.seconds for one in own)
        checks += [
            Check.equal(f"{name}: sent", wanted, sent, "packets"),
            Check.equal(f"{name}: passed on to the server", sent, arrived, "packets"),
            Check.equal(f"{name}: SYN/ACKs", 0, sum(one.answered for one in own), "packets"),
        ]
        if kind == "migrate":
            most = len(own) * TOTAL + TOTAL * (seconds + len(own))
            checks.append(Check.of(f"{name}: RSTs", f"1 to {most:.0f}", refused, 0 < refused <= most, "packets"))
        else:
            checks.append(Check.equal(f"{name}: RSTs", sent, refused, "packets"))
        least = min(one.transferred for one in own)
        slowest = max((one.move_seconds if one.move_seconds is not None else patience) for one in own)
        checks += [
            Check.at_least(f"{name}: least of the transfer in a round", 1, least, "bytes"),
            Check.at_most(f"{name}: a true move meanwhile", patience / 2, round(slowest, 3), "s"),
        ]
    return checks


def slowdown(rounds: Sequence[Round], kind: str) -> float:
    """By how much a flood slows the transfer: 0 not at all, 1 altogether; against the quiet rounds."""
    return 1 - rate(rounds, kind) / rate(rounds, "quiet")


def rate(rounds: Sequence[Round], kind: str) -> float:
    """Bytes a second of the transfer in rounds of that kind."""
    own = [one for one in rounds if one.kind == kind]
    return sum(one.transferred for one in own) / sum(one.seconds for one in own)


def table(rows: Sequence[Sequence[object]]) -> str:
    """Rows as text; the first is the heading."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[at]) for row in cells) for at in range(len(cells[0]))]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n" for row in cells
    )


def verdict(checks: Sequence[Check], succeeds: bool = False) -> str:
    """One attack in a word or two."""
    if any(check.verdict != "pass" for check in checks):
        return "not as expected"
    return "succeeds, as protocol says" if succeeds else "fails"


def rows(attacks: Sequence[Attack]) -> Iterator[tuple[object, ...]]:
    """The table's rows of those that must fail."""
    for one in attacks:
        yield (one.name, one.lacks, one.sent, one.answered, one.refused, one.accepted, verdict(of_attack(one)))
