"""Links without Ethernet headers (tun): their programs are loaded when the first such interface comes, and share all
that those for Ethernet have."""

from __future__ import annotations

import fcntl
import os
import select
import struct
import threading

import pytest

from migrate.linux.libbpf import BPF_TCX_EGRESS, BPF_TCX_INGRESS
from tests import bpf
from tests.linux import lab
from tests.topologies.inside import in_sandbox
from topologies.nodes import Host

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x1, 0x1000
ENDS = {4: ("192.0.2.1", "192.0.2.2", "192.0.2.11", 24), 6: ("2001:db8::1", "2001:db8::2", "2001:db8::11", 64)}


def tun(host: Host) -> int:
    with host.entered():
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", b"bare", IFF_TUN | IFF_NO_PI))
    host.ip("link", "set", "bare", "up")
    return fd


def carry(one: int, two: int) -> None:
    """What goes into the one end comes out of the other."""
    while True:
        for fd in select.select([one, two], [], [])[0]:
            os.write(two if fd == one else one, os.read(fd, 2048))


def programs(host: Host) -> list[list[str]]:
    with host.entered():
        return [bpf.tcx("bare", point) for point in (BPF_TCX_INGRESS, BPF_TCX_EGRESS)]


@pytest.mark.skipif(not bpf.has_tcx(), reason="this kernel has no tcx")
@in_sandbox
def test_a_connection_through_tun_devices_that_came_later_moves() -> None:
    with lab.lab() as place:
        client, server = lab.talkers(place)
        fds = [tun(host) for host in (place.one, place.two)]
        threading.Thread(target=carry, args=fds, daemon=True).start()
        for host in (place.one, place.two):
            lab.until(lambda host=host: programs(host) == [["bare_in"], ["bare_out"]], "the daemon has seen it")  # type: ignore[misc]
        for number, (version, (here, there, new, length)) in enumerate(ENDS.items()):
            nodad = ["nodad"] if version == 6 else []
            for host, address in ((place.one, here), (place.two, there)):
                host.ip("address", "add", f"{address}/{length}", "dev", "bare", *nodad)
            assert client("connect", there, 9000) == number
            assert server("accept") == number
            lab.both_ways(client, server, number)
            place.one.ip("address", "add", f"{new}/{length}", "dev", "bare", *nodad)
            place.one.ip("address", "del", f"{here}/{length}", "dev", "bare")
            place.wait_moved(number + 1)
            lab.both_ways(client, server, number)
            assert client("names", number)[0] == new
        place.daemons["one"].kill()
        place.start("one")
        assert programs(place.one) == [["bare_in"], ["bare_out"]]
        assert len(place.daemons["one"].migratable()) == len(ENDS)
