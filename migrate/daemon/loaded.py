"""What is loaded into the kernel: once by the guardian, for all of its workers.

The kernel verifies each program for a long while.  A worker that takes the place of one that was killed finds all of
it loaded, and serves at once.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from migrate.linux.beyond import OutOfOrder
from migrate.linux.libbpf import BpfError
from migrate.linux.orphans import Orphans
from migrate.linux.programs import Programs


@dataclass(frozen=True)
class Loaded:
    """The programs, and what reads the queues of sockets where this kernel lets it."""

    programs: Programs
    orphans: Orphans | None
    out_of_order: OutOfOrder | None
    without_orphans: str = ""
    """Why there are no `orphans`."""

    def begin(self) -> None:
        """For a new worker: forgets what one that was killed was about."""
        self.programs.proofs().clear()
        for reader in (self.orphans, self.out_of_order):
            if reader is not None:
                reader.queues.forget()

    @classmethod
    def load(cls, pins: Path, cgroup: Path) -> Loaded:
        """Raises `SetupError`."""
        programs = Programs.load(pins, cgroup)
        orphans, why = None, ""
        try:
            orphans = Orphans()
        except BpfError as error:
            why = str(error.strerror)
        return cls(programs, orphans, _out_of_order(), why)


def _out_of_order() -> OutOfOrder | None:
    """What reads out-of-order queues; None where this kernel has no way, which is said once."""
    try:
        return OutOfOrder()
    except OSError as error:
        print(f"out-of-order data is dropped at a move, and sent again: {error.strerror}", file=sys.stderr, flush=True)
        return None
