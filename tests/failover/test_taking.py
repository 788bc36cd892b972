"""Whom a replica asks, how often and with which numbers: a client that answers, one that is gone or silent."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from migrate.core import rules
from migrate.failover import choice, takeover, taking
from migrate.failover.backend import Backend
from migrate.failover.ledger import Ledger
from migrate.failover.mapping import Answer
from migrate.failover.messages import Gone, Message
from migrate.failover.settings import Settings
from migrate.failover.standing import accounts_for
from migrate.failover.state import SoftState
from migrate.failover.takeover import Refused, Secrets, Taken
from migrate.failover.taking import Taker
from tests.failover.test_choice import moved

SENT = 5
"""Requests that the dead server, and those before it, have made."""


@dataclass
class Desk:
    """A wedge, as far as a Taker sees it, and a client."""

    monkeypatch: pytest.MonkeyPatch
    answer: Callable[[], Exception]
    busy: bool = False
    ending: bool = False
    connections: int = 0
    asked: list[tuple[int, int]] = field(default_factory=list)
    """Request number and Migrate SYNs of each attempt."""
    said: list[Message] = field(default_factory=list)
    events: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.settings = Settings("sB", 8080, Backend.parse("unix:/none"), 2, 10, 1, 0, 1)
        self.ledger = Ledger()
        self.taker = Taker(self, self.ledger, {})  # type: ignore[arg-type]
        self.ledger.told("sA", 1, moved(SENT), 0)
        self.monkeypatch.setattr(Taker, "_check", self._check)
        self.monkeypatch.setattr(takeover, "take_over", self._take_over)
        self.monkeypatch.setattr(choice, "STEP_SECONDS", 0.0)

    async def _check(self, state: Any) -> None:
        """The own backend has the object."""

    async def _take_over(self, secrets: Secrets, client: Any, options: Any, *, tries: int) -> Any:
        self.asked.append((secrets.sent + 1, tries))
        raise self.answer()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        self.tasks.append(asyncio.ensure_future(work))
        return self.tasks[-1]

    async def left(self, token: bytes) -> None:
        """Nothing of that connection was here."""

    def note(self, sentence: str) -> None:
        self.notes.append(sentence)

    def event(self, session: None, event: str, cause: str, **more: Any) -> None:
        self.events.append((event, cause))

    def say(self, message: Message) -> None:
        self.said.append(message)

    def pronounced(self, **more: bool) -> None:
        """sA is called dead; to the end of what that leads to."""

        async def all_of_it() -> None:
            self.taker.pronounced("sA", "the monitor", **more)
            await asyncio.gather(*self.tasks)
            self.tasks.clear()

        asyncio.run(all_of_it())


def silence() -> Refused:
    return Refused("no answer", unanswered=True)


def rst() -> Refused:
    return Refused("the client knows of no such connection", gone=True)


def trouble() -> Refused:
    return Refused("no route to the client at 10.0.1.2")


def test_a_number_is_used_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first may have been used up: after one Migrate SYN without an answer the next number is tried, and so on."""
    desk = Desk(monkeypatch, silence)
    desk.pronounced()
    assert desk.asked == [(SENT + 1, 1), (SENT + 2, 2), (SENT + 3, 3)]
    assert not desk.said
    assert desk.ledger.entries, "it may be away, and come back"


def test_a_silent_client_is_left_alone_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often the monitor repeats itself; a person is believed, and the numbers go on."""
    desk = Desk(monkeypatch, silence)
    for _ in range(5):
        desk.pronounced()
    assert len(desk.asked) == 3
    desk.pronounced(insists=True)
    assert [number for number, _ in desk.asked[3:]] == [SENT + 4, SENT + 5, SENT + 6]
    monkeypatch.setattr(taking, "SILENT_SECONDS", 0.0)
    desk.pronounced()
    assert [number for number, _ in desk.asked[6:]] == [SENT + 7, SENT + 8, SENT + 9]


def test_numbers_stay_where_the_client_takes_them_for_new(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(monkeypatch, silence)
    for _ in range(20):
        desk.pronounced(insists=True)
    numbers = [number for number, _ in desk.asked]
    assert max(numbers) == SENT + rules.UNANSWERED_MAX
    assert rules.full_count(max(numbers) & 127, SENT) == max(numbers)


def test_a_client_that_is_gone_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its host answers by RST; the others hear of it."""
    desk = Desk(monkeypatch, rst)
    for _ in range(3):
        desk.pronounced()
    assert desk.asked == [(SENT + 1, 1)]
    assert desk.said == [Gone(moved(SENT).token, SENT)]
    assert not desk.ledger.entries


def test_a_host_s_own_trouble_says_nothing_of_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are not told that it is gone: they may have a route to it."""
    desk = Desk(monkeypatch, trouble)
    desk.pronounced()
    assert desk.asked == [(SENT + 1, 1)], "asking more does not help"
    assert not desk.said
    assert desk.ledger.entries
    desk.pronounced()
    assert len(desk.asked) == 2, "it may be over"
    assert desk.notes == ["cannot take over a client of sA: no route to the client at 10.0.1.2"]


def test_a_client_that_was_silent_is_asked_again_once_it_has_had_another_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = Desk(monkeypatch, silence)
    desk.pronounced()
    assert len(desk.asked) == 3
    assert desk.ledger.told("sA", 1, moved(SENT + 1, 9), 0)
    desk.pronounced()
    assert len(desk.asked) == 6


def test_who_is_offered_a_client_that_was_silent_asks_it_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """And so does who is told to by a person."""
    desk = Desk(monkeypatch, silence)
    desk.pronounced()
    assert len(desk.asked) == 3

    async def offered() -> None:
        (entry,) = desk.ledger.entries.values()
        desk.taker.begin(entry, "sA offers it", insists=True)
        await asyncio.gather(*desk.tasks)

    asyncio.run(offered())
    assert len(desk.asked) == 6


def test_what_a_member_had_of_the_connection_itself_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its new server offers it while the socket that the old one had is being closed."""
    desk = Desk(monkeypatch, silence)
    closed = asyncio.Event()
    monkeypatch.setattr(desk, "left", lambda token: closed.wait())

    async def story() -> None:
        desk.taker.pronounced("sA", "the monitor")
        await asyncio.sleep(0.01)
        assert not desk.asked
        closed.set()
        await asyncio.gather(*desk.tasks)
        assert desk.asked

    asyncio.run(story())


def test_whoever_hears_that_a_client_is_gone_does_not_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(monkeypatch, silence)

    async def story() -> None:
        desk.taker.pronounced("sA", "the monitor")
        desk.taker.gone(moved(SENT).token, SENT - 1, "sC")
        assert not desk.tasks[0].cancelling(), "that was before sA had it"
        desk.taker.gone(moved(SENT).token, SENT, "sC")
        await asyncio.gather(*desk.tasks, return_exceptions=True)

    asyncio.run(story())
    assert not desk.asked
    assert desk.events[-1] == ("lost", "sC was refused: its client is gone")


def test_a_busy_member_is_the_last_resort(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(monkeypatch, rst, busy=True)
    desk.pronounced()
    cause = "the monitor pronounces sA dead; too busy, my turn in 0 s if nobody else takes it"
    assert desk.events[0] == ("declined", cause)
    assert desk.asked


def test_one_about_to_end_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(monkeypatch, rst, ending=True)
    desk.pronounced()
    assert desk.events == [("declined", "the monitor pronounces sA dead; about to end")]
    assert not desk.asked


def test_it_is_known_that_a_client_is_being_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is about to end waits for it, and offers the others what comes of it."""
    desk = Desk(monkeypatch, silence)
    seen = []

    async def take_over(*_: Any, **__: Any) -> Any:
        seen.append(desk.taker.asking)
        raise silence()

    monkeypatch.setattr(takeover, "take_over", take_over)
    desk.pronounced()
    assert seen
    assert set(seen) == {1}
    assert desk.taker.asking == 0


def test_what_is_over_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(monkeypatch, silence)
    desk.pronounced()
    desk.taker.forget()
    assert desk.taker._asked
    desk.ledger.drop(moved(SENT).token)
    desk.taker.forget()
    assert not desk.taker._asked
    assert not desk.taker._silent


POSITION = 500
UNANSWERED = replace(moved(SENT), answer=None)
ANSWER = Answer(300, bytes(16), length=1000)


@dataclass
class Won(Desk):
    """The client says that it has `POSITION` bytes, of whose answer nothing was known here; `told` is called then."""

    told: Callable[[Ledger], None] = lambda _: None
    went_on: list[SoftState] = field(default_factory=list)
    sock: socket.socket = field(default_factory=socket.socket)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.ledger.entries.clear()
        self.ledger.told("sA", 1, UNANSWERED, 0)
        self.monkeypatch.setattr(Taker, "_go_on", lambda _, owner, state, taken: self.went_on.append(state))

    async def _take_over(self, secrets: Secrets, client: Any, options: Any, *, tries: int) -> Any:
        self.told(self.ledger)
        return Taken(self.sock, POSITION, 0, secrets, options)


def answering(ledger: Ledger, owner: str = "sA", sent: int = SENT) -> None:
    assert ledger.told(owner, 1, replace(moved(sent, 2), answer=ANSWER), 0)


def later(ledger: Ledger) -> None:
    asyncio.get_running_loop().call_later(taking.LATE_SECONDS / 4, answering, ledger)


@pytest.mark.parametrize("told", [answering, later])
def test_what_a_server_tells_until_its_client_has_left_it_counts(
    monkeypatch: pytest.MonkeyPatch, told: Callable[[Ledger], None]
) -> None:
    """It was called dead wrongly, and has begun an answer meanwhile."""
    with closing((desk := Won(monkeypatch, silence, told=told)).sock):
        desk.pronounced()
        assert [state.answer for state in desk.went_on] == [ANSWER]


def test_what_it_never_tells_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taking, "LATE_SECONDS", 0.01)
    with closing((desk := Won(monkeypatch, silence)).sock):
        desk.pronounced()
        assert desk.went_on == [UNANSWERED]


def test_what_another_tells_is_another_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """That one has won with a larger number, and ours is over without a word."""

    def by_another(ledger: Ledger) -> None:
        answering(ledger, "sC", SENT + 2)
        (entry,) = ledger.entries.values()
        asyncio.get_running_loop().call_soon(desk.taker.heard, entry)

    desk = Won(monkeypatch, silence, told=by_another)
    with closing(desk.sock):
        with pytest.raises(asyncio.CancelledError):
            desk.pronounced()
        assert not desk.went_on
        assert desk.sock.fileno() < 0, "dropped"


@pytest.mark.parametrize(
    ("begins", "answer", "position", "known"),
    [
        (0, None, 0, True),
        (0, None, 1, False),
        (0, ANSWER, ANSWER.end, True),
        (0, ANSWER, ANSWER.end + 1, False),  # the next answer's
        (0, replace(ANSWER, closes=True), ANSWER.end + 1, True),  # a FIN
        (0, replace(ANSWER, reason="chunked"), 10**6, True),
        (2**32 - 10, ANSWER, 20, True),
        (2**32 - 10, None, 2**32 - 10, True),
    ],
)
def test_which_positions_a_state_accounts_for(begins: int, answer: Answer | None, position: int, known: bool) -> None:
    assert accounts_for(replace(moved(0), answered_at=begins, answer=answer), position) is known
