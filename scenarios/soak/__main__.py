"""`python -m scenarios.soak`, which `./run_all.sh soak` calls."""

import sys

from scenarios.soak.cli import main

if __name__ == "__main__":
    sys.exit(main())
