import io
import subprocess
from pathlib import Path

import pytest

from scenarios.display import Display, counted, nearby, table
from scenarios.result import Result
from scenarios.runner import Run
from scenarios.variants import choose
from scenarios.verdict import Check, Verdict
from tests.scenarios.samples.good import Good


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def result(verdict: Verdict, *checks: Check) -> Result:
    return Result("good", "claim", verdict, "the reason", 1, "paper", 4, "", 2.0, list(checks))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    (variant,) = choose([Good], profile=None, ip=None, seed=1, out=tmp_path)
    process = subprocess.Popen(["true"])
    process.wait()
    return Run(variant, process, "")


def test_without_a_terminal_each_step_is_a_plain_line(run: Run) -> None:
    stream = io.StringIO()
    display = Display(stream, [run.variant])
    display.started(run)
    run.step = "moving"
    display.stepped(run)
    display.waiting([run])
    display.finished(run, result(Verdict.PASS))
    lines = stream.getvalue().splitlines()
    assert [line.split(" s  ")[1] for line in lines] == ["starting", "moving", "pass: the reason"]
    assert "\033" not in stream.getvalue()


def test_in_a_terminal_the_running_lines_are_redrawn(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    display = Display(stream, [run.variant])
    display.waiting([run, run])
    assert stream.getvalue().count("\n") == 2
    display.waiting([run])
    assert stream.getvalue().count("\033[2F\033[J") == 1
    display.finished(run, result(Verdict.FAIL))
    display.waiting([])
    assert stream.getvalue().endswith("\033[31mfail\033[0m: the reason\n")


def test_no_line_is_wider_than_the_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "40")
    run.step = "x" * 200
    stream = Terminal()
    Display(stream, [run.variant]).waiting([run])
    assert max(map(len, stream.getvalue().splitlines())) == 39


def test_the_table_says_where_to_look_and_what_was_wrong(tmp_path: Path) -> None:
    checks = [Check.equal("sum", 4, 4), Check.equal("rate", 19.2, 3, "kbit/s")]
    rows = [(result(Verdict.FAIL, *checks), tmp_path), (result(Verdict.INVALID), tmp_path)]
    lines = table(rows, colours=False).splitlines()
    assert lines[0].split() == ["good", "paper-ipv4", "fail", "1/2", "checks", "2.0", "s", f"{tmp_path}/"]
    assert lines[1] == "    fail  rate: expected 19.2 kbit/s, measured 3 kbit/s"
    assert lines[3] == "    the reason"


def test_the_table_says_why_a_failed_check_has_not_failed_its_run(tmp_path: Path) -> None:
    rows = [(result(Verdict.INVALID, Check.equal("rate", 19.2, 3, "kbit/s")), tmp_path)]
    lines = table(rows, colours=False).splitlines()
    assert lines[1:] == ["    fail  rate: expected 19.2 kbit/s, measured 3 kbit/s", "    the reason"]


def test_verdicts_are_counted() -> None:
    assert counted([result(Verdict.PASS), result(Verdict.INVALID), result(Verdict.PASS)]) == "2 pass, 1 invalid"
    assert counted([]) == "nothing ran"


def test_paths_are_short_where_they_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert nearby(tmp_path / "out") == Path("out")
    assert nearby(Path("/elsewhere")) == Path("/elsewhere")
