"""`python -m analysis draw` and `ladder`: one connection of any capture as a picture."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from analysis import diagram as diagrams
from analysis import keylog, stream
from analysis.checking import _ports, _seconds, find

DRAWN = 0
LISTED = 5  # connections named in a message
STANDARD_OUTPUT = "-"


class DrawingError(Exception):
    """Nothing can be drawn; the text is one sentence that says why and what to do."""


def add_draw_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `draw`."""
    _add_common_arguments(parser)
    parser.add_argument(
        "--out", metavar="FILE", default="time-sequence.png", help="a .png or .svg (default: %(default)s)"
    )


def add_ladder_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `ladder`."""
    _add_common_arguments(parser)
    parser.add_argument(
        "--out", metavar="FILE", default=STANDARD_OUTPUT, help="a .svg or .txt, or - to print it (the default)"
    )


def _add_common_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "traces", metavar="TRACE", nargs="+", help="captures (pcap or pcapng) of one vantage point: one per interface"
    )
    parser.add_argument("--diagram", metavar="DIAGRAM", help="hold the connection against it, as check does")
    parser.add_argument("--keys", metavar="FILE", action="append", default=[], help="key log; may be repeated")
    parser.add_argument("--rtt", metavar="SECONDS", type=_seconds, help="round trip, instead of the one in the trace")
    parser.add_argument("--port", type=int, help="consider only connections with this port at either end")
    parser.add_argument("--connection", metavar="N", type=int, help="the Nth connection of the traces, from 1")


def draw(arguments: argparse.Namespace) -> int:
    """The time-sequence picture, into a file.  Raises DrawingError and the errors of its parts."""
    path = _target(arguments.out, (".png", ".svg"))
    one, judged = _load(arguments)
    from analysis.pictures.time_sequence import draw_time_sequence  # which loads all of matplotlib

    try:
        draw_time_sequence(one, path, title=_title(arguments.traces, judged), names=_names(one, judged))
    except OSError as error:
        raise _unwritable(path, error) from None
    print(path)
    return DRAWN


def ladder(arguments: argparse.Namespace) -> int:
    """The sequence diagram, printed or into a file.  Raises DrawingError and the errors of its parts."""
    path = None if arguments.out == STANDARD_OUTPUT else _target(arguments.out, (".svg", ".txt"))
    one, judged = _load(arguments)
    from analysis.pictures.ladder import ladder_text
    from analysis.pictures.ladder_svg import ladder_svg

    title, names = _title(arguments.traces, judged), _names(one, judged)
    expected = None if judged is None else judged[1].matches
    if path is None:
        print(ladder_text(one, expected=expected, names=names, title=title))
        return DRAWN
    if path.suffix.lower() == ".svg":
        text = ladder_svg(one, expected=expected, names=names, title=title)
    else:
        text = ladder_text(one, expected=expected, names=names, title=title, colour=False) + "\n"
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise _unwritable(path, error) from None
    print(path)
    return DRAWN


def choose(
    streams: Sequence[stream.Stream], *, port: int | None = None, connection: int | None = None
) -> stream.Stream:
    """The one connection to draw; `connection` counts all of them from 1.

    Raises DrawingError where there is none, or several and none is named.
    """
    numbered = list(enumerate(streams, 1))
    if connection is not None:
        if not 1 <= connection <= len(numbered):
            raise DrawingError(f"There is no connection {connection}: the traces have {len(numbered)}.")
        numbered = [numbered[connection - 1]]
    found = [(number, one) for number, one in numbered if port is None or port in _ports(one)]
    if not found:
        which = "no connection" if connection is None else f"a connection {connection}, but not one"
        raise DrawingError(f"The traces have {which} with port {port}.")
    if len(found) == 1:
        return found[0][1]
    # Those that moved come first: they are what one looks for here.
    found.sort(key=lambda item: -len(item[1].epochs))
    said = "; ".join(f"{number}: {one}" for number, one in found[:LISTED])
    more = f"; and {len(found) - LISTED} more" if len(found) > LISTED else ""
    raise DrawingError(
        f"The traces have {len(found)} connections{'' if port is None else f' with port {port}'}: "
        f"choose one with --connection N ({said}{more})."
    )


_Judged = tuple[diagrams.Diagram, diagrams.Verdict]


def _load(arguments: argparse.Namespace) -> tuple[stream.Stream, _Judged | None]:
    diagram = None if arguments.diagram is None else diagrams.load(find(arguments.diagram))
    keys = keylog.read_keys(arguments.keys)
    streams = stream.load(arguments.traces, diagram.vantage if diagram else "", keys)
    one = choose(streams, port=arguments.port, connection=arguments.connection)
    return one, None if diagram is None else (diagram, diagrams.check(diagram, one, arguments.rtt))


def _target(name: str, suffixes: tuple[str, str]) -> Path:
    path = Path(name)
    if path.suffix.lower() not in suffixes:
        raise DrawingError(f"{name} is neither a {suffixes[0]} nor a {suffixes[1]}: give --out such a name.")
    return path


def _unwritable(path: Path, error: OSError) -> DrawingError:
    return DrawingError(f"{path} cannot be written: {error.strerror}.")


def _title(traces: Sequence[str], judged: _Judged | None) -> str:
    files = ", ".join(Path(trace).name for trace in traces)
    if judged is None:
        return files
    diagram, verdict = judged
    return f"{files}: {'as' if verdict.good else 'NOT as'} {diagram.name} has it"


def _names(one: stream.Stream, judged: _Judged | None) -> dict[str, str]:
    """What to call the addresses: as the diagram does."""
    if judged is None:
        return {}
    diagram = judged[0]
    names = {epoch.responder.address: diagram.responder.name for epoch in one.epochs}
    return names | {epoch.initiator.address: diagram.initiator.name for epoch in one.epochs}
