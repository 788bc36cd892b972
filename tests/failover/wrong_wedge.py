"""The wedge with one mistake, named by the environment: `WRONG=... python -m tests.failover.wrong_wedge ...`."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
from typing import Any

from migrate.failover import choice, http, sockets, standing, taking, wedge
from migrate.failover.__main__ import main
from migrate.failover.mapping import Answer, Begin
from migrate.failover.state import SoftState


def asks_soon() -> None:
    """No mistake: a silent client is asked after a second whether it is there, and not after thirty; and every second,
    for it may be out of reach the first time."""
    sockets.ASKED_AFTER_SECONDS = sockets._ASKED_AGAIN_SECONDS = 1


def one_byte_late() -> None:
    """Goes on one byte after the one that is next."""
    right = standing.Standing.resumed

    def resumed(state: SoftState, position: int, received: int) -> standing.Standing:
        found = right(state, position, received)
        found.sent += 1
        return found

    standing.Standing.resumed = resumed  # type: ignore[method-assign]


def header_left() -> None:
    """The head of the range's answer is relayed, too."""
    right = http._Rest.begin

    def begin(self: Any, received: bytes) -> Begin | None:
        found = right(self, received)
        return dataclasses.replace(found, send=received[: found.consumed]) if found else None

    http._Rest.begin = begin  # type: ignore[method-assign]


def unchecked() -> None:
    """Objects are not compared, neither before nor after."""

    async def check(self: Any, state: SoftState) -> None:
        return None

    taking.Taker._check = check  # type: ignore[method-assign]
    http._check = lambda head, known, status: None


def fin() -> None:
    """The sockets of a killed process end their streams by FIN."""
    sockets.mind = taking.mind = lambda sock, reset=True: None  # type: ignore[attr-defined]


def forgetful() -> None:
    """Where the client stands is not told: every answer begins at 0."""
    right = standing.Standing.state

    def state(self: standing.Standing, *arguments: Any) -> SoftState:
        return dataclasses.replace(right(self, *arguments), answered_at=0)

    standing.Standing.state = state  # type: ignore[method-assign, assignment]


def untold() -> None:
    """The group does not hear of answers."""
    right = standing.Standing.state

    def state(self: standing.Standing, *arguments: Any) -> SoftState:
        nothing: Answer | None = None
        return dataclasses.replace(right(self, *arguments), answer=nothing)

    standing.Standing.state = state  # type: ignore[method-assign, assignment]


def deaf() -> None:
    """Does not give up what is another's now."""
    wedge.Wedge._supersede = lambda self, token, sent, by: True  # type: ignore[method-assign]


def eager() -> None:
    """Never declines."""
    choice.declines = lambda connections, most, lag, most_lag: False


def slow() -> None:
    """Takes over half a second after its turn."""
    right = choice.wait
    choice.wait = lambda *arguments: right(*arguments) + 0.5


def dies_as_it_wins() -> None:
    """Nobody hears that it has won: the number that it asked with is used up."""

    def go_on(self: taking.Taker, owner: str, state: SoftState, taken: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    taking.Taker._go_on = go_on  # type: ignore[method-assign]


if __name__ == "__main__":
    globals()[os.environ["WRONG"]]()
    sys.exit(main())
