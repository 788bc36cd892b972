"""A download outlives its server: an unmodified curl, replicas that serve the same stream, and what is on the wire
(slide 30; protocol.md, Preload).  Both IP versions."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

from migrate.core import ACK, MIGRATE_KIND, RST, SYN, Segment, timestamp
from migrate.core.options import Migrate, find, split
from scenarios.programs import ProgramError
from tests.failover import stage as stages
from tests.failover.replica import content, length
from tests.failover.stage import OUT, PATIENCE_SECONDS, Stage, address, clear, stage
from tests.linux.lab import VERSIONS, Seen, assert_untouched, captured, until
from tests.topologies.inside import in_sandbox

SIZE = 3_000_000
RATE = 40e6
"""Bits per second; the download then takes 0.6 s, so that every take-over happens in the middle of it."""
MSS = {4: 1460, 6: 1440}


def assert_whole(target: Path, size: int = SIZE) -> None:
    got = target.read_bytes()
    assert len(got) == size
    assert got == content(size, length(size) - size, size)


def take_over(place: Stage, server: str, soft: dict[str, Any], **more: Any) -> dict[str, Any]:
    taken: dict[str, Any] = place.replicas[server]("take_over", soft, *more.values())
    assert "refused" not in taken, taken
    return taken


def go_on(place: Stage, server: str, taken: dict[str, Any], size: int = SIZE) -> None:
    place.replicas[server]("stream", taken["number"], size, taken["position"])


def from_to(seen: list[Seen], source: str, target: str) -> list[Segment]:
    found = [one.segment for one in seen]
    return [one for one in found if (str(one.src), str(one.dst)) == (source, target)]


@in_sandbox
def test_slide_30() -> None:
    """sA is alive: it was pronounced dead by mistake, and goes on until it is told."""
    for version in VERSIONS:
        with stage(version, rate_bps=RATE) as place:
            sA, target = place.replicas["sA"], OUT / "got"
            with captured(place.client, "sA") as old, captured(place.client, "sB") as new:
                download, number, soft = place.accepted(version, target)
                sA("stream", number, SIZE, 0)
                download.wait_for(SIZE // 3, PATIENCE_SECONDS)
                taken = take_over(place, "sB", soft)
                go_on(place, "sB", taken)
                assert download.finish(PATIENCE_SECONDS) == 0
                place.daemons["sA"].wait_event("waiting")
            assert_whole(target)
            client, a, b = (address(version, *where) for where in ((1, 1), (1, 2), (2, 2)))
            na, ni = soft["secrets"]["na"], soft["secrets"]["ni"]
            syn, third, *data = from_to(new, b, client)
            (synack, *_) = from_to(new, client, b)
            # sB > cl  S 0:0 win 0 <migrate PRELOAD 1>
            assert (syn.flags, syn.seq, syn.window) == (SYN, na, 0)
            option = Migrate.decode(find(syn.options, MIGRATE_KIND) or b"")
            assert (option.preload, option.reqno) == (True, 1)
            assert [kind for kind, _ in split(syn.options) if kind != 1] == [MIGRATE_KIND]
            # cl > sB  S 0:0 ack a+1448: what has arrived from sA, to the last byte
            assert (synack.flags, synack.options) == (SYN | ACK, b"")
            assert synack.ack == (na + 1 + taken["position"]) % (1 << 32)
            assert synack.seq == (ni + taken["received"]) % (1 << 32)
            sent = [one for one in from_to(old, a, client) if one.payload]
            ends = {(one.seq + len(one.payload)) % (1 << 32) for one in sent}
            assert synack.ack in ends, "it names the byte behind a segment of sA's"
            # sB > cl  . ack 1
            assert (third.flags & ~8, third.seq, third.payload) == (ACK, synack.ack, b"")
            assert third.ack == (synack.seq + 1) % (1 << 32)
            # sA > cl, and cl > sA  R 1:1
            resets = [one for one in from_to(old, client, a) if one.flags & RST]
            assert resets, "sA is not told"
            assert {one.seq for one in resets} == {third.ack}
            # sB > cl  P a+1448:a+2908(1460): no timestamps, so full segments, from exactly the next byte
            full = [one for one in data if one.payload]
            assert full[0].seq == synack.ack
            assert all(timestamp(one.options) is None for one in data)
            assert statistics.mode(len(one.payload) % MSS[version] for one in full) == 0
            assert {len(one.payload) for one in sent} & {MSS[version] - 12, 2 * (MSS[version] - 12)}, "with timestamps"
            assert not [one for one in from_to(new, client, b) if one.flags & RST]
            for host in (place.client, *place.servers.values()):
                assert_untouched(host)
        clear()


@in_sandbox
def test_back_and_forth() -> None:
    """sA, sB, sA, ... and the client moves in between: five take-overs of one download."""
    for version in VERSIONS:
        with stage(version, rate_bps=RATE) as place:
            target, holders = OUT / "got", ("sB", "sA", "sB", "sA", "sB")
            download, number, soft = place.accepted(version, target)
            place.replicas["sA"]("stream", number, SIZE, 0)
            before = "sA"
            for turn, server in enumerate(holders, 1):
                download.wait_for(turn * SIZE // 8, PATIENCE_SECONDS)
                taken = take_over(place, server, soft)
                assert taken["soft"]["secrets"]["sent"] == turn
                place.replicas[before]("drop", number)
                go_on(place, server, taken)
                before, number, soft = server, taken["number"], taken["soft"]
                assert download.received < SIZE, "it was over before: this shows nothing"
                if turn == 3:
                    place.replace_client_address(version, 1, 11)
                    place.daemons["sB"].wait_event("migrated", 3)
                    soft |= place.replicas[server]("moved", number)
                    assert soft["client"][0] == address(version, 2, 1), "the one of sB's link"
                    assert soft["secrets"]["accepted"] == 1
            assert download.finish(PATIENCE_SECONDS) == 0
            assert_whole(target)
            assert len(place.daemons["client"].events("migrated")) == 6
            assert not place.daemons["client"].events("reset")
        clear()


@in_sandbox
def test_exactly_one_of_two_replicas_wins() -> None:
    with stage(4, stages.SERVERS, rate_bps=RATE) as place:
        wins = {"sB": 0, "sC": 0}
        for turn in range(6):
            target = OUT / f"got{turn}"
            download, number, soft = place.accepted(4, target)
            place.replicas["sA"]("stream", number, SIZE, 0)
            download.wait_for(SIZE // 4, PATIENCE_SECONDS)
            for server in ("sB", "sC")[:: 1 if turn % 2 else -1]:
                place.replicas[server].start("take_over", soft, 1)
            answers = {server: place.replicas[server].answer() for server in ("sB", "sC")}
            (winner,) = (server for server, answer in answers.items() if "refused" not in answer)
            (loser,) = wins.keys() - {winner}
            assert answers[loser]["unanswered"]
            wins[winner] += 1
            go_on(place, winner, answers[winner])
            assert download.finish(PATIENCE_SECONDS) == 0
            assert_whole(target)
            place.replicas["sA"]("drop", number)
            assert place.daemons[loser].events("not-adopted")
            left = [row["connection"] for row in place.daemons[loser].migratable()]
            assert soft["secrets"]["name"] not in left
        print("wins:", wins)


@in_sandbox
def test_who_is_refused() -> None:
    """A number that was used, another connection's secrets, and a request that makes no sense: the download goes on as
    if nothing had been, and nothing is left of the attempt."""
    with stage(4, stages.SERVERS, rate_bps=RATE) as place:
        target, sC = OUT / "got", place.replicas["sC"]
        download, number, soft = place.accepted(4, target)
        place.replicas["sA"]("stream", number, SIZE, 0)
        download.wait_for(SIZE // 4, PATIENCE_SECONDS)
        taken = take_over(place, "sB", soft)
        place.replicas["sA"]("drop", number)
        before = sC("descriptors")
        assert sC("take_over", soft, 1) | {"refused": ""} == {"refused": "", "unanswered": True}, "request 1 was sB's"
        wrong = soft | {"secrets": soft["secrets"] | {"k": "00" * 25}}
        answer = sC("take_over", wrong)
        assert "knows of no such connection" in answer["refused"]
        assert not answer["unanswered"]
        assert "25 bytes" in sC("take_over", soft | {"secrets": soft["secrets"] | {"k": "00"}})["refused"]
        assert "segment size" in sC("take_over", soft | {"options": soft["options"] | {"mss": 0}})["refused"]
        place.servers["sC"].ip("route", "del", "default")
        assert "no route" in sC("take_over", soft | {"client": ["192.0.2.1", 9]})["refused"]
        place.servers["sC"].default_route(address(4, 3, 1), "sC-eth0")
        sC("attempt", 1, taken["soft"] | {"client": [address(4, 3, 77), 9]}, 5)
        place.daemons["sC"].wait_event("migrating", 3)
        assert sC("give_up", 1) == "cancelled"
        until(lambda: len(place.daemons["sC"].events("not-adopted")) == 3, "all attempts are over")
        assert sC("descriptors") == before
        assert place.daemons["sC"].connections() == []
        again = place.replicas["sB"]("take_over", taken["soft"])
        assert "drop that one first" in again["refused"]
        go_on(place, "sB", taken)
        assert download.finish(PATIENCE_SECONDS) == 0
        assert_whole(target)
        until(lambda: not place.daemons["sB"].migratable(), "a connection that was taken over ends as any other")


@in_sandbox
def test_a_larger_number_after_one_that_was_used_up() -> None:
    """sB has won and died before it told anybody; sC, which hears of no winner, asks with the next number."""
    with stage(4, stages.SERVERS, rate_bps=RATE) as place:
        target = OUT / "got"
        download, number, soft = place.accepted(4, target)
        place.replicas["sA"]("stream", number, SIZE, 0)
        download.wait_for(SIZE // 4, PATIENCE_SECONDS)
        take_over(place, "sB", soft)
        place.replicas["sB"].kill()
        assert place.replicas["sC"]("take_over", soft, 1)["unanswered"]
        go_on(place, "sC", take_over(place, "sC", soft, tries=1, count=1))
        assert download.finish(PATIENCE_SECONDS) == 0
        assert_whole(target)


def killed(place: Stage, version: int, guarded: bool) -> None:
    target, sA = OUT / "got", place.replicas["sA"]
    if not guarded:
        sA("listen", version, stages.PORT + 1, False)
    download, number, soft = place.accepted(version, target, stages.PORT + (not guarded))
    sA("stream", number, SIZE, 0)
    download.wait_for(SIZE // 4, PATIENCE_SECONDS)
    sA.kill()
    received = -1
    while download.running and download.received > received:  # its kernel sends what it has, and then a FIN
        received = download.received
        time.sleep(0.3)
    assert received < SIZE
    go_on(place, "sB", take_over(place, "sB", soft))
    assert download.finish(PATIENCE_SECONDS) == 0
    assert_whole(target)


@in_sandbox
def test_a_server_that_is_killed_says_nothing() -> None:
    """kill -9: its kernel ends its connections, and the client must not hear of it."""
    for version in VERSIONS:
        with stage(version, rate_bps=RATE) as place:
            with captured(place.client, "sA") as seen:
                killed(place, version, guarded=True)
            said = [one for one in seen if str(one.segment.src) == address(version, 1, 2)]
        assert said
        assert not [one for one in said if one.segment.flags & 1], "a FIN of the killed server's"
        clear()


@in_sandbox
def test_without_a_guard_the_client_takes_the_end_of_the_process_for_the_end_of_the_stream() -> None:
    with stage(4, rate_bps=RATE) as place:
        try:
            killed(place, 4, guarded=False)
        except (AssertionError, ProgramError):
            return
        raise AssertionError("the guard is of no use")


@in_sandbox
def test_a_daemon_started_again_knows_the_connections_that_were_taken_over() -> None:
    """K stands in the pinned table, since no key pair of this host gives it."""
    for version in VERSIONS:
        with stage(version, rate_bps=RATE) as place:
            target, daemon, size = OUT / "got", place.daemons["sB"], 4 * SIZE
            download, number, soft = place.accepted(version, target)
            place.replicas["sA"]("stream", number, size, 0)
            download.wait_for(SIZE, PATIENCE_SECONDS)
            taken = take_over(place, "sB", soft)
            place.replicas["sA"]("drop", number)
            go_on(place, "sB", taken, size)
            daemon.kill_worker()
            assert place.replicas["sB"]("moved", taken["number"])["secrets"] == taken["soft"]["secrets"]
            place.replace_client_address(version, 1, 11)
            daemon.wait_event("migrated", 2)
            assert download.received < size, "it was over before: this shows nothing"
            soft |= place.replicas["sB"]("moved", taken["number"])
            place.replicas["sB"].start("drop", taken["number"])
            taken = take_over(place, "sA", soft)
            assert place.replicas["sB"].answer() == 0
            go_on(place, "sA", taken, size)
            assert download.finish(PATIENCE_SECONDS) == 0
            assert_whole(target, size)
        clear()


@in_sandbox
def test_a_thousand_connections_of_a_dead_server() -> None:
    count, size, begun = 1000, 200_000, 5000
    with stage(4) as place:
        place.client.sysctl("net.ipv4.tcp_rmem", "4096 16384 65536")
        client, sA, sB = stages.Talker(place.client), place.replicas["sA"], place.replicas["sB"]
        softs = []
        for number in range(count):
            assert client("connect", address(4, 1, 2), stages.PORT) == number
            assert sA("accept") == number
            softs.append(sA("export", number))
            sA("send", number, size, 0, begun)
        sA.kill()
        *taken, seconds = sB("take_all", softs)
        assert not [one for one in taken if "refused" in one]
        assert {one["position"] for one in taken} == {begun}
        print(f"{count} connections taken over in {seconds:.2f} s")
        assert seconds < 5
        for one in taken[:: count // 20]:
            sB("send", one["number"], size, one["position"], 1000)
