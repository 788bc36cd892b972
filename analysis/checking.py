"""`python -m analysis check`: captures against a diagram."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from analysis import diagram as diagrams
from analysis import keylog, stream

PASS, FAIL, UNUSABLE = 0, 1, 2
SHIPPED = Path(__file__).with_name("diagrams")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `check`."""
    parser.add_argument("diagram", metavar="DIAGRAM", help="a diagram's file, or the name of one in analysis/diagrams")
    parser.add_argument(
        "traces", metavar="TRACE", nargs="+", help="captures (pcap or pcapng) of one vantage point: one per interface"
    )
    parser.add_argument("--keys", metavar="FILE", action="append", default=[], help="key log; may be repeated")
    parser.add_argument("--rtt", metavar="SECONDS", type=_seconds, help="round trip, instead of the one in the trace")
    parser.add_argument("--port", type=int, help="judge only connections with this port at either end")
    parser.add_argument("--json", action="store_true", help="the verdict as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Exit status: 0 the traces are what the diagram says, 1 they are not.  Raises the errors of its parts."""
    diagram = diagrams.load(find(arguments.diagram))
    keys = keylog.read_keys(arguments.keys)
    streams = stream.load(arguments.traces, diagram.vantage, keys)
    verdicts = judge(diagram, streams, rtt=arguments.rtt, port=arguments.port)
    if arguments.json:
        print(json.dumps(diagrams.as_json(diagram, verdicts), indent=2))
    else:
        colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        print(diagrams.as_text(diagram, verdicts, colour=colour))
    return PASS if all(verdict.good for verdict in verdicts) else FAIL


def find(name: str) -> Path:
    """The file of a diagram: as it is given, or the one of that name among those that come with the project."""
    shipped = SHIPPED / f"{name}.diagram"
    return shipped if not Path(name).exists() and "/" not in name and shipped.exists() else Path(name)


def judge(
    diagram: diagrams.Diagram, streams: Sequence[stream.Stream], *, rtt: float | None = None, port: int | None = None
) -> list[diagrams.Verdict]:
    """The verdict on every connection that the diagram is about, at least one.

    A diagram in which somebody moves is about connections that migrate; if none does, about all of them.
    Raises Unusable where there is no connection.
    """
    streams = [one for one in streams if port is None or port in _ports(one)]
    if not streams:
        raise diagrams.Unusable(f"The traces have no connection with port {port}.")
    if len(diagram.initiator.addresses) + len(diagram.responder.addresses) > 2:
        streams = [one for one in streams if len(one.epochs) > 1] or list(streams)
    return [diagrams.check(diagram, one, rtt) for one in streams]


def _ports(one: stream.Stream) -> set[int]:
    return {end.port for epoch in one.epochs for end in (epoch.initiator, epoch.responder)}


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds < 3600:
        raise argparse.ArgumentTypeError(f"'{text}' is no round trip in seconds, for example 0.1")
    return seconds
