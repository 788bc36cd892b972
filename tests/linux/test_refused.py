"""A move that the peer refuses: it is not asked again from the same address at every notice of the kernel's."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.linux import lab
from tests.topologies.inside import in_sandbox


def forget_all(place: lab.Lab) -> None:
    """The host `one` no longer knows that its connections can move: it refuses."""
    place.daemons["one"].kill()
    unload: list[str | Path] = [sys.executable, "-m", "migrate.migrated", "--unload"]
    unload += ["--cgroup", place.one.programs_cgroup]
    place.one.run(unload, daemon=True)
    place.start("one")


@in_sandbox
def test_what_was_refused_is_asked_again_at_the_next_address_only() -> None:
    with lab.lab() as place:
        client, server = lab.talkers(place)
        for version in lab.VERSIONS:
            lab.connect(client, server, version)
        forget_all(place)
        two = place.daemons["two"]
        for count, version in enumerate(lab.VERSIONS):
            place.replace(place.two, version, 2, 21)
            two.wait_event("refused", 2 * count + 1)
            for number in (31, 32, 33):
                other = f"10.9.0.{number}/24" if version == 4 else f"fd09::{number}/64"
                place.two.add_address("two-eth1", other)
                lab.until(lambda: two.ask(do="status"), "it has seen the notice")
            assert len(two.events("migrating")) == 2 * count + 1, "asked again"
            place.replace(place.two, version, 21, 22)
            two.wait_event("refused", 2 * count + 2)
            assert len(two.events("migrating")) == 2 * count + 2
