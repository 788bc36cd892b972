"""Captures for measurements: the headers only, so that capturing costs little beside what is measured."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from analysis import pcap
from analysis.capture import Packet
from benchmarks.measurement import NotMeasured
from topologies.nodes import Host

# Ethernet, IPv6 and TCP with all its options: 14 + 40 + 60.
SNAP_BYTES = 128
BUFFER_KIB = 32 * 1024
PATIENCE_SECONDS = 20.0
_COUNTS = re.compile(r"(\d+) packets? captured, (\d+) packets? received by filter, (\d+) packets? dropped.*\n")


class Recording:
    """tcpdump on one interface; it captures when this returns."""

    def __init__(self, host: Host, interface: str, directory: Path) -> None:
        self._name = f"the capture on {interface}"
        self._path = directory / f"{interface}.pcap"
        self._said = directory / f"{interface}.tcpdump.log"
        command = ["tcpdump", "-i", interface, "-n", "--immediate-mode", "--time-stamp-precision=nano"]
        command += ["-s", str(SNAP_BYTES), "-B", str(BUFFER_KIB), "-Z", "root", "-w", str(self._path), "tcp"]
        with self._said.open("w") as said:
            self._process = host.spawn(command, stdout=subprocess.DEVNULL, stderr=said, daemon=True)
        end = time.monotonic() + PATIENCE_SECONDS
        while "listening on" not in self._said.read_text():
            if self._process.poll() is not None or time.monotonic() > end:
                raise NotMeasured(f"{self._name} does not start: {self._said.read_text().strip()}")
            time.sleep(0.005)

    def finish(self) -> list[Packet]:
        """Ends it; the packets that had passed until now.  Raises `NotMeasured` where some are missing."""
        wanted = self._counts()[1]
        end = time.monotonic() + PATIENCE_SECONDS
        while self._counts()[0] < wanted:
            if time.monotonic() > end:
                raise NotMeasured(f"{self._name} is not written down: the machine is too busy to capture")
        dropped = self._counts()[2]
        self._process.terminate()
        self._process.wait(PATIENCE_SECONDS)
        if dropped:
            raise NotMeasured(f"{dropped} packets are missing from {self._name}: the machine is too busy to capture")
        return pcap.read(self._path, self._name)

    def _counts(self) -> tuple[int, int, int]:
        """How many packets it has written, the kernel has received for it, and dropped; it says so when asked."""
        before = len(self._said.read_text())
        self._process.send_signal(signal.SIGUSR1)
        end = time.monotonic() + PATIENCE_SECONDS
        while not (said := _COUNTS.search(self._said.read_text(), before)):
            if self._process.poll() is not None or time.monotonic() > end:
                raise NotMeasured(f"{self._name} has ended: {self._said.read_text().strip()}")
            time.sleep(0.005)
        return int(said[1]), int(said[2]), int(said[3])


@contextlib.contextmanager
def recordings(places: dict[str, Host], directory: Path) -> Iterator[list[Packet]]:
    """Captures on interfaces (name: host) during the block; the list is filled, in order of time, when it ends."""
    packets: list[Packet] = []
    made = [Recording(host, interface, directory) for interface, host in places.items()]
    yield packets
    for each in made:
        packets += each.finish()
    packets.sort(key=lambda packet: packet.time)
