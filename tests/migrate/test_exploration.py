"""The state machine in every order of losses, duplicates and overtaking, within a budget; and what the search finds
where a rule is broken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from migrate.core import Connection, FourTuple, State, answering, moving, settling
from tests.migrate.exploring import explore
from tests.migrate.planting import plant
from tests.migrate.values import Budget, End, Line, Place, Wrong
from tests.migrate.worlds import World

A = [Place(f"10.1.0.{number}") for number in range(1, 4)]
B = [Place(f"10.2.0.{number}") for number in range(1, 4)]
ISNS = (1_000_000, 3_000_000)
CLOSE_ISNS = (1_000_000, 1_000_100)  # what is a believable S for one is one for the other

MOVES = (Line(A[1], A[0]),)
MOVES_TWICE = (Line(A[1], A[0]), Line(A[2], A[1]))
COMES_BACK = (Line(A[1], A[0]), Line(A[0], A[1]))
BOTH_MOVE = ((Line(A[1]),), (Line(B[1]),))  # and the old addresses still hear
MOVES_PAST_A_STRANGER = (Line(None, A[0], to_stranger=True), Line(A[1]))


def world(
    a: tuple[Line, ...] = (),
    b: tuple[Line, ...] = (),
    budget: Budget | None = None,
    units: tuple[int, int] = (1, 2),
    isns: tuple[int, int] = ISNS,
) -> World:
    """A connection that carries data both ways, and what its hosts are going to do; `units`: how much each sends."""
    pair, (ni, na), secret = FourTuple(A[0], 40000, B[0], 80), isns, b"\0" + b"\xab" * 24
    ends = [
        End(Connection(pair, ni, na, secret, True), ni, na, units[0], a),
        End(Connection(FourTuple.of_ends(pair.remote, pair.local), ni, na, secret, False), na, ni, units[1], b),
    ]
    left = budget or Budget()
    spent = (left.losses, left.duplicates, left.early_timeouts, left.reflections)
    start = World(ends, (), spent, frozenset())
    for which in (0, 1):
        start.output(which)
    return start


def waited_in_vain(one: World) -> bool:
    """Nobody came back: the program was reset, or nothing has ever reset the connection and it goes on asking."""
    stays = one.ends[1]
    if stays.was_reset:
        return stays.c.state is State.CLOSED
    return stays.c.state is State.ESTABLISHED and not one.flight


LOSS, DUPLICATE = Budget(losses=1), Budget(duplicates=1)
BOTH = Budget(losses=1, duplicates=1)
STARTS = {
    "one move, 2 losses and 1 duplicate": world(MOVES, budget=Budget(losses=2, duplicates=1), units=(1, 1)),
    "one move, 2 duplicates": world(MOVES, budget=Budget(duplicates=2), units=(1, 1)),
    "one move, 1 loss, 1 timeout too early": world(MOVES, budget=Budget(losses=1, early_timeouts=1), units=(1, 1)),
    "two moves, 1 loss": world(MOVES_TWICE, budget=LOSS),
    "two moves, 1 duplicate": world(MOVES_TWICE, budget=DUPLICATE, units=(1, 1)),
    "two moves, 1 loss and 1 duplicate": world(MOVES_TWICE, budget=BOTH, units=(0, 1)),
    "away and back, 1 loss and 1 duplicate": world(COMES_BACK, budget=BOTH, units=(0, 1)),
    "a stranger's RST, 1 loss and 1 duplicate": world(MOVES_PAST_A_STRANGER, budget=BOTH, units=(0, 1)),
    "both move": world(*BOTH_MOVE, units=(1, 1)),
    "both move, with nothing to say, 1 loss and 1 duplicate": world(*BOTH_MOVE, budget=BOTH, units=(0, 0)),
    "a request sent back": world(MOVES, budget=Budget(reflections=1), units=(1, 1), isns=CLOSE_ISNS),
}


@pytest.mark.parametrize("name", STARTS)
def test_every_order(name: str) -> None:
    found = explore(STARTS[name])
    print(f"{name}: {found.states} states, {found.steps} steps, {found.ends} of them ends")
    assert found.states > 300, "so few: this shows nothing"
    assert found.ends


def test_nobody_comes_back() -> None:
    """Where the stranger's RST has come, the wait ends by a reset; the mover's own end does not matter any more."""
    start = world((Line(None, A[0], to_stranger=True),), budget=LOSS)
    found = explore(start, good=waited_in_vain)
    assert found.states > 20


@dataclass(frozen=True)
class Broken:
    """A rule of the core with one expression replaced, and where the search starts that must find it."""

    name: str
    where: Any
    right: str
    wrong: str
    start: str


RULES = [
    Broken(
        "a number that is not larger is accepted",
        answering.on_migrate_syn,
        "rules.full_count(option.reqno, c.accepted_count)",
        "option.reqno",
        "two moves, 1 duplicate",
    ),
    Broken(
        "6 acknowledges S + 1",
        answering._answer,
        "answer = _syn_ack(c, event)",
        "answer = SendSynAck(here, event.position.snd_una - 1, event.segment.seq + 1, 8)",
        "two moves, 1 loss",
    ),
    Broken(
        "a lost 7 is not repaired",
        answering.on_answer_timeout,
        "for pair in asked",
        "for pair in ()",
        "one move, 2 losses and 1 duplicate",
    ),
    Broken(
        "a lost 5 is not repaired",
        moving.on_syn_timeout,
        "SendSyn(pending.tuple, pending.s, c.option(pending.s, pending.preload, c.sent_count)),",
        "",
        "two moves, 1 loss",
    ),
    Broken(
        "what comes before 7 is not held",
        answering._answer,
        "[Await(pair), Hold(pair)]",
        "[Await(pair)]",
        "two moves, 1 loss",
    ),
    Broken(
        "the answerer goes on speaking at the old address",
        answering._answer,
        "Direction.OUT if c.tuple in pairs else Direction.BOTH",
        "None",
        "two moves, 1 duplicate",
    ),
    Broken(
        "MIGRATE_WAIT speaks",
        answering._wait,
        "silence(c),",
        "",
        "a stranger's RST, 1 loss and 1 duplicate",
    ),
    Broken(
        "our own request is accepted when it comes back",
        answering.on_migrate_syn,
        "if any(",
        "if False and any(",
        "a request sent back",
    ),
    Broken(
        "the old pair is heard again after the move",
        settling._end_handshake,
        "Unmute(c.tuple) if deposed else Mute(c.tuple, Direction.BOTH)",
        "Unmute(c.tuple)",
        "two moves, 1 duplicate",
    ),
]


@pytest.mark.parametrize("broken", RULES, ids=lambda broken: broken.name)
def test_a_broken_rule_is_found(broken: Broken, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, broken.where, broken.right, broken.wrong)
    with pytest.raises(Wrong) as found:
        explore(STARTS[broken.start])
    print(f"{broken.name}: {found.value}")
