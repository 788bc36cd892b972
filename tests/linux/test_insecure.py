"""The draft's insecure variant: Migrate-Permitted without a key, only where both ends were told to."""

from __future__ import annotations

import pytest

from migrate.core import INSECURE_SECRET, MIGRATE_KIND, MP_KIND, SYN, keys, options
from migrate.core.options import find, split
from tests.linux import lab, wire
from tests.topologies.inside import in_sandbox

INSECURE = "--insecure"


def permitted(seen: list[wire.Seen]) -> list[bytes | None]:
    """What SYN and SYN/ACK carry of Migrate-Permitted, behind its length."""
    return [find(one.segment.options, MP_KIND) for one in seen if one.segment.flags & SYN]


@in_sandbox
def test_both_ask_for_it_and_both_can_move_with_a_secret_of_zeros() -> None:
    with lab.lab(INSECURE) as place:
        client, server = lab.talkers(place)
        for at, version in enumerate(lab.VERSIONS):
            with wire.captured(place.one) as seen:
                number = lab.connect(client, server, version)
                lab.both_ways(client, server, number)
                place.replace(place.one, version, 1, 11)
                place.wait_moved(3 * at + 1)
                lab.both_ways(client, server, number)
                place.replace(place.two, version, 2, 12)
                place.wait_moved(3 * at + 2)
                lab.both_ways(client, server, number)
            assert permitted(seen)[:2] == [b"\0", b"\0"]
            syn, answer = (one.segment for one in seen[:2])
            assert len(syn.options) == len(answer.options) == 24
            kinds = [one.kind for one in split(syn.options)]
            assert sorted(kinds) == [2, 3, 4, 8, 15]
            asked = next(one.segment for one in seen if find(one.segment.options, MIGRATE_KIND))
            found = find(asked.options, MIGRATE_KIND)
            octet = options.octet(False, 1)
            proof = keys.request(syn.seq, answer.seq, INSECURE_SECRET, asked.seq, octet, 1)
            assert found == bytes((octet,)) + keys.token(syn.seq, answer.seq, INSECURE_SECRET) + proof
            place.replace(place.two, version, 12, 2)
            place.wait_moved(3 * at + 3)
        assert all(row["insecure"] for row in place.daemons["one"].migratable())


@in_sandbox
def test_one_that_was_not_told_to_has_none_of_it() -> None:
    with lab.lab(on="") as place:
        for port, here, there in ((9000, INSECURE, ""), (9001, "", INSECURE)):
            place.launch(["one"], *here.split(), module="migrate.migrated")
            place.launch(["two"], *there.split(), module="migrate.migrated")
            client, server = lab.talkers(place, port)  # a listener that opens under the daemon's eyes
            for version in lab.VERSIONS:
                with wire.captured(place.one) as seen:
                    number = lab.connect(client, server, version, port)
                    lab.both_ways(client, server, number)
                asked, answered = permitted(seen)[:2]
                assert asked is not None
                if here:
                    # The one that insists on a key goes on as plain TCP.
                    assert (asked, answered) == (b"\0", None)
                    assert place.daemons["one"].migratable() == place.daemons["two"].migratable() == []
                else:
                    # And the one that does not has one none the less, if the other sends it.
                    assert answered is not None
                    assert (len(asked), len(answered)) == (18, 18)
                    assert [row["insecure"] for row in place.daemons["two"].migratable()] in ([False], [False] * 2)
            for daemon in place.daemons.values():
                daemon.stop()


@in_sandbox
def test_a_connection_stays_what_it_was_when_the_daemon_is_started_with_another_option() -> None:
    with lab.lab() as place:
        client, server = lab.talkers(place)
        secure = lab.connect(client, server, 4)
        for name in ("one", "two"):
            place.daemons[name].stop()
        place.launch(["one", "two"], INSECURE, module="migrate.migrated")
        insecure = lab.connect(client, server, 4)
        assert sorted(row["insecure"] for row in place.daemons["one"].migratable()) == [False, True]
        place.replace(place.one, 4, 1, 11)
        place.wait_moved(2)
        for number in (secure, insecure):
            lab.both_ways(client, server, number)


def test_the_option_is_off_unless_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    from migrate.migrated import _arguments

    assert not _arguments(["--cgroup", "/"]).insecure
    assert _arguments(["--cgroup", "/", INSECURE]).insecure
