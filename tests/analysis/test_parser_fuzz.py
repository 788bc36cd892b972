"""The diagram parser under diagrams that nobody wrote: every valid one is read as it is meant, every other refused."""

from __future__ import annotations

import re

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from analysis.diagram import model as m
from analysis.diagram import parse
from tests.analysis.diagram_texts import bare, diagrams, text_of
from tests.fuzz.targets import parsed

SLOW = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
CHARACTERS = sorted(set("mobile > server[S.F?]<>{}=.,#\r\n\t 0x19a_-…é\x00\x0c\x1c\u2028"))
PIECES = re.compile(r"\w+|[^\w\s]|\s+")


@SLOW
@given(diagrams())
def test_what_is_written_out_is_read_as_it_was(diagram: m.Diagram) -> None:
    assert bare(parse(text_of(diagram))) == bare(diagram)


@SLOW
@given(diagrams(), st.data())
def test_a_valid_diagram_that_is_damaged_is_one_or_is_refused_with_its_line(
    diagram: m.Diagram, data: st.DataObject
) -> None:
    pieces = PIECES.findall(text_of(diagram))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(pieces) - 1))
        other = data.draw(st.sampled_from(pieces) | st.text(max_size=3))
        match data.draw(st.sampled_from(["replace", "remove", "insert", "swap"])):
            case "replace":
                pieces[at] = other
            case "remove":
                pieces[at] = ""
            case "insert":
                pieces.insert(at, other)
            case "swap":
                to = data.draw(st.integers(0, len(pieces) - 1))
                pieces[at], pieces[to] = pieces[to], pieces[at]
    parsed("".join(pieces))


@SLOW
@given(st.text(alphabet=st.sampled_from(CHARACTERS)))
@example("a opens from x\nb answers at y\nvantage a\n\x0c1 a > b\n")
@example("1\x00")
def test_any_text_of_these_characters(text: str) -> None:
    parsed(text)
