"""A migrated that takes a socket apart without having written down what it was, for the test of the tests."""

import sys

from migrate import migrated
from migrate.daemon import guardian
from migrate.linux.journal import Journal

if __name__ == "__main__":
    guardian.TRIES = 1_000_000
    Journal.image = lambda *_: None  # type: ignore[method-assign]
    sys.exit(migrated.main())
