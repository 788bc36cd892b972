"""What clients ask, and where a take-over meets them: keep-alive, pipelining, HEAD, ranges, a plain file stream."""

from __future__ import annotations

import hashlib

from tests.failover.house import OUT, PORT, House, Reader, house, until
from tests.failover.test_wedge import body, furnished
from tests.topologies.inside import in_sandbox


def swap(place: House, to: str, away: str) -> None:
    """`away` is wrongly pronounced dead; `to` has the one connection that there is when this returns."""
    taker, last = place.wedges[to], place.wedges[away]
    before, gone = len(taker.events("taken-over")), len(last.events("taken-by-another"))
    taker.knows()
    taker.pronounce(away)
    taker.wait_event("taken-over", before + 1)
    last.wait_event("taken-by-another", gone + 1)


def answer(reader: Reader, number: int, front: bytes = b"") -> tuple[bytes, bytes]:
    """Head and body of one answer on a connection that stays; `front` has been read already."""
    stream = front
    while b"\r\n\r\n" not in stream:
        stream += reader.read(number, 1)
    head, _, rest = stream.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    return head, rest + reader.read(number, int(fields[b"content-length"]) - len(rest))


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@in_sandbox
def test_one_request_after_another() -> None:
    """The same connection, between requests and within them, from sA to sB and back, five times."""
    with house() as place:
        sums = furnished(place)
        reader = Reader(place.client)
        number = reader.connect(buffer=4096)
        here, there = "sA", "sB"
        for turn in range(5):
            reader.get(number, "small")
            assert sha(answer(reader, number)[1]) == sums["small"], turn
            swap(place, there, here)  # between two requests
            reader.get(number, "large")
            first = reader.read(number, 10_000 + 30_000 * turn)
            swap(place, here, there)
            assert sha(answer(reader, number, first)[1]) == sums["large"], turn
            reader.get(number, "padded/large")
            first = reader.read(number, 1_000)
            swap(place, there, here)  # within a head
            assert sha(answer(reader, number, first)[1]) == sums["padded/large"], turn
            here, there = there, here


@in_sandbox
def test_requests_that_come_all_at_once() -> None:
    """Pipelined: the requests behind the one that is served travel in the soft state, too."""
    with house() as place:
        sums = furnished(place)
        reader = Reader(place.client)
        number = reader.connect(buffer=4096)
        names = ["large", "small", "padded/large", "small"]
        requests = b"".join(f"GET /{name} HTTP/1.1\r\nHost: replicas\r\n\r\n".encode() for name in names)
        reader("send", number, requests.hex())
        first = reader.read(number, 50_000)
        swap(place, "sB", "sA")
        assert sha(answer(reader, number, first)[1]) == sums["large"]
        assert sha(answer(reader, number)[1]) == sums["small"]
        first = reader.read(number, 40_000)
        swap(place, "sA", "sB")
        assert sha(answer(reader, number, first)[1]) == sums["padded/large"]
        assert sha(answer(reader, number)[1]) == sums["small"]


def queued(place: House) -> int:
    """Bytes that sA's kernel has for the one client."""
    said = place.servers["sA"].run(["ss", "-Htn", "state", "established", f"sport = :{PORT}"]).stdout
    return sum(int(line.split()[1]) for line in said.splitlines())


@in_sandbox
def test_who_resets_before_it_has_read_everything_is_over() -> None:
    """A plain client: with another request behind, and where the connection is to end with the answer."""
    with house(client_migrated=False) as place:
        furnished(place)
        place.file("middle", 20_000)
        reader, wedge = Reader(place.client), place.wedges["sA"]
        asks = "GET /middle HTTP/1.1\r\nHost: replicas\r\n"
        for requests in (2 * f"{asks}\r\n", f"{asks}Connection: close\r\n\r\n"):
            number = reader.connect(buffer=4096)
            reader("send", number, requests.encode().hex())
            reader.read(number, 100)
            until(lambda: queued(place) > 10_000, "the answer waits for the client")  # which has room for a third of it
            reader("end", number)
            until(lambda: not wedge.ask(do="status")["connections"], "its connection is over")


@in_sandbox
def test_a_request_in_two_parts() -> None:
    """Half of the request reaches sA, the other half sB."""
    with house() as place:
        sums = furnished(place)
        reader = Reader(place.client)
        number = reader.connect()
        request = b"GET /large HTTP/1.1\r\nHost: replicas\r\n\r\n"
        reader("send", number, request[:20].hex())
        until(lambda: place.wedges["sB"].ask(do="status")["bytes of their requests"] == 20, "sB knows of it")
        swap(place, "sB", "sA")
        reader("send", number, request[20:].hex())
        assert sha(answer(reader, number)[1]) == sums["large"]


@in_sandbox
def test_heads_and_ranges() -> None:
    with house() as place:
        furnished(place)
        data = (OUT / "sA" / "www" / "large").read_bytes()
        reader = Reader(place.client)
        number = reader.connect(buffer=4096)
        reader.get(number, "padded/large", method="HEAD")
        stream = reader.read(number, 100)
        here, there = "sB", "sA"
        swap(place, here, there)
        while not stream.endswith(b"\r\n\r\n"):
            stream += reader.read(number, 1)
        assert stream.count(b"HTTP/1.1 200 ") == 1
        assert b"Content-Length: 300000\r\n" in stream
        reader.get(number, "large", "Range: bytes=1000-250999", 'If-Range: "unknown"')
        assert answer(reader, number)[0].startswith(b"HTTP/1.1 200 "), "the condition is nginx's to judge"
        for span in ("1000-250999", "1000-", "-299000"):
            reader.get(number, "large", f"Range: bytes={span}")
            first = reader.read(number, 50_000)
            here, there = there, here
            swap(place, here, there)
            head, rest = answer(reader, number, first)
            assert head.startswith(b"HTTP/1.1 206 ")
            assert rest == data[1000 : 251_000 if span == "1000-250999" else None]
        reader.get(number, "none")
        assert answer(reader, number)[0].startswith(b"HTTP/1.1 404 ")
        swap(place, there, here)
        reader.get(number, "small", "Connection: close")
        body(reader.read(number), sha((OUT / "sA" / "www" / "small").read_bytes()))


@in_sandbox
def test_a_plain_file_stream() -> None:
    """Another application, another mapper: a name and a newline, then the file's bytes and the end."""
    with house() as place:
        for server in place.servers:
            place.serve(server)
            place.wedge(server, "--mapper", "files")
        wanted = place.file("object", 300_000)
        reader = Reader(place.client)
        number = reader.connect(buffer=4096)
        reader("send", number, b"object\n".hex())
        first = reader.read(number, 100_000)
        swap(place, "sB", "sA")
        assert sha(first + reader.read(number)) == wanted
        number = reader.connect()
        reader("send", number, b"none\n".hex())
        assert reader.read(number) == b""
