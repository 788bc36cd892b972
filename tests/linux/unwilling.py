"""A migrated whose kernel refuses to build a closed socket anew."""

import errno
import sys
from typing import Any

from migrate import migrated
from migrate.linux import orphans


def refuse(*_: Any) -> None:
    raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")


if __name__ == "__main__":
    orphans.rebuild = refuse  # type: ignore[assignment]
    sys.exit(migrated.main())
