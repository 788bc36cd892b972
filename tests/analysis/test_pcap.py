"""The fast reader against tshark's account of the same file."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.utils import wrpcap

from analysis import capture, pcap
from tests.analysis import made_trace as made
from tests.analysis.made_trace import Setting


def written(path: Path, *, v6: bool = False, nanoseconds: bool = True) -> Path:
    rows = [row.scapy() for row in made.make("mobile", Setting(v6=v6))]
    stranger = Ether() / IP(src="10.0.0.9", dst="10.0.0.8") / UDP()
    stranger.time = made.EPOCH
    wrpcap(str(path), [stranger, *rows], nano=nanoseconds)
    return path


@pytest.mark.parametrize("v6", [False, True])
def test_it_sees_what_tshark_sees(tmp_path: Path, v6: bool) -> None:
    path = written(tmp_path / "mobile.pcap", v6=v6)
    ours, theirs = pcap.read(path, "mobile"), capture.read(path, "mobile")
    assert len(ours) == len(theirs) > 80
    for one, other in zip(ours, theirs, strict=True):
        assert one.time == pytest.approx(other.time, abs=1e-6)
        assert dataclasses.replace(one, time=0.0) == dataclasses.replace(other, time=0.0)


def test_only_the_headers_are_needed(tmp_path: Path) -> None:
    whole = written(tmp_path / "whole.pcap").read_bytes()
    cut = bytearray(whole[:24])
    at = 24
    while at < len(whole):
        there = int.from_bytes(whole[at + 8 : at + 12], "little")
        kept = min(there, 128)
        cut += whole[at : at + 8] + kept.to_bytes(4, "little") + whole[at + 12 : at + 16 + kept]
        at += 16 + there
    assert len(cut) < len(whole) / 2
    assert list(pcap.parse(bytes(cut), "mobile")) == list(pcap.parse(whole, "mobile"))


def test_a_file_that_is_still_being_written_ends_with_its_last_whole_packet(tmp_path: Path) -> None:
    data = written(tmp_path / "a.pcap").read_bytes()
    whole = list(pcap.parse(data, "mobile"))
    assert list(pcap.parse(data[:-3], "mobile")) == whole[:-1]


@pytest.mark.parametrize("data", [b"", b"GIF89a and so on and on and on", "microseconds"])
def test_another_kind_of_file(tmp_path: Path, data: bytes | str) -> None:
    if isinstance(data, str):
        data = written(tmp_path / "a.pcap", nanoseconds=False).read_bytes()
    with pytest.raises(capture.CaptureError, match="no capture of an Ethernet interface with times in nanoseconds"):
        list(pcap.parse(data, "mobile", "a.pcap"))
