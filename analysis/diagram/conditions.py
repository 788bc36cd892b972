"""Whether a segment is what a line of a diagram says, and if not, why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from analysis.capture import ACK, FIN, PSH, RST, SYN
from analysis.diagram import model as m
from analysis.diagram import wording
from analysis.diagram.optionmatch import Parameters, match_options
from analysis.diagram.tracker import Possible, Tracker
from analysis.stream import Segment, Stream, migrate_option
from migrate.core.keys import request

_URG = 32
_CLOCK_STEP = 1e-6  # seconds; what captures resolve
_JUDGED_FLAGS = SYN | FIN | RST | ACK | _URG  # PSH and the ECN bits are free unless a line has them


@dataclass
class Setting:
    """What is the same for every line of one run of the matcher."""

    diagram: m.Diagram
    stream: Stream
    tracker: Tracker
    rtt: float | None = None  # seconds, if given from outside
    unverified: bool = False  # a token or a request was taken on trust
    verified: bool = False  # and one was recomputed and found equal
    places: dict[tuple[bool, int], tuple[str, str]] = field(default_factory=dict)

    def place(self, initiator: bool, epoch: int) -> tuple[str, str]:
        key = initiator, epoch
        if key not in self.places:
            self.places[key] = wording.place(self.diagram, self.stream, *key)
        return self.places[key]

    def is_initiator(self, place: m.Place) -> bool:
        return place.actor == self.diagram.initiator.name


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of a segment held against a line."""

    route: bool  # it goes from and to the right places
    flags: bool
    wrong: tuple[str, ...]
    bindings: Mapping[str, int]

    @property
    def good(self) -> bool:
        return not self.wrong


class Unknown(Exception):
    """A value that cannot be told from this trace; the text says which."""


@dataclass(slots=True)
class Evaluation(Parameters):
    """One line held against one segment, with what the lines before have matched and named."""

    setting: Setting
    segment: Segment
    labels: Mapping[str, Segment]
    bindings: dict[str, int]

    def outcome(self, pattern: m.Pattern, *, brief: bool = False) -> Outcome:
        """With `brief`, a segment of another route or other flags is not looked at any further."""
        wrong = self._route(pattern)
        route, flags = not wrong, True
        if pattern.flags is not None and (why := _wrong_flags(pattern.flags, self.segment.flags)):
            wrong.append(why)
            flags = False
        if brief and wrong:
            return Outcome(route, flags, tuple(wrong), self.bindings)
        for term in pattern.terms:
            try:
                why = self._within(term) if isinstance(term, m.Within) else self._relation(term)
            except Unknown as unknown:
                why = str(unknown)
            if why:
                wrong.append(why)
        if pattern.options is not None:
            try:
                wrong += match_options(pattern.options, self.segment.packet.options, self)
            except Unknown as unknown:
                wrong.append(str(unknown))
        return Outcome(route, flags, tuple(wrong), self.bindings)

    def _route(self, pattern: m.Pattern) -> list[str]:
        if pattern.source is None or pattern.target is None:
            return []
        segment, wrong = self.segment, []
        ends = ((pattern.source, segment.from_initiator, "from"), (pattern.target, not segment.from_initiator, "to"))
        for wanted, initiator, word in ends:
            name, address = self.setting.place(initiator, segment.epoch)
            if wanted.actor != name or wanted.address not in (None, address):
                wrong.append(f"it goes {word} {name}.{address}, not {word} {wanted}")
        return wrong

    def _within(self, term: m.Within) -> str | None:
        since = self.labels.get(term.label)
        if since is None:
            raise Unknown(f"'{term.text}' cannot be told: there is no segment {term.label} before it")
        unit = {"ms": 0.001, "s": 1.0}.get(term.unit) or self._round_trip()
        elapsed = self.segment.time - since.time
        if elapsed <= term.amount * unit + _CLOCK_STEP:
            return None
        if term.unit != "rtt":
            return f"it comes {elapsed / unit:.3g} {term.unit} after {term.label}, not within {term.amount:g}"
        return (
            f"it comes {elapsed / unit:.2f} rtt after {term.label} ({elapsed * 1000:.1f} ms at a round trip of "
            f"{unit * 1000:.1f} ms), not within {term.amount:g}"
        )

    def _round_trip(self) -> float:
        if self.setting.rtt is not None:
            return self.setting.rtt
        first, last = self.setting.diagram.rtt or ("", "")
        if first not in self.labels or last not in self.labels:
            raise Unknown(f"the round trip cannot be told before segments {first} and {last}: give it with --rtt")
        seconds = self.labels[last].time - self.labels[first].time
        if seconds <= 0:
            raise Unknown(f"the round trip from {first} to {last} is {seconds * 1000:g} ms here: give it with --rtt")
        return seconds

    def _relation(self, term: m.Relation) -> str | None:
        actual = _field(self.segment, term.field)
        if actual is None:
            return f"it has no {term.field}"
        for expression in term.expressions:
            name = expression.lone_name
            if term.comparison == "=" and name is not None and self._value(name) is None:
                self.bindings[name] = actual
                continue
            wanted = self._expression(expression)
            if not wanted.holds(actual, term.comparison):
                how = "" if term.comparison == "=" else f"{term.comparison} "
                return f"{term.field} is {actual}, not {how}{wanted.bound(term.comparison)}"
        return None

    def _value(self, name: str) -> int | None:
        """What a name stands for in relations between sequence numbers."""
        return 0 if name in ("Ni", "Na") else self.bindings.get(name)

    def _expression(self, expression: m.Expression) -> Possible:
        total = Possible.exactly(0)
        for sign, atom in expression.atoms:
            total = total.plus(self._atom(atom), sign)
        return total

    def _atom(self, atom: m.Atom) -> Possible:
        tracker = self.setting.tracker
        match atom:
            case m.Number(value):
                return Possible.exactly(value)
            case m.Name(name):
                bound = self._value(name)
                if bound is None:
                    raise Unknown(f"{name} has no value here")
                return Possible.exactly(bound)
            case m.Reference(label, field_name):
                number = _field(self.labels[label], field_name) if label in self.labels else None
                if number is None:
                    raise Unknown(f"{label}.{field_name} has no value here")
                return Possible.exactly(number)
            case m.Call("edge", place):
                return self._edge(place)
            case m.Call("snd_una", place):
                return tracker.snd_una(self.setting.is_initiator(place))
            case m.Call("snd_nxt", place):
                return tracker.snd_nxt(self.setting.is_initiator(place))
            case m.Call(_, place):
                return tracker.rcv_nxt(self.setting.is_initiator(place))

    def _edge(self, place: m.Place) -> Possible:
        initiator = self.setting.is_initiator(place)
        address = place.address or self.setting.place(initiator, self.segment.epoch)[1]
        indexes = range(len(self.setting.stream.epochs))
        edge = self.setting.tracker.edge(
            initiator, {i for i in indexes if self.setting.place(initiator, i)[1] == address}
        )
        if edge is None:
            raise Unknown(f"edge({place}) cannot be told: the trace does not show the window that {place} offers")
        return edge

    # Parameters of options.

    def parameter(self, key: str, expression: m.Expression, actual: int) -> str | None:
        """Compare one parameter of an option, or give it a name; what is wrong with it, if anything."""
        name = expression.lone_name
        if name in ("T", "R") or key in ("token", "request"):
            return self._proof(key, name, expression, actual)
        if name is not None and self.bindings.setdefault(name, actual) == actual:
            return None
        wanted = self._expression(expression)
        return None if wanted.holds(actual, "=") else f"{key} is {actual}, not {wanted}"

    def _proof(self, key: str, name: str | None, expression: m.Expression, actual: int) -> str | None:
        wanted = self._recomputed(name)
        if wanted is None:
            self.setting.unverified = True
            if name == "R":
                return None  # differs with each request, so there is nothing to compare it with
            if name is not None:
                wanted = self.bindings.setdefault(name, actual)
            else:
                wanted = self._expression(expression).ranges[0][0]
        elif wanted == actual:
            self.setting.verified = True
        return None if wanted == actual else f"{key} is {actual:016x}, not {wanted:016x}"

    def _recomputed(self, name: str | None) -> int | None:
        """T of the connection, R of this very segment; None without K."""
        stream = self.setting.stream
        if stream.secret is None or stream.token is None or stream.ni is None or stream.na is None:
            return None
        if name == "T":
            return int.from_bytes(stream.token, "big")
        option = migrate_option(self.segment.packet)
        count = stream.epochs[self.segment.epoch].count
        if name != "R" or option is None or count is None:
            return None
        proof = request(stream.ni, stream.na, stream.secret, self.segment.packet.seq, option.octet, count)
        return int.from_bytes(proof, "big")


def _wrong_flags(wanted: m.Flags, actual: int) -> str | None:
    judged = _JUDGED_FLAGS | (wanted.required & PSH)
    missing = wanted.required & ~actual
    surplus = actual & judged & ~(wanted.required | wanted.optional) if wanted.exact else 0
    return f"its flags are {wording.flags(actual)}, not {wanted.text}" if missing or surplus else None


def _field(segment: Segment, name: str) -> int | None:
    match name:
        case "seq":
            return segment.seq
        case "ack":
            return segment.ack
        case "win":
            return segment.packet.window
        case "length":
            return segment.length
        case _:
            return segment.end
