"""The daemon dies between any two system calls of a migration, each in turn: `python -m tests.linux.every_call`.

Each death is a connection of its own with data in its queues.  Its worker, or guardian and worker together, is
killed before the n-th call; then every byte must arrive, nothing may stand still, and the connection must be known to
both daemons and be where it was to go.  n rises until a worker comes through.

--stride and --offset take a part of the places only, as the test suite does; without them it is all of them.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import sys
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from migrate.core import TcpState
from tests.linux import lab
from tests.linux.kernel_state import assert_untouched
from tests.linux.strike import Death, Phase, Place, Strike
from topologies import sandbox

MODULE = "tests.linux.stubborn"
QUEUED = 3000
"""Bytes in each of the four queues at the move: two that no program has read, two that no kernel has acknowledged."""
FILLED = {"receive": 32_768, "send": 500_000}
"""Buffers, as asked for, of what is to fill up."""
AWAY_SECONDS = 1.0
"""Time for a daemon to notice that the address is gone."""
WORKER, DAEMON = "worker", "daemon"


@dataclass
class Stage:
    """The lab, its two programs, and where `one` is by IP version."""

    place: lab.Lab
    programs: dict[str, lab.Talker]
    module: str = MODULE
    here: dict[int, int] = field(default_factory=lambda: dict.fromkeys(lab.VERSIONS, 1))

    @property
    def ends(self) -> tuple[lab.Talker, lab.Talker]:
        return self.programs["one"], self.programs["two"]

    def go(self, version: int) -> None:
        """`one` changes its address."""
        old = self.here[version]
        self.here[version] = 11 if old != 11 else 12
        self.place.replace(self.place.one, version, old, self.here[version])

    def arrived(self, talker: lab.Talker, number: int) -> None:
        lab.until(lambda: talker("unacknowledged", number) == 0, "what was said has arrived")


class Situation(ABC):
    """One connection in a state in which it moves, and what must come of it."""

    name: ClassVar[str]
    victims: ClassVar[tuple[str, ...]] = ("one", "two")
    versions: ClassVar[tuple[int, ...]] = lab.VERSIONS
    patience: ClassVar[float] = lab.PATIENCE_SECONDS

    def __init__(self, stage: Stage, version: int) -> None:
        self.stage, self.version = stage, version
        self.client, self.server = stage.ends
        self.number = self.connect()

    def connect(self) -> int:
        return lab.connect(self.client, self.server, self.version)

    @abstractmethod
    @contextlib.contextmanager
    def moving(self) -> Iterator[None]:
        """`one` moves at its beginning; at its end all that kept the connection busy is over."""

    @abstractmethod
    def check(self) -> None:
        """Every byte arrives."""

    def receives(self, talker: lab.Talker, count: int) -> None:
        talker.start("receive", self.number, count)
        said = talker.answer(self.patience)
        assert said == "right", said

    def end(self) -> None:
        for talker in self.stage.ends:
            talker("close", self.number)


class Queues(Situation):
    """Data in all four queues, and nothing that was on the way to the old address arrives."""

    name = "queues"

    @contextlib.contextmanager
    def moving(self) -> Iterator[None]:
        self.leave_unread()
        with cut_off(self.stage.place, self.version, self.stage.here[self.version]):
            for talker in self.stage.ends:
                talker("send", self.number, QUEUED)
            self.stage.go(self.version)
            yield

    def leave_unread(self) -> None:
        """Both have said something that has arrived, and no program reads."""
        for talker in self.stage.ends:
            talker("send", self.number, QUEUED)
        for talker in self.stage.ends:
            self.stage.arrived(talker, self.number)

    def check(self) -> None:
        for talker in self.stage.ends:
            self.receives(talker, 2 * QUEUED)
        lab.both_ways(self.client, self.server, self.number)


class Bound(Queues):
    """The same, and the program has bound its address: the port range is narrowed for a moment."""

    name = "bound"

    def connect(self) -> int:
        here = lab.address(self.version, self.stage.here[self.version])
        return lab.connect(self.client, self.server, self.version, source=here)


class Back(Queues):
    """The same, but `one` is without its address for a moment, in which both begin to speak, and then where it was."""

    name = "back"

    @contextlib.contextmanager
    def moving(self) -> Iterator[None]:
        self.leave_unread()
        place, here = self.stage.place, self.stage.here[self.version]
        mover = place.daemons["one"]
        mover.forget()
        place.remove(place.one, self.version, here)
        end = time.monotonic() + AWAY_SECONDS  # whose worker may die before it has told of it
        while not mover.events("suspended") and time.monotonic() < end:
            time.sleep(0.002)
        for talker in self.stage.ends:
            talker("send", self.number, QUEUED)
        place.add(place.one, self.version, here)
        yield


class Halves(Situation):
    """The client has sent a FIN, and the server has far more to say than there is room for."""

    name = "half-closed"

    @contextlib.contextmanager
    def moving(self) -> Iterator[None]:
        self.client("send", self.number, QUEUED)
        self.client("shutdown", self.number)
        lab.until(lambda: TcpState(self.server("state", self.number)) == TcpState.CLOSE_WAIT, "its FIN has arrived")
        self.count = fill(self.server, self.client, self.number)
        self.stage.go(self.version)
        yield

    def check(self) -> None:
        self.receives(self.client, self.count)
        self.receives(self.server, QUEUED)
        assert self.server("at_end", self.number) is True
        lab.say(self.server, self.client, self.number, QUEUED)
        self.server("shutdown", self.number)
        assert self.client("at_end", self.number) is True


class Orphan(Situation):
    """The server has closed its socket, whose kernel has still far more to say than there is room for."""

    name = "closed"
    victims = ("two",)

    @contextlib.contextmanager
    def moving(self) -> Iterator[None]:
        self.count = fill(self.server, self.client, self.number)
        self.server("close", self.number)
        self.stage.go(self.version)
        yield

    def check(self) -> None:
        self.receives(self.client, self.count)
        assert self.client("at_end", self.number) is True

    def end(self) -> None:
        self.client("close", self.number)


SITUATIONS: dict[str, type[Situation]] = {each.name: each for each in (Queues, Bound, Back, Halves, Orphan)}


def fill(sender: lab.Talker, receiver: lab.Talker, number: int) -> int:
    """As much as fits; how many bytes."""
    receiver("set_option", number, socket.SOL_SOCKET, socket.SO_RCVBUF, FILLED["receive"])
    sender("set_option", number, socket.SOL_SOCKET, socket.SO_SNDBUF, FILLED["send"])
    sent = int(sender("fill", number, 1 << 24))
    assert sent > 4 * FILLED["receive"], "it has found room"
    return sent


@contextlib.contextmanager
def cut_off(place: lab.Lab, version: int, number: int) -> Iterator[None]:
    """Neither TCP hears anything to or from this address of `one`."""
    family, address = {4: "ip", 6: "ip6"}[version], lab.address(version, number)
    rules = f"""table {family} cut {{ chain in {{ type filter hook input priority 0;
        {family} saddr {address} tcp dport 9000 drop; {family} daddr {address} tcp sport 9000 drop; }}; }}"""
    for host in (place.one, place.two):
        host.run(["nft", "-f", "-"], stdin=rules, daemon=True)
    yield
    for host in (place.one, place.two):
        host.run(["nft", "delete table", family, "cut"], daemon=True)


def die(stage: Stage, kind: type[Situation], victim: str, version: int, place: Place, whom: str) -> Death | None:
    """One death at that place of one connection's migration; None where the worker has come through before."""
    daemon = stage.place.daemons[victim]
    situation = kind(stage, version)
    worker, guardian = daemon.worker, daemon.process.pid

    def kill() -> None:
        if whom == DAEMON:
            os.kill(guardian, signal.SIGKILL)
        os.kill(worker, signal.SIGKILL)

    strike = Strike(worker, place, kill)
    with situation.moving():
        death = strike.outcome()
        if death is not None:
            if whom == DAEMON:
                daemon.process.wait()
                daemon = stage.place.start(victim, module=stage.module)
            else:
                daemon.wait_ready()
        situation.check()
    for host in (stage.place.one, stage.place.two):
        assert_untouched(host)
    situation.end()
    for each in stage.place.daemons.values():
        lab.until(lambda each=each: not each.migratable(), "the connection is over")  # type: ignore[misc]
    return death


@contextlib.contextmanager
def staged(module: str = MODULE) -> Iterator[Stage]:
    with lab.lab(module=module) as place:
        client, server = lab.talkers(place)
        yield Stage(place, {"one": client, "two": server}, module)


def sweep(
    stage: Stage, kind: type[Situation], victim: str, whom: str, phase: Phase, stride: int = 1, offset: int = 0
) -> Iterator[Death]:
    """Each place of a phase in turn (or each `stride`-th), IPv4 and IPv6 by turns, until the worker comes through.
    Raises `AssertionError`, which names the place."""
    number = 1 + offset
    while True:
        version = kind.versions[(number // stride) % len(kind.versions)]
        try:
            death = die(stage, kind, victim, version, Place(phase, number), whom)
        except AssertionError as error:
            what = f"{kind.name}, IPv{version}, death of {victim}'s {whom} at {phase.value} {number}"
            raise AssertionError(f"{what}: {error}") from error
        if death is None:
            return
        yield death
        number += stride


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.linux.every_call", description=(__doc__ or "").split(":")[0])
    parser.add_argument("situations", nargs="*", metavar="SITUATION", help=f"of {', '.join(SITUATIONS)} (default: all)")
    parser.add_argument("--whom", choices=(WORKER, DAEMON), help="who is killed (default: one after the other)")
    parser.add_argument("--victim", choices=("one", "two"), help="the mover or the answerer (default: both)")
    parser.add_argument("--phase", choices=[each.value for each in (Phase.HANDSHAKE, Phase.REBIND)])
    parser.add_argument("--stride", type=int, default=1, help="take each N-th place only (default %(default)s)")
    parser.add_argument("--offset", type=int, default=0)
    given = sys.argv[1:] if arguments is None else arguments
    chosen = parser.parse_args(given)
    if not sandbox.is_inside():
        return sandbox.main(["--", sys.executable, "-m", "tests.linux.every_call", *given])
    total = 0
    for name in chosen.situations or SITUATIONS:
        kind = SITUATIONS[name]
        for whom in [chosen.whom] if chosen.whom else [WORKER, DAEMON]:
            for victim in [chosen.victim] if chosen.victim else kind.victims:
                with staged() as stage:
                    for phase in [Phase(chosen.phase)] if chosen.phase else [Phase.HANDSHAKE, Phase.REBIND]:
                        began, calls = time.monotonic(), Counter[str]()
                        for death in sweep(stage, kind, victim, whom, phase, chosen.stride, chosen.offset):
                            calls[death.call] += 1
                        total += calls.total()
                        took = time.monotonic() - began
                        which = ", ".join(f"{call} {count}" for call, count in calls.most_common())
                        where = f"{name}, {victim}'s {whom}, {phase.value}"
                        print(f"{where}: {calls.total()} deaths in {took:.0f} s, before {which}", flush=True)
                lab.clear()
    print(f"{total} deaths; no program stands still, no byte is lost")
    return 0


if __name__ == "__main__":
    sys.exit(main())
