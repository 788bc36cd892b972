"""One of the servers, which is up or is not: its nginx stays, its wedge and `migrated` come and go."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random

from migrate.failover.control import SOCKET_NAME
from topologies.nodes import Host

VERSIONS = (4, 6)
REPLICAS = ("sA", "sB", "sC", "sD")
NETWORKS = {name: number for number, name in enumerate(("c1", "c2", "c3", *REPLICAS, "mon"), 1)}
PORT, BACKEND_PORT, GROUP_PORT = 8080, 8081, 7777
REFRESH_SECONDS = 0.5
KNOWS_SECONDS = 4 * REFRESH_SECONDS + 0.5
"""Whoever has served so long has heard of all connections of the others."""
MSL_SECONDS = 15.0
"""A client waits for two of them: longer than any replica is gone."""
STEPS_SECONDS = ("0", "0.5")
"""Between the turns of two members, of one start of a wedge or another; without, several take a connection at once."""
START_SECONDS = 60.0


class Broken(Exception):
    """Something did not hold; one sentence."""


def address(name: str, version: int, end: int = 2) -> str:
    """Of a host, or (1) of the router on the way to it."""
    return f"10.0.{NETWORKS[name]}.{end}" if version == 4 else f"fd00:{NETWORKS[name]}::{end}"


class Program:
    """A program of a replica that says `ready`."""

    def __init__(self, host: Host, words: Sequence[str | Path], log: Path, daemon: bool = False) -> None:
        self.log, self._said, self._end = log, b"", time.monotonic() + START_SECONDS
        with log.open("a") as errors:
            argv = [sys.executable, "-m", *words]
            self.process = host.spawn(argv, stdout=subprocess.PIPE, stderr=errors, daemon=daemon)

    @property
    def worker(self) -> int | None:
        """The child of migrated's guardian, which does the work."""
        children = _children(self.process.pid)
        return int(children[0]) if children else None

    @property
    def ready(self) -> bool:
        """Raises `Broken` where it has ended by itself, or does not begin to serve."""
        assert self.process.stdout is not None
        pipe = self.process.stdout.fileno()
        if b"ready\n" not in self._said and select.select([pipe], [], [], 0)[0]:
            self._said += os.read(pipe, 4096)
        ended = self.process.poll() is not None
        if ended or (b"ready\n" not in self._said and time.monotonic() > self._end):
            last = (self.log.read_text().splitlines() or ["it said nothing"])[-1]
            raise Broken(f"{self.log.stem} {'has ended by itself' if ended else 'does not begin to serve'}: {last}")
        return b"ready\n" in self._said


class Replica:
    """One of the servers, which is up or is not."""

    def __init__(self, host: Host, out: Path, key: Path, module: str, migrated: str, random: Random) -> None:
        """`module`, `migrated`: the programs that are the wedge and its daemon."""
        self.host, self.name, self._out, self._key, self._module = host, host.name, out, key, module
        self._migrated = migrated
        self._random = random
        self.daemon: Program | None = None
        self.wedge: Program | None = None
        self.since: float | None = None
        """When it began to serve and to be heard (monotonic), or None where it does not."""
        self.disturbed = ""
        """What is being done to it; nothing else is done meanwhile."""

    def step(self) -> None:
        """Goes on with whatever it takes to be up.  Raises `Broken`."""
        if self.disturbed:
            return
        if self.daemon is None:
            events, log = self._out / f"{self.name}-events.jsonl", self._out / f"{self.name}-migrated.log"
            words: list[str | Path] = [self._migrated, "--cgroup", self.host.programs_cgroup, "--events", events]
            self.daemon = Program(self.host, [*words, "--msl", str(MSL_SECONDS)], log, daemon=True)
        if not self.daemon.ready:
            return
        if self.wedge is None:
            self.wedge = Program(self.host, self._wedge_words(), self._out / f"{self.name}-wedge.log")
        if self.wedge.ready and self.since is None:
            self.since = time.monotonic()

    def _wedge_words(self) -> list[str | Path]:
        words: list[str | Path] = [self._module, "--name", self.name, "--port", str(PORT)]
        words += ["--backend", f"127.0.0.1:{BACKEND_PORT}", "--group-key", self._key]
        words += ["--events", self._out / f"{self.name}-wedge.jsonl", "--refresh", str(REFRESH_SECONDS)]
        words += ["--step", self._random.choice(STEPS_SECONDS)]
        words += ["--listen", f"{address(self.name, 4)}:{GROUP_PORT}"]
        for other in REPLICAS:
            if other != self.name:
                words += ["--member", f"{address(other, 4)}:{GROUP_PORT}"]
        return words

    @property
    def serves(self) -> bool:
        return self.since is not None and not self.disturbed

    @property
    def knows(self) -> bool:
        """It has heard of all connections of the others."""
        return self.serves and self.since is not None and time.monotonic() > self.since + KNOWS_SECONDS

    def processes(self, everything: bool) -> list[int]:
        """Of the wedge, or (`everything`) of migrated, its worker and nginx, too."""
        assert self.wedge is not None
        assert self.daemon is not None
        if not everything:
            return [self.wedge.process.pid]
        groups = (self.host.programs_cgroup, self.host.daemon_cgroup)
        return [int(pid) for group in groups for pid in (group / "cgroup.procs").read_text().split()]

    def signal(self, number: int, everything: bool = False) -> None:
        for pid in self.processes(everything):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self, both: bool) -> None:
        """kill -9 of the wedge, or of the wedge and migrated with its guardian, at one instant."""
        assert self.wedge is not None
        assert self.daemon is not None
        daemon = [int(pid) for pid in _children(self.daemon.process.pid)] + [self.daemon.process.pid] if both else []
        victims = [self.wedge.process.pid, *daemon]
        for pid in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.wedge.process.wait()
        self.wedge = None
        if both:
            self.daemon.process.wait()
            self.daemon = None
        self.since = None

    def ended(self) -> bool:
        """Whether a wedge that was asked to end has done so."""
        if self.wedge is not None and self.wedge.process.poll() is not None:
            self.wedge = None
        return self.wedge is None

    def pronounce(self, server: str) -> None:
        """Says to its wedge what `migratectl dead SERVER` would say."""
        with self.host.entered(), socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(1.0)
            with contextlib.suppress(OSError):  # it is told by the monitor, too
                sock.connect(SOCKET_NAME)
                sock.sendall(json.dumps({"do": "dead", "server": server}).encode() + b"\n")


def _children(pid: int) -> list[str]:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return []
