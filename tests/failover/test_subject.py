"""When a wedge tells its group of a connection, and when not."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import cast

import pytest

from migrate.failover.http import Http
from migrate.failover.subject import UNTOLD_SECONDS, Subject
from migrate.failover.takeover import Options, Secrets
from migrate.failover.wedge import Wedge


class Ears:
    """A wedge, as far as a subject needs one."""

    def __init__(self) -> None:
        self.heard: list[Subject] = []
        self.untold_ms: list[float] = []

    def tell(self, subject: Subject) -> None:
        self.heard.append(subject)


@pytest.fixture
def subject() -> Iterator[Subject]:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()):
        sock, _ = listener.accept()
        with sock:
            made = Subject(cast(Wedge, Ears()), sock, Http())
            made.secrets = Secrets(1, 2, bytes(25), 0, 0, "00000000")
            yield made


def heard(subject: Subject) -> int:
    return len(cast(Ears, subject._wedge).heard)


def test_of_what_is_over_nothing_more_is_told(subject: Subject) -> None:
    """Whoever hears of it after its end would keep it."""
    subject.tell()
    assert heard(subject) == 1
    subject.sock.close()
    subject.tell()
    subject.tell_new()
    assert heard(subject) == 1


def test_parts_of_a_request_are_told_with_its_answer(subject: Subject) -> None:
    async def parts() -> None:
        subject.tell()
        subject.tell_asked()
        subject.tell_asked()
        subject.tell()
        await asyncio.sleep(4 * UNTOLD_SECONDS)

    asyncio.run(parts())
    assert heard(subject) == 2


def test_who_is_about_to_tell_need_not_tell_before(subject: Subject) -> None:
    with subject.about_to_tell():
        subject.tell_new()
        assert heard(subject) == 0
    subject.tell_new()
    subject.tell_new()
    assert heard(subject) == 1


def test_what_is_another_s_is_waited_for_until_its_socket_is_closed(subject: Subject) -> None:
    """And only that: what is this member's own it keeps."""
    subject.options = Options(1460, 7, 7, True)
    state = subject.state()
    assert state is not None
    wedge = cast(Wedge, SimpleNamespace(_sessions={subject}))

    async def story() -> None:
        await asyncio.wait_for(Wedge.left(wedge, state.token), 1)
        subject.superseded.set()
        await asyncio.wait_for(Wedge.left(wedge, bytes(8)), 1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(Wedge.left(wedge, state.token), 0.02)
        subject.ended.set()
        await asyncio.wait_for(Wedge.left(wedge, state.token), 1)

    asyncio.run(story())
