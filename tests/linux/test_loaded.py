"""What the guardian has loaded serves one worker after the other; nothing of one that was killed reaches the next."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

from migrate.core import FourTuple
from migrate.linux.beyond import OutOfOrder, holding
from migrate.linux.maps import pack_tuple
from migrate.linux.queues import Queues
from tests.linux import lab
from tests.topologies.inside import in_sandbox


def loaded(pid: int) -> set[str]:
    """The programs and maps that a process has open, by the kernel's numbers of them."""
    said = "".join(file.read_text() for file in Path(f"/proc/{pid}/fdinfo").iterdir())
    return set(re.findall(r"(?:map|prog)_id:\s*\d+", said))


@in_sandbox
def test_a_worker_that_takes_anothers_place_finds_everything_loaded() -> None:
    with lab.lab() as place:
        daemon, (client, server) = place.daemons["one"], lab.talkers(place)
        lab.connect(client, server, 4)
        worker, before = daemon.worker, loaded(daemon.worker)
        assert sum(one.startswith("prog") for one in before) >= 5
        daemon.kill_worker()
        assert daemon.worker != worker
        assert loaded(daemon.worker) == before
        place.replace(place.one, 4, 1, 11)
        place.wait_moved()
        lab.both_ways(client, server, 0)


@in_sandbox
def test_who_is_told_to_end_while_it_loads_ends_in_order() -> None:
    with lab.lab(on="") as place:
        for milliseconds in (150, 250, 350, 450):
            daemon = lab.Daemon(place.one)
            time.sleep(milliseconds / 1000)
            daemon.process.send_signal(signal.SIGTERM)
            status = daemon.process.wait(lab.PATIENCE_SECONDS)
            assert status in (0, -signal.SIGTERM), daemon.last_words()  # before it had begun to load it just ends
            assert daemon.last_words() == ""
        place.start("one")


def begin(queues: Queues, pair: FourTuple) -> None:
    """As a reader does that is killed before it has taken what it asked for."""
    queues._wanted.set(pack_tuple(pair), queues._wish.pack(0, 0, 0, 0))
    queues._walk.run()


@in_sandbox
def test_what_a_killed_reader_has_asked_for_is_not_the_next_ones() -> None:
    queues = OutOfOrder().queues
    with holding(b"of one" * 100) as one, holding(b"of another" * 100) as other:
        begin(queues, one)
        assert b"of one" * 100 in [data for _, data in queues.read([other])[other].pieces], "this shows nothing"
        begin(queues, one)
        queues.forget()
        assert [data for _, data in queues.read([other])[other].pieces] == [b"of another" * 100]
