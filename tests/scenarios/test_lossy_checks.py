"""The judge of `lossy`: a good run passes every check, and each planted fault is red in the checks that are for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from migrate.core.segment import sack_blocks, sack_option
from scenarios import lossy_checks
from scenarios.verdict import Invalid
from tests.analysis.made_trace import MSS, NA, Row
from tests.analysis.test_faults import add, change, drop
from tests.scenarios.lossy_seen import HELD, LOST, LossyRun
from tests.scenarios.mobility_faults import Spoil, at
from tests.scenarios.mobility_seen import SETTING, Run, packet_time, red

DIAGRAMS = {"sequence diagram, mobile", "sequence diagram, server"}
BLOCKS = {"SACK blocks of segment 7, mobile", "SACK blocks of segment 7, server"}
AGAIN = "bytes sent again that had been SACKed"
FIRST, ONCE, BEHIND = "what the server sends first", "bytes of the holes sent", "where it goes on behind the holes"
HOLES = "holes at the move"
JUMP = "cumulative ACK when the last hole is filled"


def position(number: int) -> int:
    return NA + 1 + number * MSS


@pytest.mark.parametrize(
    "run",
    [
        LossyRun(),
        LossyRun(replace(SETTING, window=12, v6=True, packet_time=packet_time(v6=True))),
        LossyRun(replace(SETTING, window=12, first_flight=10, total=80), profile="modern"),
    ],
    ids=["plain", "ipv6", "modern"],
)
def test_a_good_run_passes(run: LossyRun, tmp_path: Path) -> None:
    checks = run.checks(tmp_path)
    assert red(checks) == set()
    assert len({check.name for check in checks}) == len(checks)


def blocks(change_blocks: Callable[[list[tuple[int, int]]], list[tuple[int, int]]]) -> Spoil:
    """Segment 7 with other SACK blocks; those it has are the highest first."""

    def options(row: Row) -> bytes:
        return row.options[:12] + sack_option(change_blocks(list(sack_blocks(row.options))))

    return at("both", change("7", options=options))


def sent_again(*numbers: int) -> Spoil:
    """The server sends these packets behind the holes."""
    return at("server", *(add("new", after=0.0001 * nth, seq=position(n)) for nth, n in enumerate(numbers, 1)))


def all_of(*spoils: Spoil) -> Spoil:
    def spoil(run: Run) -> None:
        for one in spoils:
            one(run)

    return spoil


@dataclass(frozen=True)
class Case:
    name: str
    spoil: Spoil
    red: set[str]


NONE = blocks(lambda found: [])
MORE = blocks(lambda found: [(found[0][0], found[0][1] + MSS), found[1]])
LESS = blocks(lambda found: [(found[0][0], found[0][1] - MSS), found[1]])
CASES = [
    Case("no SACK blocks in 7", NONE, BLOCKS | {BEHIND}),
    Case("one SACK block is missing in 7", blocks(lambda found: found[:1]), BLOCKS),
    Case("a SACK block says more than was held", MORE, BLOCKS | {AGAIN, BEHIND}),
    Case("a SACK block says less than was held", LESS, BLOCKS | {BEHIND}),
    Case("a SACKed packet is sent again", sent_again(HELD[0]), {AGAIN, FIRST}),
    Case("one byte of it is", at("server", add("new", seq=position(HELD[0]), length=1)), {AGAIN, FIRST}),
    Case("out-of-order data is dropped", all_of(NONE, sent_again(*HELD)), BLOCKS | {FIRST, BEHIND}),
    Case("a hole is not sent", at("server", drop("new")), {FIRST, ONCE}),
    Case("a hole is sent twice", sent_again(LOST[1]), {ONCE}),
    Case("it goes on one packet too far", at("server", drop("new", 1)), {BEHIND}),
    Case("the ACK does not jump", at("mobile", change("new-ack", 1, ack=position(LOST[1] + 1))), {JUMP}),
    Case("a third hole", at("mobile", drop("data", 14)), BLOCKS | {HOLES, FIRST, ONCE, JUMP}),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_fault_is_red_in_exactly_its_checks(case: Case, tmp_path: Path) -> None:
    """Of those that `mobility` has not."""
    run = LossyRun()
    case.spoil(run)
    assert red(lossy_checks.judge(run.context(tmp_path), run.seen())) == case.red


def test_without_sack_blocks_both_diagrams_are_red(tmp_path: Path) -> None:
    run = LossyRun()
    NONE(run)
    assert red(run.checks(tmp_path)) >= DIAGRAMS


def test_every_check_has_a_fault(tmp_path: Path) -> None:
    run = LossyRun()
    own = {check.name for check in lossy_checks.judge(run.context(tmp_path), run.seen())}
    assert own == set().union(*(one.red for one in CASES))


def test_nothing_held_proves_nothing(tmp_path: Path) -> None:
    run = LossyRun()
    at("mobile", *(drop("data", 12) for _ in HELD))(run)
    with pytest.raises(Invalid, match="held nothing beyond a hole"):
        run.checks(tmp_path)
