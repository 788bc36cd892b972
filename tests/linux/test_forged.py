"""Migrate SYNs of somebody else, and which of the checks on a Migrate SYN stops them."""

from __future__ import annotations

import time
from dataclasses import replace

from migrate.core import ACK, MIGRATE_KIND, RST, SYN, FourTuple, Segment, seq
from migrate.core.options import find
from tests.linux import lab, wire
from tests.linux.forger import Numbers, eavesdrop
from tests.topologies.inside import in_sandbox

FORGED = 60
BURST, RATE = 10, 5
"""RSTs to one source: so many at once, then so many a second (admission.RstLimiter)."""


def of_three(version: int, port: int = 5555) -> FourTuple:
    """The pair of `three`'s own address, which answers reach, and `two`."""
    return FourTuple(lab.ip({4: "10.2.0.3", 6: "fd02::3"}[version]), port, lab.ip(lab.address(version, 2)), 9000)


def answers(seen: list[wire.Seen], version: int) -> list[Segment]:
    """What `two` has said in a capture."""
    return [one.segment for one in seen if one.segment.src == lab.ip(lab.address(version, 2))]


def events_of(place: lab.Lab, name: str, cause: str) -> int:
    return len([one for one in place.daemons[name].events() if cause in one["cause"]])


def malformed(request: Segment) -> Segment:
    return replace(request, options=b"\1\x10\3\0")


def unknown_tokens_are_refused_and_not_too_often(place: lab.Lab, client: lab.Talker, server: lab.Talker) -> None:
    for version in lab.VERSIONS:
        number, numbers = eavesdrop(place, client, server, version)
        with wire.captured(place.three, "eth1") as seen:
            first = time.monotonic()
            forged = [numbers.request(of_three(version), 1, token=bytes((1, at)) * 4) for at in range(FORGED)]
            wire.inject_all(place.three, forged)
            lab.both_ways(client, server, number)
            place.daemons["two"].forget()
            wire.inject(place.three, malformed(forged[0]))  # which it tells of, when it has dealt with all of them
            place.daemons["two"].wait_event("ignored")
            last = time.monotonic()
        refusals = answers(seen, version)
        assert BURST <= len(refusals) <= BURST + RATE * (last - first + 1)
        assert len(refusals) < FORGED
        for one in refusals:
            assert (one.flags, one.seq, one.ack) == (RST | ACK, 0, seq.add(forged[0].seq, 1))
        assert [row["state"] for row in place.daemons["two"].migratable()][-1:] == ["ESTABLISHED"]


def a_wrong_proof_is_refused_and_the_connection_goes_on(place: lab.Lab, client: lab.Talker, server: lab.Talker) -> None:
    for at, version in enumerate(lab.VERSIONS):
        number, numbers = eavesdrop(place, client, server, version)
        wrong = numbers.request(of_three(version), 1, proof=bytes(8))
        with wire.captured(place.three, "eth1") as seen:
            wire.inject(place.three, wrong)
            place.daemons["two"].wait_event("ignored", at + 1)
            lab.both_ways(client, server, number)
        assert [one.flags for one in answers(seen, version)] == [RST | ACK]
        assert events_of(place, "two", "request 1 with a wrong proof") == at + 1
        assert place.daemons["two"].events("answered") == []


def whoever_knows_the_secret_is_answered(place: lab.Lab, client: lab.Talker, server: lab.Talker) -> None:
    """So the forger of the other tests fails by what it lacks, and by nothing else."""
    for at, version in enumerate(lab.VERSIONS):
        _, numbers = eavesdrop(place, client, server, version)
        with wire.captured(place.three, "eth1") as seen:
            wire.inject(place.three, numbers.request(of_three(version), 1))
            place.daemons["two"].wait_event("answered", at + 1)
        said = answers(seen, version)
        assert said[0].flags == SYN | ACK
        assert (said[0].seq, said[0].ack) == (seq.add(numbers.next_of_two, -1), numbers.next_of_one)


def impossible_numbers_and_options_are_dropped_in_silence(
    place: lab.Lab, client: lab.Talker, server: lab.Talker
) -> None:
    for at, version in enumerate(lab.VERSIONS):
        number, numbers = eavesdrop(place, client, server, version)
        right = numbers.request(of_three(version), 1)
        with wire.captured(place.three, "eth1") as seen:
            wire.inject(place.three, numbers.request(of_three(version), 1, at=1 << 28))
            wire.inject(place.three, numbers.request(of_three(version), 1, at=1 << 30))
            wire.inject(place.three, malformed(right))
            place.daemons["two"].wait_event("ignored", 3 * (at + 1))
            lab.both_ways(client, server, number)
        assert answers(seen, version) == []
        assert events_of(place, "two", "with an S outside the window") == 2 * (at + 1)
        assert events_of(place, "two", "a malformed Migrate SYN") == at + 1


@in_sandbox
def test_forged_requests() -> None:
    with lab.lab() as place:
        client, server = lab.talkers(place)
        for part in (
            unknown_tokens_are_refused_and_not_too_often,
            a_wrong_proof_is_refused_and_the_connection_goes_on,
            impossible_numbers_and_options_are_dropped_in_silence,
            whoever_knows_the_secret_is_answered,
        ):
            part(place, client, server)
            for daemon in place.daemons.values():
                daemon.forget()


def the_request(seen: list[wire.Seen]) -> Segment:
    return next(one.segment for one in seen if find(one.segment.options, MIGRATE_KIND) is not None)


def moved(place: lab.Lab, version: int, old: int, new: int, count: int) -> Segment:
    """`one` moves, for the so-manieth time altogether; the Migrate SYN that did it."""
    with wire.captured(place.one) as seen:
        place.replace(place.one, version, old, new)
        place.wait_moved(count)
    return the_request(seen)


def replayed(numbers: Numbers, request: Segment, source: FourTuple) -> Segment:
    """A recorded request with another source."""
    return source.segment(SYN, request.seq, options=request.options)


@in_sandbox
def test_a_recorded_request_moves_nothing() -> None:
    with lab.lab() as place:
        client, server = lab.talkers(place)
        for at, version in enumerate(lab.VERSIONS):
            number, numbers = eavesdrop(place, client, server, version)
            first = moved(place, version, 1, 11, 2 * at + 1)
            ignored = len(place.daemons["two"].events("ignored"))

            with wire.captured(place.two, "eth1") as stolen, wire.captured(place.two) as repeated:
                wire.inject(place.three, replayed(numbers, first, of_three(version)))
                other_port = FourTuple(first.src, first.sport + 1, first.dst, first.dport)
                wire.inject(place.three, replayed(numbers, first, other_port))
                place.daemons["two"].wait_event("ignored", ignored + 2)
                # The very same from the very same pair may be a retransmission: the answer comes again.
                wire.inject(place.three, first)
                wait_for_silence(place, numbers, version)
            assert len(answers(stolen, version)) == 1, "only the last one, of wait_for_silence, is refused here"
            said = answers(repeated, version)
            assert [one.flags for one in said] == [SYN | ACK]
            assert (said[0].dst, said[0].seq, said[0].ack) == (
                *(first.src, seq.add(numbers.next_of_two, -1)),
                numbers.next_of_one,
            )
            lab.both_ways(client, server, number)
            numbers.from_one += 1000
            numbers.from_two += 1000

            moved(place, version, 11, 1, 2 * at + 2)
            ignored = len(place.daemons["two"].events("ignored"))
            with wire.captured(place.two) as seen:
                wire.inject(place.three, first)
                place.daemons["two"].wait_event("ignored", ignored + 1)
            assert answers(seen, version) == [], "a request of the past is dropped in silence"
            lab.both_ways(client, server, number)
            assert len(place.daemons["two"].events("answered")) == 2 * (at + 1)


def wait_for_silence(place: lab.Lab, numbers: Numbers, version: int) -> None:
    """Until `two` has dealt with all that came before: a forged request, which is refused, comes after it."""
    with wire.captured(place.three, "eth1") as seen:
        before = events_of(place, "two", "with a wrong proof")
        wire.inject(place.three, numbers.request(of_three(version, 6666), 9, proof=bytes(8)))
        lab.until(lambda: events_of(place, "two", "with a wrong proof") > before, "the last request is refused")
    assert len(answers(seen, version)) == 1


@in_sandbox
def test_a_request_sent_back_to_its_sender_is_not_accepted() -> None:
    with lab.lab() as place:
        client, server = lab.talkers(place)
        for at, version in enumerate(lab.VERSIONS):
            number, numbers = eavesdrop(place, client, server, version)
            first = moved(place, version, 1, 11, at + 1)
            gateway = {4: "10.1.0.1", 6: "fd01::1"}[version]
            place.three.ip_batch(version, [f"route replace {first.src} via {gateway}"])
            at_three = lab.ip({4: "10.1.0.3", 6: "fd01::3"}[version])
            with wire.captured(place.one) as seen, wire.captured(place.one, "eth1") as beside:
                for source in (FourTuple(first.dst, first.dport, first.src, first.sport),
                               FourTuple(at_three, 7777, first.src, first.sport)):  # fmt: skip
                    wire.inject(place.three, replayed(numbers, first, source))
                place.daemons["one"].wait_event("ignored", 2 * (at + 1))
                lab.both_ways(client, server, number)
            assert events_of(place, "one", "our own request, sent back to us") == 2 * (at + 1)
            own = [one.segment for one in seen + beside if one.segment.src == first.src]
            assert not any(one.flags & (SYN | RST) for one in own)
            assert place.daemons["one"].events("answered") == []
