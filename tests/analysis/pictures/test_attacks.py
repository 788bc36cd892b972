"""The picture of a transfer under attack: its rate, and that it can be drawn."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.pictures.attacks import Attempt, draw_attacks, make_figure, rates

SAMPLES = [(100 + n / 20, 50_000 * min(n, 40)) for n in range(81)]  # 8 Mbit/s for two seconds, then nothing
ATTEMPTS = [
    Attempt("forged tokens", 100.5, 101.0, "fails"),
    Attempt("a move", 101.2, 101.21, "", attack=False),
    Attempt("RST exactly at rcv_nxt", 102.0, 104.0, "stalls it", harm=True),
]


def test_the_rate_is_that_of_short_stretches() -> None:
    found = rates(SAMPLES)
    assert len(found) == pytest.approx(16, abs=1)
    assert all(rate == pytest.approx(8) for time, rate in found if time < 101.7)
    assert all(rate == 0 for time, rate in found if time > 102)
    assert rates([]) == []
    assert rates(SAMPLES[:1]) == []


def test_each_attack_has_its_row_and_outcome(tmp_path: Path) -> None:
    below, above = make_figure(SAMPLES, ATTEMPTS, "a title").axes
    assert [label.get_text() for label in below.get_yticklabels()] == [one.name for one in ATTEMPTS]
    assert [text.get_text() for text in below.texts] == ["fails", "", "stalls it"]
    assert below.get_xlim() == above.get_xlim() == (0, 4)
    path = tmp_path / "attacks.png"
    draw_attacks(SAMPLES, ATTEMPTS, path, title="a title")
    assert path.stat().st_size > 5000


def test_without_a_transfer_or_an_attack_nothing_is_drawn(tmp_path: Path) -> None:
    for samples, attempts in ((SAMPLES, []), ([], ATTEMPTS)):
        with pytest.raises(ValueError, match="no transfer or no attack"):
            draw_attacks(samples, attempts, tmp_path / "attacks.png", title="")
