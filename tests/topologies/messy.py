"""A run that makes one of everything that could be left behind, says "ready", and ends only when it is ended.

Arguments: the name of an eBPF map; then `end` to end in order instead, or `raise` to end by an exception. It never
tidies up.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from tests import bpf
from topologies.links import Cable, Veth
from topologies.network import LabTopo, Network
from topologies.nodes import Host, Router

DAEMON = "import os, time\nif os.fork() == 0:\n os.setsid()\n time.sleep(1000)"
RULES = "add table inet lab; add chain inet lab in { type filter hook input priority 0; }"


def main() -> None:
    topo = LabTopo()
    topo.addHost("one", cls=Host)
    topo.addHost("two", cls=Router)
    topo.link("one", "two", Cable(rate_bps=1e6), ("left", "right"))
    topo.link("one", "two", Veth())
    network = Network(topo)
    one = network.nodes["one"]
    one.add_address("left", "10.0.0.1/24")
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
    (one.programs_cgroup / "cgroup.freeze").write_text("1")
    print("ready", os.getpid(), flush=True)
    if sys.argv[2:] == ["raise"]:
        raise RuntimeError("on purpose")
    if sys.argv[2:] != ["end"]:
        time.sleep(1000)


if __name__ == "__main__":
    main()
