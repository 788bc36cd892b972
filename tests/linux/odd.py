"""migrated, and a worker that is slow or dies where it is told to: `python -m tests.linux.odd ARGUMENTS`.

What it is to do stands in a file, which is looked at each time that one of the `POINTS` is passed: "die POINT"
(kill -9, once: the file is removed first), "stop POINT" (it stands still until SIGCONT, once), "slow POINT" (a tenth of
a second, each time) or "lose:ADDRESS@DEVICE POINT" (the host loses that address, once).  Only the worker obeys, not
the guardian that clears up after it.
"""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from migrate import migrated
from migrate.daemon import carrying, guardian
from migrate.daemon.registry import Registry
from migrate.linux import freezer, repair, resend
from migrate.linux.freezer import Freezer
from migrate.linux.journal import Journal
from migrate.linux.maps import Connections
from migrate.linux.rebind import Rebinder
from migrate.linux.wire import Wire

SLOW_SECONDS = 0.1


def orders_file(host: str) -> Path:
    return Path("/run/lab", f"{host}-orders")


# Name of the point, whose function it is, and whether it is passed before or after it.
POINTS: dict[str, tuple[Any, str, str]] = {
    "said its first": (Wire, "send", "after"),  # 5 or 6 has left
    "begun": (Journal, "begin", "after"),
    "hurried": (freezer, "_hurry", "after"),
    "frozen": (Freezer, "freeze", "after"),
    "taken": (Journal, "take", "after"),
    "in repair mode": (repair, "enter", "after"),
    "dumped": (repair, "dump", "after"),
    "imaged": (Journal, "image", "after"),
    "written down": (Connections, "put", "after"),
    "disconnected": (repair, "disconnect", "after"),
    "before the bind": (repair, "_bind", "before"),
    "bound": (repair, "_bind", "after"),
    "repair mode left": (repair, "leave", "after"),
    "restored": (repair, "restore", "after"),
    "before the first word": (carrying, "third_segment", "before"),
    "fed back": (Rebinder, "_feed_back", "after"),
    "a block written": (resend, "_as_sent", "after"),
    "before the data": (repair, "send_again", "before"),
    "after the data": (repair, "send_again", "after"),
    "done": (Rebinder, "_carry_one", "after"),
    "thawed": (Freezer, "thaw", "after"),
    "cleared": (Rebinder, "carry", "after"),
}
ONLY_WITH_HOLES = {"one": ("fed back",), "two": ("a block written",)}
"""Points that the mover and the answerer pass only where there is data beyond a hole."""
OUTSIDE_OF_REBINDS: dict[str, tuple[Any, str, str]] = {
    "persisted": (Registry, "persist", "after"),  # the table has the new state, and nothing else has been done
    "entered": (Registry, "enter", "after"),  # a connection that is taken over is in the table, and has no socket
    "rebound": (Registry, "rebound", "after"),
}
_is_worker = False


def _pass(point: str, file: Path) -> None:
    if not _is_worker or not file.exists():
        return
    what, _, where = file.read_text().partition(" ")
    if where != point:
        return
    if what == "slow":
        time.sleep(SLOW_SECONDS)
        return
    file.unlink()
    if what.startswith("lose:"):
        address, _, device = what.removeprefix("lose:").partition("@")
        subprocess.run(["ip", "address", "del", address, "dev", device], check=True)
        return
    os.kill(os.getpid(), signal.SIGSTOP if what == "stop" else signal.SIGKILL)


def _wrap(point: str, owner: Any, name: str, when: str, file: Path) -> None:
    function: Callable[..., Any] = getattr(owner, name)

    @functools.wraps(function)
    def wrapped(*arguments: Any, **named: Any) -> Any:
        if when == "before":
            _pass(point, file)
        answer = function(*arguments, **named)
        if when == "after":
            _pass(point, file)
        return answer

    setattr(owner, name, wrapped)


def _every_program_is_late() -> None:
    stands = Freezer._stands

    def patient_only(self: Freezer, patience: float) -> bool:
        return patience != freezer._LATE_SECONDS and stands(self, patience)

    Freezer._stands = patient_only  # type: ignore[method-assign]


def main() -> int:
    file = orders_file(os.environ["ODD_HOST"])
    for point, (owner, name, when) in (POINTS | OUTSIDE_OF_REBINDS).items():
        _wrap(point, owner, name, when, file)
    _every_program_is_late()
    in_child = guardian._in_child

    def as_worker(worker: Callable[[Journal], int], journal: Journal, guardian: int) -> None:
        global _is_worker
        _is_worker = True
        in_child(worker, journal, guardian)

    guardian._in_child = as_worker
    guardian.TRIES = 1000  # here it dies on purpose
    return migrated.main()


if __name__ == "__main__":
    sys.exit(main())
