"""The judge of `failover`: a good run passes every check, and each planted fault is red in its checks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from analysis.capture import ACK, FIN, RST
from migrate.core.options import Migrate
from scenarios import failover_checks as judge
from scenarios import failover_refusals as refusals
from scenarios.failover_seen import Received
from scenarios.verdict import Check, Invalid
from tests.analysis import made_trace as made
from tests.analysis.made_trace import NA
from tests.scenarios.failover_run import (
    AT,
    END,
    KEYS,
    MSS,
    OBJECT,
    Run,
    context,
    migrate_syn,
    other_secret,
    told,
)
from tests.scenarios.mobility_seen import red

DIAGRAM = "sequence diagram"


def names(checks: list[Check]) -> set[str]:
    return {name.removeprefix("wrong: ") for name in red(checks)}


def test_a_good_run_passes(tmp_path: Path) -> None:
    checks = Run().checks(tmp_path)
    assert names(checks) == set()
    assert len({check.name for check in checks}) == len(checks)


def not_preload(run: Run) -> None:
    option = Migrate(False, 1, made.TOKEN, made.proof(NA, 1)).encode()
    run.change("5", options=option)


def other_request(run: Run) -> None:
    option = Migrate(True, 1, made.TOKEN, made.proof(NA + 1, 0x81)).encode()
    run.change("5", options=option)


def other_token(run: Run) -> None:
    run.change("5", options=Migrate(True, 1, other_secret(), made.proof(NA, 0x81)).encode())


def answer_names_less(run: Run) -> None:
    """The client acknowledges a segment too few, and sB goes on from there: bytes come twice."""
    run.shift("6", ack=-(MSS - 12))
    for tag in ("7", "new"):
        run.shift(tag, seq=-(MSS - 12))
    run.shift("new-ack", ack=-(MSS - 12))


def goes_on_too_early(run: Run) -> None:
    """sB sends again what the client has."""
    run.shift("new", seq=-100)


def goes_on_too_late(run: Run) -> None:
    run.shift("new", seq=100)


def no_more_room(run: Run) -> None:
    """Segments stay as long as they were with timestamps."""
    run.change("new", length=MSS - 12)


def timestamps_go_on(run: Run) -> None:
    options = next(row.options for row in run.rows if row.tag == "data")
    run.change("new", options=options)


def no_reset(run: Run) -> None:
    run.drop("reset")


def reset_of_sB(run: Run) -> None:
    row = next(row for row in run.rows if row.tag == "new-ack")
    run.rows.append(replace(row, tag="bad", time=0.45, flags=RST, window=0))


def acknowledged_after_all(run: Run) -> None:
    """The client answers sA's retransmission by an ACK."""
    ack = next(row for row in run.rows if row.tag == "ack")
    run.change("reset", flags=ACK, seq=END, ack=AT, options=ack.options)


def new_data_of_sA(run: Run) -> None:
    run.shift("again", seq=MSS - 12)


def fin_of_sA(run: Run) -> None:
    data = [row for row in run.rows if row.tag == "data"][-1]
    run.rows.append(replace(data, tag="end", time=0.15, flags=FIN | ACK, seq=AT, length=0))


def late(run: Run) -> None:
    """sB waits with its first byte."""
    for tag in ("new", "new-ack"):
        run.shift(tag, time=0.1)


def hole(run: Run) -> None:
    run.drop("new", slice(3, 4))


def somebody_else(run: Run) -> None:
    """sC has it, not sB."""
    other = {"10.0.3.2": "10.0.4.2"}
    run.rows = [replace(row, src=other.get(row.src, row.src), dst=other.get(row.dst, row.dst)) for row in run.rows]


def two_winners(run: Run) -> None:
    run.wedges["sC"] = [told("sC", 0.3, "taken-over", "from sA")]


def curl_fails(run: Run) -> None:
    run.exit_status = 18


def wrong_bytes(run: Run) -> None:
    run.received = Received.of("object", OBJECT, OBJECT[:500] + b"!" + OBJECT[501:])


def sA_does_not_wait(run: Run) -> None:
    run.daemons["sA"] = []


def sA_never_hears(run: Run) -> None:
    run.wedges["sA"] = []


def large_window(run: Run) -> None:
    run.change("5", window=100)


AGAIN = "bytes before the SYN/ACK's ack that come again"
FIRST = "first byte of the new server's, beyond the SYN/ACK's ack"
MISSING = "bytes missing from what came to the client"
HAS = "the SYN/ACK's ack, beside what the client has"
RESETS = "RSTs to sA, one for each"
TOLD = "what sA's daemon and its wedge told"
NO_RETRANSMISSIONS = "sA's segments after the take-over that are no retransmissions"
IN_TIME = "pronouncement to the first new byte"

FAULTS: list[tuple[Callable[[Run], None], set[str]]] = [
    (not_preload, {DIAGRAM, "P and ReqNo of the Migrate SYN"}),
    (other_request, {DIAGRAM, "Request, computed anew"}),
    (other_token, {DIAGRAM, "Token, computed anew"}),
    (answer_names_less, {DIAGRAM, HAS, NO_RETRANSMISSIONS}),
    (goes_on_too_early, {DIAGRAM, AGAIN, FIRST}),
    (goes_on_too_late, {DIAGRAM, MISSING, FIRST}),
    (no_more_room, {DIAGRAM, MISSING, "largest segment after"}),
    (timestamps_go_on, {DIAGRAM, "segments with timestamps after the take-over"}),
    (no_reset, {RESETS}),
    (reset_of_sB, {DIAGRAM, "RSTs to sB"}),
    (acknowledged_after_all, {DIAGRAM, RESETS}),
    (new_data_of_sA, {DIAGRAM, NO_RETRANSMISSIONS}),
    (fin_of_sA, {DIAGRAM, "Token and Request recomputed", "FINs of the server that had it"}),
    (late, {IN_TIME}),
    (hole, {DIAGRAM, MISSING}),
    (somebody_else, {"whose it was"}),
    (two_winners, {"take-overs that the wedges tell of"}),
    (curl_fails, {"curl's exit status"}),
    (wrong_bytes, {"SHA-256 of object"}),
    (sA_does_not_wait, {TOLD}),
    (sA_never_hears, {TOLD}),
    (large_window, {DIAGRAM, "the Migrate SYN's S and window"}),
]


@pytest.mark.parametrize(("plant", "wanted"), FAULTS, ids=[plant.__name__ for plant, _ in FAULTS])
def test_a_planted_fault_is_red(plant: Callable[[Run], None], wanted: set[str], tmp_path: Path) -> None:
    run = Run()
    plant(run)
    assert names(run.checks(tmp_path)) == wanted


@pytest.mark.parametrize(("waited", "verdict"), [(0.0, "fail"), (0.02, "fail"), (0.2, "invalid")])
def test_a_late_take_over_on_a_busy_machine_proves_nothing(waited: float, verdict: str, tmp_path: Path) -> None:
    """But waiting does not excuse more than it took, and never makes a pass."""
    run = Run()
    run.waited = waited
    assert all(check.verdict == "pass" for check in run.checks(tmp_path))
    late(run)
    assert {check.verdict for check in run.checks(tmp_path) if check.verdict != "pass"} == {verdict}


def killed(run: Run, out: Path) -> set[str]:
    return names(judge.taken_over(context(out), run.seen, run.streams, KEYS, killed=True))


def test_a_killed_server_is_reset_by_its_kernel_and_the_client_waits(tmp_path: Path) -> None:
    run = Run()
    data = [row for row in run.rows if row.tag == "data"][-1]
    run.drop("again")
    run.drop("reset")
    run.rows.append(replace(data, tag="dead", time=0.15, flags=RST | ACK, seq=AT, length=0))
    run.daemons["client"] = [told("client", 0.15, "waiting", "RST")]
    assert killed(run, tmp_path) == set()
    assert names(judge.taken_over(context(tmp_path), run.seen, run.streams, KEYS)) == {"RSTs of the server that had it"}
    run.daemons["client"] = []
    assert killed(run, tmp_path) == {"times that the client waits for another server"}
    run.drop("dead")
    assert "RSTs of the killed server's kernel" in killed(run, tmp_path)


def test_without_a_retransmission_the_run_proves_nothing(tmp_path: Path) -> None:
    run = Run()
    run.drop("again")
    run.drop("reset")
    with pytest.raises(Invalid, match="sA sent nothing after the take-over"):
        run.checks(tmp_path)


# --- races ------------------------------------------------------------------------------------------------------------


def raced() -> Run:
    """sC has asked too, a little later."""
    run = Run()
    run.rows.append(migrate_syn("sC", next(row.time for row in run.rows if row.tag == "5") + 0.002, tag="5c"))
    run.wedges["sC"] = [told("sC", 0.2, "pronounced"), told("sC", 0.3, "lost", "sB has it")]
    return run


def racing(run: Run) -> set[str]:
    return names(refusals.raced(run.seen, run.packets, ("sB", "sC")))


def test_a_good_race_passes(tmp_path: Path) -> None:
    run = raced()
    assert racing(run) == set()
    assert names(judge.taken_over(context(tmp_path), run.seen, run.streams, KEYS, by=("sB", "sC"))) == set()


def test_a_race_without_a_second_is_none() -> None:
    run = raced()
    run.drop("5c")
    with pytest.raises(Invalid, match="sC did not ask"):
        racing(run)


def test_both_are_answered() -> None:
    run = raced()
    six = next(row for row in run.rows if row.tag == "6")
    run.rows.append(replace(six, time=six.time + 0.002, dst="10.0.4.2", dport=40001))
    assert racing(run) == {"replicas that were answered", "replicas that heard anything of the client"}


def test_the_loser_is_reset() -> None:
    run = raced()
    six = next(row for row in run.rows if row.tag == "6")
    run.rows.append(replace(six, time=six.time + 0.002, dst="10.0.4.2", dport=40001, flags=RST))
    assert racing(run) == {"replicas that heard anything of the client"}


def test_the_loser_asks_again() -> None:
    run = raced()
    run.rows.append(migrate_syn("sC", 0.3, reqno=2))
    assert racing(run) == {"request numbers that were asked with"}


def test_the_loser_does_not_know() -> None:
    run = raced()
    run.wedges["sC"].pop()
    assert racing(run) == {"losers that say so"}


# --- nobody takes it --------------------------------------------------------------------------------------------------


def kept() -> Run:
    """All comes from sA."""
    run = Run()
    for tag in ("5", "6", "7", "new", "new-ack", "again", "reset", "fin"):
        run.drop(tag)
    run.wedges = {"sA": [], "sB": [told("sB", 0.2, "refused", 'its validator is "b" here and "a" there')]}
    return run


def test_refused() -> None:
    run = kept()
    assert names(refusals.not_taken(run.seen, run.streams, run.packets)) == set()
    assert names([refusals.says_why(run.seen, "sB", "its validator is")]) == set()
    assert names([refusals.says_why(run.seen, "sB", "chunked")]) == {"why sB refuses"}
    run.wedges["sB"] = []
    assert names([refusals.says_why(run.seen, "sB", "its validator is")]) == {"why sB refuses"}


def test_taken_though_it_should_not_be() -> None:
    run = Run()
    assert names(refusals.not_taken(run.seen, run.streams, run.packets)) == {
        "whose the client's connections were",
        "Migrate SYNs that came to the client",
        "take-overs that the wedges tell of",
    }
    run = kept()
    run.rows.append(migrate_syn("sB", 0.2))
    assert "Migrate SYNs that came to the client" in names(refusals.not_taken(run.seen, run.streams, run.packets))


def test_broken_off() -> None:
    def checks(exit_status: int, got: bytes) -> set[str]:
        run = kept()
        run.exit_status, run.received = exit_status, Received.of("object", OBJECT, got)
        return names(refusals.broken_off(run.seen, run.received))

    assert checks(28, OBJECT[:700]) == set()
    assert checks(0, OBJECT[:700]) == {"curl's exit status"}
    assert checks(28, b"") == {"bytes of object that it has"}
    assert checks(28, OBJECT[:700] + b"mixed") == {"bytes of object that are not sA's"}
    assert checks(28, OBJECT) == {"object is not complete"}


def test_what_programs_tell() -> None:
    run = Run()
    seen = replace(run.seen, monitor=(replace(told("sA", 0.1, "dead"), state="sA"),))
    assert names([judge.death(seen), judge.let_go(seen)]) == set()
    run.wedges["sA"] = []
    assert names([judge.death(run.seen), judge.let_go(run.seen), judge.declined(run.seen, "sB")]) == {
        "the monitor calls sA dead",
        "connections that sA gives up when it hears of it",
        "times that sB, which is full, declines",
    }


def test_who_was_asked_and_where_the_head_goes_on() -> None:
    run = Run()
    (stream,) = run.streams
    assert names([judge.requests(run.seen, stream, ["sA"])]) == set()
    assert names([judge.requests(run.seen, stream, ["sA", "sB"])]) == {"whom the client asked, in order"}
    assert names([judge.within_head(run.seen, stream, AT - NA)]) == set()
    assert names([judge.within_head(run.seen, stream, AT - NA - 1)]) == {"byte of the head at which sB goes on"}
