from __future__ import annotations

import pytest

from analysis.capture import ACK, FIN, MALFORMED, PSH, RST, SYN, Packet
from analysis.pictures.view import Seen
from analysis.pictures.wording import flags_of, head_of, options_of
from tests.analysis.pictures.synthetic import MIGRATE_OPTION, SYN_OPTIONS, TIMESTAMP


def seen(
    flags: int,
    *,
    seq: int = 0,
    ack: int | None = None,
    window: int = 8030,
    length: int = 0,
    options: tuple[tuple[int, bytes], ...] = (),
    sacks: tuple[tuple[int, int], ...] = (),
) -> Seen:
    packet = Packet(1, 0.0, "x", "a", 1, "b", 2, flags, seq, ack or 0, window, length, options)
    return Seen(packet, 0.0, 0, True, seq, ack, sacks, 0)


@pytest.mark.parametrize(
    ("flags", "letters"),
    [(SYN, "S"), (SYN | ACK, "S"), (ACK, "."), (PSH | ACK, "P"), (FIN | PSH, "FP"), (RST, "R"), (0, "-")],
)
def test_flags(flags: int, letters: str) -> None:
    assert flags_of(flags) == letters


def test_the_decks_lines() -> None:
    """Slide 30."""
    data = seen(PSH | ACK, seq=505, ack=1, length=1448, window=31_856)
    assert " ".join(head_of(data, None)) == "P 505:1953(1448) ack 1 win 31856"
    assert " ".join(head_of(seen(ACK, ack=505, window=31_856), None)) == ". ack 505 win 31856"
    option = (16, bytes([0x81]) + bytes(16))
    syn = seen(SYN, window=0, options=((1, b""), option))
    assert " ".join(head_of(syn, (2, 2))) == "S 0:0(0) win 0"
    assert options_of(syn) == (f"<migrate PRELOAD req=1 token={'0' * 16} R={'0' * 16}>",)
    assert " ".join(head_of(seen(RST, seq=1), None)) == "R 1:1(0)"


def test_the_window_is_scaled_except_in_a_syn() -> None:
    assert head_of(seen(ACK, ack=1), (2, 7))[-1] == "win 32120"
    assert head_of(seen(SYN | ACK, ack=1), (2, 7))[-1] == "win 8030"
    assert head_of(seen(ACK, ack=1), None)[-1] == "win 8030"


def test_a_syn_shows_all_its_options() -> None:
    assert options_of(seen(SYN, options=SYN_OPTIONS)) == (
        "<migrate-permitted curve=2 key=00010203…>",
        "<mss 1460>",
        "<sackOK>",
        "<timestamp 2711790500 2981278644>",
        "<wscale 2>",
    )


def test_token_and_request_are_shown_whole() -> None:
    assert options_of(seen(SYN, options=(MIGRATE_OPTION,))) == (
        "<migrate req=1 token=0123456789abcdef R=fedcba9876543210>",
    )


def test_an_ordinary_segment_shows_only_what_is_out_of_the_ordinary() -> None:
    assert options_of(seen(ACK, ack=1, options=((1, b""), (1, b""), TIMESTAMP))) == ()
    sack = (5, bytes(16))
    assert options_of(seen(ACK, ack=1, options=(TIMESTAMP, sack), sacks=((10, 20), (30, 40)))) == (
        "<sack 10:20 30:40>",
    )


def test_options_that_do_not_parse_are_shown_as_they_are() -> None:
    options = ((16, b"\x01\x02"), (MALFORMED, b"\xff"), (254, b"\xaa"), (253, b""))
    assert options_of(seen(ACK, ack=1, options=options)) == (
        "<malformed option 16: 0102>",
        "<malformed options: ff>",
        "<option 254: aa>",
        "<option 253>",
    )
