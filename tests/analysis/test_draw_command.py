"""`python -m analysis draw` and `ladder`: what they write, what they print, and their sentences."""

from __future__ import annotations

import functools
import shutil
import struct
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from analysis import capture
from analysis.__main__ import main
from tests.analysis import made_trace as made
from tests.analysis.made_trace import NEW4, Setting

pytestmark = pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")

MOVED = "10.0.1.2:40000 > 10.0.0.1:80, then 10.0.2.2:40000 > 10.0.0.1:80"
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with captures: a mobile's two interfaces, a faulty one, some of strangers, and one without packets."""
    folder = tmp_path_factory.mktemp("traces")
    rows = made.make("mobile", Setting(total=20))
    loc1 = [row for row in rows if NEW4 not in (row.src, row.dst)]
    loc2 = [row for row in rows if NEW4 in (row.src, row.dst)]
    made.write(folder / "loc1.pcap", loc1)
    made.write(folder / "loc2.pcap", loc2)
    made.write(folder / "bad.pcap", [row for row in loc2 if row.tag != "7"])
    # Another program's connections beside it: plain TCP, as any host has.
    ports = {40000: 41000, 80: 22}
    other = [replace(row, sport=ports[row.sport], dport=ports[row.dport]) for row in loc1]
    made.write(folder / "busy.pcap", [*other, *loc1])
    made.write(folder / "middle.pcap", loc1[5:9])  # the capture began late
    made.write(folder / "syn.pcap", loc1[:1])
    made.write_keys(folder / "keys.log")
    (folder / "none.pcap").write_bytes(struct.pack("<IHHIIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
    return folder


@pytest.fixture(autouse=True)
def _here(traces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(traces)


@pytest.fixture(scope="module", autouse=True)
def _read_each_capture_once() -> Iterator[None]:
    """tshark takes a good part of a second to start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(capture, "read", functools.cache(capture.read))
        yield


def texts(svg: Path) -> str:
    """All text of an SVG; it must be well-formed."""
    return "\n".join(ElementTree.parse(svg).getroot().itertext())


def test_draw_writes_a_png(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["draw", "loc1.pcap", "loc2.pcap"]) == 0
    assert capsys.readouterr().out == "time-sequence.png\n"
    assert Path("time-sequence.png").read_bytes().startswith(PNG)


def test_draw_names_the_ends_as_the_diagram_does(traces: Path) -> None:
    assert main(["draw", "loc1.pcap", "loc2.pcap", "--diagram", "mobility", "--out", "drawn.svg"]) == 0
    said = (traces / "drawn.svg").read_text()  # matplotlib notes each text in a comment
    assert "loc1.pcap, loc2.pcap: as mobility.diagram has it" in said
    assert "data from server (10.0.0.1) to mobile (10.0.1.2, then 10.0.2.2)" in said
    assert "Migrate SYN from 10.0.2.2" in said


def test_a_ladder_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ladder", "loc1.pcap", "loc2.pcap"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "loc1.pcap, loc2.pcap"
    assert "10.0.1.2:40000" in lines[3]
    assert sum(" (5) " in line for line in lines) == 1
    assert "expected" not in "\n".join(lines)


def test_expected_stands_beside_observed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ladder", "loc1.pcap", "loc2.pcap", "--diagram", "mobility", "--keys", "keys.log"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "loc1.pcap, loc2.pcap: as mobility.diagram has it"
    (fifth,) = (line for line in lines if " (5) " in line)
    assert "✓ mobile.new > server [S]" in fifth
    assert lines[-1].endswith("met, 0 not met")


def test_a_mismatch_is_drawn_where_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    # Drawing does not judge: that is what check's status is for.
    assert main(["ladder", "loc1.pcap", "bad.pcap", "--diagram", "mobility"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("loc1.pcap, bad.pcap: NOT as mobility.diagram has it")
    assert "✗ mobile.new > server [.]" in said
    assert said.rstrip().endswith(", 1 not met")


def test_the_round_trip_reaches_the_diagram(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ladder", "loc1.pcap", "loc2.pcap", "--diagram", "mobility", "--rtt", "0.001"]) == 0
    assert "it comes 100.50 rtt after 5" in " ".join(capsys.readouterr().out.split())


def test_the_keys_reach_the_diagram(capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(made.__file__).parents[2] / "analysis/diagrams/mobility.diagram").read_text()
    Path("demanding.diagram").write_text(text.replace("vantage mobile", "vantage mobile\nverify tokens"))
    arguments = ["ladder", "loc1.pcap", "loc2.pcap", "--diagram", "demanding.diagram"]
    assert main(arguments) == 2
    assert main([*arguments, "--keys", "keys.log"]) == 0


def test_a_ladder_into_files(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    for name in ("ladder.svg", "ladder.txt"):
        assert main(["ladder", "loc1.pcap", "loc2.pcap", "--diagram", "mobility", "--out", name]) == 0
        assert capsys.readouterr().out == f"{name}\n"
    assert "mobile" in texts(Path("ladder.svg"))
    written = Path("ladder.txt").read_text()
    assert "expected lines: " in written
    assert "\x1b" not in written
    assert written.endswith("0 not met\n")


@pytest.mark.parametrize(
    ("choice", "shown"),
    [(["--port", "22"], "10.0.1.2:41000"), (["--connection", "1"], "10.0.1.2:"), (["--port", "80"], "10.0.1.2:40000")],
)
def test_one_of_several(capsys: pytest.CaptureFixture[str], choice: list[str], shown: str) -> None:
    assert main(["ladder", "busy.pcap", *choice]) == 0
    assert shown in capsys.readouterr().out


def test_a_number_means_the_connection_that_the_message_gave_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ladder", "busy.pcap", "loc2.pcap"]) == 2
    said = capsys.readouterr().err
    # The one that moved comes first.
    number = said[: said.index(f": {MOVED}")].rsplit("(", 1)[1]
    assert main(["ladder", "busy.pcap", "loc2.pcap", "--connection", number]) == 0
    assert "10.0.2.2:40000" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["middle", "syn"])
def test_a_part_of_a_connection(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["draw", f"{name}.pcap", "--out", "part.png"]) == 0
    assert main(["ladder", f"{name}.pcap"]) == 0
    assert "10.0.1.2:40000" in capsys.readouterr().out


COMMON = [
    (["none.pcap"], "The capture none.pcap holds no TCP segment."),
    (["absent.pcap"], "There is no capture absent.pcap."),
    (["keys.log"], "keys.log is no capture: it is neither pcap nor pcapng."),
    (["loc1.pcap", "--port", "443"], "The traces have no connection with port 443."),
    (["loc1.pcap", "--connection", "2"], "There is no connection 2: the traces have 1."),
    (["loc1.pcap", "--connection", "0"], "There is no connection 0: the traces have 1."),
    (["busy.pcap", "--connection", "1", "--port", "443"], "The traces have a connection 1, but not one with port 443."),
    (["busy.pcap"], "The traces have 2 connections: choose one with --connection N (1: 10.0.1.2:4"),
    (["busy.pcap", "--port", "65535", "--diagram", "x"], "The diagram x cannot be read: No such file or directory."),
    (["loc1.pcap", "--keys", "loc1.pcap"], "loc1.pcap is no key log: it is not plain text."),
]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        *(([command, *arguments], sentence) for command in ("draw", "ladder") for arguments, sentence in COMMON),
        (["draw", "loc1.pcap", "--out", "x.gif"], "x.gif is neither a .png nor a .svg: give --out such a name."),
        (["ladder", "loc1.pcap", "--out", "x.png"], "x.png is neither a .svg nor a .txt: give --out such a name."),
        (["draw", "loc1.pcap", "--out", "no/x.png"], "no/x.png cannot be written: No such file or directory."),
        (["ladder", "loc1.pcap", "--out", "no/x.svg"], "no/x.svg cannot be written: No such file or directory."),
    ],
)
def test_unusable_input_is_one_sentence(
    capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(sentence)
    assert said.err.count("\n") == 1
