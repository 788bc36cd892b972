import math

import pytest

from scenarios.verdict import Check, Verdict, overall

GOOD = Check.equal("good", 1, 1)
BAD = Check.equal("bad", 1, 2, "apples")
INVALID = Check("link", 0.05, 0.4, "s", Verdict.INVALID)
SKIPPED = Check("picture", None, None, "", Verdict.SKIP)


def test_all_checks_passed() -> None:
    assert overall([GOOD]) == (Verdict.PASS, "1 check passed")
    assert overall([GOOD, GOOD, SKIPPED]) == (Verdict.PASS, "2 checks passed, 1 skipped")


def test_one_failed_check_makes_a_failure_and_is_the_reason() -> None:
    verdict, reason = overall([GOOD, INVALID, BAD, BAD])
    assert verdict is Verdict.FAIL
    assert reason == "bad: expected 1 apples, measured 2 apples (and 1 more)"


def test_an_invalid_check_is_never_a_pass() -> None:
    assert overall([GOOD, INVALID])[0] is Verdict.INVALID


@pytest.mark.parametrize("checks", [[], [SKIPPED]])
def test_a_run_that_checked_nothing_is_invalid(checks: list[Check]) -> None:
    assert overall(checks) == (Verdict.INVALID, "nothing was checked")


@pytest.mark.parametrize(
    ("check", "verdict"),
    [
        (Check.equal("sum", 4, 4.0), Verdict.PASS),
        (Check.equal("sum", 4, 5), Verdict.FAIL),
        (Check.equal("flag", 1, True), Verdict.FAIL),
        (Check.equal("text", "a", None), Verdict.FAIL),
        (Check.at_most("time", 1.5, 1.5), Verdict.PASS),
        (Check.at_most("time", 1.5, 1.6), Verdict.FAIL),
        (Check.at_most("time", 1.5, math.nan), Verdict.FAIL),
        (Check.at_least("rate", 0.98, 0.98), Verdict.PASS),
        (Check.at_least("rate", 0.98, 0.97), Verdict.FAIL),
        (Check.at_least("rate", 0.98, math.nan), Verdict.FAIL),
    ],
)
def test_comparisons(check: Check, verdict: Verdict) -> None:
    assert check.verdict is verdict


def test_a_limit_is_told_in_words() -> None:
    assert Check.at_most("time", 1.5, 2.0, "s").sentence() == "time: expected at most 1.5 s, measured 2.0 s"
