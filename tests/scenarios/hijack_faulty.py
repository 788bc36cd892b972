"""migrated with a fault: `HIJACK_FAULT=NAME python -m tests.scenarios.hijack_faulty ARGUMENTS`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from types import FunctionType
from typing import Any, cast

import pytest

from migrate import migrated
from migrate.core import admission, answering, keys, rules
from tests.migrate.planting import plant

VARIABLE = "HIJACK_FAULT"
Place = tuple[Callable[..., Any], str, str]
FAULTS: dict[str, tuple[Place, ...]] = {
    "": (),
    "a wrong R is accepted": (
        (answering.on_migrate_syn, "option.request != c.request(s, option.octet, count)", "False"),
    ),
    "ReqNo is not compared": (
        (rules.full_count, "accepted + ahead if 0 < ahead < _HALF_CIRCLE else None", "reqno"),
    ),
    "R leaves the high bits out": ((keys.request, "if count > REQNO_MASK:", "if False:"),),
    "a reflected request is accepted": (
        (answering.on_migrate_syn, "if any(", "if False and any("),
        (rules.believable_s, "_known(seq.add(s, 1), position)", "True"),
    ),
    "a reflected request is only dropped for its S": ((answering.on_migrate_syn, "if any(", "if False and any("),),
    "a RST counts anywhere": ((rules.resets, " and segment.seq == rcv_nxt", ""),),
    "RSTs are not limited": (
        (admission.RstLimiter.allow, "if bucket.tokens < 1 or self._all.tokens < 1:", "if False:"),
    ),
}


def main() -> int:
    for function, right, wrong in FAULTS[os.environ[VARIABLE]]:
        plant(pytest.MonkeyPatch(), cast(FunctionType, function), right, wrong)
    return migrated.main()


if __name__ == "__main__":
    sys.exit(main())
