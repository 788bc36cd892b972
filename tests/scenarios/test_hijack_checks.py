"""What `hijack` checks, on made-up counts: right ones pass, and each that is wrong turns its own check red."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6

from migrate.core import keys
from scenarios import attack_packets as packets
from scenarios.attack_packets import End, Seen
from scenarios.attacker import Loot
from scenarios.flooder import packets as split_flood
from scenarios.hijack_checks import (
    Attack,
    Round,
    Takeover,
    of_attack,
    of_exact_reset,
    of_floods,
    of_takeover,
    slowdown,
    table,
    verdict,
)
from scenarios.verdict import Check, Verdict

GOOD = Attack("forged", "all", 200, 200, 0, 0, 10, 10, 200, "wrong", 0, 1e9, 0.5, 50_000, True)
SERVER, OWN = End("10.0.100.2", 8080), End("10.66.0.1", 5555)
ANSWER = Seen(SERVER, OWN, packets.SYN | packets.ACK, 1, 2, b"", b"")
FILE = bytes(range(256)) * 100
HAD = Takeover(Loot(ANSWER, False, FILE[300:5000]), 1)
REFUSED = Takeover(Loot(None, True, b""), 0)


def red(checks: list[Check]) -> list[str]:
    return [check.name.split(": ")[1] for check in checks if check.verdict is not Verdict.PASS]


def test_an_attack_that_fails_passes() -> None:
    assert red(of_attack(GOOD)) == []
    assert verdict(of_attack(GOOD)) == "fails"


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"arrived": 80, "ignored": 80}, "arrived at the victim"),
        ({"answered": 1}, "SYN/ACKs to the attacker"),
        ({"answered_there": 1}, "SYN/ACKs to the attacker, at the victim"),
        ({"accepted": 1}, "accepted by the victim's migrated"),
        ({"refused_there": 11}, "RSTs to the attacker, at the victim"),
        ({"refused": 18, "refused_there": 18}, "RSTs to the attacker"),
        ({"refused": 0, "refused_there": 0}, "RSTs to the attacker"),
        ({"by_rst": False}, "RSTs to the attacker"),
        ({"progress": 0}, "bytes of the transfer meanwhile"),
        ({"ignored": 199}, "ignored, wrong"),
    ],
)
def test_each_count_has_its_check(wrong: dict[str, int], name: str) -> None:
    assert red(of_attack(replace(GOOD, **wrong))) == [name]  # type: ignore[arg-type]


def test_takeovers() -> None:
    assert red(of_takeover("x", HAD, FILE, succeeds=True)) == []
    assert red(of_takeover("x", REFUSED, FILE, succeeds=False)) == []
    assert len(red(of_takeover("x", REFUSED, FILE, succeeds=True))) == 3
    assert len(red(of_takeover("x", HAD, FILE, succeeds=False))) == 4
    other = replace(HAD, loot=replace(HAD.loot, data=b"something else"))
    assert red(of_takeover("x", other, FILE, succeeds=True)) == ["bytes of the file in the attacker's hands"]
    assert verdict(of_takeover("x", HAD, FILE, succeeds=True), succeeds=True) == "succeeds, as protocol says"


def test_an_exact_reset() -> None:
    assert red(of_exact_reset({"bytes during the stall": 0, "resets": 0})) == []
    assert red(of_exact_reset({"bytes during the stall": 9, "resets": 0})) == ["bytes during the stall"]
    assert red(of_exact_reset({"bytes during the stall": 0, "resets": 1})) == ["resets of the program's connection"]


QUIET = Round("quiet", 0, 0, 0, 0, 2.0, 200, 0.0, 0.01)
ORDINARY = Round("ordinary", 100, 100, 0, 100, 2.0, 180, 0.0, 0.02)
MIGRATE = Round("migrate", 100, 100, 0, 60, 2.0, 150, 0.1, 0.02)


def floods(**wrong: object) -> list[str]:
    return red(of_floods([QUIET, ORDINARY, replace(MIGRATE, **wrong)], 100, 2.0))  # type: ignore[arg-type]


def test_floods() -> None:
    assert floods() == []
    assert floods(sent=99) == ["sent", "passed on to the server"]
    assert floods(answered=1) == ["SYN/ACKs"]
    assert floods(refused=0) == ["RSTs"]
    assert floods(refused=2001) == ["RSTs"]
    assert floods(transferred=0) == ["least of the transfer in a round"]
    assert floods(move_seconds=None) == ["a true move meanwhile"]
    assert floods(move_seconds=1.01) == ["a true move meanwhile"]
    assert slowdown([QUIET, ORDINARY, MIGRATE], "ordinary") == pytest.approx(0.1)
    assert slowdown([QUIET, ORDINARY, MIGRATE], "migrate") == pytest.approx(0.25)


def test_a_table() -> None:
    assert table([("a", "bc"), (10, "d")]) == "a   bc\n10  d\n"


# --- the packets ------------------------------------------------------------------------------------------------------


def test_an_attackers_own_formulas_are_the_protocols() -> None:
    k = bytes(range(25))
    assert packets.token(1, 2, k) == keys.token(1, 2, k)
    assert packets.request(1, 2, k, 3, 4) == keys.request(1, 2, k, 3, 4, 4)
    assert len(packets.own_option(1, 2, k, 3)) == 17


@pytest.mark.parametrize(
    ("own", "server", "sources"),
    [
        ("10.66.0.1", "10.0.100.2", ["10.66.0.5", "10.66.200.1"]),
        ("fd66::1", "fd00:100::2", ["fd66::5", "fd66:0:0:77::1"]),
    ],
)
@pytest.mark.parametrize("vary", [slice(4, 20), slice(12, 20), slice(0, 0)])
def test_the_packets_of_a_flood_are_whole(own: str, server: str, sources: list[str], vary: slice) -> None:
    option = bytes(range(17))
    first = packets.migrate_syn(End(own, 5), End(server, 8080), 77, option)
    some = packets.variations(first, sources, Random(1), vary)
    made = [next(some) for _ in range(100)]
    assert len(set(made)) == 100
    assert split_flood(b"".join(made)) == made
    for raw in made:
        packet = (IP if raw[0] >> 4 == 4 else IPv6)(raw)
        assert packet.src in sources
        again = packet.copy()
        del again[TCP].chksum
        if raw[0] >> 4 == 4:
            del again.chksum
        assert bytes(again) == raw
        seen = packets.heard(bytes(12) + (b"\x08\x00" if raw[0] >> 4 == 4 else b"\x86\xdd") + raw)
        assert seen is not None
        assert seen.migrate is not None
        assert seen.target == End(server, 8080)
        assert seen.migrate[:1] == option[:1]


def test_the_two_floods_weigh_the_same() -> None:
    migrate = packets.migrate_syn(OWN, SERVER, 1, bytes(17))
    assert len(packets.ordinary_syn(OWN, SERVER, 1)) == len(migrate)
