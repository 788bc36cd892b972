"""Diagrams as texts, for tests of the parser: a model written out, and models that hypothesis makes.

Models made here are the parser's, but for where in which text they stood (`bare`).
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from analysis.capture import ACK, FIN, PSH, RST, SYN
from analysis.diagram import model as m

_LETTERS = {"F": FIN, "S": SYN, "R": RST, "P": PSH, "U": 32, ".": ACK}
_REPEATS = {
    m.Repeat.OPTIONAL: "optional",
    m.Repeat.ONCE: "one of",
    m.Repeat.ONE_OR_MORE: "one or more of",
    m.Repeat.ANY_NUMBER: "any number of",
}


# --- a model as text --------------------------------------------------------------------------------------------------


def text_of(diagram: m.Diagram) -> str:
    """A text that means this diagram."""
    lines = [
        f"{diagram.initiator.name} opens from {_moves(diagram.initiator)}",
        f"{diagram.responder.name} answers at {_moves(diagram.responder)}",
        f"vantage {diagram.vantage}",
    ]
    lines += [f"rtt from {diagram.rtt[0]} to {diagram.rtt[1]}"] if diagram.rtt else []
    lines += ["verify tokens"] if diagram.verify else []
    for step in diagram.steps:
        label = f"{step.label} " if step.label else ""
        if step.repeat is m.Repeat.ONCE and len(step.patterns) == 1:
            lines.append(label + pattern_text(step.patterns[0]))
        else:
            lines.append(f"{label}{_REPEATS[step.repeat]} {_body(step.patterns)}")
    lines += [f"meanwhile{one.scope} {_body(one.patterns)}" for one in diagram.meanwhile]
    lines += [f"never {pattern_text(one.pattern)}{one.scope}" for one in diagram.never]
    return "\n".join(lines) + "\n"


def _moves(actor: m.Actor) -> str:
    return ", moves to ".join(actor.addresses)


def _body(patterns: tuple[m.Pattern, ...]) -> str:
    return "{\n" + "".join(f"  {pattern_text(one)}  # so\n" for one in patterns) + "}"


def pattern_text(pattern: m.Pattern) -> str:
    """One line, without its label."""
    parts = [f"{pattern.source} > {pattern.target}"] if pattern.source else []
    parts += [pattern.flags.text] if pattern.flags else []
    parts += [", ".join(_term(one) for one in pattern.terms)] if pattern.terms else []
    if pattern.options:
        listed = [_option(one) for one in pattern.options.options] + (["..."] if pattern.options.others else [])
        parts.append(f"<{', '.join(listed)}>")
    return " ".join(parts)


def _term(term: m.Term) -> str:
    if isinstance(term, m.Within):
        return f"within {term.amount:.3f} {term.unit} of {term.label}"
    return f"{term.field} {term.comparison} " + " = ".join(_expression(one) for one in term.expressions)


def _expression(expression: m.Expression) -> str:
    (_, first), *others = expression.atoms
    return _atom(first) + "".join(f" {'+' if sign == 1 else '-'} {_atom(atom)}" for sign, atom in others)


def _atom(atom: m.Atom) -> str:
    match atom:
        case m.Number(value):
            return str(value) if value % 2 else hex(value)
        case m.Name(name):
            return name
        case m.Call(function, place):
            return f"{function}({place})"
        case m.Reference(label, field):
            return f"{label}.{field}"


def _option(option: m.OptionPattern) -> str:
    words = [option.name]
    for key, expression in option.parameters:
        words.append(f"={_expression(expression)}" if key == "value" else f"{key}={_expression(expression)}")
    return " ".join([*words, *(["preload"] if option.preload else [])]) + ("?" if option.maybe else "")


def bare(diagram: m.Diagram) -> m.Diagram:
    """Without lines, texts and the file's name."""
    return replace(
        diagram,
        name="",
        steps=tuple(replace(one, line=0, patterns=tuple(map(_bare, one.patterns))) for one in diagram.steps),
        meanwhile=tuple(replace(one, patterns=tuple(map(_bare, one.patterns))) for one in diagram.meanwhile),
        never=tuple(replace(one, pattern=_bare(one.pattern)) for one in diagram.never),
    )


def _bare(pattern: m.Pattern) -> m.Pattern:
    options, flags = pattern.options, pattern.flags
    if options:
        listed = tuple(replace(one, text="") for one in options.options)
        options = replace(options, options=listed, text="")
    terms = tuple(replace(one, text="") for one in pattern.terms)
    return replace(pattern, flags=flags and replace(flags, text=""), terms=terms, options=options, line=0, text="")


# --- models -----------------------------------------------------------------------------------------------------------

_names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,6}", fullmatch=True)
_fields = st.sampled_from(["seq", "ack", "win", "length", "end"])
_numbers = st.integers(0, 10**18 - 1).map(m.Number)


@st.composite
def _flags(draw: st.DrawFn, exact: bool | None = None) -> m.Flags:
    if not (draw(st.booleans()) if exact is None else exact):
        word = draw(st.sampled_from(["SYN", "FIN", "RST"]))
        return m.Flags({"SYN": SYN, "FIN": FIN, "RST": RST}[word], 0, False, word)
    letters = draw(st.lists(st.sampled_from(sorted(_LETTERS)), unique=True))
    maybe = draw(st.sets(st.sampled_from(letters))) if letters else set()
    text = "[" + "".join(letter + "?" * (letter in maybe) for letter in letters) + "]"
    required = sum(_LETTERS[letter] for letter in letters if letter not in maybe)
    return m.Flags(required, sum(_LETTERS[letter] for letter in maybe), True, text)


@st.composite
def diagrams(draw: st.DrawFn) -> m.Diagram:
    """Every diagram is one that the parser takes: lines refer to earlier labels, names have a value before they are
    used.  Keywords are names too: the grammar tells them apart by where they stand."""
    keywords = {"seq", "ack", "win", "length", "end", "rtt", "ms", "s", "SYN", "FIN", "RST", "of", "after", "before"}
    keywords |= {"snd_una", "snd_nxt", "rcv_nxt", "edge", "optional", "one", "any", "meanwhile", "never", "vantage"}
    keywords |= {"verify", "opens", "answers", "from", "at", "moves", "to", "or", "more", "number", "tokens", "preload"}
    keywords |= {"mss", "sack", "timestamps", "wscale", "nop", "migrate", "token", "request", "req", "curve", "within"}
    fresh = _names.filter(lambda name: name not in keywords)
    one, two = draw(st.lists(fresh, min_size=2, max_size=2, unique=True))
    actors = [m.Actor(name, tuple(draw(st.lists(fresh, min_size=1, max_size=3, unique=True)))) for name in (one, two)]
    labels = [f"{number}{draw(st.sampled_from(['', '', 'a', 'z']))}" for number in range(1, draw(st.integers(2, 6)))]
    rtt = draw(st.none() | st.tuples(st.sampled_from(labels), st.sampled_from(labels)))
    maker = _Maker(draw, actors, fresh, rtt is not None)
    steps = []
    for label in labels:
        repeat = draw(st.sampled_from(list(m.Repeat)))
        single = repeat is m.Repeat.ONCE and draw(st.booleans())
        patterns = tuple(maker.pattern() for _ in range(1 if single else draw(st.integers(1, 3))))
        steps.append(m.Step(label, repeat, patterns, 0))
        maker.labels.append(label)
    meanwhile = [
        m.Meanwhile(maker.scope(), tuple(maker.pattern() for _ in range(draw(st.integers(1, 2)))))
        for _ in range(draw(st.integers(0, 2)))
    ]
    never = [
        m.Never(maker.scope(), maker.pattern() if draw(st.booleans()) else maker.filter())
        for _ in range(draw(st.integers(0, 2)))
    ]
    vantage, verify = draw(st.sampled_from([one, two])), draw(st.booleans())
    initiator, responder = actors
    rest = tuple(steps), tuple(meanwhile), tuple(never)
    return m.Diagram("", initiator, responder, vantage, rtt, verify, *rest)


class _Maker:
    """What may be said at a place of the text depends on what has been said before it."""

    def __init__(self, draw: st.DrawFn, actors: list[m.Actor], fresh: st.SearchStrategy[str], rtt: bool) -> None:
        self._draw, self._actors, self._fresh, self._rtt = draw, actors, fresh, rtt
        self.labels: list[str] = []
        self._bound = ["Ni", "Na", "T", "R"]

    def pattern(self) -> m.Pattern:
        ends = self._draw(st.permutations(self._actors))
        here, there = (m.Place(one.name, self._draw(st.none() | st.sampled_from(one.addresses))) for one in ends)
        return m.Pattern(here, there, self._draw(st.none() | _flags()), self._terms(), self._options(), 0, "")

    def filter(self) -> m.Pattern:
        return m.Pattern(None, None, self._draw(_flags()), self._terms(), self._options(), 0, "")

    def scope(self) -> m.Scope:
        some = st.none() | st.sampled_from(self.labels)
        return m.Scope(self._draw(some), self._draw(some))

    def _terms(self) -> tuple[m.Term, ...]:
        return tuple(self._term() for _ in range(self._draw(st.integers(0, 3))))

    def _term(self) -> m.Term:
        if self._draw(st.booleans()) and self.labels:
            units = ["ms", "s", *(["rtt"] if self._rtt else [])]
            amount = self._draw(st.integers(0, 10**6)) / 1000
            return m.Within(amount, self._draw(st.sampled_from(units)), self._draw(st.sampled_from(self.labels)), "")
        comparison = self._draw(st.sampled_from(["=", "!=", "<", "<=", ">", ">="]))
        expressions = [self._expression(comparison == "=")]
        if comparison == "=" and self._draw(st.booleans()):
            expressions.append(self._expression(True))
        return m.Relation(self._draw(_fields), comparison, tuple(expressions), "")

    def _expression(self, binds: bool) -> m.Expression:
        if binds and self._draw(st.booleans()):
            name = self._draw(self._fresh)
            self._bound.append(name)
            return m.Expression(((1, m.Name(name)),))
        atoms = [(1, self._atom())]
        atoms += [(self._draw(st.sampled_from([1, -1])), self._atom()) for _ in range(self._draw(st.integers(0, 2)))]
        return m.Expression(tuple(atoms))

    def _atom(self) -> m.Atom:
        kind = self._draw(st.integers(0, 3))
        if kind == 0:
            return self._draw(_numbers)
        if kind == 1:
            return m.Name(self._draw(st.sampled_from(self._bound)))
        if kind == 2 and self.labels:
            return m.Reference(self._draw(st.sampled_from(self.labels)), self._draw(_fields))
        function: str = self._draw(st.sampled_from(["snd_una", "snd_nxt", "rcv_nxt", "edge"]))
        actor = self._draw(st.sampled_from(self._actors))
        address = self._draw(st.none() | st.sampled_from(actor.addresses)) if function == "edge" else None
        return m.Call(function, m.Place(actor.name, address))

    def _options(self) -> m.OptionsPattern | None:
        if self._draw(st.booleans()):
            return None
        listed = tuple(self._option() for _ in range(self._draw(st.integers(0, 3))))
        return m.OptionsPattern(listed, self._draw(st.booleans()), "")

    def _option(self) -> m.OptionPattern:
        takes = {"mss": ["value"], "wscale": ["value"], "migrate": ["token", "request", "req"]}
        takes["migrate-permitted"] = ["curve"]
        name = self._draw(st.sampled_from([*takes, "sack-ok", "sack", "timestamps", "nop"]))
        keys = [key for key in takes.get(name, []) if self._draw(st.booleans())]
        preload = name == "migrate" and self._draw(st.booleans())
        parameters = tuple((key, self._expression(True)) for key in keys)
        return m.OptionPattern(name, parameters, preload, self._draw(st.booleans()), "")
