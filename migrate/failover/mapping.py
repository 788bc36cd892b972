"""The seam between the wedge and an application (the *stream mapper* of the USITS 2001 paper, slide 26).

The wedge knows positions in two byte streams; what they mean, a mapper knows.  From the bytes of a request, and from
what soft state says of its answer, a mapper makes a `Plan`: a request to the backend whose answer holds the client's
next byte, and, once the front of that answer is there, what of it the client gets.  A fresh request is the plan from
position 0 with nothing known, so serving and taking over are one path.

Everything here is bytes and numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

DIGEST_BYTES = 16
NO_DIGEST = bytes(DIGEST_BYTES)


class NotMappable(Exception):
    """These bytes mean nothing to the mapper: the wedge relays them as they are, and nobody can take the connection
    over.  The message says why."""


class Differs(Exception):
    """This replica would send something else than what the client has begun to receive; the message says what."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the group knows of an answer.  Lengths and positions are bytes.

    An answer is a head, which every replica must make alike but for its date, and `length` bytes of an object that
    begin at `first` in it.  What has no strong validator is all head."""

    head_length: int
    head_digest: bytes
    """SHA-256 of the head with its date taken out, the first 16 bytes."""
    date: int = 0
    """Seconds since 1970 as the head has it; 0 where it has none."""
    validator: bytes = b""
    """A strong one: two objects with the same validator are the same, byte for byte."""
    first: int = 0
    length: int = 0
    total: int = 0
    """Length of the whole object."""
    closes: bool = False
    """The connection ends with this answer."""
    reason: str = ""
    """Why nobody can go on in the middle of it; "" where that can be done."""

    @property
    def end(self) -> int:
        """Length of the whole answer."""
        return self.head_length + self.length


@dataclass(frozen=True, slots=True)
class Begin:
    """What to do with a backend's answer, now that its front has been read."""

    answer: Answer
    consumed: int
    """So many bytes of what was read are the head; what follows is the client's."""
    send: bytes
    """To the client before anything else."""
    body: int | None
    """So many bytes follow from the backend; None: all until it closes."""


class Plan(Protocol):
    """One request to the backend, and how its answer becomes the client's."""

    @property
    def ask(self) -> bytes:
        """For the backend; b"" where the client has everything already."""

    def begin(self, received: bytes) -> Begin | None:
        """What to do, given the backend's first bytes; None while they are too few.  Raises `Differs`."""


@dataclass(frozen=True, slots=True)
class Nothing:
    """The plan where the client has all of the answer."""

    known: Answer
    ask: bytes = b""

    def begin(self, received: bytes) -> Begin | None:
        return Begin(self.known, 0, b"", 0)


class Mapper(Protocol):
    """An application.  `number` names it in soft state."""

    number: int
    name: str

    def request(self, received: bytes) -> int | None:
        """Length of the whole request at the front of `received`; None while it is not there.  Raises `NotMappable`."""

    def plan(self, request: bytes, answer: Answer | None, position: int) -> Plan:
        """How to go on `position` bytes into the answer, of which the group knows `answer` (None: nothing yet, and
        `position` is 0).  Raises `Differs` where that cannot be."""

    def probe(self, request: bytes, answer: Answer | None) -> Plan:
        """What asks the own backend whether it has the same object, without fetching it; its `begin` raises `Differs`
        if not."""
