"""kill -9 of the daemon, of its guardian, of both: connections go on, nothing is left standing still."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from pathlib import Path
from random import Random

from migrate.linux import libbpf
from migrate.linux.libbpf import BPF_TCX_EGRESS, BPF_TCX_INGRESS
from migrate.linux.maps import PROMISE_SECONDS
from migrate.linux.programs import Programs
from scenarios.programs import Download, checksum
from tests import bpf
from tests.linux import lab, wire
from tests.linux.kernel_state import assert_untouched
from tests.linux.odd import orders_file
from tests.topologies.inside import in_sandbox

PINS = Path("/sys/fs/bpf")
KILLS = 7
SIZE = 30_000_000


def attached(place: lab.Lab) -> list[str]:
    """The filters and programs of Migrate that are attached to `one`."""
    found = bpf.sock_ops(place.one.programs_cgroup)
    for device in ("one-eth0", "one-eth1"):
        for direction in ("ingress", "egress"):
            said = place.one.run(["tc", "filter", "show", "dev", device, direction], daemon=True).stdout
            found += re.findall(r"migrate_\w+", said)
        if bpf.has_tcx():
            with place.one.entered():
                for point in (BPF_TCX_INGRESS, BPF_TCX_EGRESS):
                    found += bpf.tcx(device, point)
    return found


@in_sandbox
def test_without_any_daemon_connections_go_on_and_a_new_one_serves_them() -> None:
    with lab.lab() as place:
        client, server = lab.talkers(place)
        numbers = [lab.connect(client, server, version) for version in lab.VERSIONS]
        for number, version in enumerate(lab.VERSIONS):
            lab.both_ways(client, server, number)
            place.replace(place.one, version, 1, 11)
            place.wait_moved(number + 1)
        names = {row["connection"] for row in place.daemons["one"].migratable()}
        for daemon in place.daemons.values():
            daemon.kill()
        for number in numbers:
            lab.both_ways(client, server, number)
        for host in (place.one, place.two):
            assert_untouched(host)
            place.start(host.name)
        for daemon in place.daemons.values():
            assert {row["connection"] for row in daemon.migratable()} == names
            assert {row["state"] for row in daemon.migratable()} == {"ESTABLISHED"}
        for number, version in enumerate(lab.VERSIONS):
            lab.both_ways(client, server, number)
            place.replace(place.one, version, 11, 12)
            place.wait_moved(len(numbers) + number + 1)
            lab.both_ways(client, server, number)
        for name in ("one", "two"):
            for number, version in enumerate(lab.VERSIONS):
                place.daemons[name].kill_worker()
                place.replace(place.one, version, 12 if name == "one" else 13, 13 if name == "one" else 14)
                place.daemons[name].wait_event("migrated", len(numbers) * (3 if name == "two" else 2) + number + 1)
                lab.both_ways(client, server, number)


@in_sandbox
def test_an_address_that_changes_while_there_is_no_daemon_is_seen_by_the_next() -> None:
    with lab.lab() as place:
        client, server = lab.talkers(place)
        for version in lab.VERSIONS:
            lab.connect(client, server, version)
        place.daemons["one"].kill()
        for version in lab.VERSIONS:
            place.replace(place.one, version, 1, 11)
        place.start("one").wait_event("migrated", 2)
        for number in range(2):
            lab.both_ways(client, server, number)


@in_sandbox
def test_workers_killed_at_random_instants_of_moves() -> None:
    """A download that moves on and on, while now the one host's worker and now the other's is killed."""
    random = Random(7)
    for version in lab.VERSIONS:
        with lab.lab(rate_bps=40e6, module="tests.linux.odd") as place:
            wanted = place.nginx(SIZE)
            download = Download(place.one, lab.address(version, 2), "object", lab.OUT / "got")
            download.wait_for(100_000, lab.PATIENCE_SECONDS)
            here = 1
            for there in range(11, 11 + KILLS):
                victim = place.daemons[random.choice(("one", "two"))]
                worker = victim.worker
                place.replace(place.one, version, here, there)
                here = there
                instant = time.monotonic() + random.uniform(0, 0.06)
                while time.monotonic() < instant:
                    pass
                os.kill(worker, signal.SIGKILL)
                victim.wait_ready()
                download.wait_for(min(SIZE, download.received + 1), lab.PATIENCE_SECONDS)
            place.pace(place.two)
            assert download.finish(60) == 0
            assert checksum(lab.OUT / "got") == wanted
            assert len(place.daemons["two"].events("migrated")) >= KILLS // 2, "hardly anything has moved"
            for host in (place.one, place.two):
                assert_untouched(host)
        lab.clear()


@in_sandbox
def test_a_guardian_that_is_killed_takes_its_worker_along_in_order() -> None:
    with lab.lab() as place:
        client, server = lab.talkers(place)
        lab.connect(client, server, 4)
        daemon = place.daemons["one"]
        worker = daemon.worker
        daemon.process.kill()
        daemon.process.wait()
        lab.until(lambda: not Path(f"/proc/{worker}/cmdline").exists(), "the worker ends too")
        lab.both_ways(client, server, 0)
        place.start("one")
        place.replace(place.one, 4, 1, 11)
        place.daemons["one"].wait_event("migrated")
        lab.both_ways(client, server, 0)


@in_sandbox
def test_a_worker_that_dies_again_and_again_is_given_up() -> None:
    with lab.lab() as place:
        client, server = lab.talkers(place)
        lab.connect(client, server, 4)
        daemon = place.daemons["one"]
        for _ in range(4):
            daemon.kill_worker()
        os.kill(daemon.worker, signal.SIGKILL)
        assert daemon.process.wait(lab.PATIENCE_SECONDS) == 1
        assert daemon.last_words().endswith("gives up: connections go on as plain TCP\n")
        lab.both_ways(client, server, 0)


@in_sandbox
def test_who_is_killed_while_it_attaches_leaves_nothing_to_the_next() -> None:
    with lab.lab(on="") as place:
        pins, cgroup = PINS / "attached", place.one.programs_cgroup
        for last in ("pin", "attach_sock_ops"):
            if not (child := os.fork()):
                call = getattr(libbpf, last)
                setattr(libbpf, last, lambda *given, call=call: (call(*given), os._exit(7)))
                Programs.load(pins, cgroup)
                os._exit(0)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
            Programs.load(pins, cgroup)
            assert bpf.sock_ops(cgroup) == ["negotiate"]


@in_sandbox
def test_unload_leaves_nothing() -> None:
    with lab.lab(on="") as place:
        before = set(PINS.rglob("*"))  # the kernel's own
        place.start("one")
        client, server = lab.talkers(place)
        lab.connect(client, server, 4)
        assert {"connections", "settings", "sock_ops"} <= {path.name for path in set(PINS.rglob("*")) - before}
        assert len(attached(place)) == 5
        assert "negotiate" in attached(place)
        place.daemons["one"].kill()
        done = place.one.run(
            [
                sys.executable,
                "-m",
                "migrate.migrated",
                "--cgroup",
                place.one.programs_cgroup,
                "--unload",
            ],
            daemon=True,
        )
        assert done.stdout + done.stderr == ""
        assert set(PINS.rglob("*")) == before
        assert attached(place) == []
        assert_untouched(place.one)
        lab.both_ways(client, server, 0)
        with wire.captured(place.one) as seen:
            lab.connect(client, server, 6)
            lab.both_ways(client, server, 1)
        assert len(seen[0].segment.options) == 20, "a SYN is Linux's own again"


def children(daemon: lab.Daemon) -> set[int]:
    pid = daemon.process.pid
    return {int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def die_with_guardian(place: lab.Lab, point: str) -> None:
    """The worker dies at that point of a rebind, and the guardian at the same time."""
    daemon = place.daemons["one"]
    worker = daemon.worker
    os.kill(daemon.process.pid, signal.SIGSTOP)
    orders_file("one").write_text(f"die {point}")
    place.add(place.one, 4, 11)
    daemon.ask(do="migrate", to=lab.address(4, 11))
    lab.until(lambda: Path(f"/proc/{worker}/stat").read_text().split()[2] == "Z", "the worker dies")
    daemon.process.kill()
    daemon.process.wait()


@in_sandbox
def test_nothing_stays_frozen_where_guardian_and_worker_die_at_once() -> None:
    with lab.lab(module="tests.linux.odd") as place:
        client, server = lab.talkers(place)
        lab.connect(client, server, 4)
        die_with_guardian(place, "frozen")
        assert "frozen 1" in (place.one.programs_cgroup / "cgroup.events").read_text(), "this shows nothing"
        place.start("one")
        assert_untouched(place.one)
        lab.both_ways(client, server, 0)


def die_and_send(place: lab.Lab, point: str, victim: str, senders: str = "one two") -> tuple[lab.Talker, lab.Talker]:
    """Guardian and worker die at that point of a move of `one`, with data to come in both directions."""
    client, server = lab.talkers(place)
    lab.connect(client, server, 4)
    daemon = place.daemons[victim]
    worker = daemon.worker
    os.kill(daemon.process.pid, signal.SIGSTOP)
    orders_file(victim).write_text(f"die {point}")
    for sender, talker in (("one", client), ("two", server)):
        if sender in senders:
            talker("send", 0, 3000)
    place.replace(place.one, 4, 1, 11)
    lab.until(lambda: Path(f"/proc/{worker}/stat").read_text().split()[2] == "Z", "the worker dies")
    daemon.process.kill()
    daemon.process.wait()
    return client, server


@in_sandbox
def test_the_next_daemon_finishes_what_both_have_left() -> None:
    for victim in ("one", "two"):
        for point in ("imaged", "disconnected", "restored", "after the data"):
            with lab.lab(module="tests.linux.odd") as place:
                client, server = die_and_send(place, point, victim)
                place.start(victim)
                for talker in (client, server):
                    assert talker("receive", 0, 3000) == "right", (victim, point)
                lab.both_ways(client, server, 0)
                assert_untouched(place.daemons[victim].host)
            lab.clear()


@in_sandbox
def test_the_next_daemon_may_come_late() -> None:
    """Later than the eBPF side would act for a daemon that is silent; the other host has gone on meanwhile."""
    for point in ("imaged", "disconnected"):
        with lab.lab(module="tests.linux.odd") as place:
            client, server = die_and_send(place, point, "two", senders="two")
            time.sleep(PROMISE_SECONDS + 0.5)
            client("send", 0, 10_000)
            time.sleep(0.5)
            place.start("two")
            assert server("receive", 0, 10_000) == "right", point
            assert client("receive", 0, 3000) == "right", point
        lab.clear()


@in_sandbox
def test_the_new_address_has_gone_when_the_next_daemon_comes() -> None:
    for point in ("imaged", "disconnected", "restored"):
        with lab.lab(module="tests.linux.odd") as place:
            client, server = die_and_send(place, point, "one")
            place.replace(place.one, 4, 11, 12)
            place.start("one")
            for talker in (client, server):
                assert talker("receive", 0, 3000) == "right", point
            lab.both_ways(client, server, 0)
            assert client("names", 0)[0] == lab.address(4, 12)
        lab.clear()


@in_sandbox
def test_a_daemon_that_is_restarted_in_a_handshake_is_not_taken_for_a_refusal() -> None:
    """Segment 6 comes while there is none: the kernel, which knows nothing of 5, must not answer it by RST."""
    with lab.lab() as place:
        client, server = lab.talkers(place)
        for number, version in enumerate(lab.VERSIONS):
            lab.connect(client, server, version)
            two = place.daemons["two"].worker
            os.kill(two, signal.SIGSTOP)
            place.replace(place.one, version, 1, 11)
            place.daemons["one"].wait_event("migrating", number + 1)
            assert place.daemons["one"].stop() == 0
            os.kill(two, signal.SIGCONT)
            place.daemons["two"].wait_event("answered", number + 1)
            place.start("one")
            place.daemons["two"].wait_event("migrated", number + 1)
            lab.both_ways(client, server, number)
        assert not place.daemons["two"].events("waiting")


@in_sandbox
def test_a_guardian_that_is_killed_takes_along_a_worker_that_has_just_begun() -> None:
    with lab.lab() as place:
        daemon = place.daemons["one"]
        old = daemon.worker
        os.kill(old, signal.SIGKILL)
        lab.until(lambda: children(daemon) - {old}, "another worker begins")
        worker = daemon.worker
        time.sleep(0.1)
        daemon.process.kill()
        daemon.process.wait()
        lab.until(lambda: not Path(f"/proc/{worker}/cmdline").exists(), "the worker ends too", 5)
        place.start("one")
