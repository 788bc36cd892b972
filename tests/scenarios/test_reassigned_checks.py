"""The judge of `reassigned`: good runs pass every check, and each planted fault is red in exactly its checks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.analysis.made_trace import MSS
from tests.scenarios.mobility_seen import red
from tests.scenarios.reassigned_run import BackRun, GoneRun

SERVER, MOBILE, STRANGER = (f"back: sequence diagram, {vantage}" for vantage in ("server", "mobile", "stranger"))
SPOKE = "back: segments that the server sent in MIGRATE_WAIT"
KERNEL = "back: RSTs of the stranger's kernel, each for a segment of the server's"
REACHED = "back: RSTs at rcv_nxt that reached the server before it waited"
BESIDE = "back: RSTs not at rcv_nxt that reached the server before it waited"
SPOKE_ON = "back: data that the server sent after them and before it waited"
FIRST_BYTE, MISSING = (
    "back: first byte, beyond what 7 acknowledged",
    "back: bytes missing from what the mobile received",
)
TOKENS = "back: Token and Request recomputed"
TOLD = "back: what the server's daemon told"
ERROR = "gone: nginx, MIGRATE_WAIT to ECONNRESET"


def test_good_runs_pass(tmp_path: Path) -> None:
    for run in (BackRun(), GoneRun()):
        checks = run.checks(tmp_path)
        assert red(checks) == set()
        assert len({check.name for check in checks}) == len(checks)


def speaks_while_it_waits(run: BackRun) -> None:
    """What the kernel does unless it is muted: it sends its data again."""
    again = next(row for row in run.rows["server"] if row.tag == "again")
    run.rows["server"].append(replace(again, time=run.waits + 2))


def no_answer_of_the_kernels(run: BackRun) -> None:
    """The RST at the server has come from somewhere else."""
    run.rows["stranger"] = [replace(row, seq=row.seq + (row.tag == "rst")) for row in run.rows["stranger"]]


def waits_for_a_rst_beside_rcv_nxt(run: BackRun) -> None:
    """Only RSTs that RFC 5961 has ignored have come, and it waits all the same."""
    rows = run.rows["server"]
    run.rows["server"] = [replace(row, seq=row.seq + 1) if row.tag == "rst" else row for row in rows]


def heeds_a_rst_in_the_window(run: BackRun) -> None:
    """It waits from the first RST on, which was beside rcv_nxt."""
    run.told = [one for one in run.told if one.event != "ignored"]
    run.told[0] = replace(run.told[0], time=run.told[0].time - run.waits + 0.3015)


def is_reset_while_it_waits(run: BackRun) -> None:
    """A further RST is obeyed."""
    run.told.insert(4, replace(run.told[3], time=run.told[3].time + 1.1, state="CLOSED", event="reset"))


def comes_back_at_once(run: BackRun) -> None:
    """No time for a silence."""
    for vantage in ("server", "mobile"):
        first = next(row.time for row in run.rows[vantage] if row.tag == "5")
        gap = first - run.waits - 1.5
        run.rows[vantage] = [
            replace(row, time=row.time - gap) if row.time >= first else row for row in run.rows[vantage]
        ]
    run.told = [replace(one, time=one.time - gap) if one.event in ("answered", "migrated") else one for one in run.told]


def skips_a_packet(run: BackRun) -> None:
    """The server goes on one packet too far."""
    for vantage in ("server", "mobile"):
        run.rows[vantage] = [row for row in run.rows[vantage] if row.tag != "8"]


@pytest.mark.parametrize(
    ("spoil", "wrong"),
    [
        (speaks_while_it_waits, {SERVER, SPOKE, TOKENS}),
        (no_answer_of_the_kernels, {STRANGER, KERNEL}),
        (
            waits_for_a_rst_beside_rcv_nxt,
            {REACHED, BESIDE, SPOKE_ON},
        ),
        (
            heeds_a_rst_in_the_window,
            {
                REACHED,
                SPOKE,
                BESIDE,
                "back: RSTs not at rcv_nxt that the daemon ignored",
                "back: the state that these led to",
                SPOKE_ON,
            },
        ),
        (is_reset_while_it_waits, {TOLD, "back: changes of state before the Migrate SYN"}),
        (comes_back_at_once, {"back: the silence, in retransmission timeouts of the server"}),
        (
            skips_a_packet,
            {
                SERVER,
                MOBILE,
                "back: first byte, beyond what 7 acknowledged",
                "back: bytes missing from what the mobile received",
            },
        ),
        (lambda run: setattr(run, "got", "another"), {"back: SHA-256 of the file received"}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_fault_is_red(spoil: Callable[[BackRun], None], wrong: set[str], tmp_path: Path) -> None:
    run = BackRun()
    spoil(run)
    assert red(run.checks(tmp_path)) == wrong


def speaks_while_nobody_comes(run: GoneRun) -> None:
    again = next(row for row in run.rows if row.tag == "again")
    run.rows.append(replace(again, time=again.time + 2, seq=again.seq + MSS))


@pytest.mark.parametrize(
    ("spoil", "wrong"),
    [
        (lambda run: setattr(run, "told_after", 3.9), {ERROR}),
        (lambda run: setattr(run, "told_after", 4.2), {ERROR}),
        (lambda run: setattr(run, "told_after", 0.0), {"gone: what nginx was told"}),
        (lambda run: run.told.pop(), {"gone: what nginx was told"}),
        (lambda run: setattr(run, "left", 1), {"gone: connections that the server has left"}),
        (
            speaks_while_nobody_comes,
            {"gone: sequence diagram, connection to nginx", "gone: segments to 10.0.1.2 from nginx once it waited"},
        ),
    ],
    ids=["one MSL short", "late", "not told", "no reset", "still there", "speaks"],
)
def test_a_fault_where_nobody_comes_is_red(spoil: Callable[[GoneRun], None], wrong: set[str], tmp_path: Path) -> None:
    run = GoneRun()
    spoil(run)
    assert red(run.checks(tmp_path)) == wrong
