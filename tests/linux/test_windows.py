"""What either side knows of the other's receive window once the connection has moved.

Who believes that it is too small asks only after a timeout, which after a rebind is 3 s; and the next move starts that
anew.  A connection that moves every second would stand still for as long as it does that.
"""

from __future__ import annotations

import os
import signal

from migrate.core import ACK, SYN, Segment, seq
from tests.linux import lab, wire
from tests.linux.kernel_state import counters
from tests.linux.odd import orders_file
from tests.linux.test_segments_of_a_move import handshake
from tests.topologies.inside import in_sandbox

MUCH = 1_000_000
CLOSED = "TcpExtTCPToZeroWindowAdv"


def fill(client: lab.Talker, place: lab.Lab, number: int) -> int:
    """The client's program writes as much as its kernel takes, until the server's kernel, whose program does not read,
    has closed the window; how much."""
    before = counters(place.two, CLOSED)[CLOSED]
    count = client("fill", number, MUCH)
    assert isinstance(count, int)
    lab.until(lambda: counters(place.two, CLOSED)[CLOSED] > before, "the server's window is closed")
    return count


def resent(place: lab.Lab) -> int:
    return counters(place.one, "TcpRetransSegs")["TcpRetransSegs"]


def after_7(seen: list[wire.Seen], version: int, mover: int) -> tuple[list[Segment], list[Segment]]:
    """Segments 5 to 7 of the one migration in a capture at the answerer, and what has passed after them."""
    five_to_seven = handshake(seen, version, mover)
    segments = [one.segment for one in seen]
    return five_to_seven, segments[segments.index(five_to_seven[2]) + 1 :]


def again(seven: Segment, segment: Segment) -> bool:
    """Whether this is 7 once more, as 6 had come again.  A question has the number of a byte before it."""
    return not segment.payload and segment.seq == seven.seq


def assert_went_on(seen: list[wire.Seen], version: int) -> None:
    """What the mover sent first from its new address was data, and no question whether it may send any."""
    (_, _, seven), after = after_7(seen, version, 11)
    sent = [one for one in after if one.src == lab.ip(lab.address(version, 11)) and not again(seven, one)]
    assert sent[0].payload, f"not data at first: {[(one.seq, len(one.payload)) for one in sent[:10]]}"


@in_sandbox
def test_a_window_that_opened_unheard_before_the_move() -> None:
    """The ACK that said so was on its way to an address that had gone; 6 says it again."""
    with lab.lab() as place:
        client, server = lab.talkers(place)
        for number, version in enumerate(lab.VERSIONS):
            lab.connect(client, server, version)
            count = fill(client, place, number)
            arrived = count - client("unacknowledged", number)
            lost = f"{wire.FAMILY[version]} daddr {lab.address(version, 1)} tcp sport 9000"
            with wire.captured(place.two) as seen:
                with wire.dropping(place.one, version, lost):
                    assert server("receive", number, arrived) == "right"
                    place.replace(place.one, version, 1, 11)
                    place.wait_moved(number + 1)
                assert server("receive", number, count - arrived) == "right"
            assert_went_on(seen, version)


@in_sandbox
def test_a_window_that_opens_during_the_handshake() -> None:
    """The server's program reads between 6 and 7, when its kernel cannot be heard."""
    with lab.lab(module="tests.linux.odd") as place:
        client, server = lab.talkers(place)
        for number, version in enumerate(lab.VERSIONS):
            lab.connect(client, server, version)
            count = fill(client, place, number)
            arrived = count - client("unacknowledged", number)
            with wire.captured(place.two) as seen:
                orders_file("one").write_text("stop said its first")
                place.replace(place.one, version, 1, 11)
                place.daemons["two"].wait_event("answered", number + 1)
                assert server("receive", number, arrived) == "right"
                os.kill(place.daemons["one"].worker, signal.SIGCONT)
                place.wait_moved(number + 1)
                assert server("receive", number, count - arrived) == "right"
            assert_went_on(seen, version)


@in_sandbox
def test_nothing_is_sent_beyond_the_window() -> None:
    """The last ACKs were lost, and with them how far it had closed: 6 acknowledges what the mover takes for in flight,
    and the window does not move on by that much.  What is beyond it is dropped, and sent again after timeouts that
    double for as long as the server's program does not read."""
    with lab.lab() as place:
        client, server = lab.talkers(place)
        for number, version in enumerate(lab.VERSIONS):
            lab.connect(client, server, version)
            lost = f"{wire.FAMILY[version]} daddr {lab.address(version, 1)} tcp sport 9000 tcp window < 20"  # KB
            with wire.dropping(place.one, version, lost):
                before = resent(place)
                count = client("fill", number, MUCH)
                lab.until(lambda before=before: resent(place) > before, "a timeout, for want of ACKs")  # type: ignore[misc]
                with wire.captured(place.two) as seen:
                    place.replace(place.one, version, 1, 11)
                    place.wait_moved(number + 1)
                    assert server("receive", number, count) == "right"
            (_, six, _), after = after_7(seen, version, 11)
            said = next(at for at, one in enumerate(after) if one.src == six.src and one.flags & (SYN | ACK) == ACK)
            edge = seq.add(six.ack, six.window)
            beyond = [seq.diff(seq.add(one.seq, len(one.payload)), edge) for one in after[:said] if one.src == six.dst]
            assert max(beyond, default=0) <= 0, f"bytes beyond the window: {beyond}"
