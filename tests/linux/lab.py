"""Three hosts, a `migrated` on two of them, and what the tests in this folder do there (wire.py: what they see of it).

    one  10.0.0.1, fd00::1 ──────── 10.0.0.2, fd00::2  two
      │ 10.1.0.1, fd01::1         10.2.0.2, fd02::2 │
      └───────────────  three  ─────────────────────┘       10.1.0.3, fd01::3 and 10.2.0.3, fd02::3

`one` moves by getting the addresses 10.0.0.11 and so on.  `three` has no migrated: it is the attacker, who can send
anything to either but sees nothing of what they say to each other.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from migrate.daemon.control import SOCKET_NAME
from scenarios.programs import Nginx, random_file
from topologies import shaping
from topologies.links import Cable, Veth
from topologies.network import LabTopo, Network
from topologies.nodes import Host

OUT = Path("/run/lab")  # the sandbox's own tmpfs
ROOT = Path(__file__).resolve().parents[2]
TALK = Path(__file__).with_name("talk.py")
PATIENCE_SECONDS = 30.0  # for what happens at once on an idle machine
VERSIONS = (4, 6)
PREFIX = {4: "10.0.0.", 6: "fd00::"}
LENGTH = {4: 24, 6: 64}
T = TypeVar("T")
QUICK = 1e9  # bits per second


def address(version: int, number: int) -> str:
    """One of the addresses on the link between `one` and `two`: 1 and 2 are theirs, 11 and up are free."""
    return f"{PREFIX[version]}{number}"


def until(look: Callable[[], T], what: str, patience: float = PATIENCE_SECONDS) -> T:
    """What `look` gives once it gives something true; fails with `what` after `patience` seconds."""
    end = time.monotonic() + patience
    while not (found := look()):
        assert time.monotonic() < end, f"not within {patience:g} s: {what}"
        time.sleep(0.005)
    return found


class Daemon:
    """A host's migrated; it serves once `wait_ready` returns."""

    def __init__(self, host: Host, *options: str, module: str = "migrate.migrated") -> None:
        self.host = host
        self.events_file = OUT / f"{host.name}-events.jsonl"
        self.keylog = OUT / "keys.log"
        self.log = OUT / f"{host.name}-migrated.log"
        words: list[str | Path] = [sys.executable, "-m", module, "--cgroup", host.programs_cgroup, *options]
        words += ["--events", self.events_file, "--keylog", self.keylog]
        with self.log.open("a") as log:
            environment = os.environ | {"ODD_HOST": host.name}
            self.process = host.spawn(words, stdout=subprocess.PIPE, stderr=log, daemon=True, env=environment)
        self._said = b""
        self._readies = 0
        self._forgotten = 0

    def wait_ready(self) -> None:
        """Until the next worker serves."""
        assert self.process.stdout is not None
        pipe = self.process.stdout.fileno()
        end = time.monotonic() + PATIENCE_SECONDS
        while self._said.count(b"ready\n") <= self._readies:
            assert select.select([pipe], [], [], max(0.0, end - time.monotonic()))[0], f"not ready: {self.last_words()}"
            said = os.read(pipe, 4096)
            assert said, f"migrated ended: {self.last_words()}"
            self._said += said
        self._readies += 1

    @property
    def worker(self) -> int:
        """The process that does the work, a child of the guardian."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0])

    def kill_worker(self) -> None:
        """kill -9, and wait until the guardian has started another."""
        os.kill(self.worker, signal.SIGKILL)
        self.wait_ready()

    def kill(self) -> None:
        """kill -9 of guardian and worker, at one instant as far as they are concerned."""
        worker = self.worker
        for pid in (self.process.pid, worker):
            os.kill(pid, signal.SIGSTOP)
        for pid in (self.process.pid, worker):
            os.kill(pid, signal.SIGKILL)
        self.process.wait()
        until(lambda: not Path(f"/proc/{worker}/cmdline").exists(), "the worker is gone")

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(PATIENCE_SECONDS)

    def last_words(self) -> str:
        return self.log.read_text()[-2000:]

    def events(self, event: str = "") -> list[dict[str, Any]]:
        """What the events file holds since `forget`, or those of one kind."""
        text = self.events_file.read_text() if self.events_file.exists() else ""
        lines = text[: text.rfind("\n") + 1].splitlines()  # the last one may be half written
        found = [json.loads(line) for line in lines[self._forgotten :]]
        return [one for one in found if event in ("", one["event"])]

    def forget(self) -> None:
        """For a test of several parts: what has happened until now is over."""
        self._forgotten += len(self.events())

    def wait_event(self, event: str, count: int = 1, patience: float = PATIENCE_SECONDS) -> dict[str, Any]:
        """Until there are so many events of that kind; the last of them."""

        def look() -> list[dict[str, Any]]:
            found = self.events(event)
            return found if len(found) >= count else []

        try:
            return until(look, f"{count} times {event} on {self.host.name}", patience)[count - 1]
        except AssertionError as error:
            told = [(one["state"], one["event"], one["cause"]) for one in self.events()]
            raise AssertionError(f"{error}\nevents: {told}\n{self.last_words()}") from None

    def ask(self, **request: Any) -> dict[str, Any]:
        """A request over the daemon's socket: its whole answer."""
        with self.host.entered(), socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE_SECONDS)
            sock.connect(SOCKET_NAME)
            sock.sendall(json.dumps(request).encode() + b"\n")
            with sock.makefile() as answers:
                answer: dict[str, Any] = json.loads(answers.readline())
                return answer

    def connections(self) -> list[dict[str, Any]]:
        """What `migratectl list` shows."""
        rows: list[dict[str, Any]] = self.ask(do="list")["result"]
        return rows

    def name_of(self, ends: list[Any]) -> str:
        """The name of the connection between these ends (`Talker`'s `names`)."""
        wanted = [str(end).removeprefix("::ffff:") for end in ends]
        for row in self.migratable():
            if [str(row[key]) for key in ("local", "local_port", "remote", "remote_port")] == wanted:
                return str(row["connection"])
        raise AssertionError(f"no migratable connection {wanted}: {self.connections()}")

    def migratable(self) -> list[dict[str, Any]]:
        return [row for row in self.connections() if row["migratable"]]


class Talker:
    """talk.py on a host: `talker("send", 0, 100)`."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._asked: tuple[Any, ...] = ()
        self._process = host.spawn(
            [sys.executable, "-I", TALK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def _silent(self) -> str:
        """Where a program is that does not answer, and what its host's sockets are at."""
        place, cgroup = Path(f"/proc/{self.pid}/wchan").read_text(), self._host.programs_cgroup
        freezer = (cgroup / "cgroup.freeze").read_text() + (cgroup / "cgroup.events").read_text()
        sockets = self._host.run(["ss", "-tanpioem"], daemon=True).stdout
        return (
            f"the program on {self._host.name} does not answer {self._asked}; it is in {place}, its cgroup "
            f"{' '.join(freezer.split())}\n{sockets}"
        )

    def start(self, *request: Any) -> None:
        """Ask, and fetch the answer later."""
        assert self._process.stdin is not None
        self._asked = request
        self._process.stdin.write(json.dumps(request) + "\n")

    def answer(self, patience: float = PATIENCE_SECONDS) -> Any:
        assert self._process.stdout is not None
        assert select.select([self._process.stdout], [], [], patience)[0], self._silent()
        return json.loads(self._process.stdout.readline())

    def answers_within(self, seconds: float) -> bool:
        assert self._process.stdout is not None
        return bool(select.select([self._process.stdout], [], [], seconds)[0])

    @property
    def is_busy(self) -> bool:
        """Whether what was started is still going on."""
        return not self.answers_within(0)

    def __call__(self, *request: Any) -> Any:
        self.start(*request)
        return self.answer()


@dataclass
class Lab:
    """The hosts and the daemons of `one` and `two`, as far as they were asked for."""

    one: Host
    two: Host
    three: Host
    daemons: dict[str, Daemon]
    link: Any
    """Between one and two."""

    def start(self, name: str, *options: str, module: str = "migrate.migrated") -> Daemon:
        """(Another) migrated on a host, serving when this returns."""
        self._launch(name, *options, module=module).wait_ready()
        return self.daemons[name]

    def launch(self, names: list[str], *options: str, module: str) -> None:
        """Migrated on these hosts, started side by side."""
        for daemon in [self._launch(name, *options, module=module) for name in names]:
            daemon.wait_ready()

    def _launch(self, name: str, *options: str, module: str) -> Daemon:
        self.daemons[name] = Daemon({"one": self.one, "two": self.two}[name], *options, module=module)
        return self.daemons[name]

    def replace(self, host: Host, version: int, old: int, new: int) -> None:
        """The host's address on the link changes."""
        device, length = f"{host.name}-eth0", LENGTH[version]
        nodad = " nodad" if version == 6 else ""
        host.ip_batch(
            version,
            [
                f"address del {address(version, old)}/{length} dev {device}",
                f"address add {address(version, new)}/{length} dev {device}{nodad}",
            ],
        )

    def wait_moved(self, count: int = 1) -> None:
        """Until every daemon has told of so many migrations."""
        for daemon in self.daemons.values():
            daemon.wait_event("migrated", count)

    def pace(self, sender: Host, rate_bps: float = QUICK) -> None:
        """What this host sends on the link from now on takes so long, or no time at all.  With that at its end a file
        can be far larger than a test needs it, and none that stands still for a while finds the download over."""
        shaping.set_rate(sender, f"{sender.name}-eth0", rate_bps)

    def add(self, host: Host, version: int, number: int) -> None:
        host.add_address(f"{host.name}-eth0", f"{address(version, number)}/{LENGTH[version]}")

    def remove(self, host: Host, version: int, number: int) -> None:
        host.remove_address(f"{host.name}-eth0", f"{address(version, number)}/{LENGTH[version]}")

    def nginx(self, size: int) -> str:
        """nginx on `two` with the file `object`; its SHA-256."""
        work, root = OUT / "nginx", OUT / "www"
        work.mkdir()
        root.mkdir()
        wanted = random_file(root / "object", size, Random(1))
        Nginx(self.two, root, work)
        return wanted


@contextlib.contextmanager
def lab(
    *options: str,
    on: str = "one two",
    rate_bps: float | None = None,
    module: str = "migrate.migrated",
    cable: Cable | None = None,
) -> Iterator[Lab]:
    """The hosts, with a migrated (and its options) on those named; `rate_bps` is of the link between one and two, or
    `cable` is that link."""
    OUT.mkdir(exist_ok=True)
    topo = LabTopo()
    for name in ("one", "two", "three"):
        topo.addHost(name, cls=Host)
    topo.link("one", "two", cable or Veth(rate_bps=rate_bps))
    topo.link("one", "three", Veth())
    topo.link("two", "three", Veth())
    with Network(topo) as network:
        one, two, three = (network.nodes[name] for name in ("one", "two", "three"))
        _furnish(one, two, three)
        place = Lab(one, two, three, {}, network.links[0])
        place.launch(on.split(), *options, module=module)
        yield place


def clear() -> None:
    """Removes what a lab has written, so that the sandbox can hold another."""
    shutil.rmtree(OUT)


def _furnish(one: Host, two: Host, three: Host) -> None:
    for version, net in ((4, "10.{}.0.{}"), (6, "fd0{}::{}")):
        length, nodad = LENGTH[version], " nodad" if version == 6 else ""
        for host, places in (
            (one, ((0, 0, 1), (1, 1, 1))),
            (two, ((0, 0, 2), (1, 2, 2))),
            (three, ((0, 1, 3), (1, 2, 3))),
        ):
            host.ip_batch(
                version,
                [
                    f"address add {net.format(link, number)}/{length} dev {host.name}-eth{device}{nodad}"
                    for device, link, number in places
                ],
            )
        for host, target, device in ((one, 1, 0), (two, 2, 1)):
            gateway, here, there = net.format(target, target), f"{host.name}-eth1", f"three-eth{device}"
            # Written down: IPv6 asks nobody on behalf of a packet with a forged source.
            known = f"neighbour replace {gateway} lladdr {host.mac(here)} dev {there} nud permanent"
            three.ip_batch(version, [f"route add {address(version, target)} via {gateway}", known])
            # And a host asks in the name of its other address, to which the answer finds no way.
            known = f"neighbour replace {net.format(target, 3)} lladdr {three.mac(there)} dev {here} nud permanent"
            host.ip_batch(version, [known])
    for host in (one, two, three):
        for interface in ("all", f"{host.name}-eth0", f"{host.name}-eth1"):
            host.sysctl(f"net.ipv4.conf.{interface}.rp_filter", 0)
        host.sysctl("net.ipv4.tcp_congestion_control", "reno")
        host.sysctl("net.ipv4.conf.all.promote_secondaries", 1)  # else an IPv4 address takes its successors with it


def talkers(place: Lab, port: int = 9000, listen: str = "") -> tuple[Talker, Talker]:
    """A program on `one`, and one on `two` that listens; both serve both IP versions."""
    client, server = Talker(place.one), Talker(place.two)
    assert server("listen", listen, port) == 0
    return client, server


def connect(client: Talker, server: Talker, version: int, port: int = 9000, **more: Any) -> int:
    """A connection from `one` to `two`; both programs must have had as many before."""
    number = client("connect", address(version, 2), port, *more.values())
    assert isinstance(number, int), f"it cannot connect: {number}"
    assert server("accept") == number
    return number


def say(sender: Talker, receiver: Talker, number: int, count: int = 1000) -> None:
    """So many bytes arrive as they were sent."""
    sender.start("send_meanwhile", number, count)
    assert sender.answer() == count
    assert receiver("receive", number, count) == "right"
    sender("join", number)


def both_ways(client: Talker, server: Talker, number: int, count: int = 1000) -> None:
    say(client, server, number, count)
    say(server, client, number, count)


def wait_until_acknowledged(talker: Talker, number: int) -> None:
    until(lambda: talker("unacknowledged", number) == 0, "the sender knows that all has arrived")


def ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address(text)
