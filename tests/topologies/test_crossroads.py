"""The attackers' topology: off the path at locations 1 and 2, on it at the café, whose line is the slower one."""

from __future__ import annotations

import re

from scenarios.attack_packets import SYN, End, ordinary_syn
from scenarios.attacker import Attacker
from tests.topologies.inside import in_sandbox
from topologies.crossroads import CAFE_LINE, Crossroads
from topologies.nodes import Host


def round_trip(host: Host, address: str, most: float) -> float:
    """Milliseconds, the least of three; of nine where the line stands still, and it is not less than `most`."""
    for _ in range(3):
        said = host.run(["ping", "-n", "-c", "3", "-i", "0.05", address], daemon=True).stdout
        found = min(float(found) for found in re.findall(r"time=([\d.]+)", said))
        if found < most:
            break
    return found


def check(version: int) -> None:
    with Crossroads(ip=4 if version == 4 else 6) as lab:
        attacker = Attacker(lab.attacker, "attacker-eth0")
        quick, slow = 1000 * CAFE_LINE.delay_s, 2000 * CAFE_LINE.delay_s
        with attacker.listening("attacker-cafe") as overhear:
            assert round_trip(lab.mobile, lab.server_address, quick) < quick
            lab.move("loc2")
            assert round_trip(lab.mobile, lab.server_address, quick) < quick
            assert list(overhear(0.1)) == []
            lab.move("cafe")
            found = round_trip(lab.mobile, lab.server_address, 2 * slow)
            assert slow <= found < 2 * slow, found
            # A SYN of the mobile's comes by, and its answer.
            where = f"[{lab.server_address}]" if version == 6 else lab.server_address
            lab.mobile.run(["curl", "--silent", f"http://{where}:9/"], check=False, daemon=True)
            sources = {seen.source.address for seen in overhear(0.3)}
            assert sources == {lab.mobile_address}, sources
        own, server = End(lab.attackers_address(40_000), 5), End(lab.server_address, 9)
        with attacker.listening() as hear:
            attacker.send([ordinary_syn(own, server, 77)])
            (answer,) = hear(0.3)
        assert (answer.source, answer.target, answer.ack) == (server, own, 78)
        assert not answer.flags & SYN
        lab.move("loc1")
        lab.brake(1e6)
        lab.brake(None)
    assert len({lab.attackers_address(number) for number in range(5000)}) == 5000


@in_sandbox
def test_ipv4() -> None:
    check(4)


@in_sandbox
def test_ipv6() -> None:
    check(6)
