"""The expected table, and that a cell which comes out otherwise is red."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from scenarios.base import Context
from scenarios.middlebox import MiddleboxScenario
from scenarios.middlebox_boxes import BOXES, LIBERAL, Box
from scenarios.middlebox_cells import Cell, Handshake, Result, Situation
from scenarios.middlebox_evidence import Finding, Flight, Outcome
from scenarios.middlebox_picture import table_rows, table_svg, table_text
from scenarios.middlebox_table import CLAIMED, EXPECTED, TITLES, cells, check, denied, expected, name
from scenarios.verdict import Verdict
from tests.topologies.inside import in_sandbox

FLIGHTS = {
    Situation.IDLE: Flight(0, 0),
    Situation.ACKS_LOST: Flight(30_000, 10_000),
    Situation.DATA_LOST: Flight(30_000, 0),
}


def result(cell: Cell, outcome: Outcome | None = None, flight: Flight | None = None) -> Result:
    finding = Finding(outcome or expected(cell), "5 [inside.pcap 1: a > b S 1 win 0 <migrate>] passes", None)
    return Result(cell, finding, flight or FLIGHTS[cell.situation], 1.0)


def all_cells() -> list[Cell]:
    return [cell for handshake in Handshake for box in BOXES for cell in cells(box.name, handshake)]


def test_every_box_is_tried_from_the_mobile_and_has_a_short_name() -> None:
    assert {cell.box for cell in all_cells()} == {box.name for box in BOXES}
    assert {box for box, _ in EXPECTED} == {box.name for box in BOXES}
    assert len(set(all_cells())) == len(all_cells())
    assert all(len(f"server-{box.name}") <= 15 and len(f"{box.name}-out") <= 15 for box in BOXES)
    assert set(TITLES) >= CLAIMED


def test_as_expected_every_cell_passes() -> None:
    checks = [check(result(cell)) for cell in all_cells()]
    assert {one.verdict for one in checks} == {Verdict.PASS}
    assert len({one.name for one in checks}) == len(checks)


@pytest.mark.parametrize("cell", all_cells(), ids=name)
def test_a_cell_that_comes_out_otherwise_is_red(cell: Cell) -> None:
    for outcome in Outcome:
        if outcome is not expected(cell):
            assert check(result(cell, outcome)).verdict is Verdict.FAIL


def test_with_scaled_windows_a_nat_needs_the_scale() -> None:
    for situation in Situation:
        draft, adapted = (Cell("masq", "mobile", situation, handshake) for handshake in Handshake)
        assert expected(draft, "modern") is Outcome.FAILS
        assert expected(adapted, "modern") is Outcome.WORKS
        assert check(result(draft, Outcome.WORKS), "modern").verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("situation", "flight"),
    [
        (Situation.IDLE, Flight(1448, 0)),
        (Situation.ACKS_LOST, Flight(0, 0)),
        (Situation.ACKS_LOST, Flight(30_000, 0)),
        (Situation.DATA_LOST, Flight(0, 0)),
        (Situation.DATA_LOST, Flight(30_000, 1448)),
    ],
)
def test_a_cell_whose_situation_was_another_proves_nothing(situation: Situation, flight: Flight) -> None:
    cell = Cell("strict", "mobile", situation, Handshake.DRAFT)
    assert check(result(cell, flight=flight)).verdict is Verdict.INVALID


def test_what_the_deck_claims_and_the_measurement_denies_is_a_finding() -> None:
    found = denied([result(cell) for cell in all_cells()])
    told = {(one.cell.box, one.cell.mover, one.cell.situation): one.cured for one in found}
    assert told["strict", "mobile", Situation.ACKS_LOST] is True
    assert told["masq", "server", Situation.IDLE] is False
    assert not [one for one in found if one.cell.handshake is Handshake.ADAPTED or one.cell.box in ("none", "strip2")]
    assert ("strict", "mobile", Situation.IDLE) not in told


def test_the_table_has_every_cell_as_text_and_as_a_picture() -> None:
    results = [result(cell) for cell in all_cells()]
    shown = [one for _, _, row in table_rows(results) for one in row if one]
    assert sorted(one.cell for one in shown) == sorted(all_cells())
    text = table_text(results, denied(results), "title")
    assert all(name(cell) in " ".join(text.split()) for cell in all_cells())
    assert all(len(line) <= 132 for line in text.splitlines())
    drawing = ElementTree.fromstring(table_svg(results, "title <&>"))
    words = [element.text for element in drawing.iter("{http://www.w3.org/2000/svg}text")]
    for outcome in Outcome:
        assert words.count(str(outcome)) == sum(one.finding.outcome is outcome for one in results)


class OneBox(MiddleboxScenario):
    """Only the cells of one box, with the draft's handshake."""

    def __init__(self, box: Box) -> None:
        self.boxes = (box,)

    def checks(self) -> dict[str, Verdict]:
        out = Path("/run/out")
        out.mkdir()
        found = self._try_all(Context(1, "paper", 4, out), Handshake.DRAFT)
        return {one.name: one.verdict for one in map(check, found)}


@in_sandbox
def test_a_liberal_firewall_in_place_of_a_strict_one_is_red() -> None:
    (strict,) = (box for box in BOXES if box.name == "strict")
    verdicts = OneBox(Box(strict.name, strict.title, strict.rules, LIBERAL)).checks()
    red = {name for name, verdict in verdicts.items() if verdict is not Verdict.PASS}
    assert red == {name(Cell("strict", side, Situation.ACKS_LOST, Handshake.DRAFT)) for side in ("mobile", "server")}, (
        verdicts
    )


@in_sandbox
def test_a_router_in_place_of_an_option_stripper_is_red() -> None:
    (strip,) = (box for box in BOXES if box.name == "strip")
    verdicts = OneBox(Box(strip.name, strip.title)).checks()
    assert set(verdicts.values()) == {Verdict.FAIL}, verdicts
