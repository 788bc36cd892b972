"""The checker itself: correct traces pass, and each of many single faults is red at the line that it breaks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from analysis import diagram as diagrams
from analysis.capture import ACK, FIN, RST, SYN
from analysis.checking import SHIPPED, judge
from analysis.diagram import Tokens, Verdict
from analysis.stream import join
from migrate.core.options import Migrate
from migrate.core.segment import timestamp_option
from tests.analysis import made_trace as made
from tests.analysis.made_trace import MSS, NA, NI, Row, Setting

DIAGRAMS = {
    "mobile": diagrams.load(SHIPPED / "mobility.diagram"),
    "server": diagrams.load(SHIPPED / "mobility-server.diagram"),
}

Fault = Callable[[list[Row]], list[Row]]


def verdict_on(rows: list[Row], vantage: str, *, keys: bool = True) -> Verdict:
    streams = join(made.packets(rows, vantage), made.KEYS if keys else {})
    (verdict,) = judge(DIAGRAMS[vantage], streams)
    return verdict


@pytest.mark.parametrize("vantage", ["mobile", "server"])
@pytest.mark.parametrize(
    "setting",
    [
        Setting(),
        Setting(v6=True),
        Setting(in_flight=50),
        Setting(same_port=False),
        Setting(away=3.0),
        Setting(first_flight=10, received=3),
        Setting(one_way=0.005, packet_time=0.001, window=20, received=25, away=0.2, total=100),
    ],
    ids=["plain", "ipv6", "upload in flight", "another port", "long away", "initial window 10", "fast"],
)
def test_a_correct_trace_passes(vantage: str, setting: Setting) -> None:
    verdict = verdict_on(made.make(vantage, setting), vantage)
    assert verdict.mismatch is None
    assert verdict.tokens is Tokens.VERIFIED


@pytest.mark.parametrize("vantage", ["mobile", "server"])
def test_a_rst_is_forbidden_for_as_long_as_there_is_a_connection(vantage: str) -> None:
    """Of two segments at the end one may overtake the other: what the first has ended answers what comes of the second
    by RST, as any closed socket does (RFC 9293, 3.10.7.1)."""
    rows = made.make(vantage)
    reset = replace(rows[-1], flags=RST)
    assert verdict_on([*rows, replace(reset, time=rows[-1].time + 0.01)], vantage).good
    verdict = verdict_on([*rows[:-1], replace(reset, time=rows[-1].time - 0.0001), rows[-1]], vantage)
    assert verdict.mismatch is not None
    assert verdict.mismatch.expected.startswith("never RST")


@pytest.mark.parametrize("vantage", ["mobile", "server"])
def test_without_keys_the_token_is_unverified(vantage: str) -> None:
    verdict = verdict_on(made.make(vantage), vantage, keys=False)
    assert verdict.good
    assert verdict.tokens is Tokens.UNVERIFIED


# Ways to spoil one row.


def change(tag: str, nth: int = 0, **fields: object) -> Fault:
    """Give the nth row of a tag other fields; a function computes one from the row."""

    def spoil(rows: list[Row]) -> list[Row]:
        index = [index for index, row in enumerate(rows) if row.tag == tag][nth]
        row = rows[index]
        values = {key: value(row) if callable(value) else value for key, value in fields.items()}
        return [*rows[:index], replace(row, **values), *rows[index + 1 :]]  # type: ignore[arg-type]

    return spoil


def drop(tag: str, nth: int = 0) -> Fault:
    def spoil(rows: list[Row]) -> list[Row]:
        index = [index for index, row in enumerate(rows) if row.tag == tag][nth]
        return rows[:index] + rows[index + 1 :]

    return spoil


def add(tag: str, nth: int = 0, after: float = 0.0001, **fields: object) -> Fault:
    """A copy of a row with other fields, that many seconds later."""

    def spoil(rows: list[Row]) -> list[Row]:
        row = [row for row in rows if row.tag == tag][nth]
        values = {key: value(row) if callable(value) else value for key, value in fields.items()}
        extra = replace(row, time=row.time + after, tag="extra", **values)  # type: ignore[arg-type]
        return sorted([*rows, extra], key=lambda one: one.time)

    return spoil


def delay(tag: str, seconds: float, nth: int = 0) -> Fault:
    """This row and all later ones come later."""

    def spoil(rows: list[Row]) -> list[Row]:
        start = [index for index, row in enumerate(rows) if row.tag == tag][nth]
        return rows[:start] + [replace(row, time=row.time + seconds) for row in rows[start:]]

    return spoil


def cut(tag: str) -> Fault:
    """The trace ends before this row."""

    def spoil(rows: list[Row]) -> list[Row]:
        start = next(row for row in rows if row.tag == tag).time
        return [row for row in rows if row.time < start]

    return spoil


def plus(field: str, step: int) -> Callable[[Row], int]:
    return lambda row: getattr(row, field) + step


def migrate(
    *, s: int = 0, token: bytes = made.TOKEN, request: bytes | None = None, octet: int = 1, proof_s: int | None = None
) -> Fault:
    """Another Migrate option, its proof right for what it says unless a request is given; S moves by `s`."""

    def spoil(rows: list[Row]) -> list[Row]:
        row = next(row for row in rows if row.tag == "5")
        right = made.proof(row.seq + s if proof_s is None else proof_s, octet)
        option = Migrate(bool(octet & 0x80), octet & 0x7F, token, request or right)
        return change("5", seq=row.seq + s, options=option.encode())(rows)

    return spoil


def without_mp(row: Row) -> bytes:
    return row.options[:20]


def tail_cut(row: Row) -> bytes:
    """The last option one byte shorter, a NOP instead."""
    at = len(row.options) - (20 if row.tag in "12" else 19)
    options = bytearray(row.options)
    options[at + 1] -= 1
    return bytes(options[:-1]) + b"\x01"


def other_curve(row: Row) -> bytes:
    return row.options[:22] + b"\x03" + row.options[23:]


@dataclass(frozen=True)
class Case:
    name: str
    fault: Fault
    line: str  # label of the line that must be named, or what its text begins with
    says: str
    vantage: str = "mobile"
    setting: Setting = field(default_factory=Setting)


FORGED = bytes.fromhex("00112233445566aa")
EXTRA_TS = timestamp_option(1, 1)
CASES = [
    # The handshake.
    Case("SYN without MP", change("1", options=without_mp), "1", "no option migrate-permitted"),
    Case("SYN/ACK without MP", change("2", options=without_mp), "2", "no option migrate-permitted"),
    Case("MP one byte short", change("1", options=tail_cut), "1", "16 key bytes"),
    Case("MP one byte short in the answer", change("2", options=tail_cut), "2", "16 key bytes"),
    Case("another curve in the answer", change("2", options=other_curve), "2", "curve is 3, not 2"),
    Case("SYN/ACK acknowledges wrongly", change("2", ack=plus("ack", 1)), "2", "ack is 2, not 1"),
    Case("MP in a later segment", change("3", options=lambda row: made.syn_options(made.MOBILE.public)),
         "3", "also has"),
    Case("acknowledges what never came", change("ack", 3, ack=plus("ack", MSS)), "mobile.old > server", "not <= 4001"),
    Case("data beyond the window", add("data", 3, seq=plus("seq", 9_000_000)), "server > mobile.old", "end is"),
    # Segment 5.
    Case("S one too high", migrate(s=1), "5", "seq is 121, not 120"),
    Case("S one too low", migrate(s=-1), "5", "seq is 119, not 120"),
    Case("S is the last byte sent plus one", migrate(s=1000), "5", "seq is 1120, not 120"),
    Case("wrong token", migrate(token=FORGED), "5", "token is 00112233445566aa"),
    Case("wrong request", migrate(request=FORGED), "5", "request is 00112233445566aa"),
    Case("request made for another S", migrate(proof_s=NI + 7), "5", "request is"),
    Case("wrong request number", migrate(octet=2), "5", "req is 2, not 1"),
    Case("preload by one who is an end point", migrate(octet=0x81), "5", "preload"),
    Case("Migrate option one byte short", change("5", options=tail_cut), "5", "16"),
    Case("extra option", change("5", options=lambda row: EXTRA_TS + row.options), "5", "timestamps"),
    Case("NOP behind instead of in front", change("5", options=lambda row: row.options[1:] + b"\x01"),
         "5", "migrate, nop"),
    Case("window", change("5", window=8192), "5", "win is 8192, not 0"),
    Case("data in the SYN", change("5", length=10), "5", "length is 10, not 0"),
    Case("ACK flag on the SYN", change("5", flags=SYN | ACK, ack=NA + 12001), "5", "its flags are [S.]"),
    Case("from the old address", change("5", src=made.OLD4), "5", "not from mobile.new"),
    # Segment 6.
    Case("6 acknowledges S only", change("6", ack=plus("ack", -1)), "6", "ack is 120, not 121"),
    Case("6 acknowledges a byte more", change("6", ack=plus("ack", 1)), "6", "ack is 122, not 121"),
    Case("6 starts at snd_una", change("6", seq=plus("seq", 1)), "6", "seq is 12001"),
    Case("6 starts with a random number", change("6", seq=NA + 777_777), "6", "seq is"),
    Case("6 has options", change("6", options=b"\x02\x04\x05\xb4"), "6", "its options are mss"),
    Case("6 padded with NOPs", change("6", options=b"\x01" * 4), "6", "its options are nop"),
    Case("6 waits", delay("6", 0.06), "6", "rtt after 5"),
    Case("6 is a plain ACK", change("6", flags=ACK), "6", "its flags are [.]"),
    Case("refused", change("6", flags=RST | ACK), "never RST", "must not"),
    # Segment 7.
    Case("7 missing", drop("7"), "7", "not from mobile.new"),
    Case("7 acknowledges a byte more", change("7", ack=plus("ack", 1)), "7", "ack is 12002"),
    Case("7 acknowledges a byte less", change("7", ack=plus("ack", -1)), "7", "ack is 12000"),
    Case("7 acknowledges S + 1 of 6", change("7", ack=NA + 1), "7", "ack is 1, not"),
    Case("7 acknowledges buffered packets", change("7", ack=plus("ack", 4 * MSS)), "7", "ack is 16001"),
    Case("7 takes sequence space", change("7", seq=plus("seq", 1)), "7", "seq is 122, not 121"),
    Case("7 late", delay("7", 0.06), "7", "rtt after 5"),
    Case("7 without timestamps", change("7", options=b""), "7", "no option timestamps"),
    Case("7 repeats the Migrate option", change("7", options=lambda row: b"\x01" + made_option()), "7", "no option"),
    # Data afterwards.
    Case("data a byte late", change("8", seq=plus("seq", 1)), "8", "seq is 12002, not 12001"),
    Case("data a byte early", change("8", seq=plus("seq", -1)), "8", "seq is 12000, not 12001"),
    Case("data where the server had stopped", change("8", seq=plus("seq", 8 * MSS)), "8", "seq is 20001, not 12001"),
    Case("data after an old timeout", delay("8", 1.5), "8", "rtt after 7"),
    Case("no data", cut("8"), "8", "the trace ends"),
    Case("gap", lambda rows: drop("new", 3)(drop("new-ack", 4)(rows)),
         "server > mobile.new", "seq is 17001, not 16001"),
    Case("overlap", change("new", 3, seq=plus("seq", -100)), "server > mobile.new", "seq is 15901, not 16001"),
    Case("what 7 acknowledged comes again", add("new", 0, seq=NA + 11001), "server > mobile.new", "11001"),
    Case("a byte of the packet missing", change("new", 3, length=MSS - 1),
         "mobile.new > server", "ack is 17001, not <= 17000"),
    Case("acknowledges buffered packets", change("new-ack", 2, ack=plus("ack", 2 * MSS)),
         "mobile.new > server", "ack is"),
    Case("acknowledged from the old address", add("data", 17, src=made.OLD4, sport=40000, dst=made.SERVER4, dport=80,
         seq=NI + 121, ack=NA + 17001, length=0), "never mobile.old > server after 5", "must not"),
    Case("old address: beyond the window", add("data", 17, seq=plus("seq", 9_000_000)),
         "server > mobile.old", "end is"),
    Case("old address: FIN", change("data", 17, flags=ACK | FIN), "never FIN", "must not"),
    Case("RST on the new address", add("new", 4, flags=RST, length=0), "never RST", "must not"),
    Case("RST to the old address", add("data", 16, flags=RST | ACK, length=0), "never RST", "must not"),
    Case("RST by the mobile", add("data", 16, src=made.OLD4, sport=40000, dst=made.SERVER4, dport=80, flags=RST,
         seq=NI + 121, length=0), "never", "must not"),
    Case("migrates again", add("new", 5, src=made.NEW4, sport=40000, dst=made.SERVER4, dport=80, flags=SYN, length=0,
         seq=NI + 120, options=Migrate(False, 2, made.TOKEN, made.proof(NI + 120, 2)).encode()),
         "never SYN", "must not"),
    Case("6 twice", add("6", after=0.01), "never SYN", "must not"),
    Case("the trace stops at 5", cut("6"), "6", "the trace ends"),
    Case("the trace stops in the middle", cut("fin"), "10", "the trace ends"),
    # What only the server's side shows.
    Case("6 acknowledges S + 1, not the data received", change("6", ack=plus("ack", -50)), "6", "ack is 121, not 171",
         "server", Setting(in_flight=50)),
    Case("6 starts behind snd_una", change("6", seq=plus("seq", -MSS)), "6", "seq is 11000, not 12000", "server"),
    Case("the server waits with 6", delay("6", 0.06), "6", "rtt after 5", "server"),
    Case("S is no acknowledgement of the server's", migrate(s=-3), "5", "seq is 117", "server"),
    Case("data to the old address after 6", add("6", after=0.01, dst=made.OLD4, dport=40000, flags=ACK, length=MSS,
         seq=NA + 20001, options=EXTRA_TS), "never server > mobile.old after 6", "must not", "server"),
    Case("retransmission to the old address after 7", add("7", after=0.3, src=made.SERVER4, sport=80, dst=made.OLD4,
         dport=40000, seq=NA + 12001, ack=NI + 121, length=MSS),
         "never server > mobile.old after 6", "must not", "server"),
    Case("7 takes back an acknowledgement", change("7", ack=plus("ack", -MSS)), "7", "ack is 11001", "server"),
    Case("the server waits with data", delay("8", 0.15), "8", "rtt after 7", "server"),
    Case("the server goes on where it had stopped", change("8", seq=plus("seq", 8 * MSS)),
         "8", "seq is 20001", "server"),
    Case("the server sends again what 7 acknowledged", change("8", seq=plus("seq", -MSS)),
         "8", "seq is 11001", "server"),
    Case("the server skips a packet", drop("new", 3), "server > mobile.new", "seq is 17001, not 16001", "server"),
    Case("wrong token at the server", migrate(token=FORGED), "5", "token is", "server"),
]  # fmt: skip


def made_option() -> bytes:
    return Migrate(False, 1, made.TOKEN, made.proof(NI + 120, 1)).encode()[1:]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.vantage}: {case.name}")
def test_a_single_fault_is_red_at_its_line(case: Case) -> None:
    rows = made.make(case.vantage, case.setting)
    assert verdict_on(rows, case.vantage).good
    spoilt = case.fault(rows)
    assert spoilt != rows
    mismatch = verdict_on(spoilt, case.vantage).mismatch
    assert mismatch is not None
    named = mismatch.label == case.line if case.line.isdigit() else mismatch.expected.startswith(case.line)
    assert named, f"{mismatch.label} {mismatch.expected}"
    assert case.says in " ".join([*mismatch.wrong, mismatch.actual])


def test_there_are_enough_faults() -> None:
    assert len(CASES) >= 25
    assert len({case.name for case in CASES}) == len(CASES)
