"""Takers and clients, live: a number that is used up, a client that is gone, members that all decline, plain TCP."""

from __future__ import annotations

import socket
from functools import partial

from migrate.core import MIGRATE_KIND, SYN
from migrate.core.options import Migrate, find
from tests.failover.house import BEGUN, OUT, PATIENCE_SECONDS, PORT, SLOW, House, Reader, Wedge, address, house, until
from tests.failover.test_choice_live import knows_members
from tests.linux.wire import Seen, captured
from tests.topologies.inside import in_sandbox

SIZE = 2_000_000


def _knows_nothing(wedge: Wedge) -> bool:
    return not wedge.ask(do="status")["known of others"]


def _declines(wedge: Wedge, other: str) -> bool:
    return bool(wedge.ask(do="status")["members"][other]["declines"])


def begun(place: House, *, wrong: str = "", **options: tuple[str, ...]) -> None:
    """Wedges that know each other, and nothing of what was before, with the options under their names; sC's has that
    mistake."""
    for server in place.servers:
        for left in ("jsonl", "log"):
            (OUT / f"{server}-wedge.{left}").unlink(missing_ok=True)
        place.wedge(server, *options.get(server, ()), wrong=wrong if server == "sC" else "")
    for wedge in place.wedges.values():
        until(partial(knows_members, wedge, 2), "they know each other")


def ended(place: House) -> None:
    for wedge in place.wedges.values():
        wedge.kill()


def requests(place: House, server: str) -> list[str]:
    """What its migrated asked with."""
    return [event["cause"] for event in place.daemons[server].events("migrating")]


def migrate_syns(seen: list[Seen], server: str) -> list[int]:
    """The request numbers of its Migrate SYNs, in order."""
    options = [
        find(one.segment.options, MIGRATE_KIND)
        for one in seen
        if one.segment.flags == SYN and str(one.segment.src) == address(server)
    ]
    return [Migrate.decode(option).reqno for option in options if option]


def a_used_up_number(place: House, wanted: str) -> None:
    """sC wins with request 1 and dies; nobody hears of that.  sB is not answered, and asks with request 2 a second
    later, by its second Migrate SYN: not three seconds later, by its third."""
    begun(place, wrong="dies_as_it_wins", sC=("--tries", "3"))
    place.rate(SLOW)
    download = place.curl("object", OUT / "got")
    download.wait_for(BEGUN, PATIENCE_SECONDS)
    for server in ("sB", "sC"):
        place.wedges[server].knows()
    with captured(place.servers["sB"]) as seen:
        place.wedges["sA"].kill()
        place.wedges["sC"].ask(do="dead", server="sA", here=True)
        assert place.wedges["sC"].process.wait(PATIENCE_SECONDS) == -9
        place.wedges["sB"].ask(do="dead", server="sA", here=True)
        place.wedges["sB"].wait_event("taken-over")
    assert list(dict.fromkeys(migrate_syns(seen, "sB")))[:2] == [1, 2], "each perhaps more than once"
    assert [cause.split(" from")[0] for cause in requests(place, "sC")] == ["request 1"]
    assert [cause.split(" from")[0] for cause in requests(place, "sB")] == ["request 1", "request 2"]
    place.finish(download, wanted)
    ended(place)


def a_client_that_is_gone(place: House) -> None:
    """Its program has died with data unread: its host answers RST, to one replica, and no other asks."""
    # Whoever is second has time enough to hear of the answer, and the answer to come.
    begun(place, sB=("--step", "5", "--tries", "3"), sC=("--step", "5", "--tries", "3"))
    before = {server: len(requests(place, server)) for server in ("sB", "sC")}
    reader = Reader(place.client)
    number = reader.connect(buffer=4096)
    reader.get(number, "object")
    reader.read(number, 100)
    for server in before:
        place.wedges[server].knows()
    place.wedges["sA"].kill()
    reader.process.kill()
    until(lambda: not place.client.run(["ss", "-Htn"]).stdout, "its socket is gone")
    place.wedges["sB"].pronounce("sA")
    for server in before:
        until(partial(_knows_nothing, place.wedges[server]), "it is dropped")
    asked = [cause for server, count in before.items() for cause in requests(place, server)[count:]]
    assert len(asked) == 1, asked
    said = [event["cause"] for server in before for event in place.wedges[server].events("not-taken")]
    assert len(said) == 1
    assert "the client knows of no such connection" in said[0]
    (lost,) = [event["cause"] for server in before for event in place.wedges[server].events("lost")]
    assert lost.endswith("was refused: its client is gone")
    ended(place)


def all_decline(place: House, wanted: str) -> None:
    """Neither takes more, but one does, after the other's turn and its own have passed."""
    begun(place, sB=("--most", "0", "--tries", "3"), sC=("--most", "0", "--tries", "3"))
    place.rate(SLOW)
    download = place.curl("object", OUT / "got")
    download.wait_for(BEGUN, PATIENCE_SECONDS)
    for server, other in (("sB", "sC"), ("sC", "sB")):
        place.wedges[server].knows()
        until(partial(_declines, place.wedges[server], other), "it is known to decline")
    place.wedges["sA"].kill()
    place.wedges["sB"].pronounce("sA")
    takers = [place.wedges[server] for server in ("sB", "sC")]
    until(lambda: any(wedge.events("taken-over") for wedge in takers), "one takes it")
    assert all("too busy" in wedge.wait_event("declined")["cause"] for wedge in takers)
    assert not any(wedge.events("pronounced") for wedge in takers)
    (taken,) = [event for wedge in takers for event in wedge.events("taken-over")]
    assert taken["time"] - min(wedge.events("declined")[0]["time"] for wedge in takers) > 0.4
    place.finish(download, wanted)
    ended(place)


def plain_tcp(place: House) -> None:
    """A host without migrated: whoever only tries the port is not spoken of; its requests are, once."""
    begun(place)
    monitor, log = place.network.nodes["mon"], place.wedges["sA"]
    with monitor.entered():
        for _ in range(5):
            socket.create_connection((address("sA"), PORT), PATIENCE_SECONDS).close()
    until(lambda: log.ask(do="status")["connections"] == 0, "they are over")
    assert not log.events("note"), log.last_words()
    for _ in range(3):
        monitor.run(["curl", "--silent", "--fail", "--head", f"http://{address('sA')}:{PORT}/object"])
    until(lambda: log.ask(do="status")["connections"] == 0, "they are over")
    (note,) = log.events("note")
    assert "cannot be taken over by others, nor can others from there: no migratable connection" in note["cause"]
    assert log.last_words().count("\n") == 1
    ended(place)


@in_sandbox
def test_asking() -> None:
    with house("sA sB sC", rate_bps=SLOW, monitor=True) as place:
        wanted = place.file("object", SIZE)
        for server in place.servers:
            place.serve(server)
        a_used_up_number(place, wanted)
        plain_tcp(place)
        a_client_that_is_gone(place)
        all_decline(place, wanted)
