"""The command line; and one cheap measurement, whole."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import cli
from benchmarks.targets import TARGETS
from scenarios.ownership import ROOT


def test_help_names_every_measurement(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert all(f"  {each.name} " in said for each in cli.MEASUREMENTS)


def test_every_target_belongs_to_a_measurement() -> None:
    names = [each.name for each in cli.MEASUREMENTS]
    assert all(any(target.startswith(name) for name in names) for target in TARGETS)
    assert all(any(target.startswith(name) for target in TARGETS) for name in names)


@pytest.mark.parametrize(("arguments", "sentence"), [
    (["speed"], "unknown measurement 'speed': those there are: throughput, setup_rate"),
])  # fmt: skip
def test_a_name_that_is_none(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("runs", ["0", "-1", "many", "²"])
def test_a_number_of_runs_that_is_none(runs: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--runs", runs])
    assert ended.value.code == 2
    assert "--runs" in capsys.readouterr().err


@pytest.mark.kernel
def test_a_measurement_from_the_command_line_to_its_file(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    command = [sys.executable, "-m", "benchmarks", "answer_time", "--quick", "--runs", "4", "--json", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    made = json.loads(file.read_text())
    (row,) = made["measurements"]
    assert (row["name"], row["n"], made["not_measured"]) == ("answer_time", 4, [])
    assert 0 < row["min"] <= row["median"] <= row["max"]
    assert made["circumstances"]["quick"] is True
    assert "move 4 of 4" in done.stdout
    assert "answer_time" in done.stdout.splitlines()[-2]
