import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from scenarios.base import Scenario
from scenarios.result import Result
from scenarios.runner import SANDBOX, Run, Runner
from scenarios.variants import choose, prepare
from scenarios.verdict import Verdict
from tests.scenarios.samples.bad import Bad
from tests.scenarios.samples.dying import Dying
from tests.scenarios.samples.good import Good
from tests.scenarios.samples.late import Late
from tests.scenarios.samples.slow import Slow

SAMPLES = "tests.scenarios.samples"


class Witness:
    """Writes down what it is told; `on_step` is called at each step."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.most = 0
        self.on_step: Callable[[Run], object] = lambda run: None

    def started(self, run: Run) -> None:
        self.told.append((run.variant.scenario.name, "started"))

    def stepped(self, run: Run) -> None:
        self.told.append((run.variant.scenario.name, run.step))
        self.on_step(run)

    def finished(self, run: Run, result: Result) -> None:
        self.told.append((run.variant.scenario.name, str(result.verdict)))

    def waiting(self, running: Sequence[Run]) -> None:
        self.most = max(self.most, len(running))


def run(
    scenarios: Sequence[type[Scenario]],
    out: Path,
    *,
    witness: Witness | None = None,
    jobs: int = 2,
    launcher: Sequence[str] = (),
    timeout: float | None = None,
) -> list[Result]:
    variants = choose(scenarios, profile=None, ip=None, seed=1, out=out, timeout_seconds=timeout)
    prepare(variants, out)
    return Runner(witness or Witness(), jobs, launcher, SAMPLES).run(variants)


def too_long(run: Run) -> None:
    """From here on it has taken longer than it may, however long that is."""
    run.began -= run.variant.timeout_seconds


def gone(pid_file: Path) -> bool:
    """Whether the program that wrote its number there has ended."""
    pid = int(pid_file.read_text())
    for _ in range(50):
        if not Path(f"/proc/{pid}").exists():
            return True
        time.sleep(0.1)
    return False


def test_steps_and_results_are_told_as_they_come(tmp_path: Path) -> None:
    witness = Witness()
    (result,) = run([Good], tmp_path, witness=witness)
    assert result.verdict is Verdict.PASS
    assert witness.told == [("good", "started"), ("good", "adding"), ("good", "comparing"), ("good", "pass")]
    assert (tmp_path / "good" / "log.txt").read_text() == ""


def test_results_are_in_the_order_asked_for(tmp_path: Path) -> None:
    results = run([Bad, Good], tmp_path)
    assert [(result.scenario, result.verdict) for result in results] == [
        ("bad", Verdict.FAIL),
        ("good", Verdict.PASS),
    ]


def test_a_killed_run_has_failed_with_its_last_words(tmp_path: Path) -> None:
    (result,) = run([Dying], tmp_path)
    assert result.verdict is Verdict.FAIL
    assert result.reason == "ended by SIGKILL before it gave a result: the last words"
    assert Result.read(tmp_path / "dying") == result


def test_a_pass_that_ends_badly_is_a_failure(tmp_path: Path) -> None:
    (result,) = run([Late], tmp_path)
    assert result.verdict is Verdict.FAIL
    assert result.reason == "ended with status 7 although all that it checked passed"
    assert Result.read(tmp_path / "late").verdict is Verdict.FAIL


def test_a_launcher_that_cannot_start_is_a_failure_with_its_sentence(tmp_path: Path) -> None:
    (result,) = run([Good], tmp_path, launcher=["sh", "-c", "echo no sandbox here >&2; exit 125"])
    assert result.verdict is Verdict.FAIL
    assert result.reason == "ended with status 125 before it gave a result: no sandbox here"


def test_a_run_beyond_its_time_is_stopped_in_order(tmp_path: Path) -> None:
    witness = Witness()
    witness.on_step = too_long
    (result,) = run([Slow], tmp_path, witness=witness, timeout=60)
    assert result.verdict is Verdict.FAIL
    assert result.reason == "stopped because it took longer than 60 s, at 'waiting'"
    assert (tmp_path / "slow" / "ended").exists()


def test_runs_are_side_by_side_up_to_the_number_of_jobs(tmp_path: Path) -> None:
    for jobs, most in ((1, 1), (3, 3)):
        witness = Witness()
        variants = choose([Good], profile="all", ip="all", seed=1, out=tmp_path)
        prepare(variants, tmp_path)
        assert len(Runner(witness, jobs, (), SAMPLES).run(variants)) == 4
        assert witness.most <= most
        starts = [what for _, what in witness.told[:most]]
        assert starts == ["started"] * most


def test_a_run_that_wants_to_be_alone_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bad, "alone", True)
    witness = Witness()
    run([Good, Bad, Late], tmp_path, witness=witness, jobs=3)
    told = [(name, what) for name, what in witness.told if what in ("started", "pass", "fail")]
    assert [name for name, _ in told] == ["good", "good", "bad", "bad", "late", "late"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_every_run_and_starts_no_other(tmp_path: Path, number: signal.Signals) -> None:
    witness = Witness()
    witness.on_step = lambda _: signal.raise_signal(number)
    before = signal.getsignal(number)
    results = run([Slow, Good], tmp_path, witness=witness, jobs=1, timeout=60)
    assert [(result.scenario, result.verdict) for result in results] == [("slow", Verdict.INVALID)]
    assert results[0].reason == "stopped because it was interrupted"
    assert gone(tmp_path / "slow" / "pid")
    assert signal.getsignal(number) is before


def test_a_second_signal_kills(tmp_path: Path) -> None:
    stubborn = [
        "sh",
        "-c",
        "trap '' TERM; echo '{\"step\": \"ignoring\"}' >$0/slow/steps.jsonl; while :; do sleep 0.1; done",
        str(tmp_path),
    ]
    witness = Witness()

    def twice(_: Run) -> None:
        signal.raise_signal(signal.SIGINT)
        threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT)).start()

    witness.on_step = twice
    began = time.monotonic()
    (result,) = run([Slow], tmp_path, witness=witness, launcher=stubborn, timeout=60)
    assert result.verdict is Verdict.INVALID
    assert 0.5 < time.monotonic() - began < 10


def test_killing_the_runner_kills_its_runs(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _RUN_SLOW, str(tmp_path)]
    files = [tmp_path / "slow" / name for name in ("process", "pid")]
    with subprocess.Popen(command) as runner:
        for _ in range(100):
            if all(file.exists() and file.read_text() for file in files):
                break
            time.sleep(0.1)
        runner.kill()
        runner.wait()
    run_file, program_file = files
    try:
        assert gone(run_file)
    finally:
        os.kill(int(program_file.read_text()), signal.SIGKILL)  # which a sandbox would have ended


_RUN_SLOW = """
import sys
from pathlib import Path
from tests.scenarios.test_runner import Slow, Witness, run

out = Path(sys.argv[1])
witness = Witness()
witness.on_step = lambda run: (out / "slow" / "process").write_text(str(run.process.pid))
run([Slow], out, witness=witness, timeout=60)
"""


@pytest.mark.kernel
def test_the_sandbox_ends_what_a_run_has_started(tmp_path: Path) -> None:
    witness = Witness()
    witness.on_step = lambda run: too_long(run) if run.variant.scenario is Slow else None
    results = run([Slow, Good], tmp_path, witness=witness, launcher=SANDBOX, timeout=60)
    assert [result.verdict for result in results] == [Verdict.FAIL, Verdict.PASS]
    assert (tmp_path / "slow" / "ended").exists()
