"""Soft state: its bytes, its size, and the messages that carry it."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.failover import messages
from migrate.failover.mapping import Answer
from migrate.failover.seal import Sealer
from migrate.failover.state import MOST_BYTES, SoftState, StateError
from migrate.failover.takeover import Options, Secrets

WORD, LONG = st.integers(0, 2**32 - 1), st.integers(0, 2**63)
SCALE = st.integers(0, 14)
ANSWERS = st.builds(
    Answer,
    head_length=WORD,
    head_digest=st.binary(min_size=16, max_size=16),
    date=WORD,
    validator=st.binary(max_size=40),
    first=LONG,
    length=LONG,
    total=LONG,
    closes=st.booleans(),
    reason=st.text("abc ", max_size=40),
)
OPTIONS = st.one_of(
    st.builds(Options, st.integers(48, 65535), SCALE, SCALE, st.booleans()),
    st.builds(Options, st.integers(48, 65535), st.none(), st.none(), st.booleans()),
)
SECRETS = st.builds(
    Secrets,
    ni=WORD,
    na=WORD,
    k=st.binary(min_size=25, max_size=25),
    sent=WORD,
    accepted=WORD,
    name=st.binary(min_size=4, max_size=4).map(bytes.hex),
)
STATES = st.builds(
    SoftState,
    client=st.tuples(st.ip_addresses().map(str), st.integers(1, 65535)),
    secrets=SECRETS,
    options=OPTIONS,
    mapper=st.integers(0, 255),
    revision=WORD,
    asked_at=LONG,
    asked=st.binary(max_size=150),
    answered_at=LONG,
    answer=st.none() | ANSWERS,
)
CURL = b"GET /a/rather/long/path/to/some/object-1234567890.tar.gz HTTP/1.1\r\nHost: 10.0.2.2:8080\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n"  # fmt: skip # noqa: E501
FIREFOX = b"\r\n".join([
    b"GET /videos/2026/11/25/lecture-17-connection-migration-1080p.mp4 HTTP/1.1", b"Host: mirror.example.org",
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    b"Accept-Language: en-US,en;q=0.5", b"Accept-Encoding: gzip, deflate", b"Connection: keep-alive",
    b"Upgrade-Insecure-Requests: 1", b"Range: bytes=1048576-", b"\r\n",
])  # fmt: skip


@given(STATES)
def test_there_and_back(state: SoftState) -> None:
    assert SoftState.from_bytes(state.to_bytes()) == state
    assert messages.parse(messages.pack(messages.Told(state))) == messages.Told(state)


@given(STATES, st.integers(0, 500))
def test_cut_off_is_refused(state: SoftState, at: int) -> None:
    raw = state.to_bytes()
    if at < len(raw):
        with pytest.raises(StateError):
            SoftState.from_bytes(raw[:at])


@given(st.binary(max_size=100))
def test_noise_is_refused(noise: bytes) -> None:
    with pytest.raises(messages.MessageError):
        messages.parse(b"\x01" + noise[:83])
    with pytest.raises(messages.MessageError):
        messages.parse(b"\x99" + noise)


def state(asked: bytes, address: str = "fd00:1234:5678:9abc:def0:1234:5678:9abc") -> SoftState:
    answer = Answer(240, bytes(range(16)), 1_700_000_000, b'"69a5c1f0-6400000"', 0, 104_857_600, 104_857_600)
    secrets = Secrets(1, 2, bytes(range(25)), 3, 4, "01020304")
    return SoftState((address, 40000), secrets, Options(1460, 10, 10, True), 1, 7, 0, asked, 0, answer)


@pytest.mark.parametrize("asked", [CURL, FIREFOX])
def test_a_datagram_is_at_most_512_bytes(asked: bytes) -> None:
    datagram = Sealer(b"k" * 16, "a-server-with-a-rather-long-name", 1).seal(
        messages.pack(messages.Told(state(asked))), 1
    )
    assert len(datagram) <= 512


def test_what_does_not_fit_says_so() -> None:
    secret = Random(1).randbytes(400)
    with pytest.raises(StateError, match="a request of 400 bytes does not fit"):
        state(secret).to_bytes()
    assert MOST_BYTES + 1 + 16 + 16 + 6 + 1 + 32 <= 512, "seal, kind, and a name of 32 bytes"
