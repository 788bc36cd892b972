"""What a good run of `lossy` would have seen, made in memory: two segments lost just before the move."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from analysis import diagram as diagrams
from analysis.capture import ACK, FIN
from analysis.checking import SHIPPED
from analysis.diagram.model import Diagram
from migrate.core.segment import sack_option, timestamp_option
from scenarios import lossy_checks, mobility_checks
from scenarios.verdict import Check
from tests.analysis import made_trace as made
from tests.analysis.made_trace import Row, Setting
from tests.scenarios.mobility_seen import SETTING, Run

LOSSY = {
    "mobile": diagrams.load(SHIPPED / "lossy.diagram"),
    "server": diagrams.load(SHIPPED / "lossy-server.diagram"),
}
LOST = (12, 14)  # data packets, counted from 0
HELD = (13, 15, 16, 17)
ARRIVED = 12 + len(HELD)  # when the mobile moves


class _LossyDownload(made._Download):
    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.had: set[int] = set()
        self.todo: list[int] = []
        self.duplicates = 0

    def next_packet(self) -> int:
        return next(number for number in range(self.s.total + 1) if number not in self.had)

    def options(self) -> bytes:
        blocks: list[tuple[int, int]] = []
        for number in sorted(self.had):
            if number < self.next_packet():
                continue
            start, end = (self.position(at) % 2**32 for at in (number, number + 1))
            if blocks and blocks[-1][1] == start:
                blocks[-1] = blocks[-1][0], end
            else:
                blocks.append((start, end))
        return timestamp_option(self.tick + 1, 900) + sack_option(blocks[::-1])

    def send_old(self, now: float) -> None:
        if self.sent == self.s.total:
            return
        number = self.sent
        arrival = self.data(now, "data", self.old)
        self.sent += 1
        if number in LOST:
            del self.w.mobile[-1]
        else:
            self.w.at(arrival, lambda time: self.arrive(time, number))

    def arrive(self, now: float, number: int) -> None:
        if self.away:
            return
        self.had.add(number)
        options = self.options()
        reached = self.up(
            now + 0.001, "ack", self.old, seq=self.request_end, ack=self.position(self.next_packet()), options=options
        )
        self.w.at(reached, lambda time: None if self.away and time > self.left else self.send_old(time))
        if len(self.had) == 12 + 2:
            self.w.at(reached, self.again)
        if len(self.had) == ARRIVED:
            self.away = True
            self.left = now + self.s.away
            self.received = self.next_packet()
            self.w.at(now + self.s.away, self.move)

    def again(self, now: float) -> None:
        """The server repairs the losses, into the queue that nobody will hear."""
        for number in LOST:
            self.down(
                now, "again", self.old, takes=self.s.packet_time, seq=self.position(number), ack=self.request_end,
                length=made.MSS,
            )  # fmt: skip

    def confirm(self, now: float) -> None:
        options = self.options()
        reached = self.up(
            now + 0.002, "7", self.new, seq=self.request_end, ack=self.position(self.received), options=options
        )
        self.w.modem_free = 0.0
        self.todo = [*LOST, *range(max(HELD) + 1, self.s.total)]
        self.flight = self.s.first_flight
        self.w.at(reached, self.resume)

    def send_new(self, now: float) -> None:
        if not self.todo:
            return
        number = self.todo.pop(0)
        self.sent = number
        tag = "8" if number == LOST[0] else "last" if number + 1 == self.s.total else "new"
        arrival = self.data(now, tag, self.new)
        self.w.at(arrival, lambda time: self.arrive_there(time, number))

    def arrive_there(self, now: float, number: int) -> None:
        self.had.add(number)
        end, options = self.position(self.next_packet()), self.options()
        reached = self.up(now + 0.001, "new-ack", self.new, seq=self.request_end, ack=end, options=options)
        self.w.at(reached, self.send_new)
        self.w.at(reached, self.send_new)
        if self.next_packet() == self.s.total:
            self.up(now + 0.010, "fin", self.new, flags=FIN | ACK, seq=self.request_end, ack=end)
            there = now + 0.010 + self.s.one_way
            self.down(there, "fin-back", self.new, flags=FIN | ACK, seq=end, ack=self.request_end + 1)
            self.up(there + self.s.one_way, "fin-ack", self.new, seq=self.request_end + 1, ack=end + 1)


def make(vantage: str, setting: Setting) -> list[Row]:
    world = _LossyDownload(setting).run()
    return world.mobile if vantage == "mobile" else world.server


@dataclass
class LossyRun(Run):
    """One run of `lossy`, still to be spoilt."""

    setting: Setting = field(default_factory=lambda: replace(SETTING, window=12))
    diagrams: ClassVar[dict[str, Diagram]] = LOSSY

    def __post_init__(self) -> None:
        super().__post_init__()
        self.rows = {vantage: make(vantage, self.setting) for vantage in LOSSY}
        self.moved_at = next(row.time for row in self.rows["mobile"] if row.tag == "5") - 0.01

    def checks(self, out: Path) -> list[Check]:
        context, seen = self.context(out), self.seen()
        return [*mobility_checks.judge(context, seen), *lossy_checks.judge(context, seen)]
