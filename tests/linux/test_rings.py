"""A program that receives by io_uring is not held still by the freezer: that its socket is in the middle of something
is seen, and it stays where it is; between two receives it moves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.linux import lab
from tests.linux.talk import pattern
from tests.linux.uring import WAYS
from tests.topologies.inside import in_sandbox
from topologies.nodes import Host

PROGRAM = Path(__file__).with_name("uring.py")
REASON = "io_uring requests of its program are in flight"


class Receiver:
    """uring.py on a host, connected to the listener on `two`, with a receive in flight."""

    def __init__(self, host: Host, version: int, how: str, count: int) -> None:
        words: list[str | Path] = [sys.executable, "-I", PROGRAM, lab.address(version, 2), "9000", how, str(count)]
        self._process = host.spawn(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.said() == "waiting"

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def said(self) -> str:
        assert self._process.stdout is not None
        return str(self._process.stdout.readline()).strip()


def reason(daemon: lab.Daemon, name: str) -> str:
    return next(str(row["reason"]) for row in daemon.migratable() if row["connection"] == name)


@in_sandbox
def test_what_io_uring_is_at_work_on_stays_where_it_is() -> None:
    with lab.lab() as place:
        one, two = place.daemons["one"], place.daemons["two"]
        server = lab.Talker(place.two)
        assert server("listen", "", 9000) == 0
        for version in lab.VERSIONS:
            for how in WAYS:
                receiver = Receiver(place.one, version, how, 2)
                number = server("accept")
                if how == "whole":
                    server("send", number, 5)
                name = two.name_of(server("names", number))
                lab.until(lambda: reason(one, name) == REASON, "what has just come is dealt with")  # noqa: B023
                assert one.ask(do="status")["result"]["not_movable"] == {REASON: 1}
                place.add(place.one, version, 11)
                place.add(place.two, version, 21)
                said = one.ask(do="migrate", to=lab.address(version, 11), connection=name)
                assert said["result"] == [{"connection": name, "result": REASON}]
                assert [event["cause"] for event in one.events("not-carried")] == [REASON]
                assert "result" in two.ask(do="migrate", to=lab.address(version, 21), connection=name)
                assert two.wait_event("refused")["connection"] == name
                assert one.events("migrated") == two.events("migrated") == []
                lab.until(lambda: [row["state"] for row in two.migratable()][-1] == "ESTABLISHED", "it goes on")
                # What was in flight is all right.
                size = WAYS[how][2] if how == "whole" else 20
                for part in range(2):
                    server("send", number, size - 5 * (how == "whole" and part == 0))
                    assert receiver.said() == str(pattern(part * size, size))
                server("close", number)
                receiver.end()
                lab.until(lambda: not two.migratable(), "it is closed")
                place.remove(place.one, version, 11)
                place.remove(place.two, version, 21)
                for daemon in (one, two):
                    daemon.forget()


@in_sandbox
def test_between_two_receives_it_moves() -> None:
    with lab.lab() as place:
        server = lab.Talker(place.two)
        assert server("listen", "", 9000) == 0
        for count, version in enumerate(lab.VERSIONS, 1):
            receiver = Receiver(place.one, version, "polled", 1)
            number = server("accept")
            server("send", number, 10)
            assert receiver.said() == str(pattern(0, 10))
            place.replace(place.one, version, 1, 11)
            place.wait_moved(count)
            receiver.end()
