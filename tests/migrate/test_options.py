"""TCP options: what is sent is what the draft says, and what arrives may be anything."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from migrate.core import (
    CURVE_INSECURE,
    CURVE_P192,
    MIGRATE_KIND,
    MP_KIND,
    Migrate,
    MigratePermitted,
    Option,
    OptionError,
    options,
    sack_blocks,
    sack_option,
    timestamp,
    timestamp_option,
)

eight = st.binary(min_size=8, max_size=8)


def test_kinds_are_the_papers() -> None:
    assert (MP_KIND, MIGRATE_KIND) == (15, 16)


def test_migrate_permitted_with_a_key_is_20_bytes() -> None:
    assert MigratePermitted(CURVE_P192, bytes(range(17))).encode().hex() == "0f1402" + bytes(range(17)).hex()


def test_migrate_permitted_without_a_key_is_3_bytes() -> None:
    assert MigratePermitted(CURVE_INSECURE).encode() == bytes((15, 3, 0))


def test_migrate_is_19_bytes_behind_a_nop() -> None:
    raw = Migrate(False, 5, b"TTTTTTTT", b"RRRRRRRR").encode()
    assert raw == b"\x01\x10\x13\x05TTTTTTTTRRRRRRRR"
    assert len(raw) == 20


def test_preload_is_the_first_bit_of_the_octet() -> None:
    assert Migrate(True, 5, b"TTTTTTTT", b"RRRRRRRR").encode()[3] == 0x85
    assert options.octet(True, 5) == 0x85
    assert options.octet(False, 128 + 5) == 5


def test_the_options_of_a_syn_fill_40_bytes() -> None:
    """MSS 4, SACK-permitted 2, Timestamp 10, window scale 3 and a NOP, MP 20."""
    syn = bytes.fromhex("020405b40402080a000000000000000001030307")
    syn += MigratePermitted(CURVE_P192, bytes(17)).encode()
    assert len(syn) == 40
    assert options.find(syn, MP_KIND) == bytes((2,)) + bytes(17)


@given(st.booleans(), st.integers(0, 127), eight, eight)
def test_migrate_there_and_back(preload: bool, reqno: int, token: bytes, request: bytes) -> None:
    option = Migrate(preload, reqno, token, request)
    data = options.find(option.encode(), MIGRATE_KIND)
    assert data is not None
    assert Migrate.decode(data) == option
    assert data[0] == option.octet == options.octet(preload, reqno)


@given(st.integers(1, 255), st.binary(min_size=17, max_size=17))
def test_migrate_permitted_there_and_back(curve: int, key: bytes) -> None:
    option = MigratePermitted(curve, key)
    data = options.find(option.encode(), MP_KIND)
    assert data is not None
    assert MigratePermitted.decode(data) == option


@given(st.lists(st.builds(Option, st.integers(2, 255), st.binary(max_size=20)), max_size=6), st.binary(max_size=4))
def test_split_finds_what_was_put_there(parts: list[Option], rest: bytes) -> None:
    raw = b"".join(b"\1" * (kind % 3) + bytes((kind, len(data) + 2)) + data for kind, data in parts)
    assert options.split(raw + b"\0" + rest) == tuple(parts)


@given(st.binary(max_size=60))
@example(b"\x0f")
@example(b"\x0f\x00")
@example(b"\x0f\x01")
@example(b"\x10\x14aaaaaaaa")
@example(b"\x08\x05aaa")
@example(b"\x05\x05aaa")
def test_malformed_options_raise_nothing_but_optionerror(raw: bytes) -> None:
    for read in (options.split, timestamp, sack_blocks, Migrate.decode, MigratePermitted.decode):
        with contextlib.suppress(OptionError):
            read(raw)


@pytest.mark.parametrize("raw", [b"\x0f", b"\x0f\x00", b"\x0f\x01", b"\x0f\x03", b"\x02\x04\x05\xb4\x10\x13abc"])
def test_lengths_that_cannot_be(raw: bytes) -> None:
    with pytest.raises(OptionError, match="at byte"):
        options.split(raw)


@given(st.binary(max_size=40).filter(lambda data: len(data) != 17))
def test_a_migrate_option_of_another_length_is_none(data: bytes) -> None:
    with pytest.raises(OptionError, match="17 bytes"):
        Migrate.decode(data)


@given(st.integers(0, 255), st.binary(max_size=30))
def test_a_key_is_17_bytes_or_there_is_none(curve: int, key: bytes) -> None:
    if len(key) == (17 if curve else 0):
        MigratePermitted(curve, key)
    else:
        with pytest.raises(OptionError, match="key bytes"):
            MigratePermitted.decode(bytes((curve,)) + key)


def test_what_cannot_be_sent() -> None:
    for make in (
        lambda: Migrate(False, 128, bytes(8), bytes(8)),
        lambda: Migrate(False, -1, bytes(8), bytes(8)),
        lambda: Migrate(False, 0, bytes(7), bytes(8)),
        lambda: Migrate(False, 0, bytes(8), bytes(9)),
        lambda: MigratePermitted(256, bytes(17)),
        lambda: sack_option([(0, 1)] * 5),
    ):
        with pytest.raises(OptionError):
            make()


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_timestamps_there_and_back(tsval: int, tsecr: int) -> None:
    raw = timestamp_option(tsval, tsecr)
    assert len(raw) == 12
    assert timestamp(raw) == (tsval, tsecr)
    assert sack_blocks(raw) == ()


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)), max_size=4))
def test_sack_blocks_there_and_back(blocks: list[tuple[int, int]]) -> None:
    raw = sack_option(blocks)
    assert len(raw) % 4 == 0
    assert sack_blocks(raw) == tuple(blocks)
    assert timestamp(raw) is None
