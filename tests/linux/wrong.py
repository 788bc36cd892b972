"""migrated with one mistake in how it carries FINs and closed sockets: `python -m tests.linux.wrong ARGUMENTS`, with
the mistake's name in FAULT.  What the tests of half-closed connections must be able to see."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from migrate import migrated
from migrate.linux import ending
from migrate.linux.orphans import Orphans
from migrate.linux.repair import Checkpoint


def nothing() -> None:
    """No mistake."""


def fin_forgotten() -> None:
    """The FIN that waits behind the data is not queued again."""
    ending._send_fin = lambda *_: None


def fin_counted_twice() -> None:
    """The FIN that the peer has acknowledged takes another place in the sequence space."""
    Checkpoint.send_start = property(lambda image: image.snd_una)  # type: ignore[assignment, method-assign]


def fin_not_fed_back() -> None:
    """The peer's FIN, which it will not repeat, is lost."""
    ending._receive_fin = lambda *_: None


def fin_in_the_data() -> None:
    """The peer's FIN is counted as a byte that was read."""
    Checkpoint.recv_end = property(lambda image: image.rcv_nxt)  # type: ignore[assignment, method-assign]


def orphan_without_its_data() -> None:
    """Of what a closed socket has still to send, the second half is dropped; its FIN follows the first."""
    read = Orphans.__call__

    def half(self: Orphans, *arguments: Any) -> Checkpoint:
        image = read(self, *arguments)
        image.send_data = image.send_data[: len(image.send_data) // 2]
        return image

    Orphans.__call__ = half  # type: ignore[assignment, method-assign]


FAULTS: dict[str, Callable[[], None]] = {
    one.__name__: one
    for one in (nothing, fin_forgotten, fin_counted_twice, fin_not_fed_back, fin_in_the_data, orphan_without_its_data)
}


def main() -> int:
    FAULTS[os.environ["FAULT"]]()
    return migrated.main()


if __name__ == "__main__":
    sys.exit(main())
