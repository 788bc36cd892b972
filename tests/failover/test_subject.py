"""When a wedge tells its group of a connection, and when not."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import cast

import pytest

from migrate.daemon.events import EventLog
from migrate.failover.backend import Backend
from migrate.failover.group import Group
from migrate.failover.http import Http
from migrate.failover.session import Session
from migrate.failover.settings import Settings
from migrate.failover.subject import UNTOLD_SECONDS, Subject
from migrate.failover.takeover import Secrets
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


@pytest.mark.parametrize("fails", [False, True])
def test_what_is_another_s_is_waited_for_until_its_socket_is_closed(subject: Subject, fails: bool) -> None:
    """And only that: what is this member's own it keeps."""
    token = bytes(8)
    settings = Settings("sA", 8080, Backend.parse("unix:/none"), 2, 10, 1, 0, 1)
    group = cast(Group, SimpleNamespace(say=lambda message: None))
    wedge = Wedge(settings, group, [Http()], EventLog(None))
    wedge._sessions.add(subject)
    wedge._by_token[token] = subject
    closing = asyncio.Event()

    async def work() -> None:
        await closing.wait()
        if fails:
            raise ValueError("a mistake")

    async def story() -> None:
        serving = asyncio.ensure_future(wedge._serve(cast(Session, subject), work()))
        await asyncio.wait_for(wedge.left(token), 1)
        assert not wedge._supersede(token, 0, "sB")
        await asyncio.wait_for(wedge.left(token), 1)
        assert wedge._supersede(token, 1, "sB")
        await asyncio.wait_for(wedge.left(bytes([1] * 8)), 1)
        waiting = asyncio.ensure_future(wedge.left(token))
        await asyncio.sleep(0.02)
        assert not waiting.done()
        closing.set()
        await asyncio.wait_for(waiting, 1)
        await asyncio.wait((serving,))
        assert isinstance(serving.exception(), ValueError) is fails
        assert not wedge._leaving

    asyncio.run(story())
