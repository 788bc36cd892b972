"""The topology and programs of one run of `reassigned`, and what its events need to know of them."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from analysis.daemon_events import Told
from migrate.core import ACK, Segment
from migrate.linux.wire import Wire
from scenarios.base import Context
from scenarios.following import Follower
from scenarios.overhearing import Ear
from scenarios.programs import Download, Migrated, Nginx, ProgramError, random_file
from scenarios.reassigned_seen import Numbers
from scenarios.verdict import Invalid
from topologies.links import Cable
from topologies.measure import LinkNotAsDeclared
from topologies.nodes import Host
from topologies.profiles import PROFILES
from topologies.reassigned import Reassigned

TICK_SECONDS = 0.01
"""Of the clock that files have; of the slowest kernels (CONFIG_HZ=100)."""
LINK = Cable(rate_bps=1_000_000, delay_s=0.08, queue_packets=100)
PATIENCE_SECONDS = 60.0


@dataclass
class Stage:
    """One run's topology and programs, running."""

    out: Path
    topology: Reassigned
    round_trip: float
    server_events: Follower
    mobile_events: Follower
    wanted: dict[str, str]
    """SHA-256 of the server's objects, by name."""
    nginx: Nginx

    def download(
        self, name: str, *options: str, stranger: bool = False, as_: str = "", port: int = Nginx.PORT
    ) -> Download:
        host = self.topology.stranger if stranger else self.topology.mobile
        return Download(host, self.topology.server_address, name, self.out / (as_ or name), *options, port=port)

    def wait_until_reset(self, count: int = 1, since: float = 0.0) -> list[Told]:
        """Until so many of the server's connections are in MIGRATE_WAIT."""
        named: dict[str, Told] = {}

        def another(told: Told) -> bool:
            return told.event == "waiting" and told.connection not in named

        while len(named) < count:
            one = self.server_events.wait_for(another, PATIENCE_SECONDS, since)
            named[one.connection] = one
        return list(named.values())

    def wait_for_end(self, connection: str) -> None:
        """Until this connection of the server's is reset."""
        self.server_events.wait_for(
            lambda told: told.event == "reset" and told.connection == connection, PATIENCE_SECONDS
        )


@contextmanager
def stage_of(
    context: Context,
    name: str,
    objects: dict[str, int],
    server_options: tuple[str, ...] = (),
    error_level: str = "error",
) -> Iterator[Stage]:
    out = context.out / name
    root, work = out / "www", out / "nginx"
    for directory in (out, root, work):
        directory.mkdir()
    wanted = {file: random_file(root / file, size, context.random) for file, size in objects.items()}
    context.step(f"{name}: building the topology")
    with Reassigned(
        ip=6 if context.ip == 6 else 4, profile=PROFILES[context.profile], seed=context.seed, modem=LINK
    ) as topology:
        context.step(f"{name}: measuring the links")
        try:
            measured = topology.measure()
        except LinkNotAsDeclared as cause:
            raise Invalid(str(cause)) from None
        server = Migrated(topology.server, out, *server_options)
        mobile = Migrated(topology.mobile, out)
        nginx = Nginx(topology.server, root, work, error_level=error_level)
        captures = topology.capture(out)
        stage = Stage(
            *(out, topology, measured["loc2"].small_round_trip_s),
            *(Follower(server.events), Follower(mobile.events)),
            *(wanted, nginx),
        )
        yield stage
        for capture in captures.values():
            capture.stop()
        for daemon in (server, mobile):
            daemon.stop()
        for follower in (stage.server_events, stage.mobile_events):
            follower.look()


def lose_address(stage: Stage, ear: Ear) -> tuple[float, float, Numbers]:
    """The mobile's address goes to the stranger; when the mobile lost it, when the stranger had it, and where the
    connection was then."""
    topology = stage.topology
    mobile = topology.mobile_address
    topology.leave()
    lost_at = time.time()
    numbers = numbers_of(ear, mobile)
    topology.give_away()
    return lost_at, time.time(), numbers


def numbers_of(ear: Ear, mobile: str) -> Numbers:
    """Of the connection over which the server has just sent data to the mobile."""
    last = ear.newest(lambda one: str(one.dst) == mobile and bool(one.flags & ACK) and bool(one.payload))
    return Numbers((str(last.src), last.sport), (str(last.dst), last.dport), last.ack)


def send(host: Host, segments: list[Segment]) -> None:
    """By this host, whoever they seem to come from."""
    with host.entered():
        wire = Wire()
    for segment in segments:
        wire.send(segment)
    wire.close()


def retransmission_timeout(stage: Stage, numbers: Numbers) -> float:
    """Seconds, as the server's kernel says of the connection to the old address; raises `ProgramError` without one."""
    address, port = numbers.remote
    argv = ["ss", "-Htni", "state", "established", "dst", f"[{address}]:{port}"]
    said = stage.topology.server.run(argv).stdout
    found = re.search(r"\brto:(\d+)", said)
    if not found:
        raise ProgramError("the server's kernel has no connection to the old address any more: the RST has ended it")
    return int(found[1]) / 1000


def first_seen(logs: dict[str, tuple[Path, str]], patience: float) -> dict[str, float]:
    """When each text appeared in its log, seconds since 1970; those that did not are left out.

    The kernel notes when a file was last written, up to a tick too early, and is not late where this process is."""
    seen: dict[str, float] = {}
    end = time.monotonic() + patience
    while len(seen) < len(logs) and time.monotonic() < end:
        for name, (log, text) in logs.items():
            if name not in seen and text in log.read_text(errors="replace"):
                seen[name] = min(time.time(), log.stat().st_mtime + TICK_SECONDS)
        time.sleep(0.002)
    return seen
