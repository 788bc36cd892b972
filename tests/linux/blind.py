"""migrated on a kernel that does not let out-of-order queues be read: `python -m tests.linux.blind ARGUMENTS`."""

from __future__ import annotations

import sys

from migrate import migrated
from migrate.linux.beyond import OutOfOrder
from migrate.linux.libbpf import BpfError


def _refuse(self: OutOfOrder) -> None:
    raise BpfError(22, "the kernel refused ooo.bpf.o")


if __name__ == "__main__":
    OutOfOrder.__init__ = _refuse  # type: ignore[method-assign]
    sys.exit(migrated.main())
