"""migrated with the mistake that FAULT names, which a soak must find; it forgets what is over once a second."""

from __future__ import annotations

import os
import sys
from typing import Any

from migrate import migrated
from migrate.daemon import service
from migrate.linux import repair
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


if __name__ == "__main__":
    service.SWEEP_SECONDS = 1.0
    {one.__name__: one for one in (none, corruption, descriptor, watch)}[os.environ["FAULT"]]()
    sys.exit(migrated.main())
