"""A person moves one connection to another replica (`migratectl take`); the others stay where they are."""

from __future__ import annotations

import os
import signal
import sys

from tests.failover.house import OUT, PATIENCE_SECONDS, SLOW, house
from tests.topologies.inside import in_sandbox

SIZE = 3_000_000


@in_sandbox
def test_one_connection_of_two_is_taken() -> None:
    with house(rate_bps=SLOW) as place:
        wanted = place.file("object", SIZE)
        place.serve_all()
        downloads = {}
        for number in range(2):
            downloads[number] = place.curl("object", OUT / f"got{number}")
            downloads[number].wait_for(1, PATIENCE_SECONDS)
        place.wedges["sB"].knows(2)
        (taken, kept) = (row["connection"] for row in place.daemons["client"].migratable())
        words = [sys.executable, "-m", "migrate.migratectl", "take"]
        unknown = place.servers["sB"].run([*words, "00000000"], check=False)
        assert (unknown.returncode, unknown.stderr) == (1, "no other server has told of a connection 00000000\n")
        assert taken in place.servers["sB"].run([*words, taken]).stdout
        event = place.wedges["sB"].wait_event("taken-over")
        assert event["connection"] == taken
        for download in downloads.values():
            place.finish(download, wanted)
        assert [one["connection"] for one in place.wedges["sB"].events("taken-over")] == [taken]
        assert kept not in [one["connection"] for one in place.daemons["client"].events("migrated")]


@in_sandbox
def test_one_that_comes_over_while_its_new_server_is_about_to_end_is_passed_on() -> None:
    with house(rate_bps=SLOW) as place:
        wanted = place.file("object", SIZE)
        place.serve_all()
        download = place.curl("object", OUT / "got")
        download.wait_for(1, PATIENCE_SECONDS)
        new = place.wedges["sB"]
        new.knows()
        client = place.daemons["client"].worker
        os.kill(client, signal.SIGSTOP)  # so that its answer comes later
        (name,) = (row["connection"] for row in place.daemons["sA"].migratable())
        assert new.ask(do="take", connection=name)
        place.daemons["sB"].wait_event("migrating")
        new.process.terminate()
        os.kill(client, signal.SIGCONT)
        place.finish(download, wanted)
        assert new.process.wait(PATIENCE_SECONDS) == 0
        assert [one["connection"] for one in new.events("taken-over")] == [name]
        passed_on = [wedge for wedge in place.wedges.values() if wedge is not new and wedge.events("taken-over")]
        assert passed_on, "the client was left without a server"
