"""What a replica's request to migrated must say, and what is written down of a connection that was taken over."""

from __future__ import annotations

from typing import Any

import pytest

from migrate.daemon.adoption import Request
from migrate.daemon.control import RequestError
from migrate.linux.maps import HANDSHAKE, HS_ADOPTED, HS_INITIATOR, Negotiated
from migrate.linux.newcomer import Terms

K = bytes(range(25))
ASKED: dict[str, Any] = {
    "do": "adopt",
    "ni": 1,
    "na": 0xFFFFFFFF,
    "k": K.hex(),
    "sent": 3,
    "accepted": 200,
    "remote": "fd00::1",
    "remote_port": 40000,
    "mss": 1440,
    "snd_wscale": 10,
    "rcv_wscale": 7,
    "sack": True,
    "tries": 2,
    "source": None,
    "fd": 7,
    "inode": 12345,
}


def test_a_request_that_makes_sense() -> None:
    request = Request.parse(ASKED)
    assert request.negotiated == Negotiated.of_another_host(1, 0xFFFFFFFF, K)
    assert (request.sent, request.accepted, request.tries) == (3, 200, 2)
    assert request.terms == Terms(1440, 10, 7, True)


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("ni", -1),
        ("na", 1 << 32),
        ("na", "1"),
        ("k", K[1:].hex()),
        ("k", "no hex"),
        ("sent", None),
        ("accepted", 1.5),
        ("remote", "nowhere"),
        ("remote_port", 0),
        ("remote_port", 65536),
        ("mss", 10),
        ("mss", None),
        ("snd_wscale", 15),
        ("snd_wscale", None),
        ("rcv_wscale", "7"),
        ("source", "10.0.0.1"),
        ("fd", None),
    ],
)
def test_one_that_makes_none(field: str, wrong: object) -> None:
    with pytest.raises(RequestError, match="makes no sense") as error:
        Request.parse(ASKED | {field: wrong})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("field", sorted(ASKED.keys() - {"do", "tries", "source"}))
def test_one_that_says_too_little(field: str) -> None:
    with pytest.raises(RequestError, match=field):
        Request.parse({key: value for key, value in ASKED.items() if key != field})


def test_the_secret_is_written_down_in_place_of_a_key() -> None:
    negotiated = Negotiated.of_another_host(1, 2, K)
    raw = negotiated.pack()
    assert Negotiated.unpack(raw) == negotiated
    flags = HANDSHAKE.unpack(raw)[3]
    assert flags & HS_ADOPTED
    assert not flags & HS_INITIATOR, "a replica is a server"
    assert K in raw
