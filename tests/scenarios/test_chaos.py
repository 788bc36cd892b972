"""Chaos finds what it is there to find: a byte that is missing, an end that comes too early."""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from scenarios.chaos import cli, downloads, replica
from scenarios.chaos.downloads import RESET_STATUSES, Download
from scenarios.chaos.fates import NOT_KNOWN, Event, Fates, Stroke
from scenarios.chaos.replica import PORT, REFRESH_SECONDS, address
from scenarios.chaos.report import Document
from scenarios.programs import checksum
from scenarios.verdict import Verdict
from tests.topologies.inside import in_sandbox
from tests.topologies.pair import pair
from topologies.links import Veth

OUT = Path("/run/out")  # the sandbox's own tmpfs


def chaos(kills: int, wrong: str = "", fault: str = "none") -> tuple[int, dict[str, Any]]:
    """A short one, with a wedge that has this mistake, and a migrated that forgets quickly and has that fault: its exit
    status and result.json."""
    replica.MSL_SECONDS = 5.0
    downloads.STUCK_SECONDS = 25.0  # a client that is reset waits for 2MSL, maybe after one for another member
    downloads.SLOW_RATES = ["200k", "300k"]  # the slowest would take more than a minute to its end
    cli.DRAIN_SECONDS = 75.0 if fault == "none" else 15.0  # a server waits for a minute in FIN-WAIT-2
    os.environ["WRONG"], os.environ["FAULT"] = wrong, fault
    module = ["--module", "tests.failover.wrong_wedge"] if wrong else []
    module += ["--migrated", "tests.scenarios.soak_faulty"]
    status = cli.main(["--kills", str(kills), "--out", str(OUT), *module])
    if (left := OUT / "chaos" / "broken.txt").exists():
        print(left.read_text())
    return status, json.loads((OUT / "chaos" / "result.json").read_text())


@in_sandbox
def test_a_short_run_passes() -> None:
    status, result = chaos(4)
    assert (status, result["verdict"]) == (0, "pass"), result["reason"]
    counts = result["counts"]
    assert counts["kills"] >= 4
    assert counts["connections taken-over"] > 0
    assert counts["downloads that arrived right"] > 0
    assert result["before"] == result["after"]
    assert {f"{name}: sockets" for name in ("c1", "c2", "c3", "sA", "sB", "sC", "sD")} <= set(result["after"])


@in_sandbox
def test_what_stays_is_seen() -> None:
    """Each rebind of a client's migrated keeps a descriptor."""
    status, result = chaos(4, fault="descriptor")
    assert (status, result["verdict"]) == (1, "fail")
    assert "descriptors of the worker" in result["reason"], result["reason"]


@in_sandbox
def test_a_missing_byte_is_seen() -> None:
    status, result = chaos(30, "one_byte_late")
    assert (status, result["verdict"]) == (1, "fail")
    # Where an answer before another lacks a byte, that begins too early for curl to take it for one.
    signs = ("arrived wrong", "wrong ones", "Received HTTP/0.9")
    assert any(sign in result["reason"] for sign in signs), result["reason"]


@in_sandbox
def test_an_early_end_is_seen() -> None:
    """Killed servers end their streams by FIN."""
    status, result = chaos(10, "fin")
    assert (status, result["verdict"]) == (1, "fail")
    assert "ended after" in result["reason"], result["reason"]
    assert any("curl ended with 18" in sentence for sentence in result["wrong"]), result["wrong"]


def reset_first(listener: socket.socket) -> None:
    """A server that resets its first connection once it has been asked for something, and answers on the others."""
    with listener:
        first, _ = listener.accept()
        first.recv(1000)
        first.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        first.close()
        while True:
            later, _ = listener.accept()
            while later.recv(1000):
                later.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")


@in_sandbox
def test_of_several_objects_the_first_that_fails_counts() -> None:
    """curl would go on with the others on a new connection, and be content."""
    with pair(Veth()) as (one, two, _):
        for host, end in ((one, 1), (two, 2)):
            host.add_address(f"{host.name}-eth0", f"{address('sA', 4, end)}/24")
        with two.entered():
            listener = socket.create_server((address("sA", 4), PORT))
        threading.Thread(target=reset_first, args=(listener,), daemon=True).start()
        names = ["1", "1", "1"]
        running = downloads._Running(Download(0, "one", "sA", 4, names, "", time.time()), one, Path("/run"))
        assert running.process.wait(10)
        Path("/run/1").write_text("x")
        found = running.finish({"1": checksum(Path("/run/1"))}, Path("/run"))
        assert (found.outcome, found.status in RESET_STATUSES) == ("ended early", True)
        assert (found.right, len(found.ports), found.partial) == (0, 1, False)


def test_who_is_ahead_of_a_rate_does_not_stand_still() -> None:
    """2.8 MB have come in five seconds, and curl is to read 40 kB a second."""
    for rate, since in ("", 15.0), ("40k", 80.0), ("400k", 17.0):
        one = downloads._Running.__new__(downloads._Running)
        one.download, one.changed = Download(0, "c1", "sA", 4, ["3000000"], rate, 10.0, received=2_800_000), 15.0
        assert one.since == since


def download(outcome: str = "ended early", **more: Any) -> Download:
    given: dict[str, Any] = {"status": 56, "ports": [4000], "ended": 12.0, "outcome": outcome} | more
    return Download(0, "c1", "sA", 4, ["1000"], "", 10.0, **given)


NAMED = Event(11.0, "aa", "waiting", "RST", 4000)


def fate(one: Download, *told: Event) -> str:
    fates = Fates([one], list(told), {"c1": [NAMED]})
    (found,) = fates.counts
    assert bool(fates.wrong) == (found in ("ended otherwise", "wrong bytes"))
    return found


def test_fates() -> None:
    heard = Event(10.5, "aa", "heard", "sA has it", 0)
    reset = Event(11.5, "aa", "reset", f"78 bytes {NOT_KNOWN}", 0)
    assert fate(download("right", status=0)) == "right"
    assert fate(download("wrong bytes", status=0)) == "wrong bytes"
    assert fate(download()) == "reset: its server died before the group had heard of it"
    assert fate(download(), heard) == "ended otherwise"
    assert fate(download(), heard, reset) == "reset: its server died before the group had heard of the request"
    assert fate(download(status=18)) == "ended otherwise"
    assert fate(download(partial=True, received=10)) == "ended otherwise"
    assert fate(download(ports=[4000, 4001], right=1)) == "reset: its server died before the group had heard of it"


def test_whose_server_was_cut_off_until_just_before_its_death() -> None:
    told = [Event(10.5, "aa", "heard", "sA has it", 0), Event(11.4, "aa", "taken-over", "from sA", 0),
            Event(11.5, "aa", "reset", f"78 bytes {NOT_KNOWN}", 0)]  # fmt: skip
    half = download(partial=True, received=5000)
    cut, back, death = Stroke(10.6, "partition", "sA"), Stroke(10.8, "rejoined", "sA"), Stroke(11.0, "kill", "sA")
    lost = "reset: its server was cut off from the group at the request, and died before the next refresh"
    for strikes, expected in (
        ([cut, back, death], lost),
        ([cut, death, replace(back, time=11.2)], lost),
        ([cut, death], lost),
        ([cut, back, replace(death, time=10.8 + REFRESH_SECONDS)], "ended otherwise"),
        ([back, death], "ended otherwise"),
        ([cut, back], "ended otherwise"),
        ([cut, back, replace(death, time=11.45)], "ended otherwise"),
        ([replace(one, replica="sB") for one in (cut, back, death)], "ended otherwise"),
        ([cut, back, replace(death, what="freeze of a replica")], "ended otherwise"),
    ):
        assert set(Fates([half], told, {"c1": [NAMED]}, strikes).counts) == {expected}, strikes
    assert set(Fates([half], told[:2], {"c1": [NAMED]}, [cut, back, death]).counts) == {"ended otherwise"}


def test_stalls() -> None:
    taken = Event(10.5, "aa", "taken-over", "from sA", 0)
    slow = download("right", pauses=[(10.2, 13.0)], ended=14.0)
    assert [round(seconds, 3) for _, seconds, _ in Fates([slow], [taken], {"c1": [NAMED]}).stalls] == [2.5]
    assert not Fates([slow], [], {"c1": [NAMED]}).stalls


def judged(one: Download, *, broken: str = "", kills: int = 5, told: tuple[Event, ...] = ()) -> Document:
    document = Document(seed=1, kills=5)
    document.judge(broken, {"kills": kills}, 1, 1000, Fates([one], list(told), {"c1": [NAMED]}))
    return document


def test_what_is_left_is_a_fault() -> None:
    document = Document(seed=1, kills=5)
    document.before = {"c1: sockets": 3, "sA: pins": 9}
    document.after = {"c1: sockets": 4, "sA: pins": 9}
    taken = [Event(10.5, "aa", "taken-over", "from sA", 0)]
    document.judge("", {"kills": 5}, 1, 1000, Fates([download("right")], taken, {"c1": [NAMED]}))
    assert document.verdict is Verdict.FAIL
    assert [check.name for check in document.checks if check.verdict is Verdict.FAIL] == ["c1: sockets"]


def test_verdicts() -> None:
    taken = (Event(10.5, "aa", "taken-over", "from sA", 0),)
    assert judged(download("right"), told=taken).verdict is Verdict.PASS
    assert judged(download("right"), told=taken, kills=4).verdict is Verdict.FAIL
    assert judged(download("right"), told=taken, broken="a wedge has ended by itself").verdict is Verdict.FAIL
    assert judged(download("right")).verdict is Verdict.INVALID
    assert judged(download(), told=taken).verdict is Verdict.FAIL
