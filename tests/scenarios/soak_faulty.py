"""migrated with the mistake that FAULT names, which a soak must find; it forgets what is over after seconds."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from migrate import migrated
from migrate.core import FourTuple
from migrate.daemon import service
from migrate.daemon.registry import Managed, Registry
from migrate.linux import keyring, repair
from migrate.linux.maps import Switchboard
from migrate.linux.rebind import Rebinder
from migrate.linux.repair import Checkpoint


def none() -> None:
    """No mistake."""


def corruption() -> None:
    """A byte that waits to be sent is another after the rebind."""
    dump = repair.dump

    def wrong(sock: Any) -> Checkpoint:
        image = dump(sock)
        if image.send_data:
            image.send_data = image.send_data[:-1] + bytes((image.send_data[-1] ^ 1,))
        return image

    repair.dump = wrong


def descriptor() -> None:
    """Each rebind keeps one."""
    carry = Rebinder.carry

    def leaking(*arguments: Any, **named: Any) -> Any:
        os.dup(1)
        return carry(*arguments, **named)

    Rebinder.carry = leaking  # type: ignore[method-assign]


def watch() -> None:
    """What is over is not forgotten."""
    Switchboard.sweep = lambda *_: None  # type: ignore[method-assign]


def _keeps(of_a_move: Callable[[Registry, Managed], object]) -> None:
    """Each move of a connection leaves that behind."""
    rebound, kept = Registry.rebound, list[object]()

    def keeping(registry: Registry, managed: Managed, old: FourTuple, new: FourTuple) -> None:
        rebound(registry, managed, old, new)
        kept.append(of_a_move(registry, managed))

    Registry.rebound = keeping  # type: ignore[method-assign,assignment]


def managed() -> None:
    """What is known of a connection is known once more after each of its moves."""
    _keeps(lambda registry, managed: registry._made(managed.machine.tuple, managed.negotiated))


def kilobyte() -> None:
    """A kilobyte in small objects."""
    _keeps(lambda *_: [bytes(100) for _ in range(7)])


def page() -> None:
    """4 kB in one object, which Python's own allocator has nothing to do with."""
    _keeps(lambda *_: bytes(4096))


def checkpoint() -> None:
    """All of a connection that a rebind has taken out of its socket."""
    dump, kept = repair.dump, list[Checkpoint]()

    def keeping(sock: Any) -> Checkpoint:
        kept.append(dump(sock))
        return kept[-1]

    repair.dump = keeping


FAULTS = (none, corruption, descriptor, watch, managed, kilobyte, page, checkpoint)

if __name__ == "__main__":
    service.SWEEP_SECONDS, keyring.HANDSHAKE_SECONDS = 1.0, 8.0
    {one.__name__: one for one in FAULTS}[os.environ["FAULT"]]()
    sys.exit(migrated.main())
