from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scenarios import one, standstill
from scenarios.base import Context, Scenario
from scenarios.result import Result
from scenarios.verdict import Verdict
from tests.scenarios.samples.bad import Bad
from tests.scenarios.samples.crashing import Crashing
from tests.scenarios.samples.empty import Empty
from tests.scenarios.samples.good import Good
from tests.scenarios.samples.guarded import Guarded
from tests.scenarios.samples.undeclared import Undeclared
from tests.scenarios.samples.unseen import Unseen


@pytest.mark.parametrize(
    ("scenario", "verdict", "reason"),
    [
        (Good, Verdict.PASS, "2 checks passed"),
        (Bad, Verdict.FAIL, "sum: expected 5 apples, measured 4 apples"),
        (Crashing, Verdict.FAIL, "RuntimeError: the base station is on fire"),
        (Empty, Verdict.INVALID, "nothing was checked"),
        (Guarded, Verdict.INVALID, "no data was in flight at the move"),
        (Unseen, Verdict.INVALID, "mobile: 3 packets are missing from a.pcap: the machine is too busy to capture"),
        (Undeclared, Verdict.SKIP, "this kernel has no teleporter"),
    ],
)
def test_each_way_to_end_has_its_verdict(
    scenario: type[Scenario], verdict: Verdict, reason: str, tmp_path: Path
) -> None:
    result = one.perform(scenario(), Context(5, "modern", 6, tmp_path))
    assert (result.verdict, result.reason) == (verdict, reason)
    assert (result.seed, result.profile, result.ip) == (5, "modern", 6)
    assert Result.read(tmp_path) == result


def test_a_crash_leaves_its_traceback(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    one.perform(Crashing(), Context(1, "paper", 4, tmp_path))
    assert "Traceback" in capfd.readouterr().err


@pytest.mark.parametrize(("name", "status"), [("good", 0), ("undeclared", 0), ("bad", 1), ("guarded", 1), ("nope", 2)])
def test_the_exit_status(name: str, status: int, tmp_path: Path) -> None:
    command = [name, "--seed", "1", "--profile", "paper", "--ip", "4", "--out", str(tmp_path / "new")]
    assert one.main([*command, "--package", "tests.scenarios.samples"]) == status


@pytest.mark.parametrize(
    ("scenario", "seconds", "verdict"),
    [
        (Bad, 0.4, Verdict.FAIL),
        (Bad, 0.6, Verdict.INVALID),
        (Crashing, 0.6, Verdict.INVALID),
        (Good, 0.6, Verdict.PASS),
        (Undeclared, 0.6, Verdict.SKIP),
    ],
)
def test_what_fails_while_the_machine_stands_still_shows_nothing(
    scenario: type[Scenario], seconds: float, verdict: Verdict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def watched() -> Iterator[object]:
        yield lambda: seconds

    monkeypatch.setattr(standstill, "watched", watched)
    result = one.perform(scenario(), Context(5, "modern", 6, tmp_path))
    assert result.verdict is verdict
    assert [one.value for one in result.reported if "stood still" in one.name] == [seconds]
    if verdict is Verdict.INVALID:
        assert result.reason.startswith("this machine stood still for 0.6 s, so this shows nothing: ")
