from pathlib import Path

import pytest

from scenarios import registry
from scenarios.registry import UnknownScenario

SAMPLES = "tests.scenarios.samples"


def test_scenarios_are_found_without_being_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "planted"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "broken.py").write_text(
        'import no_such_module\nclass Broken(Scenario):\n    name = "broken"\n    claim = "it " "works"\n'
        'class Helper:\n    name = "helper"\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert [(entry.name, entry.claim) for entry in registry.entries("planted")] == [("broken", "it works")]


def test_the_samples_are_sorted_and_have_claims() -> None:
    entries = registry.entries(SAMPLES)
    assert [entry.name for entry in entries] == sorted(entry.name for entry in entries)
    assert {entry.name: entry.claim for entry in entries}["bad"] == "two and two is five"


def test_every_scenario_can_be_loaded_and_says_what_it_claims() -> None:
    for package in (SAMPLES, registry.PACKAGE):
        for entry in registry.entries(package):
            scenario = registry.load(entry.name, package)
            assert (scenario.name, scenario.claim) == (entry.name, entry.claim)
            assert scenario.claim
            assert scenario.profiles
            assert set(scenario.ip_versions) <= {4, 6}
            assert scenario.timeout_seconds > 0


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UnknownScenario, match="unknown scenario 'nope': those there are: bad, crashing, "):
        registry.load("nope", SAMPLES)


def test_a_module_with_another_name_than_its_scenario_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "misnamed"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "one.py").write_text('class Other(Scenario):\n    name = "two"\n')
    (package / "two.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UnknownScenario, match=r"misnamed/two\.py holds no Scenario with the name 'two'"):
        registry.load("two", "misnamed")


@pytest.mark.parametrize("package", ["no_such_package", "no_such.package", "scenarios.base"])
def test_a_missing_package_is_named(package: str) -> None:
    with pytest.raises(UnknownScenario, match=package):
        registry.entries(package)
