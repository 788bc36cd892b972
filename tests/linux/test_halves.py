"""Connections that one side or both have begun to close: each of TCP's states is carried, whoever moves, both IP
versions, several times in a row.

What is to come still comes, every byte of it once; who has sent a FIN may not send again; the FIN that was received is
still the end; and nothing that the peer has is sent again, its FIN neither.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator

from migrate.core import FIN, RST, Segment, TcpState
from tests.linux import lab, wire
from tests.linux.kernel_state import assert_untouched
from tests.topologies.inside import in_sandbox

RECEIVE_BUFFER, SEND_BUFFER = 32_768, 500_000
"""As asked for, so that the kernel does not tune them: most of what is sent then waits, and the FIN behind it."""
MORE = 20_000_000
MOVES = 3


class Pair:
    """One connection from `one` to `two` in the lab, and its moves."""

    def __init__(self, place: lab.Lab, talkers: tuple[lab.Talker, lab.Talker], version: int) -> None:
        self.place, self.version = place, version
        self.client, self.server = talkers
        self.number = lab.connect(self.client, self.server, version)
        lab.both_ways(self.client, self.server, self.number)
        for talker in talkers:
            lab.until(lambda talker=talker: talker("unacknowledged", self.number) == 0, "all has arrived")  # type: ignore[misc]
        self.name = place.daemons["one"].name_of(self.client("names", self.number))

    @property
    def states(self) -> tuple[TcpState, TcpState]:
        return TcpState(self.client("state", self.number)), TcpState(self.server("state", self.number))

    def come_to(self, client: TcpState, server: TcpState, patience: float = lab.PATIENCE_SECONDS) -> None:
        what = f"{client.name} and {server.name}, not {self.states}"
        lab.until(lambda: self.states == (client, server), what, patience)

    def fill(self, sender: lab.Talker, receiver: lab.Talker) -> int:
        """Far more than `receiver`, which does not read, has room for; how much it is in all."""
        receiver("set_option", self.number, socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        sender("set_option", self.number, socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        sent = int(sender("fill", self.number, MORE))
        assert sent > 4 * RECEIVE_BUFFER, "it has found room"
        return sent

    def move(self, mover: str, number: int) -> None:
        """Without waiting for what was under way to arrive."""
        before = [len(self._moved(daemon)) for daemon in self.place.daemons.values()]
        to = lab.address(self.version, number)
        answer = self.place.daemons[mover].ask(do="migrate", to=to, connection=self.name)
        assert answer == {"result": [{"connection": self.name, "result": "under way"}]}, answer
        for daemon, count in zip(self.place.daemons.values(), before, strict=True):
            lab.until(lambda d=daemon, c=count: len(self._moved(d)) > c, f"moved on {daemon.host.name}")  # type: ignore[misc]

    def _moved(self, daemon: lab.Daemon) -> list[object]:
        return [event for event in daemon.events("migrated") if event["connection"] == self.name]

    def move_often(self, mover: str) -> None:
        first = {"one": 11, "two": 21}[mover]
        for number in range(MOVES):
            self.move(mover, first + number % 2)


def halves(
    module: str = "migrate.migrated", versions: Iterable[int] = lab.VERSIONS
) -> Iterator[tuple[int, lab.Lab, tuple[lab.Talker, lab.Talker]]]:
    """Both IP versions in one lab, with addresses to move to."""
    with lab.lab(module=module) as place:
        talkers = lab.talkers(place)
        for version in versions:
            for host, numbers in ((place.one, (11, 12)), (place.two, (21, 22))):
                for number in numbers:
                    place.add(host, version, number)
            yield version, place, talkers
        for host in (place.one, place.two):
            assert_untouched(host)


MOVERS = ("one", "two")


def of_port(seen: list[wire.Seen], port: int) -> list[Segment]:
    return [one.segment for one in seen if port in (one.segment.sport, one.segment.dport)]


def fins(segments: list[Segment]) -> int:
    return sum(bool(one.flags & FIN) for one in segments)


@in_sandbox
def test_fin_wait2_and_close_wait() -> None:
    """The common half-closed connection: a request is over, the answer is still to come."""
    for version, place, talkers in halves():
        client, server = talkers
        for mover in MOVERS:
            for read in (True, False):
                pair = Pair(place, talkers, version)
                client("send", pair.number, 700)
                client("shutdown", pair.number)
                pair.come_to(TcpState.FIN_WAIT2, TcpState.CLOSE_WAIT)
                if read:
                    assert server("receive", pair.number, 700) == "right"
                    assert server("at_end", pair.number) is True
                with wire.captured(place.one) as seen:
                    pair.move_often(mover)
                    pair.come_to(TcpState.FIN_WAIT2, TcpState.CLOSE_WAIT)
                    if not read:
                        assert server("receive", pair.number, 700) == "right"
                    assert server("at_end", pair.number) is True
                    assert client("send", pair.number, 1) == "EPIPE"
                    lab.say(server, client, pair.number, 100_000)
                port = client("names", pair.number)[1]
                assert fins(of_port(seen, port)) == 0, "a FIN that the peer has was sent again"
                assert not [one for one in of_port(seen, port) if one.flags & RST]
                server("shutdown", pair.number)
                assert client("at_end", pair.number) is True
                lab.until(lambda: server("state", pair.number) == TcpState.CLOSE, "closed in order")  # noqa: B023


@in_sandbox
def test_fin_wait1_with_a_fin_that_waits_behind_data() -> None:
    for version, place, talkers in halves():
        client, server = talkers
        for mover in MOVERS:
            pair = Pair(place, talkers, version)
            sent = pair.fill(client, server)
            client("shutdown", pair.number)
            pair.come_to(TcpState.FIN_WAIT1, TcpState.ESTABLISHED)
            pair.move_often(mover)
            assert pair.states == (TcpState.FIN_WAIT1, TcpState.ESTABLISHED)
            lab.say(server, client, pair.number)
            assert server("receive", pair.number, sent) == "right"
            assert server("at_end", pair.number) is True
            pair.come_to(TcpState.FIN_WAIT2, TcpState.CLOSE_WAIT)
            pair.move(mover, {"one": 12, "two": 22}[mover])
            lab.say(server, client, pair.number)
            server("shutdown", pair.number)
            assert client("at_end", pair.number) is True


@in_sandbox
def test_fin_wait1_with_a_fin_that_was_lost_or_whose_ack_was() -> None:
    for version, place, talkers in halves():
        client, server = talkers
        for mover in MOVERS:
            for lost in (True, False):
                pair = Pair(place, talkers, version)
                port = client("names", pair.number)[1]
                what = f"tcp sport {port} tcp flags & fin == fin" if lost else f"iifname != lo tcp dport {port}"
                with wire.dropping(place.two if lost else place.one, version, what), wire.captured(place.one) as seen:
                    client("shutdown", pair.number)
                    arrived = TcpState.ESTABLISHED if lost else TcpState.CLOSE_WAIT
                    pair.come_to(TcpState.FIN_WAIT1, arrived)
                    pair.move(mover, {"one": 11, "two": 21}[mover])
                    pair.come_to(TcpState.FIN_WAIT1 if lost else TcpState.FIN_WAIT2, arrived)
                new = lab.ip(lab.address(version, {"one": 11, "two": 21}[mover]))
                there = [one for one in of_port(seen, port) if new in (one.src, one.dst)]
                assert (fins(there) > 0) is lost, "the FIN is sent again if the peer has not got it, and only then"
                pair.come_to(TcpState.FIN_WAIT2, TcpState.CLOSE_WAIT)
                assert server("at_end", pair.number) is True
                lab.say(server, client, pair.number)
                server("shutdown", pair.number)
                assert client("at_end", pair.number) is True


@in_sandbox
def test_last_ack() -> None:
    """Of the host that moves, and of the one that stays."""
    for version, place, talkers in halves():
        client, server = talkers
        for mover in MOVERS:
            for last_is_client in (True, False):
                pair = Pair(place, talkers, version)
                last, closer = (client, server) if last_is_client else (server, client)
                states = (TcpState.LAST_ACK, TcpState.FIN_WAIT2)[:: 1 if last_is_client else -1]
                closer("shutdown", pair.number)
                assert last("at_end", pair.number) is True
                sent = pair.fill(last, closer)
                last("shutdown", pair.number)
                pair.come_to(*states)
                pair.move_often(mover)
                assert pair.states == states
                assert closer("receive", pair.number, sent) == "right"
                assert closer("at_end", pair.number) is True
                pair.come_to(TcpState.CLOSE, TcpState.CLOSE)


@in_sandbox
def test_closing() -> None:
    """Both have sent a FIN; that of one host is lost, again and again.  It moves itself, or the other does."""
    for version, place, talkers in halves():
        client, server = talkers
        for mover in MOVERS:
            for loses_clients in (True, False):
                pair = Pair(place, talkers, version)
                closing, other = (client, server) if loses_clients else (server, client)
                states = (TcpState.CLOSING, TcpState.FIN_WAIT2)[:: 1 if loses_clients else -1]
                port = client("names", pair.number)[1]
                here = "sport" if loses_clients else "dport"
                host = place.two if loses_clients else place.one
                with wire.dropping(host, version, f"tcp {here} {port} tcp flags & fin == fin"):
                    closing("shutdown", pair.number)
                    other("shutdown", pair.number)
                    pair.come_to(*states)
                    pair.move_often(mover)
                    assert pair.states == states
                assert closing("at_end", pair.number) is True
                assert other("at_end", pair.number) is True
                pair.come_to(TcpState.CLOSE, TcpState.CLOSE)  # what a program sees of TIME_WAIT


@in_sandbox
def test_last_ack_when_all_has_arrived_and_nobody_has_said_so() -> None:
    """The peer is in TIME_WAIT, and its ACK is lost: Migrate knows nothing of it there any more.  The one that moves is
    refused, and closes in order once its address is back, although the routes prefer another."""
    for version, place, talkers in halves():
        client, server = talkers
        pair = Pair(place, talkers, version)
        own, port = client("names", pair.number)[:2]
        number = int(own.removeprefix(lab.PREFIX[version]))
        with wire.dropping(place.one, version, f"iifname != lo tcp dport {port} tcp flags & (fin | syn | rst) == 0"):
            server("shutdown", pair.number)
            assert client("at_end", pair.number) is True
            client("shutdown", pair.number)
            pair.come_to(TcpState.LAST_ACK, TcpState.CLOSE)
            place.remove(place.one, version, number)
            assert place.daemons["one"].wait_event("refused")["connection"] == pair.name
            place.add(place.one, version, number)
        pair.come_to(TcpState.CLOSE, TcpState.CLOSE)
        place.daemons["one"].forget()


@in_sandbox
def test_a_direction_that_its_program_does_not_read_stays_shut() -> None:
    for version, place, talkers in halves():
        client, server = talkers
        pair = Pair(place, talkers, version)
        client("stop_reading", pair.number)
        pair.move_often("one")
        assert client("at_end", pair.number) is True
        lab.say(client, server, pair.number)
