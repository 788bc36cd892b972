"""Coverage-guided fuzzing of the parsers: `python -m tests.fuzz NAME [--seconds N] [--corpus DIRECTORY]`.

NAME is options, segment or diagram.  Ends with status 0 if nothing was found; else the input that did it lies in the
current directory, and `python -m tests.fuzz NAME --input FILE` runs it once more.  Needs atheris, which nothing else
here does.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from pathlib import Path

NOT_THERE = "atheris is not installed: run .venv/bin/pip install atheris (Linux, Python 3.11 to 3.13), and try again"
LONGEST = {"options": 64, "segment": 200, "diagram": 6000}
WATCHED = ["migrate.core", "analysis.diagram", "analysis.capture", "lark"]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("name", choices=sorted(LONGEST))
    parser.add_argument("--seconds", type=int, default=60, help="how long (default %(default)s)")
    parser.add_argument("--corpus", type=Path, help="directory of inputs to go on from, and to add to")
    parser.add_argument("--input", type=Path, help="only this one")
    chosen = parser.parse_args()
    try:
        import atheris
    except ImportError:
        atheris = None
    if atheris is None and not chosen.input:
        print(NOT_THERE, file=sys.stderr)
        return 2
    # The fuzzer sees the branches of what is imported here.
    with atheris.instrument_imports(include=WATCHED) if atheris else contextlib.nullcontext():
        from tests.fuzz.seeds import dictionary, seeds
        from tests.fuzz.targets import TARGETS
    target = TARGETS[chosen.name]
    if chosen.input:
        target(chosen.input.read_bytes())
        print("nothing wrong")
        return 0
    with tempfile.TemporaryDirectory() as place:
        begin, words = Path(place, "seeds"), Path(place, "words")
        begin.mkdir()
        for number, seed in enumerate(seeds(chosen.name)):
            (begin / str(number)).write_bytes(seed)
        words.write_text(dictionary())
        flags = [f"-max_total_time={chosen.seconds}", f"-max_len={LONGEST[chosen.name]}", f"-dict={words}"]
        directories = [str(directory) for directory in (chosen.corpus, begin) if directory]
        atheris.Setup([sys.argv[0], *flags, *directories], target)
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
