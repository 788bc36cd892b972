"""What the grammar cannot say: every name, address and label that a diagram uses is one that it has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from analysis.diagram import model as m

KNOWN_NAMES = ("Ni", "Na", "T", "R")

# Which option takes which parameters.
_PARAMETERS = {
    "mss": {"value"},
    "wscale": {"value"},
    "migrate": {"token", "request", "req"},
    "migrate-permitted": {"curve"},
}


def validate(statements: list[Any], name: str) -> m.Diagram:
    """The Diagram of these statements.  Raises DiagramError."""
    heads: dict[str, Any] = {"opens": None, "answers": None, "vantage": None, "rtt": None, "verify": None}
    for statement in statements:
        if isinstance(statement, tuple):
            kind, value, line = statement
            if heads[kind] is not None:
                raise m.DiagramError(f"{name}, line {line}: '{kind}' is there a second time.")
            heads[kind] = value
    for kind, example in (("opens", "mobile opens from old"), ("answers", "server answers at fixed")):
        if heads[kind] is None:
            raise m.DiagramError(f"{name}: a line such as '{example}' is missing.")
    if heads["vantage"] is None:
        raise m.DiagramError(f"{name}: a line such as 'vantage mobile', which says where it is seen, is missing.")
    diagram = m.Diagram(
        name=name,
        initiator=heads["opens"],
        responder=heads["answers"],
        vantage=heads["vantage"],
        rtt=heads["rtt"],
        verify=bool(heads["verify"]),
        steps=tuple(statement for statement in statements if isinstance(statement, m.Step)),
        meanwhile=tuple(statement for statement in statements if isinstance(statement, m.Meanwhile)),
        never=tuple(statement for statement in statements if isinstance(statement, m.Never)),
    )
    _Checker(diagram).check()
    return diagram


class _Checker:
    def __init__(self, diagram: m.Diagram) -> None:
        self._diagram = diagram
        self._actors = {actor.name: actor for actor in (diagram.initiator, diagram.responder)}
        self._labels: set[str] = set()
        self._names = set(KNOWN_NAMES)

    def check(self) -> None:
        diagram = self._diagram
        if len(self._actors) < 2:
            raise self._error(None, f"both ends are called {diagram.initiator.name}")
        for actor in self._actors.values():
            if len(set(actor.addresses)) < len(actor.addresses):
                raise self._error(None, f"two addresses of {actor.name} have the same name")
        if diagram.vantage not in self._actors:
            raise self._error(None, f"the vantage {diagram.vantage} is neither {' nor '.join(self._actors)}")
        if not diagram.steps:
            raise self._error(None, "it has no segment to look for")
        for step in diagram.steps:
            # A line may refer to those before it only, or nothing could be said while the trace goes by.
            for pattern in step.patterns:
                self._pattern(pattern)
            if step.label in self._labels:
                raise self._error(step.line, f"the label {step.label} is there a second time")
            if step.label is not None:
                self._labels.add(step.label)
        for end in diagram.rtt or ():
            self._label(end, None)
        scoped = [(extra.scope, extra.patterns) for extra in diagram.meanwhile]
        scoped += [(extra.scope, (extra.pattern,)) for extra in diagram.never]
        for scope, patterns in scoped:
            for label in (scope.after, scope.before):
                if label is not None:
                    self._label(label, patterns[0].line)
            for pattern in patterns:
                self._pattern(pattern)

    def _error(self, line: int | None, what: str) -> m.DiagramError:
        where = self._diagram.name if line is None else f"{self._diagram.name}, line {line}"
        return m.DiagramError(f"{where}: {what}.")

    def _label(self, label: str, line: int | None) -> None:
        if label not in self._labels:
            raise self._error(line, f"there is no earlier line {label}")

    def _place(self, place: m.Place, line: int) -> None:
        actor = self._actors.get(place.actor)
        if actor is None:
            raise self._error(line, f"{place.actor} is neither {' nor '.join(self._actors)}")
        if place.address is not None and place.address not in actor.addresses:
            raise self._error(line, f"{place.actor} has no address {place.address}, only {', '.join(actor.addresses)}")

    def _pattern(self, pattern: m.Pattern) -> None:
        line = pattern.line
        if pattern.source is not None and pattern.target is not None:
            self._place(pattern.source, line)
            self._place(pattern.target, line)
            if pattern.source.actor == pattern.target.actor:
                raise self._error(line, f"{pattern.source.actor} sends to itself")
        for term in pattern.terms:
            if isinstance(term, m.Within):
                self._label(term.label, line)
                if term.unit == "rtt" and self._diagram.rtt is None:
                    raise self._error(line, "'rtt' needs a line such as 'rtt from 1 to 2' above")
                continue
            for expression in term.expressions:
                self._expression(expression, line, binds=term.comparison == "=")
        for option in pattern.options.options if pattern.options else ():
            for key, expression in option.parameters:
                if key not in _PARAMETERS.get(option.name, ()):
                    what = "value" if key == "value" else f"parameter {key}"
                    raise self._error(line, f"the option {option.name} has no {what}")
                self._expression(expression, line, binds=True)
            if option.preload and option.name != "migrate":
                raise self._error(line, f"the option {option.name} has no preload")

    def _expression(self, expression: m.Expression, line: int, *, binds: bool) -> None:
        if binds and expression.lone_name is not None:
            self._names.add(expression.lone_name)
        for atom in _atoms(expression):
            match atom:
                case m.Name(name) if name not in self._names:
                    raise self._error(line, f"{name} has no value yet")
                case m.Reference(label, _):
                    self._label(label, line)
                case m.Call(function, place):
                    self._place(place, line)
                    if place.address is not None and function != "edge":
                        raise self._error(line, f"{function} belongs to {place.actor}, not to one of its addresses")


def _atoms(expression: m.Expression) -> Iterator[m.Atom]:
    return (atom for _, atom in expression.atoms)
