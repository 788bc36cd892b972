"""A plain file stream: the client sends a name and a newline, and gets the file's bytes, then the end.

The second stream mapper, and the least that one can be.  The backend is the same HTTP server: a position in the stream
is the same position in the object.
"""

from __future__ import annotations

import urllib.parse
from dataclasses import dataclass

from migrate.failover.http import LONGEST, Head
from migrate.failover.mapping import NO_DIGEST, Answer, Begin, Differs, Nothing, NotMappable

LONGEST_NAME = 1024


@dataclass(frozen=True, slots=True)
class _Fetch:
    ask: bytes
    known: Answer | None
    position: int
    only_probe: bool = False

    def begin(self, received: bytes) -> Begin | None:
        head = Head.expected(received)
        if head is None:
            return None
        answer = self._answer(head)
        if self.known is not None and (self.position or self.only_probe) and answer != self.known:
            raise Differs(
                f"it has {answer.length} bytes, validator {answer.validator.decode('latin-1') or 'none'} here, "
                f"and {self.known.length}, {self.known.validator.decode('latin-1') or 'none'} there"
            )
        return Begin(answer, head.length, b"", answer.length - self.position)

    def _answer(self, head: Head) -> Answer:
        total = head.span[2] if head.span else head.content_length
        if head.status not in (200, 206) or total is None:
            return Answer(0, NO_DIGEST, closes=True)  # there is no such file: an empty stream
        if head.span and head.span[0] != self.position:
            raise Differs(f"the backend gives bytes {head.span[0]} and on, not {self.position} and on")
        if self.position and head.span is None:
            raise Differs("the backend gives no ranges")
        reason = "" if head.validator else "its file has no strong validator"
        if total >= LONGEST:
            reason = "its file is longer than 4 GiB"
        return Answer(0, NO_DIGEST, 0, head.validator, 0, total, total, closes=True, reason=reason)


class Files:
    """The mapper of a plain file stream."""

    number = 2
    name = "files"

    def request(self, received: bytes) -> int | None:
        end = received.find(b"\n")
        if end > LONGEST_NAME or (end < 0 and len(received) > LONGEST_NAME):
            raise NotMappable("it is no file's name")
        return end + 1 if end >= 0 else None

    def plan(self, request: bytes, answer: Answer | None, position: int) -> _Fetch | Nothing:
        if answer is None and position:
            raise Differs("the client has bytes of a file of which nothing is known here")
        if answer is not None and position:
            if answer.reason:
                raise Differs(answer.reason)
            if position > answer.length:
                raise Differs(f"the client is at byte {position} of a file of {answer.length}")
        if answer is not None and position == answer.length:
            return Nothing(answer)
        return _Fetch(_get(request, b"GET", position), answer, position)

    def probe(self, request: bytes, answer: Answer | None) -> _Fetch:
        if answer is not None and answer.reason:
            raise Differs(answer.reason)
        return _Fetch(_get(request, b"HEAD", 0), answer, 0, only_probe=True)


def _get(request: bytes, method: bytes, position: int) -> bytes:
    path = urllib.parse.quote(b"/" + request.rstrip(b"\r\n").lstrip(b"/"))
    wanted = f"Range: bytes={position}-\r\n" if position else ""
    return method + f" {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{wanted}\r\n".encode()
