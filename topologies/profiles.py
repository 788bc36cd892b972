"""How the hosts' TCP is set: `paper`, as in the deck, and `modern`, as Linux is today."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from topologies.nodes import Host, NodeError

ProfileName = Literal["paper", "modern"]
Metrics = dict[str, str | int]


@dataclass(frozen=True)
class Profile:
    """TCP settings of the hosts at both ends."""

    congestion_control: str
    initial_window: int | None = None
    """Segments; None is the kernel's (10)."""
    receive_window: int | None = None
    """Bytes offered at most; None lets the kernel tune it. See `receive_buffer` for how near the kernel comes."""
    coalesces: bool = True
    """May Linux wait with the last third of a window, to send a larger piece later (tcp_tso_should_defer)?  In 2000
    nothing did: each acknowledgement sent at once all that it allowed."""


PROFILES: Mapping[str, Profile] = {
    "paper": Profile("reno", initial_window=2, receive_window=32_120, coalesces=False),
    "modern": Profile("cubic"),
}

NEVER_WAITS = 255
"""tcp_tso_win_divisor: with the 255th part of a window, a segment of which is always more."""

_ALWAYS = {
    "net.ipv4.tcp_timestamps": 1,
    "net.ipv4.tcp_sack": 1,
    "net.ipv4.tcp_no_metrics_save": 1,
    "net.ipv4.tcp_ecn": 0,
}


def apply(profile: Profile, hosts: Sequence[Host]) -> Metrics:
    """Set the hosts; returns the metrics that their routes need as well. Raises `NodeError`."""
    metrics: Metrics = {}
    for host in hosts:
        for name, value in _ALWAYS.items():
            host.sysctl(name, value)
        metrics |= _set_congestion_control(host, profile.congestion_control)
        if not profile.coalesces:
            host.sysctl("net.ipv4.tcp_tso_win_divisor", NEVER_WAITS)
        if profile.receive_window is not None:
            size = receive_buffer(profile.receive_window, platform.release())
            host.sysctl("net.ipv4.tcp_rmem", f"{min(4096, size)} {size} {size}")
            # Without window scaling (32,120 needs none), the window is not rounded.
            metrics["window"] = profile.receive_window
    if profile.initial_window is not None:
        metrics["initcwnd"] = profile.initial_window
    return metrics


def _set_congestion_control(host: Host, name: str) -> Metrics:
    available = host.sysctl("net.ipv4.tcp_available_congestion_control").split()
    if name not in available:
        raise NodeError(f"this kernel has no {name} (only {', '.join(available)}): modprobe tcp_{name}")
    try:
        host.sysctl("net.ipv4.tcp_congestion_control", name)
    except NodeError:
        # A namespace's default may only be what the machine's first namespace allows; a route may choose any.
        return {"congctl": name}
    return {}


def receive_buffer(window: int, release: str) -> int:
    """The tcp_rmem at which this kernel's receive window comes to rest nearest to `window` bytes.

    Linux before 6.6 offers half the buffer. From 6.6 it offers what it found to be payload in the memory that full
    segments take: measured through a TAP, 0.6375 of it, and the deck's 32,120 comes to rest at 31,856 (22 segments).
    """
    numbers = re.match(r"(\d+)\.(\d+)", release)
    if numbers and (int(numbers[1]), int(numbers[2])) < (6, 6):
        return 2 * window
    return round(window * 1.594)
