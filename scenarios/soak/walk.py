"""What happens in a soak: one random episode after the other, from a seed.

In an episode one end changes its addresses, of one IP version or both, some times in a row, while packets are lost and
daemons are killed.  Then everything must settle: every connection is where its ends are and every transfer goes on.
(Only then may the other end move: that both lose their addresses at once is not Migrate's to survive.)
"""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from random import Random

from scenarios.soak.stage import ADDRESSES, PATIENCE_SECONDS, VERSIONS, Broken, Daemon, Stage
from scenarios.soak.transfers import Transfers

LOSSES = (0.0, 0.0, 0.005, 0.02, 0.05)
"""Shares of the packets, one of which holds during an episode."""
KILLED = ("worker", "worker", "worker", "guardian", "both")
KILL_SHARE = 0.3
"""Of the moves."""
KILL_WITHIN_SECONDS = 0.06
"""After an address has changed: a handshake and its rebinds take about so long."""
PAUSE_SECONDS = 0.4
OUTAGE_SECONDS = (0.1, 5.0)
ABSENCE_SECONDS = (0.0, 1.5)
"""Without a daemon."""


class Walk:
    """One soak's random choices, and what they were."""

    def __init__(self, stage: Stage, transfers: Transfers, random: Random, log: Path) -> None:
        """`log`: gets a line of JSON for each thing that is done, with its time, to be laid beside the events."""
        self._stage, self._transfers, self._random, self._log = stage, transfers, random, log
        self.counts: Counter[str] = Counter()

    def episode(self, victim: str) -> None:
        """`victim`: whose daemon may be killed.  Raises `Broken` where something does not hold at its end."""
        random, stage = self._random, self._stage
        mover = random.choice(("mobile", "server"))
        versions = random.choice(((4,), (6,), VERSIONS))
        loss = random.choice(LOSSES)
        stage.lose(loss)
        self.counts["episodes with losses"] += loss > 0
        for _ in range(random.randint(1, 4)):
            struck = victim if random.random() < KILL_SHARE else ""
            way = random.choice((self._replace, self._replace, self._overlap, self._outage))
            self._note(do=way.__name__.strip("_"), mover=mover, versions=versions, victim=struck, loss=loss)
            way(mover, versions, struck)
            if random.random() < 0.6:
                time.sleep(random.uniform(0, PAUSE_SECONDS))
        self._settle()
        self.counts["episodes"] += 1

    def _note(self, **what: object) -> None:
        with self._log.open("a") as log:
            log.write(json.dumps({"time": time.time(), **what}) + "\n")

    def begin(self) -> None:
        """Starts the transfers that are not going on.  Raises `Broken`."""
        if self._transfers.start():
            self._wait_connected()

    def rest(self) -> None:
        """No more losses."""
        self._stage.lose(0.0)

    def give_up(self, patience: float) -> None:
        """What is still closing where an address was is given up soon.  Not what is on its way to another, and whose
        peer is there already: nobody would tell the peer.  `patience`, in seconds, is for those."""
        end = time.monotonic() + patience
        while self._stage.under_way() and time.monotonic() < end:
            time.sleep(0.1)
        for host in self._stage.hosts.values():
            host.sysctl("net.ipv4.tcp_orphan_retries", 2)

    # --- ways to another address --------------------------------------------------------------------------------------

    def _replace(self, mover: str, versions: tuple[int, ...], victim: str) -> None:
        for version in versions:
            self._stage.change(mover, version, self._stage.present[mover, version], self._another(mover, version))
        self.counts["moves"] += len(versions)
        self._strike(victim)

    def _overlap(self, mover: str, versions: tuple[int, ...], victim: str) -> None:
        """The new address is there before the old one goes; sometimes the daemon is asked to move at once."""
        old = {version: self._stage.present[mover, version] for version in versions}
        for version in versions:
            self._stage.change(mover, version, None, self._another(mover, version))
        if self._random.random() < 0.5:
            for version in versions:
                self._stage.daemons[mover].ask(do="migrate", to=self._stage.present[mover, version])
        self._strike(victim)
        time.sleep(self._random.uniform(0, PAUSE_SECONDS))
        for version in versions:
            self._stage.change(mover, version, old[version], None)
        self.counts["moves"] += len(versions)

    def _outage(self, mover: str, versions: tuple[int, ...], victim: str) -> None:
        for version in versions:
            self._stage.change(mover, version, self._stage.present[mover, version], None)
        self._strike(victim)
        time.sleep(self._random.uniform(*OUTAGE_SECONDS))
        for version in versions:
            self._stage.change(mover, version, None, self._another(mover, version))
        self.counts["outages"] += len(versions)
        self.counts["moves"] += len(versions)

    def _another(self, mover: str, version: int) -> str:
        """Any but the present one: one that it had a moment ago, too."""
        present = self._stage.present[mover, version]
        choices = [self._stage.address(mover, version, number) for number in range(ADDRESSES)]
        return self._random.choice([one for one in choices if one != present])

    # --- kills --------------------------------------------------------------------------------------------------------

    def _strike(self, victim: str) -> None:
        if not victim:
            return
        daemon, whom = self._stage.daemons[victim], self._random.choice(KILLED)
        instant = time.monotonic() + self._random.uniform(0, KILL_WITHIN_SECONDS)
        absence = self._random.uniform(*ABSENCE_SECONDS)
        if not daemon.may_be_killed():
            return
        while time.monotonic() < instant:
            pass
        self._note(kill=whom, of=victim, worker=daemon.worker)
        if not daemon.kill(whom):
            return  # its guardian is just about to start another worker
        self.counts[f"kills of {'a ' + whom if whom != 'both' else 'both at once'}"] += 1
        self.counts["kills"] += 1
        if whom != "worker":
            time.sleep(absence)
            daemon.start()

    # --- and then -----------------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Raises `Broken` with what has not."""
        self._stage.settle()
        end = time.monotonic() + PATIENCE_SECONDS
        while what := self._transfers.stuck():
            if time.monotonic() > end:
                raise Broken(f"{what} has not come forward in {PATIENCE_SECONDS:.0f} s")
            time.sleep(0.02)
        self._transfers.collect()
        self.begin()

    def _wait_connected(self) -> None:
        """New connections are Migrate's before anything moves again: their handshakes may have lost packets."""
        wanted = len(self._transfers.running)
        end = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            # In this order: one that ends meanwhile is not counted twice.
            over = sum(not session.running for session, _ in self._transfers.running.values())
            here, beyond = (_established(self._stage.daemons[name]) for name in ("mobile", "server"))
            there = len(here) if here <= beyond else 0
            if there + over >= wanted and not self._stage.unsettled():
                return
            time.sleep(0.02)
        raise Broken(f"of {wanted} transfers {there} have a migratable connection, and {over} are over")


def _established(daemon: Daemon) -> set[str]:
    """The names of the connections that can move from now on: a host has its own before it has been accepted."""
    rows = daemon.ask(do="list") or []
    return {row["connection"] for row in rows
            if row["tcp"] == "ESTABLISHED" and row["migratable"] and not row["reason"]}  # fmt: skip
