"""Data beyond a hole at a move (slide 29): segment 7 SACKs it, and it is not sent again."""

from __future__ import annotations

import time

from migrate.core import ACK, SYN, sack_blocks, seq
from tests.linux import lab
from tests.linux.test_moves import FAMILY, dropping
from tests.topologies.inside import in_sandbox

MSS = {4: 1448, 6: 1428}


def test_it() -> None:
    pass


@in_sandbox
def test_holes_only() -> None:
    with lab.lab() as place:
        client, server = lab.talkers(place)
        for number, version in enumerate(lab.VERSIONS):
            with lab.captured(place.one) as first:
                lab.connect(client, server, version)
            na, mss = first[1].segment.seq, MSS[version]
            lost = [seq.add(na, 1 + n * mss) for n in (2, 4)]
            rule = f"{FAMILY[version]} daddr {lab.address(version, 1)} tcp sequence {{ {lost[0]}, {lost[1]} }}"
            with dropping(place.one, version, rule):
                server("send_meanwhile", number, 40_000)
                time.sleep(0.3)
            rule = f"{FAMILY[version]} daddr {lab.address(version, 1)} tcp sport 9000"
            with dropping(place.one, version, rule), lab.captured(place.one) as here:
                place.replace(place.one, version, 1, 11)
                place.daemons["one"].wait_event("migrated", number + 1)
                assert client("receive", number, 40_000) == "right"
                time.sleep(0.2)
            t0 = here[0].time
            for one in here:
                s = one.segment
                print(
                    f"{one.time - t0:.6f} {s.src}.{s.sport} > {s.dst}.{s.dport} {s.flags:#x} seq {seq.diff(s.seq, na)} ack {seq.diff(s.ack, na)} len {len(s.payload)} sack {[(seq.diff(a, na), seq.diff(b, na)) for a, b in sack_blocks(s.options)]}"
                )
            for name, daemon in place.daemons.items():
                print(name, daemon.last_words(), [(e["event"], e["cause"]) for e in daemon.events()])
        assert 0
