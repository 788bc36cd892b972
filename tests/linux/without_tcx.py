"""migrated as on a kernel that has no tcx (before 6.6): `python -m tests.linux.without_tcx ARGUMENTS`."""

from __future__ import annotations

import sys

from migrate import migrated
from migrate.linux import libbpf


def main() -> int:
    libbpf.attach_tcx = lambda program, index, point: None
    return migrated.main()


if __name__ == "__main__":
    sys.exit(main())
