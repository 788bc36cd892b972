"""`python -m scenarios.chaos`, which `./run_all.sh chaos` calls."""

import sys

from scenarios.chaos.cli import main

if __name__ == "__main__":
    sys.exit(main())
