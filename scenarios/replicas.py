"""The programs of replicas that take connections over from each other: wedges, and the monitor that calls one dead."""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from migrate.daemon.control import SOCKET_NAME as MIGRATED_SOCKET_NAME
from migrate.failover.control import SOCKET_NAME
from scenarios.following import Follower
from scenarios.programs import READY_SECONDS, ProgramError
from topologies.nodes import Host

GROUP_PORT = 7777
BACKEND_PORT = 8081
"""Where each replica's nginx listens, for its wedge only."""
GROUP_KEY = "the replicas of this experiment"


def _started(host: Host, argv: Sequence[str | Path], log: Path) -> subprocess.Popen[Any]:
    """A program that says `ready`; raises `ProgramError` with its own last words."""
    with log.open("a") as errors:
        process = host.spawn([sys.executable, "-m", *argv], stdout=subprocess.PIPE, stderr=errors)
    assert process.stdout is not None
    waiting, _, _ = select.select([process.stdout], [], [], READY_SECONDS)
    if not waiting or process.stdout.readline().strip() != b"ready":
        process.kill()
        said = log.read_text(errors="replace").strip().splitlines()
        raise ProgramError(f"{argv[0]} on {host.name} does not start: {said[-1] if said else 'it said nothing'}")
    return process


def at(address: str, port: int) -> str:
    """ADDRESS:PORT, an IPv6 address in brackets."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def group_key(out: Path) -> Path:
    """The file with the group's key."""
    file = out / "group.key"
    file.write_text(GROUP_KEY)
    return file


class Wedge:
    """A replica's wedge, serving when this returns."""

    MODULE = "migrate.failover"

    def __init__(self, host: Host, addresses: Mapping[str, str], out: Path, key: Path, *options: str) -> None:
        """`addresses`: of all members of the group, this one too, by name."""
        self.host, self.log = host, out / f"{host.name}-wedge.log"
        events = out / f"{host.name}-wedge.jsonl"
        argv: list[str | Path] = [self.MODULE, "--name", host.name, "--port", "8080", "--events", events]
        argv += ["--backend", f"127.0.0.1:{BACKEND_PORT}", "--group-key", key]
        argv += ["--listen", at(addresses[host.name], GROUP_PORT)]
        for name, address in addresses.items():
            if name != host.name:
                argv += ["--member", at(address, GROUP_PORT)]
        self.process = _started(host, [*argv, *options], self.log)
        self.events = Follower(events)

    def kill(self) -> float:
        """kill -9; when, in seconds since 1970."""
        when = time.time()
        self.process.kill()
        self.process.wait()
        return when

    def stop(self) -> None:
        """Ends it in order, if it still runs."""
        self.process.terminate()
        try:
            self.process.wait(READY_SECONDS)
        except subprocess.TimeoutExpired:
            raise ProgramError(f"the wedge on {self.host.name} does not end") from None

    def pronounce(self, server: str) -> float:
        """Says to it what `migratectl dead SERVER` would say; when, in seconds since 1970."""
        when = time.time()
        self._ask(do="dead", server=server)
        return when

    def take(self, connection: str) -> None:
        """Says to it what `migratectl take CONNECTION` would say; raises `ProgramError` where it knows of none."""
        self._ask(do="take", connection=connection)

    def wait_until_known(self, patience: float, count: int = 1, answered: bool = False) -> None:
        """Until it knows of so many connections of the others (`answered`: and what they are answered); raises
        `ProgramError`."""
        end = time.monotonic() + patience
        what = "their answers" if answered else "known of others"
        while (known := int(self._ask(do="status")[what])) < count:
            if time.monotonic() > end:
                raise ProgramError(f"the wedge on {self.host.name} knows {known} connections of others, not {count}")
            time.sleep(0.005)

    def _ask(self, **request: Any) -> Any:
        return _ask(self.host, SOCKET_NAME, "wedge", request)


def connections(host: Host, port: int) -> list[str]:
    """The names of the connections that this host's migrated could move and that go to this port."""
    rows = _ask(host, MIGRATED_SOCKET_NAME, "migrated", {"do": "list"})
    return [row["connection"] for row in rows if row["remote_port"] == port and row["migratable"]]


def _ask(host: Host, name: str, program: str, request: dict[str, Any]) -> Any:
    """A request to a host's daemon, as migratectl makes it.  Raises `ProgramError`."""
    with host.entered():
        sock = socket.socket(socket.AF_UNIX)
    with sock:
        sock.settimeout(READY_SECONDS)
        try:
            with host.entered():
                sock.connect(name)
            sock.sendall(json.dumps(request).encode() + b"\n")
            with sock.makefile() as answers:
                answer: dict[str, Any] = json.loads(answers.readline() or "{}")
        except OSError as error:
            raise ProgramError(f"the {program} on {host.name} does not answer: {error.strerror}") from error
    if "result" not in answer:
        raise ProgramError(f"the {program} on {host.name} refuses: {answer.get('error', 'it has ended')}")
    return answer["result"]


class Monitor:
    """The health monitor, checking when this returns."""

    INTERVAL_SECONDS, FAILURES = 0.3, 2

    def __init__(
        self, host: Host, servers: Mapping[str, str], members: Mapping[str, str], out: Path, key: Path, path: str
    ) -> None:
        """Checks `servers` (addresses by name) by asking for `path`, and tells `members`."""
        events = out / "monitor.jsonl"
        argv: list[str | Path] = ["migrate.failover.monitor", "--group-key", key, "--events", events]
        argv += ["--interval", str(self.INTERVAL_SECONDS), "--timeout", "0.5", "--failures", str(self.FAILURES)]
        for name, address in servers.items():
            argv += ["--server", f"{name}=http://{at(address, 8080)}/{path}"]
        for address in members.values():
            argv += ["--member", at(address, GROUP_PORT)]
        self.process = _started(host, argv, out / "monitor.log")
        self.events = Follower(events)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
