"""What is done to the replicas: one random strike after the other, from a seed, at random instants.

A replica is struck only while another serves that has heard of its connections; that one may be all there is.  Whoever
is struck is called dead by the health monitor, which finds out by itself, and every other time by a person too.
"""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random

from scenarios.chaos.downloads import Download
from scenarios.chaos.replica import REPLICAS, Broken, Replica
from scenarios.chaos.stage import CLIENTS, Stage

KINDS = {
    "kill of a wedge": 6, "kill of wedge and migrated": 4, "freeze of a wedge": 1, "freeze of a replica": 1,
    "partition": 2, "restart": 1,
}  # fmt: skip
"""And how often each is chosen."""
PAUSE_SECONDS = (0.02, 0.7)
"""From one strike to the next."""
AIMED_SHARE, AIMED_SECONDS = 0.35, (0.0, 0.15)
"""Some strikes come so soon after a download has begun at the replica: small ones would else be over."""
IDLE_SHARE = 0.1
"""Of the strikes that would hit nobody with a client, so many are done."""
ABSENCE_SECONDS, FREEZE_SECONDS, PARTITION_SECONDS = (0.0, 1.5), (0.1, 4.0), (0.1, 4.0)
PRONOUNCED_SECONDS = (0.0, 0.8)
"""By a person, after the strike."""
PARTED = {"everybody": (*CLIENTS, *REPLICAS, "mon"), "the clients": tuple(CLIENTS), "the group": (*REPLICAS, "mon")}
DRAIN_SECONDS = 30.0
"""A wedge that is asked to end does so within that."""


class Strikes:
    """One run's random choices, and what they were."""

    def __init__(self, stage: Stage, random: Random, log: Path) -> None:
        """`log`: gets a line of JSON for each thing that is done, with its time, to be laid beside the events."""
        self._stage, self._random, self._log = stage, random, log
        self.counts: Counter[str] = Counter()
        self._due: list[tuple[float, Callable[[], None]]] = []
        self._next = 0.0
        self._aim = False

    def step(self, begun: list[Download], strike: bool) -> None:
        """Does what is due, and then strikes if it is time for it.  Raises `Broken`."""
        now = time.monotonic()
        for entry in [entry for entry in self._due if entry[0] <= now]:
            self._due.remove(entry)
            entry[1]()
        for replica in self._stage.replicas.values():
            replica.step()
        if not strike or now < self._next:
            return
        if self._aim:
            for download in begun:
                if self._witness(aimed := self._stage.replicas[download.server]):
                    self._later(self._random.uniform(*AIMED_SECONDS), partial(self._strike, aimed, True))
                    self._plan()
            return
        ready = [replica for replica in self._stage.replicas.values() if replica.serves and self._witness(replica)]
        if ready:
            # Rather one that has something to lose.
            at_stake = {replica.name: self._stage.struck(replica.name) for replica in ready}
            ready.sort(key=lambda replica: at_stake[replica.name] * self._random.random())
            if at_stake[ready[-1].name] or self._random.random() < IDLE_SHARE:
                self._strike(ready[-1], False)
            self._plan()

    def _plan(self) -> None:
        self._next = time.monotonic() + self._random.uniform(*PAUSE_SECONDS)
        self._aim = self._random.random() < AIMED_SHARE

    @property
    def quiet(self) -> bool:
        """Everybody is well again."""
        return not self._due and all(replica.serves for replica in self._stage.replicas.values())

    def _later(self, seconds: float, what: Callable[[], None]) -> None:
        self._due.append((time.monotonic() + seconds, what))

    def _witness(self, victim: Replica) -> list[Replica]:
        return [replica for replica in self._stage.replicas.values() if replica is not victim and replica.knows]

    def _strike(self, victim: Replica, aimed: bool) -> None:
        if not victim.serves or not self._witness(victim):
            return  # something has happened since it was aimed at
        random = self._random
        kind = random.choices(list(KINDS), list(KINDS.values()))[0]
        more: dict[str, object] = {}
        self.hit = self._stage.struck(victim.name)
        at = time.time()
        match kind:
            case "kill of a wedge" | "kill of wedge and migrated":
                victim.kill(both=kind != "kill of a wedge")
                victim.disturbed = kind
                self._later(random.uniform(*ABSENCE_SECONDS), lambda: self._well(victim))
                self.counts["kills"] += self.hit > 0
                self.counts["kills of a replica without clients"] += not self.hit
                self.counts["connections of killed replicas"] += self.hit
            case "freeze of a wedge" | "freeze of a replica":
                everything = kind == "freeze of a replica"
                victim.signal(signal.SIGSTOP, everything)
                victim.disturbed, victim.since = kind, None
                self._later(random.uniform(*FREEZE_SECONDS), lambda: self._thaw(victim, everything))
            case "partition":
                whom = random.choice(list(PARTED))
                more["from"] = whom
                others = [name for name in PARTED[whom] if name != victim.name]
                self._stage.part(victim.name, others)
                victim.disturbed, victim.since = kind, None
                self._later(random.uniform(*PARTITION_SECONDS), lambda: self._rejoin(victim, others))
            case "restart":
                victim.signal(signal.SIGTERM)
                victim.disturbed, victim.since = kind, None
                end = time.monotonic() + DRAIN_SECONDS
                self._later(0.1, lambda: self._restart(victim, end))
        self.counts[kind] += 1
        self.counts["strikes"] += 1
        by_a_person = random.random() < 0.5
        if by_a_person and kind != "restart":
            after = random.uniform(*PRONOUNCED_SECONDS)
            self._later(after, lambda: self._pronounce(victim.name))
        self._note(at, kind, victim, connections=self.hit, aimed=aimed, **more)

    def _note(self, at: float, what: str, replica: Replica, **more: object) -> None:
        with self._log.open("a") as log:
            log.write(json.dumps({"time": at, "what": what, "replica": replica.name, **more}) + "\n")

    def _pronounce(self, server: str) -> None:
        willing = [replica for replica in self._stage.replicas.values() if replica.name != server and replica.serves]
        if willing:
            teller = self._random.choice(willing)
            self._note(time.time(), f"calls {server} dead", teller)
            teller.pronounce(server)
            self.counts["pronounced by a person"] += 1

    def _well(self, replica: Replica) -> None:
        replica.disturbed = ""

    def _thaw(self, replica: Replica, everything: bool) -> None:
        replica.signal(signal.SIGCONT, everything)
        self._note(time.time(), "thaw", replica)
        self._well(replica)

    def _rejoin(self, replica: Replica, others: list[str]) -> None:
        self._stage.rejoin(replica.name, others)
        self._note(time.time(), "rejoined", replica)
        self._well(replica)

    def _restart(self, replica: Replica, end: float) -> None:
        if replica.ended():
            self._well(replica)
        elif time.monotonic() > end:
            raise Broken(f"the wedge on {replica.name} does not end within {DRAIN_SECONDS:g} s of being asked to")
        else:
            self._later(0.05, lambda: self._restart(replica, end))
