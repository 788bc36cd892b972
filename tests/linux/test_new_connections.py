"""How often new connections are looked for, when requests come with tokens that nobody knows; no kernel is asked."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from migrate.core import SynNumber
from migrate.daemon import registry
from migrate.daemon.registry import INDEX_SHARE, Registry

UNKNOWN = b"nobody's"


class Host:
    """A table that it takes time to go through, and the count of connections; `clock` is in seconds."""

    def __init__(self, takes: float, stands_still: float) -> None:
        self.opened, self.looked = 0, 0
        self.clock, self.worked = 100.0, 0.0
        self._takes, self._stands_still = takes, stands_still

    def counters(self) -> tuple[int, set[int]]:
        self.opened += 1
        return self.opened, set()

    def __iter__(self):  # type: ignore[no-untyped-def]
        self.looked += 1
        self.clock += self._takes + self._stands_still
        self.worked += self._takes
        return iter(())


def looks(monkeypatch: pytest.MonkeyPatch, host: Host, after: float) -> int:
    """How often it has looked when another request has come so many seconds after the first."""
    clocks = SimpleNamespace(monotonic=lambda: host.clock, thread_time=lambda: host.worked)
    monkeypatch.setattr(registry, "time", clocks)
    connections = Registry(host, host, host, host, 1.0, SynNumber.UNA)  # type: ignore[arg-type]
    assert connections.by_token(UNKNOWN) == []
    host.clock += after
    found = connections.by_token(UNKNOWN)
    assert found == ([] if host.looked == 2 else None)
    return host.looked


def test_a_small_share_of_the_time_goes_into_it(monkeypatch: pytest.MonkeyPatch) -> None:
    wait = 0.02 / INDEX_SHARE - 0.02
    assert looks(monkeypatch, Host(0.02, 0), wait - 0.001) == 1
    assert looks(monkeypatch, Host(0.02, 0), wait + 0.001) == 2


def test_one_that_was_interrupted_meanwhile_looks_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert looks(monkeypatch, Host(0.02, 1.0), 0) == 2
