from __future__ import annotations

import json
from typing import Any

import pytest

from tests.topologies.inside import in_sandbox
from topologies import shaping
from topologies.cable_model import Properties
from topologies.links import Cable, Veth, link_class

MODEM = Properties(rate_bps=19_200, delay_s=0.05, queue_packets=100, loss=0.01)

# As iproute2 6.1 prints it.
SHOWN = """[{"kind": "netem", "handle": "8001:", "root": true, "refcnt": 2, "options": {"limit": 101,
  "delay": {"delay": 0.05, "jitter": 0, "correlation": 0}, "loss-random": {"loss": 0.01, "correlation": 0},
  "rate": {"rate": 2400, "packetoverhead": -14, "cellsize": 0, "celloverhead": 0}, "ecn": false, "gap": 0}}]"""


def shown(**changes: Any) -> list[dict[str, Any]]:
    qdiscs: list[dict[str, Any]] = json.loads(SHOWN)
    qdiscs[0]["options"].update(changes)
    return qdiscs


def test_netem_counts_ip_bytes_too() -> None:
    words = " ".join(shaping.netem_arguments(MODEM))
    assert words == "limit 101 delay 50000us loss random 1.000000% rate 19200bit -14"


def test_netem_keeps_what_flies_beside_what_waits() -> None:
    assert shaping.netem_arguments(Properties(rate_bps=12_000_000, delay_s=0.1, queue_packets=50))[1] == "151"


def test_netem_as_asked_is_accepted() -> None:
    assert shaping.netem_differences(MODEM, shown()) == []


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"delay": {"delay": 0.005}}, "delay (s) 0.005 instead of 0.05"),
        ({"rate": {"rate": 19200}}, "rate (bit/s) 153600 instead of 19200"),
        ({"loss-random": {"loss": 0.1}}, "loss 0.1 instead of 0.01"),
    ],
)
def test_netem_other_than_asked_is_named(changes: dict[str, Any], wrong: str) -> None:
    assert shaping.netem_differences(MODEM, shown(**changes)) == [wrong]


def test_missing_netem_is_named() -> None:
    """Mininet's own TCLink goes on unshaped where the kernel has no netem."""
    assert shaping.netem_differences(MODEM, [{"kind": "noqueue", "root": True}]) == ["no netem at all"]


def test_netem_is_asked_for_before_anything_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shaping, "has_qdisc", lambda *_: False)
    with pytest.raises(shaping.ShapingError, match=r'this kernel has no netem: declare the link with kind="cable"'):
        link_class(Cable(kind="netem"))


def test_netem_cannot_lose_chosen_packets() -> None:
    with pytest.raises(ValueError, match="netem cannot lose chosen packets"):
        Cable(kind="netem", losses=["drop data 1"])


@in_sandbox
def test_netem_where_the_kernel_has_it() -> None:
    from tests.topologies.pair import pair

    if not shaping.has_qdisc("netem", "delay", "1ms"):
        with pytest.raises(shaping.ShapingError):
            link_class(Cable(kind="netem"))
        return
    from topologies.measure import Declared, measure

    spec = Cable(rate_bps=1_000_000, delay_s=0.02, kind="netem")
    with pair(spec) as (one, two, _):
        measure(one, "10.0.0.1", two, "10.0.0.2", Declared.of(spec.there, spec.back))


@in_sandbox
def test_the_probe_leaves_no_trace_and_tells_a_qdisc_from_none() -> None:
    import subprocess

    assert shaping.has_tbf()
    assert not shaping.has_qdisc("nonsense")
    assert b"tbf" not in subprocess.run(["tc", "qdisc"], capture_output=True, check=True).stdout


@in_sandbox
def test_a_veth_of_100_mbit_per_second() -> None:
    from tests.topologies.pair import pair
    from topologies.measure import Declared, measure

    spec = Veth(rate_bps=100_000_000)
    with pair(spec) as (one, two, _):
        declared = Declared.of(spec.there, spec.back)
        there: list[float] = []
        back: list[float] = []
        # A sender that has to wait for a processor makes a train of 0.1 s slower: not each time.
        while not all(any(95e6 < rate < 105e6 for rate in way) for way in (there, back)):
            assert len(there) < 12, f"{there}, {back}"
            seen = measure(one, "10.0.0.1", two, "10.0.0.2", declared)
            there.append(seen.there_bps)
            back.append(seen.back_bps)
        assert max(*there, *back) < 105e6, f"{there}, {back}: nothing makes one faster"
