"""Soft state by UDP multicast: replicas of one subnet hear each other there and nowhere else, and take over by it."""

from __future__ import annotations

import ipaddress
import socket
import struct
import time

from migrate.failover.group import Group, now_ms
from migrate.failover.messages import Dead, pack
from migrate.failover.seal import MAX_AGE_MS, Sealer
from tests.failover.house import BEGUN, GROUP_PORT, KEY, OUT, PATIENCE_SECONDS, SLOW, House, house, lan_address, until
from tests.topologies.inside import in_sandbox

GROUPS = {4: "239.77.77.77", 6: "ff15::7777"}
SIZE = 4_000_000


def by_multicast(place: House, version: int) -> None:
    """A download that sB goes on with, of which, and of whose server's death, it has heard by multicast only."""
    name, there = f"got{version}", (GROUPS[version], GROUP_PORT)
    wanted = place.file("object", SIZE)
    with place.network.nodes["lan"].entered():
        heard = listening(version)
        speaker = Group(KEY.encode(), "monitor", (lan_address("lan", version), GROUP_PORT + 1), [there], print)
        stranger = next(iter(speaker._sockets.values())).dup()  # it sends to the bridge, too
    for server in place.servers:
        for left in ("jsonl", "log"):
            (OUT / f"{server}-wedge.{left}").unlink(missing_ok=True)
        place.wedge(server, multicast=GROUPS[version])
    taker = place.wedges["sB"]
    until(lambda: set(taker.ask(do="status")["members"]) == {"sA"}, "sB hears sA")
    place.rate(SLOW)
    download = place.curl("object", OUT / name, version=version)
    download.wait_for(BEGUN, PATIENCE_SECONDS)
    taker.knows()

    def refuses(reason: str, datagram: bytes) -> None:
        before = taker.ask(do="status")["group"].get("refused", 0)
        stranger.sendto(datagram, there)
        until(lambda: taker.ask(do="status")["group"].get("refused", 0) > before, f"sB refuses what {reason}")
        assert f"refused a datagram from {lan_address('lan', version)}: " in taker.last_words()
        assert reason in taker.last_words()

    dead = pack(Dead("sA"))
    forged = Sealer(b"another group's key", "monitor", now_ms()).seal(dead, now_ms())
    refuses("it is not sealed with this group's key", forged)
    old = now_ms() - MAX_AGE_MS - 1000
    refuses("an announcement of monitor is stale", Sealer(KEY.encode(), "monitor", old).seal(dead, old))
    recorded = [datagram for datagram, source in everything(heard) if source == lan_address("sA", version)]
    refuses("an announcement of sA has come before", recorded[-1])
    assert not taker.events("pronounced")

    place.wedges["sA"].kill()
    speaker.say(Dead("sA"))
    assert "monitor pronounces sA dead" in taker.wait_event("pronounced")["cause"]
    taker.wait_event("taken-over")
    said_once = [datagram for datagram, source in everything(heard) if source == lan_address("lan", version)][-1]
    refuses("an announcement of monitor has come before", said_once)
    place.finish(download, wanted)
    counts = taker.ask(do="status")["group"]
    assert counts["datagrams received"] > 1
    for wedge in place.wedges.values():
        wedge.kill()
    for sock in (heard, stranger):
        sock.close()
    speaker.close()


def listening(version: int) -> socket.socket:
    """Joined to the group on the bridge."""
    sock = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setblocking(False)
    sock.bind((GROUPS[version], GROUP_PORT))
    group, own = (ipaddress.ip_address(text).packed for text in (GROUPS[version], lan_address("lan", version)))
    if version == 4:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group + own)
    else:
        joining = group + struct.pack("=i", socket.if_nametoindex("lan"))
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, joining)
    return sock


def everything(sock: socket.socket) -> list[tuple[bytes, str]]:
    """What has come since the last time, and from whom."""
    time.sleep(0.1)
    found: list[tuple[bytes, str]] = []
    while True:
        try:
            datagram, source = sock.recvfrom(65535)
        except BlockingIOError:
            return found
        found.append((datagram, source[0]))


@in_sandbox
def test_soft_state_by_multicast() -> None:
    """IPv4 and IPv6; what is forged, stale or has come before is refused there as anywhere."""
    with house("sA sB", rate_bps=SLOW, lan=True) as place:
        for server in place.servers:
            place.serve(server)
        for version in (4, 6):
            by_multicast(place, version)
