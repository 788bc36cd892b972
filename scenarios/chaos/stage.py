"""Clients and replicas around one router, on IPv4 and IPv6; on each replica nginx, `migrated` and the wedge.

    c1 ── cable, slow and far ────┐          ┌── sA, sB, sC, sD    replicas
    c2 ── Ethernet ───────────────┤  router  │
    c3 ── Ethernet, small buffers ┘          └── mon               the health monitor
"""

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
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from migrate.failover.control import SOCKET_NAME
from scenarios.programs import Nginx
from topologies.links import Cable, Veth
from topologies.network import LabTopo, Network
from topologies.nodes import Host, Router

VERSIONS = (4, 6)
LENGTH = {4: 24, 6: 64}
CLIENTS: dict[str, Cable | Veth] = {
    "c1": Cable(rate_bps=8e6, delay_s=0.01, queue_packets=100),
    "c2": Veth(rate_bps=40e6),
    "c3": Veth(rate_bps=20e6),
}
REPLICAS = ("sA", "sB", "sC", "sD")
NETWORKS = {name: number for number, name in enumerate((*CLIENTS, *REPLICAS, "mon"), 1)}
SMALL_BUFFERS = "4096 8192 8192"
PORT, BACKEND_PORT, GROUP_PORT = 8080, 8081, 7777
PROBED = "probed"
"""What the monitor asks for."""
REFRESH_SECONDS = 0.5
KNOWS_SECONDS = 4 * REFRESH_SECONDS + 0.5
"""Whoever has served so long has heard of all connections of the others."""
MSL_SECONDS = 15.0
"""A client waits for two of them: longer than any replica is gone."""
STEPS_SECONDS = ("0", "0.5")
"""Between the turns of two members, of one start of a wedge or another; without, several take a connection at once."""
START_SECONDS = 60.0
MONITOR = ("--interval", "0.4", "--timeout", "1.0", "--failures", "2")


class Broken(Exception):
    """Something did not hold; one sentence."""


def address(name: str, version: int, end: int = 2) -> str:
    """Of a host, or (1) of the router on the way to it."""
    return f"10.0.{NETWORKS[name]}.{end}" if version == 4 else f"fd00:{NETWORKS[name]}::{end}"


class _Nginx(Nginx):
    PORT = BACKEND_PORT


class Program:
    """A program of a replica that says `ready`."""

    def __init__(self, host: Host, words: Sequence[str | Path], log: Path, daemon: bool = False) -> None:
        self.log, self._said, self._end = log, b"", time.monotonic() + START_SECONDS
        with log.open("a") as errors:
            argv = [sys.executable, "-m", *words]
            self.process = host.spawn(argv, stdout=subprocess.PIPE, stderr=errors, daemon=daemon)

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

    def __init__(self, host: Host, out: Path, key: Path, module: str, random: Random) -> None:
        self.host, self.name, self._out, self._key, self._module = host, host.name, out, key, module
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
            words: list[str | Path] = ["migrate.migrated", "--cgroup", self.host.programs_cgroup, "--events", events]
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


class Stage:
    """The hosts and their programs; a context manager."""

    def __init__(self, out: Path, root: Path, module: str, nginx_lines: str, random: Random) -> None:
        """`root`: the files that all replicas have; `nginx_lines`: for each one's server block."""
        topo = LabTopo()
        topo.addHost("router", cls=Router)
        for name in NETWORKS:
            topo.addHost(name, cls=Host)
            topo.link("router", name, CLIENTS.get(name, Veth()), names=(f"router-{name}", f"{name}-eth0"))
        self._network = Network(topo)
        self._parted: Counter[tuple[str, str]] = Counter()
        try:
            nodes = self._network.nodes
            self.router: Host = nodes["router"]
            for name in NETWORKS:
                self._join(nodes[name])
            self.clients: dict[str, Host] = {name: nodes[name] for name in CLIENTS}
            self.clients["c3"].sysctl("net.ipv4.tcp_rmem", SMALL_BUFFERS)
            self.daemons = {name: self._client_daemon(host, out) for name, host in self.clients.items()}
            key = out / "group.key"
            key.write_text("the replicas of this run")
            self.replicas = {name: Replica(nodes[name], out, key, module, random) for name in REPLICAS}
            for name, replica in self.replicas.items():
                work = out / name
                work.mkdir()
                _Nginx(replica.host, root, work, more=nginx_lines)
            _until(lambda: all(daemon.ready for daemon in self.daemons.values()))
            _until(self._serving)
            self.monitor = self._monitor(nodes["mon"], out, key)
            _until(lambda: self.monitor.ready)
        except BaseException:
            self._network.stop()
            raise

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        self._network.stop()

    def _serving(self) -> bool:
        for replica in self.replicas.values():
            replica.step()
        return all(replica.serves for replica in self.replicas.values())

    def _join(self, host: Host) -> None:
        """Addresses, routes and neighbours of a host and the router."""
        here, there = f"{host.name}-eth0", f"router-{host.name}"
        ends = ((self.router, there, 1), (host, here, 2))
        macs = {1: self.router.mac(there), 2: host.mac(here)}
        for version in VERSIONS:
            nodad = " nodad" if version == 6 else ""
            for node, interface, end in ends:
                other = address(host.name, version, 3 - end)
                lines = [f"address add {address(host.name, version, end)}/{LENGTH[version]} dev {interface}{nodad}"]
                lines += [f"neighbour replace {other} lladdr {macs[3 - end]} dev {interface} nud permanent"]
                lines += [f"route add default via {other} dev {interface}"] if node is host else []
                node.ip_batch(version, lines)
        host.sysctl("net.ipv4.tcp_no_metrics_save", 1)

    def _client_daemon(self, host: Host, out: Path) -> Program:
        words: list[str | Path] = ["migrate.migrated", "--cgroup", host.programs_cgroup, "--msl", str(MSL_SECONDS)]
        events, log = out / f"{host.name}-events.jsonl", out / f"{host.name}-migrated.log"
        return Program(host, [*words, "--events", events], log, daemon=True)

    def _monitor(self, host: Host, out: Path, key: Path) -> Program:
        words: list[str | Path] = ["migrate.failover.monitor", *MONITOR, "--group-key", key]
        words += ["--events", out / "monitor.jsonl"]
        for name in REPLICAS:
            words += ["--server", f"{name}=http://{address(name, 4)}:{PORT}/{PROBED}"]
            words += ["--member", f"{address(name, 4)}:{GROUP_PORT}"]
        return Program(host, words, out / "monitor.log")

    # --- the network --------------------------------------------------------------------------------------------------

    def part(self, name: str, others: Sequence[str]) -> None:
        """From now on the router passes nothing on between a replica and these others."""
        pairs = _both_ways(name, others)
        self._rule("add", [pair for pair in pairs if not self._parted[pair]])
        self._parted.update(pairs)

    def rejoin(self, name: str, others: Sequence[str]) -> None:
        """The end of `part`; another one of the same hosts may go on."""
        pairs = _both_ways(name, others)
        self._parted.subtract(pairs)
        self._rule("del", [pair for pair in pairs if not self._parted[pair]])

    def _rule(self, action: str, pairs: Sequence[tuple[str, str]]) -> None:
        for version in VERSIONS:
            self.router.ip_batch(
                version,
                [
                    f"rule {action} iif router-{one} to {address(two, version)} pref 100 type blackhole"
                    for one, two in pairs
                ],
            )

    def struck(self, name: str) -> int:
        """How many connections of the clients go to a replica now, as their kernels have it."""
        found = 0
        for client in self.clients.values():
            for version, file in ((4, "tcp"), (6, "tcp6")):
                wanted = _hex(address(name, version))
                lines = Path(f"/proc/{client.pid}/net/{file}").read_text().splitlines()[1:]
                found += sum(words[2].startswith(wanted) and words[3] == "01" for words in map(str.split, lines))
        return found


def _both_ways(name: str, others: Sequence[str]) -> list[tuple[str, str]]:
    return [pair for other in others for pair in ((name, other), (other, name))]


def _hex(text: str) -> str:
    """An address as /proc/net/tcp has it: words of 32 bits in the machine's order."""
    raw = socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)
    return "".join(raw[at : at + 4][::-1].hex().upper() for at in range(0, len(raw), 4)) + ":"


def _until(look: Callable[[], bool]) -> None:
    while not look():
        time.sleep(0.02)
