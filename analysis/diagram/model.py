"""What a diagram says, as data.  The parser makes these, the matcher reads them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class DiagramError(Exception):
    """A diagram that cannot be used; the text is one sentence that says where and why."""


@dataclass(frozen=True, slots=True)
class Actor:
    """One end of the connection and the names of its addresses in the order in which it has them."""

    name: str
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a segment comes from or goes to; without an address any of the actor's."""

    actor: str
    address: str | None = None

    def __str__(self) -> str:
        return self.actor if self.address is None else f"{self.actor}.{self.address}"


@dataclass(frozen=True, slots=True)
class Number:
    value: int


@dataclass(frozen=True, slots=True)
class Name:
    """A name that the diagram gives to a number; Ni, Na, T and R are known."""

    name: str


@dataclass(frozen=True, slots=True)
class Call:
    """A variable of RFC 9293 of one side, as the vantage point knows it; `edge`: the right edge of its window."""

    function: str  # snd_una, snd_nxt, rcv_nxt, edge
    place: Place


@dataclass(frozen=True, slots=True)
class Reference:
    """A field of the first segment that matched a label."""

    label: str
    field: str  # seq, ack, end, win, length


Atom = Number | Name | Call | Reference


@dataclass(frozen=True, slots=True)
class Expression:
    """A sum; each atom with its sign, 1 or -1."""

    atoms: tuple[tuple[int, Atom], ...]

    @property
    def lone_name(self) -> str | None:
        """The name, where the expression is nothing but one: such a name may be bound here."""
        match self.atoms:
            case ((1, Name(name)),):
                return name
        return None


@dataclass(frozen=True, slots=True)
class Relation:
    """`seq = S = snd_una(mobile) - 1`, `ack <= rcv_nxt(mobile)`; more than one expression only with =."""

    field: str  # seq, ack, win, length, end
    comparison: str  # = != < <= > >=
    expressions: tuple[Expression, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Within:
    """At most that long after the first segment of a label; `unit` is rtt, ms or s."""

    amount: float
    unit: str
    label: str
    text: str


Term = Relation | Within


@dataclass(frozen=True, slots=True)
class Flags:
    """Which flags must be set, which may be, and whether all others are forbidden (PSH and ECN never are)."""

    required: int
    optional: int
    exact: bool
    text: str


@dataclass(frozen=True, slots=True)
class OptionPattern:
    """One TCP option; parameters are `value` (of mss, wscale), token, request, req and curve."""

    name: str
    parameters: tuple[tuple[str, Expression], ...] = ()
    preload: bool = False
    maybe: bool = False
    text: str = ""


@dataclass(frozen=True, slots=True)
class OptionsPattern:
    """The options of a segment; in order, NOPs counted, if a nop is among them; `others`: more may follow."""

    options: tuple[OptionPattern, ...]
    others: bool
    text: str

    @property
    def strict(self) -> bool:
        return not self.options or any(option.name == "nop" for option in self.options)


@dataclass(frozen=True, slots=True)
class Pattern:
    """What one line says of a segment; what it leaves out is free."""

    source: Place | None
    target: Place | None
    flags: Flags | None
    terms: tuple[Term, ...]
    options: OptionsPattern | None
    line: int  # of the diagram's file, counted from 1
    text: str


@dataclass(frozen=True, slots=True)
class Scope:
    """From the segment after one label's first to the one before another's."""

    after: str | None = None
    before: str | None = None

    def __str__(self) -> str:
        return (f" after {self.after}" if self.after else "") + (f" before {self.before}" if self.before else "")


class Repeat(Enum):
    """How many segments a step takes: at least, at most (None: no limit)."""

    ONCE = (1, 1)
    OPTIONAL = (0, 1)
    ONE_OR_MORE = (1, None)
    ANY_NUMBER = (0, None)

    @property
    def least(self) -> int:
        return int(self.value[0])

    @property
    def most(self) -> int | None:
        most: int | None = self.value[1]
        return most


@dataclass(frozen=True, slots=True)
class Step:
    """A line of the sequence, or a block of alternatives."""

    label: str | None
    repeat: Repeat
    patterns: tuple[Pattern, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Meanwhile:
    """Segments that may come in between, any number of them."""

    scope: Scope
    patterns: tuple[Pattern, ...]


@dataclass(frozen=True, slots=True)
class Never:
    """A segment that must not come."""

    scope: Scope
    pattern: Pattern


@dataclass(frozen=True, slots=True)
class Diagram:
    """A whole file."""

    name: str
    initiator: Actor
    responder: Actor
    vantage: str  # name of an actor
    rtt: tuple[str, str] | None  # the labels between which the round trip is measured
    verify: bool  # Token and Request must be recomputed, not just recognised
    steps: tuple[Step, ...]
    meanwhile: tuple[Meanwhile, ...]
    never: tuple[Never, ...]
