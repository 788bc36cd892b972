"""What all cases of `failover` are played on: the topology, nginx and `migrated` everywhere, and, for each case, wedges
and captures of its own."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from scenarios.base import Context
from scenarios.failover_seen import Received, Seen
from scenarios.following import Follower, NotTold
from scenarios.programs import Download, Migrated, Nginx, ProgramError, checksum, random_file
from scenarios.replicas import BACKEND_PORT, Monitor, Wedge, at, group_key
from scenarios.verdict import Invalid
from topologies.failover import Failover
from topologies.measure import LinkNotAsDeclared
from topologies.nodes import Host
from topologies.profiles import PROFILES

PATIENCE_SECONDS = 40.0
STALL_SECONDS = 20
"""curl gives up once nothing has come for so long: a download that is not gone on with ends, and is judged."""
OBJECTS = {"object": 400_000, "second": 150_000, "padded/object": 60_000, "chunked/object": 400_000}
DIFFERING = "differing"
"""An object that is another one on each replica."""
DIFFERING_BYTES = 1_200_000
BUFFER = "4096 65536 65536"
MODIFIED = 1_000_000_000
"""When the objects were last changed, seconds since 1970: Debian's nginx makes an entity tag of this and the length."""
DECIDED = ("taken-over", "refused", "reset")
"""What a wedge tells of a connection that it was to take over."""
_PAD = "x" * 3000
_PADDED = f"location /padded/ {{ {' '.join(f'add_header X-Pad-{number} {_PAD};' for number in range(8))} }}"
_CHUNKED = "location /chunked/ { ssi on; ssi_types *; }"


@dataclass
class Stage:
    """The topology and its programs, running."""

    context: Context
    topology: Failover
    round_trip: float
    """Seconds, of small packets between the router and the client, measured beforehand."""
    daemons: dict[str, Migrated]
    wanted: dict[str, str]
    """SHA-256 of the objects, by name."""
    nginx: dict[str, Nginx]

    @property
    def addresses(self) -> dict[str, str]:
        return {name: self.topology.address(name) for name in self.topology.hosts}

    def content(self, name: str, replica: str = "sA") -> Path:
        """An object's file, as this replica has it."""
        return self.context.out / f"{replica}-www" / name

    @contextmanager
    def case(self, name: str, replicas: Sequence[str] = ("sA", "sB"), **options: Sequence[str]) -> Iterator[Case]:
        """Wedges on these replicas, each with the options under its name, and captures of what happens."""
        out = self.context.out / name
        out.mkdir()
        with ExitStack() as ending:
            case = Case(self, name, out, tuple(replicas), ending, left=_connections(self.topology.client))
            for replica in replicas:
                case.start(replica, *options.get(replica, ()))
            captures = self.topology.capture(out, ["client"])
            yield case
            case.wait_until_closed()
            for capture in captures.values():
                capture.stop()
        case.look()


@dataclass
class Case:
    """One of them, running."""

    stage: Stage
    name: str
    out: Path
    replicas: tuple[str, ...]
    _ending: ExitStack
    wedges: dict[str, Wedge] = field(default_factory=dict)
    monitor: Monitor | None = None
    curl: Download | None = None
    """The one that the case is about."""
    closes: bool = True
    """False where the client ends a connection whose server is dead: its kernel goes on asking for a while."""
    waited: float = 0.0
    """Seconds for which the programs of its take-over waited for a processor meanwhile, where that was measured."""
    left: frozenset[str] = frozenset()
    """The client's connections of earlier cases that are such."""
    daemon_events: dict[str, Follower] = field(init=False)
    began_at: float = field(default_factory=time.time)

    def __post_init__(self) -> None:
        self.daemon_events = {name: Follower(daemon.events) for name, daemon in self.stage.daemons.items()}

    @property
    def topology(self) -> Failover:
        return self.stage.topology

    def step(self, text: str) -> None:
        self.stage.context.step(f"{self.name}: {text}")

    def start(self, replica: str, *options: str) -> Wedge:
        """Its wedge."""
        members = {name: self.stage.addresses[name] for name in self.replicas}
        wedge = Wedge(self.topology.replicas[replica], members, self.out, group_key(self.out), *options)
        self._ending.callback(wedge.stop)
        self.wedges[replica] = wedge
        return wedge

    def watch(self) -> Monitor:
        """The health monitor, which asks all replicas of the case for an object and tells all of them."""
        members = {name: self.stage.addresses[name] for name in self.replicas}
        self.monitor = Monitor(self.topology.monitor, members, members, self.out, group_key(self.out), "second")
        self._ending.callback(self.monitor.stop)
        return self.monitor

    def wait_for_verdict(self, server: str) -> None:
        """Until the monitor has called a server dead."""
        assert self.monitor is not None
        self.monitor.events.wait_for(lambda told: (told.event, told.state) == ("dead", server), PATIENCE_SECONDS)

    def wait_for_file(self, name: str, size: int) -> None:
        """Until the client has so many bytes of an object."""
        end = time.monotonic() + PATIENCE_SECONDS
        path = self.target(name)
        while not path.exists() or path.stat().st_size < size:
            if time.monotonic() > end:
                raise ProgramError(f"the client has not received all of {name} after {PATIENCE_SECONDS:g} s")
            time.sleep(0.005)

    def wait_for_loss(self) -> None:
        """Until a rule of the WAN has lost something."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not any(rule["fired"] for rule in self.topology.wan.state()["rules"]):
            if time.monotonic() > end:
                raise ProgramError(f"nothing was lost after {PATIENCE_SECONDS:g} s")
            time.sleep(0.002)

    def target(self, name: str) -> Path:
        """Where an object that is downloaded goes."""
        return self.out / name.replace("/", "-")

    def download(self, name: str, *options: str, server: str = "sA", as_: str = "") -> Download:
        """An unmodified curl at the client."""
        stalls = ("--speed-limit", "1", "--speed-time", str(STALL_SECONDS))
        to = self.target(as_ or name)
        return Download(self.topology.client, self.stage.addresses[server], name, to, *stalls, *options)

    def url(self, name: str, server: str = "sA") -> str:
        return f"http://{at(self.stage.addresses[server], 8080)}/{name}"

    def received(self, name: str, part: slice = slice(None)) -> Received:
        """What is there of an object, beside what should be: `part` of it as sA has it."""
        right = self.stage.content(name).read_bytes()[part]
        path = self.target(name)
        return Received.of(name, right, path.read_bytes() if path.exists() else b"")

    def seen(self, exit_status: int, received: Sequence[Received], pronounced_at: float = 0.0) -> Seen:
        """All that judging needs beside the captures; to be called when the case is over."""
        self.look()
        return Seen(
            case=self.name,
            round_trip=self.stage.round_trip,
            names={address: name for name, address in self.stage.addresses.items()},
            wedges={name: tuple(wedge.events.told) for name, wedge in self.wedges.items()},
            monitor=tuple(self.monitor.events.told) if self.monitor else (),
            began_at=self.began_at,
            daemons={name: tuple(events.told) for name, events in self.daemon_events.items()},
            exit_status=exit_status,
            received=tuple(received),
            pronounced_at=pronounced_at,
            waited=self.waited,
        )

    def wait(self, replica: str, *events: str) -> bool:
        """Until a wedge has told one of these; whether it has.  What it has not is judged like what it has."""
        with suppress(NotTold):
            self.wedges[replica].events.wait_for(lambda told: told.event in events, PATIENCE_SECONDS)
            return True
        return False

    def waiting(self, host: str) -> None:
        """Until a connection of this host's daemon is in MIGRATE_WAIT."""
        self.daemon_events[host].wait_for(lambda told: told.event == "waiting", PATIENCE_SECONDS, since=self.began_at)

    def wait_until_closed(self) -> None:
        """Until the client's connections of this case have ended."""
        end = time.monotonic() + PATIENCE_SECONDS
        while self.closes and (mine := _connections(self.topology.client) - self.left):
            if time.monotonic() > end:
                raise ProgramError(f"{len(mine)} connections of the client do not close: {min(mine)}")
            time.sleep(0.02)

    def wait_until_taken(self, by: str) -> None:
        """Until a replica has taken the connection over and the client has more than before, or neither comes; notes
        for how long the programs waited meanwhile."""
        assert self.curl is not None
        if self.wait(by, "pronounced"):
            before = self.waits(by)
            self.wait_for_more(by, self.curl)
            self.waited = self.waits(by) - before

    def wait_for_more(self, by: str, curl: Download) -> None:
        """Until a replica has taken the connection over and the client has more than before, or neither comes."""
        had = curl.received
        if self.wait(by, *DECIDED):
            with suppress(ProgramError):  # it gets no more, which is judged
                curl.wait_for(had + 1, PATIENCE_SECONDS)

    def waits(self, by: str = "sB") -> float:
        """Seconds for which the programs of a take-over by this replica have waited for a processor so far: its own,
        the client's, and the WAN (the second number of /proc/PID/schedstat, in nanoseconds)."""
        numbers = [self.topology.wan.process.pid]
        for host in (self.topology.client, self.topology.replicas[by]):
            for cgroup in (host.programs_cgroup, host.daemon_cgroup):
                numbers += [int(word) for word in (cgroup / "cgroup.procs").read_text().split()]
        found = 0
        for number in numbers:
            with suppress(OSError):  # one that has ended meanwhile
                found += int(Path(f"/proc/{number}/schedstat").read_text().split()[1])
        return found / 1e9

    def wait_any(self, event: str, patience: float = PATIENCE_SECONDS) -> str:
        """Until one of the wedges has told it; which."""
        end = time.monotonic() + patience
        while time.monotonic() < end:
            for name, wedge in self.wedges.items():
                wedge.events.look()
                if any(told.event == event for told in wedge.events.told):
                    return name
            time.sleep(0.002)
        raise ProgramError(f"no wedge has told '{event}' after {patience:g} s")

    def look(self) -> None:
        """Reads what the programs have told since."""
        for program in (*self.wedges.values(), *((self.monitor,) if self.monitor else ())):
            program.events.look()
        for events in self.daemon_events.values():
            events.look()


def _connections(host: Host) -> frozenset[str]:
    """A host's connections, TIME-WAIT apart: both ends of each."""
    said = host.run(["ss", "-Htn", "state", "connected", "exclude", "time-wait"]).stdout
    return frozenset(" > ".join(line.split()[-2:]) for line in said.splitlines())


@contextmanager
def stage_of(context: Context) -> Iterator[Stage]:
    """Builds it, with all objects on all replicas."""
    context.step("building the topology")
    with Failover(ip=6 if context.ip == 6 else 4, profile=PROFILES[context.profile]) as topology:
        context.step("measuring the links")
        try:
            measured = topology.measure()
        except LinkNotAsDeclared as cause:
            raise Invalid(str(cause)) from None
        for host in topology.replicas.values():
            # Else all that is left of an object would be in the buffers of a server that dies, or stands still.
            host.sysctl("net.ipv4.tcp_wmem", BUFFER)
            host.sysctl("net.ipv4.tcp_rmem", BUFFER)
        wanted: dict[str, str] = {}
        nginx: dict[str, Nginx] = {}
        seeds = {name: context.random.getrandbits(32) for name in (*OBJECTS, *topology.replicas)}
        for name, host in topology.replicas.items():
            wanted, nginx[name] = _serve(context, host, seeds)
        daemons = {name: Migrated(host, context.out) for name, host in topology.hosts.items() if name != "mon"}
        yield Stage(context, topology, measured["client"].small_round_trip_s, daemons, wanted, nginx)
        for daemon in daemons.values():
            daemon.stop()


def _serve(context: Context, host: Host, seeds: dict[str, int]) -> tuple[dict[str, str], Nginx]:
    root, work = context.out / f"{host.name}-www", context.out / f"{host.name}-nginx"
    work.mkdir()
    sums = {}
    for name, size in OBJECTS.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        random_file(path, size, Random(seeds[name]))
        if name.startswith("chunked/"):
            # nginx's SSI looks for "<!--#", and leaves out a "<" that is the last byte of all.
            path.write_bytes(path.read_bytes().replace(b"<", b"-"))
        sums[name] = checksum(path)
        os.utime(path, (MODIFIED, MODIFIED))
    own = list(seeds).index(host.name)
    random_file(root / DIFFERING, DIFFERING_BYTES, Random(seeds[host.name]))
    os.utime(root / DIFFERING, (MODIFIED + own, MODIFIED + own))
    return sums, Nginx(host, root, work, more=f"{_PADDED} {_CHUNKED}", loopback=BACKEND_PORT)
