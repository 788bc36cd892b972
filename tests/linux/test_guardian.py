"""A worker serves only under the guardian that has started it."""

from __future__ import annotations

import os
import time
from typing import cast

from migrate.daemon import guardian
from migrate.linux.journal import Journal


def test_a_worker_whose_guardian_dies_before_it_has_run_at_all_does_not_serve() -> None:
    read, write = os.pipe()

    def serve(_: Journal) -> int:
        os.write(write, b"it serves")
        return 0

    parent = os.fork()
    if parent == 0:
        parent = os.getpid()
        if os.fork() == 0:
            while os.getppid() == parent:
                time.sleep(0.001)
            guardian._in_child(serve, cast(Journal, None), parent)
        os._exit(0)
    os.waitpid(parent, 0)
    os.close(write)
    with os.fdopen(read, "rb") as said:
        assert said.read() == b""
