from __future__ import annotations

import struct
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from analysis.capture import SYN
from analysis.pictures import labels
from analysis.pictures.plot_build import build
from analysis.pictures.style import SETTINGS
from analysis.pictures.time_sequence import draw_time_sequence, make_figure, zoom_times, zoom_values
from analysis.pictures.view import view_of
from analysis.stream import Stream
from tests.analysis.pictures.made import stream_of
from tests.analysis.pictures.synthetic import Setting

MANY = Setting(addresses=tuple(f"10.0.{i}.2" for i in range(1, 14)), move_after=tuple(range(6000, 97_000, 7600)))
VERY_MANY = Setting(addresses=tuple(f"10.0.{i}.2" for i in range(1, 15)), move_after=tuple(range(6000, 97_000, 7000)))
SETTINGS_DRAWN = {
    "mobile": Setting(),
    "server": Setting(vantage="server"),
    "upload": Setting(upload=True),
    "upload, server": Setting(upload=True, vantage="server"),
    "lossy": Setting(lose=(25, 27)),
    "Migrate SYN lost": Setting(lose_migrate_syn=True),
    "no move": Setting(move_after=()),
    "three": Setting(addresses=("10.0.1.2", "10.0.2.2", "10.0.3.2"), move_after=(30_000, 60_000)),
    "many": MANY,
    "very many": VERY_MANY,
    "IPv6": Setting(addresses=("2001:db8:1::2", "2001:db8:2::2"), server="2001:db8::1"),
}


def svg_of(stream: Stream, moves: list[float], path: Path) -> tuple[str, set[str]]:
    """The text of the SVG, and the ids of its groups."""
    draw_time_sequence(stream, path, moves=moves, title="mobility, profile paper, at the mobile")
    root = ElementTree.parse(path).getroot()
    words = " ".join("".join(element.itertext()) for element in root.iter("{http://www.w3.org/2000/svg}text"))
    return words, {element.get("id", "") for element in root.iter()}


def drawn_texts(figure: Figure) -> list[Text]:
    """The texts that the picture shows; ticks beyond the end of an axis exist, but are not drawn."""
    hidden: set[int] = set()
    for axes in figure.axes:
        for axis, limits in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
            shown = zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True)
            kept = {id(label) for place, label in shown if limits[0] <= place <= limits[1]} | {id(axis.label)}
            hidden |= {id(text) for text in axis.findobj(Text)} - kept
    texts = [text for text in figure.findobj(Text) if isinstance(text, Text) and id(text) not in hidden]
    return [text for text in texts if text.get_visible() and text.get_text()]


def letters(figure: Figure) -> int:
    """How many Rs the first panel has."""
    found = next(item for item in figure.axes[0].collections if item.get_gid() == "retransmission")
    return int(np.shape(found.get_offsets())[0])


def overlaps(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of texts in the picture that cover each other."""
    figure.draw_without_rendering()
    # Text's own method: an annotation's would count its arrow, too.
    boxes = [(text.get_text(), Text.get_window_extent(text)) for text in drawn_texts(figure)]
    found = []
    for (one, a), (other, b) in combinations(boxes, 2):
        if min(a.x1, b.x1) - max(a.x0, b.x0) > 1 and min(a.y1, b.y1) - max(a.y0, b.y0) > 1:
            found.append((one, other))
    return found


def test_a_png_has_its_size(tmp_path: Path) -> None:
    stream, moves = stream_of()
    path = tmp_path / "picture.png"
    draw_time_sequence(stream, path, moves=moves, title="mobility")
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack("!II", data[16:24]) == (1600, 1000)


def test_an_svg_says_what_it_shows(tmp_path: Path) -> None:
    stream, moves = stream_of()
    words, ids = svg_of(stream, moves, tmp_path / "picture.svg")
    (interruption,) = build(view_of(stream), moves).interruptions
    for expected in (
        "mobility, profile paper, at the mobile",
        "data from 10.0.0.1 to 10.0.1.2, then 10.0.2.2",
        "move",
        "Migrate SYN from 10.0.2.2",
        "Buffered packets",
        "(old address)",
        "data, old address 10.0.1.2",
        "data, new address 10.0.2.2",
        "acknowledged",
        "window's edge",
        "retransmission",
        f"no new data for {interruption.seconds:.3f} s",
        "sequence number − Na (bytes)",
        "time since the first SYN (s)",
    ):
        assert expected in words
    wanted = {"data-0", "data-1", "ack", "edge", "retransmission", "mark-move", "mark-migrate", "late"}
    assert wanted | {"segment-5", "segment-6", "segment-7"} <= ids
    assert "sack" not in ids


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        (Setting(), "no new data for 1.888 s"),
        (Setting(upload=True), "nothing sent for 1.695 s"),
        # One segment went to the old address, before the server heard of the move.
        (Setting(vantage="server"), "sent only in vain for 1.767 s"),
    ],
)
def test_what_stood_still_is_said(tmp_path: Path, setting: Setting, words: str) -> None:
    stream, moves = stream_of(setting)
    assert words in svg_of(stream, moves, tmp_path / "picture.svg")[0]


def test_sack_blocks_are_drawn_where_there_are_any(tmp_path: Path) -> None:
    stream, moves = stream_of(Setting(lose=(25, 27)))
    words, ids = svg_of(stream, moves, tmp_path / "picture.svg")
    assert "sack" in ids
    assert "SACK block" in words


def test_the_same_trace_gives_the_same_file(tmp_path: Path) -> None:
    stream, moves = stream_of()
    for name in ("one.svg", "two.svg"):
        draw_time_sequence(stream, tmp_path / name, moves=moves)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


def test_without_retransmissions_no_mark_is_drawn(tmp_path: Path) -> None:
    stream, moves = stream_of()
    late = [s for s in stream.segments if s.epoch == 0 and s.length and s.time > moves[0]]
    stream = replace(stream, segments=tuple(s for s in stream.segments if s not in late))
    words, ids = svg_of(stream, moves, tmp_path / "picture.svg")
    assert "retransmission" not in ids
    assert "retransmission" not in words
    assert "late" not in ids
    assert "Buffered packets" not in words


def test_without_a_migrate_syn_no_line_is_drawn(tmp_path: Path) -> None:
    stream, moves = stream_of()
    stream = replace(stream, segments=tuple(s for s in stream.segments if not (s.epoch == 1 and s.flags == SYN)))
    words, ids = svg_of(stream, moves, tmp_path / "picture.svg")
    assert "mark-migrate" not in ids
    assert "segment-5" not in ids
    assert "Migrate SYN from" not in words
    assert "mark-move" in ids


def test_many_moves_are_ticks_and_hide_nothing(tmp_path: Path) -> None:
    stream, moves = stream_of(VERY_MANY)
    plot = build(view_of(stream), moves)
    asked = sum(mark.kind == "migrate" for mark in plot.marks)
    assert len(plot.marks) > labels.MANY
    words, ids = svg_of(stream, moves, tmp_path / "picture.svg")
    assert f"{len(moves)} moves" in words
    assert f"{asked} Migrate SYNs" in words
    assert "Migrate SYN from" not in words
    assert {"mark-move", "mark-migrate"} <= ids
    assert "late" not in ids
    main = make_figure(plot).axes[0]
    low, _ = main.get_ylim()
    assert not [line for line in main.lines if line.get_ydata()[0] == low], "no line from top to bottom"  # type: ignore[index]


def test_a_long_interruption_is_enlarged_all_the_same() -> None:
    stream, moves = stream_of(Setting(away=60.0))
    plot = build(view_of(stream), moves)
    (chosen,) = plot.interruptions
    (low, high), (first, last) = zoom_times(plot, chosen), plot.span
    assert low < chosen.start < chosen.end < high
    assert high - low < chosen.seconds + 0.3 * (last - first)


def test_at_the_sender_nothing_is_called_buffered(tmp_path: Path) -> None:
    stream, moves = stream_of(Setting(vantage="server"))
    words, _ = svg_of(stream, moves, tmp_path / "picture.svg")
    assert "Buffered" not in words
    assert "Still to the" in words


@pytest.mark.parametrize("name", SETTINGS_DRAWN)
def test_no_label_covers_another(name: str) -> None:
    stream, moves = stream_of(SETTINGS_DRAWN[name])
    with matplotlib.rc_context(SETTINGS):
        figure = make_figure(build(view_of(stream), moves), title="mobility, profile paper, IPv4, at the mobile")
        assert overlaps(figure) == []


def test_a_covered_label_would_be_found() -> None:
    stream, moves = stream_of()
    with matplotlib.rc_context(SETTINGS):
        figure = make_figure(build(view_of(stream), moves), title="mobility")
        figure.text(0.07, 0.966, "on the title")
        assert overlaps(figure) == [("mobility", "on the title")]


def test_the_second_panel_shows_the_interruption_chosen() -> None:
    stream, moves = stream_of(SETTINGS_DRAWN["three"])
    plot = build(view_of(stream), moves)
    for index, chosen in enumerate(plot.interruptions, start=1):
        figure = make_figure(plot, zoom=index)
        low, high = figure.axes[1].get_xlim()
        assert low < chosen.start < chosen.end < high
        assert (low, high) == zoom_times(plot, chosen)
        bottom, top = zoom_values(plot, chosen, low, high)
        assert bottom < chosen.value < top


def test_without_a_migration_there_is_one_panel() -> None:
    stream, _ = stream_of(Setting(move_after=()))
    assert len(make_figure(build(view_of(stream))).axes) == 1


def test_a_long_trace_is_drawn_with_fewer_letters_in_megabytes() -> None:
    setting = Setting(
        rate=20e6, delay=0.005, size=2_500_000, move_after=(1_000_000,), window=1_000_000, shift=5, away=0.2
    )
    stream, moves = stream_of(setting)
    plot = build(view_of(stream), moves)
    figure = make_figure(plot)
    again = sum(arrow.retransmitted for arrow in plot.data)
    assert 10 < letters(figure) < again / 4
    assert figure.axes[0].get_ylabel() == "sequence number − Na (MB)"


def test_on_a_modem_every_retransmission_has_its_letter() -> None:
    stream, moves = stream_of()
    plot = build(view_of(stream), moves)
    assert letters(make_figure(plot)) == sum(arrow.retransmitted for arrow in plot.data) == 22


def test_a_handshake_alone_can_be_drawn(tmp_path: Path) -> None:
    stream, _ = stream_of(Setting(move_after=()))
    draw_time_sequence(replace(stream, segments=stream.segments[:1]), tmp_path / "picture.png")
    draw_time_sequence(replace(stream, segments=stream.segments[:3]), tmp_path / "picture.png")


def test_another_suffix_is_refused_and_nothing_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\.png or \.svg"):
        draw_time_sequence(stream_of()[0], tmp_path / "picture.gif")
    assert list(tmp_path.iterdir()) == []
