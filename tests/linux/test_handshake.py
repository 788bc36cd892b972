"""The first handshake on the wire, and hosts that have no migrated."""

from __future__ import annotations

import ipaddress
import time

from migrate.core import (
    ACK,
    CURVE_P192,
    MP_KIND,
    RST,
    SYN,
    Segment,
    shared_secret,
    timestamp,
)
from migrate.core.options import find, split
from scenarios.programs import checksum
from tests.linux import lab, wire
from tests.linux.forger import private_keys, public_key
from tests.linux.kernel_state import counters
from tests.linux.talk import pattern
from tests.topologies.inside import in_sandbox
from topologies.nodes import Host

PAWS = ("TcpExtPAWSActive", "TcpExtPAWSEstab", "TcpExtTSEcrRejected", "TcpExtTCPPAWSDropped")
RESENT = ("TcpRetransSegs", "TcpExtTCPSynRetrans", "TcpExtTCPDSACKRecv")
MANY = 40
IN_A_WINDOW = 25_000
"""So many bytes are taken at once, whether their program reads or stands still: nothing of them is sent again."""


_before: dict[str, dict[str, int]] = {}


def count_from_now_on(place: lab.Lab) -> None:
    """A daemon proves, when it starts, on a connection of its own that it can read out-of-order data."""
    _before.clear()
    for host in (place.one, place.two):
        _before[host.name] = known(host, PAWS + RESENT)


def known(host: Host, names: tuple[str, ...]) -> dict[str, int]:
    """Those of the counters that this kernel has, since `count_from_now_on`."""
    said = host.run(["nstat", "-asz"], daemon=True).stdout
    found = counters(host, *(name for name in names if f"{name} " in said))
    return {name: value - _before.get(host.name, {}).get(name, 0) for name, value in found.items()}


def lost(host: Host) -> int:
    """So many of its segments had to be sent again.

    A machine that stands still for some milliseconds makes a sender probe for a loss (RFC 8985), or see one where two
    processors have exchanged segments; the other end says then, by DSACK (RFC 2883), that it had them already."""
    again, syns, needless = known(host, RESENT).values()
    return again - syns - needless


@in_sandbox
def test_both_sides_offer_a_key_in_40_bytes_of_options_and_then_speak_plain_tcp() -> None:
    with lab.lab() as place:
        count_from_now_on(place)
        client, server = lab.talkers(place)
        for number, version in enumerate(lab.VERSIONS):
            with wire.captured(place.one) as here, wire.captured(place.two) as there:
                lab.connect(client, server, version)
                for _ in range(4):
                    lab.both_ways(client, server, number, IN_A_WINDOW)
            for own, seen in ((1, here), (2, there)):
                segments = [one.segment for one in seen]
                syn, answer, third = segments[:3]
                assert (syn.flags, answer.flags, third.flags) == (SYN, SYN | ACK, ACK)
                assert ipaddress.ip_address(lab.address(version, 1)) == syn.src
                for one in (syn, answer):
                    assert len(one.options) == 40
                    kinds = [option.kind for option in split(one.options)]
                    assert sorted(kinds) == [2, 3, 4, 8, 15], kinds
                    raw = find(one.options, MP_KIND)
                    assert raw is not None
                    assert (len(raw) + 2, raw[0]) == (20, CURVE_P192)
                private = private_keys()
                assert shared_secret(private[public_key(syn)], public_key(answer)) == shared_secret(
                    private[public_key(answer)], public_key(syn)
                ), "each side's private half with the other's public one gives the same K"
                assert public_key(syn) != public_key(answer)
                check_plain(ipaddress.ip_address(lab.address(version, own)), syn, answer, segments[2:])
            assert [one.segment.options for one in here[:2]] == [one.segment.options for one in there[:2]]
        for host in (place.one, place.two):
            assert not any(known(host, PAWS).values()), known(host, PAWS)
            assert lost(host) <= 0, known(host, RESENT)


def check_plain(here: object, syn: Segment, answer: Segment, later: list[Segment]) -> None:
    """After the handshake: no MP, clocks as Linux runs them, each echoing the other's.

    What a host captures of its own segments (from the address `here`) is in the order in which they were made; those of
    the other may have overtaken each other on veth, which each processor passes on for itself.
    """
    keys = {timestamp(syn.options), timestamp(answer.options)}
    clocks: dict[object, int] = {}
    assert len(later) > 50, "too little was said"
    for segment in later:
        assert find(segment.options, MP_KIND) is None
        times = timestamp(segment.options)
        assert times is not None
        assert times not in keys
        before = clocks.get(segment.src, times[0])
        earliest = before if segment.src == here else before - 60_000
        assert earliest <= times[0] < before + 60_000, f"{segment.src} runs from {before} to {times[0]}: {segment}"
        clocks[segment.src] = max(before, times[0])
        other = clocks.get(segment.dst)
        assert times[1] == 0 or other is None or times[1] <= other, "an echo of a time that was never sent"
    assert {timestamp(segment.options)[1] for segment in later[-4:]}.isdisjoint({0})  # type: ignore[index]


def test_the_pattern_tells_every_place_apart() -> None:
    assert pattern(0, 1000)[3:777] == pattern(3, 774)
    words = [pattern(at, 8) for at in range(2000)]
    assert len(set(words)) == len(words)


@in_sandbox
def test_a_server_without_migrated_is_spoken_to_in_plain_tcp() -> None:
    """Each key pair gives another TSval; a peer that takes it for a clock must not find the true one older (PAWS)."""
    with lab.lab("--key-interval", "0.01", on="one") as place:
        count_from_now_on(place)
        client, server = lab.talkers(place)
        for version in lab.VERSIONS:
            check_many(place, client, server, version, offered=True)
        assert place.daemons["one"].migratable() == []


@in_sandbox
def test_a_client_without_migrated_is_answered_in_plain_tcp() -> None:
    with lab.lab(on="two") as place:
        count_from_now_on(place)
        client, server = lab.talkers(place)
        for version in lab.VERSIONS:
            check_many(place, client, server, version, offered=False)
        assert place.daemons["two"].migratable() == []


def check_many(place: lab.Lab, client: lab.Talker, server: lab.Talker, version: int, offered: bool) -> None:
    with wire.captured(place.one) as seen:
        assert server("serve", 0, MANY) == MANY
        for _ in range(MANY):
            keys, end = private_keys() if offered else None, time.monotonic() + 0.5
            assert client("exchange", lab.address(version, 2), 9000, 1) == []
            while private_keys() == keys and time.monotonic() < end:
                time.sleep(0.005)  # other keys for the next connection, as a rule
    segments = [one.segment for one in seen]
    syns = [one for one in segments if one.flags == SYN]
    answers = [one for one in segments if one.flags == SYN | ACK]
    assert len(syns) == len(answers) == MANY
    assert all((find(one.options, MP_KIND) is not None) is offered for one in syns)
    assert all(find(one.options, MP_KIND) is None for one in answers)
    if offered:
        assert len({public_key(one) for one in syns}) > MANY / 4, "nearly all had the same keys: this shows little"
    assert not any(one.flags & RST for one in segments)
    for host in (place.one, place.two):
        assert not any(known(host, PAWS).values()), known(host, PAWS)
        assert lost(host) <= 0, f"something waited for a timer: {known(host, RESENT)}"


@in_sandbox
def test_real_programs_without_migrated_on_the_other_side() -> None:
    for on in ("one", "two"):
        with lab.lab("--key-interval", "0.01", on=on) as place:
            count_from_now_on(place)
            wanted = place.nginx(20_000)
            for version in lab.VERSIONS:
                server = f"[{lab.address(6, 2)}]" if version == 6 else lab.address(4, 2)
                target = lab.OUT / "got_#1"
                place.one.run(
                    ["curl", "-sSf", "-H", "Connection: close", "-o", target, f"http://{server}:8080/object?[1-{MANY}]"]
                )
                got = [checksum(lab.OUT / f"got_{number}") for number in range(1, MANY + 1)]
                assert got == [wanted] * MANY
            for host in (place.one, place.two):
                assert not any(known(host, PAWS).values()), known(host, PAWS)
                assert lost(host) <= 0, known(host, RESENT)
        lab.clear()
