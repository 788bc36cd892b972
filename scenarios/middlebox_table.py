"""What was found to be true of each middlebox, and why; what the deck claims; and how a measured table is held to it.

Pure.  This is the one place where the expected outcome of a cell stands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scenarios.middlebox_boxes import BOXES
from scenarios.middlebox_cells import Cell, Handshake, Result, Situation
from scenarios.middlebox_evidence import Outcome
from scenarios.verdict import Check, Verdict
from topologies.boxes import Side

WORKS, PLAIN, FAILS = Outcome.WORKS, Outcome.PLAIN, Outcome.FAILS
SIDES: tuple[Side, ...] = ("mobile", "server")
CLAIMED = frozenset(("nat", "masq", "strict", "liberal", "outward", "proxy"))
"""Slide 16: "Works with most NATs, PEPs, stateful firewalls"."""

Outcomes = tuple[Outcome, Outcome]  # with the draft's handshake, with the adapted one


@dataclass(frozen=True)
class Row:
    """One box and one side that moves."""

    idle: Outcomes | None
    acks_lost: Outcomes
    data_lost: Outcomes | None
    reason: str

    def of(self, situation: Situation) -> Outcomes | None:
        return {
            Situation.IDLE: self.idle,
            Situation.ACKS_LOST: self.acks_lost,
            Situation.DATA_LOST: self.data_lost,
        }[situation]


def _always(outcome: Outcome, reason: str) -> Row:
    both = outcome, outcome
    return Row(both, both, both, reason)


def _once(outcome: Outcome, reason: str) -> Row:
    """A box that does not look at numbers: the situation makes no difference."""
    return Row(None, (outcome, outcome), None, reason)


_GOOD = (WORKS, WORKS)
_CURED = (FAILS, WORKS)
_SEVEN = Row(
    _GOOD, _CURED, _GOOD, "7 acknowledges more than 6 has announced: invalid to conntrack, unless 6 says snd_nxt"
)
_SIX = Row(
    _GOOD, _CURED, _GOOD, "6 acknowledges more than 5 has announced: invalid to conntrack, unless 5 says snd_nxt"
)
_UNKNOWN = "the SYN comes to the box's own address, where nobody has a mapping for a new peer: RST"
_UNSEEN = "the host's own conntrack sees but a part of 5, 6, 7; the rest is invalid to it, unless it is told"
_NO_OPTION = "the SYN arrives without Migrate-Permitted: nobody can move it"
_NAKED = "a Migrate SYN without its option is any SYN: a listener answers it, or nobody"
_SPLIT = "the box ends the connection itself and opens another: no option crosses it"
_STRANGER = "the box answers the Migrate SYN itself, as the beginning of another connection"

_OWN = Row(_CURED, _CURED, None, _UNSEEN)

EXPECTED: Mapping[tuple[str, Side], Row] = {
    ("none", "mobile"): _always(WORKS, "nothing in between"),
    ("none", "server"): _always(WORKS, "nothing in between"),
    ("nat", "mobile"): _SEVEN,
    ("nat", "server"): _SIX,
    ("masq", "mobile"): _SEVEN,
    ("masq", "server"): _always(FAILS, _UNKNOWN),
    ("strict", "mobile"): _SEVEN,
    ("strict", "server"): _SIX,
    ("liberal", "mobile"): _always(WORKS, "numbers are not looked at"),
    ("liberal", "server"): _always(WORKS, "numbers are not looked at"),
    ("own-m", "mobile"): _OWN,
    ("own-m", "server"): _OWN,
    ("own-s", "mobile"): _OWN,
    ("own-s", "server"): _OWN,
    ("outward", "mobile"): _once(WORKS, "the mover is inside: its SYN goes outward"),
    ("outward", "server"): _once(FAILS, "the mover is outside: its SYN comes from nowhere"),
    ("strip", "mobile"): _once(PLAIN, _NO_OPTION),
    ("strip", "server"): _once(PLAIN, _NO_OPTION),
    ("strip2", "mobile"): _once(FAILS, _NAKED),
    ("strip2", "server"): _once(FAILS, _NAKED),
    ("refuse", "mobile"): _once(FAILS, "every SYN has the option, and none passes: the connection does not open"),
    ("proxy", "mobile"): _once(PLAIN, _SPLIT),
    ("proxy", "server"): _once(PLAIN, _SPLIT),
    ("proxy2", "mobile"): _once(FAILS, _STRANGER),
    ("proxy2", "server"): _once(FAILS, _STRANGER),
}

TITLES = {box.name: box.title for box in BOXES}


def cells(box: str, handshake: Handshake) -> list[Cell]:
    """What is to be tried behind a box, in the order in which it is."""
    return [
        Cell(box, side, situation, handshake)
        for situation in Situation
        for side in SIDES
        if (row := EXPECTED.get((box, side))) and row.of(situation)
    ]


WINDOW_TOO_SMALL = frozenset(
    Cell(box, "mobile", situation, Handshake.DRAFT)
    for box in ("nat", "masq")
    for situation in (Situation.IDLE, Situation.DATA_LOST)
)
"""With windows that are scaled (profile modern) these fail too.  5 and 6 have no window scale, so the box takes
each later window for bytes: the server's second segment lies beyond it, is invalid, and is not translated.
A firewall that drops such segments lets one through at a time, and the transfer limps on."""


def expected(cell: Cell, profile: str = "paper") -> Outcome:
    if profile == "modern" and cell in WINDOW_TOO_SMALL:
        return FAILS
    outcomes = EXPECTED[cell.box, cell.mover].of(cell.situation)
    assert outcomes is not None
    return outcomes[list(Handshake).index(cell.handshake)]


def name(cell: Cell) -> str:
    return f"{TITLES[cell.box]}: {cell.mover} moves, {cell.situation}, {cell.handshake} handshake"


def check(result: Result, profile: str = "paper") -> Check:
    """The cell held to what was found to be true; invalid where the situation was not what it is called."""
    cell, finding = result.cell, result.finding
    judged = Check.equal(name(cell), str(expected(cell, profile)), str(finding.outcome))
    if (wrong := not_as_meant(result)) is not None:
        return Check(judged.name, judged.expected, f"{finding.outcome}, but {wrong}", "", Verdict.INVALID)
    return judged


def not_as_meant(result: Result) -> str | None:
    """What makes the cell prove nothing, None if nothing does."""
    flight, cell = result.flight, result.cell
    if cell.box in ("refuse", "proxy"):
        return None  # one does not open, the other's transfer is the box's own on the far side
    if cell.situation is Situation.IDLE:
        return f"{flight.outstanding} bytes were in flight" if flight.outstanding else None
    if not flight.outstanding:
        return "nothing was in flight"
    if flight.arrived is None:
        return None
    if cell.situation is Situation.DATA_LOST:
        return f"{flight.arrived} bytes had arrived" if flight.arrived else None
    return None if flight.arrived > 0 else "nothing of it had arrived"


@dataclass(frozen=True)
class Denied:
    """A cell that the deck claims and the measurement denies."""

    cell: Cell
    outcome: Outcome
    cured: bool
    """The same with the other handshake works."""


def denied(results: Sequence[Result]) -> list[Denied]:
    """The findings against slide 16, with the handshake of the draft."""
    by_cell = {result.cell: result.finding.outcome for result in results}
    found = []
    for cell, outcome in by_cell.items():
        if cell.box in CLAIMED and cell.handshake is Handshake.DRAFT and outcome is not WORKS:
            other = Cell(cell.box, cell.mover, cell.situation, Handshake.ADAPTED)
            found.append(Denied(cell, outcome, by_cell.get(other) is WORKS))
    return found
