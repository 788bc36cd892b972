"""What happens while a connection moves: data arrives, an address goes, the peer does not answer."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from migrate.linux import libbpf
from migrate.linux.maps import COUNTERS, SETTINGS, TUPLE, WATCH, Switchboard
from scenarios.programs import Download, checksum
from scenarios.soak import leaks
from tests.linux import lab, wire
from tests.linux.kernel_state import assert_untouched
from tests.linux.odd import orders_file
from tests.topologies.inside import in_sandbox
from topologies.nodes import Host

SIZE = 12_000_000
RATE = 40e6
"""Bits per second; the download would then take 2.4 s."""


@in_sandbox
def test_the_new_address_goes_while_the_socket_is_carried_to_it() -> None:
    """The socket has been taken apart by then, and no address of the host is left: it gets its old pair back, and moves
    when there is an address again."""
    with lab.lab(rate_bps=RATE, module="tests.linux.odd") as place:
        wanted = place.nginx(SIZE)
        for number, version in enumerate(lab.VERSIONS):
            daemon, target = place.daemons["one"], lab.OUT / f"got{version}"
            place.pace(place.two, RATE)
            download = Download(place.one, lab.address(version, 2), "object", target)
            download.wait_for(SIZE // 16, lab.PATIENCE_SECONDS)
            new = f"{lab.address(version, 11)}/{lab.LENGTH[version]}"
            orders_file("one").write_text(f"lose:{new}@one-eth0 before the bind")
            place.replace(place.one, version, 1, 11)
            failed = daemon.wait_event("rebind-failed", number + 1)
            assert failed["local"] == lab.address(version, 1)
            daemon.wait_event("suspended", number + 1)
            assert lab.address(version, 1) not in place.one.ip("address"), "what stood in is still there"
            place.add(place.one, version, 12)
            daemon.wait_event("migrated", number + 1)
            place.pace(place.two)
            assert download.finish(lab.PATIENCE_SECONDS) == 0
            assert checksum(target) == wanted
            assert_untouched(place.one)
        assert place.daemons["two"].events("reset") == []


@in_sandbox
def test_the_address_that_had_come_back_is_gone_again_when_the_guardian_puts_the_socket_back() -> None:
    """The worker was killed on the way to the very pair that the connection had: what is known of it is not lost."""
    with lab.lab(module="tests.linux.odd") as place:
        client, server = lab.talkers(place)
        daemon = place.daemons["one"]
        for number, version in enumerate(lab.VERSIONS):
            lab.connect(client, server, version)
            place.replace(place.one, version, 1, 11)
            place.wait_moved(2 * number + 1)
            lab.both_ways(client, server, number)
            place.remove(place.one, version, 11)
            daemon.wait_event("suspended", number + 1)
            os.kill(daemon.process.pid, signal.SIGSTOP)
            worker = daemon.worker
            orders_file("one").write_text("die imaged")
            place.add(place.one, version, 11)
            lab.until(lambda: not orders_file("one").exists(), "the worker dies")
            lab.until(lambda worker=worker: is_dead(worker), "it is dead")  # type: ignore[misc]
            place.remove(place.one, version, 11)
            os.kill(daemon.process.pid, signal.SIGCONT)
            daemon.wait_ready()
            client("send", number, 1000)
            server("send", number, 1000)
            place.add(place.one, version, 11)
            for talker in (client, server):
                assert talker("receive", number, 1000) == "right"
            lab.both_ways(client, server, number)
            assert_untouched(place.one)
            assert "put back where it was" in daemon.last_words(), "this shows nothing"
            assert not place.daemons["two"].events("ignored"), "a request had the number of an earlier one"


def is_dead(worker: int) -> bool:
    return Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def sent_in_all(place: lab.Lab, client: lab.Talker, server: lab.Talker, version: int) -> int:
    """Bytes that go to a new address, of 5000 that could not be got at the old one."""
    family, old, new = wire.FAMILY[version], lab.address(version, 1), lab.address(version, 11)
    number = lab.connect(client, server, version, source=old)
    name = place.daemons["one"].name_of(client("names", number))
    with wire.captured(place.two) as seen, wire.dropping(place.one, version, f"{family} daddr {old} tcp sport 9000"):
        server("send", number, 5000)
        asked = place.daemons["one"].ask(do="migrate", to=new, connection=name)
        assert asked == {"result": [{"connection": name, "result": "under way"}]}, asked
        place.daemons["two"].wait_event("migrated", number + 1)
        assert client("receive", number, 5000) == "right"
        lab.wait_until_acknowledged(server, number)
    return sum(len(one.segment.payload) for one in seen if one.segment.dst == lab.ip(new))


@in_sandbox
def test_what_arrives_while_a_socket_is_rebound_reaches_it() -> None:
    """A server that is slow between the rebind and its end: the ACKs of its data come in between.  Were they lost, it
    would send again after its first timeout, a second; as it does if the daemon stands still so long."""
    with lab.lab(module="tests.linux.odd") as place:
        orders_file("two").write_text("slow cleared")
        client, server = lab.talkers(place)
        for version in lab.VERSIONS:
            place.add(place.one, version, 11)
            sent = [0]
            while sent[-1] != 5000 and len(sent) <= 3:
                sent.append(sent_in_all(place, client, server, version))
            assert sent[-1] == 5000, f"something was sent twice: {sent[1:]}"


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
            place.wait_moved(2 * number + 2)
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
