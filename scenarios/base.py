"""What a scenario is, and what a running one is given.

A scenario lives in the module of its name: `scenarios/NAME.py` holds one subclass of `Scenario` with
`name = "NAME"` and `claim = "..."` as plain string literals, so that it can be listed without being imported.
"""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import ClassVar

from scenarios.needs import Need
from scenarios.result import Reported
from scenarios.verdict import Check, Value

STEPS_FILE = "steps.jsonl"


@dataclass
class Context:
    """One run: its parameters, its directory, and where it tells what it does.

    seed     the same seed gives the same losses
    profile  one of the scenario's `profiles`
    ip       4 or 6
    out      an existing directory for captures, events and pictures; log.txt and steps.jsonl in it are the runner's
    pictures whether to draw, which no check judges; False where nobody will look
    """

    seed: int
    profile: str
    ip: int
    out: Path
    pictures: bool = True
    random: Random = field(init=False)
    reported: list[Reported] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)

    def step(self, text: str) -> None:
        """Says what the run does from now on, in a few words ("downloading at location 1")."""
        line = json.dumps({"time": time.time(), "step": text})
        with (self.out / STEPS_FILE).open("a") as file:
            file.write(line + "\n")

    def report(self, name: str, value: Value, unit: str = "") -> None:
        """Puts a measured number, which no check judges, into result.json."""
        self.reported.append(Reported(name, value, unit))


class Scenario(ABC):
    """One experiment.  Subclasses set the class attributes and `run`."""

    name: ClassVar[str]
    claim: ClassVar[str]
    """What it reproduces, with the slide, in one sentence."""
    needs: ClassVar[tuple[Need, ...]] = ()
    """What must be there; looked for before anything is built."""
    profiles: ClassVar[tuple[str, ...]] = ("paper", "modern")
    """The first is the one that runs unless another is asked for."""
    ip_versions: ClassVar[tuple[int, ...]] = (4, 6)
    """Likewise."""
    timeout_seconds: ClassVar[float] = 600
    """A run that takes longer, by the wall clock, is stopped and has failed."""
    alone: ClassVar[bool] = False
    """True where other runs at the same time would spoil its measurements."""

    @abstractmethod
    def run(self, context: Context) -> list[Check]:
        """Builds the topology, lets it happen, and judges.

        Runs as root in a sandbox of its own and cleans up nothing that the sandbox ends anyway.  Raises
        `verdict.Invalid` where the run proves nothing and `verdict.Skip` where this machine lacks something; any
        other exception is a failure of the run.
        """
