"""A run that makes one of everything that could be left behind, says "ready", and ends only when it is ended.

Arguments: the name of an eBPF map; then `end` to end in order instead, `raise` to end by an exception, or `hold` and a
number of milliseconds to have a connection, too, that holds an interface for so long after its program's end. It never
tidies up.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from ipaddress import ip_address
from pathlib import Path

from migrate.core import ACK, Segment
from migrate.linux.wire import Wire
from tests import bpf
from topologies.links import Cable, Veth
from topologies.network import LabTopo, Network
from topologies.nodes import Host, Router

DAEMON = "import os, time\nif os.fork() == 0:\n os.setsid()\n time.sleep(1000)"
RULES = "add table inet lab; add chain inet lab in { type filter hook input priority 0; }"


CLIENT = """
import socket, sys, time
address, milliseconds = sys.argv[1:]
s = socket.create_connection((address, 7000))
s.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(milliseconds))
print(s.getsockname()[1], flush=True)
time.sleep(1000)
"""


def hold(one: Host, two: Host, milliseconds: str) -> socket.socket:
    """Its peer falls silent, and the last segment that it gets has come from this host itself, as fed ones do."""
    one.neighbour("left", "fd00::2", two.mac("right"))
    two.neighbour("right", "fd00::1", one.mac("left"))
    with two.entered():
        listener = socket.create_server(("fd00::2", 7000), family=socket.AF_INET6)
    client = one.spawn([sys.executable, "-c", CLIENT, "fd00::2", milliseconds], stdout=subprocess.PIPE)
    accepted = listener.accept()[0]
    assert client.stdout is not None
    port = int(client.stdout.readline())
    two.ip("link", "set", "dev", "right", "down")
    with one.entered():
        wire = Wire()
        wire.feed(Segment(ip_address("fd00::2"), 7000, ip_address("fd00::1"), port, ACK, 1, 1))
    client.kill()
    return accepted


def main() -> None:
    topo = LabTopo()
    topo.addHost("one", cls=Host)
    topo.addHost("two", cls=Router)
    topo.link("one", "two", Cable(rate_bps=1e6), ("left", "right"))
    topo.link("one", "two", Veth())
    network = Network(topo)
    one = network.nodes["one"]
    one.add_address("left", "fd00::1/64")
    network.nodes["two"].add_address("right", "fd00::2/64")
    one.capture("left", "/run/left.pcap")
    one.spawn([sys.executable, "-c", DAEMON]).wait()
    one.spawn(["sleep", "1000"])
    subprocess.run(["ip", "link", "add", "outside", "type", "veth", "peer", "other"], check=True)
    subprocess.run(["ip", "netns", "add", "named"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/mnt"], check=True)
    Path("/sys/fs/bpf/pins").mkdir()
    bpf.pin_new_map(sys.argv[1], Path("/sys/fs/bpf/pins/map"))
    subprocess.run(["nft", RULES], check=True)
    one.run(["nft", RULES])
    if sys.argv[2:3] == ["hold"]:
        peer = hold(one, network.nodes["two"], sys.argv[3])  # noqa: F841  it stays open
    (one.programs_cgroup / "cgroup.freeze").write_text("1")
    print("ready", os.getpid(), flush=True)
    if sys.argv[2:] == ["raise"]:
        raise RuntimeError("on purpose")
    if sys.argv[2:] != ["end"]:
        time.sleep(1000)


if __name__ == "__main__":
    main()
