"""What is remembered of others, who takes what, and when a server is called dead."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from migrate.failover import choice
from migrate.failover.complaints import Complaints
from migrate.failover.health import Health, Verdict
from migrate.failover.ledger import FORGET_SECONDS, Ledger, Peer
from migrate.failover.state import SoftState
from tests.failover.test_state import CURL, state


def moved(sent: int, revision: int = 1) -> SoftState:
    base = state(CURL)
    return dataclasses.replace(base, secrets=dataclasses.replace(base.secrets, sent=sent), revision=revision)


def test_the_newest_state_counts() -> None:
    ledger = Ledger()
    assert ledger.told("sA", 1, moved(0, 5), 0)
    assert not ledger.told("sA", 1, moved(0, 4), 1), "it was overtaken"
    assert not ledger.told("sA", 1, moved(0, 5), 2), "the same again"
    assert ledger.told("sB", 1, moved(1, 2), 3), "sB has taken it over"
    assert not ledger.told("sA", 1, moved(0, 9), 4), "sA has not heard yet"
    assert not ledger.told("sC", 1, moved(1, 3), 5), "two cannot have won with one number"
    (entry,) = ledger.entries.values()
    assert (entry.owner, entry.state.revision) == ("sB", 2)
    assert ledger.owned_by("sA") == []
    ledger.over("sA", entry.state.token, 0)
    assert ledger.entries, "it is not sA's to end"
    ledger.over("sB", entry.state.token, 1)
    assert not ledger.entries


def test_what_is_not_renewed_is_forgotten() -> None:
    ledger = Ledger()
    ledger.told("sA", 1, moved(0), 0)
    ledger.told("sA", 1, moved(0), 60)
    assert ledger.expire(60 + FORGET_SECONDS) == 0
    assert ledger.expire(61 + FORGET_SECONDS) == 1


def test_what_has_ended_here_is_remembered_against_who_has_not_heard() -> None:
    ledger = Ledger()
    ledger.own_over(moved(1).token, 1, 0)
    assert ledger.has_ended(moved(0)) == 1, "as it was before it came here"
    assert ledger.has_ended(moved(1)) is None
    assert ledger.has_ended(moved(2)) is None, "it has been taken since"
    ledger.expire(FORGET_SECONDS)
    assert ledger.has_ended(moved(0)) == 1
    ledger.expire(FORGET_SECONDS + 1)
    assert ledger.has_ended(moved(0)) is None


def test_an_offer_is_news_once() -> None:
    ledger = Ledger()
    token = moved(0).token
    assert ledger.offered("sA", token, 0) is None
    ledger.told("sA", 1, moved(0), 0)
    assert ledger.offered("sB", token, 0) is None
    assert ledger.offered("sA", token, 0) is not None
    assert ledger.offered("sA", token, 0) is None


@given(st.binary(min_size=8, max_size=8), st.permutations(["sA", "sB", "sC", "sD"]))
def test_every_member_has_the_same_order(token: bytes, members: list[str]) -> None:
    assert choice.turns(token, members) == choice.turns(token, ["sA", "sB", "sC", "sD"])
    waits = [
        choice.wait(token, me, [Peer(name, 0, 1) for name in members if name != me], "sA", 1.0)
        for me in ("sB", "sC", "sD")
    ]
    assert sorted(waits) == [0, choice.STEP_SECONDS, 2 * choice.STEP_SECONDS], "one at once, the others after it"


def test_connections_spread_over_the_members() -> None:
    firsts = [choice.turns(number.to_bytes(8, "big"), ["sB", "sC"])[0] for number in range(1000)]
    assert 400 < firsts.count("sB") < 600


def test_who_is_silent_or_declines_is_not_waited_for() -> None:
    peers = [Peer("sB", -100, 1), Peer("sC", 0, 1, declines=True)]
    assert {choice.wait(bytes([number] * 8), "sD", peers, "sA", 0) for number in range(50)} == {0}
    assert choice.declines(10, 10, 0, 1)
    assert choice.declines(0, 10, 1.5, 1)
    assert not choice.declines(9, 10, 0.5, 1)


def test_whoever_declines_comes_last_and_the_least_loaded_of_them_first() -> None:
    token = bytes(8)
    peers = [Peer("sB", 0, 1, 5, declines=True), Peer("sC", 0, 1, 3, declines=True), Peer("sD", 0, 1, 1)]
    silent = Peer("sE", -100, 1, 0, declines=True)

    def last(me: str, connections: int, *, step: float = 0.5) -> float:
        return choice.last_wait(token, me, connections, [*peers, silent], "sA", 0, step)

    assert choice.wait(token, "sD", [peers[0], peers[1]], "sA", 0) == 0
    # Everybody's turn is another, and none of these before sD has had its own.
    assert [last("sC", 3), last("sB", 5)] == [1.0, 1.5]
    assert last("sB", 2) == 1.0
    assert last("sC", 3, step=0) == 2 * choice.STEP_SECONDS, "the willing race, the others do not"
    peers[2] = Peer("sD", 0, 1, 1, declines=True)
    assert [last("sD", 1), last("sC", 3), last("sB", 5)] == [0.5, 1.0, 1.5], "all decline"
    assert choice.last_wait(token, "sB", 5, [], "sA", 0) == 0.5


def test_what_a_client_does_not_know_is_dropped() -> None:
    ledger = Ledger()
    ledger.told("sA", 1, moved(1), 0)
    assert not ledger.gone(moved(1).token, 0), "somebody has taken it since"
    assert ledger.gone(moved(1).token, 1)
    assert not ledger.gone(moved(1).token, 1)
    assert ledger.told("sA", 1, moved(1), 1), "its owner has it all the same"


def test_a_complaint_is_made_once_in_a_while() -> None:
    now = [0.0]
    complaints = Complaints(10, lambda: now[0])
    assert [complaints.due("a"), complaints.due("b"), complaints.due("a")] == [True, True, False]
    now[0] = 10.0
    assert complaints.due("a")


def test_dead_and_alive() -> None:
    health = Health(failures=3, successes=2)
    said = [health.checked(well) for well in (False, False, True, False, False, False, False, True, False, True, True)]
    assert [(at, verdict.name) for at, verdict in enumerate(said) if verdict is not Verdict.SAME] == [
        (5, "DEAD"),
        (10, "ALIVE"),
    ]
