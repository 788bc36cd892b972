"""The judge of `oscillation`: a good curve passes every check, and each planted fault is red in its checks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from analysis.capture import ACK, FIN, RST
from scenarios import oscillation_checks as judge
from scenarios.oscillation_picture import make_figure
from scenarios.oscillation_seen import Curve, progress, seconds
from scenarios.verdict import Invalid
from tests.analysis.made_trace import NA
from tests.scenarios.failover_run import AFTER, AT, BEFORE, MSS, NAMES, Run, context, told
from tests.scenarios.mobility_seen import red

BYTES = AT - NA - 1 + AFTER * MSS


@dataclass
class Made:
    """One download that is moved once, and one that is not."""

    run: Run = field(default_factory=Run)
    period: float | None = 0.2
    asked: int = 1
    exit_status: int = 0
    got: str = "sum"

    def curve(self) -> Curve:
        return Curve(
            period=self.period,
            loss=0.0,
            streams=tuple(self.run.streams),
            told=tuple(self.run.wedges["sB"]),
            asked=self.asked,
            exit_status=self.exit_status,
            wanted="sum",
            got=self.got,
            object_bytes=BYTES - 200,
        )


def never() -> Curve:
    run = Run()
    for tag in ("5", "6", "7", "again", "reset"):
        run.drop(tag)
    server = {"10.0.3.2": "10.0.2.2"}
    run.rows = [replace(row, src=server.get(row.src, row.src), dst=server.get(row.dst, row.dst)) for row in run.rows]
    run.rows = [replace(row, sport=8080) if row.sport != 40000 or row.src != "10.0.1.2" else row for row in run.rows]
    run.rows = [replace(row, dport=8080) if row.src == "10.0.1.2" else row for row in run.rows]
    run.wedges["sB"] = []
    return Made(run, None, 0).curve()


def checked(made: Made, out: Path) -> set[str]:
    checks = judge.judge(context(out), [made.curve(), never()], NAMES)
    return {name.split(": ")[-1] for name in red(checks)}


def test_a_good_curve_passes(tmp_path: Path) -> None:
    assert checked(Made(), tmp_path) == set()


def lost_byte(made: Made) -> None:
    made.run.drop("new", slice(3, 4))


def sent_again(made: Made) -> None:
    made.run.shift("new", seq=-10)


def wrong_sum(made: Made) -> None:
    made.got = "other"


def curl_fails(made: Made) -> None:
    made.exit_status = 18


def moved_too_seldom(made: Made) -> None:
    made.asked = 3


def not_told(made: Made) -> None:
    made.run.wedges["sB"] = []


def told_twice(made: Made) -> None:
    made.run.wedges["sB"].append(told("sB", 0.4, "taken-over"))


def to_a_stranger(made: Made) -> None:
    other = {"10.0.3.2": "10.0.4.2"}
    rows = made.run.rows
    made.run.rows = [replace(row, src=other.get(row.src, row.src), dst=other.get(row.dst, row.dst)) for row in rows]


def reset_by_a_server(made: Made) -> None:
    row = next(row for row in made.run.rows if row.tag == "new")
    made.run.rows.append(replace(row, tag="bad", time=0.45, flags=RST, length=0))


def ended_by_the_deposed(made: Made) -> None:
    row = next(row for row in made.run.rows if row.tag == "data")
    made.run.rows.append(replace(row, tag="bad", time=0.45, flags=FIN | ACK, seq=AT, length=0))


def test_a_move_may_cross_the_clients_fin(tmp_path: Path) -> None:
    """Both servers answer the FIN; the last take-over is of use to nobody, but it is one."""
    made = Made()
    row = next(row for row in made.run.rows if row.tag == "data")
    made.run.rows.append(replace(row, time=0.52, tag="crossing", flags=FIN | ACK, seq=AT, length=0))
    assert checked(made, tmp_path) == set()


def cut_short(made: Made) -> None:
    made.run.drop("new", slice(5, None))
    made.run.drop("new-ack", slice(5, None))
    made.run.drop("fin")


TAKE_OVERS, TOLD = "take-overs in the capture", "take-overs that the wedges tell of"
MISSING, AGAIN = "bytes missing from what came to the client", "bytes sent again that a SYN/ACK had acknowledged"
ENDS = "RSTs of servers, and FINs before the client's"

FAULTS: list[tuple[Callable[[Made], None], set[str]]] = [
    (lost_byte, {MISSING}),
    (sent_again, {AGAIN}),
    (wrong_sum, {"SHA-256"}),
    (curl_fails, {"curl's exit status"}),
    (moved_too_seldom, {TAKE_OVERS}),
    (not_told, {TOLD}),
    (told_twice, {TOLD}),
    (to_a_stranger, {"whose it was, one after the other"}),
    (reset_by_a_server, {ENDS}),
    (ended_by_the_deposed, {ENDS}),
    (cut_short, {"bytes that the connection carried"}),
]


@pytest.mark.parametrize(("plant", "wanted"), FAULTS, ids=[plant.__name__ for plant, _ in FAULTS])
def test_a_planted_fault_is_red(plant: Callable[[Made], None], wanted: set[str], tmp_path: Path) -> None:
    made = Made()
    plant(made)
    assert checked(made, tmp_path) == wanted


def test_two_connections_are_red(tmp_path: Path) -> None:
    curve = replace(never(), streams=(*never().streams, *Run().streams))
    names = red(judge.judge(context(tmp_path), [curve], NAMES))
    assert {name.split(": ")[-1] for name in names} == {"connections of the client"}


def test_a_curve_that_never_moved_proves_nothing(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="it has not moved once"):
        judge.judge(context(tmp_path), [replace(never(), period=5.0)], NAMES)


def test_a_slow_link_proves_nothing() -> None:
    rate = 8 * (BYTES - 200) / seconds(never().streams[0])
    judge.as_fast_as_the_link([never()], rate)
    with pytest.raises(Invalid, match="too busy"):
        judge.as_fast_as_the_link([never()], rate * 1.2)


def test_costs(tmp_path: Path) -> None:
    """The moved one takes as much longer as its last new byte comes later; seldom moves may cost little only."""
    slow = Made(period=6.0)
    slow.run.shift("new", time=0.1)
    slow.run.shift("new-ack", time=0.1)
    here = context(tmp_path)
    cost = judge.costs(here, [slow.curve(), never()])
    assert cost == {(0.0, 6.0): pytest.approx(seconds(slow.curve().streams[0]) / seconds(never().streams[0]))}
    assert cost[0.0, 6.0] > judge.LITTLE
    names = red(judge.judge(here, [slow.curve(), never()], NAMES))
    assert names == {"time of what is moved every 5 s or less often, without losses, beside never"}
    assert any(one.name.endswith("time, beside never") for one in here.reported)


def test_progress_counts_what_is_received_in_order() -> None:
    run = Run()
    (stream,) = run.streams
    steps = progress(stream)
    assert [count for _, count in steps] == [
        0,
        *((number + 1) * (MSS - 12) for number in range(BEFORE)),
        *(BEFORE * (MSS - 12) + (number + 1) * MSS for number in range(AFTER)),
    ]
    # A hole: what is beyond it counts once it is filled.
    late = [row for row in run.rows if row.tag == "new"][2]
    run.rows = [replace(row, time=0.45, tag="late") if row is late else row for row in run.rows]
    (stream,) = run.streams
    after = progress(stream)
    assert after[-1][0] == pytest.approx(0.45)
    assert after[-1][1] == BYTES
    assert len(after) == len(steps) - (AFTER - 3)


def test_what_a_deposed_server_sends_is_not_received() -> None:
    run = Run()
    run.shift("again", seq=MSS - 12)  # new data, and it comes too late
    (stream,) = run.streams
    assert max(count for time, count in progress(stream) if time <= 0.4) == BYTES
    run.drop("new")
    (stream,) = run.streams
    assert progress(stream)[-1][1] == BEFORE * (MSS - 12)


def test_the_picture_has_a_panel_for_each_loss_and_a_curve_for_each_period() -> None:
    curves = [Made().curve(), never(), replace(never(), loss=0.01)]
    figure = make_figure(curves, "title")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["loss 0 %", "loss 1 %"]
    assert [len(axes.get_lines()) for axes in figure.axes] == [2, 1]
    legend = figure.axes[0].get_legend()
    assert legend is not None
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts[0].startswith("every 0.2 s: ")
    assert texts[0].endswith(", 1 take-overs")
