"""Diagram text to a Diagram: lark parses, this module gives the parts their meaning and its errors their sentence."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from lark import Lark, Token, Transformer, Tree, UnexpectedInput, v_args
from lark.exceptions import UnexpectedCharacters, UnexpectedToken, VisitError
from lark.tree import Meta

from analysis.capture import ACK, FIN, PSH, RST, SYN
from analysis.diagram import model as m
from analysis.diagram.validation import validate

_URG = 32
_FLAG_LETTERS = {"S": SYN, "F": FIN, "R": RST, "P": PSH, ".": ACK, "U": _URG}
_FLAG_WORDS = {"SYN": SYN, "FIN": FIN, "RST": RST}

# What lark's terminals are to a person; terminals of one character speak for themselves.
_WORDS = {
    "NAME": "a name",
    "LABEL": "a label such as 5",
    "NUMBER": "a number",
    "HEX": "a hexadecimal number",
    "REFERENCE": "a field of an earlier line such as 7.ack",
    "FUNCTION": "snd_una(...), snd_nxt(...), rcv_nxt(...) or edge(...)",
    "FLAGS": "flags such as [S.]",
    "FLAG_WORD": "SYN, FIN or RST",
    "FIELD": "seq, ack, win, length or end",
    "COMPARISON": "a comparison such as <=",
    "EQUAL": "=",
    "MORETHAN": ">",
    "LESSTHAN": "options such as <timestamps>",
    "OPTION": "an option such as timestamps",
    "PARAM": "token=, request=, req= or curve=",
    "ELLIPSIS": "...",
    "MAYBE": "?",
    "SIGN": "+ or -",
    "UNIT": "rtt, ms or s",
    "_NL": "the end of the line",
    "$END": "the end of the file",
    "LBRACE": "{",
    "RBRACE": "}",
    "LPAR": "(",
    "RPAR": ")",
    "COMMA": "a comma",
    "DOT": ".",
}


@lru_cache(maxsize=1)
def _lark() -> Lark:
    grammar = Path(__file__).with_name("grammar.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", lexer="contextual", propagate_positions=True, maybe_placeholders=True)


def load(path: Path | str) -> m.Diagram:
    """The diagram in a file.  Raises DiagramError."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise m.DiagramError(f"{path} is no diagram: it is not plain text.") from None
    except OSError as error:
        raise m.DiagramError(f"The diagram {path} cannot be read: {error.strerror}.") from None
    return parse(text, path.name)


def parse(text: str, name: str = "diagram") -> m.Diagram:
    """The diagram that a text describes; `name` is what messages call it.  Raises DiagramError."""
    try:
        tree = _lark().parse(text)
        statements: list[Any] = _Builder(text).transform(tree)
    except UnexpectedInput as error:
        raise m.DiagramError(_sentence(error, text, name)) from None
    except VisitError as error:
        if isinstance(error.orig_exc, m.DiagramError):
            raise m.DiagramError(f"{name}, {error.orig_exc}") from None
        raise
    return validate(statements, name)


def _sentence(error: UnexpectedInput, text: str, name: str) -> str:
    if isinstance(error, UnexpectedToken):
        expected = set(error.accepts or error.expected)
        found = "the end of the file" if error.token.type == "$END" else _quoted(str(error.token))
    elif isinstance(error, UnexpectedCharacters):
        expected = set(error.allowed or ())
        at = error.pos_in_stream or 0
        found = _quoted(text[at : at + 12].split("\n")[0])
    else:
        expected, found = {"$END"}, "the end of the file"
    line, column = int(error.line or -1), int(error.column or -1)
    if line < 1:  # lark's way to say: at the end
        line, column = text.count("\n") + 1, len(text.rsplit("\n", 1)[-1]) + 1
    words = sorted({_WORDS.get(terminal, terminal.lower()) for terminal in expected if terminal not in _IGNORED})
    wanted = " or ".join(words) if words else "nothing more"
    return f"{name}, line {line}, column {column}: expected {wanted}, found {found}."


_IGNORED = {"AFTER_COMMA", "BEFORE_OPTIONS", "__IGNORE_0", "__IGNORE_1"}


def _quoted(found: str) -> str:
    return "the end of the line" if not found.strip("\r\n") else f"'{found.strip()}'"


@v_args(meta=True)
class _Builder(Transformer[Token, Any]):
    """Bottom up, one method per rule of the grammar."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def _source(self, meta: Meta) -> str:
        if meta.empty:
            return ""
        lines = self._text[meta.start_pos : meta.end_pos].splitlines()
        return " ".join(" ".join(line.split("#")[0].split()) for line in lines)

    def start(self, _: Meta, children: list[Any]) -> list[Any]:
        return children

    # Who there is.

    def opens(self, meta: Meta, children: list[Any]) -> tuple[str, m.Actor, int]:
        name, first, moves = children
        return "opens", m.Actor(str(name), (str(first), *moves)), meta.line

    def answers(self, meta: Meta, children: list[Any]) -> tuple[str, m.Actor, int]:
        name, first, moves = children
        return "answers", m.Actor(str(name), (str(first), *moves)), meta.line

    def moves(self, _: Meta, children: list[Any]) -> list[str]:
        return [str(child) for child in children]

    def vantage(self, meta: Meta, children: list[Any]) -> tuple[str, str, int]:
        return "vantage", str(children[0]), meta.line

    def rtt(self, meta: Meta, children: list[Any]) -> tuple[str, tuple[str, str], int]:
        return "rtt", (str(children[0]), str(children[1])), meta.line

    def verify(self, meta: Meta, _: list[Any]) -> tuple[str, bool, int]:
        return "verify", True, meta.line

    # What happens.

    def step(self, meta: Meta, children: list[Any]) -> m.Step:
        label, *rest = children
        repeat, body = rest if len(rest) == 2 else (m.Repeat.ONCE, rest[0])
        patterns = (body,) if isinstance(body, m.Pattern) else body
        return m.Step(None if label is None else str(label), repeat, patterns, meta.line)

    def optional(self, _meta: Meta, _children: list[Any]) -> m.Repeat:
        return m.Repeat.OPTIONAL

    def one_of(self, _meta: Meta, _children: list[Any]) -> m.Repeat:
        return m.Repeat.ONCE

    def one_or_more(self, _meta: Meta, _children: list[Any]) -> m.Repeat:
        return m.Repeat.ONE_OR_MORE

    def any_number(self, _meta: Meta, _children: list[Any]) -> m.Repeat:
        return m.Repeat.ANY_NUMBER

    def block(self, _: Meta, children: list[Any]) -> tuple[m.Pattern, ...]:
        return tuple(children)

    def meanwhile(self, _: Meta, children: list[Any]) -> m.Meanwhile:
        scope, body = children
        return m.Meanwhile(scope, (body,) if isinstance(body, m.Pattern) else body)

    def never(self, _: Meta, children: list[Any]) -> m.Never:
        pattern, scope = children
        return m.Never(scope, pattern)

    def scope(self, _: Meta, children: list[Any]) -> m.Scope:
        after, before = (None if child is None else str(child) for child in children)
        return m.Scope(after, before)

    # What a segment looks like.

    def pattern(self, meta: Meta, children: list[Any]) -> m.Pattern:
        (source, target), flags, terms, options = children
        return m.Pattern(source, target, flags, terms or (), options, meta.line, self._source(meta))

    def filter(self, meta: Meta, children: list[Any]) -> m.Pattern:
        flags, terms, options = children
        return m.Pattern(None, None, flags, terms or (), options, meta.line, self._source(meta))

    def route(self, _: Meta, children: list[Any]) -> tuple[m.Place, m.Place]:
        return children[0], children[1]

    def place(self, _: Meta, children: list[Any]) -> m.Place:
        actor, address = children
        return m.Place(str(actor), None if address is None else str(address))

    def exact_flags(self, meta: Meta, children: list[Any]) -> m.Flags:
        required = optional = last = 0
        text = str(children[0])
        for letter in text[1:-1]:
            if letter == "?" and last:
                required, optional, last = required & ~last, optional | last, 0
            elif letter in _FLAG_LETTERS:
                last = _FLAG_LETTERS[letter]
                required |= last
            else:
                raise m.DiagramError(f"line {meta.line}, column {meta.column}: {text} has no flag '{letter}'.")
        return m.Flags(required, optional, exact=True, text=text)

    def has_flag(self, _: Meta, children: list[Any]) -> m.Flags:
        return m.Flags(_FLAG_WORDS[children[0]], 0, exact=False, text=str(children[0]))

    def terms(self, _: Meta, children: list[Any]) -> tuple[m.Term, ...]:
        return tuple(children)

    def equals(self, meta: Meta, children: list[Any]) -> m.Relation:
        field, *expressions = children
        return m.Relation(str(field), "=", tuple(expressions), self._source(meta))

    def compares(self, meta: Meta, children: list[Any]) -> m.Relation:
        field, comparison, expression = children
        return m.Relation(str(field), str(comparison), (expression,), self._source(meta))

    def within(self, meta: Meta, children: list[Any]) -> m.Within:
        amount, unit, label = children
        return m.Within(float(amount), str(unit), str(label), self._source(meta))

    def expr(self, _: Meta, children: list[Any]) -> m.Expression:
        signs = [1] + [1 if sign == "+" else -1 for sign in children[1::2]]
        return m.Expression(tuple(zip(signs, children[0::2], strict=True)))

    def number(self, meta: Meta, children: list[Any]) -> m.Number:
        if "." in children[0]:
            raise m.DiagramError(f"line {meta.line}, column {meta.column}: {children[0]} must be a whole number.")
        return m.Number(int(children[0]))

    def hex(self, _: Meta, children: list[Any]) -> m.Number:
        return m.Number(int(children[0], 16))

    def name(self, _: Meta, children: list[Any]) -> m.Name:
        return m.Name(str(children[0]))

    def call(self, _: Meta, children: list[Any]) -> m.Call:
        return m.Call(str(children[0]), children[1])

    def reference(self, _: Meta, children: list[Any]) -> m.Reference:
        label, field = str(children[0]).split(".")
        return m.Reference(label, field)

    def options(self, meta: Meta, children: list[Any]) -> m.OptionsPattern:
        options = tuple(child for child in children if isinstance(child, m.OptionPattern))
        return m.OptionsPattern(options, any(isinstance(child, Tree) for child in children), self._source(meta))

    def option(self, meta: Meta, children: list[Any]) -> m.OptionPattern:
        name, value, *parameters, maybe = children
        named = [parameter for parameter in parameters if parameter is not None]
        if value is not None:
            named.insert(0, ("value", value))
        return m.OptionPattern(
            str(name),
            tuple((key, expression) for key, expression in named if expression is not None),
            preload=any(key == "preload" for key, _ in named),
            maybe=maybe is not None,
            text=self._source(meta),
        )

    def valued(self, _: Meta, children: list[Any]) -> tuple[str, m.Expression]:
        return str(children[0]), children[1]

    def preload(self, _meta: Meta, _children: list[Any]) -> tuple[str, None]:
        return "preload", None
