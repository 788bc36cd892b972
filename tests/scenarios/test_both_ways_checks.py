"""The judge of `both_ways`: a good run passes every check, and each planted fault is red in its own checks.

The traces are those of a made download whose mobile moves; it stands for any program of the scenario.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from analysis.capture import RST
from scenarios import both_ways_checks as judging
from scenarios.both_ways_checks import FLOWING, HALF, IDLE, SERVER, UPLOAD, Moment, Outcome
from scenarios.verdict import Invalid
from tests.analysis import made_trace as made
from tests.analysis.test_faults import add
from tests.scenarios import mobility_faults as faults
from tests.scenarios.mobility_seen import DIAGRAMS, ROUND_TRIP, Run, red
from topologies.both_ends import Changed

NAME, PORT = "a download", 8080
STATES = ("FIN-WAIT-2", "CLOSE-WAIT")
Spoil = Callable[[Run, Outcome], None]


def outcome_of(run: Run) -> Outcome:
    found = run.streams()
    old, new, _ = run.addresses
    began_at = made.EPOCH + run.moved_at
    moment = Moment("the mobile moves", Changed("mobile", (old,), (new,), began_at), {PORT: STATES}, {PORT: STATES})
    judged = {single: run.seen().judged["server"] for single in (UPLOAD, SERVER, HALF)}
    return Outcome(
        round_trip=ROUND_TRIP,
        statuses={NAME: "0 and 0"},
        sums={NAME: ("same", "same")},
        ports={NAME: PORT},
        kinds={NAME: FLOWING},
        moments=[moment],
        streams={vantage: {PORT: streams[0]} for vantage, streams in found.items()},
        counts={vantage: {PORT: len(streams)} for vantage, streams in found.items()},
        judged=judged,
    )


def reds(tmp_path: Path, run: Run, spoil: Callable[[Outcome], None] = lambda _: None) -> set[str]:
    outcome = outcome_of(run)
    spoil(outcome)
    return red(judging.judge(run.context(tmp_path), outcome))


def test_a_good_run_passes(tmp_path: Path) -> None:
    run = Run()
    assert reds(tmp_path, run) == set()
    context = run.context(tmp_path)
    judging.judge(context, outcome_of(run))
    assert [one.name for one in context.reported] == [f"{NAME}, in flight when the mobile moves"]


@pytest.mark.parametrize(
    ("spoil", "name"),
    [
        (lambda outcome: outcome.statuses.update({NAME: "0 and 1"}), "exit status"),
        (lambda outcome: outcome.statuses.update({NAME: "18"}), "exit status"),
        (lambda outcome: outcome.sums.update({NAME: ("one", "other")}), "SHA-256 of what arrived"),
        (lambda outcome: outcome.counts["server"].update({PORT: 2}), "connections, server"),
    ],
)
def test_what_a_program_shows(tmp_path: Path, spoil: Callable[[Outcome], None], name: str) -> None:
    assert reds(tmp_path, Run(), spoil) == {f"{NAME}: {name}"}


def test_a_reset_is_seen(tmp_path: Path) -> None:
    run = Run()
    faults.at("server", add("new", flags=RST))(run)
    assert f"{NAME}: RSTs, server" in reds(tmp_path, run)


def test_a_mover_that_goes_on_at_its_old_address_is_seen(tmp_path: Path) -> None:
    run = Run()
    asked = next(row.time for row in run.rows["mobile"] if row.tag == "5")
    last = next(row for row in reversed(run.rows["mobile"]) if row.tag == "ack")
    run.rows["mobile"] = sorted([*run.rows["mobile"], replace(last, time=asked + 0.001)], key=lambda row: row.time)
    assert reds(tmp_path, run) == {f"{NAME}: segments of the mobile on a pair that it has asked to leave"}


def test_bytes_that_never_arrive_are_seen(tmp_path: Path) -> None:
    run = Run()
    last = max(row.seq for row in run.rows["mobile"] if row.tag == "new")
    faults.at("mobile", faults.without(lambda row: row.tag == "new" and row.seq == last - made.MSS))(run)
    assert f"{NAME}: bytes missing from what the mobile received" in reds(tmp_path, run)


def test_another_address_than_it_was_given_is_seen(tmp_path: Path) -> None:
    def spoil(outcome: Outcome) -> None:
        moment = outcome.moments[0]
        changed = Changed("mobile", moment.changed.old, ("10.9.9.9",), moment.changed.began_at)
        outcome.moments = [Moment(moment.what, changed, moment.states, moment.wanted)]

    assert reds(tmp_path, Run(), spoil) == {f"{NAME}: addresses, {vantage}" for vantage in DIAGRAMS}


def test_a_move_that_did_not_happen_is_seen(tmp_path: Path) -> None:
    def spoil(outcome: Outcome) -> None:
        outcome.moments *= 2

    assert f"{NAME}: addresses, mobile" in reds(tmp_path, Run(), spoil)


def test_other_states_than_the_move_was_for_are_seen(tmp_path: Path) -> None:
    def spoil(outcome: Outcome) -> None:
        moment = outcome.moments[0]
        outcome.moments = [Moment(moment.what, moment.changed, {PORT: ("ESTAB", "ESTAB")}, moment.wanted)]

    assert reds(tmp_path, Run(), spoil) == {"the mobile moves: TCP's states before"}


def _without_upload(outcome: Outcome) -> None:
    del outcome.judged[UPLOAD]


def test_a_connection_that_is_in_no_capture_is_seen(tmp_path: Path) -> None:
    assert reds(tmp_path, Run(), _without_upload) == {f"sequence diagram: {UPLOAD}"}


def _nothing_in_flight(outcome: Outcome) -> None:
    """As if it had been told to move before it had begun."""
    moment = outcome.moments[0]
    changed = Changed("mobile", moment.changed.old, moment.changed.new, made.EPOCH - 1)
    outcome.moments = [Moment(moment.what, changed, moment.states, moment.wanted)]


def test_nothing_in_flight_is_invalid_unless_it_was_to_be_idle(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="nothing in flight"):
        reds(tmp_path, Run(), _nothing_in_flight)

    def idle(outcome: Outcome) -> None:
        _nothing_in_flight(outcome)
        outcome.kinds[NAME] = IDLE

    assert reds(tmp_path, Run(), idle) == set()


def test_requests_that_did_not_cross_are_invalid(tmp_path: Path) -> None:
    def spoil(outcome: Outcome) -> None:
        moment = outcome.moments[0]
        changed = Changed("both", moment.changed.old, moment.changed.new * 2, moment.changed.began_at)
        outcome.moments = [Moment(moment.what, changed, moment.states)]

    with pytest.raises(Invalid, match="did not cross"):
        reds(tmp_path, Run(), spoil)
