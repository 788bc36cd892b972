"""A real curl, a real nginx behind each wedge, and servers that die: every byte arrives, once."""

from __future__ import annotations

from scenarios.programs import checksum
from tests.failover.house import OUT, PATIENCE_SECONDS, house
from tests.topologies.inside import in_sandbox

SIZE = 3_000_000
RATE = 20e6


@in_sandbox
def test_a_download_outlives_its_server() -> None:
    """sA's wedge is killed with -9 in the middle; sB goes on from exactly the next byte."""
    with house(rate_bps=RATE) as place:
        wanted = place.file("object", SIZE)
        for name in place.servers:
            place.serve(name)
            place.wedge(name)
        target = OUT / "got"
        download = place.curl("object", target)
        download.wait_for(SIZE // 4, PATIENCE_SECONDS)
        place.wedges["sB"].knows()
        place.wedges["sA"].kill()
        assert place.wedges["sB"].pronounce("sA") == 1
        place.wedges["sB"].wait_event("taken-over")
        assert download.received < SIZE
        assert download.finish(PATIENCE_SECONDS) == 0
        assert checksum(target) == wanted
