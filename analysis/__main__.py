"""The command line: `python -m analysis check DIAGRAM TRACE...`, `draw TRACE...` and `ladder TRACE...`.

Exit status: 0 pass or drawn, 1 the trace is not what was expected (check only), 2 input that cannot be used (one
sentence on stderr).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from analysis import checking, drawing
from analysis.capture import CaptureError
from analysis.diagram import DiagramError, Unusable
from analysis.drawing import DrawingError
from analysis.keylog import KeyLogError


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m analysis",
        description="Judge and draw captures of migrated connections.",
        epilog="Exit status: 0 pass or drawn, 1 the trace is not what was expected (check), 2 unusable input.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    check = commands.add_parser("check", help="hold captures against an expected sequence diagram")
    checking.add_arguments(check)
    check.set_defaults(run=checking.run)
    draw = commands.add_parser("draw", help="draw a connection's sequence numbers against time")
    drawing.add_draw_arguments(draw)
    draw.set_defaults(run=drawing.draw)
    ladder = commands.add_parser("ladder", help="draw a connection's segments between its ends, expected ones beside")
    drawing.add_ladder_arguments(ladder)
    ladder.set_defaults(run=drawing.ladder)
    arguments = parser.parse_args(argv)
    try:
        status: int = arguments.run(arguments)
        sys.stdout.flush()
    except (CaptureError, DiagramError, DrawingError, KeyLogError, Unusable) as error:
        print(error, file=sys.stderr)
        return checking.UNUSABLE
    except BrokenPipeError:
        # The reader, for example head, has seen enough; Python would complain once more when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return checking.UNUSABLE
    return status


if __name__ == "__main__":
    sys.exit(main())
