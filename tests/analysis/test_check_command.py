"""`python -m analysis check`: exit status, sentences, and what it prints."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from analysis import capture
from analysis.__main__ import main
from analysis.checking import SHIPPED
from tests.analysis import made_trace as made
from tests.analysis.made_trace import NEW4, Setting

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the captures of a mobile's two interfaces, a faulty one, and a key log."""
    folder = tmp_path_factory.mktemp("traces")
    rows = made.make("mobile", Setting(total=20))
    made.write(folder / "loc1.pcap", [row for row in rows if NEW4 not in (row.src, row.dst)])
    loc2 = [row for row in rows if NEW4 in (row.src, row.dst)]
    made.write(folder / "loc2.pcap", loc2)
    made.write(folder / "bad.pcap", [row for row in loc2 if row.tag != "7"])
    made.write_keys(folder / "keys.log")
    return folder


@pytest.fixture(scope="module", autouse=True)
def _read_each_capture_once() -> Iterator[None]:
    """tshark takes a good part of a second to start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(capture, "read", functools.cache(capture.read))
        yield


def test_a_good_trace(traces: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["check", "mobility", f"{traces}/loc1.pcap", f"{traces}/loc2.pcap"]
    assert main([*arguments, "--keys", f"{traces}/keys.log", "--rtt", "0.1"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("pass  mobility.diagram: 10.0.1.2:40000 > 10.0.0.1:80, then 10.0.2.2:40000 > 10.0.0.1:80")
    assert "token and request recomputed and equal" in said


def test_a_bad_trace_shows_expected_above_actual(traces: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(SHIPPED / "mobility.diagram"), f"{traces}/loc1.pcap", f"{traces}/bad.pcap"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("FAIL  mobility.diagram: ")
    assert "unverified" in lines[0]
    assert lines[1].startswith("  segment 7, line 23 of mobility.diagram, packet 3 of bad.pcap (2.05")
    assert lines[2].startswith("  expected  mobile.new > server [.] seq = 6.ack, ack = rcv_nxt(mobile)")
    assert lines[3] == "  actual    server > mobile.new [.] seq 12001 ack 121 win 8192 length 1000 <timestamps>"
    assert lines[4] == "  wrong     it goes from server.fixed, not from mobile.new"


def test_colours_on_a_terminal(
    traces: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert main(["check", "mobility", f"{traces}/loc1.pcap", f"{traces}/bad.pcap"]) == 1
    assert "\033[31;1mFAIL\033[0m" in capsys.readouterr().out


def test_json(traces: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, verdict, status in (("loc2", "pass", 0), ("bad", "fail", 1)):
        assert main(["check", "mobility", f"{traces}/loc1.pcap", f"{traces}/{name}.pcap", "--json"]) == status
        said = json.loads(capsys.readouterr().out)
        (connection,) = said["connections"]
        assert said["verdict"] == connection["verdict"] == verdict
        assert connection["tokens"] == "unverified"
        time = pytest.approx(made.EPOCH + 1.75)
        assert connection["segments"]["5"] == {"packet": 1, "file": f"{name}.pcap", "time": time}
    assert connection["mismatch"]["label"] == "7"
    assert connection["mismatch"]["packet"] == 3


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["mobilty", "loc1.pcap"], "The diagram mobilty cannot be read: No such file or directory."),
        (["mobility", "none.pcap"], "There is no capture none.pcap."),
        (["mobility", "keys.log"], "keys.log is no capture: it is neither pcap nor pcapng."),
        (["mobility", "loc1.pcap", "--keys", "loc1.pcap"], "loc1.pcap is no key log: it is not plain text."),
        (["mobility", "loc1.pcap", "--port", "22"], "The traces have no connection with port 22."),
        (["broken.diagram", "loc1.pcap"], "broken.diagram, line 1, column 8: expected "),
        (["demanding.diagram", "loc1.pcap"], "demanding.diagram demands verified tokens"),
        (["empty.diagram", "loc1.pcap"], "empty.diagram: a line such as 'mobile opens from old' is missing."),
        (["binary.diagram", "loc1.pcap"], "binary.diagram is no diagram: it is not plain text."),
        (["unclosed.diagram", "loc1.pcap"], "unclosed.diagram, line 21, column "),
        (["later.diagram", "loc1.pcap"], "later.diagram, line 22: there is no earlier line 99."),
        ([".", "loc1.pcap"], "The diagram . cannot be read: Is a directory."),
        (["mobility", "."], "The capture . cannot be read: Is a directory."),
        (["mobility", "empty.pcap"], "The capture empty.pcap is empty: the capturing program wrote nothing."),
        (["mobility", "loc1.pcap", "empty.pcap"], "The capture empty.pcap is empty"),
        (["mobility", "header.pcap"], "The capture header.pcap holds no TCP segment."),
        (["mobility", "cut.pcap"], "The capture cut.pcap is cut short in the middle of a packet: capture again."),
        (["mobility", "damaged.pcap"], "tshark failed on damaged.pcap (status "),
    ],
)
def test_unusable_input_is_one_sentence(
    traces: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    sentence: str,
) -> None:
    monkeypatch.chdir(traces)
    Path("broken.diagram").write_text("mobile drives to new\n")
    text = (SHIPPED / "mobility.diagram").read_text().replace("vantage mobile", "vantage mobile\nverify tokens")
    Path("demanding.diagram").write_text(text)
    _spoil(Path("loc1.pcap").read_bytes(), (SHIPPED / "mobility.diagram").read_text())
    assert main(["check", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(sentence)
    assert said.err.count("\n") == 1


def _spoil(capture_file: bytes, text: str) -> None:
    """Captures and diagrams that are none, in the current folder."""
    header = 24  # bytes, of a pcap file
    Path("empty.pcap").write_bytes(b"")
    Path("header.pcap").write_bytes(capture_file[:header])
    Path("cut.pcap").write_bytes(capture_file[:-10])
    Path("damaged.pcap").write_bytes(capture_file[:header] + b"\xff" * 1000)
    Path("empty.diagram").write_text("")
    Path("binary.diagram").write_bytes(bytes(range(256)))
    Path("unclosed.diagram").write_text(text.replace("<nop, migrate token=T request=R req=1>", "<nop, migrate token=T"))
    Path("later.diagram").write_text(text.replace("within 1.5 rtt of 5  <>", "within 1.5 rtt of 99  <>"))


@pytest.mark.parametrize("rtt", ["0", "-1", "fast", "nan"])
def test_an_impossible_round_trip(capsys: pytest.CaptureFixture[str], rtt: str) -> None:
    with pytest.raises(SystemExit) as exit_status:
        main(["check", "mobility", "loc1.pcap", f"--rtt={rtt}"])
    assert exit_status.value.code == 2
    assert "is no round trip in seconds, for example 0.1" in capsys.readouterr().err


def test_as_a_command_in_somebody_elses_folder(traces: Path, tmp_path: Path) -> None:
    # pyshark would take this file for its own.
    (tmp_path / "config.ini").write_text("[another program]\n")
    command = [sys.executable, "-W", "error", "-m", "analysis", "check", "mobility"]
    done = subprocess.run(
        [*command, traces / "loc1.pcap", traces / "loc2.pcap"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": "/proc/self"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
