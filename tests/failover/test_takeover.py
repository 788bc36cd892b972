"""A download outlives its server: an unmodified curl, and replicas that serve the same stream (slides 24 to 26, 30)."""

from __future__ import annotations

import os
import signal

from migrate.core import FIN, RST
from tests.failover import stage as stages
from tests.failover.stage import BEGUN, OUT, PATIENCE_SECONDS, SLOW, address, clear, stage
from tests.failover.stories import (
    SIZE,
    assert_whole,
    back_and_forth,
    go_on,
    held_up,
    slide_30,
    started_again,
    take_over,
)
from tests.linux.lab import VERSIONS, until
from tests.linux.odd import orders_file
from tests.linux.wire import captured
from tests.topologies.inside import in_sandbox


@in_sandbox
def test_slide_30() -> None:
    for version in VERSIONS:
        with stage(version, rate_bps=SLOW) as place:
            slide_30(place, version)
        clear()


@in_sandbox
def test_back_and_forth() -> None:
    for version in VERSIONS:
        with stage(version, rate_bps=SLOW) as place:
            back_and_forth(place, version)
        clear()


@in_sandbox
def test_exactly_one_of_two_replicas_wins() -> None:
    with stage(4, stages.SERVERS, rate_bps=SLOW) as place:
        wins, turns = {"sB": 0, "sC": 0}, 6
        for turn in range(turns):
            place.rate(SLOW)
            target = OUT / f"got{turn}"
            download, number, soft = place.accepted(4, target)
            place.replicas["sA"]("stream", number, SIZE, 0)
            download.wait_for(BEGUN, PATIENCE_SECONDS)
            for server in ("sB", "sC")[:: 1 if turn % 2 else -1]:
                place.replicas[server].start("take_over", soft, 1)
            answers = {server: place.replicas[server].answer() for server in ("sB", "sC")}
            winners = [server for server, answer in answers.items() if "refused" not in answer]
            if not winners and all(answer["unanswered"] for answer in answers.values()):
                download.give_up()  # the client's daemon was not there within the second that they wait
                place.replicas["sA"]("drop", number)
                continue
            (winner,) = winners
            (loser,) = wins.keys() - {winner}
            assert answers[loser]["unanswered"]
            wins[winner] += 1
            go_on(place, winner, answers[winner])
            place.finish(download)
            assert_whole(target)
            place.replicas["sA"]("drop", number)
            assert place.daemons[loser].events("not-adopted")
            left = [row["connection"] for row in place.daemons[loser].migratable()]
            assert soft["secrets"]["name"] not in left
        print("wins:", wins)
        assert sum(wins.values()) >= turns / 2


@in_sandbox
def test_who_is_refused() -> None:
    """A number that was used, another connection's secrets, and a request that makes no sense: the download goes on as
    if nothing had been, and nothing is left of the attempt."""
    with stage(4, stages.SERVERS, rate_bps=SLOW) as place:
        target, sC = OUT / "got", place.replicas["sC"]
        download, number, soft = place.accepted(4, target)
        place.replicas["sA"]("stream", number, SIZE, 0)
        download.wait_for(BEGUN, PATIENCE_SECONDS)
        taken = take_over(place, "sB", soft)
        place.replicas["sA"]("drop", number)
        before = sC("descriptors")
        said = {"refused": "", "unanswered": True, "gone": False}
        assert sC("take_over", soft, 1) | {"refused": ""} == said, "request 1 was sB's"
        wrong = soft | {"secrets": soft["secrets"] | {"k": "00" * 25}}
        answer = sC("take_over", wrong)
        assert "knows of no such connection" in answer["refused"]
        assert answer["gone"]
        assert not answer["unanswered"]
        assert "25 bytes" in sC("take_over", soft | {"secrets": soft["secrets"] | {"k": "00"}})["refused"]
        assert "segment size" in sC("take_over", soft | {"options": soft["options"] | {"mss": 0}})["refused"]
        place.servers["sC"].ip("route", "del", "default")
        answer = sC("take_over", soft | {"client": ["192.0.2.1", 9]})
        assert "no route" in answer["refused"]
        assert not answer["gone"], "this host's own trouble says nothing of the client"
        place.servers["sC"].default_route(address(4, 3, 1), "sC-eth0")
        sC("attempt", 1, taken["soft"] | {"client": [address(4, 3, 77), 9]}, 5)
        place.daemons["sC"].wait_event("migrating", 3)
        assert sC("give_up", 1) == "cancelled"
        until(lambda: len(place.daemons["sC"].events("not-adopted")) == 3, "all attempts are over")
        assert sC("descriptors") == before
        assert place.daemons["sC"].connections() == []
        again = place.replicas["sB"]("take_over", taken["soft"])
        assert "drop that one first" in again["refused"]
        assert not again["gone"]
        go_on(place, "sB", taken)
        place.finish(download)
        assert_whole(target)
        until(lambda: not place.daemons["sB"].migratable(), "a connection that was taken over ends as any other")


@in_sandbox
def test_a_larger_number_after_one_that_was_used_up() -> None:
    """sB has won and died before it told anybody; sC, which hears of no winner, asks with the next number."""
    with stage(4, stages.SERVERS, rate_bps=SLOW) as place:
        target = OUT / "got"
        download, number, soft = place.accepted(4, target)
        place.replicas["sA"]("stream", number, SIZE, 0)
        download.wait_for(BEGUN, PATIENCE_SECONDS)
        take_over(place, "sB", soft)
        place.replicas["sB"].kill()
        assert place.replicas["sC"]("take_over", soft, 1)["unanswered"]
        go_on(place, "sC", take_over(place, "sC", soft, tries=3, count=1))
        place.finish(download)
        assert_whole(target)


@in_sandbox
def test_a_replica_that_is_killed_as_it_wins() -> None:
    """Its migrated has the client's answer, and has not looked yet: it connects the socket, and is the last that has
    it.  The client may not take that for the end of the stream."""
    for version in VERSIONS:
        with stage(version, stages.SERVERS, rate_bps=SLOW) as place:
            target, worker, answerer = OUT / "got", place.daemons["sB"].worker, place.daemons["client"].worker
            with captured(place.client, "sB") as seen:
                download, number, soft = place.accepted(version, target)
                place.replicas["sA"]("stream", number, SIZE, 0)
                download.wait_for(BEGUN, PATIENCE_SECONDS)
                os.kill(answerer, signal.SIGSTOP)
                place.replicas["sB"]("attempt", 1, soft)
                place.daemons["sB"].wait_event("migrating")
                os.kill(worker, signal.SIGSTOP)
                os.kill(answerer, signal.SIGCONT)
                place.daemons["client"].wait_event("answered")
                assert not place.daemons["sB"].events("migrated"), "this shows nothing"
                place.replicas["sB"].kill()
                os.kill(worker, signal.SIGCONT)
                until(lambda: not place.daemons["sB"].migratable(), "it is over")
                place.replicas["sA"]("drop", number)
                go_on(place, "sC", take_over(place, "sC", soft, tries=3, count=1))
                place.finish(download)
            assert_whole(target)
            said = [one.segment for one in seen if str(one.segment.src) == address(version, 2, 2)]
            assert not [one for one in said if one.flags & FIN]
        clear()


@in_sandbox
def test_a_server_that_is_killed() -> None:
    """kill -9, in the middle of the stream: its kernel resets, and the client waits."""
    for version in VERSIONS:
        with stage(version, rate_bps=SLOW) as place:
            target, sA = OUT / "got", place.replicas["sA"]
            with captured(place.client, "sA") as seen:
                download, number, soft = place.accepted(version, target)
                sA("stream", number, SIZE, 0)
                download.wait_for(BEGUN, PATIENCE_SECONDS)
                sA.kill()
                place.daemons["client"].wait_event("waiting")
                go_on(place, "sB", take_over(place, "sB", soft))
                place.finish(download)
            assert_whole(target)
            said = [one.segment for one in seen if str(one.segment.src) == address(version, 1, 2)]
            assert not [one for one in said if one.flags & FIN]
            assert [one for one in said if one.flags & RST]
        clear()


@in_sandbox
def test_a_daemon_started_again_knows_the_connections_that_were_taken_over() -> None:
    for version in VERSIONS:
        with stage(version, rate_bps=SLOW) as place:
            started_again(place, version)
        clear()


@in_sandbox
def test_what_comes_before_the_old_pair_is_silent_is_not_sent_twice() -> None:
    with stage(4, rate_bps=SLOW, module="tests.linux.odd") as place:
        held_up(place, 4)


@in_sandbox
def test_a_daemon_that_is_killed_while_it_takes_over() -> None:
    """At the replica, wherever in its work: the replica is told, and asks the next daemon with a larger number."""
    points = ("said its first", "entered", "bound", "repair mode left", "before the first word", "rebound")
    with stage(4, rate_bps=SLOW, module="tests.linux.odd") as place:
        for turn, point in enumerate(points):
            place.rate(SLOW)
            target, daemon = OUT / f"got{turn}", place.daemons["sB"]
            download, number, soft = place.accepted(4, target)
            place.replicas["sA"]("stream", number, SIZE, 0)
            download.wait_for(BEGUN, PATIENCE_SECONDS)
            orders_file("sB").write_text(f"die {point}")
            answer = place.replicas["sB"]("take_over", soft)
            said = {"refused": "migrated has ended before it answered", "unanswered": True, "gone": False}
            assert answer == said, point
            for count in range(1, 5):  # a connection to the old one may be among those that died with it
                taken = place.replicas["sB"]("take_over", soft, 3, count)
                if taken != answer:
                    break
            daemon.wait_ready()
            assert not orders_file("sB").exists()
            assert len(daemon.migratable()) == 1, point
            go_on(place, "sB", taken)
            place.finish(download)
            assert_whole(target)
            place.replicas["sA"]("drop", number)
            until(lambda: not place.daemons["sB"].migratable(), "it ends as any other")


@in_sandbox
def test_a_client_that_has_heard_the_dead_servers_reset() -> None:
    """MIGRATE_WAIT: the host of the killed server knows nothing of the connection any more, and says so."""
    for version in VERSIONS:
        with stage(version) as place:
            client, sA = stages.Talker(place.client), place.replicas["sA"]
            client("connect", address(version, 1, 2), stages.PORT)
            assert sA("accept") == 0
            client("send", 0, 100)
            soft = sA("export", 0)
            sA("send", 0, SIZE, 0, 10)
            sA.kill()  # its kernel resets, and forgets the connection
            client("send", 0, 100)
            place.daemons["client"].wait_event("waiting")
            taken = take_over(place, "sB", soft)
            assert (taken["position"], taken["received"]) == (10, 100)
            assert len(bytes.fromhex(place.replicas["sB"]("read", taken["number"]))) == 100, "it is sent again"
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
