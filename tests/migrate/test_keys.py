"""Keys, the secret, Token and Request, against an independent reading of the draft's formulas."""

from __future__ import annotations

import contextlib
import hashlib
import struct

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from migrate.core import INSECURE_SECRET, BadKey, KeyPair, join_key, keys, shared_secret, split_key

# NIST P-192 (FIPS 186-4, D.1.2.1): the base point is the public key of the private key 1.
GX = 0x188DA80EB03090F67CBF20EB43A18800F4FF0AFD82FF1012
GY = 0x07192B95FFC8DA78631011ED6B24CDD573F977A11E794811
P = 2**192 - 2**64 - 1
B = 0x64210519E59C80E70FA7E9AB72243049FEB8DEECC146B9B1
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFF99DEF836146BC9B1B4D22831

sequence_numbers = st.integers(0, 2**32 - 1)
secrets = st.binary(min_size=25, max_size=25)


def private(number: int) -> bytes:
    return number.to_bytes(24, "big")


def times(number: int) -> tuple[int, int]:
    """number * G by the schoolbook's formulas."""

    def add(a: tuple[int, int] | None, b: tuple[int, int] | None) -> tuple[int, int] | None:
        if a is None or b is None:
            return a or b
        if a[0] == b[0] and (a[1] + b[1]) % P == 0:
            return None
        if a == b:
            slope = (3 * a[0] ** 2 - 3) * pow(2 * a[1], -1, P)
        else:
            slope = (b[1] - a[1]) * pow(b[0] - a[0], -1, P)
        x = (slope**2 - a[0] - b[0]) % P
        return x, (slope * (a[0] - x) - a[1]) % P

    total, step = None, (GX, GY)
    while number:
        if number & 1:
            total = add(total, step)
        doubled = add(step, step)
        assert doubled is not None
        step, number = doubled, number >> 1
    assert total is not None
    return total


def test_the_key_of_one_is_the_base_point() -> None:
    assert KeyPair.from_private(private(1)).public == bytes((2 + GY % 2,)) + private(GX)


@given(st.integers(2, ORDER - 1))
def test_public_keys_are_multiples_of_the_base_point(number: int) -> None:
    x, y = times(number)
    assert KeyPair.from_private(private(number)).public == bytes((2 + y % 2,)) + private(x)


def test_a_key_is_25_bytes() -> None:
    made = KeyPair.generate()
    assert len(made.public) == 25
    assert made.public[0] in (2, 3)
    assert len(made.private) == 24
    assert KeyPair.from_private(made.private) == made
    assert KeyPair.generate() != made


@given(st.integers(2, 2**60), st.integers(2, 2**60))
def test_both_ends_have_one_secret(a: int, b: int) -> None:
    here, there = KeyPair.from_private(private(a)), KeyPair.from_private(private(b))
    k = shared_secret(here.private, there.public)
    assert k == shared_secret(there.private, here.public)
    assert k == b"\0" + private(times(a * b)[0])  # X only, 24 bytes, padded with a zero to 25


def test_a_secret_that_begins_with_zeros_keeps_its_length() -> None:
    number = next(n for n in range(2, 2000) if times(n)[0] < 2**184)
    k = shared_secret(private(1), KeyPair.from_private(private(number)).public)
    assert len(k) == 25
    assert k[:2] == bytes(2)


def test_a_key_in_use_is_not_made_of_its_bytes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many others are made meanwhile."""
    used, peer = KeyPair.generate(), KeyPair.generate()
    k = shared_secret(used.private, peer.public)
    monkeypatch.delattr(ec, "derive_private_key")
    for _ in range(100):
        KeyPair.generate()
        assert shared_secret(used.private, peer.public) == k


def off_the_curve() -> int:
    """An x for which there is no y."""
    return next(x for x in range(1, 100) if pow(x**3 - 3 * x + B, (P - 1) // 2, P) == P - 1)


@pytest.mark.parametrize(
    "public",
    [
        b"",
        b"\0",
        bytes(25),
        b"\2" + private(off_the_curve()),
        b"\3" + private(off_the_curve()),
        b"\2" + b"\xff" * 24,  # x is not smaller than p
        b"\4" + private(GX),
        b"\5" + private(GX),
        b"\2" + private(GX)[:-1],
        b"\2" + private(GX) + b"\0",
        b"\4" + private(GX) + private(GY),  # a point, but not a compressed one
    ],
)
def test_bad_points_are_refused(public: bytes) -> None:
    with pytest.raises(BadKey, match="public key"):
        shared_secret(private(7), public)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_key_or_badkey(public: bytes) -> None:
    with contextlib.suppress(BadKey):
        assert len(shared_secret(private(7), public)) == 25


@pytest.mark.parametrize("wrong", [b"", bytes(24), b"\xff" * 24, private(1)[1:], private(ORDER)])
def test_bad_private_keys_are_refused(wrong: bytes) -> None:
    with pytest.raises(BadKey, match="private key"):
        KeyPair.from_private(wrong)


@given(secrets)
def test_key_data_travels_in_three_places(public: bytes) -> None:
    parts = split_key(public)
    assert [len(part) for part in parts] == [17, 4, 4]
    assert b"".join(parts) == public == join_key(*parts)


def test_key_data_of_another_length() -> None:
    with pytest.raises(BadKey, match="25 bytes"):
        split_key(bytes(24))
    with pytest.raises(BadKey, match="17 bytes"):
        join_key(bytes(17), bytes(4), bytes(3))


def test_the_insecure_secret_is_25_zeros() -> None:
    assert bytes(25) == INSECURE_SECRET


def test_token_and_request_by_hand() -> None:
    """printf '\\x00\\x00\\x00\\x01\\x00\\x00\\x00\\x02' plus 25 zero bytes, through sha1sum."""
    assert keys.token(1, 2, bytes(25)).hex() == "9eb5834d93479e6a"
    assert keys.request(1, 2, bytes(25), 3, 0x81, 1).hex() == "16d4efb565296ae0"


@given(sequence_numbers, sequence_numbers, secrets)
def test_token(ni: int, na: int, k: bytes) -> None:
    assert keys.token(ni, na, k) == hashlib.sha1(struct.pack(">II", ni, na) + k).digest()[:8]


@given(sequence_numbers, sequence_numbers, secrets, sequence_numbers, st.booleans(), st.integers(0, 2**32 - 1))
def test_request(ni: int, na: int, k: bytes, s: int, preload: bool, count: int) -> None:
    octet = 128 * preload + count % 128
    covered = struct.pack(">II", ni, na) + k + struct.pack(">IB", s, octet)
    if count > 127:
        covered += struct.pack(">I", count // 128)
    assert keys.request(ni, na, k, s, octet, count) == hashlib.sha1(covered).digest()[:8]


def test_the_high_bits_are_covered_once_the_count_has_passed_127() -> None:
    proofs = [keys.request(1, 2, bytes(25), 3, count % 128, count) for count in (5, 133, 261)]
    assert len(set(proofs)) == 3
    draft = hashlib.sha1(struct.pack(">II", 1, 2) + bytes(25) + struct.pack(">IB", 3, 127)).digest()[:8]
    assert keys.request(1, 2, bytes(25), 3, 127, 127) == draft


@given(st.integers(0, 1), st.integers(0, 127), st.integers(0, 127))
def test_the_octet_is_covered(preload: int, one: int, other: int) -> None:
    """P too: a request cannot be turned into one of a replica."""
    first = keys.request(1, 2, bytes(25), 3, 128 * preload + one, one)
    second = keys.request(1, 2, bytes(25), 3, 128 * (1 - preload) + other, other)
    assert first != second
