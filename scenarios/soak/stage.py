"""Two hosts with one cable between them, and a migrated on each that can be killed and started again.

mobile  10.0.0.11 to .18, fd00::11 to ::18 ──── cable ──── 10.0.0.21 to .28, fd00::21 to ::28  server
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from migrate.daemon.control import SOCKET_NAME
from topologies.cable_model import Properties
from topologies.links import Cable, CableLink
from topologies.network import LabTopo, Network
from topologies.nodes import Host

VERSIONS = (4, 6)
LENGTH = {4: 24, 6: 64}
PREFIX = {4: "10.0.0.", 6: "fd00::"}
FIRST = {"mobile": 11, "server": 21}
ADDRESSES = 8
RATE_BPS, DELAY_S, QUEUE_PACKETS = 16e6, 0.004, 120
MSL_SECONDS = 15.0
"""Two of them are longer than any outage, and short enough for what is remembered of old pairs to be forgotten soon."""
PATIENCE_SECONDS = 60.0
TRIES, WITHIN_SECONDS = 4, 11.0
"""A guardian whose worker dies more often gives up, as it should: here kills keep below that."""


class Broken(Exception):
    """Something did not hold; one sentence."""


def until(look: Callable[[], Any], what: str, patience: float = PATIENCE_SECONDS, pause: float = 0.02) -> Any:
    """What `look` gives once it gives something true.  Raises `Broken` after `patience` seconds."""
    end = time.monotonic() + patience
    while not (found := look()):
        if time.monotonic() > end:
            raise Broken(f"not within {patience:.0f} s: {what}")
        time.sleep(pause)
    return found


class Daemon:
    """A host's migrated, which is killed now and then."""

    def __init__(self, host: Host, out: Path, module: str) -> None:
        self.host, self._module = host, module
        self.events = out / f"{host.name}-events.jsonl"
        self.log = out / f"{host.name}-migrated.log"
        self._kills: list[float] = []
        self.start()

    def start(self) -> None:
        """Another one; it serves once `wait_serving` returns."""
        words: list[str | Path] = [sys.executable, "-m", self._module, "--cgroup", self.host.programs_cgroup]
        words += ["--events", self.events, "--msl", str(MSL_SECONDS)]
        with self.log.open("a") as log:
            self.process = self.host.spawn(words, stdout=subprocess.DEVNULL, stderr=log, daemon=True)

    @property
    def runs(self) -> bool:
        return self.process.poll() is None

    @property
    def worker(self) -> int | None:
        """The child of the guardian, which does the work."""
        try:
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        except OSError:
            return None
        return int(children[0]) if children else None

    def ask(self, **request: Any) -> Any:
        """An answer, or None where nobody answers now."""
        with self.host.entered(), socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(10)
            try:
                sock.connect(SOCKET_NAME)
                sock.sendall(json.dumps(request).encode() + b"\n")
                with sock.makefile() as answers:
                    return json.loads(answers.readline()).get("result")
            except (OSError, ValueError):
                return None

    def wait_serving(self) -> None:
        def look() -> bool:
            if not self.runs:
                last = (self.log.read_text().splitlines() or ["it said nothing"])[-1]
                raise Broken(f"migrated on {self.host.name} has ended by itself: {last}")
            return self.ask(do="status") is not None

        until(look, f"migrated on {self.host.name} serves")

    def may_be_killed(self) -> bool:
        now = time.monotonic()
        self._kills = [when for when in self._kills if now - when < WITHIN_SECONDS]
        return self.runs and len(self._kills) < TRIES and self.worker is not None

    def kill(self, whom: str) -> bool:
        """kill -9 of the "worker", the "guardian" or "both" at one instant; false where there is none at present."""
        worker = self.worker
        if worker is None or not self.runs:
            return False
        self._kills.append(time.monotonic())
        if whom != "worker":
            os.kill(self.process.pid, signal.SIGKILL)
        if whom != "guardian":
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        if whom != "worker":
            self.process.wait()
            self._kills.clear()
            until(lambda: not Path(f"/proc/{worker}/cmdline").exists(), f"{self.host.name}'s worker is gone too")
        return True

    def revive(self) -> None:
        """It serves, whatever has been done to it."""
        if not self.runs and self.process.returncode == -signal.SIGKILL:
            self.start()
        self.wait_serving()


class Stage:
    """The hosts, the cable, the daemons, and which addresses there are; a context manager."""

    def __init__(self, out: Path, seed: int, module: str) -> None:
        topo = LabTopo()
        for name in FIRST:
            topo.addHost(name, cls=Host)
        topo.link("mobile", "server", Cable(RATE_BPS, DELAY_S, QUEUE_PACKETS, seed=seed))
        self._network = Network(topo)
        try:
            self.hosts: dict[str, Host] = {name: self._network.nodes[name] for name in FIRST}
            self.cable: CableLink = self._network.link("mobile", "server")
            self.present: dict[tuple[str, int], str | None] = {}
            for name, host in self.hosts.items():
                host.sysctl("net.ipv4.conf.all.promote_secondaries", 1)  # else an address takes its successors along
                host.sysctl("net.ipv4.tcp_no_metrics_save", 1)  # a lossy moment is not remembered
                for version in VERSIONS:
                    self.change(name, version, None, self.address(name, version, 0))
            self.daemons = {name: Daemon(host, out, module) for name, host in self.hosts.items()}
            for daemon in self.daemons.values():
                daemon.wait_serving()
        except BaseException:
            self._network.stop()
            raise

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        self._network.stop()

    @staticmethod
    def address(name: str, version: int, number: int) -> str:
        return f"{PREFIX[version]}{FIRST[name] + number}"

    def change(self, name: str, version: int, old: str | None, new: str | None) -> None:
        """An address of the host goes, another one comes, or one of the two; in one go."""
        lines = []
        if old is not None:
            lines.append(f"address del {old}/{LENGTH[version]} dev {name}-eth0")
        if new is not None:
            lines.append(f"address add {new}/{LENGTH[version]} dev {name}-eth0{' nodad' if version == 6 else ''}")
        self.hosts[name].ip_batch(version, lines)
        if new is not None or old == self.present[name, version]:
            self.present[name, version] = new

    def lose(self, share: float) -> None:
        """So many of the packets, in both directions, from now on."""
        self.cable.set_properties(Properties(RATE_BPS, DELAY_S, QUEUE_PACKETS, share))

    def lost(self) -> int:
        return sum(toward["random_losses"] for toward in self.cable.state()["toward"].values())

    def unsettled(self) -> str:
        """A connection that is not yet where its ends are, in words; "" if there is none."""
        for name, daemon in self.daemons.items():
            other = "server" if name == "mobile" else "mobile"
            rows = daemon.ask(do="list")
            if rows is None:
                return f"{name}'s daemon does not answer"
            for row in rows:
                if row["tcp"] != "ESTABLISHED":
                    continue  # what is closing may be where it was: see the README's limits
                version = 6 if ":" in row["local"] else 4
                ends = (row["local"], row["remote"])
                if (ends != (self.present[name, version], self.present[other, version])
                        or row["state"] != "ESTABLISHED" or not row["migratable"]):  # fmt: skip
                    return f"on {name}: {json.dumps(row)}"
        return ""

    def under_way(self) -> bool:
        """Is a connection in the handshake of a migration?"""
        rows = [row for daemon in self.daemons.values() for row in daemon.ask(do="list") or ()]
        return any(row["state"] in ("SYN_SENT", "SYN_RCVD") for row in rows)

    def settle(self) -> None:
        """Every connection follows.  Raises `Broken`."""
        for daemon in self.daemons.values():
            daemon.revive()
        end = time.monotonic() + PATIENCE_SECONDS
        while what := self.unsettled():
            if time.monotonic() > end:
                raise Broken(f"a connection has not followed within {PATIENCE_SECONDS:.0f} s, {what}")
            time.sleep(0.05)
        for host in self.hosts.values():
            until(lambda host=host: not frozen(host), f"the programs of {host.name} run")  # type: ignore[misc]


def frozen(host: Host) -> str:
    """What stands still on the host; "" if nothing does."""
    cgroup = host.programs_cgroup
    asked, events = (cgroup / "cgroup.freeze").read_text().strip(), (cgroup / "cgroup.events").read_text()
    return "" if asked == "0" and "frozen 0" in events else f"its programs (freeze {asked}, {' '.join(events.split())})"
