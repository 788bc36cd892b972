"""Who takes over: races, members that decline, deaths that the monitor sees, servers frozen and cut off, an orderly
end."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from functools import partial

from scenarios.programs import Download
from tests.failover.house import (
    BEGUN,
    FAST,
    GROUP_PORT,
    KEY,
    OUT,
    PATIENCE_SECONDS,
    PORT,
    SLOW,
    House,
    Reader,
    Wedge,
    address,
    house,
    until,
)
from tests.topologies.inside import ROOT, in_sandbox

SIZE = 3_000_000


def knows_members(wedge: Wedge, count: int) -> bool:
    return len(wedge.ask(do="status")["members"]) == count


def downloading(place: House, *options: str, on: str = "sA sB sC") -> tuple[Download, str]:
    """A download from sA under way that every other member knows of; and what it is to become."""
    wanted = place.file("object", SIZE)
    for server in on.split():
        place.serve(server)
        place.wedge(server, *options)
    others = len(on.split()) - 1
    for wedge in place.wedges.values():
        until(partial(knows_members, wedge, others), "they know each other")
    download = place.curl("object", OUT / "got")
    download.wait_for(BEGUN, PATIENCE_SECONDS)
    for server in on.split()[1:]:
        place.wedges[server].knows()
    return download, wanted


@in_sandbox
def test_two_replicas_race() -> None:
    """Both go at once: one wins, the other is not answered and hears of the winner; no byte is wrong."""
    with house("sA sB sC", rate_bps=SLOW) as place:
        download, wanted = downloading(
            place, "--step", "0", "--tries", "3"
        )  # the loser waits until it hears of the winner
        place.wedges["sA"].kill()
        assert place.wedges["sB"].pronounce("sA") == 1
        until(lambda: place.wedges["sB"].events("taken-over") + place.wedges["sC"].events("taken-over"), "one wins")
        place.finish(download, wanted)
        won = [len(place.wedges[server].events("taken-over")) for server in ("sB", "sC")]
        began = [len(place.wedges[server].events("pronounced")) for server in ("sB", "sC")]
        assert sorted(won) == [0, 1]
        assert began == [1, 1]
        loser = place.wedges["sB" if won[1] else "sC"]
        assert loser.events("lost") or loser.events("not-taken"), loser.events()


@in_sandbox
def test_a_busy_member_declines() -> None:
    """sB takes no more: sC does, whoever of the two is first for this connection."""
    with house("sA sB sC", rate_bps=SLOW) as place:
        wanted = place.file("object", SIZE)
        for server in place.servers:
            place.serve(server)
            place.wedge(server, "--step", "5", *(["--most", "0"] if server == "sB" else []))
        until(lambda: place.wedges["sC"].ask(do="status")["members"].get("sB", {}).get("declines"), "sC knows")
        download = place.curl("object", OUT / "got")
        download.wait_for(BEGUN, PATIENCE_SECONDS)
        for server in ("sB", "sC"):
            place.wedges[server].knows()
        place.wedges["sA"].kill()
        place.wedges["sB"].pronounce("sA")
        place.wedges["sC"].wait_event("taken-over")
        assert "too busy" in place.wedges["sB"].events("declined")[0]["cause"]
        assert not place.wedges["sB"].events("taken-over")
        place.finish(download, wanted)


@in_sandbox
def test_who_declines_from_now_on_says_so_at_once() -> None:
    """The others would else wait for its turn until it says how it is, which it does every minute here."""

    def declines() -> bool:
        return bool(place.wedges["sC"].ask(do="status")["members"].get("sB", {}).get("declines"))

    with house("sB sC") as place:
        for server in ("sC", "sB"):
            place.serve(server)
            place.wedge(server, "--refresh", "60", "--most", "1")
        until(lambda: "sB" in place.wedges["sC"].ask(do="status")["members"], "sC knows sB")
        assert not declines()
        with place.client.entered(), socket.create_connection((address("sB"), PORT)):
            until(declines, "sB has as many as it may", 10.0)
        until(lambda: not declines(), "it has none any more", 10.0)


@in_sandbox
def test_the_monitor_sees_a_frozen_server() -> None:
    """sA's wedge is stopped: the monitor pronounces it dead, sB goes on.  Thawed, sA hears that and is silent."""
    with house(rate_bps=SLOW, monitor=True) as place:
        download, wanted = downloading(place, on="sA sB")
        (OUT / "mon.key").write_text(KEY)
        words = [sys.executable, "-m", "migrate.failover.monitor", "--group-key", str(OUT / "mon.key")]
        words += ["--interval", "0.2", "--timeout", "0.4", "--failures", "2", "--events", str(OUT / "mon.jsonl")]
        for server in place.servers:
            words += ["--server", f"{server}=http://{address(server)}:{PORT}/object"]
            words += ["--member", f"{address(server)}:{GROUP_PORT}"]
        os.kill(place.wedges["sA"].process.pid, signal.SIGSTOP)
        with (OUT / "mon.log").open("w") as log:
            host = place.network.nodes["mon"]
            host.spawn(words, stdout=subprocess.PIPE, stderr=log, cwd=ROOT, env=os.environ)
        place.wedges["sB"].wait_event("taken-over")
        assert "monitor pronounces sA dead" in place.wedges["sB"].events("pronounced")[0]["cause"]
        assert "sA is dead: no answer within 0.4 s" in (OUT / "mon.log").read_text()
        until(lambda: last_verdict("sB") in ("", "alive"), "sB is not called dead, or for a moment only")
        assert last_verdict("sA") == "dead"
        os.kill(place.wedges["sA"].process.pid, signal.SIGCONT)
        place.wedges["sA"].wait_event("taken-by-another")
        until(lambda: last_verdict("sA") == "alive", "the monitor sees it")
        place.finish(download, wanted)


def last_verdict(server: str) -> str:
    """What the monitor has called a server last, if anything."""
    said: list[str] = re.findall(rf"^monitor: {server} is (\w+)", (OUT / "mon.log").read_text(), re.MULTILINE)
    return said[-1] if said else ""


@in_sandbox
def test_a_server_cut_off_from_the_network() -> None:
    """The link to sA is down; sB goes on.  Back again, sA hears so, and the client's stream is not disturbed."""
    with house(rate_bps=SLOW) as place:
        download, wanted = downloading(place, on="sA sB")
        place.cut("sA")
        place.wedges["sB"].pronounce("sA")
        place.wedges["sB"].wait_event("taken-over")
        download.wait_for(2 * BEGUN, PATIENCE_SECONDS)
        back(place)
        place.wedges["sA"].wait_event("taken-by-another")
        place.finish(download, wanted)


def back(place: House) -> None:
    """sA's link is up again."""
    place.cut("sA", "up")
    mac = place.servers["sA"].mac("sA-eth0")
    place.network.nodes["router"].neighbour("router-sA", address("sA"), mac)


@in_sandbox
def test_a_server_that_is_back_when_all_is_over() -> None:
    """sA has heard neither that sB has taken the connection over nor that it has ended there, and speaks of it as if it
    had it."""
    with house(rate_bps=SLOW) as place:
        download, wanted = downloading(place, on="sA sB")
        place.cut("sA")
        place.wedges["sB"].pronounce("sA")
        place.wedges["sB"].wait_event("taken-over")
        place.finish(download, wanted)
        until(lambda: place.wedges["sB"].ask(do="status")["connections"] == 0, "it has ended at sB")
        back(place)
        place.wedges["sA"].wait_event("taken-by-another")


@in_sandbox
def test_a_server_that_is_back_when_nobody_is_left_to_tell() -> None:
    """As before, and sB has been killed meanwhile: only the client's host can say that sA has nothing any more."""
    with house() as place:
        size = 10_000
        wanted = place.file("object", size)
        for server in place.servers:
            place.daemons[server].kill()
            place.daemon(server, "--msl", "0.5")
            place.serve(server)
            place.wedge(server, wrong="asks_soon")
        reader = Reader(place.client)
        request = b"GET /object HTTP/1.1\r\nHost: replicas\r\n\r\n"
        reader("many", address("sA"), PORT, 1, request.hex(), 2_000)
        assert reader("rests", size) == {wanted: 1}
        place.wedges["sB"].knows()
        place.cut("sA")
        place.wedges["sB"].pronounce("sA")
        place.wedges["sB"].wait_event("taken-over")
        reader("end", 0)
        until(lambda: place.wedges["sB"].ask(do="status")["connections"] == 0, "it has ended at sB")
        place.wedges["sB"].kill()
        back(place)
        until(lambda: place.wedges["sA"].ask(do="status")["connections"] == 0, "it has ended at sA")
        assert not place.wedges["sA"].events("taken-by-another"), "this shows nothing"


@in_sandbox
def test_an_orderly_end() -> None:
    """SIGTERM: the group is offered what is under way, and the wedge ends when it has been taken."""
    with house(rate_bps=SLOW) as place:
        download, wanted = downloading(place, on="sA sB")
        place.wedges["sA"].process.terminate()
        place.wedges["sB"].wait_event("taken-over")
        assert place.wedges["sA"].process.wait(PATIENCE_SECONDS) == 0
        place.finish(download, wanted)


@in_sandbox
def test_a_server_about_to_end_takes_nothing() -> None:
    """sB is asked to end while nobody can go on with its own client; then sA's death is no business of its."""
    with house(rate_bps=SLOW) as place:
        download, _ = downloading(place, on="sA sB")
        own = place.curl("object", OUT / "own", server="sB")
        own.wait_for(BEGUN, PATIENCE_SECONDS)
        place.wedges["sA"].kill()
        place.wedges["sB"].process.terminate()
        until(lambda: not place.servers["sB"].run(["ss", "-Htln", "sport", "=", f":{PORT}"]).stdout, "no new clients")
        place.wedges["sB"].pronounce("sA")
        assert "about to end" in place.wedges["sB"].wait_event("declined")["cause"]
        assert not place.wedges["sB"].events("pronounced")
        place.rate(FAST)
        assert place.wedges["sB"].process.wait(PATIENCE_SECONDS) == 0
        for one in (download, own):
            one.give_up()


def spoken_to(wedge: Wedge, server: str) -> None:
    """That server is called dead to this member, once it has heard that the connection is there."""
    until(lambda: wedge.ask(do="dead", server=server, here=True)["connections"] > 0, f"it is known to be {server}'s")


@in_sandbox
def test_back_and_forth() -> None:
    """Between sA, sB and sC, six times in one download."""
    with house("sA sB sC", rate_bps=SLOW) as place:
        download, wanted = downloading(place)
        here = "sA"
        for turn in range(6):
            download.wait_for((turn + 1) * BEGUN, PATIENCE_SECONDS)
            there = {"sA": "sB", "sB": "sC", "sC": "sA"}[here]
            count = len(place.wedges[there].events("taken-over"))
            # Only this member hears of it: a person spoke to it alone.
            spoken_to(place.wedges[there], here)
            place.wedges[there].wait_event("taken-over", count + 1)
            here = there
        assert download.received < SIZE
        place.finish(download, wanted)


@in_sandbox
def test_a_server_that_starts_anew() -> None:
    """sA's wedge is killed and started again before anybody has called it dead: its old connections are not with it."""
    with house(rate_bps=SLOW) as place:
        download, wanted = downloading(place, on="sA sB")
        place.wedges["sA"].kill()
        place.wedge("sA")
        place.wedges["sB"].wait_event("taken-over")
        assert place.wedges["sB"].events("pronounced")[0]["cause"].startswith("sA has started anew")
        place.finish(download, wanted)


@in_sandbox
def test_a_client_that_moves() -> None:
    """The client changes its address, then its server dies: soft state knows where it is now, and the counts."""
    with house(rate_bps=SLOW) as place:
        download, wanted = downloading(place, on="sA sB")
        for here, there in ((2, 12), (12, 13)):
            gateway = address("client", end=1)
            place.client.ip_batch(
                4,
                [
                    f"address del {address('client', end=here)}/24 dev client-eth0",
                    f"address add {address('client', end=there)}/24 dev client-eth0",
                    f"route replace default via {gateway}",
                ],
            )
            place.daemons["sA"].wait_event("migrated", 1 if there == 12 else 2)
        until(lambda: place.wedges["sB"].events("heard")[-1]["client"] == address("client", end=13), "sB hears so")
        place.wedges["sA"].kill()
        place.wedges["sB"].pronounce("sA")
        place.wedges["sB"].wait_event("taken-over")
        assert download.received < SIZE
        place.finish(download, wanted)
