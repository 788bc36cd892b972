from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import replace

from analysis.capture import SYN
from analysis.pictures.expected import Expectation
from analysis.pictures.ladder_rows import GapRow, SegmentRow, ladder_of
from analysis.pictures.ladder_svg import CHARACTER, ladder_svg
from analysis.pictures.view import view_of
from tests.analysis.pictures.made import stream_of
from tests.analysis.pictures.synthetic import Setting

SVG = "{http://www.w3.org/2000/svg}"
NAMES = {"10.0.1.2": "mobile", "10.0.2.2": "mobile", "10.0.0.1": "server"}


def parse(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text)


def words(root: ElementTree.Element) -> list[str]:
    return ["".join(element.itertext()) for element in root.iter(f"{SVG}text")]


def groups(root: ElementTree.Element) -> list[ElementTree.Element]:
    return list(root.iter(f"{SVG}g"))


def test_it_is_an_svg_with_its_size_and_title() -> None:
    stream, moves = stream_of()
    root = parse(ladder_svg(stream, moves=moves, names=NAMES, title="mobility & more <1>"))
    assert root.tag == f"{SVG}svg"
    assert root.get("viewBox") == f"0 0 {root.get('width')} {root.get('height')}"
    assert root.findtext(f"{SVG}title") == "mobility & more <1>"
    shown = words(root)
    for expected in ("mobile", "server", "10.0.2.2:40000", "move", "S 80:80(0) win 0", "time (s)"):
        assert expected in shown


def test_every_row_is_drawn() -> None:
    stream, moves = stream_of()
    ladder = ladder_of(view_of(stream), moves=moves)
    root = parse(ladder_svg(stream, moves=moves))
    drawn = [int(group.get("data-packet", "")) for group in groups(root)]
    assert drawn == [row.seen.packet.number for row in ladder.rows if isinstance(row, SegmentRow)]
    gaps = [text for text in words(root) if text.startswith("... ")]
    assert len(gaps) == sum(isinstance(row, GapRow) for row in ladder.rows)


def test_the_migrate_segments_are_highlighted_and_numbered() -> None:
    root = parse(ladder_svg(stream_of()[0]))
    marked = [group.get("data-role") for group in groups(root) if "migrate" in group.get("class", "").split()]
    assert marked == ["5", "6", "7"]
    assert all(group.find(f"{SVG}circle") is not None for group in groups(root) if group.get("data-role") != "0")


def test_a_trace_without_its_migrate_syn_shows_none() -> None:
    stream, _ = stream_of()
    stream = replace(stream, segments=tuple(s for s in stream.segments if not (s.epoch == 1 and s.flags == SYN)))
    root = parse(ladder_svg(stream))
    assert "5" not in [group.get("data-role") for group in groups(root)]


def test_packets_for_the_old_address_are_dashed() -> None:
    stream, moves = stream_of()
    dashed: dict[bool, set[bool]] = {}
    for group in groups(parse(ladder_svg(stream, moves=moves))):
        line = group.find(f"{SVG}line")
        assert line is not None
        late = "late" in group.get("class", "").split()
        dashed.setdefault(late, set()).add(line.get("stroke-dasharray") is not None)
    assert dashed == {True: {True}, False: {False}}


def test_arrows_point_from_source_to_target() -> None:
    root = parse(ladder_svg(stream_of()[0]))
    ends = {}
    for group in groups(root):
        line = group.find(f"{SVG}line")
        assert line is not None
        ends[group.get("data-role")] = float(line.get("x2", "")) - float(line.get("x1", ""))
    assert ends["5"] > 0 > ends["6"]
    assert ends["1"] > ends["5"]  # from the old address, over the new one's lifeline


def test_expected_lines_are_beside_their_segments() -> None:
    stream, _ = stream_of()
    five = next(s.packet for s in stream.segments if s.epoch == 1 and s.flags == SYN)
    lines = [
        Expectation("mobile > server S", stream.segments[0].packet),
        Expectation("mobile2 > server S", five, "expected win 0\nactual   win 9"),
    ]
    root = parse(ladder_svg(stream, expected=lines))
    found = {"".join(element.itertext()): element for element in root.iter(f"{SVG}text")}
    assert found["✓ mobile > server S"].get("class") == "good"
    wrong = found["✗ mobile2 > server S"]
    assert wrong.get("class") == "bad"
    assert "    actual   win 9" in found
    assert "expected lines: 1 met, 1 not met" in found
    assert abs(float(wrong.get("y", "")) - float(found["S 80:80(0) win 0"].get("y", ""))) < 2
    assert "expected" not in words(parse(ladder_svg(stream)))


def test_nothing_stands_outside_the_picture() -> None:
    setting = Setting(addresses=("2001:db8:1::2", "2001:db8:2::2"), server="2001:db8::1", lose=(25, 27))
    stream, moves = stream_of(setting)
    lines = [Expectation("a long line " * 20, stream.segments[0].packet, "wrong " * 50)]
    root = parse(ladder_svg(stream, moves=moves, expected=lines))
    width, height = float(root.get("width", "")), float(root.get("height", ""))
    for element in root.iter(f"{SVG}text"):
        size = len("".join(element.itertext())) * CHARACTER
        x = float(element.get("x", ""))
        left = x - {"start": 0.0, "middle": size / 2, "end": size}[element.get("text-anchor", "start")]
        assert left >= 0
        assert left + size <= width
        assert 0 <= float(element.get("y", "")) <= height


def test_the_same_trace_gives_the_same_file() -> None:
    stream, moves = stream_of()
    assert ladder_svg(stream, moves=moves) == ladder_svg(stream, moves=moves)
