"""The diagrams of `both_ways`: correct traces pass, and each of many faults is red at the line that it breaks."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from analysis import diagram as diagrams
from analysis.capture import ACK, FIN, RST
from analysis.checking import SHIPPED
from analysis.diagram import Tokens, Verdict
from analysis.diagram.model import Diagram
from analysis.stream import join
from tests.analysis import made_moves, made_trace
from tests.analysis.made_moves import ROUND_TRIP
from tests.analysis.made_trace import MSS, NA, NI, OLD4, SERVER4, Row
from tests.analysis.test_faults import EXTRA_TS, FORGED, Fault, add, change, cut, delay, drop, migrate, plus

MADE: dict[str, Callable[[], list[Row]]] = {
    "upload": made_moves.upload,
    "server-moves": made_moves.server_moves,
    "half-closed": made_moves.half_closed,
}
TO_OLD: dict[str, Any] = {"src": SERVER4, "sport": 80, "dst": OLD4, "dport": 40000}


@functools.cache
def expected(name: str) -> Diagram:
    return diagrams.load(SHIPPED / f"{name}.diagram")


def verdict_on(rows: list[Row], name: str) -> Verdict:
    (stream,) = join(made_trace.packets(rows, "server"), made_trace.KEYS)
    return diagrams.check(expected(name), stream, ROUND_TRIP)


@pytest.mark.parametrize("name", MADE)
def test_a_correct_trace_passes(name: str) -> None:
    verdict = verdict_on(MADE[name](), name)
    assert verdict.mismatch is None, verdict.mismatch
    assert verdict.tokens is Tokens.VERIFIED


@dataclass(frozen=True)
class Case:
    diagram: str
    name: str
    fault: Fault
    line: str  # label of the line that must be named, or what its text begins with


CASES = [
    # The mobile moves, and sends.
    Case("upload", "SYN without MP", change("1", options=lambda row: row.options[:20]), "1"),
    Case("upload", "data beyond the window", change("data", 9, seq=plus("seq", 9_000_000)), "mobile.old > server"),
    Case("upload", "S is snd_una", migrate(s=1), "5"),
    Case("upload", "S is snd_nxt - 1 of what nobody has acknowledged", migrate(s=2 * MSS + 1), "5"),
    Case("upload", "wrong request", migrate(request=FORGED), "5"),
    Case("upload", "a window in 5", change("5", window=8192), "5"),
    Case("upload", "6 acknowledges S only", change("6", ack=plus("ack", -2 * MSS - 1)), "6"),
    Case("upload", "6 acknowledges what never came", change("6", ack=plus("ack", 1)), "6"),
    Case("upload", "6 begins at snd_una", change("6", seq=plus("seq", 1)), "6"),
    Case("upload", "6 waits", delay("6", 0.06), "6"),
    Case("upload", "6 has options", change("6", options=EXTRA_TS), "6"),
    Case("upload", "7 begins at S + 1 and not where 6 says", change("7", seq=plus("seq", -2 * MSS)), "7"),
    Case("upload", "7 acknowledges what was never sent", change("7", ack=plus("ack", 1)), "7"),
    Case("upload", "7 without timestamps", change("7", options=b""), "7"),
    Case("upload", "no 7", drop("7"), "7"),
    Case("upload", "what 6 acknowledges is sent again", change("8", seq=plus("seq", -2 * MSS)), "8"),
    Case("upload", "a byte is left out", change("8", seq=plus("seq", 1)), "8"),
    Case("upload", "after a timeout", delay("8", 0.2), "8"),
    Case("upload", "later data from before 6.ack", add("new", 3, seq=NI + 1), "mobile.new > server"),
    Case("upload", "an ACK to the old address", add("7", after=0.01, seq=NA + 1, ack=NI + 1 + 10 * MSS, **TO_OLD),
         "never server > mobile.old after 6"),
    Case("upload", "a RST", add("7", after=0.01, flags=RST), "never RST"),
    Case("upload", "6 twice", add("6", after=0.01), "never SYN after 6"),
    Case("upload", "no end", cut("fin"), "10"),
    # The server moves, and sends.
    Case("server-moves", "S is snd_una", migrate(s=1), "5"),
    Case("server-moves", "S one too low", migrate(s=-1), "5"),
    Case("server-moves", "wrong token", migrate(token=FORGED), "5"),
    Case("server-moves", "another option in 5", change("5", options=lambda row: EXTRA_TS + row.options), "5"),
    Case("server-moves", "6 acknowledges S only", change("6", ack=plus("ack", -MSS - 1)), "6"),
    Case("server-moves", "6 acknowledges what was never sent", change("6", ack=plus("ack", 2 * MSS)), "6"),
    Case("server-moves", "6 begins at snd_una", change("6", seq=plus("seq", 1)), "6"),
    Case("server-moves", "6 very late", delay("6", 0.5), "6"),
    Case("server-moves", "7 begins where the server had stopped", change("7", seq=plus("seq", MSS)), "7"),
    Case("server-moves", "7 acknowledges a byte too few", change("7", ack=plus("ack", -1)), "7"),
    Case("server-moves", "7 waits", delay("7", 0.06), "7"),
    Case("server-moves", "what 6 acknowledges is sent again", change("8", seq=plus("seq", -MSS)), "8"),
    Case("server-moves", "on from where the server had stopped", change("8", seq=plus("seq", MSS)), "8"),
    Case("server-moves", "after a timeout", delay("8", 0.06), "8"),
    Case("server-moves", "data from the old address", add("5", after=0.01, flags=ACK, seq=NA + 1 + 8 * MSS,
         ack=NI + 121, length=MSS, options=EXTRA_TS, **TO_OLD), "never server.old > mobile after 5"),
    Case("server-moves", "a RST", add("new", 2, flags=RST | ACK, length=0), "never RST"),
    Case("server-moves", "6 twice", add("6", after=0.0005), "never SYN after 6"),
    Case("server-moves", "a FIN before 8", change("7", flags=FIN | ACK), "never FIN before 8"),
    # The mobile has closed its side, and moves.
    Case("half-closed", "S is the last byte before the FIN", migrate(s=-1), "5"),
    Case("half-closed", "S is behind the FIN", migrate(s=1), "5"),
    Case("half-closed", "6 does not acknowledge the FIN", change("6", ack=plus("ack", -1)), "6"),
    Case("half-closed", "6 begins at snd_nxt", change("6", seq=plus("seq", 2 * MSS)), "6"),
    Case("half-closed", "7 begins on the FIN", change("7", seq=plus("seq", -1)), "7"),
    Case("half-closed", "7 takes back an acknowledgement", change("7", ack=plus("ack", -MSS)), "7"),
    Case("half-closed", "the FIN again", change("new-ack", 0, flags=FIN | ACK, seq=plus("seq", -1)),
         "never mobile.new > server [F.] after 5"),
    Case("half-closed", "the server forgets the FIN", change("8", ack=plus("ack", -1)), "8"),
    Case("half-closed", "the server goes on where it had stopped", change("8", seq=plus("seq", 2 * MSS)), "8"),
    Case("half-closed", "the server sends to the old address", add("7", after=0.001, seq=NA + 1 + 8 * MSS,
         ack=NI + 122, length=MSS, **TO_OLD), "never server > mobile.old after 6"),
    Case("half-closed", "data behind the FIN", change("new-ack", 1, length=10), "mobile.new > server"),
    Case("half-closed", "reset", change("new-ack", 1, flags=RST), "never RST"),
    Case("half-closed", "the server does not close", cut("fin-back"), "10"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.diagram}: {case.name}")
def test_a_single_fault_is_red_at_its_line(case: Case) -> None:
    rows = MADE[case.diagram]()
    spoilt = case.fault(rows)
    assert spoilt != rows
    mismatch = verdict_on(spoilt, case.diagram).mismatch
    assert mismatch is not None
    named = mismatch.label == case.line if case.line.isdigit() else mismatch.expected.startswith(case.line)
    assert named, f"{mismatch.label} {mismatch.expected}: {mismatch.wrong} {mismatch.actual}"
