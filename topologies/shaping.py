"""Links shaped by the kernel: tbf for a rate alone; netem as an option, for the userspace cable works everywhere."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

from topologies.cable_model import ETHERNET_HEADER, Properties

if TYPE_CHECKING:
    from topologies.nodes import Host


class ShapingError(Exception):
    """The kernel does not do what was asked of it; one sentence that says what to do."""


def has_qdisc(kind: str, *arguments: str) -> bool:
    """Whether the kernel has a queueing discipline: tried in a network namespace of its own (needs root)."""
    attempt = ["unshare", "--net", "tc", "qdisc", "add", "dev", "lo", "root", kind, *arguments]
    return subprocess.run(attempt, capture_output=True, check=False).returncode == 0


def has_tbf() -> bool:
    """Whether `set_rate` works here."""
    return has_qdisc("tbf", "rate", "1mbit", "burst", "5000", "limit", "9000")


def require_netem() -> None:
    """Raise `ShapingError` if the kernel has no netem: to be called before anything is built on it."""
    if not has_qdisc("netem", "delay", "1ms"):
        raise ShapingError(
            'this kernel has no netem: declare the link with kind="cable", or use a kernel with CONFIG_NET_SCH_NETEM'
        )


def set_rate(host: Host, interface: str, rate_bps: float) -> None:
    """Shape what the interface sends to a rate, by tbf."""
    # The bucket holds 2 ms, and no less than three full frames; the queue 50 ms, as a small switch's would.
    burst = max(3 * 1514, round(rate_bps / 8 * 0.002))
    limit = burst + max(30 * 1514, round(rate_bps / 8 * 0.05))
    shaper = ["tbf", "rate", f"{rate_bps:.0f}bit", "burst", str(burst), "limit", str(limit)]
    host.run(["tc", "qdisc", "replace", "dev", interface, "root", *shaper], daemon=True)


def netem_arguments(properties: Properties, mtu: int = 1500) -> list[str]:
    """The words after `netem` for one direction; its rate counts bytes of IP packets, as the cable's does."""
    flying = 0 if properties.rate_bps is None else round(properties.rate_bps * properties.delay_s / (8 * mtu))
    words = ["limit", str(properties.queue_packets + 1 + flying), "delay", f"{round(properties.delay_s * 1e6)}us"]
    if properties.loss:
        words += ["loss", "random", f"{properties.loss * 100:.6f}%"]
    if properties.rate_bps is not None:
        words += ["rate", f"{round(properties.rate_bps)}bit", str(-ETHERNET_HEADER)]
    return words


def set_netem(host: Host, interface: str, properties: Properties) -> None:
    """Set one direction, at the interface that sends into it, and read it back; raises `ShapingError`."""
    device = ["dev", interface]
    host.run(["tc", "qdisc", "replace", *device, "root", "netem", *netem_arguments(properties)], daemon=True)
    shown = json.loads(host.run(["tc", "-json", "qdisc", "show", *device, "root"], daemon=True).stdout)
    wrong = netem_differences(properties, shown)
    if wrong:
        raise ShapingError(f"{host.name}: netem on {interface} has {', '.join(wrong)}: report it with `tc -V`")


def netem_differences(properties: Properties, shown: list[dict[str, Any]]) -> list[str]:
    """In what `tc -json qdisc show` differs from what was asked, in words; empty if in nothing."""
    options = next((qdisc.get("options", {}) for qdisc in shown if qdisc.get("kind") == "netem"), None)
    if options is None:
        return ["no netem at all"]
    # tc prints seconds, bytes per second, and probabilities.
    found = {
        "delay (s)": (options.get("delay", {}).get("delay", 0), properties.delay_s),
        "rate (bit/s)": (options.get("rate", {}).get("rate", 0) * 8, properties.rate_bps or 0),
        "loss": (options.get("loss-random", {}).get("loss", 0), properties.loss),
    }
    return [
        f"{name} {value:g} instead of {wanted:g}"
        for name, (value, wanted) in found.items()
        if abs(value - wanted) > 0.01 * wanted
    ]
