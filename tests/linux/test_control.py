"""migrated and migratectl as their user meets them: lists, mistakes, events."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from migrate.core import SYN, Segment
from scenarios.soak import leaks
from tests.linux import lab, wire
from tests.linux.kernel_state import assert_untouched
from tests.topologies.inside import in_sandbox
from topologies.nodes import Host

CTL = [sys.executable, "-m", "migrate.migratectl"]
DAEMON = [sys.executable, "-m", "migrate.migrated"]


def refused(host: Host, words: list[str]) -> str:
    """What a command that ends with exit status 1 says: one sentence, and nothing as its result."""
    done = host.run(words, daemon=True, check=False)
    assert done.returncode == 1, done
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr.rstrip()


def said(host: Host, *words: str) -> str:
    return host.run([*CTL, *words], daemon=True).stdout


@in_sandbox
def test_list_and_migrate() -> None:
    with lab.lab() as place:
        assert said(place.one, "list") == "none\n"
        client, server = lab.talkers(place)
        for number, version in enumerate(lab.VERSIONS):
            lab.connect(client, server, version)
            lab.both_ways(client, server, number)
        port = client("names", 0)[1]
        rows = json.loads(said(place.one, "list", "--json"))
        assert len(rows) == 2
        name = rows[0]["connection"]
        assert rows[0] == {
            **{"connection": name, "local": "10.0.0.1", "local_port": port, "remote": "10.0.0.2", "remote_port": 9000},
            **{"tcp": "ESTABLISHED", "migratable": True, "insecure": False, "state": "ESTABLISHED"},
            **{"moves": 0, "reason": ""},
        }
        assert rows[1]["local"] == "fd00::1"
        table = [line.split() for line in said(place.one, "list").splitlines()]
        assert table[0] == ["CONNECTION", "LOCAL", "REMOTE", "TCP", "MIGRATABLE", "STATE", "MOVES", "REASON"]
        assert table[1] == [name, f"10.0.0.1.{port}", "10.0.0.2.9000", "ESTABLISHED", "yes", "ESTABLISHED", "0"]
        there = {row["connection"]: row for row in place.daemons["two"].connections()}
        assert (there[name]["remote"], there[name]["remote_port"]) == ("10.0.0.1", port), "both sides use one name"

        lab_address = lab.address(4, 11)
        place.add(place.one, 4, 11)
        answer = said(place.one, "migrate", "--to", lab_address, "--connection", name)
        assert [line.split() for line in answer.splitlines()] == [["CONNECTION", "RESULT"], [name, "under", "way"]]
        place.daemons["one"].wait_event("migrated")
        row = next(row for row in place.daemons["one"].connections() if row["connection"] == name)
        assert (row["local"], row["moves"]) == (lab_address, 1)
        assert said(place.one, "migrate", "--to", lab_address) == "none\n", "all that can be there are there"
        place.add(place.one, 4, 12)
        moving = json.loads(said(place.one, "--json", "migrate", "--to", lab.address(4, 12)))
        assert moving == [{"connection": name, "result": "under way"}]
        place.daemons["one"].wait_event("migrated", 2)


@in_sandbox
def test_a_connection_that_cannot_move_is_listed_with_the_reason() -> None:
    with lab.lab(on="one") as place:
        client, server = lab.talkers(place)
        lab.connect(client, server, 4)
        (row,) = place.daemons["one"].connections()
        assert (row["migratable"], row["connection"], row["state"]) == (False, "", "")
        assert row["reason"] == "no Migrate-Permitted in its handshake"
        place.add(place.one, 4, 11)
        assert place.daemons["one"].ask(do="migrate", to=lab.address(4, 11)) == {"result": []}
        shown = said(place.one, "list").splitlines()[1].split(maxsplit=4)
        assert shown[2:] == ["ESTABLISHED", "no", f"0      {row['reason']}"], shown


@in_sandbox
def test_a_program_that_bound_address_and_port_is_told_of() -> None:
    """It cannot be carried: the reason is shown, and the connection itself lives on."""
    with lab.lab() as place:
        client, server = lab.talkers(place)
        daemon = place.daemons["one"]
        for number, version in enumerate(lab.VERSIONS):
            lab.connect(client, server, version, source=lab.address(version, 1), source_port=7000 + number)
            lab.both_ways(client, server, number)
            place.add(place.one, version, 11)
            reason = "its program bound both the address and the port"
            name = daemon.name_of(client("names", number))
            asked = daemon.ask(do="migrate", to=lab.address(version, 11))
            assert {"connection": name, "result": reason} in asked["result"]
            assert daemon.wait_event("not-carried", number + 1)["cause"] == reason
            row = next(row for row in daemon.migratable() if row["connection"] == name)
            assert (row["reason"], row["state"], row["local"]) == (reason, "ESTABLISHED", lab.address(version, 1))
            lab.both_ways(client, server, number)
            assert_untouched(place.one)


@in_sandbox
def test_an_address_in_duplicate_detection_is_waited_for() -> None:
    with lab.lab() as place:
        client, server = lab.talkers(place)
        lab.connect(client, server, 6)
        for name, value in (("accept_dad", 1), ("dad_transmits", 1)):
            place.one.sysctl(f"net.ipv6.conf.one-eth0.{name}", value)
        for count, number in enumerate((11, 12, 13), 1):
            new = lab.address(6, number)
            place.one.ip("address", "add", f"{new}/64", "dev", "one-eth0")
            was_tentative = "tentative" in place.one.ip("address", "show", "dev", "one-eth0", "to", new)
            (answer,) = place.daemons["one"].ask(do="migrate", to=new)["result"]
            assert answer["result"] == "under way"
            place.wait_moved(count)
            lab.both_ways(client, server, 0)
            if was_tentative:
                break
        else:
            raise AssertionError("each time it was over before anybody looked: this shows nothing")


@in_sandbox
def test_mistakes_in_what_is_asked_for() -> None:
    with lab.lab(on="one") as place:
        one, daemon = place.one, place.daemons["one"]
        assert refused(one, [*CTL, "migrate", "--to", "10.0.0.99"]) == (
            "this host has no address 10.0.0.99; add it to an interface first"
        )
        assert daemon.ask(do="migrate", to="fd00::99")["error"].startswith("this host has no address fd00::99;")
        assert refused(one, [*CTL, "migrate", "--to", "nowhere"]) == "nowhere is not an IP address"
        assert refused(one, [*CTL, "migrate", "--to", "10.0.0.1", "--connection", "feedbeef"]) == (
            "no migratable connection feedbeef away from 10.0.0.1; migratectl list shows them"
        )
        assert daemon.ask(do="dance") == {"error": "migrated does not know the request 'dance'"}
        assert "error" in daemon.ask(do="migrate")
        assert refused(place.two, [*CTL, "list"]) == "no migrated serves this host: start one in this network namespace"
        assert one.run([*CTL, "migrate"], daemon=True, check=False).returncode == 2, "--to is missing"
        assert daemon.connections() == [], "it serves on"


@in_sandbox
def test_a_daemon_that_cannot_work_says_why() -> None:
    with lab.lab(on="one") as place:
        one, two = place.one, place.two
        there = ["--cgroup", str(one.programs_cgroup)]
        assert refused(one, [*DAEMON, *there]) == "a migrated already serves this host: use that one, or end it first"
        assert refused(one, [*DAEMON, *there, "--unload"]).startswith("a migrated already serves this host")
        missing = "/sys/fs/cgroup/nothing"
        sentence = "is no cgroup v2 directory: make one and put the programs into it"
        assert refused(two, [*DAEMON, "--cgroup", missing]) == f"{missing} {sentence}"
        assert refused(two, [*DAEMON, "--cgroup", "/tmp"]) == f"/tmp {sentence}"
        own = ["--cgroup", str(two.programs_cgroup)]
        assert "cannot write /nowhere/events" in refused(two, [*DAEMON, *own, "--events", "/nowhere/events"])
        assert refused(two, [*DAEMON, *own, "--pins", "/tmp/no-bpf"]).startswith(("cannot load", "cannot make"))
        Path("/tmp/no-bpf").rmdir()
        for wrong in ("0", "nan"):
            assert two.run([*DAEMON, *own, "--msl", wrong], daemon=True, check=False).returncode == 2, wrong
        # The daemon that was there has lost nothing by all this.
        client, server = lab.talkers(place)
        lab.connect(client, server, 4)
        assert len(place.daemons["one"].connections()) == 1
        assert place.daemons["one"].stop() == 0


@in_sandbox
def test_only_root_may() -> None:
    with lab.lab(on="one") as place:
        # Not root, but able to read every checkout (it may lie in root's own directory).
        reads = "+dac_read_search"
        nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        nobody += [f"--inh-caps={reads}", f"--ambient-caps={reads}"]
        as_nobody = {
            "migratectl": [*CTL, "list"],
            "migrated": [*DAEMON, "--cgroup", str(place.one.programs_cgroup)],
        }
        for name, words in as_nobody.items():
            assert refused(place.one, [*nobody, *words]) == f"{name} needs root: start it with sudo"
        ask = (
            "import socket; s = socket.socket(socket.AF_UNIX); s.connect('\\0migrated');"
            "print(s.makefile().readline(), end='')"
        )
        answer = place.one.run([*nobody, "/usr/bin/python3", "-Ic", ask], daemon=True)
        assert json.loads(answer.stdout) == {"error": "only root may speak to migrated"}


@in_sandbox
def test_events_in_the_file_and_by_migratectl() -> None:
    with lab.lab() as place:
        client, server = lab.talkers(place)
        daemon = place.daemons["one"]
        follower = {False: follow(place.one), True: follow(place.one, "--json")}
        wait_until_told(place, list(follower.values()))
        daemon.forget()
        begun = time.time()
        lab.connect(client, server, 4)
        name = daemon.name_of(client("names", 0))
        place.replace(place.one, 4, 1, 11)
        daemon.wait_event("migrated")
        lines = daemon.events_file.read_text().splitlines()[-2:]
        for line in lines:
            event = json.loads(line)
            assert {"time", "connection", "state", "event", "cause"} <= event.keys()
            assert event["connection"] == name
            assert begun < event["time"] < time.time()
        assert [(json.loads(line)["state"], json.loads(line)["event"]) for line in lines] == [
            ("SYN_SENT", "migrating"),
            ("ESTABLISHED", "migrated"),
        ]
        assert json.loads(lines[1])["cause"] == "10.0.0.1 > 10.0.0.2 to 10.0.0.11 > 10.0.0.2"
        assert next_lines(follower[True], 2) == lines
        shown = [line.split() for line in next_lines(follower[False], 2)]
        assert [words[1:4] for words in shown] == [[name, "SYN_SENT", "migrating"], [name, "ESTABLISHED", "migrated"]]
        follower[True].send_signal(signal.SIGINT)
        assert follower[True].wait(lab.PATIENCE_SECONDS) == 0
        assert follower[True].communicate()[1] == ""
        # One that is killed is let go at once, and not when there is something to tell.
        lab.until(lambda: followers(daemon) == 1, "the one that has ended is let go")
        killed = follow(place.one)
        lab.until(lambda: followers(daemon) == 2, "it follows")
        before = leaks.descriptors(daemon.worker)
        killed.kill()
        killed.wait()
        lab.until(lambda: followers(daemon) == 1, "it is let go")
        lab.until(lambda: leaks.descriptors(daemon.worker) == before - 1, "nothing of it is left")
        assert daemon.stop() == 0
        assert follower[False].wait(lab.PATIENCE_SECONDS) == 1
        assert follower[False].communicate()[1] == "migrated has ended\n"


def follow(host: Host, *options: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return host.spawn([*CTL, "events", *options], stdout=pipe, stderr=pipe, text=True, daemon=True)


def followers(daemon: lab.Daemon) -> int:
    """How many connections to its socket it has accepted and not closed."""
    said = daemon.host.run(["ss", "-Hxp", "state", "connected", "src", "@migrated"], daemon=True).stdout
    return said.count(f"pid={daemon.worker},")


def wait_until_told(place: lab.Lab, processes: list[subprocess.Popen[str]]) -> None:
    """Until each of them has been told of something: of Migrate SYNs that make no sense."""
    source, target = lab.ip("10.1.0.3"), lab.ip("10.0.0.1")
    outputs = [process.stdout for process in processes if process.stdout]
    senseless = Segment(source, 5555, target, 9000, SYN, 1, options=b"\1\x10\3\0")

    def look() -> bool:
        wire.inject(place.three, senseless)
        return len(select.select(outputs, [], [], 0.05)[0]) == len(processes)

    lab.until(look, "both follow")


def next_lines(process: subprocess.Popen[str], count: int) -> list[str]:
    """The next lines but those about Migrate SYNs that make no sense, and about an address that is being replaced: on a
    busy machine it is seen to be gone."""
    assert process.stdout is not None
    found: list[str] = []
    while len(found) < count:
        line = process.stdout.readline().rstrip("\n")
        assert line, "it says no more"
        if "malformed" not in line and "suspended" not in line:
            found.append(line)
    return found


@in_sandbox
def test_an_end_in_order_leaves_connections_to_plain_tcp() -> None:
    with lab.lab() as place:
        client, server = lab.talkers(place)
        lab.connect(client, server, 4)
        for number in (signal.SIGTERM, signal.SIGINT):
            daemon = place.daemons["one"]
            os.kill(daemon.process.pid, number)
            assert daemon.process.wait(lab.PATIENCE_SECONDS) == 0
            with wire.captured(place.one) as seen:
                other = client("connect", lab.address(4, 2), 9000)
                assert server("accept") == other
                lab.both_ways(client, server, other)
            assert len(seen[0].segment.options) == 20, "no MP without a daemon"
            lab.both_ways(client, server, 0)
            place.start("one")
