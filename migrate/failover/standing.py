"""Where a session stands in its two byte streams: what soft state says of it, and what a take-over makes of that.

Without I/O.  Positions are bytes from the first of each direction, as in `state`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from migrate.failover.mapping import Answer, Mapper
from migrate.failover.state import SoftState
from migrate.failover.takeover import Options, Secrets


class Lost(Exception):
    """The client cannot be served rightly; the message says why."""


def near(number: int, base: int) -> int:
    """The position whose last 32 bits are `number`: the first at or above `base`."""
    return base + ((number - base) & 0xFFFFFFFF)


def accounts_for(state: SoftState, position: int) -> bool:
    """Does a state say of which answer the client has `position` bytes of the server's stream, modulo 2^32?"""
    got = near(position, state.answered_at) - state.answered_at
    if state.answer is None:
        return got == 0
    return bool(state.answer.reason) or got <= state.answer.end + state.answer.closes  # its FIN counts, too


@dataclass(slots=True)
class Standing:
    """`asked` begins at `asked_at`, the answer at `answered_at`; the client is sent everything before `sent`."""

    asked_at: int = 0
    asked: bytearray = field(default_factory=bytearray)
    answered_at: int = 0
    answer: Answer | None = None
    sent: int = 0
    served: int = 0
    """Length of the request at the front of `asked`, once it is being answered."""
    revision: int = 0

    @classmethod
    def resumed(cls, state: SoftState, position: int, received: int) -> Standing:
        """After a take-over: the client has `position` bytes of the server's stream and will send from `received` on,
        both modulo 2^32.  What it has not had acknowledged it sends again.  Raises `Lost`."""
        known = near(received, state.asked_at) - state.asked_at
        missing = known - len(state.asked)
        # One more is the client's FIN: it asks nothing more.
        if missing > 1 or (missing == 1 and state.answer is None):
            raise Lost(f"{missing} bytes that the client has sent are not known here")
        return cls(
            *(state.asked_at, bytearray(state.asked[:known]), state.answered_at, state.answer),
            sent=near(position, state.answered_at),
            revision=state.revision,
        )

    @property
    def position(self) -> int:
        """Bytes of the answer that the client has been sent."""
        return self.sent - self.answered_at

    @property
    def waiting(self) -> bool:
        """The client has said more than the request that is served."""
        return len(self.asked) > self.served

    @property
    def over(self) -> bool:
        """The client has the answer, and the end of the stream behind it."""
        return self.answer is not None and self.answer.closes and self.position == self.answer.end + 1

    def turn(self) -> None:
        """The request has been answered and the client has all of it: the next one."""
        del self.asked[: self.served]
        self.asked_at += self.served
        self.answered_at, self.answer, self.served = self.sent, None, 0

    def request(self, mapper: Mapper) -> bytes | None:
        """The whole request at the front, which is served from now on; None while there is none.  Raises
        `NotMappable`."""
        length = mapper.request(bytes(self.asked))
        if length is None:
            return None
        self.served = length
        return bytes(self.asked[:length])

    def state(self, client: tuple[str, int], secrets: Secrets, options: Options, mapper: Mapper) -> SoftState:
        """What others would go on from."""
        return SoftState(
            *(client, secrets, options, mapper.number, self.revision),
            *(self.asked_at, bytes(self.asked), self.answered_at, self.answer),
        )
