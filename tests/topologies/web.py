"""A download by an unmodified program from an unmodified server, as tests of topologies need it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from topologies.nodes import Host

SERVED = Path("/run/served")
RECEIVED = Path("/run/received")
PORT = 8000


def serve(host: Host, address: str, size: int) -> subprocess.Popen[bytes]:
    """Serve a file of so many random bytes; answers when this returns."""
    SERVED.mkdir(exist_ok=True)
    RECEIVED.unlink(missing_ok=True)
    (SERVED / "file").write_bytes(os.urandom(size))
    server = host.spawn(
        [sys.executable, "-m", "http.server", "--bind", address, "--directory", SERVED, str(PORT)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while f":{PORT} " not in host.run(["ss", "-Hltn"], daemon=True).stdout:
        assert server.poll() is None, "the server has ended"
        time.sleep(0.02)
    return server


def fetch(host: Host, address: str) -> subprocess.Popen[bytes]:
    """Start to download that file to RECEIVED."""
    name = f"[{address}]" if ":" in address else address
    return host.spawn(["curl", "--silent", "--fail", "--output", RECEIVED, f"http://{name}:{PORT}/file"])


def is_equal() -> bool:
    """Whether the file received is the file served."""
    return RECEIVED.read_bytes() == (SERVED / "file").read_bytes()
