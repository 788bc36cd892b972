"""RSTs: whoever has the old address must not end the connection (slides 20 and 22)."""

from __future__ import annotations

import re
import socket
import time

from migrate.core import ACK, PSH, RST, SYN, Segment, seq
from tests.linux import lab, wire
from tests.linux.forger import Numbers, eavesdrop
from tests.linux.talk import pattern
from tests.topologies.inside import in_sandbox

INEXACT = (1, -1, 100, 60_000, -1000, 2**31)


def no_error(talker: lab.Talker, number: int) -> bool:
    return bool(talker("option", number, socket.SOL_SOCKET, socket.SO_ERROR) == 0)


@in_sandbox
def test_resets_that_are_not_exactly_at_rcv_nxt_are_ignored() -> None:
    with lab.lab() as place:
        client, server = lab.talkers(place)
        for version in lab.VERSIONS:
            somewhere_else(place, client, server, version)
            at_the_right_edge_of_a_sack_block(place, client, server, version)


def somewhere_else(place: lab.Lab, client: lab.Talker, server: lab.Talker, version: int) -> None:
    number, numbers = eavesdrop(place, client, server, version)
    wire.inject_all(place.three, [numbers.reset(beyond) for beyond in INEXACT])
    place.daemons["two"].wait_event("ignored", len(INEXACT))
    lab.both_ways(client, server, number)
    assert place.daemons["two"].events("waiting") == []
    place.daemons["two"].forget()


def at_the_right_edge_of_a_sack_block(place: lab.Lab, client: lab.Talker, server: lab.Talker, version: int) -> None:
    """Linux itself obeys that one too."""
    number, numbers = eavesdrop(place, client, server, version)
    pair, start = numbers.pair, seq.add(numbers.next_of_one, 100)
    beyond = Segment(
        *(pair.local_ip, pair.local_port, pair.remote_ip, pair.remote_port, ACK | PSH),
        *(start, numbers.next_of_two, 500, b"", pattern(1100, 50)),
    )
    with wire.captured(place.two) as seen:
        wire.inject(place.three, beyond)
        wire.inject(place.three, numbers.reset(beyond=150))
        place.daemons["two"].wait_event("ignored")
    assert any(len(one.segment.options) > 12 for one in seen), "no SACK block was sent: this shows nothing"
    lab.both_ways(client, server, number)
    place.daemons["two"].forget()


@in_sandbox
def test_a_true_looking_reset_makes_it_wait_and_a_migrate_syn_resumes_it() -> None:
    with lab.lab() as place:
        client, server = lab.talkers(place)
        daemon = place.daemons["two"]
        for at, version in enumerate(lab.VERSIONS):
            number, numbers = eavesdrop(place, client, server, version)
            server.start("receive", number, 3000)
            wire.inject(place.three, numbers.reset(flags=(RST, RST | ACK)[at]))
            event = daemon.wait_event("waiting", at + 1)
            assert (event["state"], event["cause"]) == ("MIGRATE_WAIT", f"RST from {lab.address(version, 1)}")
            check_silence(place, client, numbers, number)
            assert server.is_busy, "the program was told"
            place.replace(place.one, version, 1, 11)
            daemon.wait_event("migrated", at + 1)
            assert client("send", number, 2000) == 2000
            assert server.answer() == "right"
            assert no_error(server, number)
            lab.both_ways(client, server, number)
            assert daemon.events("reset") == []


def check_silence(place: lab.Lab, client: lab.Talker, numbers: Numbers, number: int) -> None:
    """In MIGRATE_WAIT nothing is emitted, further RSTs are ignored, what arrives is taken without an ACK; and whoever
    opens a connection with the same four numbers hears nothing (the kernel would challenge it)."""
    refusals = len(place.daemons["one"].events("ignored"))
    with wire.captured(place.two) as seen:
        client("send", number, 1000)
        numbers.from_one += 1000
        lab.until(lambda: received(place, numbers) == 2000, "what comes is taken")
        # A request with a token that nobody has is refused after the daemon has dealt with the RSTs in front of it.
        newcomer = numbers.pair.segment(SYN, 1_000_000, window=1000)
        unknown = numbers.request(numbers.pair, 1, token=b"\0" * 8)
        wire.inject_all(place.three, [numbers.reset(), numbers.reset(beyond=-1000), newcomer, unknown])
        place.daemons["one"].wait_event("ignored", refusals + 1)
    own = [one.segment for one in seen if one.segment.src == numbers.pair.remote_ip]
    assert [one.flags for one in own] == [RST | ACK], "something but the refusal was sent"


def received(place: lab.Lab, numbers: Numbers) -> int:
    """Bytes that the kernel of `two` has taken on this connection since it was opened."""
    port = f":{numbers.pair.local_port}"
    said = place.two.run(["ss", "-Htni", "state", "established", "dport", "=", port], daemon=True).stdout
    found = re.search(r"bytes_received:(\d+)", said)
    return int(found[1]) if found else 0


@in_sandbox
def test_when_nobody_comes_back_the_program_sees_a_reset_after_2msl() -> None:
    with lab.lab("--msl", "1") as place:
        client, server = lab.talkers(place)
        daemon = place.daemons["two"]
        for at, version in enumerate(lab.VERSIONS):
            number, numbers = eavesdrop(place, client, server, version)
            server.start("receive", number, 1)
            sent = time.time()
            wire.inject(place.three, numbers.reset())
            waiting = daemon.wait_event("waiting", at + 1)
            assert server.answer() == "ECONNRESET"
            reset = daemon.wait_event("reset", at + 1)
            assert sent <= waiting["time"]
            assert reset["time"] - waiting["time"] >= 2
            assert reset["state"] == "CLOSED"
            assert not any(row["remote_port"] == numbers.pair.local_port for row in daemon.connections())
            assert no_error(client, number), "the other side hears nothing of it"
