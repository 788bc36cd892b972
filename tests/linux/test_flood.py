"""Floods: what they cost, and that nothing true is crowded out (bpf/proof.h, admission.RstLimiter)."""

from __future__ import annotations

import time

from migrate.core import ACK, MIGRATE_KIND, SYN, FourTuple, Segment
from migrate.core.options import find
from tests.linux import lab, wire
from tests.linux.forger import Numbers, eavesdrop
from tests.linux.test_forged import answers, of_three
from tests.topologies.inside import in_sandbox

ALLOWANCE = 1000
"""Reports a second of Migrate SYNs without proof, and as many of RSTs (bpf/shared.h)."""
FLOOD = 5000
COUNTS = (1, 2, 60, 120, 127, 128, 190, 250, 257)
"""Each at most half a turn after the last; from 128 on R covers the high bits too."""


def most(began: float) -> float:
    """As many reports as there can have been since then, of two floods: of the second that it fell into, and of each
    since."""
    found = ALLOWANCE * (time.monotonic() - began + 2)
    assert found < 2 * FLOOD, "this machine is too slow for the floods to be some"
    return found


def flood(numbers: Numbers, source: FourTuple, named: bool) -> list[Segment]:
    """More requests without proof than are reported in a second; `named`: with the connection's token."""
    token = None if named else b"\x77" * 8
    one = numbers.request(source, 1, token=token, proof=b"\x55" * 8)
    return [one] * FLOOD


@in_sandbox
def test_a_flood_is_not_reported_and_a_true_request_is_whatever_its_number() -> None:
    with lab.lab() as place:
        client, server = lab.talkers(place)
        daemon = place.daemons["two"]
        for version in lab.VERSIONS:
            daemon.forget()
            _, numbers = eavesdrop(place, client, server, version)
            source = of_three(version)
            began = time.monotonic()
            for named in (False, True):
                wire.inject_all(place.three, flood(numbers, source, named))
            time.sleep(0.5)
            assert len(daemon.events("ignored")) <= most(began)
            for number, count in enumerate(COUNTS, 1):
                # At once behind a flood that has used up what is reported without proof.
                with wire.captured(place.three, "eth1") as seen:
                    forged = flood(numbers, source, named=True)
                    wire.inject_all(place.three, [*forged, numbers.request(source, count)])
                    daemon.wait_event("answered", number)
                assert [one.flags for one in answers(seen, version)][-1] == SYN | ACK
            causes = [one["cause"] for one in daemon.events("answered")]
            assert [int(cause.split()[1]) for cause in causes] == list(COUNTS)
            assert len(daemon.events("ignored")) < len(COUNTS) * FLOOD / 2, "all was reported: this shows nothing"


@in_sandbox
def test_a_connection_is_in_danger_of_nothing_by_a_flood_of_resets() -> None:
    with lab.lab() as place:
        client, server = lab.talkers(place)
        daemon = place.daemons["two"]
        for version in lab.VERSIONS:
            daemon.forget()
            number, numbers = eavesdrop(place, client, server, version)
            time.sleep(1)  # the allowance is the whole host's
            began = time.monotonic()
            wire.inject_all(place.three, [numbers.reset(beyond) for beyond in range(1 << 20, (1 << 20) + 2 * FLOOD)])
            lab.both_ways(client, server, number)
            daemon.wait_event("ignored")
            time.sleep(0.5)
            ignored = len(daemon.events("ignored"))
            assert ignored <= most(began), (ignored, version, time.monotonic() - began)
            assert daemon.events("waiting") == []


@in_sandbox
def test_a_request_from_the_very_address_that_it_has_leaves_a_connection_migratable() -> None:
    """The socket is rebound to the pair that it had, and the kernel says that this one is closed."""
    with lab.lab() as place:
        client, server = lab.talkers(place)
        daemon = place.daemons["two"]
        for at, version in enumerate(lab.VERSIONS):
            number, numbers = eavesdrop(place, client, server, version)
            known = len(daemon.migratable())
            with wire.captured(place.two) as seen:
                wire.inject(place.three, numbers.request(numbers.pair, 1))
                event = daemon.wait_event("migrated", at + 1)
            assert event["cause"].split(" to ")[0] == event["cause"].split(" to ")[1]
            assert any(one.segment.flags == SYN | ACK for one in seen)
            assert not any(find(one.segment.options, MIGRATE_KIND) for one in seen if one.segment.flags & ACK)
            assert len(daemon.migratable()) == known
            lab.both_ways(client, server, number)
