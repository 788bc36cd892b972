"""A journal on a file system that has no room for what waits in a connection's queues."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

from migrate.linux.borrow import borrow, holders, processes
from migrate.linux.repair import TCP_REPAIR
from migrate.linux.sockdiag import HOLDING_A_PORT, tcp_sockets
from tests.linux import lab
from tests.linux.kernel_state import assert_untouched
from tests.linux.test_windows import fill
from tests.topologies.inside import in_sandbox
from topologies.nodes import Host

SMALL = Path("/run/small")


def in_repair_mode(host: Host) -> bool:
    """Is a socket of its programs so?"""
    with host.entered():
        inodes = {entry.inode for entry in tcp_sockets(HOLDING_A_PORT)}
    found = holders(processes(host.programs_cgroup), inodes).values()
    assert len(found) > 1, "the program's sockets are not seen"
    sockets = [sock for sock in map(borrow, found) if sock is not None]
    modes = [sock.getsockopt(socket.IPPROTO_TCP, TCP_REPAIR) for sock in sockets]
    for sock in sockets:
        sock.close()
    return any(modes)


@in_sandbox
def test_a_connection_that_does_not_fit_into_it_waits_and_loses_nothing() -> None:
    SMALL.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "none", SMALL], check=True)
    with lab.lab(on="two") as place:
        place.launch(["one"], "--journal", str(SMALL / "journal"), module="migrate.migrated")
        client, server = lab.talkers(place)
        counts = []
        for number, version in enumerate(lab.VERSIONS):
            lab.connect(client, server, version)
            counts.append(fill(client, place, number))
            place.replace(place.one, version, 1, 11)
        for failed in (place.daemons["one"].wait_event("rebind-failed", number) for number in (1, 2)):
            assert failed["cause"] == "No space left on device"
        lab.until(lambda: not in_repair_mode(place.one), "the program's sockets are as they were")
        assert_untouched(place.one)
        subprocess.run(["mount", "-o", "remount,size=8m", SMALL], check=True)
        place.wait_moved(2)
        for number, count in enumerate(counts):
            assert server("receive", number, count) == "right"
            lab.both_ways(client, server, number)
