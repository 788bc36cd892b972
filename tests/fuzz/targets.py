"""What must hold whatever the bytes: one function for each parser, which raises AssertionError where it does not.

Hypothesis and atheris call the same ones.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from analysis.capture import split_options
from analysis.diagram import Diagram, DiagramError, parse
from migrate.core import (
    MIGRATE_KIND,
    MP_KIND,
    Migrate,
    MigratePermitted,
    OptionError,
    Segment,
    SegmentError,
    migrate_option,
    options,
    sack_blocks,
    sack_option,
    timestamp,
    timestamp_option,
)

Target = Callable[[bytes], None]
_SENTENCE = re.compile(r"fuzzed(, line (\d+)(, column \d+)?)?: .*\.", re.DOTALL)
# Only these are about the whole of a text, and no line of it.
_OF_THE_WHOLE = re.compile(
    "is missing|both ends are called|two addresses of|the vantage|no segment to look for|there is no earlier line"
)


def tcp_options(raw: bytes) -> None:
    """The option parsers: OptionError or a value, and the value written out is what was read."""
    captured = split_options(raw)
    try:
        found = options.split(raw)
    except OptionError:
        return
    assert [(one.kind, one.data) for one in found] == [one for one in captured if one[0] > 1][: len(found)]
    for kind, data in found:
        one = bytes((kind, len(data) + 2)) + data
        assert options.split(one) == ((kind, data),)
        if kind == MIGRATE_KIND:
            _migrate(data)
        elif kind == MP_KIND:
            _permitted(data)
    try:
        times, blocks = timestamp(raw), sack_blocks(raw)
    except OptionError:
        return
    assert times is None or timestamp(timestamp_option(*times)) == times
    assert len(blocks) > 4 or sack_blocks(sack_option(blocks)) == blocks


def _migrate(data: bytes) -> None:
    try:
        option = Migrate.decode(data)
    except OptionError:
        assert len(data) != 17
        return
    assert option.encode()[3:] == data
    assert options.octet(option.preload, option.reqno) == data[0]


def _permitted(data: bytes) -> None:
    try:
        option = MigratePermitted.decode(data)
    except OptionError:
        assert len(data) != (18 if data[:1] > b"\0" else 1)
        return
    assert option.encode()[2:] == data


def segment(raw: bytes) -> None:
    """Segments: SegmentError or a segment, and the segment written out is read as itself."""
    try:
        found = Segment.parse(raw)
    except SegmentError:
        return
    assert len(found.options) <= 40
    assert Segment.parse(found.pack()) == found
    try:
        option = migrate_option(found)
    except OptionError:
        option = None
    assert option is None or option.encode()[1:] in found.options
    tcp_options(found.options)


def parsed(text: str) -> Diagram | None:
    """The diagram of a text; None where it is refused, in one sentence that says where."""
    try:
        return parse(text, "fuzzed")
    except DiagramError as error:
        said = str(error)
        found = _SENTENCE.fullmatch(said)
        assert found, f"no sentence: {said!r}"
        if found[2] is None:
            assert _OF_THE_WHOLE.search(said), f"no line: {said!r}"
        else:
            assert 1 <= int(found[2]) <= text.count("\n") + 1, f"no such line: {said!r}"
        return None


def diagram(raw: bytes) -> None:
    """Diagrams: DiagramError with its line, or a diagram, and that written out is read as itself."""
    # Here, so that the others run where hypothesis is not installed.
    from tests.analysis.diagram_texts import bare, text_of

    found = parsed(raw.decode("utf-8", "replace"))
    if found is not None:
        assert bare(parse(text_of(found), "fuzzed")) == bare(found)


TARGETS: dict[str, Target] = {"options": tcp_options, "segment": segment, "diagram": diagram}
