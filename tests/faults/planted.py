"""migrated with a fault: `PLANTED_FAULT=NAME python -m tests.faults.planted ARGUMENTS`, "" for none."""

from __future__ import annotations

import os
import sys
from types import FunctionType
from typing import cast

from migrate import migrated
from tests.faults.table import FAULTS
from tests.migrate.planting import planted

VARIABLE = "PLANTED_FAULT"


def main() -> int:
    name = os.environ[VARIABLE]
    if name:
        for function, right, wrong in FAULTS[name].places:
            cast(FunctionType, function).__code__ = planted(cast(FunctionType, function), right, wrong)
    return migrated.main()


if __name__ == "__main__":
    sys.exit(main())
