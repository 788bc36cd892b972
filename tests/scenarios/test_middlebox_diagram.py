"""The diagrams of a move behind a NAT, on made traces: the adapted handshake fits them, the draft's does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from analysis import diagram, stream
from analysis.capture import ACK, SYN, Packet
from analysis.checking import find
from tests.scenarios.test_middlebox_evidence import BOX, MIGRATE, MOVED, NA, NI, SIZE, WSCALE, Trace, down, up
from topologies.boxes import Side

NOP = (1, b"")
TS = ((1, b""), (1, b""), (8, bytes(range(8))))
OPENING = ((2, b"\x05\xb4"), (4, b""), (8, b"\x11" * 8), (3, b"\x07"), (15, b"\x02" + b"\x02" * 17))
FIVE = replace(up(SYN, NI, 0, NOP, MIGRATE, NOP, WSCALE, src=MOVED), window=0)
SIX = down(SYN | ACK, NA + 2 * SIZE, NI + 1, NOP, WSCALE, dst=MOVED)
SEVEN = up(ACK, NI + 1, NA + 1 + 2 * SIZE, *TS, src=MOVED)
AFTER = down(ACK, NA + 1 + 2 * SIZE, NI + 1, *TS, dst=MOVED, length=SIZE)


def judged(side: Side, name: str, five: Packet = FIVE, six: Packet = SIX, seven: Packet = SEVEN) -> str:
    """ "" if the trace fits, else the label of the line that it does not."""
    trace = Trace()
    trace.cross("mobile", outside(up(SYN, NI, 0, *OPENING))[0], outside(up(SYN, NI, 0, *OPENING))[1])
    for sender, inner in (
        ("server", down(SYN | ACK, NA, NI + 1, *OPENING)),
        ("mobile", up(ACK, NI + 1, NA + 1, *TS)),
        ("server", down(ACK, NA + 1, NI + 1, *TS, length=SIZE)),
        ("server", down(ACK, NA + 1 + SIZE, NI + 1, *TS, length=SIZE)),
        ("mobile", five),
        ("server", six),
        ("mobile", seven),
        ("server", AFTER),
    ):
        inside, outer = outside(inner)
        trace.cross(sender, *((inside, outer) if sender == "mobile" else (outer, inside)))  # type: ignore[arg-type]
    (one,) = stream.join(trace.packets[side])
    mismatch = diagram.check(diagram.load(find(name)), one, 0.02).mismatch
    return "" if mismatch is None else str(mismatch.label or mismatch.number)


def outside(packet: Packet) -> tuple[Packet, Packet]:
    """The packet inside, and as the NAT has it outside: one address, a port for each of the mobile's."""
    if packet.sport == 8080:
        port = 20002 if packet.dst == MOVED else 20001
        return packet, replace(packet, dst=BOX, dport=port)
    return packet, replace(packet, src=BOX, sport=20002 if packet.src == MOVED else 20001)


VANTAGES = pytest.mark.parametrize(("side", "name"), [("mobile", "behind-nat"), ("server", "behind-nat-server")])


@VANTAGES
def test_the_adapted_handshake_fits(side: Side, name: str) -> None:
    assert judged(side, name) == ""


@VANTAGES
def test_5_and_6_without_the_window_scale_do_not(side: Side, name: str) -> None:
    assert judged(side, name, five=replace(FIVE, options=(NOP, MIGRATE))) == "5"
    assert judged(side, name, six=replace(SIX, options=())) == "6"


def test_the_drafts_number_in_6_does_not() -> None:
    """The server sees it in 6, the mobile by what its own 7 acknowledges."""
    drafts = replace(SIX, seq=NA)
    assert judged("server", "behind-nat-server", six=drafts) == "6"
    assert judged("mobile", "behind-nat", six=drafts) == "7"


@VANTAGES
def test_a_5_that_is_behind_does_not(side: Side, name: str) -> None:
    assert judged(side, name, five=replace(FIVE, seq=NI - 1)) == "5"
