"""HTTP/1.1 as a stream (RFC 9110, 9112): the first stream mapper.

A request that names an object is mapped: GET or HEAD without a body.  Within the head of its answer, the replica makes
the same head anew, with the date that the first server put there; within the body, it asks its server for the rest
(RFC 9110, 14.2) and leaves that answer's head away.  Two objects are the same if their strong entity tags are; a small
answer without one is compared as a whole.
"""

from __future__ import annotations

import calendar
import hashlib
import re
from dataclasses import dataclass, replace
from email.utils import formatdate, parsedate

from migrate.failover.mapping import DIGEST_BYTES, NO_DIGEST, Answer, Begin, Differs, Nothing, NotMappable

MOST_HEAD = 16_384
SMALL = 16_384
"""An answer of at most so many bytes is compared byte for byte where it has no strong validator."""
LONGEST = 1 << 32
"""Positions are known modulo 2^32, as sequence numbers are."""

_END = b"\r\n\r\n"
_FIRST_LINE = re.compile(rb"(GET|HEAD) (\S+) HTTP/1\.[01]\r\n")
_BEGINS = re.compile(rb"[A-Z]{1,10}( .*)?\r?", re.DOTALL)
_FIELD = re.compile(rb"([!#-'*+.0-9A-Z^-z|~-]+):[ \t]*([^\r\n]*?)[ \t]*\r\n")
_STATUS = re.compile(rb"HTTP/1\.([01]) (\d{3})[^\r\n]*\r\n")
_RANGE = re.compile(rb"bytes (\d+)-(\d+)/(\d+)")
_DATE = re.compile(rb"(\r\nDate:[ \t]*)([^\r\n]*)", re.IGNORECASE)
# They chose the first answer; they have no say in how it goes on.
_CHOOSING = {b"range", b"if-range", b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since"}
_WITH_BODY = {b"content-length", b"transfer-encoding", b"upgrade", b"expect"}


def _fields(head: bytes, after: int) -> list[tuple[bytes, bytes]]:
    """Names (lower case) and values; raises `NotMappable` where a line is none."""
    found, at = [], after
    while head[at : at + 2] != b"\r\n":
        match = _FIELD.match(head, at)
        if match is None:
            raise NotMappable("a header field that is not well formed")
        found.append((match[1].lower(), match[2]))
        at = match.end()
    return found


@dataclass(frozen=True, slots=True)
class Head:
    """The head of an answer; `length` is that of the whole head, `content_length` None where it has none."""

    status: int
    length: int
    fields: dict[bytes, bytes]
    one_zero: bool

    @classmethod
    def parse(cls, received: bytes) -> Head | None:
        """None while it is not complete.  Raises `NotMappable`."""
        end = received.find(_END)
        if end < 0:
            if len(received) > 4 * MOST_HEAD or not b"HTTP/1.".startswith(received[:7]):
                raise NotMappable("the backend's answer is not HTTP/1")
            return None
        head = received[: end + 4]
        first = _STATUS.match(head)
        if first is None:
            raise NotMappable("the backend's answer is not HTTP/1")
        return cls(int(first[2]), len(head), dict(_fields(head, first.end())), first[1] == b"0")

    @classmethod
    def expected(cls, received: bytes) -> Head | None:
        """The same within an answer whose front the client has.  Raises `Differs`."""
        try:
            return cls.parse(received)
        except NotMappable as error:
            raise Differs(str(error)) from error

    @property
    def content_length(self) -> int | None:
        text = self.fields.get(b"content-length", b"")
        return int(text) if text.isdigit() else None

    @property
    def validator(self) -> bytes:
        """The strong entity tag, b"" where there is none."""
        tag = self.fields.get(b"etag", b"")
        return b"" if tag.startswith(b"W/") else tag

    @property
    def span(self) -> tuple[int, int, int] | None:
        """Content-Range: first, last and length of the whole."""
        match = _RANGE.fullmatch(self.fields.get(b"content-range", b""))
        return (int(match[1]), int(match[2]), int(match[3])) if match else None

    @property
    def closes(self) -> bool:
        said = self.fields.get(b"connection", b"").lower()
        return b"close" in said or (self.one_zero and b"keep-alive" not in said)


def _undated(head: bytes) -> tuple[bytes, int]:
    """The head with an empty date, and the date in seconds since 1970 (0: none in the usual form)."""
    match = _DATE.search(head)
    parsed = parsedate(match[2].decode("latin-1")) if match else None
    if match is None or parsed is None:
        return head, 0
    seconds = calendar.timegm(parsed)
    if not 0 < seconds < 1 << 32 or formatdate(seconds, usegmt=True).encode() != match[2]:
        return head, 0
    return head[: match.end(1)] + head[match.end() :], seconds


def _dated(head: bytes, seconds: int) -> bytes:
    """The head with another date."""
    return _DATE.sub(lambda match: match[1] + formatdate(seconds, usegmt=True).encode(), head, count=1)


def _describe(received: bytes, head: Head, method: bytes) -> tuple[Answer, int | None] | None:
    """What the group is told of an answer, and how many bytes follow its head (None: until it closes); None while
    more of it must be read to say."""
    length, validator, size, reason = head.content_length, head.validator, head.length, ""
    body: int | None = length or 0
    first, total = 0, length or 0
    if method == b"HEAD" or head.status in (204, 304) or head.status < 200:
        validator, body, first, total = b"", 0, 0, 0
    elif b"transfer-encoding" in head.fields:
        body, reason = None, "its answer is chunked: there are no positions in it"
    elif length is None:
        body, reason = None, "its answer has no length"
    elif length >= LONGEST:
        reason = "its answer is longer than 4 GiB"
    elif head.status == 206 and validator and head.span:
        first, last, total = head.span
        if last - first + 1 != length:
            reason = "its range and its length differ"
    elif head.status == 200 and validator and head.fields.get(b"accept-ranges") == b"bytes":
        pass
    elif length <= SMALL:
        if len(received) < head.length + length:
            return None
        size, body, validator, total = head.length + length, 0, b"", 0
    else:
        reason = "its answer has no strong validator, or no ranges"
    undated, date = _undated(received[:size])
    digest = hashlib.sha256(undated).digest()[:DIGEST_BYTES]
    return Answer(size, digest, date, validator, first, body or 0, total, head.closes, reason), body


@dataclass(frozen=True, slots=True)
class _Whole:
    """From the first byte, or from within the head."""

    ask: bytes
    known: Answer | None
    position: int

    def begin(self, received: bytes) -> Begin | None:
        try:
            head = Head.parse(received)
            described = _describe(received, head, self.ask.split(b" ", 1)[0]) if head else None
        except NotMappable as error:
            if self.position:
                raise Differs(str(error)) from error
            # Whatever it is, the client gets it; nobody can go on in it.
            return Begin(Answer(0, NO_DIGEST, closes=True, reason=str(error)), 0, b"", None)
        if described is None:
            return None
        answer, body = described
        front = received[: answer.head_length]
        if self.position and self.known is not None:
            same = replace(answer, date=self.known.date, closes=self.known.closes)
            if same != self.known:
                raise Differs(_difference(self.known, answer))
            answer, front = self.known, _dated(front, self.known.date) if self.known.date else front
        return Begin(answer, answer.head_length, front[self.position :], body)


@dataclass(frozen=True, slots=True)
class _Rest:
    """From within the body: a range of it."""

    ask: bytes
    known: Answer
    start: int
    """In the object."""
    count: int

    def begin(self, received: bytes) -> Begin | None:
        head = Head.expected(received)
        if head is None:
            return None
        _check(head, self.known, 206)
        if head.span != (self.start, self.start + self.count - 1, self.known.total):
            raise Differs(f"the backend gives another range than bytes {self.start} and on of {self.known.total}")
        return Begin(self.known, head.length, b"", self.count)


@dataclass(frozen=True, slots=True)
class _Probe:
    """Whether the object is the same."""

    ask: bytes
    known: Answer | None

    def begin(self, received: bytes) -> Begin | None:
        head = Head.expected(received)
        if head is None:
            return None
        if self.known is not None:
            _check(head, self.known, 200)
            if head.content_length != self.known.total:
                raise Differs(f"it has {head.content_length} bytes here and {self.known.total} there")
        return Begin(self.known or Answer(0, NO_DIGEST), head.length, b"", 0)


def _check(head: Head, known: Answer, status: int) -> None:
    if head.status == 404:
        raise Differs("this replica does not have it")
    if head.status != status:
        raise Differs(f"the backend answers {head.status}, where {status} was expected")
    if head.validator != known.validator:
        here, there = head.validator.decode("latin-1") or "none", known.validator.decode("latin-1")
        raise Differs(f"its validator is {here} here and {there} there")


def _difference(known: Answer, answer: Answer) -> str:
    if known.validator != answer.validator:
        here, there = answer.validator.decode("latin-1") or "none", known.validator.decode("latin-1") or "none"
        return f"its validator is {here} here and {there} there"
    if known.end != answer.end:
        return f"the answer has {answer.end} bytes here and {known.end} there"
    return "the head of its answer differs"


class Http:
    """The mapper of HTTP/1.1."""

    number = 1
    name = "http"

    def request(self, received: bytes) -> int | None:
        end = received.find(_END)
        line, newline, _ = received.partition(b"\n")
        if newline and not _FIRST_LINE.fullmatch(line + newline):
            raise NotMappable("it is no GET or HEAD of HTTP/1")
        if not newline and received and not _BEGINS.fullmatch(received):
            raise NotMappable("it is not HTTP")
        if end < 0:
            if len(received) > MOST_HEAD:
                raise NotMappable(f"a request of more than {MOST_HEAD} bytes")
            return None
        first = _FIRST_LINE.match(received)
        assert first is not None
        for name, value in _fields(received[: end + 4], first.end()):
            if name in _WITH_BODY and not (name == b"content-length" and value == b"0"):
                raise NotMappable(f"a request with {name.decode()}")
        return end + 4

    def plan(self, request: bytes, answer: Answer | None, position: int) -> _Whole | _Rest | Nothing:
        if answer is None or position == 0:
            if position:
                raise Differs("the client has bytes of an answer of which nothing is known here")
            return _Whole(request, None, 0)
        if answer.reason:
            raise Differs(answer.reason)
        if position == answer.end:
            return Nothing(answer)
        if not 0 < position < answer.end:
            raise Differs(f"the client is at byte {position} of an answer of {answer.end}")
        if position < answer.head_length:
            return _Whole(request, answer, position)
        start = answer.first + position - answer.head_length
        last = answer.first + answer.length - 1
        wanted = b"Range: bytes=%d-%d\r\n" % (start, last)
        return _Rest(_chosen(request, b"GET", wanted), answer, start, last - start + 1)

    def probe(self, request: bytes, answer: Answer | None) -> _Whole | _Probe:
        if answer is not None and answer.reason:
            raise Differs(answer.reason)
        if answer is not None and not answer.validator:
            return _Whole(request, answer, 1)
        return _Probe(_chosen(request, b"HEAD", b""), answer)


def _chosen(request: bytes, method: bytes, more: bytes) -> bytes:
    """The same request for the object as it is, with other fields instead of those that choose."""
    first, _, rest = request.partition(b"\r\n")
    words = first.split(b" ")
    lines = [line for line in rest.split(b"\r\n") if line and line.split(b":")[0].strip().lower() not in _CHOOSING]
    return b" ".join([method, *words[1:]]) + b"\r\n" + b"".join(line + b"\r\n" for line in lines) + more + b"\r\n"
