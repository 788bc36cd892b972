"""A real curl, a real nginx behind each wedge, and servers that die: every byte arrives, once."""

from __future__ import annotations

import hashlib
import signal

from tests.failover.house import BEGUN, OUT, PATIENCE_SECONDS, SLOW, House, Reader, clear, house, until
from tests.topologies.inside import in_sandbox

SIZE = 3_000_000


@in_sandbox
def test_a_download_outlives_its_server() -> None:
    """sA's wedge is killed with -9 in the middle; sB goes on from exactly the next byte."""
    with house(rate_bps=SLOW) as place:
        wanted = place.file("object", SIZE)
        place.serve_all()
        download = place.curl("object", OUT / "got")
        download.wait_for(BEGUN, PATIENCE_SECONDS)
        place.wedges["sB"].knows()
        place.wedges["sA"].kill()
        assert place.wedges["sB"].pronounce("sA") == 1
        place.wedges["sB"].wait_event("taken-over")
        assert download.received < SIZE
        place.finish(download, wanted)


PAD = "x" * 3000
MORE = f"""location /padded/ {{ {"".join(f"add_header X-Pad-{number} {PAD}; " for number in range(8))}}}
 location /included/ {{ ssi on; ssi_types *; }}
 location /untagged/ {{ etag off; }}"""


def furnished(place: House) -> dict[str, str]:
    """Files in every folder on every replica, nginx and a wedge on each; checksums by name."""
    found = {}
    for server in place.servers:
        place.serve(server, more=MORE)
        place.wedge(server)
    for folder in ("", "padded/", "included/", "untagged/"):
        for name, size in (("small", 1_000), ("large", 300_000)):
            found[folder + name] = place.file(folder + name, size, seed=len(folder) + size)
    return found


def body(stream: bytes, wanted: str, status: int = 200) -> None:
    """The stream is one answer: one head, and the object."""
    head, _, rest = stream.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), head
    assert stream.count(b"HTTP/1.1 ") == 1
    assert hashlib.sha256(rest).hexdigest() == wanted, f"{len(rest)} bytes of body"


@in_sandbox
def test_wherever_in_the_answer_the_client_is() -> None:
    """In the head, at its end, in the body, at the very end: the wrong server is pronounced dead, another goes on."""
    for version in (4, 6):
        with house() as place:
            sums = furnished(place)
            reader = Reader(place.client)
            moves = 0
            for name in ("padded/large", "padded/small", "large", "small"):
                number = reader.connect(version=version)
                reader.get(number, name, "Connection: close")
                whole = reader.read(number)
                reader("end", number)
                body(whole, sums[name])
                head = whole.index(b"\r\n\r\n") + 4
                for position in (1, head // 3, head - 1, head, head + 1, head + 999, len(whole) - 1):
                    if name == "large" and position > head:
                        position = len(whole) // 2
                    number = reader.connect(version=version, buffer=4096)
                    # One that the client's buffer holds to its end must not have closed before it is taken over.
                    closes = position % 2 and position < len(whole) - 20_000
                    reader.get(number, name, *(["Connection: close"] if closes else []))
                    first = reader.read(number, position)
                    place.wedges["sB"].knows()
                    place.wedges["sB"].pronounce("sA")
                    moves += 1
                    place.wedges["sB"].wait_event("taken-over", moves)
                    place.wedges["sA"].wait_event("taken-by-another", moves)
                    body(first + reader.read(number, len(whole) + 5 * (not closes) - position), sums[name])
                    reader("end", number)
                    until(lambda: place.wedges["sB"].ask(do="status")["connections"] == 0, "sB has ended it")
            assert len(place.wedges["sB"].events("taken-over")) == moves
            inside = [event for event in place.wedges["sB"].events("taken-over") if 0 < event["position"] < 24_000]
            assert len(inside) >= 4, "few were taken over within their heads: this shows little"
        clear()


@in_sandbox
def test_before_the_first_request() -> None:
    """A client that has not asked yet, or whose server has died without hearing it, is known, too."""
    with house() as place:
        sums = furnished(place)
        reader = Reader(place.client)
        for version, dies in ((4, False), (6, False), (6, True)):
            number = reader.connect(version=version)
            place.wedges["sB"].knows()
            if dies:
                place.wedges["sA"].kill()
                reader.get(number, "large", "Connection: close")
            moves = len(place.wedges["sB"].events("taken-over"))
            place.wedges["sB"].pronounce("sA")
            assert place.wedges["sB"].wait_event("taken-over", moves + 1)["position"] == 0
            if not dies:
                reader.get(number, "large", "Connection: close")
            body(reader.read(number), sums["large"])
            reader("end", number)


@in_sandbox
def test_a_daemon_that_was_started_again_is_asked() -> None:
    """The wedge keeps its connection to migrated, which may be another one by the next client."""
    with house() as place:
        furnished(place)
        reader = Reader(place.client)
        for clients in (1, 2):
            reader.connect()
            place.wedges["sB"].knows(clients)
            if clients == 1:
                place.daemons["sA"].kill_worker()


@in_sandbox
def test_an_answer_that_begins_while_another_takes_over() -> None:
    """sA was called dead wrongly.  sB is still asking its nginx for the object when sA begins its answer."""
    with house() as place:
        sums = furnished(place)
        taker, reader = place.wedges["sB"], Reader(place.client)
        number = reader.connect(buffer=4096)
        for nginx in place.nginx.values():
            nginx.signal(signal.SIGSTOP)
        reader.get(number, "large", "Connection: close")
        until(lambda: taker.ask(do="status")["bytes of their requests"] > 0, "sB knows the request")
        taker.pronounce("sA")
        taker.wait_event("pronounced")
        place.nginx["sA"].signal(signal.SIGCONT)
        first = reader.read(number, 1_000)
        place.nginx["sB"].signal(signal.SIGCONT)
        assert taker.wait_event("taken-over")["position"] >= 1_000
        body(first + reader.read(number), sums["large"])
