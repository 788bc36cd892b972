import json
from pathlib import Path

from scenarios.base import Context
from scenarios.result import Reported


def test_steps_are_lines_of_json(tmp_path: Path) -> None:
    context = Context(1, "paper", 4, tmp_path)
    context.step("downloading at location 1")
    context.step('"moving"\n')
    lines = [json.loads(line) for line in (tmp_path / "steps.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == ["downloading at location 1", '"moving"\n']
    assert lines[0]["time"] <= lines[1]["time"]


def test_the_same_seed_gives_the_same_numbers(tmp_path: Path) -> None:
    first, again, other = (Context(seed, "paper", 4, tmp_path).random.random() for seed in (1, 1, 2))
    assert first == again != other


def test_reported_numbers_are_kept_in_order(tmp_path: Path) -> None:
    context = Context(1, "paper", 4, tmp_path)
    context.report("interruption", 1.2, "s")
    context.report("interruption", 2.1, "round trips")
    assert context.reported == [Reported("interruption", 1.2, "s"), Reported("interruption", 2.1, "round trips")]
