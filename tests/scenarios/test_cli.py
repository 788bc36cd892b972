import json
import os
from pathlib import Path

import pytest

from scenarios import cli
from scenarios.needs import Feature

PACKAGE = ["--package", "tests.scenarios.samples"]


def run(*arguments: str, out: Path) -> int:
    return cli.main([*arguments, *PACKAGE, "--out", str(out)], launcher=())


@pytest.mark.parametrize(
    ("names", "status"),
    [
        (["good"], 0),
        (["good", "good", "undeclared"], 0),
        (["good", "bad"], 1),
        (["good", "guarded"], 1),
        (["empty"], 1),
        (["crashing"], 1),
    ],
)
def test_status_0_only_if_nothing_failed_or_was_invalid(names: list[str], status: int, tmp_path: Path) -> None:
    assert run(*names, out=tmp_path) == status
    assert {path.name for path in tmp_path.iterdir()} == set(names)


def test_the_seed_is_said_and_passed_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("good", out=tmp_path) == 0
    assert capsys.readouterr().out.startswith("seed 1, ")
    first = (tmp_path / "good" / "sum.txt").read_text()
    assert run("good", "--seed", "7", out=tmp_path) == 0
    assert json.loads((tmp_path / "good" / "result.json").read_text())["seed"] == 7
    assert (tmp_path / "good" / "sum.txt").read_text() != first


def test_variants_are_listed_with_their_places(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("good", "--profile", "modern", "--ip", "all", out=tmp_path) == 0
    shown = capsys.readouterr().out
    for ip in (4, 6):
        assert f"{tmp_path}/good/modern-ipv{ip}/" in shown
        assert (tmp_path / "good" / f"modern-ipv{ip}" / "result.json").exists()
    assert shown.endswith("\n2 pass\n")


def test_what_is_missing_is_a_sentence_when_asked_for_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("good", "lacking", out=tmp_path) == 1
    assert capsys.readouterr().err == (
        "run_all.sh: lacking cannot run here: the program no-such-program is missing: "
        "install the package no-such-package, or run vagrant/provision.sh\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_what_is_missing_is_a_skip_when_all_are_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--jobs", "4", out=tmp_path) == 1
    result = json.loads((tmp_path / "lacking" / "result.json").read_text())
    assert result["verdict"] == "skip"
    assert result["reason"].startswith("the program no-such-program is missing")
    assert capsys.readouterr().out.endswith("\n1 pass, 5 fail, 3 invalid, 2 skip\n")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nope"], "unknown scenario 'nope': those there are: bad, "),
        (["good", "--profile", "papr"], "good has no profile 'papr': choose paper or modern, or all"),
        (["bad", "--ip", "6"], "bad has no IP version '6': choose 4, or all"),
    ],
)
def test_a_mistake_is_one_sentence_and_status_2(
    arguments: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments, out=tmp_path) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"run_all.sh: {sentence}")
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--seed", "-1"], "'-1' is not a whole number from 0 up"),
        (["--seed", "one"], "'one' is not a whole number"),
        (["--jobs", "0"], "'0' is not a whole number from 1 up"),
        (["--ip", "5"], "--ip"),
        (["--timeout", "nan"], "'nan' is not a number of seconds"),
        (["--fast"], "--fast"),
    ],
)
def test_a_bad_option_is_one_sentence_and_status_2(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        run("good", *arguments, out=tmp_path)
    said = capsys.readouterr().err
    assert words in said
    assert said.endswith("; see run_all.sh --help\n")
    assert said.count("\n") == 1


def test_a_run_may_take_so_long(tmp_path: Path) -> None:
    assert run("slow", "--timeout", "0.1", out=tmp_path) == 1
    assert "took longer than 0.1 s" in json.loads((tmp_path / "slow" / "result.json").read_text())["reason"]


def test_the_list_has_names_and_claims(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--list", out=tmp_path) == 0
    assert "good        two and two is four (slide 0)\n" in capsys.readouterr().out


def test_features_are_checked_off(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    there, absent = Feature("air", "nobody breathes", lambda: None), Feature("gold", "nobody pays", lambda: "spent")
    monkeypatch.setattr(cli, "FEATURES", (there,))
    assert cli.main(["--check"]) == 0
    monkeypatch.setattr(cli, "FEATURES", (there, absent))
    assert cli.main(["--check"]) == 1
    assert capsys.readouterr().out.splitlines()[1:] == [
        "air   yes",
        "gold  no: this kernel lacks gold (spent), and without it nobody pays: use the Vagrant machine (vagrant up)",
    ]


def test_without_root_there_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert cli.main(["good", *PACKAGE, "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "run_all.sh: network namespaces need root: run it with sudo, or as root\n"
    assert list(tmp_path.iterdir()) == []
