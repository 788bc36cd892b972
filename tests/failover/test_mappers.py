"""From any position in any answer, another replica goes on with exactly the bytes that the first would have sent.

The backends are functions: a server of one object, with dates of its own, that knows ranges and entity tags."""

from __future__ import annotations

import dataclasses
import re
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.failover.files import Files
from migrate.failover.http import SMALL, Http
from migrate.failover.mapping import Answer, Differs, Mapper, NotMappable, Plan


@dataclasses.dataclass(frozen=True)
class Server:
    """A replica's HTTP server."""

    content: bytes
    tag: str = '"one"'
    date: int = 1_700_000_000
    more: str = ""

    def __call__(self, request: bytes) -> bytes:
        method, _, fields = request.partition(b" ")
        span = re.search(rb"Range: bytes=(\d*)-(\d*)", fields)
        status, data, extra = "200 OK", self.content, "Accept-Ranges: bytes\r\n" if self.tag else ""
        if span and self.tag and (span[1] or span[2]):
            first = int(span[1]) if span[1] else max(0, len(self.content) - int(span[2]))
            last = int(span[2]) if span[1] and span[2] else len(self.content) - 1
            last = min(last, len(self.content) - 1)
            if first <= last:
                status, data = "206 Partial Content", self.content[first : last + 1]
                extra = f"Content-Range: bytes {first}-{last}/{len(self.content)}\r\n"
        tag = f"ETag: {self.tag}\r\n" if self.tag else ""
        head = f"HTTP/1.1 {status}\r\nServer: x\r\nDate: {formatdate(self.date, usegmt=True)}\r\n{self.more}"
        head += f"Content-Length: {len(data)}\r\n{tag}{extra}\r\n"
        return head.encode() + (data if method != b"HEAD" else b"")


def run(plan: Plan, server: Server, pieces: int = 7) -> tuple[Answer, bytes]:
    """What the client gets, and what the group is told; the backend's bytes come a few at a time."""
    if not plan.ask:
        begun = plan.begin(b"")
        assert begun is not None
        return begun.answer, b""
    stream, read = server(plan.ask), 0
    while (begun := plan.begin(stream[:read])) is None:
        assert read < len(stream), "it wants more than there is"
        read = min(len(stream), read + pieces)
    rest = stream[begun.consumed :]
    return begun.answer, begun.send + (rest if begun.body is None else rest[: begun.body])


def get(name: str = "object", method: str = "GET", *fields: str) -> bytes:
    return "".join(f"{line}\r\n" for line in (f"{method} /{name} HTTP/1.1", "Host: a", *fields, "")).encode()


REQUESTS = st.sampled_from(
    [get(), get("object", "HEAD"), get("object", "GET", "Range: bytes=5-"), get("object", "GET", "Range: bytes=-30"),
     get("object", "GET", "Range: bytes=3-60", "If-Match: *")]
)  # fmt: skip


@given(REQUESTS, st.binary(min_size=100, max_size=400), st.data(), st.sampled_from(['"one"', 'W/"weak"', ""]))
def test_any_position(request: bytes, content: bytes, data: st.DataObject, tag: str) -> None:
    mapper, first = Http(), Server(content, tag)
    answer, stream = run(mapper.plan(request, None, 0), first)
    assert stream == first(request)
    assert answer.end == len(stream)
    position = data.draw(st.integers(0, len(stream)))
    other = Server(content, tag, date=1_700_000_777)
    if position == 0:
        stream = other(request)
    told, rest = run(mapper.plan(request, answer, position), other)
    assert stream[:position] + rest == stream
    assert position == 0 or told == answer
    run(mapper.probe(request, answer), other)


@given(st.integers(1, 10_000))
def test_a_large_answer_without_a_validator_is_not_continued(position: int) -> None:
    server = Server(bytes(SMALL + 1), tag="")
    answer, _ = run(Http().plan(get(), None, 0), server)
    assert answer.reason == "its answer has no strong validator, or no ranges"
    with pytest.raises(Differs, match="no strong validator"):
        Http().plan(get(), answer, position)
    with pytest.raises(Differs, match="no strong validator"):
        Http().probe(get(), answer)


OTHERS = {
    "another tag": (Server(b"x" * 100, '"two"'), 'its validator is "two" here and "one" there'),
    "no tag": (Server(b"x" * 100, ""), "its validator is none here|another range|answers 200"),
    "longer": (Server(b"x" * 101), "101 bytes here|another range|the answer has"),
    "another head": (Server(b"x" * 100, more="X-Cache: hit\r\n"), "the answer has|the head of its answer differs"),
}


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("part", ["head", "body"])
def test_what_differs_is_refused(other: str, part: str) -> None:
    server, reason = OTHERS[other]
    answer, stream = run(Http().plan(get(), None, 0), Server(b"x" * 100))
    position = 10 if part == "head" else len(stream) - 50
    if (other, part) == ("another head", "body"):
        assert run(Http().plan(get(), answer, position), server)[1] == stream[position:]
        return
    with pytest.raises(Differs, match=reason):
        run(Http().plan(get(), answer, position), server)
    if other != "another head":
        with pytest.raises(Differs):
            run(Http().probe(get(), answer), server)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_request_or_not(received: bytes) -> None:
    """Whatever comes: a length within it, more to come, or not mappable."""
    for data in (received, get()[:20] + received, get() + received):
        try:
            length = Http().request(data)
        except NotMappable:
            continue
        assert length is None or data[length - 4 : length] == b"\r\n\r\n"


@pytest.mark.parametrize(
    "received",
    [b"HELLO\r\n\r\n", b"\x16\x03\x01", b"GET /\r\n", b"POST / HTTP/1.1\r\n", b"GET / HTTP/1.1\nHost: a\n\n",
     b"GET / HTTP/1.1\r\nContent-Length: 3\r\n\r\n", b"GET / HTTP/1.1\r\nUpgrade: h2c\r\n\r\n",
     b"GET / HTTP/1.1\r\nbad\r\n\r\n", b"GET /" + b"x" * 20_000],
)  # fmt: skip
def test_not_mapped(received: bytes) -> None:
    with pytest.raises(NotMappable):
        Http().request(received)


def test_chunked_and_endless_answers_have_no_positions() -> None:
    for head, reason in ((b"Transfer-Encoding: chunked", "chunked"), (b"X: y", "no length")):
        begun = Http().plan(get(), None, 0).begin(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\nabc")
        assert begun is not None
        assert begun.body is None
        assert reason in begun.answer.reason


@given(st.binary(min_size=1, max_size=300), st.data())
def test_a_plain_file_stream(content: bytes, data: st.DataObject) -> None:
    mapper: Mapper = Files()
    assert mapper.request(b"obj") is None
    assert mapper.request(b"object\nmore") == 7
    answer, stream = run(mapper.plan(b"object\n", None, 0), Server(content))
    assert stream == content
    position = data.draw(st.integers(0, len(content)))
    told, rest = run(mapper.plan(b"object\n", answer, position), Server(content, date=1_700_000_777))
    assert stream[:position] + rest == content
    assert told == answer
    for other in (Server(content, '"two"'), Server(content + b"x")):
        with pytest.raises(Differs):
            run(mapper.probe(b"object\n", answer), other)
        if 0 < position < len(content):
            with pytest.raises(Differs):
                run(mapper.plan(b"object\n", answer, position), other)
