"""migrated, of which a bind beside a listener lasts until `DONE` is there: `python -m tests.linux.binding ARGUMENTS`,
with what else is wrong with it in BINDING.  What a bind does to others of the port is then seen (tests of ports.py)."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from migrate import migrated
from migrate.linux import ports
from migrate.linux.maps import Switchboard
from migrate.linux.ports import Ports

DIED, DONE = Path("/run/lab/died"), Path("/run/lab/done")
_only = Ports.only


@contextmanager
def _long(self: Ports, port: int) -> Iterator[None]:
    with _only(self, port):
        while not DONE.exists():
            time.sleep(0.005)
        yield


@contextmanager
def _deadly(self: Ports, port: int) -> Iterator[None]:
    with _only(self, port):
        if not DIED.exists():
            DIED.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        yield


def long() -> None:
    """Nothing else."""
    Ports.only = _long  # type: ignore[method-assign]


def deaf() -> None:
    """The others of the port hear nothing meanwhile."""
    long()
    ports._heard_from = lambda *_: ports.MADE_UP + 1


def refusing() -> None:
    """And whoever speaks to them hears RSTs."""
    deaf()
    Switchboard.guard = lambda *_: None  # type: ignore[method-assign]


def deadly() -> None:
    """The worker is killed in the middle of it, once."""
    Ports.only = _deadly  # type: ignore[method-assign]


FAULTS: dict[str, Callable[[], None]] = {one.__name__: one for one in (long, deaf, refusing, deadly)}


def main() -> int:
    FAULTS[os.environ["BINDING"]]()
    return migrated.main()


if __name__ == "__main__":
    sys.exit(main())
