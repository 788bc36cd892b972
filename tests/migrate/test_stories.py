"""Single moves in memory, whose segments one can count: what leaves, in which order, and what attackers achieve."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from migrate.core import ACK, RST, SYN, Notice, Segment, State, migrate_option, seq
from tests.migrate.journeys import Mover, addresses, open_pair
from tests.migrate.network import Network
from tests.migrate.pump import Host, Pair

MOVE = 0.12  # seconds: in the middle of the data


def started(version: int = 4, size: int = 4000, at: float = MOVE, kind: str = "break", who: int = 0) -> Pair:
    """A connection that carries data, and one move."""
    pair = open_pair(Network(), version=version, size=size)
    pair.network.later(at, lambda: Mover(pair, who, version).move(kind))
    return pair


def play(pair: Pair, until: float = 600) -> Network:
    pair.network.run(until, done=lambda: pair.network.now > 2 and pair.finished())
    return pair.network


def notices(host: Host) -> list[Notice]:
    return [report.event for report in host.reports]


def after_5(network: Network) -> list[Segment]:
    """From the first Migrate SYN on."""
    wire = [segment for _, segment in network.wire]
    return wire[next(i for i, segment in enumerate(wire) if segment.flags == SYN) :]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("kind", ["break", "make", "flap"])
@pytest.mark.parametrize("who", [0, 1])
def test_5_6_7_and_then_data(version: int, kind: str, who: int) -> None:
    pair = started(version, kind=kind, who=who)
    segments = after_5(play(pair))
    assert pair.finished()
    mover, stays = pair.hosts[who], pair.hosts[1 - who]
    five = segments[0]
    six = next(segment for segment in segments if segment.flags == SYN | ACK)
    seven = next(s for s in segments[segments.index(six) :] if s.src == five.src and s.flags == ACK)
    assert migrate_option(five) is not None
    assert (five.dst, five.src) == (stays.socket.pair.local_ip, mover.socket.pair.local_ip)
    assert (five.ack, five.window) == (0, 0)
    # 6 acknowledges the data received, 7 does the same the other way.
    assert (six.src, six.dst) == (five.dst, five.src)
    assert seq.geq(six.ack, seq.add(five.seq, 1))
    assert seven.seq == six.ack
    assert seven.ack == seq.add(six.seq, 1) or seq.gt(seven.ack, six.seq)
    assert [segment.flags for segment in segments].count(SYN) == 1
    assert notices(mover).count(Notice.MIGRATED) == notices(stays).count(Notice.MIGRATED) == 1


def test_nothing_leaves_but_6_until_7_has_come() -> None:
    """Three 6 are lost, 7 seconds long: the answerer's data waits, and then goes to the new address only."""
    pair = started()
    left = [3]

    def drop(segment: Segment) -> bool:
        left[0] -= segment.flags == SYN | ACK
        return segment.flags == SYN | ACK and left[0] >= 0

    pair.network.drop = drop
    network = play(pair)
    assert pair.finished()
    old, new = addresses(4, 1)[:2]
    wire = network.wire
    six = next(i for i, (_, segment) in enumerate(wire) if segment.flags == SYN | ACK)
    seven = next(i for i, (_, segment) in enumerate(wire) if i > six and segment.src == new and segment.flags & ACK)
    answers = [segment for _, segment in wire[six:seven] if segment.dst in (old, new)]
    assert len(answers) > 3
    assert all(segment.flags == SYN | ACK for segment in answers)
    assert any(segment.payload for _, segment in wire[seven:] if segment.dst == new)
    assert all(segment.dst != old for _, segment in wire[six:])


def test_what_has_arrived_is_not_sent_again() -> None:
    """No ACK reaches the mover any more, and yet 6 tells it what has arrived."""
    pair = started()
    old = addresses(4, 1)[0]
    pair.network.drop = lambda segment: segment.dst == old and pair.network.now > 0.06
    network = play(pair)
    assert pair.finished()
    six = next(i for i, (_, segment) in enumerate(network.wire) if segment.flags == SYN | ACK)
    there = network.wire[six][1].ack
    again = [
        s for _, s in network.wire[six:] if s.src == pair.a.socket.pair.local_ip and s.payload and seq.lt(s.seq, there)
    ]
    assert again == []
    assert seq.gt(there, seq.add(network.migrate_syns()[0].seq, 1))


@pytest.mark.parametrize("lost", [1, 2, 4])
@pytest.mark.parametrize("which", ["5", "6", "7"])
def test_a_lost_5_6_or_7_is_repaired(which: str, lost: int) -> None:
    pair = started()
    new, left = addresses(4, 1)[1], [lost]

    def drop(segment: Segment) -> bool:
        is_it = {
            "5": segment.flags == SYN,
            "6": segment.flags == SYN | ACK,
            "7": segment.src == new and segment.flags == ACK and not segment.payload,
        }[which]
        left[0] -= is_it
        return is_it and left[0] >= 0

    pair.network.drop = drop
    play(pair)
    assert pair.finished(), pair.story()
    assert left[0] < 0
    syns = {(segment.seq, segment.options) for segment in pair.network.migrate_syns()}
    assert len(syns) == 1  # same ReqNo, S and R


def test_a_connection_at_rest_repairs_a_lost_7_too() -> None:
    """Nobody has data to say it with: 6 comes again."""
    pair = started(at=5)
    new, left = addresses(4, 1)[1], [2]

    def drop(segment: Segment) -> bool:
        left[0] -= segment.src == new and segment.flags == ACK
        return segment.src == new and segment.flags == ACK and left[0] >= 0

    pair.network.drop = drop
    pair.network.run(until=30)
    assert pair.finished(), pair.story()
    assert left[0] < 0


# ---- strangers


def test_a_stranger_at_the_old_address_kills_nothing() -> None:
    """Slide 20: its RST, exactly at rcv_nxt, comes before the mover has announced itself."""
    pair = open_pair(Network())
    network, (old, new, *_) = pair.network, addresses(4, 1)
    network.later(MOVE, lambda: pair.a.vanish(old))
    network.later(MOVE, lambda: network.strangers.add(old))
    seen: list[int] = []
    network.later(5.0, lambda: seen.append(len(network.wire)))
    network.later(29.0, lambda: seen.append(len(network.wire)))
    network.later(30.0, lambda: pair.a.appear(new))
    network.run(until=29.5)
    assert pair.b.connection.state is State.MIGRATE_WAIT, pair.story()
    assert seen[0] == seen[1]  # MIGRATE_WAIT is silent
    network.run(until=100, done=pair.finished)
    assert pair.finished(), pair.story()
    assert not pair.b.was_reset


def test_a_peer_that_is_gone_for_good_is_reset_after_2_msl() -> None:
    pair = open_pair(Network())
    network, old = pair.network, addresses(4, 1)[0]
    network.later(MOVE, lambda: pair.a.vanish(old))
    network.later(MOVE, lambda: network.strangers.add(old))
    network.run(until=59)
    assert not pair.b.was_reset
    network.run(until=70)
    assert pair.b.was_reset
    assert pair.b.connection.state.name == "CLOSED"


@pytest.mark.parametrize("off", [-1, 1, 350])
def test_a_blind_rst_does_not_stop_the_data(off: int) -> None:
    """RFC 5961: in the window is not enough."""
    pair = open_pair(Network())
    network = pair.network

    def forge() -> None:
        here = pair.b.socket.pair
        network.send(Segment(here.remote_ip, 40000, here.local_ip, 80, RST, seq.add(pair.b.socket.rcv_nxt, off)))

    network.later(0.12, forge)
    network.run(until=50, done=pair.finished)
    assert pair.finished()
    assert Notice.WAITING not in notices(pair.b)


# ---- forged, replayed and reflected requests


def inject(pair: Pair, segment: Segment, source: str = "203.0.113.5") -> None:
    """An attacker sends it from its own address."""
    pair.network.send(
        Segment(ip_address(source), 6666, segment.dst, segment.dport, SYN, segment.seq, options=segment.options)
    )


def test_a_request_without_the_secret_is_refused_and_changes_nothing() -> None:
    pair = open_pair(Network())
    network = pair.network

    def forge() -> None:
        option = pair.a.connection.option(seq.add(pair.a.socket.snd_una, -1), False, 1)
        wrong = option.encode()[:-1] + bytes((option.encode()[-1] ^ 1,))
        here = pair.b.socket.pair
        inject(pair, Segment(here.remote_ip, 1, here.local_ip, 80, SYN, pair.a.socket.snd_una - 1, options=wrong))

    network.later(0.12, forge)
    network.run(until=50, done=pair.finished)
    assert pair.finished()
    assert pair.b.socket.pair.remote_ip == addresses(4, 1)[0]
    refused = [segment for _, segment in network.wire if segment.flags & RST]
    assert [str(segment.dst) for segment in refused] == ["203.0.113.5"]


def test_recorded_requests_move_nobody() -> None:
    """All of 300 moves sent again: seven bits of the number have wrapped twice."""
    pair = open_pair(Network(), size=256)
    network, ladder = pair.network, addresses(4, 1)
    mover = Mover(pair, 0, 4)
    for n in range(300):
        network.later(1.0 + 2 * n, lambda: mover.move("break"))
    network.run(until=700)
    assert pair.finished()
    assert pair.b.connection.accepted_count == 300
    recorded = network.migrate_syns()
    assert len({migrate_option(segment).reqno for segment in recorded if migrate_option(segment)}) == 128  # type: ignore[union-attr]
    before = pair.b.connection.to_bytes()
    for n, segment in enumerate(recorded[:-1]):
        network.later(n * 0.01, lambda segment=segment: inject(pair, segment))  # type: ignore[misc]
    answers = len([segment for _, segment in network.wire if segment.flags == SYN | ACK])
    network.run(until=network.now + 100)
    assert len([segment for _, segment in network.wire if segment.flags == SYN | ACK]) == answers
    assert pair.b.connection.to_bytes() == before
    assert pair.b.socket.pair.remote_ip == ladder[300 % 8]


def test_a_reflected_request_moves_nobody() -> None:
    """Ni and Na close together: what is a valid S for one is one for the other."""
    pair = open_pair(Network(), isns=(1_000_000, 1_000_100))
    network = pair.network

    def reflect(segment: Segment) -> bool:
        if segment.flags == SYN:
            back = Segment(
                segment.dst, segment.dport, segment.src, segment.sport, SYN, segment.seq, options=segment.options
            )
            network.later(0.01, lambda: pair.a.deliver(back))
        return False

    network.drop = reflect
    network.later(MOVE, lambda: Mover(pair, 0, 4).move("break"))
    network.run(until=50, done=lambda: network.now > 2 and pair.finished())
    assert pair.finished()
    assert Notice.IGNORED in notices(pair.a)
    assert Notice.ANSWERED not in notices(pair.a)


# ---- both ends


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("gap", [0.0, 0.01, 0.04, 0.06, 0.11, 0.3])
def test_both_ends_move_and_the_old_addresses_still_hear(gap: float, version: int) -> None:
    """Crossing Migrate SYNs are a simultaneous open."""
    pair = started(version, kind="make")
    pair.network.later(MOVE + gap, lambda: Mover(pair, 1, version).move("make"))
    play(pair)
    assert pair.finished(), pair.story()
    assert pair.a.socket.pair.local_ip == addresses(version, 1)[1]
    assert pair.b.socket.pair.local_ip == addresses(version, 2)[1]


def test_both_ends_move_and_both_old_addresses_are_gone() -> None:
    """Each side looks the other's name up again and sends its SYN there."""
    pair = started()
    pair.network.later(MOVE, lambda: Mover(pair, 1, 4).move("break"))
    play(pair)
    assert pair.finished(), pair.story()
    assert Notice.UNANSWERED in notices(pair.a) + notices(pair.b)


def test_without_a_name_to_look_up_both_stay_ready() -> None:
    """They end by the user timeout, not by the protocol: no state is left that an address could not revive."""
    pair = started()
    pair.network.later(MOVE, lambda: Mover(pair, 1, 4).move("break"))
    pair.a.name_of_peer = pair.b.name_of_peer = lambda: None
    pair.network.run(until=500)
    assert not pair.a.was_reset
    assert not pair.b.was_reset
    pair.network.later(0.0, lambda: pair.b.appear(addresses(4, 2)[0]))
    pair.network.run(until=1000, done=pair.finished)
    assert pair.finished(), pair.story()
