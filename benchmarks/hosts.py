"""Pairs of hosts with one Ethernet between them, with or without migrated, and changes of a host's address."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyroute2 import IPBatch

from benchmarks.measurement import NotMeasured
from migrate.daemon.control import SOCKET_NAME
from scenarios.programs import Migrated
from topologies.links import Veth
from topologies.network import LabTopo, Network
from topologies.nodes import Host

PREFIX_LENGTH = 24
NUD_PERMANENT, NLMSG_ERROR = 0x80, 2


@dataclass(frozen=True)
class Pair:
    """A client and a server at the two ends of a veth pair."""

    client: Host
    server: Host
    client_address: str
    server_address: str

    @property
    def interface(self) -> str:
        """The client's."""
        return f"{self.client.name}-eth0"


@contextlib.contextmanager
def pairs(count: int, spec: Veth) -> Iterator[list[Pair]]:
    """So many pairs that do not know of each other, all alike."""
    topo = LabTopo()
    for number in range(count):
        topo.addHost(f"client{number}", cls=Host)
        topo.addHost(f"server{number}", cls=Host)
        topo.link(f"client{number}", f"server{number}", spec)
    with Network(topo) as network:
        made = []
        for number in range(count):
            client, server = network.nodes[f"client{number}"], network.nodes[f"server{number}"]
            pair = Pair(client, server, f"10.1.{number}.1", f"10.1.{number}.2")
            for host, address in ((client, pair.client_address), (server, pair.server_address)):
                host.add_address(f"{host.name}-eth0", f"{address}/{PREFIX_LENGTH}")
                host.sysctl("net.ipv4.tcp_no_metrics_save", 1)
            made.append(pair)
        yield made


def serve(hosts: Sequence[Host], out: Path) -> list[Migrated]:
    """Starts migrated on these hosts; it ends with them."""
    return [Migrated(host, out) for host in hosts]


class Control:
    """Asks a host's migrated, without the start of a program that `migratectl` takes each time."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def ask(self, **request: str) -> Any:
        """Raises `NotMeasured` where no migrated serves the host or it refuses."""
        with self._host.entered():
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            with sock, sock.makefile("rb") as answers:
                try:
                    sock.connect(SOCKET_NAME)
                except OSError as error:
                    raise NotMeasured(f"no migrated serves {self._host.name} ({error.strerror})") from error
                sock.sendall(json.dumps(request).encode() + b"\n")
                answer = json.loads(answers.readline() or b'{"error": "it ended while it was asked"}')
        if "error" in answer:
            raise NotMeasured(f"migrated on {self._host.name}: {answer['error']}")
        return answer["result"]

    def connections(self, port: int) -> list[dict[str, Any]]:
        """Those to or from this port, as `migratectl list` shows them."""
        return [row for row in self.ask(do="list") if port in (row["remote_port"], row["local_port"]) and row["remote"]]

    def is_absent(self) -> bool:
        """No migrated serves the host."""
        try:
            self.ask(do="list")
        except NotMeasured:
            return True
        return False


@dataclass(frozen=True, slots=True)
class Place:
    """An address on an interface, and the way from there.  `neighbour` is written down, so that nobody is asked."""

    interface: str
    address: str
    gateway: str | None = None
    neighbour: tuple[str, str] | None = None
    """Address and MAC of the only one who is spoken to there."""


class Mover:
    """Changes a host's address in one message to the kernel, so that no time passes between losing and gaining it."""

    def __init__(self, host: Host) -> None:
        self._host = host
        with host.entered():
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
            self._socket.settimeout(5)
            self._index = {name: index for index, name in socket.if_nameindex()}

    def move(self, old: Place | None, new: Place | None) -> float:
        """The old address goes, the new one comes; seconds since the epoch just before.  Raises `OSError`."""
        batch = IPBatch()
        if old is not None:
            batch.addr("del", index=self._index[old.interface], address=old.address, prefixlen=PREFIX_LENGTH)
        if new is not None:
            index = self._index[new.interface]
            batch.addr("add", index=index, address=new.address, prefixlen=PREFIX_LENGTH)
            if new.neighbour is not None:
                address, mac = new.neighbour
                batch.neigh("replace", ifindex=index, dst=address, lladdr=mac, state=NUD_PERMANENT)
            if new.gateway is not None:
                batch.route("replace", dst="default", gateway=new.gateway, oif=index)
        request = bytes(batch.batch)
        began = time.time()
        self._socket.sendto(request, (0, 0))
        self._await_answers(len(list(_messages(request))))
        return began

    def _await_answers(self, count: int) -> None:
        while count > 0:
            for kind, body in _messages(self._socket.recv(1 << 16)):
                if kind == NLMSG_ERROR:
                    count -= 1
                    error = -struct.unpack_from("=i", body)[0]
                    if error:
                        raise OSError(error, f"{self._host.name}: its address cannot be changed: {os.strerror(error)}")

    def close(self) -> None:
        self._socket.close()


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and body of each netlink message."""
    while data:
        length, kind = struct.unpack_from("=IH", data)
        yield kind, data[16:length]
        data = data[(length + 3) & ~3 :]
