from __future__ import annotations

from ipaddress import ip_address

import pytest

from migrate.core.options import Migrate
from migrate.core.segment import Segment
from topologies.loss_rules import Packet, RuleBook, RuleError, describe, parse

ENDS = ("base", "mobile")
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
MIGRATE = Migrate(preload=False, reqno=1, token=bytes(8), request=bytes(8)).encode()


def frame(flags: int, payload: int = 0, options: bytes = b"", version: int = 4, seq: int = 1) -> bytes:
    src, dst = ("10.0.1.2", "10.0.100.2") if version == 4 else ("fd00:1::2", "fd00:100::2")
    segment = Segment(
        ip_address(src), 40_000, ip_address(dst), 80, flags, seq, 0, 1000, options=options, payload=bytes(payload)
    )
    return bytes(12) + (b"\x08\x00" if version == 4 else b"\x86\xdd") + segment.pack()


SYN_FRAME, SYN_ACK, PURE_ACK, DATA = frame(SYN), frame(SYN | ACK), frame(ACK), frame(ACK | PSH, 1000)
MIGRATE_SYN = frame(SYN, options=MIGRATE)


def fates(rules: list[str], frames: list[bytes], toward: str = "mobile") -> list[int]:
    """How many copies of each frame arrive."""
    book = RuleBook(ENDS)
    for rule in rules:
        book.add(rule)
    return [book.judge(describe(data), toward).copies for data in frames]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(
    ("flags", "payload", "options", "kinds"),
    [
        (SYN, 0, b"", {"syn"}),
        (SYN, 0, MIGRATE, {"migrate-syn"}),
        (SYN | ACK, 0, b"", {"syn-ack"}),
        (SYN | ACK, 0, MIGRATE, {"syn-ack"}),
        (ACK, 0, b"", {"ack"}),
        (ACK | PSH, 3, b"", {"data"}),
        (ACK | FIN, 0, b"", {"fin"}),
        (ACK | FIN, 3, b"", {"fin", "data"}),
        (RST, 0, b"", {"rst"}),
        (RST | ACK, 0, b"", {"rst"}),
    ],
)
def test_kinds(version: int, flags: int, payload: int, options: bytes, kinds: set[str]) -> None:
    packet = describe(frame(flags, payload, options, version, seq=77))
    assert packet.kinds == {"any", *kinds}
    assert (packet.payload, packet.seq) == (payload, 77)


def test_an_option_behind_others_is_found() -> None:
    options = b"\x02\x04\x05\xb4" + MIGRATE
    assert "migrate-syn" in describe(frame(SYN, options=options)).kinds


def test_options_that_do_not_parse_are_no_migrate_syn() -> None:
    for options in (b"\x03\x00\x10\x10", b"\x00\x10\x13\x10", b"\x08\x01\x10\x10"):
        assert "syn" in describe(frame(SYN, options=options)).kinds


@pytest.mark.parametrize("cut", [0, 10, 14, 20, 35, 47])
def test_anything_can_be_described(cut: int) -> None:
    assert describe(frame(ACK)[:cut]).kinds == {"any"}


def test_other_protocols_and_later_fragments_are_just_packets() -> None:
    assert describe(bytes(12) + b"\x08\x06" + bytes(28)) == Packet(28, frozenset({"any"}))
    udp = bytearray(DATA)
    udp[23] = 17
    assert describe(bytes(udp)).kinds == {"any"}
    fragment = bytearray(DATA)
    fragment[21] = 185
    assert describe(bytes(fragment)).kinds == {"any"}


def test_chosen_segments_after_a_number_of_bytes() -> None:
    """Slide 29's losses: the third and fifth data segment after 4,000 bytes."""
    assert fates(["drop data 3,5 after 4000 bytes"], [DATA] * 12) == [1] * 6 + [0, 1, 0] + [1] * 3


def test_other_kinds_are_not_counted() -> None:
    assert fates(["drop data 2"], [SYN_FRAME, DATA, PURE_ACK, PURE_ACK, DATA, DATA]) == [1, 1, 1, 1, 0, 1]


def test_the_first_migrate_syn() -> None:
    assert fates(["drop migrate-syn 1"], [SYN_FRAME, MIGRATE_SYN, MIGRATE_SYN]) == [1, 0, 1]


def test_after_a_kind_the_packet_that_fulfils_it_is_not_counted() -> None:
    frames = [PURE_ACK, MIGRATE_SYN, SYN_ACK, PURE_ACK, PURE_ACK]
    assert fates(["drop ack 1 after migrate-syn"], frames) == [1, 1, 1, 0, 1]
    assert fates(["drop data 1 after data 2"], [DATA] * 4) == [1, 1, 0, 1]


def test_ranges() -> None:
    assert fates(["drop data 2-3, 5-"], [DATA] * 7) == [1, 0, 0, 1, 0, 0, 0]


def test_without_numbers_every_one() -> None:
    assert fates(["drop ack"], [PURE_ACK, DATA, PURE_ACK]) == [0, 1, 0]


def test_duplicates_and_that_losses_beat_them() -> None:
    assert fates(["duplicate syn-ack 1"], [SYN_ACK, SYN_ACK]) == [2, 1]
    assert fates(["duplicate data 1", "drop data 1"], [DATA]) == [0]
    assert fates(["drop data 1", "duplicate data 1"], [DATA]) == [0]


def test_delay() -> None:
    book = RuleBook(ENDS)
    book.add("delay data 1 by 30 ms")
    book.add("delay data 1-2 by 1.5s")
    assert [book.judge(describe(DATA), "base").delay_ns for _ in range(3)] == [1_530_000_000, 1_500_000_000, 0]


def test_toward() -> None:
    rule = ["drop data 1 toward mobile"]
    assert fates(rule, [DATA, DATA], toward="base") == [1, 1]
    assert fates(rule, [DATA, DATA], toward="mobile") == [0, 1]


def test_a_condition_sees_both_directions() -> None:
    """The Migrate SYN goes one way, the SYN/ACK that is to be lost the other."""
    book = RuleBook(ENDS)
    book.add("drop syn-ack 1 after migrate-syn")
    assert book.judge(describe(MIGRATE_SYN), "base").copies == 1
    assert book.judge(describe(SYN_ACK), "mobile").copies == 0


def test_a_rule_counts_from_when_it_is_added() -> None:
    book = RuleBook(ENDS)
    book.judge(describe(DATA), "mobile")
    book.add("drop data 1")
    assert book.judge(describe(DATA), "mobile").copies == 0


def test_what_a_rule_did_can_be_told() -> None:
    book = RuleBook(ENDS)
    book.add("drop data 2")
    for seq in (100, 200, 300):
        book.judge(describe(frame(ACK, 5, seq=seq)), "mobile")
    assert [(firing.rule, firing.toward, firing.seq, firing.payload) for firing in book.firings] == [
        ("drop data 2", "mobile", 200, 5)
    ]
    assert (book.rules[0].matched, book.rules[0].fired) == (3, 1)
    book.clear()
    assert book.judge(describe(DATA), "mobile").copies == 1
    assert len(book.firings) == 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is not a rule"),
        ("drop", "is not a rule"),
        ("drop data 3 before 40 bytes", "is not a rule"),
        ("lose data 3", "lose is not an action"),
        ("drop dta 3", "dta is not a kind"),
        ("drop data 1 after syns", "syns is not a kind"),
        ("drop data 0", "0 is no packet number"),
        ("drop data 3,,5", "nothing is no packet number"),
        ("drop data 5-3", "5-3 is no packet number"),
        ("drop data 1 toward moon", "moon is not an end of this cable: use base or mobile"),
        ("drop data 1 by 3 ms", "belongs to delay"),
        ("delay data 1", "delay needs it"),
    ],
)
def test_a_wrong_rule_is_refused_in_a_sentence(text: str, why: str) -> None:
    with pytest.raises(RuleError, match=why):
        parse(text, ENDS)
