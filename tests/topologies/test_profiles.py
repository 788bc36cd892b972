from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from tests.topologies import web
from tests.topologies.inside import in_sandbox
from topologies import profiles
from topologies.links import Cable
from topologies.mobility import Mobility
from topologies.nodes import Host, NodeError
from topologies.profiles import PROFILES, Profile, receive_buffer


@pytest.mark.parametrize("release", ["5.15.0-91-generic", "6.1.0-18-amd64", "6.5.13"])
def test_older_kernels_offer_half_the_buffer(release: str) -> None:
    assert receive_buffer(32_120, release) == 64_240


@pytest.mark.parametrize("release", ["6.6.0", "6.8.0-45-generic", "6.12.9-amd64", "6.18.44", "7.0", "unheard-of"])
def test_newer_ones_offer_what_is_payload(release: str) -> None:
    assert receive_buffer(32_120, release) == 51_199


@in_sandbox
def test_the_settings_are_the_hosts_own_and_cubic_can_be_had_everywhere() -> None:
    machine = Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text()
    host = Host("alone")
    assert profiles.apply(PROFILES["paper"], [host]) == {"initcwnd": 2, "window": 32_120}
    assert host.sysctl("net.ipv4.tcp_congestion_control") == "reno"
    assert host.sysctl("net.ipv4.tcp_sack") == host.sysctl("net.ipv4.tcp_timestamps") == "1"
    assert host.sysctl("net.ipv4.tcp_no_metrics_save") == "1"
    assert host.sysctl("net.ipv4.tcp_tso_win_divisor") == str(profiles.NEVER_WAITS)
    metrics = profiles.apply(PROFILES["modern"], [host])
    assert metrics in ({}, {"congctl": "cubic"})
    assert metrics or host.sysctl("net.ipv4.tcp_congestion_control") == "cubic"
    with pytest.raises(NodeError, match="this kernel has no vegas2 .only reno.*modprobe tcp_vegas2"):
        profiles.apply(Profile("vegas2"), [host])
    assert Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text() == machine
    host.terminate()


def downloads(profile: profiles.ProfileName, ip: Literal[4, 6]) -> Iterator[tuple[list[int], str]]:
    """Up to three: a program that stands still closes its window meanwhile, and one that is over has told nothing."""
    for _ in range(3):
        yield download(profile, ip)


def download(profile: profiles.ProfileName, ip: Literal[4, 6]) -> tuple[list[int], str]:
    """The windows that the mobile offers in a download, and what the server's kernel says of the connection."""
    with Mobility(ip=ip, profile=profile, modem=Cable(rate_bps=1_600_000, delay_s=0.05)) as lab:
        web.serve(lab.server, lab.server_address, 200_000)
        running = lab.mobile.capture("mobile-loc1", "/run/a.pcap")
        client = web.fetch(lab.mobile, lab.server_address)
        while web.RECEIVED.stat().st_size < 20_000 if web.RECEIVED.exists() else True:
            assert client.poll() is None
        info = lab.server.run(["ss", "-Htin", "sport", f"= {web.PORT}"]).stdout
        assert client.wait(20) == 0
        assert web.is_equal()
        path = running.stop()
    source = f"src host {'10.0.1.2' if ip == 4 else 'fd00:1::2'}"
    shown = subprocess.run(["tcpdump", "-n", "-r", path, source], capture_output=True, text=True, check=True).stdout
    return [int(window) for window in re.findall(r"win (\d+)", shown)], info


@in_sandbox
def test_paper_comes_to_rest_at_the_decks_window_and_stays_there() -> None:
    versions: tuple[Literal[4, 6], ...] = (4, 6)
    for ip in versions:
        for windows, info in downloads("paper", ip):
            assert max(windows) <= 32_120
            if info and min(windows[-30:]) > 30_000:
                break
        assert min(windows[-30:]) > 30_000, windows
        assert " reno " in info, (ip, info)
        assert "wscale:0" in info


@in_sandbox
def test_modern_is_cubic_and_scales_its_window() -> None:
    windows, info = next((found for found in downloads("modern", 4) if found[1]), ([], ""))
    assert " cubic " in info
    assert "wscale:0" not in info
    assert len(windows) > 10


def burst(profile: profiles.ProfileName) -> int:
    """How many segments leave before the first ACK can have come back."""
    with Mobility(profile=profile, modem=Cable(rate_bps=10e6, delay_s=0.1)) as lab:
        web.serve(lab.server, lab.server_address, 20_000)
        running = lab.server.capture("server-eth0", "/run/a.pcap")
        assert web.fetch(lab.mobile, lab.server_address).wait(20) == 0
        path = running.stop()
    shown = subprocess.run(
        ["tcpdump", "-n", "-tt", "-r", path, f"src port {web.PORT}"], capture_output=True, text=True, check=True
    ).stdout
    sent = [float(line.split()[0]) for line in shown.splitlines() if not line.endswith("length 0")]
    return sum(moment < sent[0] + 0.1 for moment in sent)


@in_sandbox
def test_the_initial_window_is_the_profiles() -> None:
    windows: dict[profiles.ProfileName, int] = {"paper": 2, "modern": 10}
    for profile, wanted in windows.items():
        found = [burst(profile)]
        while found[-1] < wanted and len(found) < 3:  # the server has stood still between two segments
            found.append(burst(profile))
        # Python's server sends the header in a segment of its own.
        assert wanted <= found[-1] <= wanted + 1, (profile, found)
