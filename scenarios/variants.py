"""Which runs a command asks for, and the directories that they write to."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scenarios.base import STEPS_FILE, Scenario
from scenarios.result import FILE

LOG_FILE = "log.txt"
_HIDDEN = ("/run", "/proc", "/sys", "/dev")  # a sandbox has its own


class BadChoice(ValueError):
    """What was asked for cannot be run; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One run: a scenario with a profile, an IP version and a seed.  `out` is its directory."""

    scenario: type[Scenario]
    profile: str
    ip: int
    seed: int
    out: Path
    timeout_seconds: float

    @property
    def label(self) -> str:
        return f"{self.scenario.name} {self.profile}-ipv{self.ip}"


def choose(
    scenarios: Sequence[type[Scenario]],
    *,
    profile: str | None,
    ip: str | None,
    seed: int,
    out: Path,
    timeout_seconds: float | None = None,
) -> list[Variant]:
    """The runs of these scenarios.

    `profile` and `ip` name one, or "all"; None means each scenario's first.  A scenario's only run writes to
    out/NAME, several to out/NAME/PROFILE-ipvN.  Raises `BadChoice` where a scenario has no such profile or IP version.
    """
    chosen = []
    for scenario in scenarios:
        profiles = _pick(scenario, "profile", scenario.profiles, profile)
        versions = _pick(scenario, "IP version", [str(version) for version in scenario.ip_versions], ip)
        several = len(profiles) * len(versions) > 1
        for each in profiles:
            for version in versions:
                place = out / scenario.name / f"{each}-ipv{version}" if several else out / scenario.name
                seconds = timeout_seconds or scenario.timeout_seconds
                chosen.append(Variant(scenario, each, int(version), seed, place, seconds))
    return chosen


def _pick(scenario: type[Scenario], what: str, offered: Sequence[str], wanted: str | None) -> list[str]:
    if wanted is None:
        return [offered[0]]
    if wanted == "all":
        return list(offered)
    if wanted not in offered:
        raise BadChoice(f"{scenario.name} has no {what} '{wanted}': choose {' or '.join(offered)}, or all")
    return [wanted]


def prepare(variants: Sequence[Variant], out: Path) -> None:
    """Empties the directories of these runs.  Raises `BadChoice` rather than delete what no run has made."""
    if any(out.is_relative_to(place) for place in _HIDDEN):
        raise BadChoice(f"runs cannot write to {out}, since their sandbox has its own: choose another --out")
    for name in {variant.scenario.name for variant in variants}:
        directory = out / name
        if directory.exists():
            if not _is_ours(directory):
                raise BadChoice(f"{directory} is not the result of a run and is left alone: choose another --out")
            shutil.rmtree(directory)
    try:
        for variant in variants:
            variant.out.mkdir(parents=True)
    except OSError as error:
        raise BadChoice(f"{out} cannot be written to ({error.strerror}): choose another --out") from None


def _is_ours(directory: Path) -> bool:
    """True for an empty directory and for one that runs have made."""
    if not directory.is_dir() or directory.is_symlink():
        return False
    inside = list(directory.iterdir())
    if any((directory / name).exists() for name in (FILE, STEPS_FILE, LOG_FILE)):
        return True
    return all(path.is_dir() and re.fullmatch(r"[\w.-]+-ipv[46]", path.name) and _is_ours(path) for path in inside)
