"""The judge of `mobility`: a good run passes every check, and each planted fault is red in exactly its checks."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from analysis.capture import ACK, RST
from scenarios import one_move
from scenarios.base import Context
from scenarios.mobility import MobilityScenario
from scenarios.mobility_checks import first_flight, judge
from scenarios.one import perform
from scenarios.verdict import Invalid, Verdict
from tests.analysis import made_trace as made
from tests.analysis.made_trace import MSS, NA, NI, Row, Setting
from tests.analysis.test_faults import EXTRA_TS, FORGED, add, change, cut, delay, drop, plus, without_mp
from tests.scenarios import mobility_faults as faults
from tests.scenarios.mobility_faults import Spoil, at, forge
from tests.scenarios.mobility_seen import ROUND_TRIP, SETTING, Run, packet_time, red
from topologies.measure import LinkNotAsDeclared

MOBILE, SERVER = {"sequence diagram, mobile"}, {"sequence diagram, server"}
DIAGRAMS = MOBILE | SERVER
TOKENS = {"Token and Request recomputed, mobile", "Token and Request recomputed, server"}
OCTET, TOKEN, REQUEST = "P and ReqNo of the Migrate SYN", "Token, computed anew", "Request, computed anew"
RATE, QUEUE_RATE = "rate before the move", "rate of the buffered packets"
BUFFERED = "buffered packets to the old address after the move"
HOLES = "bytes missing between what the mobile has and the last buffered one"
OLD_ACKS = "ACKs from the old address beyond what 7 acknowledges"
FIRST_BYTE = "first byte after the move, beyond what 7 acknowledged"
FIRST_FLIGHT, BOUND = "first flight after the move", "outstanding beyond slow start's bound"
GROWTH = "least growth of the flight in a round trip"
AGAIN, TWICE = "retransmitted after the move", "bytes received twice after the move"
NOT_SENT, NOT_RECEIVED = "bytes missing from what the server sent", "bytes missing from what the mobile received"
RESUMED = "ACK to data at the server"
ADDRESSES = {f"addresses before and after the move, {vantage}" for vantage in ("mobile", "server")}
UNMEASURED = "what the traces show of the move"


@pytest.mark.parametrize(
    "run",
    [
        Run(),
        Run(Setting(packet_time=packet_time(v6=True), v6=True)),
        Run(replace(SETTING, first_flight=10, total=80), profile="modern"),
        Run(replace(SETTING, same_port=False)),
        Run(replace(SETTING, in_flight=50)),
        Run(replace(SETTING, away=2.0)),
        Run(replace(SETTING, total=100, window=30, received=40)),
    ],
    ids=["plain", "ipv6", "modern", "another port", "upload in flight", "long away", "long"],
)
def test_a_good_run_passes(run: Run, tmp_path: Path) -> None:
    checks = run.checks(tmp_path)
    assert red(checks) == set()
    assert len({check.name for check in checks}) == len(checks)


def test_what_it_reports_is_right(tmp_path: Path) -> None:
    run = Run()
    context = run.context(tmp_path)
    judge(context, run.seen())
    found = {one.name: (one.value, one.unit) for one in context.reported}
    assert found["server's own time, Migrate SYN to SYN/ACK"] == (0.5, "ms")
    assert found["mobile's own time, SYN/ACK to ACK"] == (2.0, "ms")
    assert found["mobile's own time, address lost to Migrate SYN"] == (10.0, "ms")
    assert found["server's own time, ACK to data"] == (0.0, "ms")
    rows = run.rows["mobile"]
    last = [row.time for row in rows if row.tag == "data"][run.setting.received - 1]
    seconds = next(row.time for row in rows if row.tag == "8") - last
    assert found["interruption"][0] == pytest.approx(seconds, abs=0.001)
    assert found["interruption, in round trips of the new path"][0] == pytest.approx(seconds / ROUND_TRIP, abs=0.01)


@dataclass(frozen=True)
class Case:
    name: str
    spoil: Spoil
    red: set[str]
    setting: Setting = field(default_factory=lambda: SETTING)
    profile: str = "paper"


def skipped(row: Row) -> bool:
    """The server does not send these: it goes on where it had stopped."""
    return faults.after_the_move(row) and row.seq < faults.OLD_QUEUE + 8 * MSS


def nothing(run: Run) -> None:
    """The setting is the fault."""


OLD_ACK: dict[str, Any] = {
    "src": made.OLD4,
    "sport": 40000,
    "dst": made.SERVER4,
    "dport": 80,
    "seq": NI + 121,
    "length": 0,
}
CASES = [
    # 1: the handshake, and the rate.
    Case("SYN without MP", at("both", change("1", options=without_mp)), DIAGRAMS | TOKENS | {UNMEASURED}),
    Case("slower than the modem by a tenth", faults.slower_before(1.1), {RATE}),
    Case("faster than the modem by a tenth", faults.slower_before(0.9), {RATE}),
    # 2: the buffered packets.
    Case("no buffered packets", at("mobile", faults.without(faults.buffered)), {BUFFERED}),
    Case("a buffered packet lost", at("mobile", drop("data", 14)), {HOLES, QUEUE_RATE}),
    Case("buffered packets slower by a tenth", at("mobile", faults.slower_queue(1.1)), {QUEUE_RATE}),
    Case("buffered packets acknowledged", at("mobile", add("data", 17, ack=NA + 17001, **OLD_ACK)), MOBILE),
    Case("acknowledged by somebody on the way", at("server", add("new", 6, ack=NA + 14001, **OLD_ACK)), {OLD_ACKS}),
    # 3: the Migrate SYN.
    Case("S is snd_una", forge(s=1), DIAGRAMS),
    Case("S one too low", forge(s=-1), DIAGRAMS),
    Case("wrong token", forge(token=FORGED), DIAGRAMS | {TOKEN}),
    Case("wrong request", forge(request=FORGED), DIAGRAMS | {REQUEST}),
    Case("request of another octet", forge(request=made.proof(NI + 120, 0)), DIAGRAMS | {REQUEST}),
    Case("request number 2", forge(octet=2), DIAGRAMS | {OCTET}),
    Case("request number 0", forge(octet=0), DIAGRAMS | {OCTET}),
    Case("preload", forge(octet=0x81), DIAGRAMS | {OCTET}),
    Case("a window", at("both", change("5", window=8192)), DIAGRAMS),
    Case("another option", at("both", change("5", options=lambda row: EXTRA_TS + row.options)), DIAGRAMS | TOKENS),
    Case("the key log lies", faults.another_private_key, {"secrets that the key log's keys give"}),
    Case("no key log", faults.no_keys, TOKENS | {UNMEASURED}),
    Case("one key pair for both ends", faults.one_key_pair_for_both, {"different key pairs at the two ends"}),
    # 4: the SYN/ACK.
    Case("the server waits", at("both", delay("6", 0.06)),
         DIAGRAMS | {"server's own time, Migrate SYN to SYN/ACK", "Migrate SYN to ACK"}),
    Case("somebody nearer answers", at("mobile", delay("6", -0.05)), {"Migrate SYN to ACK"}),
    Case("6 acknowledges S", at("both", change("6", ack=plus("ack", -1))), DIAGRAMS),
    Case("6 starts at snd_nxt", at("both", change("6", seq=plus("seq", 8 * MSS))), DIAGRAMS),
    Case("6 with timestamps", at("both", change("6", options=EXTRA_TS)), DIAGRAMS),
    # 5: the ACK.
    Case("the mobile waits", at("both", delay("7", 0.06)),
         DIAGRAMS | {"mobile's own time, SYN/ACK to ACK", "Migrate SYN to ACK"}),
    Case("a path of twice the length", at("mobile", delay("6", 0.06)), MOBILE | {"Migrate SYN to ACK"}),
    Case("7 takes back an acknowledgement", at("both", change("7", ack=plus("ack", -MSS))),
         DIAGRAMS | {OLD_ACKS, FIRST_BYTE, NOT_SENT, NOT_RECEIVED, BOUND}),
    Case("7 acknowledges what never came", at("both", change("7", ack=plus("ack", MSS))),
         DIAGRAMS | {FIRST_BYTE, FIRST_FLIGHT, BOUND, GROWTH, AGAIN}),
    Case("7 without timestamps", at("both", change("7", options=b"")), DIAGRAMS),
    Case("7 with another clock", at("both", change("7", options=EXTRA_TS)), {"TSvals that run backwards, mobile"}),
    Case(
        "the server's clock starts again",
        at("both", *(change("new", nth, options=EXTRA_TS) for nth in range(3))),
        {"TSvals that run backwards, server"},
    ),
    # 6: from exactly that byte, in slow start.
    Case("one packet too far", at("both", faults.without(lambda row: row.tag == "8")),
         DIAGRAMS | {FIRST_BYTE, FIRST_FLIGHT, NOT_SENT, NOT_RECEIVED}),
    Case("one packet too early", at("both", change("8", seq=plus("seq", -MSS))),
         DIAGRAMS | {FIRST_BYTE, NOT_SENT, NOT_RECEIVED}),
    Case("on from where the server had stopped", at("both", faults.without(skipped)), DIAGRAMS | {UNMEASURED}),
    Case("the server thinks it over", at("both", delay("8", 0.06)), {RESUMED}),
    Case("after an old timeout", at("server", delay("8", 1.0)), SERVER | {RESUMED}),
    Case("the old window", nothing, {FIRST_FLIGHT, BOUND}, replace(SETTING, first_flight=8)),
    Case("a window of one", nothing, {FIRST_FLIGHT}, replace(SETTING, first_flight=1)),
    Case("less than the profile's window", nothing, {FIRST_FLIGHT}, profile="modern"),
    Case("no growth", at("server", faults.window(lambda acked: 2)), {GROWTH}),
    Case("congestion avoidance", at("server", faults.window(faults.linear)), {GROWTH}),
    Case("a burst in the second round trip", at("server", faults.window(lambda n: 2 if n < 2 else 20)), {BOUND}),
    Case("retransmitted twice", at("server", add("new", 6)), {AGAIN}),
    Case("and received twice", at("both", add("new", 6)), {AGAIN, TWICE}),
    # 7: nothing else, and all of it.
    Case("RST at the mobile", at("mobile", add("new", 4, flags=RST, length=0)), MOBILE | {"RSTs, mobile"}),
    Case("RST at the server", at("server", add("5", flags=RST | ACK)), SERVER | {"RSTs, server"}),
    Case("a packet missing at the mobile", at("mobile", drop("new", 30 - 12)), MOBILE | {NOT_RECEIVED}),
    Case("a byte missing", at("mobile", change("new", 3, length=MSS - 1)), MOBILE | {NOT_RECEIVED}),
    Case("a byte never sent", at("server", change("new", 3, length=MSS - 1)), SERVER | {NOT_SENT}),
    Case("the object is larger", faults.larger_object, {"bytes that the connection carried"}),
    Case("a FIN too early", at("both", faults.close_early), {"bytes to come when the first FIN passed"}),
    Case("no FIN", at("mobile", cut("fin")), MOBILE | {UNMEASURED}),
    Case("no handshake after the Migrate SYN", at("both", cut("6")), DIAGRAMS | {UNMEASURED}),
    # It is this connection, and it moved.
    Case("another connection of the mobile's", faults.stranger("mobile", 5), {"connections in the captures, mobile"}),
    Case("another at the server", faults.stranger("server", -1), {"connections in the captures, server"}),
    Case("two connections and a proxy", faults.proxied, {"initial sequence numbers at the server"}),
    Case("to another address than the mobile's", faults.elsewhere, ADDRESSES),
    Case("to the address that it has", faults.in_place, DIAGRAMS | ADDRESSES | {BUFFERED, TWICE}),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_fault_is_red_in_exactly_its_checks(case: Case, tmp_path: Path) -> None:
    run = Run(case.setting, case.profile)
    case.spoil(run)
    assert red(run.checks(tmp_path)) == case.red


def test_every_check_has_a_fault(tmp_path: Path) -> None:
    assert {check.name for check in Run().checks(tmp_path)} | {UNMEASURED} == set().union(*(one.red for one in CASES))


@pytest.mark.parametrize(
    ("window", "measured", "holes", "holds"),
    [(2, 2, False, True), (2, 1, False, False), (2, 3, False, False), (2, 2, True, True), (2, 1, True, False),
     (10, 10, True, True), (10, 7, True, True), (10, 6, True, False), (10, 11, True, False), (10, 9, False, False)],
)  # fmt: skip
def test_the_first_flight_is_the_initial_window(window: int, measured: int, holes: bool, holds: bool) -> None:
    """Beside holes Linux may wait with its last third, and no more."""
    assert (first_flight(window, measured, holes).verdict is Verdict.PASS) is holds


def test_nothing_in_flight_proves_nothing(tmp_path: Path) -> None:
    run = Run()
    at("both", faults.without(faults.buffered))(run)
    with pytest.raises(Invalid, match="nothing was in flight"):
        run.checks(tmp_path)


def test_nothing_in_flight_proves_nothing_whatever_else_is_wrong(tmp_path: Path) -> None:
    run = Run()
    at("both", faults.without(faults.buffered), drop("new", 3))(run)
    with pytest.raises(Invalid):
        run.checks(tmp_path)


def test_without_one_moved_connection_the_run_is_invalid() -> None:
    moved = Run().streams()["mobile"]
    still = Run()
    at("mobile", cut("5"))(still)
    assert one_move.moved(moved, "mobile") is moved[0]
    for found, count in ([], 0), (still.streams()["mobile"], 0), (moved * 2, 2):
        with pytest.raises(Invalid, match=f"^{count} connections moved in the captures at the mobile, 1 should have$"):
            one_move.moved(found, "mobile")


def test_a_link_that_is_not_as_declared_makes_the_run_invalid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Topology:
        """As far as the scenario gets with it."""

        def __init__(self, **_: object) -> None: ...

        def __enter__(self) -> Topology:
            return self

        def __exit__(self, *_: object) -> None: ...

        def measure(self) -> None:
            raise LinkNotAsDeclared("base to mobile: rate there 9,600 bit/s instead of 19,200 bit/s")

    monkeypatch.setattr(one_move, "Mobility", Topology)
    result = perform(MobilityScenario(), Context(1, "paper", 4, tmp_path))
    assert result.verdict is Verdict.INVALID
    assert result.reason.startswith("base to mobile: rate there 9,600 bit/s")
