"""The door for Migrate SYNs: tokens, the limit on RSTs, and the order of the four checks."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.core import (
    ACK,
    MIGRATE_KIND,
    RST,
    SYN,
    Admission,
    Admitted,
    BadKey,
    Connection,
    OptionError,
    RstLimiter,
    Segment,
    SendRst,
    SendSynAck,
    State,
    TokenTable,
    migrate_option,
    seq,
)
from tests.migrate.fixtures import PEER_MOVED, RCV, asked, connection, notices, of, one, only_ignored, position, token

SOURCE = ip_address("10.2.0.9")


class Counting:
    """A secret of which one wants to know how often it was asked for."""

    def __init__(self, value: bytes | Exception) -> None:
        self.value, self.asked = value, 0

    def __call__(self) -> bytes:
        self.asked += 1
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


# ---- tokens


def test_a_token_names_its_connection() -> None:
    table: TokenTable[str] = TokenTable()
    table.add("one", lambda: b"1" * 8)
    table.add("two", lambda: b"2" * 8)
    assert table.lookup(b"2" * 8) == ("two",)
    assert table.lookup(b"3" * 8) == ()


def test_both_ends_on_one_host_have_one_token() -> None:
    table: TokenTable[str] = TokenTable()
    table.add("here", lambda: b"1" * 8)
    table.add("there", lambda: b"1" * 8)
    assert set(table.lookup(b"1" * 8)) == {"here", "there"}
    table.remove("here")
    assert table.lookup(b"1" * 8) == ("there",)
    table.remove("there")
    assert table.lookup(b"1" * 8) == ()


def test_a_token_is_computed_once_and_when_it_is_needed() -> None:
    table: TokenTable[int] = TokenTable()
    tokens = [Counting(bytes((number,)) * 8) for number in range(10)]
    for number, compute in enumerate(tokens):
        table.add(number, compute)
    assert sum(compute.asked for compute in tokens) == 0
    assert table.warm(3) == 7
    assert sum(compute.asked for compute in tokens) == 3
    assert table.lookup(b"\x09" * 8, near=[9]) == (9,)
    assert sum(compute.asked for compute in tokens) == 4  # the suggested one, not all the others
    assert table.lookup(b"\x05" * 8) == (5,)
    assert table.lookup(b"nobody's") == ()
    assert [compute.asked for compute in tokens] == [1] * 10
    assert table.warm(100) == 0


def test_a_broken_key_breaks_its_own_connection_only() -> None:
    table: TokenTable[str] = TokenTable()
    broken = Counting(BadKey("no point"))
    table.add("broken", broken)
    table.add("whole", lambda: b"1" * 8)
    assert table.lookup(b"1" * 8) == ("whole",)
    assert list(table.broken) == ["broken"]
    table.lookup(b"2" * 8)
    assert broken.asked == 1
    table.add("broken", lambda: b"2" * 8)
    assert table.broken == {}
    assert table.lookup(b"2" * 8) == ("broken",)


def test_who_is_not_there_can_be_forgotten() -> None:
    TokenTable[str]().remove("nobody")


def test_a_new_token_takes_the_place_of_the_old() -> None:
    table: TokenTable[str] = TokenTable()
    table.add("one", lambda: b"1" * 8)
    table.warm(1)
    table.add("one", lambda: b"2" * 8)
    assert table.lookup(b"1" * 8) == ()
    assert table.lookup(b"2" * 8) == ("one",)


# ---- the limit on RSTs


def allowed(limiter: RstLimiter, source: str, now: float, tries: int) -> int:
    return sum(limiter.allow(ip_address(source), now) for _ in range(tries))


def test_a_source_gets_a_burst_and_then_its_rate() -> None:
    limiter = RstLimiter(rate=5, burst=10)
    assert allowed(limiter, "192.0.2.1", 100.0, 50) == 10
    assert allowed(limiter, "192.0.2.1", 101.0, 50) == 5
    assert allowed(limiter, "192.0.2.1", 1000.0, 50) == 10
    assert allowed(limiter, "192.0.2.2", 1000.0, 50) == 10  # another source is not to suffer


def test_an_ipv6_source_is_its_64() -> None:
    limiter = RstLimiter(rate=5, burst=10)
    assert sum(allowed(limiter, f"2001:db8::{n:x}", 1.0, 1) for n in range(50)) == 10
    assert allowed(limiter, "2001:db8:0:1::1", 1.0, 50) == 10


def test_all_sources_together_have_a_limit_too() -> None:
    limiter = RstLimiter(rate=5, burst=10, total=100)
    assert sum(allowed(limiter, f"192.0.{n}.1", 1.0, 10) for n in range(50)) == 100


def test_forged_sources_take_no_memory() -> None:
    limiter = RstLimiter(sources=8)
    for n in range(100):
        limiter.allow(ip_address(n), 1.0)
    assert len(limiter._buckets) == 8


@given(st.lists(st.floats(0, 3), max_size=60))
def test_never_more_than_burst_and_rate(gaps: list[float]) -> None:
    limiter, now, passed = RstLimiter(rate=5, burst=10), 0.0, 0
    for gap in gaps:
        now += gap
        passed += limiter.allow(SOURCE, now)
        assert passed <= 10 + 5 * now + 1e-6


# ---- what is a Migrate SYN


def test_a_migrate_syn_is_a_syn_with_the_option() -> None:
    event = asked()
    assert migrate_option(event.segment) == event.option


@pytest.mark.parametrize("flags", [SYN | ACK, ACK, SYN | RST, RST, SYN | 1, 0])
def test_the_option_elsewhere_means_nothing(flags: int) -> None:
    assert migrate_option(PEER_MOVED.segment(flags, 1, options=asked().segment.options)) is None


def test_a_syn_without_the_option_is_none() -> None:
    assert migrate_option(PEER_MOVED.segment(SYN, 1, options=b"\2\4\5\xb4")) is None


def test_a_malformed_option_is_the_peers_mistake() -> None:
    with pytest.raises(OptionError):
        migrate_option(PEER_MOVED.segment(SYN, 1, options=bytes((MIGRATE_KIND, 3, 1))))


# ---- the checks on a Migrate SYN, in their order: 1 the token, 2 the number, 3 the proof; 4 it is valid


class Host:
    """A connection behind its door, as an edge uses both."""

    def __init__(self, state: State = State.ESTABLISHED) -> None:
        self.machine: Connection = connection(state)
        self.door: Admission[str] = Admission(TokenTable(), RstLimiter(rate=1, burst=2))
        self.door.tokens.add("it", lambda: self.machine.token)

    def hears(self, segment: Segment, now: float = 1.0) -> list[object]:
        verdict = self.door.judge(segment, now)
        if not isinstance(verdict, Admitted):
            return [] if verdict is None else [verdict]
        assert verdict.connections == ("it",)
        event = asked()
        return list(self.machine.handle(type(event)(segment, verdict.option, position())))


def with_token(segment: Segment, wrong: bytes) -> Segment:
    return PEER_MOVED.of_ends(PEER_MOVED.remote, PEER_MOVED.local).segment(
        SYN, segment.seq, options=segment.options.replace(token(), wrong)
    )


def test_1_an_unknown_token_is_refused() -> None:
    host = Host()
    syn = with_token(asked().segment, b"unknown!")
    (rst,) = host.hears(syn)
    assert isinstance(rst, SendRst)
    answer = rst.segment()
    assert answer.flags == RST | ACK
    assert answer.ack == seq.add(syn.seq, 1)
    assert (answer.src, answer.sport, answer.dst, answer.dport) == (syn.dst, syn.dport, syn.src, syn.sport)
    assert host.machine.accepted_count == 0


def test_1_those_rsts_are_rate_limited_per_source() -> None:
    host = Host()
    syn = with_token(asked().segment, b"unknown!")
    assert [len(host.hears(syn, now)) for now in (1.0, 1.0, 1.0, 1.0, 2.0, 2.0)] == [1, 1, 0, 0, 1, 0]


def test_1_a_malformed_option_goes_unanswered() -> None:
    syn = asked().segment
    cut = bytes((MIGRATE_KIND, 18)) + syn.options[3:19]
    assert Host().hears(PEER_MOVED.of_ends(PEER_MOVED.remote, PEER_MOVED.local).segment(SYN, 1, options=cut)) == []
    assert Host().hears(PEER_MOVED.segment(SYN, 1)) == []


def test_1_comes_before_2_and_3() -> None:
    """A forged token costs a look-up and no more: no proof is computed for it."""
    host = Host()
    secret = Counting(bytes(25))
    host.machine.secret = secret
    host.machine.accepted_count = 1
    host.door.tokens.add("it", lambda: token())
    assert isinstance(host.hears(with_token(asked(request=b"forged!!").segment, b"unknown!"))[0], SendRst)
    assert secret.asked == 0


def test_2_comes_before_3() -> None:
    """An old number with a wrong proof is dropped silently: no RST, and no proof is computed."""
    machine = connection()
    machine.accepted_count = 5
    machine.secret = secret = Counting(bytes(25))
    actions = machine.handle(asked(count=5, request=b"forged!!"))
    assert only_ignored(actions)
    assert secret.asked == 0


def test_3_a_wrong_proof_is_refused_and_the_connection_untouched() -> None:
    host = Host()
    before = host.machine.to_bytes()
    actions = host.hears(asked(request=b"forged!!").segment)
    assert [type(action) for action in actions if isinstance(action, SendRst)] == [SendRst]
    assert not of(SendSynAck, actions)  # type: ignore[arg-type]
    assert host.machine.to_bytes() == before
    assert host.machine.state is State.ESTABLISHED


def test_3_comes_before_4() -> None:
    """The number of a forged request is not stored: the true one of that number is still accepted."""
    machine = connection()
    machine.handle(asked(count=40, request=b"forged!!"))
    assert machine.accepted_count == 0
    assert one(SendSynAck, machine.handle(asked(count=1))).ack == RCV


def test_4_a_valid_one_is_stored_and_answered() -> None:
    host = Host()
    actions = host.hears(asked(count=3).segment)
    assert host.machine.accepted_count == 3
    assert host.machine.state is State.SYN_RCVD
    assert "answered" in notices(actions)  # type: ignore[arg-type]
