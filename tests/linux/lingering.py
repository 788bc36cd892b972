"""tests.linux.odd that takes its time where an address which has gone stands in, for others to be disturbed by that."""

from __future__ import annotations

import sys
import time

from migrate.core import RST, FourTuple, Segment
from migrate.linux import ending, orphans, source_rule
from migrate.linux.maps import Address
from migrate.linux.routing import Routing
from tests.linux import odd

LINGERS_SECONDS = 0.2


class Lingering(Routing):
    def add_rule(self, table: int, priority: int, remote: Address, mark: int | None = None) -> None:
        super().add_rule(table, priority, remote, mark)
        if priority == source_rule.STAND_IN_PRIORITY:
            time.sleep(LINGERS_SECONDS)


def main() -> int:
    source_rule.Routing = Lingering  # type: ignore[attr-defined]
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
