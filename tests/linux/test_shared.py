"""bpf/shared.h and its twins in Python say the same."""

from __future__ import annotations

import re
import socket

from migrate.core import options
from migrate.linux import maps
from migrate.linux.build import SOURCES

TWINS = {
    "AF_INET": socket.AF_INET,
    "MP_KIND": options.MP_KIND,
    "MIGRATE_KIND": options.MIGRATE_KIND,
    "CURVE_P192": options.CURVE_P192,
    "CURVE_INSECURE": options.CURVE_INSECURE,
    "MP_LENGTH": len(options.MigratePermitted(options.CURVE_P192, bytes(17)).encode()),
    "MP_BARE_LENGTH": len(options.MigratePermitted(options.CURVE_INSECURE).encode()),
    "MIGRATE_LENGTH": len(options.Migrate(False, 0, bytes(8), bytes(8)).encode()) - 1,
}
ALONE = {"MP_KEY_BYTES", "KEY_BYTES", "REPORT_SMALL", "REPORT_MAX", "ALLOWANCE", "ALLOWANCE_SYN", "ALLOWANCE_RST"}
ALONE |= {"TUPLE_WORDS"}
"""Of no interest to the daemon."""


def test_every_number_of_shared_h_has_its_twin() -> None:
    text = (SOURCES / "shared.h").read_text()
    defined = {name: int(value, 0) for name, value in re.findall(r"^#define (\w+) (0x\w+|\d+)\b(?!U)", text, re.M)}
    assert len(defined) > 20
    for name, value in defined.items():
        if name not in ALONE:
            assert TWINS.get(name, getattr(maps, name, None)) == value, name
    assert set(TWINS) <= set(defined)
