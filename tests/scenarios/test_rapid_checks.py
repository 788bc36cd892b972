"""The judge of `rapid`: a good run passes every check, and each planted fault is red in exactly its checks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from analysis.capture import ACK, RST, SYN
from tests.analysis.made_trace import MSS
from tests.scenarios.mobility_seen import red
from tests.scenarios.rapid_run import PLACES, Run

ASTRAY_6 = "SYN/ACKs to anywhere but the newest request's source"
ASTRAY_DATA = "data to anywhere but the newest request's source, once it is answered"
OTHER_BYTE = "of these, that go on from another byte than 7 asks for"
ACCEPTED = "Migrate SYNs accepted by the server"


def test_a_good_run_passes(tmp_path: Path) -> None:
    checks = Run().checks(tmp_path)
    assert red(checks) == set()
    assert len({check.name for check in checks}) == len(checks)


def back_where_it_was(run: Run, again: int) -> None:
    """The mobile comes back to the pair that it has left.  Of the three segments that it had not got there, one comes
    again just before the data that follows 7."""
    data = [row for row in run.rows if row.tag == "data"]
    before, here = next((one, two) for one, two in pairwise(data) if one.dst == two.dst)
    for number in range(3):
        lost = replace(before, time=before.time + 0.001, seq=here.seq + number * MSS, tag="added")
        run.rows.append(lost)
        if number == again:
            run.rows.append(replace(lost, time=here.time - 0.001))


def test_a_tail_loss_probe_of_the_old_socket_is_no_going_on(tmp_path: Path) -> None:
    for again, wrong in (2, set()), (1, {OTHER_BYTE}):
        run = Run()
        back_where_it_was(run, again)
        assert red(run.checks(tmp_path)) == wrong


def fewer_moves(run: Run) -> None:
    run.moves = run.moves[:150]


def fewer_accepted(run: Run) -> None:
    """The daemon has not told of 30."""
    told = [one for one in run.server if one.event == "answered"][50:80]
    run.server = [one for one in run.server if one not in told]


def late_one_followed(run: Run) -> None:
    """The server answers a request that came behind a newer one, as one that compares no numbers does."""
    late = [row for row in run.rows if row.tag == "5"][14]
    answer = next(row for row in run.rows if row.tag == "6")
    run.rows.append(replace(answer, time=late.time + 0.0005, dst=late.src, dport=late.sport, tag="added"))


def late_one_accepted(run: Run) -> None:
    """And its daemon tells of it."""
    at = next(at for at, told in enumerate(run.server) if told.cause.startswith("request 16 "))
    told = replace(run.server[at], time=run.server[at].time + 0.02, cause=f"request 15 from {PLACES[1]}")
    run.server.insert(at + 1, told)


def data_to_the_address_left(run: Run) -> None:
    data = [row for row in run.rows if row.tag == "data"][20]
    other = next(place for place in PLACES if place != data.dst)
    run.rows.append(replace(data, time=data.time + 0.001, dst=other, tag="added"))


def resumes_elsewhere(run: Run) -> None:
    run.change("data", 20, seq=[row for row in run.rows if row.tag == "data"][20].seq + MSS)


def number_without_its_high_bits(run: Run) -> None:
    """R of a request beyond 127 covers the seven bits only: the wrap is not seen."""
    at = next(at for at, row in enumerate(run.rows) if row.tag == "5" and row.options == run.five(0, "::", 150).options)
    row = run.rows[at]
    run.rows[at] = run.five(row.time, row.src, 150, count=150 & 127)


def a_reset(run: Run) -> None:
    run.add("data", 10, 0.001, flags=RST, length=0)


def another_connection(run: Run) -> None:
    for tag, flags in (("1", SYN), ("2", SYN | ACK)):
        ports = {"sport": 40001} if tag == "1" else {"dport": 40001}
        run.add(tag, 0, 1.0, flags=flags, **ports)


@pytest.mark.parametrize(
    ("spoil", "wrong"),
    [
        (fewer_moves, {"moves"}),
        (fewer_accepted, {ACCEPTED, ASTRAY_DATA}),
        (late_one_followed, {ASTRAY_6}),
        (late_one_accepted, {"requests accepted after a newer one"}),
        (data_to_the_address_left, {ASTRAY_DATA}),
        (resumes_elsewhere, {OTHER_BYTE}),
        (number_without_its_high_bits, {"Requests that are not what the key log gives"}),
        (a_reset, {"RSTs, server", "RSTs, mobile"}),
        (another_connection, {"connections in the captures, server", "connections in the captures, mobile"}),
        (lambda run: run.firings.update({("delay", "5"): 4}), {"segments 5 that were late"}),
        (lambda run: run.firings.pop(("drop", "7")), {"segments 7 that were lost"}),
        (lambda run: setattr(run, "got", "another"), {"SHA-256 of the file received"}),
        (
            lambda run: setattr(run, "ends", (run.ends[0], run.ends[1].replace(PLACES[0], PLACES[1]))),
            {"one connection between the same two ends, in the end"},
        ),
        (
            lambda run: setattr(run, "mobile", [one for one in run.mobile if one.event == "migrating"]),
            {"moves before segment 7 of the last one came", "moves after segment 7 of the last one came"},
        ),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_fault_is_red(spoil: Callable[[Run], None], wrong: set[str], tmp_path: Path) -> None:
    run = Run()
    spoil(run)
    assert red(run.checks(tmp_path)) == wrong
