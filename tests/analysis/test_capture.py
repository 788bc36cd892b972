"""Reading captures: what is there comes back, what is broken is said in one sentence."""

from __future__ import annotations

import os
import shutil
import struct
import threading
from pathlib import Path

import pytest

from analysis.capture import MALFORMED, CaptureError, read, split_options
from tests.analysis import made_trace as made
from tests.analysis.made_trace import Setting

needs_tshark = pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.write(tmp_path_factory.mktemp("capture") / "mobile.pcap", made.make("mobile"))


@needs_tshark
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("v6", [False, True], ids=["ipv4", "ipv6"])
def test_reads_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, v6: bool) -> None:
    rows = made.make("mobile", Setting(v6=v6, total=14))
    # Neither pyshark nor tshark may need a home that can be written to.
    monkeypatch.setenv("HOME", "/proc/self")
    packets = read(made.write(tmp_path / "mobile.pcap", rows), "mobile")
    expected = made.packets(rows, "mobile")
    # Captures hold microseconds.
    assert [round(packet.time, 5) for packet in packets] == [round(packet.time, 5) for packet in expected]
    for packet, wanted in zip(packets, expected, strict=True):
        fields = [name for name in type(packet).__slots__ if name != "time"]
        assert [getattr(packet, name) for name in fields] == [getattr(wanted, name) for name in fields]


@needs_tshark
@pytest.mark.filterwarnings("error")
def test_leaves_no_process_and_works_in_a_thread(capture: Path) -> None:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(len(read(capture, "mobile"))))
    thread.start()
    thread.join()
    assert found == [99]
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    assert not [child for child in children if Path(f"/proc/{child}/comm").read_text().startswith("tshark")]


@needs_tshark
def test_a_capture_cut_short(tmp_path: Path, capture: Path) -> None:
    broken = tmp_path / "cut.pcap"
    broken.write_bytes(capture.read_bytes()[:-30])
    with pytest.raises(CaptureError, match=r"cut\.pcap is cut short in the middle of a packet"):
        read(broken, "mobile")


@needs_tshark
def test_a_capture_without_packets(tmp_path: Path, capture: Path) -> None:
    empty = tmp_path / "empty.pcap"
    empty.write_bytes(capture.read_bytes()[:24])
    with pytest.raises(CaptureError, match="holds no TCP segment"):
        read(empty, "mobile")


@needs_tshark
def test_a_capture_of_too_few_bytes_of_each_packet(tmp_path: Path, capture: Path) -> None:
    whole = capture.read_bytes()
    first = whole[40 : 40 + 60]  # 60 of the first packet's 94
    short = tmp_path / "short.pcap"
    short.write_bytes(whole[:24] + struct.pack("<IIII", 1, 0, 60, 94) + first)
    with pytest.raises(CaptureError, match=r"Packet 1 of short\.pcap is malformed or cut inside its TCP header"):
        read(short, "mobile")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (b"GIF89a, not a capture", "is neither pcap nor pcapng"),
        (None, "There is no capture"),
    ],
    ids=["empty file", "no capture", "missing"],
)
def test_unusable_files(tmp_path: Path, content: bytes | None, sentence: str) -> None:
    path = tmp_path / "some.pcap"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CaptureError, match=sentence) as error:
        read(path, "mobile")
    assert "\n" not in str(error.value)


def test_a_directory(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="cannot be read"):
        read(tmp_path, "mobile")


def test_without_tshark(capture: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CaptureError, match="tshark, which reads the captures, is not installed"):
        read(capture, "mobile")


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ('echo "tshark: out of disk" >&2; exit 2', r"tshark failed on .* \(status 2\): tshark: out of disk"),
        ("echo '[ {}, '; echo '  },'; exit 0", "is not understood"),
        ("kill -9 $$", r"tshark failed on .* \(status -9\): it does not say why"),
    ],
    ids=["fails", "talks nonsense", "is killed"],
)
def test_errors_of_tshark_are_not_swallowed(
    capture: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, sentence: str
) -> None:
    fake = tmp_path / "tshark"
    fake.write_text(f'#!/bin/sh\nif [ "$1" = -v ]; then echo "TShark (Wireshark) 4.0.17"; exit 0; fi\n{script}\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(CaptureError, match=sentence):
        read(capture, "mobile")


def test_a_tshark_without_a_version(capture: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = tmp_path / "tshark"
    fake.write_text("#!/bin/sh\necho hello\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(CaptureError, match="tshark cannot be run"):
        read(capture, "mobile")


def test_split_options() -> None:
    assert split_options(b"") == ()
    assert split_options(b"\x01\x01\x08\x0a12345678\x00") == ((1, b""), (1, b""), (8, b"12345678"), (0, b""))


@pytest.mark.parametrize("tail", [b"\x08", b"\x08\x01", b"\x08\x0a123"], ids=["no length", "length 1", "too long"])
def test_malformed_options_are_kept_as_such(tail: bytes) -> None:
    assert split_options(b"\x04\x02" + tail) == ((4, b""), (MALFORMED, tail))
