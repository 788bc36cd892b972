"""The judge of `reassigned`: good runs pass every check, and each planted fault is red in exactly its checks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from analysis.capture import ACK, RST
from tests.analysis import made_trace as made
from tests.analysis.made_trace import MSS
from tests.scenarios.mobility_seen import red
from tests.scenarios.reassigned_run import BackRun, GoneRun, NewcomerRun

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
        (lambda run: setattr(run, "told_after", 5.1), {ERROR}),
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


# --- the stranger has connections of its own --------------------------------------------------------------------------

OBJECT, SAME, OTHER = (f"newcomer: sequence diagram, {name}" for name in ("object", "same-port", "other-port"))
WHILE_WAITING = "newcomer: segments to the old address and port while that connection waits"
RESETS = "newcomer: RSTs that left the server"
FREED = "newcomer: Migrate SYN to SYN/ACK for the old port"
TAKEN = "newcomer: SYNs with the old port while it is taken"
ENDED = "newcomer: the other port's download ended while the mobile's waited"
BY_THE_DAEMON = "newcomer: what the server's daemon told"


def test_a_good_run_with_a_newcomer_passes() -> None:
    checks = NewcomerRun().checks()
    assert red(checks) == set()
    assert len({check.name for check in checks}) == len(checks)


def answers_to_the_old_port(**fields: int) -> Callable[[NewcomerRun], None]:
    """The kernel speaks on the pair of the connection that waits: to the stranger's first SYN, or of its own."""

    def spoil(run: NewcomerRun) -> None:
        data = next(row for row in run.rows["object"] if row.tag == "again")
        run.rows["object"].append(replace(data, time=run.waits + 0.5, **fields))  # type: ignore[arg-type]

    return spoil


def the_port_is_free_before(run: NewcomerRun) -> None:
    """The stranger's connection takes the place of the one that waits."""
    early = run.waits + 2.0
    step = early - run.rows["same-port"][0].time
    rows = [row for row in run.rows["same-port"] if row.tag != "1"]
    first = replace(run.rows["same-port"][0], time=rows[0].time - 0.0001)
    run.rows["same-port"] = [replace(row, time=row.time + step) for row in (first, *rows)]


def its_download_has_a_hole(run: NewcomerRun) -> None:
    data = [row for row in run.rows["other-port"] if row.tag == "data"]
    run.rows["other-port"] = [row for row in run.rows["other-port"] if row is not data[1]]


def is_refused(run: NewcomerRun) -> None:
    """As if the old connection stood in its way for good."""
    fin = next(row for row in run.rows["same-port"] if row.tag == "fin-back")
    run.rows["same-port"] = [
        replace(row, flags=RST | ACK) if row is fin else row for row in run.rows["same-port"] if row.time <= fin.time
    ]


def no_second_try(run: NewcomerRun) -> None:
    syns = [row for row in run.rows["same-port"] if row.tag == "1"]
    run.rows["same-port"] = [row for row in run.rows["same-port"] if row not in syns[1:3]]


def has_another_port(name: str, port: int) -> Callable[[NewcomerRun], None]:
    def spoil(run: NewcomerRun) -> None:
        run.rows[name] = [
            replace(row, sport=port) if row.src == made.OLD4 else replace(row, dport=port) for row in run.rows[name]
        ]

    return spoil


def outcome(name: str, **fields: object) -> Callable[[NewcomerRun], None]:
    def spoil(run: NewcomerRun) -> None:
        run.outcomes[name] = replace(run.outcomes[name], **fields)  # type: ignore[arg-type]

    return spoil


def skips_a_packet_for_the_mobile(run: NewcomerRun) -> None:
    run.rows["object"] = [row for row in run.rows["object"] if row.tag != "8"]


def does_not_move(run: NewcomerRun) -> None:
    """The mobile's connection ends where it waits."""
    run.rows["object"] = [row for row in run.rows["object"] if row.time < run.five]


_ENDS = [
    (outcome(name, **spoilt), {f"newcomer: {what}, {name}"})
    for name in ("object", "other-port", "same-port")
    for what, spoilt in (
        ("curl's exit status", {"exit_status": 56}),
        ("SHA-256 of the file received", {"got": "another"}),
    )
]


def moves_elsewhere(run: NewcomerRun) -> None:
    """The connection goes on at an address that is not the mobile's."""
    run.rows["object"] = [
        replace(row, src=row.src.replace(made.NEW4, "10.0.9.9"), dst=row.dst.replace(made.NEW4, "10.0.9.9"))
        for row in run.rows["object"]
    ]


NEWCOMER_CASES: list[tuple[Callable[[NewcomerRun], object], set[str]]] = [
    (answers_to_the_old_port(), {OBJECT, WHILE_WAITING}),
    (answers_to_the_old_port(flags=ACK, length=0), {OBJECT, WHILE_WAITING}),
    (answers_to_the_old_port(flags=RST | ACK, length=0), {OBJECT, WHILE_WAITING, RESETS}),
    (the_port_is_free_before, {FREED, TAKEN}),
    (no_second_try, {TAKEN}),
    (its_download_has_a_hole, {OTHER}),
    (is_refused, {SAME, RESETS}),
    (has_another_port("same-port", 40001), {"newcomer: the first of the stranger's ports", FREED}),
    (has_another_port("other-port", 40000), {"newcomer: the other one", FREED}),
    (skips_a_packet_for_the_mobile, {OBJECT, "newcomer: bytes missing from what was sent to the mobile"}),
    (does_not_move, {OBJECT, "newcomer: what the traces show of the move"}),
    (lambda run: setattr(run, "finished_after", 60.0), {ENDED}),
    (lambda run: run.told.insert(1, replace(run.told[0], event="reset", state="CLOSED")), {BY_THE_DAEMON}),
    (lambda run: run.told.pop(), {BY_THE_DAEMON}),
    *_ENDS,
    (moves_elsewhere, {"newcomer: the mobile's addresses"}),
]


@pytest.mark.parametrize(("spoil", "wrong"), NEWCOMER_CASES, ids=lambda value: getattr(value, "__name__", ""))
def test_a_fault_with_a_newcomer_is_red(spoil: Callable[[NewcomerRun], object], wrong: set[str]) -> None:
    run = NewcomerRun()
    spoil(run)
    assert red(run.checks()) == wrong


def test_every_check_with_a_newcomer_has_a_fault() -> None:
    seen = {check.name for check in NewcomerRun().checks()} | {"newcomer: what the traces show of the move"}
    assert seen == set().union(*(wrong for _, wrong in NEWCOMER_CASES))
