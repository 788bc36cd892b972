"""What fuzzing begins with: inputs that really occur, and the words of the diagram language."""

from __future__ import annotations

import re
from ipaddress import ip_address

from analysis.checking import SHIPPED
from migrate.core import ACK, CURVE_P192, SYN, FourTuple, Migrate, MigratePermitted, sack_option, timestamp_option


def seeds(name: str) -> list[bytes]:
    """Inputs to begin with: what really occurs."""
    migrate = Migrate(False, 5, b"TTTTTTTT", b"RRRRRRRR").encode()
    permitted = MigratePermitted(CURVE_P192, bytes(range(17))).encode()
    syn = bytes.fromhex("020405b40402080a000000000000000001030307")
    blocks = timestamp_option(1, 2) + sack_option([(1, 2), (5, 9)])
    if name == "options":
        return [migrate, syn + permitted, blocks, b"\x0f\x03\0\1"]
    if name == "segment":
        pairs = [
            FourTuple(ip_address(here), 40000, ip_address(there), 80)
            for here, there in (("10.1.0.1", "10.2.0.1"), ("fd00::1", "fd00::2"))
        ]
        return [
            pair.segment(flags, 7, 9, 5, chosen).pack()
            for pair in pairs
            for flags, chosen in ((SYN, migrate), (SYN, syn + permitted), (ACK, blocks))
        ]
    return [path.read_bytes() for path in sorted(SHIPPED.glob("*.diagram"))]


def dictionary() -> str:
    """The words of the diagram language, for the fuzzer to put together."""
    words = sorted(set(re.findall(r"[\w-]+|[^\w\s]", (SHIPPED / "mobility.diagram").read_text(encoding="utf-8"))))
    return "".join(f'"{word}"\n' for word in words if word.isascii() and word not in '"\\')
