"""The process that removes a sandbox's cgroup should the sandbox's outer process be killed.

It has a session of its own, so that no signal to a process group or terminal reaches it, holds none of the caller's
descriptors, and ends as soon as there is nothing left for it to do.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from pathlib import Path

from topologies import cgroup2, system

_MADE = b"made"
_GRACE_SECONDS = 6.0
"""For the sandbox's process 1, which ends connections too and so is the better one to do it."""
_PATIENCE_SECONDS = 900.0
"""Where that has been killed as well, a connection may hold an interface until it gives up, and its process with it."""


class ReaperError(Exception):
    """The reaper could not be started; the text is one sentence that says what to do."""


class Reaper:
    """A reaper that watches over the calling process and a cgroup directory."""

    def __init__(self, directory: Path) -> None:
        """Start it. It makes the directory itself, so that there is no moment at which nobody would remove it."""
        self.directory = directory
        self.pid = 0
        self.start()

    def start(self) -> None:
        """Start it, or start it again after it has been killed; raises `ReaperError`."""
        parent = os.pidfd_open(os.getpid())
        answer_in, answer_out = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                _reap(parent, self.directory, answer_out)
            finally:
                os._exit(0)
        os.close(parent)
        os.close(answer_out)
        answer = os.read(answer_in, 4096)
        os.close(answer_in)
        if answer != _MADE:
            os.waitpid(self.pid, 0)
            raise ReaperError(answer.decode() or "the sandbox's reaper was killed as it started: try again")

    def has_ended(self) -> bool:
        """True once, if it is no longer there."""
        return os.waitpid(self.pid, os.WNOHANG)[0] == self.pid

    def end(self) -> None:
        """End it, for there is nothing left to do. It is our child, not yet waited for, so the number is its own."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def _reap(parent: int, directory: Path, answer: int) -> None:
    os.setsid()
    system.set_process_name("sandbox-reaper")
    try:
        directory.mkdir(exist_ok=True)
    except OSError as error:
        os.write(answer, f"the cgroup {directory} cannot be made ({error.strerror}): run as root".encode())
        return
    os.write(answer, _MADE)
    _let_go_of_everything_but(parent, directory)
    poll = select.poll()
    poll.register(parent, select.POLLIN)
    poll.poll()
    cgroup2.await_empty(directory, _GRACE_SECONDS)
    cgroup2.remove(directory, _PATIENCE_SECONDS)


def _let_go_of_everything_but(parent: int, directory: Path) -> None:
    """Close what the caller could be waiting on: its pipes above all."""
    kept = {parent}
    if directory.is_relative_to("/proc/self/fd"):
        kept.add(int(directory.parts[4]))
    os.chdir("/")
    nothing = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nothing, fd)
    for fd in sorted(int(entry.name) for entry in Path("/proc/self/fd").iterdir()):
        if fd > 2 and fd not in kept:
            with contextlib.suppress(OSError):  # the listing's own descriptor
                os.close(fd)
