"""tests.linux.odd that takes its time where an address which has gone stands in, for others to be disturbed by that."""

from __future__ import annotations

import sys
import time
from typing import Any

from pyroute2 import IPRoute

from migrate.core import RST, FourTuple, Segment
from migrate.linux import ending, orphans, source_rule
from tests.linux import odd

LINGERS_SECONDS = 0.2


class Lingering(IPRoute):  # type: ignore[misc]
    def rule(self, command: str, *arguments: Any, **words: Any) -> Any:
        answer = super().rule(command, *arguments, **words)
        if command == "add" and words.get("priority") == source_rule.STAND_IN_PRIORITY:
            time.sleep(LINGERS_SECONDS)
        return answer


def main() -> int:
    source_rule.IPRoute = Lingering  # type: ignore[attr-defined]
    from_peer = orphans._from_peer

    def late(pair: FourTuple, flags: int, number: int, ack: int, window: int) -> Segment:
        if flags == RST:
            time.sleep(LINGERS_SECONDS)
        return from_peer(pair, flags, number, ack, window)

    orphans._from_peer = late
    ending.PATIENCE_SECONDS += LINGERS_SECONDS
    return odd.main()


if __name__ == "__main__":
    sys.exit(main())
