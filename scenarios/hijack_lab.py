"""What `hijack` works with: the hosts, the daemons, one transfer after another, and what witnesses count."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from migrate import migratectl
from scenarios.attack_packets import End, Seen, read
from scenarios.attacker import Attacker
from scenarios.base import Context
from scenarios.event_file import EventFile
from scenarios.programs import Download, Migrated, Nginx, ProgramError, random_file
from scenarios.verdict import Invalid
from topologies.capture import HEADER_BYTES, Capture, CaptureError
from topologies.crossroads import Crossroads

PATIENCE = 60.0
SILENCE = 0.3
"""Seconds without an answer after which none will come; a round trip here is under a millisecond."""

_WITNESS = """
table inet witness {
    counter syn { }
    counter syn_ack { }
    counter rst { }
    chain forward {
        type filter hook forward priority 0;
        iifname "base-attacker" tcp flags & (syn | ack | rst) == syn counter name syn
        oifname "base-attacker" tcp flags & (syn | ack) == syn | ack counter name syn_ack
        oifname "base-attacker" tcp flags & rst == rst counter name rst
    }
}
"""


@dataclass(frozen=True)
class Counts:
    """What the base station has passed from the attacker, and to it."""

    syn: int
    syn_ack: int
    rst: int

    def since(self, before: Counts) -> Counts:
        return Counts(self.syn - before.syn, self.syn_ack - before.syn_ack, self.rst - before.rst)


@dataclass
class Battlefield:
    """The running experiment."""

    context: Context
    lab: Crossroads
    daemons: dict[str, Migrated] = field(default_factory=dict)
    events: dict[str, EventFile] = field(default_factory=dict)
    captures: list[Capture] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.attacker = Attacker(self.lab.attacker, "attacker-eth0")
        self.server = End(self.lab.server_address, Nginx.PORT)
        self.random: Random = self.context.random
        self._root = self.context.out / "www"
        self._root.mkdir()
        self._number = 0

    def start(self) -> None:
        """Daemons, nginx, witnesses."""
        self.start_daemons()
        work = self.context.out / "nginx"
        work.mkdir()
        Nginx(self.lab.server, self._root, work)
        self.lab.base.run(["nft", "-f", "-"], stdin=_WITNESS, daemon=True)

    def start_daemons(self, *options: str) -> None:
        """Migrated on both ends, or again with other options; what it knows of connections stays."""
        for daemon in self.daemons.values():
            daemon.stop()
        for host in (self.lab.server, self.lab.mobile):
            self.daemons[host.name] = Migrated(host, self.context.out, *options)
            self.events.setdefault(host.name, EventFile(self.daemons[host.name].events))

    def capture(self, name: str) -> dict[str, Path]:
        """Captures at the server, at the mobile's locations and at the attacker, from now until `end_capture`."""
        points = [(self.lab.server, "server-eth0"), (self.lab.attacker, "attacker-eth0")]
        points += [(self.lab.mobile, place.mobile_interface) for place in self.lab.locations.values()]
        found = {}
        for host, interface in points:
            where = interface.removesuffix("-eth0")
            path = self.context.out / f"{name}-{where}.pcap"
            self.captures.append(host.capture(interface, path, HEADER_BYTES))  # of a flood more can wait to be written
            found[where] = self.captures[-1].path
        return found

    def end_capture(self, complete: bool = False) -> None:
        """Raises `CaptureError` where they are to be `complete` and are not; while something still passes, the last
        packets do not get into the file."""
        captures, self.captures = self.captures, []
        for capture in captures:
            try:
                capture.stop()
            except CaptureError:
                if complete:
                    raise

    def offer(self, name: str, size: int) -> str:
        """A file of random bytes for nginx to serve; its SHA-256."""
        return random_file(self._root / name, size, self.random)

    def endless(self, *, plain: bool = False) -> subprocess.Popen[bytes]:
        """The transfer of a file that is never read to its end, under way; `plain`: by a program without Migrate."""
        with (self._root / "zeros").open("wb") as file:
            file.truncate(1 << 40)
        address = self.lab.server_address
        where = f"[{address}]" if self.lab.version == 6 else address
        start = self.received_bytes()
        words = ["curl", "--silent", "--output", "/dev/null", f"http://{where}:{Nginx.PORT}/zeros"]
        curl: subprocess.Popen[bytes] = self.lab.mobile.spawn(words, stderr=subprocess.DEVNULL, daemon=plain)
        while self.received_bytes() - start < 100_000:
            if curl.poll() is not None:
                raise ProgramError("curl ended as soon as it was started")
            time.sleep(0.05)
        return curl

    def offered(self, name: str) -> bytes:
        return (self._root / name).read_bytes()

    def download(self, name: str, *options: str) -> Download:
        self._number += 1
        target = self.context.out / f"{name}-{self._number}"
        return Download(self.lab.mobile, self.lab.server_address, name, target, *options)

    def tidy(self) -> None:
        """Removes what is large and of no use afterwards."""
        for file in (*self._root.iterdir(), *self.context.out.glob("object*-[0-9]*")):
            if file.suffix != ".log":
                file.unlink()

    # --- what is known of a connection --------------------------------------------------------------------------------

    def goes_on(self, download: Download, more: int = 50_000) -> int:
        """Until it has received so many more bytes; how many it has then."""
        try:
            download.wait_for(download.received + more, PATIENCE)
        except ProgramError as cause:
            if not download.running:
                raise Invalid(f"the transfer ended while it was attacked: {cause}") from None
            raise
        return download.received

    def quick_moves(self, count: int, addresses: Sequence[str]) -> int:
        """So many moves between two addresses that the mobile has, by migratectl; each begins when the last is done.

        Which address it is at afterwards: the index."""
        at = 0
        here, there = self.events["mobile"], self.events["server"]
        done = [events.count("migrated") for events in (here, there)]
        for number in range(1, count + 1):
            at = 1 - at
            with self.lab.mobile.entered(), contextlib.redirect_stdout(io.StringIO()):
                status = migratectl.main(["migrate", "--to", addresses[at]])
            if status:
                raise Invalid(f"migratectl does not move the mobile to {addresses[at]}")
            for events, before in zip((here, there), done, strict=True):
                events.wait(before + number, "migrated")
        return at

    def recorded(self, capture: Path) -> list[Seen]:
        """Each of the mobile's Migrate SYNs to the server, retransmissions apart, as a capture there shows them."""
        own = self.lab.attackers_address(0).split(":")[0] if self.lab.version == 6 else "10.66."
        found: list[Seen] = []
        for seen in read(capture):
            true = seen.migrate and seen.target == self.server and not seen.source.address.startswith(own)
            if true and (not found or (seen.source, seen.migrate) != (found[-1].source, found[-1].migrate)):
                found.append(seen)
        return found

    def has_connection(self, port: int) -> bool:
        """Whether the server's kernel has an established one with this port of the mobile's."""
        said = self.lab.server.run(["ss", "-Htn", "state", "established", "dport", "=", f":{port}"], daemon=True)
        return bool(said.stdout.strip())

    # --- witnesses ----------------------------------------------------------------------------------------------------

    def passed(self) -> Counts:
        """The base station's counters."""
        said = self.lab.base.run(["nft", "-j", "list", "counters"], daemon=True).stdout
        found = {one["counter"]["name"]: int(one["counter"]["packets"]) for one in json.loads(said)["nftables"][1:]}
        return Counts(found["syn"], found["syn_ack"], found["rst"])

    def received_bytes(self) -> int:
        """Bytes that have arrived at the mobile's interfaces at locations 1 and 2."""
        said = json.loads(self.lab.mobile.ip("-json", "-statistics", "link", "show"))
        return sum(one["stats64"]["rx"]["bytes"] for one in said if one["ifname"] in ("mobile-loc1", "mobile-loc2"))

    def daemon_seconds(self) -> float:
        """Processor time that what serves the experiment on the server has used: migrated, where nothing captures."""
        lines = (self.lab.server.daemon_cgroup / "cpu.stat").read_text().split()
        return int(lines[lines.index("usage_usec") + 1]) / 1e6

    def flood(self, packets: bytes, rate: float, meanwhile: Callable[[], None]) -> dict[str, float]:
        """Sends a flood from the attacker's host, and does something beside it; what the flooder says of it."""
        file = self.context.out / "flood.bin"
        file.write_bytes(packets)
        process = self.lab.attacker.spawn(
            [sys.executable, "-m", "scenarios.flooder", file, str(rate)], stdout=subprocess.PIPE, text=True
        )
        time.sleep(0.3)  # it reads its file first
        meanwhile()
        said, _ = process.communicate(timeout=PATIENCE)
        file.unlink()
        result: dict[str, float] = json.loads(said)
        return result


class Gauge:
    """How many bytes a download has, read while it lasts."""

    EVERY_SECONDS = 0.05

    def __init__(self, download: Download) -> None:
        self.samples: list[tuple[float, int]] = []
        """(seconds since 1970, bytes), in order of time."""
        self._download, self._over = download, threading.Event()
        self._thread = threading.Thread(target=self._read)

    def __enter__(self) -> Gauge:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _read(self) -> None:
        while not self._over.wait(self.EVERY_SECONDS):
            self.samples.append((time.time(), self._download.received))
