"""migrated that forgets what is over at once, not once a minute; its guardian never gives up."""

import sys

from migrate import migrated
from migrate.daemon import guardian, service

if __name__ == "__main__":
    service.SWEEP_SECONDS = 0.3
    guardian.TRIES = 1_000_000
    sys.exit(migrated.main())
