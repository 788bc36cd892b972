"""Connections that change their address: real programs, both sides, both IP versions, and segments 5 to 7 as they
are on the wire (protocol.md, "The seven segments")."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator

from migrate.core import ACK, MIGRATE_KIND, RST, SYN, Segment, seq, timestamp
from migrate.core.options import Migrate, find, split
from migrate.linux import libbpf
from migrate.linux.maps import COUNTERS, SETTINGS, TUPLE, WATCH, Switchboard
from scenarios.programs import Download, checksum
from scenarios.soak import leaks
from tests.linux import lab
from tests.linux.odd import orders_file
from tests.topologies.inside import in_sandbox
from topologies.nodes import Host

SIZE = 3_000_000
BARE_ACKS = {4: "tcp flags ack ip length { 52, 64 }", 6: "tcp flags ack ip6 length { 32, 44 }"}
"""Segments with a Timestamp and no data, with or without a SACK block (for one that has come twice)."""
FAMILY = {4: "ip", 6: "ip6"}
RATE = 40e6
"""Bits per second; the download then takes 0.6 s, so that every move happens in the middle of it."""


def is_migrate_syn(segment: Segment) -> bool:
    return segment.flags == SYN and find(segment.options, MIGRATE_KIND) is not None


def download_moved(
    version: int, move: Callable[[lab.Lab, int], None], moves: int, on: str = "one", size: int = SIZE
) -> None:
    """A download by curl from nginx during which `move(place, number)` happens so many times."""
    with lab.lab(rate_bps=RATE) as place:
        wanted = place.nginx(size)
        target = lab.OUT / "got"
        download = Download(place.one, lab.address(version, 2), "object", target)
        for number in range(moves):
            download.wait_for((number + 1) * SIZE // (moves + 2), lab.PATIENCE_SECONDS)
            move(place, number)
            place.daemons[on].wait_event("migrated", number + 1)
            assert download.received < size, "it was over before the move: this shows nothing"
        assert download.finish(lab.PATIENCE_SECONDS) == 0
        assert checksum(target) == wanted
        for name, daemon in place.daemons.items():
            assert len(daemon.events("migrated")) == moves, name
            lab.assert_untouched(daemon.host)
        curl_connections = {event["connection"] for event in place.daemons["one"].events("migrated")}
        assert len(curl_connections) == 1, "one and the same connection has moved each time"


@in_sandbox
def test_a_download_survives_several_changes_of_the_clients_address() -> None:
    def move(place: lab.Lab, number: int) -> None:
        here, there = (1, 11, 12, 1)[number : number + 2]
        place.replace(place.one, version, here, there)

    for version in lab.VERSIONS:
        download_moved(version, move, moves=3)
        lab.clear()


@in_sandbox
def test_a_download_survives_changes_of_the_servers_address() -> None:
    def move(place: lab.Lab, number: int) -> None:
        here, there = (2, 21, 22)[number : number + 2]
        place.replace(place.two, version, here, there)

    for version in lab.VERSIONS:
        download_moved(version, move, moves=2, on="two")
        lab.clear()


@in_sandbox
def test_an_address_that_goes_and_comes_back_and_then_another() -> None:
    """Both sockets are rebound to the very pair that they have, and are Migrate's afterwards as before."""

    def move(place: lab.Lab, number: int) -> None:
        if number < 2:
            place.remove(place.one, version, 1)
            place.daemons["one"].wait_event("suspended", number + 1)
            place.add(place.one, version, 1)
        else:
            place.replace(place.one, version, 1, 11)

    for version in lab.VERSIONS:
        download_moved(version, move, moves=3)
        lab.clear()


@in_sandbox
def test_the_new_address_goes_while_the_socket_is_carried_to_it() -> None:
    """The socket has been taken apart by then, and no address of the host is left: it gets its old pair back, and moves
    when there is an address again."""
    with lab.lab(rate_bps=RATE, module="tests.linux.odd") as place:
        wanted = place.nginx(SIZE)
        for number, version in enumerate(lab.VERSIONS):
            daemon, target = place.daemons["one"], lab.OUT / f"got{version}"
            download = Download(place.one, lab.address(version, 2), "object", target)
            download.wait_for(SIZE // 4, lab.PATIENCE_SECONDS)
            new = f"{lab.address(version, 11)}/{lab.LENGTH[version]}"
            orders_file("one").write_text(f"lose:{new}@one-eth0 before the bind")
            place.replace(place.one, version, 1, 11)
            failed = daemon.wait_event("rebind-failed", number + 1)
            assert failed["local"] == lab.address(version, 1)
            daemon.wait_event("suspended", number + 1)
            assert lab.address(version, 1) not in place.one.ip("address"), "what stood in is still there"
            place.add(place.one, version, 12)
            daemon.wait_event("migrated", number + 1)
            assert download.finish(lab.PATIENCE_SECONDS) == 0
            assert checksum(target) == wanted
            lab.assert_untouched(place.one)
        assert place.daemons["two"].events("reset") == []


@in_sandbox
def test_make_before_break() -> None:
    """The new address is there first, the connection is told to use it, and then the old one goes: nothing is lost."""

    def move(place: lab.Lab, number: int) -> None:
        here, there = (1, 11, 12)[number : number + 2]
        place.add(place.one, version, there)
        answer = place.daemons["one"].ask(do="migrate", to=lab.address(version, there))
        assert [one["result"] for one in answer["result"]] == ["under way"]
        place.daemons["one"].wait_event("migrated", number + 1)
        resent = lab.counters(place.two, "TcpRetransSegs")
        place.remove(place.one, version, here)
        after.append((resent, lab.counters(place.two, "TcpRetransSegs")))

    for version in lab.VERSIONS:
        after: list[tuple[dict[str, int], dict[str, int]]] = []
        download_moved(version, move, moves=2, size=3 * SIZE)  # each move is several programs that run in its middle
        assert all(before == later for before, later in after), "taking the old address away was noticed"
        lab.clear()


@in_sandbox
def test_an_upload_and_both_directions_at_once_survive_moves_of_either_side() -> None:
    with lab.lab(rate_bps=RATE) as place:
        client, server = lab.talkers(place)
        for number, version in enumerate(lab.VERSIONS):
            lab.connect(client, server, version)
            events = {name: len(daemon.events("migrated")) for name, daemon in place.daemons.items()}
            for sender, receiver in ((client, server), (server, client)):
                sender("send_meanwhile", number, 2_000_000)
                receiver("receive", number, 100_000)
            for round_, (host, here, there) in enumerate(
                ((place.one, 1, 11), (place.two, 2, 21), (place.one, 11, 1), (place.two, 21, 2)), 1
            ):
                place.replace(host, version, here, there)
                for name, daemon in place.daemons.items():
                    daemon.wait_event("migrated", events[name] + round_)
                for talker in (client, server):
                    talker.start("receive", number, 300_000)
                for talker in (client, server):
                    assert talker.answer() == "right"
            for talker in (client, server):
                talker.start("receive", number, 2_000_000 - 1_300_000)
            assert (client.answer(), server.answer()) == ("right", "right")
            assert (client("join", number), server("join", number)) == (2_000_000, 2_000_000)
        lab.assert_untouched(place.one)
        lab.assert_untouched(place.two)


@in_sandbox
def test_one_connection_of_several_is_told_to_move_and_then_all() -> None:
    with lab.lab() as place:
        client, server = lab.talkers(place)
        daemon = place.daemons["one"]
        for at, version in enumerate(lab.VERSIONS):
            numbers = [lab.connect(client, server, version) for _ in range(3)]
            for number in numbers:
                lab.both_ways(client, server, number)
            place.add(place.one, version, 11)
            names = [daemon.name_of(client("names", number)) for number in numbers]
            moved = at * 3
            answer = daemon.ask(do="migrate", to=lab.address(version, 11), connection=names[1])
            assert answer == {"result": [{"connection": names[1], "result": "under way"}]}
            assert daemon.wait_event("migrated", moved + 1)["connection"] == names[1]
            where = [client("names", number)[0] for number in numbers]
            assert where == [lab.address(version, own) for own in (1, 11, 1)]
            for number in numbers:
                lab.both_ways(client, server, number)
            answer = daemon.ask(do="migrate", to=lab.address(version, 11))
            assert {one["connection"] for one in answer["result"]} == {names[0], names[2]}
            daemon.wait_event("migrated", moved + 3)
            assert [client("names", number)[0] for number in numbers] == [lab.address(version, 11)] * 3
            # The other version's connections have stayed where they were.
            for number in range(len(numbers) * (at + 1)):
                lab.both_ways(client, server, number)
            place.daemons["two"].wait_event("migrated", moved + 3)
            shown = {row["connection"]: row for row in place.daemons["two"].migratable()}
            assert [shown[name]["remote"] for name in names] == [lab.address(version, 11)] * 3
            assert [shown[name]["moves"] for name in names] == [1, 1, 1]
        for host in (place.one, place.two):
            lab.assert_untouched(host)


def handshake(seen: list[lab.Seen], version: int, mover: int) -> list[Segment]:
    """Segments 5, 6 and 7 of the one migration in a capture."""
    segments = [one.segment for one in seen]
    new = lab.ip(lab.address(version, mover))
    five = [one for one in segments if is_migrate_syn(one)]
    six = [one for one in segments if one.flags == SYN | ACK and one.dst == new]
    seven = [one for one in segments if one.src == new and one.flags & (SYN | ACK) == ACK]
    assert (len(five), len(six)) == (1, 1), segments
    assert not any(one.flags & RST for one in segments)
    return [five[0], six[0], seven[0]]


@in_sandbox
def test_segments_5_to_7_when_nothing_is_under_way() -> None:
    with lab.lab() as place:
        client, server = lab.talkers(place)
        for number, version in enumerate(lab.VERSIONS):
            with lab.captured(place.one) as first, lab.captured(place.two) as there:
                lab.connect(client, server, version)
                lab.say(client, server, number, 700)
                lab.say(server, client, number, 900)
            ni, na = first[0].segment.seq, first[1].segment.seq
            clock = [timestamp(one.segment.options) for one in there]
            with lab.captured(place.one) as here:
                place.replace(place.one, version, 1, 11)
                place.daemons["one"].wait_event("migrated", number + 1)
                place.daemons["two"].wait_event("migrated", number + 1)
            five, six, seven = handshake(here, version, 11)
            port = first[0].segment.sport

            assert (five.src, five.sport) == (lab.ip(lab.address(version, 11)), port)
            assert (five.dst, five.dport) == (lab.ip(lab.address(version, 2)), 9000)
            assert (five.flags, five.seq, five.ack, five.window) == (SYN, seq.add(ni, 700), 0, 0)
            assert [option.kind for option in split(five.options)] == [MIGRATE_KIND]
            assert (five.options[:3], len(five.options)) == (bytes((1, MIGRATE_KIND, 19)), 20)
            option = Migrate.decode(find(five.options, MIGRATE_KIND) or b"")
            assert (option.preload, option.reqno) == (False, 1)

            assert (six.flags, six.seq, six.ack) == (SYN | ACK, seq.add(na, 900), seq.add(ni, 701))
            assert six.options == b""
            assert six.window > 0

            assert (seven.flags, seven.seq, seven.ack) == (ACK, seq.add(ni, 701), seq.add(na, 901))
            assert seven.payload == b""
            assert [option.kind for option in split(seven.options)] == [8], "Timestamp, as was negotiated"
            times, last = timestamp(seven.options), [one for one in clock if one][-1]
            assert times is not None
            assert last is not None
            assert times[1] in {one[0] for one in clock if one}, "the echo of the last time of the peer's"
            assert seven.window > 0
            lab.both_ways(client, server, number)


@in_sandbox
def test_6_and_7_acknowledge_what_was_received_and_not_what_the_other_side_knows_of() -> None:
    """The last ACK is lost, so snd_una of one side is behind; what has arrived is not sent again."""
    with lab.lab() as place:
        client, server = lab.talkers(place)
        moves = 0
        for version in lab.VERSIONS:
            for upwards in (True, False):
                number = lab.connect(client, server, version)
                lab.both_ways(client, server, number, 500)
                lab.say(client, server, number, 500)  # 500 from the server, 1000 from the client
                for talker in (client, server):
                    wait_until_acknowledged(talker, number)  # an ACK that was delayed would be dropped below
                name = place.daemons["one"].name_of(client("names", number))
                with lab.captured(place.one) as here:
                    # ... until the move is over, since an ACK may be delayed.
                    with dropping(place.one if upwards else place.two, version, BARE_ACKS[version]):
                        lab.say(*((client, server) if upwards else (server, client)), number, 300)
                        place.add(place.one, version, 11)
                        place.daemons["one"].ask(do="migrate", to=lab.address(version, 11), connection=name)
                        moves += 1
                        for daemon in place.daemons.values():
                            daemon.wait_event("migrated", moves)
                    lab.both_ways(client, server, number)
                five, six, seven = handshake(here, version, 11)
                first = next(one.segment for one in here if one.segment.payload)
                old = first.seq, first.ack  # where the side that spoke was before its 300 bytes
                if upwards:
                    assert five.seq == seq.add(old[0], -1), "S is the last byte that the peer has acknowledged"
                    assert (six.seq, six.ack) == (seq.add(old[1], -1), seq.add(old[0], 300))
                    assert (seven.seq, seven.ack) == (seq.add(old[0], 300), old[1])
                else:
                    assert (five.seq, six.ack) == (seq.add(old[1], -1), old[1])
                    assert six.seq == seq.add(old[0], -1), "the server does not know that its 300 bytes have arrived"
                    assert (seven.seq, seven.ack) == (old[1], seq.add(old[0], 300))
                new = lab.ip(lab.address(version, 11))
                said = [one.segment for one in here if one.segment.payload]
                speaker = next(one for one in said if (one.src if upwards else one.dst) == new)
                assert speaker.seq == seq.add(old[0], 300), "what had arrived was sent again"
                place.remove(place.one, version, 11)
                moves += 1
                for daemon in place.daemons.values():
                    daemon.wait_event("migrated", moves)


@contextlib.contextmanager
def dropping(host: Host, version: int, what: str) -> Iterator[None]:
    """These segments do not reach the host's TCP; captures and Migrate still see them."""
    rules = f"table {FAMILY[version]} lose {{ chain in {{ type filter hook input priority 0; {what} drop; }}; }}"
    host.run(["nft", "-f", "-"], stdin=rules, daemon=True)
    yield
    host.run(["nft", "delete table", FAMILY[version], "lose"], daemon=True)


def wait_until_acknowledged(talker: lab.Talker, number: int) -> None:
    lab.until(lambda: talker("unacknowledged", number) == 0, "the sender knows that all has arrived")


@in_sandbox
def test_what_arrives_while_a_socket_is_rebound_reaches_it() -> None:
    """A server that is slow between the rebind and its end: the ACKs of its data come in between.  Were they lost, it
    would send again after its first timeout, a second."""
    with lab.lab(module="tests.linux.odd") as place:
        orders_file("two").write_text("slow cleared")
        client, server = lab.talkers(place)
        for number, version in enumerate(lab.VERSIONS):
            lab.connect(client, server, version)
            with (
                lab.captured(place.two) as seen,
                dropping(place.one, version, f"{FAMILY[version]} daddr {lab.address(version, 1)} tcp sport 9000"),
            ):
                server("send", number, 5000)
                place.replace(place.one, version, 1, 11)
                place.daemons["two"].wait_event("migrated", number + 1)
                assert client("receive", number, 5000) == "right"
                wait_until_acknowledged(server, number)
            new = lab.ip(lab.address(version, 11))
            sent = [one.segment for one in seen if one.segment.dst == new and one.segment.payload]
            assert sum(len(one.payload) for one in sent) == 5000, "something was sent twice"


@in_sandbox
def test_a_connection_rebound_to_its_own_pair_stays_known() -> None:
    """The address is gone for a moment and comes back: both sockets get the pair that they have, and can move again."""
    with lab.lab() as place:
        client, server = lab.talkers(place)
        for number, version in enumerate(lab.VERSIONS):
            lab.connect(client, server, version)
            place.remove(place.one, version, 1)
            place.daemons["one"].wait_event("suspended", number + 1)
            place.add(place.one, version, 1)
            for daemon in place.daemons.values():
                daemon.wait_event("migrated", 2 * number + 1)
                assert len(daemon.migratable()) == number + 1
            lab.both_ways(client, server, number)
            place.replace(place.one, version, 1, 11)
            for daemon in place.daemons.values():
                daemon.wait_event("migrated", 2 * number + 2)
            lab.both_ways(client, server, number)


def promise(host: Host, seconds: float) -> None:
    """The eBPF side takes the host's daemon for alive so long."""
    sizes = {"settings": SETTINGS.size, "counters": COUNTERS.size * libbpf.processors(), "watches": WATCH.size}
    maps = []
    for name, size in sizes.items():
        fd = libbpf.open_pin(leaks.pins(host) / name)
        assert fd is not None
        maps.append(libbpf.Map(fd, TUPLE.size if name == "watches" else 4, size))
    Switchboard(*maps).promise(seconds)


@in_sandbox
def test_a_program_that_begins_to_write_while_its_peer_does_not_answer() -> None:
    """Nothing is in flight before, and the address is still there.  A kernel that is told that its segments are dropped
    tries 15 times, each half a second, and gives up (tcp_send_probe0)."""
    with lab.lab() as place:
        client, server = lab.talkers(place)
        for number, version in enumerate(lab.VERSIONS):
            lab.connect(client, server, version)
            lab.both_ways(client, server, number)
            lab.until(lambda number=number: client("unacknowledged", number) == 0, "nothing is in flight")  # type: ignore[misc]
            place.add(place.one, version, 11)
        worker = place.daemons["two"].worker
        os.kill(worker, signal.SIGSTOP)
        promise(place.two, 60)  # else its kernel would answer in the daemon's place, by RST
        for version in lab.VERSIONS:
            place.daemons["one"].ask(do="migrate", to=lab.address(version, 11))
        place.daemons["one"].wait_event("migrating", 2)
        for number in range(2):
            assert client("send", number, 84) == 84
        time.sleep(9)
        os.kill(worker, signal.SIGCONT)
        place.daemons["one"].wait_event("migrated", 2)
        for number in range(2):
            assert server("receive", number, 84) == "right"
            lab.both_ways(client, server, number)


@in_sandbox
def test_the_new_address_goes_while_a_bound_socket_is_being_rebound() -> None:
    """Its port is bound by then, and cannot be bound again: it goes back with what it has."""
    with lab.lab(module="tests.linux.odd") as place:
        client, server = lab.talkers(place)
        lab.connect(client, server, 4, source=lab.address(4, 1))
        lab.both_ways(client, server, 0)
        place.add(place.one, 4, 11)
        orders_file("one").write_text(f"lose:{lab.address(4, 11)}/24@one-eth0 bound")
        place.daemons["one"].ask(do="migrate", to=lab.address(4, 11))
        place.daemons["one"].wait_event("rebind-failed")
        assert not orders_file("one").exists()
        place.replace(place.one, 4, 1, 12)
        place.daemons["one"].wait_event("migrated")
        lab.both_ways(client, server, 0)
