"""What is read from captures on both sides of a box: made traces, one for each thing that a box does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from analysis.capture import ACK, RST, SYN, Packet
from scenarios.middlebox_evidence import Ending, Outcome, View, flight, judge, view
from topologies.boxes import Side

MOBILE, MOVED, SERVER, BOX = "10.1.1.2", "10.1.1.3", "10.1.100.2", "10.1.100.1"
PORT, SERVER_PORT = 40000, 8080
NI, NA, SIZE = 1000, 90000, 1448
MP, MIGRATE, WSCALE = (15, bytes(18)), (16, b"\x01" + b"T" * 8 + b"R" * 8), (3, b"\x07")
WHOLE, LOST, HELPED = Ending(True, True), Ending(False, False), Ending(True, False)
HOP = 0.0001


class Trace:
    """Packets as they enter and leave; each is 10 ms after the one before."""

    def __init__(self) -> None:
        self.packets: dict[Side, list[Packet]] = {"mobile": [], "server": []}
        self.now = 1.0

    def put(self, side: Side, packet: Packet, after: float = 0.0) -> Packet:
        numbered = replace(packet, number=len(self.packets[side]) + 1, time=self.now + after, vantage=side)
        self.packets[side].append(numbered)
        return numbered

    def cross(self, sender: Side, packet: Packet, left: Packet | None = None, *, lost: bool = False) -> None:
        self.now += 0.01
        self.put(sender, packet)
        if not lost:
            self.put("server" if sender == "mobile" else "mobile", left or packet, HOP)

    def view(self) -> View:
        return view(self.packets["mobile"], self.packets["server"], SERVER_PORT)


def up(flags: int, seq: int, ack: int = 0, *options: tuple[int, bytes], src: str = MOBILE, length: int = 0) -> Packet:
    return Packet(0, 0.0, "", src, PORT, SERVER, SERVER_PORT, flags, seq, ack, 500, length, options)


def down(flags: int, seq: int, ack: int, *options: tuple[int, bytes], dst: str = MOBILE, length: int = 0) -> Packet:
    return Packet(0, 0.0, "", SERVER, SERVER_PORT, dst, PORT, flags, seq, ack, 500, length, options)


def opened(trace: Trace) -> None:
    """Segments 1 to 3, two data segments of which one is acknowledged to the server."""
    trace.cross("mobile", up(SYN, NI, 0, MP))
    trace.cross("server", down(SYN | ACK, NA, NI + 1, MP))
    trace.cross("mobile", up(ACK, NI + 1, NA + 1))
    trace.cross("server", down(ACK, NA + 1, NI + 1, length=SIZE))
    trace.cross("mobile", up(ACK, NI + 1, NA + 1 + SIZE))
    trace.cross("server", down(ACK, NA + 1 + SIZE, NI + 1, length=SIZE))


SIX = down(SYN | ACK, NA + SIZE, NI + 1, dst=MOVED)
SEVEN = up(ACK, NI + 1, NA + 1 + 2 * SIZE, src=MOVED)
FIVE = up(SYN, NI, 0, MIGRATE, src=MOVED)
DATA = down(ACK, NA + 1 + 2 * SIZE, NI + 1, dst=MOVED, length=SIZE)


def test_what_passes_works() -> None:
    trace = Trace()
    opened(trace)
    trace.cross("mobile", FIVE)
    trace.cross("server", SIX)
    trace.cross("mobile", SEVEN)
    trace.cross("server", DATA)
    finding = judge(trace.view(), "mobile", WHOLE)
    assert finding.outcome is Outcome.WORKS
    assert "passes unchanged" in finding.why
    assert flight(trace.view(), "mobile", 1.065) == flight(trace.view(), "mobile", 1.065)
    assert (flight(trace.view(), "mobile", 1.065).outstanding, flight(trace.view(), "mobile", 1.065).arrived) == (
        SIZE,
        SIZE,
    )


def test_a_translation_is_told() -> None:
    trace = Trace()
    opened(trace)
    trace.cross("mobile", FIVE, replace(FIVE, src=BOX, sport=20001))
    trace.cross("server", replace(SIX, dst=BOX, dport=20001), SIX)
    trace.cross("mobile", SEVEN, replace(SEVEN, src=BOX, sport=20001))
    finding = judge(trace.view(), "mobile", WHOLE)
    assert finding.outcome is Outcome.WORKS
    assert f"leaves the box as {BOX}.20001 > {SERVER}.{SERVER_PORT}" in finding.why


def test_a_7_that_is_kept_is_found_and_its_number_explained() -> None:
    trace = Trace()
    opened(trace)
    trace.cross("mobile", FIVE)
    trace.cross("server", SIX)
    trace.cross("mobile", SEVEN, lost=True)
    finding = judge(trace.view(), "mobile", LOST)
    assert finding.outcome is Outcome.FAILS
    assert finding.why.startswith("7 ")
    assert f"acknowledges {SIZE} bytes beyond 6" in finding.why


def test_a_7_that_leaves_untranslated_is_found() -> None:
    trace = Trace()
    opened(trace)
    trace.cross("mobile", FIVE, replace(FIVE, src=BOX, sport=20001))
    trace.cross("server", replace(SIX, dst=BOX, dport=20001), SIX)
    trace.cross("mobile", SEVEN)
    finding = judge(trace.view(), "mobile", LOST)
    assert finding.outcome is Outcome.FAILS
    assert "7 " in finding.why
    assert "untranslated" in finding.why


def test_a_6_that_is_kept_is_found() -> None:
    trace = Trace()
    opened(trace)
    trace.cross("mobile", FIVE)
    trace.cross("server", SIX, lost=True)
    finding = judge(trace.view(), "mobile", LOST)
    assert finding.why.startswith("6 ")
    assert "does not leave it" in finding.why


def test_a_5_that_is_kept_is_found() -> None:
    trace = Trace()
    opened(trace)
    trace.cross("mobile", FIVE, lost=True)
    assert judge(trace.view(), "mobile", LOST).why.startswith("5 ")


def test_a_5_that_the_box_refuses_is_told_with_its_rst() -> None:
    trace = Trace()
    opened(trace)
    five = Packet(0, 0.0, "", "10.1.100.3", SERVER_PORT, MOBILE, PORT, SYN, NA, 0, 0, 0, (MIGRATE,))
    trace.cross("server", five, lost=True)
    reset = Packet(0, 0.0, "", MOBILE, PORT, "10.1.100.3", SERVER_PORT, RST | ACK, 0, NA + 1, 0, 0, ())
    trace.put("server", reset, 2 * HOP)
    finding = judge(trace.view(), "server", LOST)
    assert finding.outcome is Outcome.FAILS
    assert "answered by the box itself" in finding.why


def test_a_5_without_its_option_is_found() -> None:
    trace = Trace()
    opened(trace)
    trace.cross("mobile", FIVE, replace(FIVE, options=((1, b""),) * 20))
    assert "without its option" in judge(trace.view(), "mobile", LOST).why


@pytest.mark.parametrize(("ending", "outcome"), [(HELPED, Outcome.PLAIN), (LOST, Outcome.FAILS)])
def test_a_stripped_syn_is_plain_tcp_if_it_works_as_such(ending: Ending, outcome: Outcome) -> None:
    trace = Trace()
    trace.cross("mobile", up(SYN, NI, 0, MP), up(SYN, NI, 0))
    trace.cross("server", down(SYN | ACK, NA, NI + 1))
    finding = judge(trace.view(), "mobile", ending)
    assert finding.outcome is outcome
    assert "without migrate-permitted" in finding.why
    assert finding.recovers is ending.whole


def test_a_proxy_answers_itself() -> None:
    trace = Trace()
    trace.cross("mobile", up(SYN, NI, 0, MP), lost=True)
    trace.put("mobile", down(SYN | ACK, 777, NI + 1), 2 * HOP)
    finding = judge(trace.view(), "mobile", HELPED)
    assert finding.outcome is Outcome.PLAIN
    assert "answers itself" in finding.why


def test_a_syn_that_never_passes_is_no_connection() -> None:
    trace = Trace()
    for _ in range(3):
        trace.cross("mobile", up(SYN, NI, 0, MP), lost=True)
    finding = judge(trace.view(), "mobile", LOST)
    assert finding.outcome is Outcome.FAILS
    assert finding.why.startswith("1 ")


def test_a_syn_that_passes_at_its_second_try_has_passed() -> None:
    trace = Trace()
    trace.cross("mobile", up(SYN, NI, 0, MP), lost=True)
    opened(trace)
    trace.cross("mobile", FIVE)
    trace.cross("server", SIX)
    trace.cross("mobile", SEVEN)
    assert judge(trace.view(), "mobile", WHOLE).outcome is Outcome.WORKS


def test_help_is_no_success() -> None:
    """The same packets, but the transfer ended only because the old address came back."""
    trace = Trace()
    opened(trace)
    trace.cross("mobile", FIVE)
    trace.cross("server", SIX)
    trace.cross("mobile", SEVEN)
    trace.cross("server", DATA, lost=True)
    finding = judge(trace.view(), "mobile", HELPED)
    assert finding.outcome is Outcome.FAILS
    assert "after 7" in finding.why


def test_a_transfer_that_ended_without_a_move_is_no_success() -> None:
    trace = Trace()
    opened(trace)
    assert judge(trace.view(), "mobile", WHOLE).outcome is Outcome.FAILS


def test_nothing_at_all_is_no_success() -> None:
    assert judge(Trace().view(), "mobile", WHOLE).outcome is Outcome.FAILS


def test_another_connections_packets_do_not_count() -> None:
    trace = Trace()
    opened(trace)
    other = replace(FIVE, sport=50000, options=((16, b"\x01" + b"U" * 16),))
    trace.cross("mobile", other)
    assert judge(trace.view(), "mobile", LOST).why == "the mover sent no Migrate SYN"


def test_the_window_scale_in_5_changes_nothing() -> None:
    trace = Trace()
    opened(trace)
    trace.cross("mobile", replace(FIVE, options=(MIGRATE, WSCALE)))
    trace.cross("server", replace(SIX, options=(WSCALE,)))
    trace.cross("mobile", SEVEN)
    assert judge(trace.view(), "mobile", WHOLE).outcome is Outcome.WORKS
