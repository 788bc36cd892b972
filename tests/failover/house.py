"""Clients, a router and replicas: on each replica a `migrated`, an nginx of its own, and the wedge in front of it.

    client 10.0.1.2 ── router ── sA 10.0.2.2, sB 10.0.3.2, sC 10.0.4.2, mon 10.0.5.2      (fd00:N::2 likewise)

The group speaks over the same network, on UDP port 7777; or by multicast over a subnet of its own (`house(lan=True)`):

    lan 10.1.0.1 ── bridge ── sA 10.1.0.2, sB 10.1.0.3, ...      (fd01::N likewise)
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from migrate.failover.control import SOCKET_NAME
from scenarios.programs import Download, Nginx, checksum, random_file
from tests.linux.lab import OUT, PATIENCE_SECONDS, ROOT, Daemon, clear, until
from topologies import shaping
from topologies.links import Cable, Veth
from topologies.network import LabTopo, Network
from topologies.nodes import Host, Router

PORT, GROUP_PORT = 8080, 7777
PLACES = {"client": 1, "sA": 2, "sB": 3, "sC": 4, "mon": 5}
KEY = "a group key of this test only"
MODIFIED = 1_000_000_000
SLOW, FAST = 2e6, 100e6
"""Bits per second of the client's link.  A slow download of some megabytes is still under way after the machine has
stood still for a while; once that does not matter any more, the rest of it comes fast."""
BEGUN = 60_000
"""Bytes of a download that is well under way."""

__all__ = ["OUT", "PATIENCE_SECONDS", "House", "Wedge", "clear", "house", "until"]


def address(host: str, version: int = 4, end: int = 2) -> str:
    return f"10.0.{PLACES[host]}.{end}" if version == 4 else f"fd00:{PLACES[host]}::{end}"


def lan_address(host: str, version: int = 4) -> str:
    end = PLACES.get(host, 1)
    return f"10.1.0.{end}" if version == 4 else f"fd01::{end}"


def at(where: str, port: int = GROUP_PORT) -> str:
    return f"[{where}]:{port}" if ":" in where else f"{where}:{port}"


class Wedge:
    """A replica's wedge, serving when this returns."""

    def __init__(
        self,
        host: Host,
        members: list[str],
        *options: str,
        key: str = KEY,
        backend: str = "",
        wrong: str = "",
        multicast: str = "",
    ) -> None:
        """`wrong`: one of the mistakes of wrong_wedge.py; `multicast`: the address of the group, on the subnet of the
        servers."""
        self.host = host
        self.events_file = OUT / f"{host.name}-wedge.jsonl"
        self.log = OUT / f"{host.name}-wedge.log"
        module = "tests.failover.wrong_wedge" if wrong else "migrate.failover"
        key_file = OUT / f"{host.name}.key"
        key_file.write_text(key)
        words: list[str | Path] = [sys.executable, "-m", module, "--name", host.name, "--port", str(PORT)]
        words += ["--backend", backend or f"unix:{OUT / host.name / 'nginx.sock'}", "--group-key", key_file]
        own = lan_address(host.name, 6 if ":" in multicast else 4) if multicast else address(host.name)
        words += ["--listen", at(own), "--events", self.events_file]
        for member in [multicast] if multicast else [address(member) for member in members]:
            words += ["--member", at(member)]
        words += options
        with self.log.open("a") as log:
            environment = os.environ | {"WRONG": wrong}
            self.process = host.spawn(words, stdout=subprocess.PIPE, stderr=log, cwd=ROOT, env=environment)
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], PATIENCE_SECONDS)[0], f"no wedge: {self.last_words()}"
        assert self.process.stdout.readline() == b"ready\n", f"no wedge: {self.last_words()}"

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def last_words(self) -> str:
        return self.log.read_text()[-3000:]

    def events(self, event: str = "") -> list[dict[str, Any]]:
        text = self.events_file.read_text() if self.events_file.exists() else ""
        lines = text[: text.rfind("\n") + 1].splitlines()  # the last one may be half written
        found = [json.loads(line) for line in lines]
        return [one for one in found if event in ("", one["event"])]

    def wait_event(self, event: str, count: int = 1, patience: float = PATIENCE_SECONDS) -> dict[str, Any]:
        try:
            until(lambda: len(self.events(event)) >= count, f"{count} times {event} on {self.host.name}", patience)
        except AssertionError as error:
            told = [(one["event"], one["cause"]) for one in self.events()]
            raise AssertionError(f"{error}\nevents: {told}\n{self.last_words()}") from None
        return self.events(event)[count - 1]

    def ask(self, **request: Any) -> Any:
        with self.host.entered(), socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE_SECONDS)
            sock.connect(SOCKET_NAME)
            sock.sendall(json.dumps(request).encode() + b"\n")
            with sock.makefile() as answers:
                return json.loads(answers.readline())["result"]

    @staticmethod
    def last_told() -> str:
        """The last events of all wedges and daemons, for messages."""
        lines = sorted(line for path in OUT.glob("*.jsonl") for line in path.read_text().splitlines())
        return "\n".join(lines[-30:])

    def pronounce(self, server: str) -> int:
        """As a person would: `migratectl dead`."""
        return int(self.ask(do="dead", server=server)["connections"])

    def knows(self, count: int = 1) -> None:
        """Until it knows of so many connections of others."""
        until(lambda: self.ask(do="status")["known of others"] >= count, f"{self.host.name} knows {count}")


class Reader:
    """reader.py on a host: `reader("read", 0, 100)`."""

    def __init__(self, host: Host) -> None:
        words: list[str | Path] = [sys.executable, "-I", Path(__file__).with_name("reader.py")]
        self.process = host.spawn(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def start(self, *request: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request) + "\n")

    def answer(self) -> Any:
        assert self.process.stdout is not None
        if not select.select([self.process.stdout], [], [], PATIENCE_SECONDS)[0]:
            raise AssertionError(f"the client does not answer; {Wedge.last_told()}")
        return json.loads(self.process.stdout.readline())

    def __call__(self, *request: Any) -> Any:
        self.start(*request)
        return self.answer()

    def connect(self, server: str = "sA", version: int = 4, buffer: int = 0) -> int:
        return int(self("connect", address(server, version), PORT, buffer))

    def get(self, number: int, name: str, *fields: str, method: str = "GET") -> None:
        """Sends a request."""
        lines = [f"{method} /{name} HTTP/1.1", "Host: replicas", *fields]
        self("send", number, "".join(f"{line}\r\n" for line in [*lines, ""]).encode().hex())

    def read(self, number: int, count: int = 1 << 30) -> bytes:
        said = self("read", number, count)
        assert not said.startswith(("Connection", "Timeout", "OSError")), said
        return bytes.fromhex(said)


@dataclass
class House:
    network: Network
    client: Host
    servers: dict[str, Host]
    daemons: dict[str, Daemon]
    nginx: dict[str, Nginx] = field(default_factory=dict)
    wedges: dict[str, Wedge] = field(default_factory=dict)

    def serve(self, name: str, *, more: str = "", main: str = "") -> Nginx:
        """nginx on a replica, for its wedge only (and on port 8081, to be compared with)."""
        work = OUT / name
        root = work / "www"
        root.mkdir(parents=True, exist_ok=True)
        servers = f"server {{ listen unix:{work}/nginx.sock; listen 127.0.0.1:8082; root {root}; {more} }}"
        Nginx.PORT, port = 8081, Nginx.PORT
        try:
            self.nginx[name] = Nginx(self.servers[name], root, work, servers=servers, more=more, main=main)
        finally:
            Nginx.PORT = port
        return self.nginx[name]

    def file(self, name: str, size: int, on: str = "", seed: int = 1, modified: int = MODIFIED) -> str:
        """The same file on all replicas (or those named); its SHA-256."""
        found = ""
        for server in on.split() or self.servers:
            path = OUT / server / "www" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            found = random_file(path, size, Random(seed))
            os.utime(path, (modified, modified))
        return found

    def wedge(self, name: str, *options: str, **more: str) -> Wedge:
        members = [other for other in self.servers if other != name]
        self.wedges[name] = Wedge(self.servers[name], members, *options, **more)
        return self.wedges[name]

    def serve_all(self) -> None:
        """nginx and the wedge on each server."""
        for name in self.servers:
            self.serve(name)
            self.wedge(name)

    def curl(self, name: str, target: Path, *options: str, server: str = "sA", version: int = 4) -> Download:
        return Download(self.client, address(server, version), name, target, *options, port=PORT)

    def rate(self, bps: float) -> None:
        """Of the client's link, from now on."""
        for host, interface in ((self.network.nodes["router"], "router-client"), (self.client, "client-eth0")):
            shaping.set_rate(host, interface, bps)

    def finish(self, download: Download, wanted: str) -> None:
        """The rest of it comes fast, and all of it is right."""
        self.rate(FAST)
        assert download.finish(PATIENCE_SECONDS) == 0
        assert checksum(download.target) == wanted

    def daemon(self, name: str, *options: str) -> Daemon:
        """A migrated with options of its own."""
        self.daemons[name] = Daemon(self.network.nodes[name], *options)
        self.daemons[name].wait_ready()
        return self.daemons[name]

    def cut(self, server: str, state: str = "down") -> None:
        """The router's link to a server is down (or up again)."""
        self.network.nodes["router"].ip("link", "set", f"router-{server}", state)


def _join(lan: Host, servers: list[Host]) -> None:
    """One subnet, on a bridge of the host `lan`, which has an address there, too."""
    lan.ip("link", "add", "lan", "type", "bridge")
    lan.ip("link", "set", "lan", "up")
    for server in servers:
        lan.ip("link", "set", f"lan-{server.name}", "master", "lan")
    for host in (lan, *servers):
        interface = "lan" if host is lan else f"{host.name}-lan"
        for version, length, nodad in ((4, 24, ""), (6, 64, " nodad")):
            address_there = f"{lan_address(host.name, version)}/{length}"
            host.ip_batch(version, [f"address add {address_there} dev {interface}{nodad}"])


@contextlib.contextmanager
def house(
    servers: str = "sA sB",
    *,
    rate_bps: float | None = None,
    delay_s: float = 0.0,
    monitor: bool = False,
    offload: bool = False,
    client_migrated: bool = True,
    lan: bool = False,
) -> Iterator[House]:
    """`rate_bps`, `delay_s` (one way): of the client's link; `lan`: the servers have a subnet of their own, too."""
    OUT.mkdir(exist_ok=True)
    names = servers.split()
    topo = LabTopo()
    topo.addHost("router", cls=Router)
    others = ["client", *names, *(["mon"] if monitor else [])]
    for name in others:
        topo.addHost(name, cls=Host)
        spec: Cable | Veth = Veth(offload=offload)
        if name == "client" and delay_s:
            spec = Cable(rate_bps=rate_bps, delay_s=delay_s, queue_packets=1000)
        elif name == "client" and rate_bps:
            spec = Veth(rate_bps=rate_bps)
        topo.link("router", name, spec, names=(f"router-{name}", f"{name}-eth0"))
    if lan:
        topo.addHost("lan", cls=Host)
        for name in names:
            topo.link("lan", name, Veth(), names=(f"lan-{name}", f"{name}-lan"))
    with Network(topo) as network:
        if lan:
            _join(network.nodes["lan"], [network.nodes[name] for name in names])
        router = network.nodes["router"]
        hosts = [network.nodes[name] for name in others]
        for host in hosts:
            for version, length in ((4, 24), (6, 64)):
                mine, theirs = address(host.name, version), address(host.name, version, 1)
                nodad = " nodad" if version == 6 else ""
                router.ip_batch(version, [f"address add {theirs}/{length} dev router-{host.name}{nodad}"])
                host.ip_batch(
                    version,
                    [f"address add {mine}/{length} dev {host.name}-eth0{nodad}", f"route add default via {theirs}"],
                )
            # Without a link-local address the router asks nobody on behalf of a packet that it forwards.
            router.neighbour(f"router-{host.name}", address(host.name, 6), host.mac(f"{host.name}-eth0"))
            host.sysctl("net.ipv4.tcp_congestion_control", "reno")
        with_migrated = [host for host in hosts if host.name in names or (host.name == "client" and client_migrated)]
        daemons = {host.name: Daemon(host) for host in with_migrated}
        for daemon in daemons.values():
            daemon.wait_ready()
        try:
            yield House(network, network.nodes["client"], {name: network.nodes[name] for name in names}, daemons)
        except BaseException:
            print(Wedge.last_told())
            for host in hosts:
                print(host.name, host.run(["ss", "-tanoi"], daemon=True).stdout)
            for path in OUT.glob("*.log"):
                print(path.name, path.read_text()[-2000:])
            raise
