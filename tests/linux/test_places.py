"""The places of handshakes under way: one that has lost its place to another is plain TCP at both ends, and what a
former handshake left there makes no connection migratable."""

from __future__ import annotations

import itertools
import struct
import time
from dataclasses import replace
from pathlib import Path

from migrate.core import ACK, CURVE_P192, MP_KIND, RST, SYN, FourTuple, MigratePermitted, Segment, join_key, split_key
from migrate.core.options import find
from migrate.core.segment import timestamp
from migrate.linux import libbpf
from migrate.linux.build import SOURCES
from migrate.linux.maps import (
    COUNTERS,
    HANDSHAKE,
    HS_PEER_KEY,
    HS_SENT_KEY,
    KEY_SLOTS,
    SEED_WORDS,
    SETTINGS,
    TUPLE,
    WATCH,
    Switchboard,
    pack_tuple,
)
from tests.linux import lab
from tests.topologies.inside import in_sandbox
from topologies.nodes import Host

ETHERNET = {4: bytes(12) + b"\x08\x00", 6: bytes(12) + b"\x86\xdd"}
PLACES = 1 << 16
PLACE = struct.Struct(f"=4x{TUPLE.size}s{HANDSHAKE.size}s")
NOP = 1
OUR_KEY, KEYS = bytes(range(100, 125)), [bytes([2, *range(number, number + 24)]) for number in (30, 60)]


def place_of(pair: FourTuple, seed: bytes) -> bytes:
    """The index of its place, as the eBPF side computes it."""
    words = [*struct.unpack("<9I", pack_tuple(pair)), 0]
    key = struct.unpack(f"<{SEED_WORDS}Q", seed)
    total = key[-1] + sum((key[at] + words[at + 1]) * (key[at + 1] + words[at]) for at in range(0, 10, 2))
    return int((total & (1 << 64) - 1) >> 48).to_bytes(4, "little")


def from_peer(pair: FourTuple) -> FourTuple:
    return FourTuple.of_ends(pair.remote, pair.local)


def options_with(key: bytes) -> bytes:
    """A SYN's as Linux orders them."""
    mp, tsval, tsecr = split_key(key)
    return b"".join(
        (
            b"\x02\x04\x05\xb4\x04\x02\x08\x0a",
            tsval,
            tsecr,
            b"\x01\x03\x03\x07",
            MigratePermitted(CURVE_P192, mp).encode(),
        )
    )


def key_in(segment: Segment) -> bytes | None:
    permitted = find(segment.options, MP_KIND)
    if permitted is None:
        return None
    times = timestamp(segment.options)
    assert times is not None
    return join_key(permitted[1:], *(number.to_bytes(4, "big") for number in times))


class Programs:
    """The programs of an interface, run by hand on one segment each."""

    def __init__(self) -> None:
        self._object = libbpf.Object(SOURCES / "migrate.bpf.o", Path("/sys/fs/bpf/places"))
        settings = self._object.map("settings", 4, SETTINGS.size)
        counters = self._object.map("counters", 4, COUNTERS.size * libbpf.processors())
        self.switchboard = Switchboard(settings, counters, self._object.map("watches", TUPLE.size, WATCH.size))
        self.switchboard.write(replace(self.switchboard.read(), slots=((1, OUR_KEY),) * KEY_SLOTS))

    def run(self, name: str, segment: Segment) -> Segment:
        """The segment as the program leaves it, with a right checksum."""
        frame = ETHERNET[segment.src.version] + segment.pack()
        left = libbpf.Runner(self._object.program(name), len(frame)).run(frame)
        parsed = Segment.parse(left[14:])
        assert left[14:] == parsed.pack(), "a wrong checksum"
        return parsed


def pairs(version: int, seed: bytes) -> list[FourTuple]:
    """Two that meet in one place, and one that meets neither."""
    own, peer = lab.ip(lab.address(version, 1)), lab.ip(lab.address(version, 2))
    seen: dict[bytes, FourTuple] = {}
    for port, peer_port in itertools.product((9000, 9001, 9002), range(1024, 65536)):
        pair = FourTuple(own, port, peer, peer_port)
        index = place_of(pair, seed)
        if index in seen:
            other = next(one for place, one in seen.items() if place != index)
            return [seen[index], pair, other]
        seen[index] = pair
    raise AssertionError("no two meet: the hash is not what it is taken for")


@in_sandbox
def test_of_two_handshakes_that_meet_in_one_place_the_later_one_counts() -> None:
    programs = Programs()
    seed = programs.switchboard.read().seed
    assert any(seed)
    for version in lab.VERSIONS:
        first, second, other = pairs(version, seed)
        numbers = {first: 1000, second: 1000, other: 3000}
        for pair, key in ((first, KEYS[0]), (other, KEYS[1]), (second, KEYS[1])):
            syn = from_peer(pair).segment(SYN, numbers[pair], options=options_with(key))
            seen = programs.run("ether_in", syn)
            assert timestamp(seen.options) == (0, 0), "the kernel does not see the key"
        for pair, served in ((first, False), (second, True), (other, True)):
            answer = pair.segment(SYN | ACK, 7, numbers[pair] + 1, options=options_with(bytes(17) + b"12345678"))
            sent = programs.run("ether_out", answer)
            assert key_in(sent) == (OUR_KEY if served else None)
            if not served:
                assert sent.options == answer.options[:20] + bytes([NOP]) * 20, "its own clock, and no MP"


@in_sandbox
def test_an_answer_to_another_syn_of_the_same_address_pair_carries_no_key() -> None:
    programs = Programs()
    for version in lab.VERSIONS:
        pair = pairs(version, programs.switchboard.read().seed)[0]
        programs.run("ether_in", from_peer(pair).segment(SYN, 1000, options=options_with(KEYS[0])))
        answer = pair.segment(SYN | ACK, 7, 5001, options=options_with(bytes(25)))
        assert key_in(programs.run("ether_out", answer)) is None


def places(host: Host) -> libbpf.Map:
    """The only host's with a migrated."""
    return libbpf.Map(pinned("handshakes"), 4, PLACE.size)


def pinned(name: str) -> int:
    (path,) = Path("/sys/fs/bpf").rglob(name)
    fd = libbpf.open_pin(path)
    assert fd is not None
    return fd


def seed_of_the_only_daemon() -> bytes:
    raw = libbpf.Map(pinned("settings"), 4, SETTINGS.size).get(bytes(4))
    assert raw is not None
    return bytes(SETTINGS.unpack(raw)[-1])


@in_sandbox
def test_a_client_that_has_lost_its_place_is_answered_and_goes_on_as_plain_tcp() -> None:
    """The key bytes in its answer would look to the kernel like an echo of a time that was never sent: a RST."""
    with lab.lab(on="one") as place:
        client = lab.Talker(place.one)
        handshakes, seed = places(place.one), seed_of_the_only_daemon()
        for number, version in enumerate(lab.VERSIONS):
            port, family = 5000 + number, {4: "ip", 6: "ip6"}[version]
            own, peer = lab.ip(lab.address(version, 1)), lab.ip(lab.address(version, 2))
            pair = FourTuple(own, port, peer, 9000)
            silence = (
                f"add table {family} lose {{ chain in {{ type filter hook input priority 0; tcp dport 9000 drop; }}; }}"
            )
            place.two.run(["nft", silence], daemon=True)
            with lab.captured(place.one) as seen:
                client.start("connect", str(peer), 9000, str(own), port)
                index = place_of(pair, seed)
                lab.until(lambda: any((handshakes.get(index) or b"")[4:]), "its SYN has left")  # noqa: B023
                time.sleep(0.1)
            syn = seen[0].segment
            once = "{ chain out { type filter hook output priority 0; tcp flags syn drop; }; }"
            place.one.run(["nft", f"add table {family} once {once}"], daemon=True)  # again, it would get a place again
            handshakes.set(index, bytes(PLACE.size))
            with lab.captured(place.one) as seen:
                lab.inject(
                    place.three,
                    from_peer(pair).segment(SYN | ACK, 77, syn.seq + 1, window=1000, options=options_with(KEYS[0])),
                )
                assert client.answer() == number
            assert not any(one.segment.flags & RST for one in seen)
            assert client("names", number)[:2] == [str(own), port]
            assert place.daemons["one"].migratable() == []


@in_sandbox
def test_what_is_left_in_a_place_makes_no_other_connection_migratable() -> None:
    with lab.lab(on="one") as place:
        server, client = lab.Talker(place.one), lab.Talker(place.two)
        assert server("listen", "", 9000) == 0
        handshakes, seed = places(place.one), seed_of_the_only_daemon()
        for number, version in enumerate(lab.VERSIONS):
            own, peer = lab.ip(lab.address(version, 1)), lab.ip(lab.address(version, 2))
            pair = FourTuple(own, 9000, peer, 7000 + number)
            left = HANDSHAKE.pack(1, 2, 3, HS_SENT_KEY | HS_PEER_KEY, OUR_KEY, KEYS[0])
            handshakes.set(place_of(pair, seed), PLACE.pack(pack_tuple(pair), left))
            assert client("connect", str(own), 9000, str(peer), 7000 + number) == server("accept") == number
            lab.both_ways(client, server, number)
            assert place.daemons["one"].migratable() == []
