"""The places of handshakes under way: one that has lost its place to another is plain TCP at both ends, and what a
former handshake left there makes no connection migratable."""

from __future__ import annotations

import itertools
import random
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
    HS_WRITING,
    KEY_SLOTS,
    PLACE_BITS,
    SEED_WORDS,
    SETTINGS,
    TUPLE,
    WATCH,
    Switchboard,
    pack_tuple,
)
from migrate.linux.places import OCCUPIED, PLACE, Places, index_of
from tests.linux import lab, wire
from tests.linux.kernel_state import counters
from tests.topologies.inside import in_sandbox
from topologies.nodes import Host

ETHERNET = {4: bytes(12) + b"\x08\x00", 6: bytes(12) + b"\x86\xdd"}
NOP = 1
OUR_KEY, KEYS = bytes(range(100, 125)), [bytes([2, *range(number, number + 24)]) for number in (30, 60)]


def place_of(pair: FourTuple, seed: bytes) -> bytes:
    return index_of(pack_tuple(pair), seed).to_bytes(4, "little")


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

    def places(self) -> libbpf.Map:
        return self._object.map("places", 4, PLACE.size)

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


def test_the_places_of_a_clients_connections_to_one_server_lie_side_by_side_and_those_of_others_anywhere() -> None:
    own, peer, third = (lab.ip(lab.address(4, number)) for number in (1, 2, 3))
    places = 1 << PLACE_BITS
    apart: dict[FourTuple, set[int]] = {}
    for number in range(200):
        seed = random.Random(number).randbytes(8 * SEED_WORDS)
        opened = [index_of(pack_tuple(FourTuple(own, port, peer, 443)), seed) for port in range(40000, 40100)]
        answered = [index_of(pack_tuple(FourTuple(own, 443, peer, port)), seed) for port in range(40000, 40100)]
        for indices in (opened, answered):
            assert [(each - indices[0]) % places for each in indices] == list(range(100))
        for other in (
            FourTuple(own, 40000, peer, 444),
            FourTuple(own, 40000, third, 443),
            FourTuple(third, 40000, peer, 443),
            FourTuple(own, 443, peer, 40000),
            FourTuple(peer, 40000, own, 443),
        ):
            apart.setdefault(other, set()).add((index_of(pack_tuple(other), seed) - opened[0]) % places)
    assert min(map(len, apart.values())) > 190, "how far apart two lie is known without the seed"


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


@in_sandbox
def test_who_finds_a_place_being_written_leaves_it_alone_and_is_plain_tcp() -> None:
    programs = Programs()
    table, seed = programs.places(), programs.switchboard.read().seed
    for version in lab.VERSIONS:
        pair, other, _ = pairs(version, seed)
        index = place_of(pair, seed)
        for owner in (pair, other):
            for flags in (0, HS_PEER_KEY):
                written = PLACE.pack(
                    pack_tuple(owner), HANDSHAKE.pack(1000, flags | HS_WRITING, 7, 3, KEYS[0], KEYS[1])
                )
                for name, segment in (
                    ("ether_out", pair.segment(SYN, 1000, options=options_with(bytes(25)))),
                    ("ether_out", pair.segment(SYN | ACK, 7, 1001, options=options_with(bytes(25)))),
                    ("ether_in", from_peer(pair).segment(SYN, 1000, options=options_with(KEYS[0]))),
                    ("ether_in", from_peer(pair).segment(SYN | ACK, 7, 1001, options=options_with(KEYS[0]))),
                ):
                    table.set(index, written)
                    left = programs.run(name, segment)
                    assert table.get(index) == written
                    if name == "ether_out":
                        assert left.options == segment.options[:20] + bytes([NOP]) * 20, "its own clock, and no MP"
        table.set(index, bytes(PLACE.size))
        assert key_in(programs.run("ether_out", pair.segment(SYN, 1000, options=options_with(bytes(25))))) == OUR_KEY


@in_sandbox
def test_the_daemon_empties_a_place_in_one_step_and_only_that_of_the_pair_it_means() -> None:
    with lab.lab() as place:
        client, server = lab.talkers(place)
        told = Told(place.daemons["two"])
        number = lab.connect(client, server, 4)
        pair = FourTuple(lab.ip("10.0.0.2"), 9000, lab.ip("10.0.0.1"), client("names", number)[1])
        key = place_of(pair, told.seed)
        before = told.raw.get(key)
        assert before is not None
        told.places.remove(pack_tuple(told.rival(pair)))
        assert told.where(pair) == ["place"]
        told.places.remove(pack_tuple(pair))
        assert told.where(pair) == []
        at = PLACE.size - 16 - HANDSHAKE.size
        assert told.raw.get(key) == before[:at] + bytes(8) + before[at + 8 :]


def places(host: Host) -> libbpf.Map:
    """The only host's with a migrated."""
    return libbpf.Map(pinned("places"), 4, PLACE.size)


def pinned(name: str) -> int:
    (path,) = Path("/sys/fs/bpf").rglob(name)
    fd = libbpf.open_pin(path)
    assert fd is not None
    return fd


def seed_of_the_only_daemon() -> bytes:
    return seed_in(libbpf.Map(pinned("settings"), 4, SETTINGS.size))


def seed_in(settings: libbpf.Map) -> bytes:
    raw = settings.get(bytes(4))
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
            with wire.captured(place.one) as seen:
                client.start("connect", str(peer), 9000, str(own), port)
                index = place_of(pair, seed)
                lab.until(lambda: any((handshakes.get(index) or b"")[4:]), "its SYN has left")  # noqa: B023
                time.sleep(0.1)
            syn = seen[0].segment
            once = "{ chain out { type filter hook output priority 0; tcp flags syn drop; }; }"
            place.one.run(["nft", f"add table {family} once {once}"], daemon=True)  # again, it would get a place again
            handshakes.set(index, bytes(PLACE.size))
            with wire.captured(place.one) as seen:
                wire.inject(
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
            left = HANDSHAKE.pack(1, HS_SENT_KEY | HS_PEER_KEY, 2, 3, OUR_KEY, KEYS[0])
            handshakes.set(place_of(pair, seed), PLACE.pack(pack_tuple(pair), left))
            assert client("connect", str(own), 9000, str(peer), 7000 + number) == server("accept") == number
            lab.both_ways(client, server, number)
            assert place.daemons["one"].migratable() == []


class Told:
    """What the maps of one host's daemon say."""

    def __init__(self, daemon: lab.Daemon) -> None:
        namespace = Path(f"/proc/{daemon.process.pid}/ns/net").stat().st_ino
        self._pins = Path(f"/sys/fs/bpf/migrate-{namespace}")
        self.seed = seed_in(self._map("settings", 4, SETTINGS.size))
        self.places = Places(self._map("places", 4, PLACE.size), self._map("occupied", 4, OCCUPIED.size), self.seed)
        self.table = self._map("connections", TUPLE.size, HANDSHAKE.size)
        self.raw = self._map("places", 4, PLACE.size)

    def _map(self, name: str, key_size: int, value_size: int) -> libbpf.Map:
        fd = libbpf.open_pin(self._pins / name)
        assert fd is not None
        return libbpf.Map(fd, key_size, value_size)

    def where(self, pair: FourTuple) -> list[str]:
        """Where the connection is to be found, each time by its address pair and among all."""
        key = pack_tuple(pair)
        found = {
            "place": (self.places.get(key) is not None, key in dict(self.places)),
            "table": (self.table.get(key) is not None, key in set(self.table)),
        }
        assert all(by_pair == among for by_pair, among in found.values()), found
        return [name for name, (there, _) in found.items() if there]

    def rival(self, pair: FourTuple) -> FourTuple:
        """Another pair of these two hosts that has the same place."""
        index = index_of(pack_tuple(pair), self.seed)
        for own_port, port in itertools.product(range(9000, 9100), range(1024, 65536)):
            other = replace(pair, local_port=own_port, remote_port=port)
            if other != pair and index_of(pack_tuple(other), self.seed) == index:
                return other
        raise AssertionError("none: the hash is not what it is taken for")


@in_sandbox
def test_a_connection_that_has_to_leave_its_place_stays_migratable_until_its_end() -> None:
    with lab.lab() as place:
        client, server = lab.talkers(place)
        daemon = place.daemons["two"]
        told = Told(daemon)
        for version in lab.VERSIONS:
            own, peer = lab.ip(lab.address(version, 2)), lab.ip(lab.address(version, 1))
            ends, pairs = [], []
            for _ in range(3):
                ends.append(lab.connect(client, server, version))
                pairs.append(FourTuple(own, 9000, peer, client("names", ends[-1])[1]))
            assert [told.where(pair) for pair in pairs] == [["place"]] * 3
            for pair in pairs[1:]:
                rival = told.rival(pair)
                wire.inject(place.three, from_peer(rival).segment(SYN, 1000, options=options_with(KEYS[0])))
                lab.until(lambda: told.where(pair) == ["table"], "it has left its place")  # noqa: B023
            assert len(daemon.migratable()) == 3
            place.replace(place.one, version, 1, 11)
            place.daemons["one"].wait_event("migrated", 3)
            daemon.wait_event("migrated", 3)
            moved = [replace(pair, remote_ip=lab.ip(lab.address(version, 11))) for pair in pairs]
            assert [told.where(pair) for pair in pairs + moved] == [[]] * 3 + [["table"]] * 3
            for number in ends:
                lab.both_ways(client, server, number)
            # And one that ends where it has gone to, without having moved.
            ends.append(lab.connect(client, server, version))
            last = replace(moved[0], remote_port=client("names", ends[-1])[1])
            wire.inject(place.three, from_peer(told.rival(last)).segment(SYN, 1000, options=options_with(KEYS[0])))
            lab.until(lambda: told.where(last) == ["table"], "it has left its place")  # noqa: B023
            for number in ends:
                client("close", number)
                server("close", number)
            lab.until(lambda: daemon.migratable() == [], "nothing is left")
            assert not any(told.where(pair) for pair in (*pairs, *moved, last))
            assert not list(told.places)
            for each in place.daemons.values():
                each.forget()


@in_sandbox
def test_a_syn_in_the_name_of_a_connection_that_lives_changes_nothing_that_its_handshake_has_settled() -> None:
    with lab.lab() as place:
        client, server = lab.talkers(place)
        told = Told(place.daemons["two"])
        for number, version in enumerate(lab.VERSIONS):
            own, peer = lab.ip(lab.address(version, 2)), lab.ip(lab.address(version, 1))
            pair = FourTuple(own, 9000, peer, 7000)
            assert client("connect", str(own), 9000, str(peer), 7000) == server("accept") == number
            before = told.places.get(pack_tuple(pair))
            assert before is not None
            wire.inject(place.three, from_peer(pair).segment(SYN, 1000, options=options_with(KEYS[0])))
            challenged = {"TcpExtTCPSYNChallenge": number + 1}
            lab.until(lambda: counters(place.two, *challenged) == challenged, "the SYN has come")  # noqa: B023
            lab.both_ways(client, server, number)
            assert told.places.get(pack_tuple(pair)) == before
