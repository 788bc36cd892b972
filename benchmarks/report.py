"""What was measured, as a table for a person and as JSON for a program.  Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.figures import Statistic, Summary, summary
from benchmarks.targets import TARGETS, Target

_RED, _GREEN, _BOLD, _PLAIN = "\033[31m", "\033[32m", "\033[1m", "\033[0m"
MISSED, NOT_MEASURED = 1, 3
_HEAD = ("measurement", "value", "unit", "target", "met?", "median", "95 % of it", "p95", "min", "max", "n")


@dataclass(frozen=True, slots=True)
class Row:
    """One series.  `also` are numbers that help to read it, by name with unit."""

    name: str
    unit: str
    values: Sequence[float]
    also: Mapping[str, float] = field(default_factory=dict)

    @property
    def target(self) -> Target | None:
        return TARGETS.get(self.name)

    @property
    def summary(self) -> Summary:
        return summary(self.values)

    @property
    def value(self) -> float:
        """The number that is held against the target; without one, the median."""
        return self.summary.value(self.target.statistic if self.target else Statistic.MEDIAN)

    @property
    def met(self) -> bool | None:
        return self.target.met(self.value) if self.target else None


@dataclass(frozen=True, slots=True)
class Failure:
    """A measurement that could not be made, and why, in one sentence."""

    name: str
    reason: str


def table(rows: Sequence[Row], failures: Sequence[Failure], colours: bool) -> str:
    """The numbers, a line each; a missed target in red; below it what goes with them and what could not be had."""
    cells = [_HEAD, *(_cells(row) for row in rows)]
    widths = [max(len(line[at]) for line in cells) for at in range(len(_HEAD))]
    lines = []
    for line, row in zip(cells, [None, *rows], strict=True):
        text = "  ".join(
            cell.ljust(width) if at in (0, 2, 3, 4) else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        met = row.met if row else None
        lines.append(_painted(text, _BOLD if row is None else {True: _GREEN, False: _RED, None: ""}[met], colours))
    for row in rows:
        if row.also:
            said = ", ".join(f"{name} {_number(value)}" for name, value in row.also.items())
            lines.append(f"  {row.name}: {said}")
    lines += [_painted(f"{one.name} could not be measured: {one.reason}", _RED, colours) for one in failures]
    return "\n".join(lines)


def _cells(row: Row) -> tuple[str, ...]:
    seen = row.summary
    spread = (f"{_number(seen.low)} to {_number(seen.high)}", *(map(_number, (seen.p95, seen.min, seen.max))))
    met = {True: "met", False: "MISSED", None: ""}[row.met]
    target = str(row.target) if row.target else ""
    return (row.name, _number(row.value), row.unit, target, met, _number(seen.median), *spread, str(seen.n))


def _number(value: float) -> str:
    """Four figures that count, without an exponent."""
    if value == 0 or abs(value) >= 1000:
        return f"{value:,.0f}"
    text = f"{value:.4g}"
    return text if "e" not in text else f"{value:.6f}"


def _painted(text: str, code: str, colours: bool) -> str:
    return f"{code}{text}{_PLAIN}" if colours and code else text


def document(rows: Sequence[Row], failures: Sequence[Failure], circumstances: Mapping[str, Any]) -> dict[str, Any]:
    """The whole run as plain data for JSON."""
    return {
        "circumstances": dict(circumstances),
        "measurements": [_record(row) for row in rows],
        "not_measured": [{"name": one.name, "reason": one.reason} for one in failures],
    }


def _record(row: Row) -> dict[str, Any]:
    seen, target = row.summary, row.target
    return {
        "name": row.name,
        "value": row.value,
        "unit": row.unit,
        "statistic": str(target.statistic if target else Statistic.MEDIAN),
        "target": None if target is None else {"relation": target.relation, "bound": target.bound},
        "met": row.met,
        "n": seen.n,
        "median": seen.median,
        "median_95": [seen.low, seen.high],
        "p95": seen.p95,
        "min": seen.min,
        "max": seen.max,
        "values": list(row.values),
        "also": dict(row.also),
    }


def status(rows: Sequence[Row], failures: Sequence[Failure], check: bool) -> int:
    """The exit status: 3 where something could not be measured, 1 where `check` and a target is missed."""
    if failures:
        return NOT_MEASURED
    return MISSED if check and any(row.met is False for row in rows) else 0
