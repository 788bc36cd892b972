"""What happens to a download that is taken over, and what must be seen of it; told to the hosts of a `stage`.

The assertions are the tests': test_takeover.py has daemons that do it right, test_takeover_faults.py others."""

from __future__ import annotations

import os
import signal
import statistics
from pathlib import Path
from typing import Any

from migrate.core import ACK, MIGRATE_KIND, RST, SYN, Segment, timestamp
from migrate.core.options import Migrate, find, split
from tests.failover.replica import content, length
from tests.failover.stage import BEGUN, OUT, Stage, address
from tests.linux.kernel_state import assert_untouched
from tests.linux.lab import until
from tests.linux.odd import orders_file
from tests.linux.wire import Seen, captured

SIZE = 3_000_000
MSS = {4: 1460, 6: 1440}
MORE = 60_000
"""Four times what a new server sends before it hears of it: from so far behind it never gets to where the client is."""


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


def slide_30(place: Stage, version: int) -> None:
    """sA is alive: it was pronounced dead by mistake, and goes on until it is told."""
    sA, target = place.replicas["sA"], OUT / "got"
    with captured(place.client, "sA") as old, captured(place.client, "sB") as new:
        download, number, soft = place.accepted(version, target)
        sA("stream", number, SIZE, 0)
        download.wait_for(BEGUN, place.patience)
        taken = take_over(place, "sB", soft)
        go_on(place, "sB", taken)
        place.finish(download)
        place.daemons["sA"].wait_event("waiting", patience=place.patience)
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


def back_and_forth(place: Stage, version: int) -> None:
    """sA, sB, sA, ... and the client moves in between: five take-overs of one download."""
    target, holders, size = OUT / "got", ("sB", "sA", "sB", "sA", "sB"), 2 * SIZE
    download, number, soft = place.accepted(version, target)
    place.replicas["sA"]("stream", number, size, 0)
    before = "sA"
    for turn, server in enumerate(holders, 1):
        download.wait_for(turn * BEGUN, place.patience)
        taken = take_over(place, server, soft)
        assert taken["soft"]["secrets"]["sent"] == turn
        place.replicas[before]("drop", number)
        go_on(place, server, taken, size)
        before, number, soft = server, taken["number"], taken["soft"]
        assert download.received < size, "it was over before: this shows nothing"
        if turn == 3:
            # Else it would set out from the address towards sA, where its socket still is.
            place.daemons["client"].wait_event("migrated", turn, place.patience)
            place.replace_client_address(version, 1, 11)
            soft |= at_address(place, server, number, address(version, 2, 1))
            assert soft["secrets"]["accepted"] == 1
    place.finish(download)
    assert_whole(target, size)
    assert len(place.daemons["client"].events("migrated")) == 6
    assert not place.daemons["client"].events("reset")


def at_address(place: Stage, server: str, number: int, where: str) -> dict[str, Any]:
    """The part of the soft state that follows a client, once the client is there."""

    def look() -> dict[str, Any]:
        said = place.replicas[server]("moved", number)
        # Asked for in the very moment of the move, it is refused: there is no connection on the old pair any more.
        return said if isinstance(said, dict) and said["client"][0] == where else {}

    try:
        return until(look, f"the client is at {where}", place.patience)
    except AssertionError as error:
        told = {name: daemon.events()[-8:] for name, daemon in place.daemons.items()}
        raise AssertionError(f"{error}: {place.replicas[server]('moved', number)}; {told}") from error


def started_again(place: Stage, version: int) -> None:
    """K stands in the pinned table, since no key pair of this host gives it."""
    target, daemon, sB = OUT / "got", place.daemons["sB"], place.replicas["sB"]
    download, number, soft = place.accepted(version, target)
    place.replicas["sA"]("stream", number, SIZE, 0)
    download.wait_for(BEGUN, place.patience)
    taken = take_over(place, "sB", soft)
    place.replicas["sA"]("drop", number)
    daemon.kill_worker()
    soft |= sB("moved", taken["number"])
    assert soft["secrets"] == taken["soft"]["secrets"]
    place.daemons["client"].wait_event("migrated", 1, place.patience)
    place.replace_client_address(version, 1, 11)
    daemon.wait_event("migrated", 2, place.patience)
    soft |= sB("moved", taken["number"])
    sB("send", taken["number"], SIZE, taken["position"], 1000)
    download.wait_for(taken["position"] + 1000 - (length(SIZE) - SIZE), place.patience)
    sB.start("drop", taken["number"])
    again = take_over(place, "sA", soft)
    assert again["position"] == taken["position"] + 1000
    assert sB.answer() == taken["number"]
    go_on(place, "sA", again)
    place.finish(download)
    assert_whole(target)


def held_up(place: Stage, version: int) -> None:
    """sA goes on while the client's daemon is held up between its look at the socket and the silence.  An answer with
    what it saw first would lead sB back to bytes that are there: it would never hear the end of them."""
    target = OUT / "got"
    download, number, soft = place.accepted(4, target)
    place.replicas["sA"]("stream", number, SIZE, 0)
    download.wait_for(BEGUN, place.patience)
    orders, worker = orders_file("client"), place.daemons["client"].worker
    orders.write_text("stop persisted")
    place.replicas["sB"].start("take_over", soft)
    until(lambda: not orders.exists(), "the client's daemon stands still", place.patience)
    before = download.received
    download.wait_for(before + MORE, place.patience)
    os.kill(worker, signal.SIGCONT)
    taken = place.replicas["sB"].answer()
    assert "refused" not in taken, taken
    go_on(place, "sB", taken)
    place.finish(download)
    assert_whole(target)
    assert taken["position"] > before + MORE
