from pathlib import Path

import pytest

from scenarios.variants import BadChoice, choose, prepare
from tests.scenarios.samples.bad import Bad
from tests.scenarios.samples.good import Good


def test_a_single_run_writes_to_the_scenarios_directory(tmp_path: Path) -> None:
    (only,) = choose([Good], profile=None, ip=None, seed=3, out=tmp_path)
    assert (only.label, only.seed, only.out) == ("good paper-ipv4", 3, tmp_path / "good")
    assert only.timeout_seconds == Good.timeout_seconds


def test_several_runs_have_a_directory_each(tmp_path: Path) -> None:
    variants = choose([Good, Bad], profile="all", ip="all", seed=1, out=tmp_path, timeout_seconds=7)
    assert [variant.out.relative_to(tmp_path).as_posix() for variant in variants] == [
        "good/paper-ipv4",
        "good/paper-ipv6",
        "good/modern-ipv4",
        "good/modern-ipv6",
        "bad",
    ]
    assert {variant.timeout_seconds for variant in variants} == {7}


@pytest.mark.parametrize(
    ("profile", "ip", "sentence"),
    [
        ("modern", None, "bad has no profile 'modern': choose paper, or all"),
        (None, "6", "bad has no IP version '6': choose 4, or all"),
        ("papr", "4", "good has no profile 'papr': choose paper or modern, or all"),
    ],
)
def test_what_a_scenario_does_not_have_is_named(
    profile: str | None, ip: str | None, sentence: str, tmp_path: Path
) -> None:
    scenarios = [Bad] if sentence.startswith("bad") else [Good]
    with pytest.raises(BadChoice, match=sentence):
        choose(scenarios, profile=profile, ip=ip, seed=1, out=tmp_path)


def test_an_earlier_run_makes_room_whichever_shape_it_had(tmp_path: Path) -> None:
    several = choose([Good], profile="all", ip="all", seed=1, out=tmp_path)
    single = choose([Good], profile=None, ip=None, seed=1, out=tmp_path)
    for variants in (several, single, several):
        prepare(variants, tmp_path)
        assert all(list(variant.out.iterdir()) == [] for variant in variants)
        assert len(list((tmp_path / "good").iterdir())) in (0, len(variants))
        for variant in variants:
            (variant.out / "result.json").touch()


def test_other_peoples_files_are_left_alone(tmp_path: Path) -> None:
    thesis = tmp_path / "good" / "thesis.txt"
    thesis.parent.mkdir()
    thesis.touch()
    with pytest.raises(BadChoice, match="is not the result of a run and is left alone: choose another --out"):
        prepare(choose([Good], profile=None, ip=None, seed=1, out=tmp_path), tmp_path)
    assert thesis.exists()


@pytest.mark.parametrize(
    ("out", "reason"), [("/run/out", "their sandbox has its own"), ("/proc/1/out", "own"), ("/etc/passwd/out", "Not a")]
)
def test_a_directory_that_cannot_hold_results_is_named(out: str, reason: str) -> None:
    with pytest.raises(BadChoice, match=f"{reason}.*choose another --out"):
        prepare(choose([Good], profile=None, ip=None, seed=1, out=Path(out)), Path(out))
