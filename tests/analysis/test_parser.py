"""The diagram language: what it accepts, and one sentence with line and column for what it does not."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.capture import ACK, FIN, RST, SYN
from analysis.checking import SHIPPED
from analysis.diagram import DiagramError, load, parse
from analysis.diagram.model import Repeat

HEAD = "mobile opens from old, moves to new\nserver answers at fixed\nvantage mobile\n"


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.diagram")), ids=lambda path: path.stem)
def test_the_diagrams_that_come_with_it(path: Path) -> None:
    diagram = load(path)
    labels = [step.label for step in diagram.steps if step.label]
    assert labels[0] == "1"
    assert len(set(labels)) == len(labels)
    if path.stem.startswith("mobility"):
        assert labels[:8] == list("12345678")


def test_parts_of_a_line() -> None:
    text = "mobile.new > server [.] seq = S = snd_una(mobile) - 1, win >= 0 <nop, migrate req=1 preload, ...>"
    (step,) = parse(f"{HEAD}7  {text}").steps
    (pattern,) = step.patterns
    assert step.label == "7"
    assert (str(pattern.source), str(pattern.target)) == ("mobile.new", "server")
    assert len(pattern.terms) == 2
    assert pattern.options is not None
    assert [option.name for option in pattern.options.options] == ["nop", "migrate"]
    assert pattern.options.options[1].preload
    assert pattern.options.others
    assert pattern.line == 4
    assert pattern.text == text


@pytest.mark.parametrize(
    ("text", "required", "optional", "exact"),
    [
        ("[S]", SYN, 0, True),
        ("[S.]", SYN | ACK, 0, True),
        ("[F?.]", ACK, FIN, True),
        ("[]", 0, 0, True),
        ("RST", RST, 0, False),
    ],
)
def test_flags(text: str, required: int, optional: int, exact: bool) -> None:
    flags = parse(f"{HEAD}mobile > server {text}").steps[0].patterns[0].flags
    assert flags is not None
    assert (flags.required, flags.optional, flags.exact) == (required, optional, exact)


def test_a_line_goes_on_after_a_comma_and_before_its_options() -> None:
    text = HEAD + "mobile > server [.] seq = 5,   # why\n   ack = 6\n    <timestamps>\nnever RST\n"
    diagram = parse(text)
    (pattern,) = diagram.steps[0].patterns
    assert len(pattern.terms) == 2
    assert pattern.options is not None
    assert pattern.text == "mobile > server [.] seq = 5, ack = 6 <timestamps>"
    assert diagram.never[0].pattern.line == 7


def test_repetition() -> None:
    lines = ["optional mobile > server", "one of {\nmobile > server\n}", "one or more of mobile > server"]
    lines += ["any number of {\n  # two\n\n  mobile > server\n  server > mobile\n}"]
    diagram = parse(HEAD + "\n".join(lines))
    kinds = [Repeat.OPTIONAL, Repeat.ONCE, Repeat.ONE_OR_MORE, Repeat.ANY_NUMBER]
    assert [step.repeat for step in diagram.steps] == kinds
    assert len(diagram.steps[3].patterns) == 2


def test_windows_line_ends_and_no_last_one() -> None:
    assert len(parse((HEAD + "mobile > server\n\nnever RST").replace("\n", "\r\n")).never) == 1


ERRORS = [
    ("mobile opens from\n", "line 1, column 18: expected a name, found the end of the line"),
    (HEAD + "1 mobile server", "line 4, column 10: expected . or >, found 'server'"),
    (HEAD + "1 mobile > server [SX]", "line 4, column 19: [SX] has no flag 'X'"),
    (HEAD + "1 mobile > server [?]", "line 4, column 19: [?] has no flag '?'"),
    (HEAD + "1 mobile > server [S] seq 5", "line 4, column 27: expected = or a comparison such as <=, found '5'"),
    (HEAD + "1 mobile > server [S] seq = 5.5", "line 4, column 29: 5.5 must be a whole number"),
    (HEAD + "1 mobile > server [S] <mss, foo>", "line 4, column 29: expected ... or an option such as timestamps"),
    (HEAD + "1 mobile > server [S] <mss", "found the end of the file"),
    (HEAD + "1 mobile > server\n2 optional {\n", "line 5, column 13: expected a name or the end of the line"),
    (HEAD + "§", "line 4, column 1"),
    (HEAD, "it has no segment to look for"),
    ("", "a line such as 'mobile opens from old' is missing"),
    ("mobile opens from old\nserver answers at fixed\nmobile > server", "'vantage mobile', which says where"),
    (HEAD + "vantage mobile\nmobile > server", "line 4: 'vantage' is there a second time"),
    (HEAD + "phone > server", "line 4: phone is neither mobile nor server"),
    (HEAD + "mobile.home > server", "line 4: mobile has no address home, only old, new"),
    (HEAD + "mobile > mobile", "line 4: mobile sends to itself"),
    (HEAD + "1 mobile > server\n1 mobile > server", "line 5: the label 1 is there a second time"),
    (HEAD + "1 mobile > server [.] within 2 ms of 2", "line 4: there is no earlier line 2"),
    (HEAD + "1 mobile > server\nmobile > server within 2 rtt of 1", "'rtt' needs a line such as"),
    (HEAD + "rtt from 1 to 2\n1 mobile > server", "there is no earlier line 2"),
    (HEAD + "mobile > server seq = 7.ack", "line 4: there is no earlier line 7"),
    (HEAD + "mobile > server seq = S - 1", "line 4: S has no value yet"),
    (HEAD + "mobile > server seq <= S", "line 4: S has no value yet"),
    (HEAD + "mobile > server seq = snd_una(phone)", "line 4: phone is neither"),
    (HEAD + "mobile > server seq = snd_una(mobile.old)", "line 4: snd_una belongs to mobile, not to one of its"),
    (HEAD + "mobile > server <timestamps=5>", "line 4: the option timestamps has no value"),
    (HEAD + "mobile > server <mss req=1>", "line 4: the option mss has no parameter req"),
    (HEAD + "mobile > server <mss preload>", "line 4: the option mss has no preload"),
    (HEAD + "mobile > server\nnever RST after 9", "line 5: there is no earlier line 9"),
    (HEAD.replace("vantage mobile", "vantage router") + "mobile > server", "the vantage router is neither"),
    ("a opens from x\na answers at y\nvantage a\na > a", "both ends are called a"),
    ("a opens from x, moves to x\nb answers at y\nvantage a\na > b", "two addresses of a have the same name"),
]


@pytest.mark.parametrize(("text", "sentence"), ERRORS, ids=[sentence[:50] for _, sentence in ERRORS])
def test_errors_say_where_and_what(text: str, sentence: str) -> None:
    with pytest.raises(DiagramError) as error:
        parse(text, "some.diagram")
    said = str(error.value)
    assert sentence in said
    assert said.startswith("some.diagram")
    assert said.endswith(".")
    assert "\n" not in said


def test_unusable_files(tmp_path: Path) -> None:
    with pytest.raises(DiagramError, match=re.escape("cannot be read: No such file")):
        load(tmp_path / "none.diagram")
    (tmp_path / "binary.diagram").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DiagramError, match="not plain text"):
        load(tmp_path / "binary.diagram")


# Fuzzing: whatever the text, there is a diagram or a DiagramError.

MOBILITY = (SHIPPED / "mobility.diagram").read_text(encoding="utf-8")
WORDS = [*sorted(set(re.findall(r"\w+|[^\w\s]|\n", MOBILITY))), "0x1f", "preload", "9" * 5000, "?", "é"]


def is_handled(text: str) -> None:
    with contextlib.suppress(DiagramError):
        parse(text)


@settings(max_examples=150)
@given(st.text())
def test_any_text(text: str) -> None:
    is_handled(text)
    is_handled(HEAD + text)


@settings(max_examples=150)
@given(st.lists(st.sampled_from(WORDS), max_size=30))
def test_any_words_of_the_language(words: list[str]) -> None:
    is_handled(HEAD + "1 mobile > server\n" + " ".join(words))


@settings(max_examples=150)
@given(st.data())
def test_a_diagram_with_one_word_changed(data: st.DataObject) -> None:
    tokens = re.findall(r"\w+|[^\w]", MOBILITY)
    index = data.draw(st.integers(0, len(tokens) - 1))
    tokens[index] = data.draw(st.sampled_from([*WORDS, ""]))
    is_handled("".join(tokens))
