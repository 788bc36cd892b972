"""Bytes a second of one connection that iperf3 keeps full: with Migrate, beside plain TCP."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import beside
from benchmarks.beside import Block
from benchmarks.hosts import Control, Pair
from benchmarks.measurement import NotMeasured, Session, wait_until
from benchmarks.report import Row
from migrate.linux.freezer import Freezer
from topologies.links import Veth
from topologies.nodes import Host

PORT = 5201
# Short, so that what else the machine does is the same for both blocks of a pair; the many pairs make up for it.
BLOCK_SECONDS = 0.1
WARM_UP_SECONDS = 0.02
"""What a connection that stood still takes until it runs as before; not counted."""
PAIRS, QUICK_PAIRS = 150, 10
READY_SECONDS = 30.0
# reno: the default may be one that paces by the clock, and stumbles over each standstill.  A fixed window: what the
# kernel's own tuning arrives at differs between connections, and with it what fits the processor's cache.
STEADY = ("--congestion", "reno", "--window", "512K")


class Throughput:
    """`throughput` has the packets of up to 64 KiB that the kernel exchanges with an interface by default; in
    `throughput_frames` each frame of 1500 bytes arrives by itself, as in this project's captures, and runs a program.
    """

    name = "throughput"
    about = "bytes a second of one connection, beside plain TCP"

    def measure(self, session: Session) -> Sequence[Row]:
        count = session.count(PAIRS, QUICK_PAIRS)
        return [
            beside.compare(session, name, "Mbit/s", count, Veth(offload=offload), _start)
            for name, offload in (("throughput", True), ("throughput_frames", False))
        ]


def _start(pair: Pair) -> Block:
    """One connection that lasts; between its blocks both programs stand still, so that the other pair's have the
    machine for themselves."""
    pair.client.sysctl("net.ipv4.tcp_slow_start_after_idle", 0)
    quiet = ["--port", str(PORT), "--logfile", "/dev/null"]
    pair.server.spawn(["iperf3", "--server", *quiet])
    otherwise = f"iperf3 on {pair.server.name} does not start"
    listening = ["ss", "-Htln", "sport", "=", f":{PORT}"]
    wait_until(lambda: bool(pair.server.run(listening, daemon=True).stdout), READY_SECONDS, otherwise)
    client = pair.client.spawn(
        ["iperf3", "--client", pair.server_address, "--time", "86400", *STEADY, *_places(), *quiet]
    )
    wait_until(lambda: _received(pair.server) > 10_000_000, READY_SECONDS, otherwise)
    if not Control(pair.client).is_absent():
        beside.require_migratable(pair.client, PORT)
    freezers = [Freezer(host.programs_cgroup) for host in (pair.client, pair.server)]
    _freeze(freezers)

    def block() -> float:
        for freezer in freezers:
            freezer.thaw()
        time.sleep(WARM_UP_SECONDS)
        before, began = _received(pair.server), time.monotonic()
        time.sleep(BLOCK_SECONDS)
        after, ended = _received(pair.server), time.monotonic()
        _freeze(freezers)
        if client.poll() is not None or after == before:
            raise NotMeasured(f"iperf3 on {pair.client.name} sends no more")
        return (after - before) * 8 / 1e6 / (ended - began)

    return block


def _places() -> list[str]:
    """Client and server each on a processor of its own, the same in both pairs."""
    processors = sorted(os.sched_getaffinity(0))
    return ["--affinity", f"{processors[0]},{processors[1]}"] if len(processors) > 1 else []


def _freeze(freezers: Sequence[Freezer]) -> None:
    for freezer in freezers:
        freezer.freeze(READY_SECONDS)


def _received(host: Host) -> int:
    """Bytes of all packets that its interface has received."""
    with host.entered():
        lines = Path("/proc/thread-self/net/dev").read_text().splitlines()
    counters = next(line for line in lines if f"{host.name}-eth0:" in line)
    return int(counters.partition(":")[2].split()[0])
