"""Sends packets of a file at an even rate: `python -m scenarios.flooder FILE RATE`, on an attacker's host.

FILE holds whole IP packets of one length and IP version, one behind the other.  Prints a line of JSON at the end:
`sent` packets, and `seconds` that it took.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from pathlib import Path

BATCH_SECONDS = 0.001


def packets(raw: bytes) -> list[bytes]:
    """The packets of a file; all have the length that the first one's header states."""
    size = int.from_bytes(raw[2:4], "big") if raw[0] >> 4 == 4 else 40 + int.from_bytes(raw[4:6], "big")
    return [raw[at : at + size] for at in range(0, len(raw), size)]


def flood(found: list[bytes], rate: float) -> dict[str, float]:
    """Sends them, so many a second, as well as this machine can."""
    four = found[0][0] >> 4 == 4
    target = found[0][16:20] if four else found[0][24:40]
    family = socket.AF_INET if four else socket.AF_INET6
    with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        address = (socket.inet_ntop(family, target), 0)
        began = time.monotonic()
        sent = 0
        while sent < len(found):
            due = min(len(found), int((time.monotonic() - began) * rate) + 1)
            for packet in found[sent:due]:
                raw.sendto(packet, address)
            sent = due
            time.sleep(BATCH_SECONDS)
    return {"sent": sent, "seconds": time.monotonic() - began}


if __name__ == "__main__":
    print(json.dumps(flood(packets(Path(sys.argv[1]).read_bytes()), float(sys.argv[2]))), flush=True)
