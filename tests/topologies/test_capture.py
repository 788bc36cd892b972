from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from tests.linux.lab import until
from tests.topologies.inside import in_sandbox
from tests.topologies.pair import pair
from topologies import capture
from topologies.capture import CaptureError, missing_packets
from topologies.links import Veth

TCPDUMP = """tcpdump: listening on one-eth0, link-type EN10MB (Ethernet), snapshot length 65535 bytes
{captured} packets captured
{received} packets received by filter
{dropped} packets dropped by kernel
"""
ASKED = """tcpdump: {captured} packets captured, {received} packets received by filter, 0 packets dropped by kernel
tcpdump: 45 packets captured, 45 packets received by filter, 0 packets dropped by kernel
"""
DUMPCAP = """Capturing on 'one-eth0'
File: /run/a.pcap
Packets captured: 40
Packets received/dropped on interface 'one-eth0': 40/{dropped} (pcap:3/dumpcap:0/flushed:0/ps_ifdrop:0) (93.0%)
"""


@pytest.mark.parametrize(
    ("said", "missing"),
    [
        (TCPDUMP.format(captured=40, received=40, dropped=0), 0),
        (TCPDUMP.format(captured=40, received=42, dropped=0), 2),
        (TCPDUMP.format(captured=40, received=42, dropped=5), 7),
        (ASKED.format(captured=38, received=40) + TCPDUMP.format(captured=45, received=47, dropped=0), 0),
        (ASKED.format(captured=38, received=47) + TCPDUMP.format(captured=45, received=49, dropped=0), 2),
        ("1 packet captured\n1 packet received by filter\n1 packet dropped by kernel\n", 1),
        (DUMPCAP.format(dropped=0), 0),
        (DUMPCAP.format(dropped=3), 3),
    ],
)
def test_packets_that_are_missing(said: str, missing: int) -> None:
    assert missing_packets(said) == missing


def test_a_program_that_says_nothing_about_it_is_not_believed() -> None:
    with pytest.raises(CaptureError, match="did not say what it captured"):
        missing_packets("tcpdump: listening on one-eth0")


def pings(path: Path) -> int:
    """How many ICMP packets a capture has."""
    shown = subprocess.run(["tcpdump", "-n", "-r", path, "icmp"], capture_output=True, text=True, check=True).stdout
    return len(shown.splitlines())


def check_complete(program: str) -> None:
    """Packets sent as soon as it has started and just before it is stopped are in the file, several times over."""
    capture._SETTLE_SECONDS = {program: capture._SETTLE_SECONDS[program]}
    with pair(Veth()) as (one, _, _):
        for number in range(4):
            running = one.capture("one-eth0", f"/run/{number}.pcap")
            one.run(["ping", "-c", "25", "-i", "0.002", "-q", "10.0.0.2"])
            path = running.stop()
            assert not running.is_running
            assert pings(path) == 50
            assert running.stop() == path


@in_sandbox
def test_what_a_program_says_is_read_while_it_speaks_and_nothing_is_lost() -> None:
    """Both have the file open by one description, which has one offset."""
    talkative = Path("/run/bin/tcpdump")
    talkative.parent.mkdir()
    talkative.write_text(
        "#!/bin/bash\n"
        "trap exit INT\n"
        "echo tcpdump: listening on it >&2\n"
        "for each in {1..5000}; do echo $each >&2; done\n"
        "printf '0 packets captured\\n0 packets received by filter\\n0 packets dropped' >&2\n"
        "while :; do sleep 0.1; done\n"
    )
    talkative.chmod(0o755)
    os.environ["PATH"] = f"{talkative.parent}:{os.environ['PATH']}"
    with pair(Veth()) as (one, _, _):
        running = one.capture("one-eth0", "/run/a.pcap")
        while "dropped" not in (said := running._words()):
            assert running.is_running
        assert [int(line) for line in said.splitlines()[1:5001]] == list(range(1, 5001))


@pytest.mark.skipif(shutil.which("tcpdump") is None, reason="tcpdump is not installed")
@in_sandbox
def test_tcpdump_has_the_first_and_the_last_packet() -> None:
    check_complete("tcpdump")


@pytest.mark.skipif(shutil.which("dumpcap") is None, reason="dumpcap is not installed")
@in_sandbox
def test_dumpcap_has_the_first_and_the_last_packet() -> None:
    check_complete("dumpcap")


@pytest.mark.skipif(shutil.which("tcpdump") is None, reason="tcpdump is not installed")
@in_sandbox
def test_tcpdump_may_be_late() -> None:
    """It has not run since the packets passed when it is asked to stop, and gets to run only later."""
    with pair(Veth()) as (one, _, _):
        running = one.capture("one-eth0", "/run/a.pcap")
        os.kill(running._process.pid, signal.SIGSTOP)
        one.run(["ping", "-c", "5", "-i", "0.002", "-q", "10.0.0.2"])
        threading.Timer(1.0, os.kill, (running._process.pid, signal.SIGCONT)).start()
        assert pings(running.stop()) == 10


@in_sandbox
def test_the_file_can_be_followed_while_it_grows() -> None:
    with pair(Veth()) as (one, _, _):
        running = one.capture("one-eth0", "/run/a.pcap")
        one.run(["ping", "-c", "1", "-q", "10.0.0.2"])
        until(lambda: pings(running.path) >= 2, "both packets are in it")
        assert pings(running.path) == 2
        assert running.is_running


@in_sandbox
def test_times_are_in_nanoseconds() -> None:
    with pair(Veth()) as (one, _, _):
        running = one.capture("one-eth0", "/run/a.pcap")
        one.run(["ping", "-c", "1", "-q", "10.0.0.2"])
        assert running.stop().read_bytes()[:4] in (b"\x4d\x3c\xb2\xa1", b"\x0a\x0d\x0d\x0a")


@in_sandbox
def test_errors_are_sentences() -> None:
    with pair(Veth()) as (one, _, _):
        with pytest.raises(CaptureError, match=r"one: no capture on eth9: .*(No such device|doesn't exist)"):
            one.capture("eth9", "/run/a.pcap")
        with pytest.raises(CaptureError, match="one: no capture on one-eth0: .*/nowhere/a.pcap"):
            one.capture("one-eth0", "/nowhere/a.pcap")


@in_sandbox
def test_a_capture_that_ended_early_is_noticed() -> None:
    with pair(Veth()) as (one, _, _):
        running = one.capture("one-eth0", "/run/a.pcap")
        os.kill(running._process.pid, signal.SIGKILL)
        running._process.wait()
        with pytest.raises(CaptureError, match="the capture on one-eth0 ended early"):
            running.stop()


@in_sandbox
def test_stopping_the_host_stops_its_captures() -> None:
    with pair(Veth()) as (one, _, _):
        one.capture("one-eth0", "/run/a.pcap")
        one.run(["ping", "-c", "3", "-i", "0.01", "-q", "10.0.0.2"])
    assert pings(Path("/run/a.pcap")) == 6


@in_sandbox
def test_wire_packets_are_seen_and_not_what_offload_makes_of_them() -> None:
    with pair(Veth()) as (one, two, _):
        running = two.capture("two-eth0", "/run/a.pcap")
        server = two.spawn(["iperf3", "-s", "-1"], stdout=subprocess.DEVNULL)
        until(lambda: ":5201 " in two.run(["ss", "-Hltn"], daemon=True).stdout, "iperf3 listens")
        one.run(["iperf3", "-c", "10.0.0.2", "-n", "2M"])
        server.wait(10)
        path = running.stop()
        shown = subprocess.run(
            ["tcpdump", "-n", "-v", "-r", path, "tcp"], capture_output=True, text=True, check=True
        ).stdout
        lengths = [int(word.split()[0].rstrip(")")) for word in shown.split(", length ")[1:] if word[0].isdigit()]
        assert max(lengths) == 1500
        assert "incorrect" not in shown
