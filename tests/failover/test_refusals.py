"""What is not taken over, and what does not matter: it is refused with a reason, and the client gets what it would have
got without any of this, or a clean reset."""

from __future__ import annotations

import time

from migrate.failover import takeover
from migrate.failover.group import Group
from migrate.failover.http import Http
from migrate.failover.messages import Told
from migrate.failover.state import SoftState
from scenarios.programs import Download
from tests.failover.house import (
    BEGUN,
    GROUP_PORT,
    KEY,
    OUT,
    PATIENCE_SECONDS,
    PORT,
    SLOW,
    Reader,
    address,
    house,
    until,
)
from tests.failover.test_requests import answer, sha
from tests.failover.test_wedge import furnished
from tests.topologies.inside import in_sandbox


@in_sandbox
def test_what_differs_is_never_mixed() -> None:
    """Another object, none at all, one without a validator, a chunked answer: sB refuses and says why; sA, which was
    alive all the time, serves its client to the end."""
    reasons = {
        "other": 'its validator is "3b9aca01-493e0" here and "3b9aca00-493e0" there',
        "longer": 'its validator is "3b9aca00-493e1" here and "3b9aca00-493e0" there',
        "missing": "this replica does not have it",
        "untagged/large": "its answer has no strong validator, or no ranges",
        "included/large": "its answer is chunked: there are no positions in it",
    }
    with house() as place:
        sums = furnished(place)
        for name in ("other", "longer", "missing"):
            sums[name] = place.file(name, 300_000, on="sA")
        place.file("other", 300_000, on="sB", seed=2, modified=1_000_000_001)
        place.file("longer", 300_001, on="sB")
        reader, refused = Reader(place.client), place.wedges["sB"]
        for count, (name, reason) in enumerate(reasons.items(), 1):
            number = reader.connect(buffer=4096)
            reader.get(number, name, "Connection: close")
            first = reader.read(number, 20_000)
            refused.knows()
            refused.pronounce("sA")
            event = refused.wait_event("refused", count)
            assert event["cause"] == reason
            stream = first + reader.read(number)
            if name.startswith("included"):
                assert stream.endswith(b"\r\n0\r\n\r\n")
                assert len(stream) > 300_000
            else:
                assert sha(stream.partition(b"\r\n\r\n")[2]) == sums[name]
            reader("end", number)
            until(lambda: refused.ask(do="status")["known of others"] == 0, "it is over")
        assert not refused.events("taken-over")


@in_sandbox
def test_a_backend_that_is_down() -> None:
    """sB's: sB refuses.  sA's: another member goes on; where there is none, the client is reset."""
    with house("sA sB", client_migrated=False) as place:
        place.daemon("client", "--msl", "1")
        wanted = place.file("large", 5_000_000)
        for server in place.servers:
            place.serve(server)
            place.wedge(server)
        reader = Reader(place.client)
        number = reader.connect(buffer=4096)
        reader.get(number, "large")
        first = reader.read(number, 30_000)
        place.wedges["sB"].knows()
        place.nginx["sB"].stop()
        place.wedges["sB"].pronounce("sA")
        event = place.wedges["sB"].wait_event("refused")
        assert event["cause"].startswith("the backend cannot be reached")
        assert sha(answer(reader, number, first)[1]) == wanted
        place.serve("sB")
        # Now sA's, in the middle of an answer, and before one.
        reader.get(number, "large")
        first = reader.read(number, 30_000)
        place.nginx["sA"].stop()
        assert sha(answer(reader, number, first)[1]) == wanted
        assert "its backend is asked again, from byte" in place.wedges["sA"].last_words()
        place.wedges["sB"].wait_event("taken-over")
        other = reader.connect()
        reader.get(other, "large")
        assert sha(answer(reader, other)[1]) == wanted
        place.wedges["sB"].wait_event("taken-over", 2)
        place.nginx["sB"].stop()
        place.wedges["sB"].kill()
        third = reader.connect()
        reader.get(third, "large")
        assert reader("read", third, 1).startswith("ConnectionResetError")
        assert "the backend cannot be reached" in place.wedges["sA"].last_words()


@in_sandbox
def test_what_is_not_http() -> None:
    """The client and nginx speak with each other as if there were no wedge."""
    with house() as place:
        furnished(place)
        reader = Reader(place.client)
        for said in (
            b"HELLO\r\n\r\n",
            b"\x16\x03\x01\x02\x00" * 9,
            b"POST /small HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc",
            b"GET /small\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nbad\r\n\r\n",
        ):
            streams = []
            for port in (PORT, 8081):
                number = int(reader("connect", address("sA"), port))
                reader("send", number, said.hex())
                if said.startswith(b"\x16"):
                    reader("send", number, b"\r\n\r\n".hex())
                lines = reader.read(number).split(b"\r\n")
                streams.append([line for line in lines if not line.startswith(b"Date: ")])
            assert streams[0] == streams[1], said
            assert streams[0][0], "nginx has said something"


@in_sandbox
def test_another_group_key() -> None:
    """Who has another key learns nothing, and is not listened to; the log says so in one line."""
    with house("sA sB sC", rate_bps=SLOW) as place:
        wanted = place.file("object", 2_000_000)
        for server in place.servers:
            place.serve(server)
            place.wedge(server, key=KEY if server != "sC" else "another key than the group's")
        download = place.curl("object", OUT / "got")
        download.wait_for(BEGUN, PATIENCE_SECONDS)
        place.wedges["sB"].knows()
        stranger = place.wedges["sC"]
        assert stranger.ask(do="status")["known of others"] == 0
        stranger.pronounce("sA")
        until(lambda: place.wedges["sB"].ask(do="status")["group"].get("refused", 0) > 1, "sB refuses")
        sentence = f"refused a datagram from {address('sC')}: it is not sealed with this group's key"
        assert place.wedges["sB"].last_words().count(sentence) == 1
        assert not place.wedges["sB"].events("pronounced")
        place.finish(download, wanted)


@in_sandbox
def test_soft_state_of_an_unknown_connection() -> None:
    """A member tells of a connection that its client does not have: the client's host refuses, the member drops it."""
    with house("sA sB") as place:
        furnished(place)
        with place.servers["sA"].entered():
            group = Group(KEY.encode(), "sA", None, [(address("sB"), GROUP_PORT)], print)
        request = b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n"
        secrets = takeover.Secrets(1, 2, bytes(25), 0, 0, "00112233")
        options = takeover.Options(1460, 7, 7, True)
        state = SoftState((address("client"), 40_000), secrets, options, Http.number, 1, 0, request, 0)
        group.say(Told(state))
        taker = place.wedges["sB"]
        taker.knows()
        taker.pronounce("sA")
        reason = "the client knows of no such connection"  # or, for a moment, nothing at all
        until(lambda: any(reason in event["cause"] for event in taker.events("not-taken")), "it is refused")
        assert taker.ask(do="status")["known of others"] == 0


@in_sandbox
def test_the_only_other_replica_is_down() -> None:
    """Nobody goes on: after 2MSL the client sees a reset, and not the end of its stream."""
    with house(rate_bps=SLOW, client_migrated=False) as place:
        place.daemon("client", "--msl", "1")
        place.file("object", 2_000_000)
        for server in place.servers:
            place.serve(server)
            place.wedge(server)
        download: Download = place.curl("object", OUT / "got")
        download.wait_for(BEGUN, PATIENCE_SECONDS)
        place.wedges["sB"].kill()
        began = time.monotonic()
        place.wedges["sA"].kill()
        assert download.finish(PATIENCE_SECONDS) == 56, "curl: failure in receiving network data"
        assert time.monotonic() - began > 1.5
