"""Peers that send anything for a key: their own connections cannot move, and nobody else's cares."""

from __future__ import annotations

from typing import Any

from tests.linux import lab
from tests.topologies.inside import in_sandbox

POINTLESS = 8


def told(daemon: lab.Daemon) -> dict[str, str]:
    """Why connections could not be carried, by their names."""
    return {event["connection"]: event["cause"] for event in daemon.events("not-carried")}


def check(mover: str) -> None:
    with lab.lab(on="two") as place:
        talkers = lab.talkers(place)
        pointless = place.start("one", module="tests.linux.pointless")
        for version in lab.VERSIONS:
            for _ in range(POINTLESS):
                lab.connect(*talkers, version)
        assert pointless.stop() == 0
        bad = {row["connection"] for row in place.daemons["two"].migratable()}
        assert len(bad) == len(lab.VERSIONS) * POINTLESS
        place.start("one")
        good = [lab.connect(*talkers, version) for version in lab.VERSIONS]
        for version in lab.VERSIONS:
            if mover == "one":
                place.add(place.one, version, 11)
                for number in good:
                    ends = talkers[0]("names", number)
                    if (":" in ends[0]) == (version == 6):
                        name = place.daemons["one"].name_of(ends)
                        request: dict[str, Any] = {"do": "migrate", "to": lab.address(version, 11)}
                        place.daemons["one"].ask(**request, connection=name)
            else:
                place.replace(place.two, version, 2, 12)
        place.wait_moved(len(good))
        for number in good:
            lab.both_ways(*talkers, number)
        causes = told(place.daemons["two"])
        assert causes.keys() == bad
        assert set(causes.values()) == {"no secret: the peer's public key is no point of P-192"}
        reasons = {row["connection"]: row["reason"] for row in place.daemons["two"].migratable()}
        assert all(reasons[name].startswith("no secret") for name in bad & reasons.keys())


@in_sandbox
def test_a_host_that_moves() -> None:
    check("two")


@in_sandbox
def test_a_host_that_is_asked() -> None:
    check("one")
