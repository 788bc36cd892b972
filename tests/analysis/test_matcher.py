"""What each part of the diagram language means, on traces of a few segments; and that other experiments can be said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from analysis.capture import ACK, FIN, PSH, RST, SYN
from analysis.diagram import Tokens, Unusable, Verdict, check, parse
from analysis.stream import Stream, join
from migrate.core import keys
from migrate.core.options import Migrate
from migrate.core.segment import sack_option, timestamp_option
from tests.analysis import made_trace as made
from tests.analysis.made_trace import NA, NI, OLD4, SERVER4, Row

HEAD = "client opens from home\nserver answers at fixed\nvantage client\n"
TS = timestamp_option(1, 1)


def up(time: float, seq: int, ack: int, length: int = 0, flags: int = ACK, **fields: object) -> Row:
    row = Row(time, "", OLD4, 40000, SERVER4, 80, flags, NI + seq, NA + ack, 1000, TS, length)
    return replace(row, **fields)  # type: ignore[arg-type]


def down(time: float, seq: int, ack: int, length: int = 0, flags: int = ACK, **fields: object) -> Row:
    row = Row(time, "", SERVER4, 80, OLD4, 40000, flags, NA + seq, NI + ack, 1000, TS, length)
    return replace(row, **fields)  # type: ignore[arg-type]


SHAKE = [
    up(0.0, 0, 0, flags=SYN, options=made.syn_options(made.MOBILE.public)),
    down(0.1, 0, 1, flags=SYN | ACK, options=made.syn_options(made.SERVER.public)),
    up(0.1, 1, 1),
]
OPENING = "1 client > server [S]\n2 server > client [S.]\n3 client > server [.]\n"


def stream(rows: list[Row]) -> Stream:
    (one,) = join(made.packets(rows, "client"), made.KEYS)
    return one


def judge(lines: str, rows: list[Row], rtt: float | None = None, head: str = HEAD + OPENING) -> Verdict:
    return check(parse(head + lines), stream(SHAKE + rows), rtt)


def wrong(verdict: Verdict) -> str:
    assert verdict.mismatch is not None
    return " ".join(verdict.mismatch.wrong)


DATA = [down(0.2, 1, 1, 100), down(0.3, 101, 1, 100), up(0.3, 1, 201)]


def test_repetition() -> None:
    for word, passes in (("any number of", True), ("one or more of", True), ("optional", False), ("one of", False)):
        assert judge(f"{word} {{\nserver > client [.] length > 0\n}}\nclient > server [.]", DATA).good is passes
    none = "client > server [.]"
    assert judge("any number of server > client\n" + none, DATA[2:]).good
    assert judge("optional server > client\n" + none, DATA[2:]).good
    assert not judge("one or more of server > client\n" + none, DATA[2:]).good


def test_a_segment_may_belong_to_a_repetition_or_to_what_follows() -> None:
    # Only the last data segment can be the labelled one, which is known when the trace ends.
    verdict = judge("any number of server > client [.]\n8 server > client [.]\n9 client > server [.]", DATA)
    assert verdict.good
    packet = verdict.packet("8")
    assert packet is not None
    assert packet.number == 5


def test_the_trace_must_end_with_the_diagram() -> None:
    verdict = judge("8 server > client [.]", DATA)
    assert wrong(verdict) == "the diagram ends before it"
    verdict = judge("one or more of server > client [.]\n8 client > server [F.]", DATA[:2])
    assert verdict.mismatch is not None
    assert verdict.mismatch.packet is None
    assert verdict.mismatch.expected == "client > server [F.]"


def test_meanwhile_and_never_have_scopes() -> None:
    data = "any number of server > client [.] length > 0\n"
    end = "9 client > server [F.]\n"
    fin = [up(0.4, 1, 201, flags=FIN | ACK)]
    assert judge(data + end + "meanwhile client > server [.]", DATA + fin).good
    assert judge(data + end + "meanwhile after 3 before 9 client > server [.]", DATA + fin).good
    assert not judge(data + end + "meanwhile after 9 client > server [.]", DATA + fin).good
    assert not judge(data + end + "meanwhile before 3 client > server [.]", DATA + fin).good
    everything = "any number of {\n client > server\n server > client\n}\n"
    assert judge(everything + "never RST", DATA).good
    verdict = judge(everything + "never server > client length > 0 after 3", DATA)
    assert verdict.mismatch is not None
    assert verdict.mismatch.expected == "never server > client length > 0 after 3"
    assert judge(everything + "never server > client length > 0 before 3", DATA).good


def test_flags() -> None:
    fin = [down(0.2, 1, 1, 100, flags=FIN | PSH | ACK)]
    assert judge("server > client [F.]", fin).good  # PSH is free
    assert judge("server > client [FP.]", fin).good
    assert judge("server > client [F?.]", fin).good
    assert judge("server > client FIN", fin).good
    assert wrong(judge("server > client [.]", fin)) == "its flags are [FP.], not [.]"
    assert not judge("server > client [FP.]", [down(0.2, 1, 1, flags=FIN | ACK)]).good
    assert not judge("server > client RST", fin).good
    assert judge("server > client [.]", [down(0.2, 1, 1, flags=ACK | 0xC0)]).good  # and so is ECN


def test_relations_and_names() -> None:
    lines = "4 server > client [.] seq = A = Na + 1, length = L\n5 server > client [.] seq = A + L, seq = 4.end"
    ack = "\n6 client > server [.] ack = 5.end, ack != 4.end, win > 0x10, ack >= A, ack < 202"
    assert judge(lines + ack, DATA).good
    assert wrong(judge(lines + ack.replace("< 202", "< 201"), DATA)) == "ack is 201, not < 201"
    assert wrong(judge("4 server > client [.] seq = 2.seq + 5", DATA)) == "seq is 1, not 5"
    assert judge("optional client > server [.] seq = B\n4 server > client [.] length = B", DATA[:1]).good
    unknown = judge("optional client > server [.] seq = B\n4 server > client [.] seq = B + 1", DATA[:1])
    assert wrong(unknown) == "B has no value here"


def test_times() -> None:
    line = "4 server > client [.] within {} of 3"
    assert judge(line.format("100 ms"), DATA[:1]).good
    assert judge(line.format("0.11 s"), DATA[:1]).good
    assert wrong(judge(line.format("90 ms"), DATA[:1])) == "it comes 100 ms after 3, not within 90"
    head = HEAD + "rtt from 1 to 2\n" + OPENING
    assert judge(line.format("1.1 rtt"), DATA[:1], head=head).good
    assert judge(line.format("1.1 rtt"), DATA[:1], rtt=0.2, head=head).good
    late = judge(line.format("1.1 rtt"), DATA[:1], rtt=0.05, head=head)
    assert "2.00 rtt after 3 (100.0 ms at a round trip of 50.0 ms), not within 1.1" in wrong(late)


def test_a_round_trip_that_cannot_be_told() -> None:
    head = HEAD + "rtt from 2 to 3\n" + OPENING
    assert "give it with --rtt" in wrong(judge("server > client [.] within 1 rtt of 3", DATA[:1], head=head))


@pytest.mark.parametrize(
    ("line", "options", "says"),
    [
        ("<timestamps>", TS, None),
        ("<timestamps, sack?>", TS, None),
        ("<...>", TS, None),
        ("<>", b"", None),
        ("<>", TS, "its options are nop, nop, timestamps, not <>"),
        ("<mss>", TS, "it has no option mss it also has timestamps"),
        ("<mss=1460>", b"\x02\x04\x05\xb4", None),
        ("<mss=1400>", b"\x02\x04\x05\xb4", "mss: value is 1460, not 1400"),
        ("<wscale=7, ...>", b"\x01\x03\x03\x07" + TS, None),
        ("<nop, nop, timestamps>", TS, None),
        ("<nop, timestamps>", TS, "its options are nop, nop, timestamps"),
        ("<timestamps, sack>", TS + sack_option([(1, 2)]), None),
        ("<timestamps>", b"\x01\x01\x08\x09" + bytes(7) + b"\x01", "the option timestamps is 9 bytes long, not 10"),
        ("<...>", b"\x01\x01\x05\x09" + bytes(7) + b"\x01", "no number of blocks"),
        ("<...>", b"\x08\x30\x00\x00", "malformed"),
        ("<timestamps>", TS + b"\xfe\x04\x00\x00", "it also has option 254"),
    ],
)
def test_options(line: str, options: bytes, says: str | None) -> None:
    verdict = judge(f"server > client [.] {line}", [down(0.2, 1, 1, options=options)])
    if says is None:
        assert verdict.mismatch is None
    else:
        assert says in wrong(verdict)


def test_verified_tokens_can_be_demanded() -> None:
    diagram = parse(HEAD + "verify tokens\n" + OPENING)
    assert check(diagram, stream(SHAKE)).good
    (without,) = join(made.packets(SHAKE, "client"))
    with pytest.raises(Unusable, match="demands verified tokens, and there is no key of .*: give the key log"):
        check(diagram, without)


def test_a_token_can_be_written_out() -> None:
    number = f"0x{made.TOKEN.hex()}"
    head = "mobile opens from old, moves to new\nserver answers at fixed\nvantage mobile\n"
    lines = "any number of {{\n mobile > server\n server > mobile\n}}\n"
    lines += "never mobile > server [S] <nop, migrate token={}>"
    (one,) = join(made.packets(made.make("mobile"), "mobile"))
    assert not check(parse(head + lines.format(number)), one).good
    assert check(parse(head + lines.format("0x1234")), one).good


# Other experiments: the language has room for them.

FAILOVER = """
# Slide 30. sA is alive: the pronouncement is wrong, on purpose.
client opens from home
server answers at sA, moves to sB
vantage client

1  client > server.sA  [S]
2  server.sA > client  [S.]
3  any number of {
       client > server.sA  [.]  seq <= snd_nxt(client), ack <= rcv_nxt(client)
       server.sA > client  [.]  seq = snd_nxt(server)
   }
5  server.sB > client  [S]   win = 0, length = 0
                             <nop, migrate token=T request=R req=1 preload>
6  client > server.sB  [S.]  seq = snd_una(client) - 1, ack = rcv_nxt(client)        <>
7  server.sB > client  [.]   seq = 6.ack, ack = 6.seq + 1, length = 0                <>
8  server.sB > client  [.]   seq = 6.ack, length > 0                                 <>
9  any number of {
       server.sB > client  [.]  seq = snd_nxt(server)  <>
       client > server.sB  [.]  ack <= rcv_nxt(client) <>
   }
meanwhile after 6 server.sA > client  [.]  end <= 6.ack     # sA's retransmission: its ACK went to sB
meanwhile after 6 client > server.sA  RST
never RST before 6
"""


def failover(**fields: object) -> list[Row]:
    request = keys.request(NI, NA, made.SECRET, 0, 0x81, 1)
    take_over = Migrate(True, 1, made.TOKEN, request).encode()
    rows = [
        *SHAKE,
        up(0.15, 1, 1, 504, flags=ACK | PSH),
        down(0.25, 1, 505, 504),
        up(0.26, 505, 505),
        down(0.33, 505, 505, 1448),
        up(0.34, 505, 1953),
        down(0.345, -NA, -NI, flags=SYN, src="10.0.0.9", sport=1033, window=0, options=take_over),
        up(0.346, 504, 1953, flags=SYN | ACK, dst="10.0.0.9", dport=1033, options=b""),
        down(0.392, 1953, 505, src="10.0.0.9", sport=1033, options=b""),
        down(0.424, 505, 505, 1448),
        up(0.424, 505, 0, flags=RST),
        down(0.491, 1953, 505, 1460, src="10.0.0.9", sport=1033, options=b""),
        up(0.492, 505, 3413, dst="10.0.0.9", dport=1033, options=b""),
    ]
    return [replace(row, **fields) if row.time == 0.491 else row for row in rows]  # type: ignore[arg-type]


def test_the_decks_failover_trace_can_be_said() -> None:
    verdict = check(parse(FAILOVER), stream(failover()))
    assert verdict.mismatch is None
    assert verdict.tokens is Tokens.VERIFIED


def test_a_fault_in_the_failover_trace_is_found() -> None:
    verdict = check(parse(FAILOVER), stream(failover(seq=NA + 1)))
    assert verdict.mismatch is not None
    assert verdict.mismatch.label == "8"
    assert wrong(verdict) == "seq is 1, not 1953"


def test_a_reset_from_the_old_address_can_be_said() -> None:
    # `reassigned`: another host has the address and answers the server's data with RST; the server goes silent.
    head = "mobile opens from old, moves to new\nserver answers at fixed\nvantage server\n"
    lines = """
    any number of {
        mobile > server
        server > mobile
    }
    4 mobile.old > server  RST  seq = rcv_nxt(server)
    5 mobile.new > server  [S]  <nop, migrate token=T request=R req=1>
    6 server > mobile.new  [S.] ack = rcv_nxt(server)  <>
    any number of {
        mobile.new > server
        server > mobile.new
    }
    never server > mobile after 4 before 5
    """
    rows = made.make("server")
    quiet = [row for row in rows if row.time < 1.5 or row.time > 1.75]
    reset = replace(next(row for row in rows if row.tag == "ack"), time=1.55, flags=RST, options=b"", seq=NI + 121)
    (one,) = join(made.packets([*quiet, reset], "server"), made.KEYS)
    assert check(parse(head + lines), one).mismatch is None
    (one,) = join(made.packets([*quiet, replace(reset, seq=NI + 120)], "server"), made.KEYS)
    verdict = check(parse(head + lines), one)
    assert verdict.mismatch is not None
