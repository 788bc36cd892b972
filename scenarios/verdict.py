"""Verdicts, and the checks that lead to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

Value = str | int | float | bool | None
"""What a check expects or measures; JSON can hold it."""


class Verdict(StrEnum):
    """What a run, or one check of it, has shown."""

    PASS = "pass"
    FAIL = "fail"
    INVALID = "invalid"
    """The run proves nothing: no data was in flight, the link was not as declared, something failed while the machine
    stood still.  Never counted as a pass."""
    SKIP = "skip"
    """This machine lacks something, which the reason names."""


class Invalid(Exception):
    """Raised by a guard: the run proves nothing, for the reason given in one sentence."""


class Skip(Exception):
    """Raised where a run finds out that this machine lacks something, named in one sentence."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was to be seen.

    `expected` and `measured` are in `unit` ("" where there is none, as for a checksum); `expected` may also be a
    text such as "at most 1.5".
    """

    name: str
    expected: Value
    measured: Value
    unit: str
    verdict: Verdict

    @classmethod
    def of(cls, name: str, expected: Value, measured: Value, holds: bool, unit: str = "") -> Check:
        """A check whose verdict is `pass` if `holds`, else `fail`."""
        return cls(name, expected, measured, unit, Verdict.PASS if holds else Verdict.FAIL)

    @classmethod
    def equal(cls, name: str, expected: Value, measured: Value, unit: str = "") -> Check:
        """A check that passes if `measured` is what is expected (a truth value is no number here)."""
        alike = isinstance(measured, bool) == isinstance(expected, bool)
        return cls.of(name, expected, measured, alike and measured == expected, unit)

    @classmethod
    def at_most(cls, name: str, limit: float, measured: float, unit: str = "") -> Check:
        """A check that passes if `measured <= limit`; a NaN never does."""
        return cls.of(name, f"at most {limit:g}", measured, measured <= limit, unit)

    @classmethod
    def at_least(cls, name: str, limit: float, measured: float, unit: str = "") -> Check:
        """A check that passes if `measured >= limit`; a NaN never does."""
        return cls.of(name, f"at least {limit:g}", measured, measured >= limit, unit)

    def sentence(self) -> str:
        """The check in words, for a reason or a table."""
        unit = f" {self.unit}" if self.unit else ""
        return f"{self.name}: expected {self.expected}{unit}, measured {self.measured}{unit}"


def overall(checks: Sequence[Check]) -> tuple[Verdict, str]:
    """The verdict of a run with these checks, and its reason in one sentence.

    One failed check makes the run a failure; otherwise one invalid check makes it invalid.  A run in which nothing
    was checked is invalid too: it proves nothing.
    """
    for verdict in (Verdict.FAIL, Verdict.INVALID):
        found = [check for check in checks if check.verdict is verdict]
        if found:
            more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            return verdict, found[0].sentence() + more
    passed = sum(check.verdict is Verdict.PASS for check in checks)
    if not passed:
        return Verdict.INVALID, "nothing was checked"
    skipped = f", {len(checks) - passed} skipped" if passed < len(checks) else ""
    return Verdict.PASS, f"{passed} {'check' if passed == 1 else 'checks'} passed{skipped}"
