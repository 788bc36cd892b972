"""What a connection's record keeps in the daemon's pinned map, in 192 bytes."""

from __future__ import annotations

import contextlib
from dataclasses import fields
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.core import Connection, FourTuple, State
from migrate.core.record import OWN_REQUESTS, Accepted, Outcome, Record, Request
from tests.migrate.fixtures import NA, NI, OLD, K, answered, asked, connection, move, proof, token

LIMIT = 192
ports, numbers = st.integers(0, 65535), st.integers(0, 2**32 - 1)
pairs = st.builds(FourTuple, st.ip_addresses(v=4), ports, st.ip_addresses(v=4), ports) | st.builds(
    FourTuple, st.ip_addresses(v=6), ports, st.ip_addresses(v=6), ports
)
records = st.fixed_dictionaries(
    {
        "state": st.sampled_from(State),
        "sent_count": numbers,
        "confirmed_count": numbers,
        "accepted_count": numbers,
        "highest": st.none() | numbers,
        "asked": st.none() | pairs,
        "pending": st.none()
        | st.builds(Request, pairs, numbers, st.booleans(), tries=st.integers(1, 255), ambiguous=st.booleans()),
        "accepted": st.none()
        | st.builds(
            Accepted,
            pairs,
            numbers,
            st.integers(0, 255),
            numbers,
            numbers,
            st.integers(0, 65535),
            tries=st.integers(1, 255),
            outcome=st.sampled_from(Outcome),
        ),
        "own": st.lists(st.tuples(numbers, numbers), max_size=64),
    }
).filter(
    lambda r: (r["state"] is not State.SYN_SENT or r["pending"]) and (r["state"] is not State.SYN_RCVD or r["accepted"])
)


def fresh() -> Connection:
    return Connection(OLD, NI, NA, K)


def filled(values: dict[str, object]) -> Connection:
    c = fresh()
    for name, value in values.items():
        setattr(c, name, value)
    return c


def reloaded(raw: bytes) -> Connection:
    c = fresh()
    c.load(raw)
    return c


@given(records)
def test_there_and_back(values: dict[str, object]) -> None:
    back = reloaded(filled(values).to_bytes(4096))
    assert {name: getattr(back, name) for name in values} == values


@given(records)
def test_the_limit_costs_the_oldest_requests_only(values: dict[str, object]) -> None:
    c = filled(values)
    raw = c.to_bytes(LIMIT)
    assert len(raw) <= LIMIT
    back = reloaded(raw.ljust(LIMIT, b"\0"))
    kept = len(back.own)
    assert back.own == c.own[len(c.own) - kept :]
    assert kept == len(c.own) or len(raw) + 8 > LIMIT  # none is left out that had room
    back.own = c.own
    assert {name: getattr(back, name) for name in values} == values


def test_the_fullest_record_has_room_for_own_requests() -> None:
    """Three IPv6 pairs: 192 bytes are enough for the state and at least one own request's number."""
    six = FourTuple(ip_address("fd00::1"), 1, ip_address("fd00::2"), 2)
    c = filled(
        {
            "pending": Request(six, 1, True),
            "accepted": Accepted(six, 1, 2, 3, 4, 5),
            "asked": six,
            "own": [(n, n) for n in range(OWN_REQUESTS)],
        }
    )
    assert len(reloaded(c.to_bytes(LIMIT)).own) >= 1


def test_a_limit_that_is_too_small_is_said() -> None:
    with pytest.raises(ValueError, match="10 have room"):
        fresh().to_bytes(10)


def test_nothing_kept_is_a_connection_to_which_nothing_has_happened() -> None:
    for raw in (b"", bytes(LIMIT)):
        assert reloaded(raw).to_bytes() == fresh().to_bytes()


def test_the_asked_pair_that_is_the_present_one_takes_no_room() -> None:
    c = filled({"asked": OLD})
    assert len(c.to_bytes()) == len(fresh().to_bytes())


def test_a_rebind_under_way_is_not_kept() -> None:
    """The state before it is: a new daemon sends 5 or 6 again and comes to the same end."""
    c = connection(State.SYN_SENT)
    before = c.to_bytes()
    c.handle(answered())
    assert c.rebinding is not None
    back = reloaded(c.to_bytes())
    assert back.rebinding is None
    assert back.state is State.SYN_SENT
    assert len(before) <= len(c.to_bytes()) <= LIMIT


@given(st.binary(max_size=LIMIT))
def test_any_bytes_are_a_record_or_valueerror(raw: bytes) -> None:
    with contextlib.suppress(ValueError):
        reloaded(raw)
    with contextlib.suppress(ValueError):
        reloaded(b"\1" + raw)


@given(records, st.data())
def test_a_cut_off_record_is_a_valueerror(values: dict[str, object], data: st.DataObject) -> None:
    raw = filled(values).to_bytes(4096)
    with pytest.raises(ValueError, match="ends too early"):
        reloaded(raw[: data.draw(st.integers(1, len(raw) - 1))])


@given(st.binary(max_size=LIMIT))
def test_a_record_that_cannot_be_read_changes_nothing(raw: bytes) -> None:
    c = fresh()
    try:
        c.load(b"\1" + raw)
    except ValueError:
        assert c.to_bytes() == fresh().to_bytes()


def test_another_version_is_refused() -> None:
    with pytest.raises(ValueError, match="version 9"):
        reloaded(b"\x09" + bytes(20))


@pytest.mark.parametrize("state", [State.SYN_SENT, State.SYN_RCVD])
def test_a_handshake_without_its_request_is_refused(state: State) -> None:
    with pytest.raises(ValueError, match=f"{state.name} without its request"):
        reloaded(filled({"state": state}).to_bytes())


def test_the_secret_is_computed_when_it_is_needed_and_once() -> None:
    calls = []

    def secret() -> bytes:
        calls.append(1)
        return K

    c = Connection(OLD, NI, NA, secret)
    assert calls == []
    assert c.token == token()
    assert c.request(5, 1, 1) == proof(5, 1, 1)
    assert calls == [1]


def test_the_option_of_a_request_has_seven_bits_of_its_count() -> None:
    c = fresh()
    option = c.option(5, True, 300)
    assert (option.reqno, option.preload, option.octet) == (300 % 128, True, 128 + 44)
    assert option.token == token()
    assert option.request == proof(5, 128 + 44, 300)


def test_what_the_bytes_leave_out() -> None:
    """Whoever adds a field must decide whether it is kept: these are not."""
    kept = {
        "state",
        "sent_count",
        "confirmed_count",
        "accepted_count",
        "pending",
        "accepted",
        "asked",
        "highest",
        "own",
    }
    known_elsewhere = {"tuple", "ni", "na", "secret", "initiator", "msl", "syn_number"}
    lost = {"recent", "verifying", "rebinding", "deferred"}
    assert {field.name for field in fields(Record)} == kept | known_elsewhere | lost


@pytest.mark.parametrize("state", [State.ESTABLISHED, State.SYN_SENT, State.SYN_RCVD, State.MIGRATE_WAIT])
def test_a_reloaded_connection_knows_old_requests(state: State) -> None:
    c = connection(state)
    c.accepted_count = 9
    back = reloaded(c.to_bytes())
    back.state = State.ESTABLISHED
    assert not [action for action in back.handle(asked(count=9)) if type(action).__name__ == "SendSynAck"]
    assert back.sent_count == c.sent_count
    back.handle(move("10.1.0.5"))
    assert back.sent_count == c.sent_count + 1
