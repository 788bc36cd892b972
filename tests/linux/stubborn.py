"""migrated whose guardian never gives up, for tests that kill the worker more often than chance does."""

import sys

from migrate import migrated
from migrate.daemon import guardian

if __name__ == "__main__":
    guardian.TRIES = 1_000_000
    sys.exit(migrated.main())
