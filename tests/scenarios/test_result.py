import json
from pathlib import Path
from typing import Any

import pytest

from scenarios.result import Reported, Result, problems
from scenarios.verdict import Check, Verdict


def sample(**changes: Any) -> Result:
    values: dict[str, Any] = {
        "scenario": "good",
        "claim": "two and two is four",
        "verdict": Verdict.PASS,
        "reason": "1 check passed",
        "seed": 1,
        "profile": "paper",
        "ip": 4,
        "started": "2000-11-17T12:00:00.000+00:00",
        "wall_seconds": 1.5,
        "checks": [Check.equal("sum", 4, 4, "apples")],
        "reported": [Reported("rate", 19.2, "kbit/s")],
        "versions": {"curl": "curl 8"},
    }
    return Result(**values | changes)


def written(directory: Path, **changes: Any) -> dict[str, Any]:
    sample(**changes).write(directory)
    data: dict[str, Any] = json.loads((directory / "result.json").read_text())
    return data


def test_it_can_be_read_back(tmp_path: Path) -> None:
    sample().write(tmp_path)
    assert Result.read(tmp_path) == sample()
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_the_keys_that_others_rely_on(tmp_path: Path) -> None:
    data = written(tmp_path)
    assert problems(data) == []
    assert {"scenario", "verdict", "reason", "seed", "profile", "wall_seconds", "checks", "kernel"} <= set(data)
    assert data["checks"] == [{"name": "sum", "expected": 4, "measured": 4, "unit": "apples", "verdict": "pass"}]
    assert data["kernel"]


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("verdict", "fine", "the result has the unknown verdict 'fine'"),
        ("seed", "1", "the result has '1' as 'seed'"),
        ("seed", True, "the result has True as 'seed'"),
        ("colour", "red", "the result has an unknown key 'colour'"),
        ("checks", [{"name": "sum"}], "check 1 lacks 'expected'"),
        ("checks", ["sum"], "check 1 is not an object"),
        ("checks", [], "the verdict is pass, and its checks do not say so"),
        ("reported", [{"name": "a", "value": [], "unit": ""}], "reported number 1 has [] as 'value'"),
    ],
)
def test_what_does_not_follow_the_schema_is_named(tmp_path: Path, key: str, value: object, sentence: str) -> None:
    data = written(tmp_path)
    data[key] = value
    assert problems(data)[0] == sentence
    (tmp_path / "result.json").write_text(json.dumps(data))
    with pytest.raises(ValueError, match="result.json: "):
        Result.read(tmp_path)


def test_a_pass_with_a_failed_check_is_refused(tmp_path: Path) -> None:
    data = written(tmp_path, checks=[Check.equal("a", 1, 1), Check.equal("b", 1, 2)])
    assert problems(data) == ["the verdict is pass, and its checks do not say so"]


def test_a_lacking_key_is_named(tmp_path: Path) -> None:
    data = written(tmp_path)
    del data["kernel"]
    assert problems(data) == ["the result lacks 'kernel'"]
    assert problems([]) == ["the result is not an object"]


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is missing"):
        Result.read(tmp_path)
    (tmp_path / "result.json").write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        Result.read(tmp_path)
