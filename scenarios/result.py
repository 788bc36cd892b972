"""result.json: what one run of a scenario has shown, for people and for other programs."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from scenarios.verdict import Check, Value, Verdict

FILE = "result.json"


@dataclass(frozen=True, slots=True)
class Reported:
    """A number that the run measured and that no check judges."""

    name: str
    value: Value
    unit: str


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of one variant of a scenario.  `started` is ISO 8601 with its offset; `versions` names programs."""

    scenario: str
    claim: str
    verdict: Verdict
    reason: str
    seed: int
    profile: str
    ip: int
    started: str
    wall_seconds: float
    checks: list[Check] = field(default_factory=list)
    reported: list[Reported] = field(default_factory=list)
    kernel: str = field(default_factory=platform.release)
    versions: dict[str, str] = field(default_factory=dict)

    def write(self, directory: Path) -> None:
        """Writes `result.json` whole or not at all."""
        _write(directory, self)

    @classmethod
    def read(cls, directory: Path) -> Result:
        """Reads it back.  Raises `ValueError` with one sentence if it is missing or not as `write` makes it."""
        path = directory / FILE
        try:
            data = json.loads(path.read_text())
        except FileNotFoundError:
            raise ValueError(f"{path} is missing") from None
        except json.JSONDecodeError as error:
            raise ValueError(f"{path} is not JSON: {error}") from None
        wrong = problems(data)
        if wrong:
            raise ValueError(f"{path}: {wrong[0]}")
        data["verdict"] = Verdict(data["verdict"])
        data["checks"] = [Check(**{**check, "verdict": Verdict(check["verdict"])}) for check in data["checks"]]
        data["reported"] = [Reported(**entry) for entry in data["reported"]]
        return cls(**data)


@dataclass(kw_only=True)
class Document:
    """What the result.json of every command has that is no scenario and fills it in as it runs.  Until it is judged, it
    has failed."""

    scenario: str
    seed: int
    started: str = field(default_factory=lambda: datetime.now().astimezone().isoformat(timespec="milliseconds"))
    verdict: Verdict = Verdict.FAIL
    reason: str = ""
    wall_seconds: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    reported: list[Reported] = field(default_factory=list)
    kernel: str = field(default_factory=platform.release)

    def write(self, directory: Path) -> None:
        """Writes `result.json` whole or not at all."""
        _write(directory, self)


def _write(directory: Path, content: Result | Document) -> None:
    partial = directory / (FILE + ".part")
    partial.write_text(json.dumps(asdict(content), indent=2) + "\n")
    partial.replace(directory / FILE)


_VALUE = (str, int, float, bool, type(None))
_KEYS: dict[str, type | tuple[type, ...]] = {
    "scenario": str,
    "claim": str,
    "verdict": str,
    "reason": str,
    "seed": int,
    "profile": str,
    "ip": int,
    "started": str,
    "wall_seconds": (int, float),
    "checks": list,
    "reported": list,
    "kernel": str,
    "versions": dict,
}
_CHECK_KEYS: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "expected": _VALUE,
    "measured": _VALUE,
    "unit": str,
    "verdict": str,
}
_REPORTED_KEYS: dict[str, type | tuple[type, ...]] = {"name": str, "value": _VALUE, "unit": str}


def problems(data: Any) -> list[str]:
    """What is wrong with the content of a result.json, a sentence each; nothing if it follows the schema."""
    wrong = _entry_problems("the result", data, _KEYS)
    if wrong:
        return wrong
    for number, check in enumerate(data["checks"], 1):
        wrong += _entry_problems(f"check {number}", check, _CHECK_KEYS)
    for number, entry in enumerate(data["reported"], 1):
        wrong += _entry_problems(f"reported number {number}", entry, _REPORTED_KEYS)
    if not wrong and data["verdict"] == Verdict.PASS:
        verdicts = [check["verdict"] for check in data["checks"]]
        if Verdict.PASS not in verdicts or {Verdict.FAIL, Verdict.INVALID} & set(verdicts):
            wrong.append("the verdict is pass, and its checks do not say so")
    return wrong


def _entry_problems(what: str, data: Any, keys: dict[str, type | tuple[type, ...]]) -> list[str]:
    if not isinstance(data, dict):
        return [f"{what} is not an object"]
    wrong = [f"{what} lacks '{key}'" for key in keys if key not in data]
    wrong += [f"{what} has an unknown key '{key}'" for key in data if key not in keys]
    wrong += [f"{what} has {data[key]!r} as '{key}'" for key in keys if key in data and not _fits(data[key], keys[key])]
    if not wrong and "verdict" in keys and data["verdict"] not in [str(verdict) for verdict in Verdict]:
        wrong.append(f"{what} has the unknown verdict '{data['verdict']}'")
    return wrong


def _fits(value: Any, types: type | tuple[type, ...]) -> bool:
    if isinstance(value, bool):  # which Python counts as an int
        return types is _VALUE
    return isinstance(value, types)
