"""The cells of the scenario `middlebox`, and how one of them is lived through."""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path as File

from analysis import pcap
from scenarios.middlebox_boxes import Box, switch_off, switch_on
from scenarios.middlebox_evidence import FILE, Ending, Finding, Flight, flight, judge, view
from scenarios.programs import Download, Nginx, ProgramError, checksum
from topologies.boxes import ACCESS, Boxes, Path, Side

MOVE_AT_BYTES = 60_000
OPENING_SECONDS = 12.0
"""What a connection may take to bring its first bytes: three SYNs at 0, 1, 3 s, and a fourth at 7 s."""
ALONE_SECONDS = 5.0
"""How long a transfer that does not go on is left to itself: segments 5 and 6 go out at 0, 1 and 3 s."""
RETURN_SECONDS = 8.0
"""What plain TCP takes to notice that its peer is back, several times over."""
ROUND_TRIP_SECONDS = 2 * ACCESS.delay_s
PAUSE_RATE = "40k"
"""nginx sends that much at once, and then nothing for the rest of the second."""


class Situation(StrEnum):
    """What was under way when the address changed."""

    IDLE = "idle"
    """Nothing: all that was sent is acknowledged, and both ends know it."""
    ACKS_LOST = "acknowledgements lost"
    """Data has arrived, the acknowledgements have not: as in any transfer, made sure of."""
    DATA_LOST = "data lost"
    """Data is lost, and nothing of it has arrived."""


class Handshake(StrEnum):
    """How segments 5 and 6 are made."""

    DRAFT = "draft"
    ADAPTED = "adapted"
    """As migrated makes them for firewalls that look at numbers and windows, the host's own among them."""

    @property
    def options(self) -> tuple[str, ...]:
        """Of migrated."""
        return () if self is Handshake.DRAFT else ("--syn-number", "nxt", "--syn-window-scale", "--enter-tracking")


@dataclass(frozen=True, order=True)
class Cell:
    """One try: who moves behind which box, when, and with which handshake."""

    box: str
    mover: Side
    situation: Situation
    handshake: Handshake

    @property
    def directory(self) -> str:
        return f"{self.box}/{self.mover}-{self.situation.split()[0]}-{self.handshake}"


@dataclass(frozen=True)
class Result:
    """What became of a cell."""

    cell: Cell
    finding: Finding
    flight: Flight
    seconds: float
    """From the change of the address to the end of the transfer, or of patience."""


@dataclass(frozen=True)
class Stage:
    """Where cells are tried."""

    lab: Boxes
    wanted: str
    """SHA-256 of the object."""
    out: File


def try_out(stage: Stage, box: Box, cell: Cell) -> Result:
    """Opens a connection through the box, moves one side in its middle, and sees what becomes of it."""
    lab, path = stage.lab, stage.lab.paths[box.name]
    place = stage.out / cell.directory
    place.mkdir(parents=True)
    files = {"mobile": place / "inside.pcap", "server": place / "outside.pcap"}
    captures = [path.box.capture(path.inner, files["mobile"]), path.box.capture(path.outer, files["server"])]
    name = "slow/object" if cell.situation is Situation.IDLE else "object"
    download = Download(lab.mobile, path.address("server", 2), name, place / "received")
    moved_at = time.time()
    ending = Ending(whole=False, unaided=False)
    try:
        try:
            download.wait_for(MOVE_AT_BYTES, OPENING_SECONDS)
        except ProgramError:
            pass  # the box lets no connection open: the captures show it
        else:
            if box.met_at_move:
                switch_on(box, lab)
            moved_at = _move(lab, path, cell, download)
            ending = _see_it_end(stage, path, cell, download)
    finally:
        download.give_up()
        for capture in captures:
            capture.stop()
        _forget(lab, path)  # the RSTs of that are none of the experiment's
        lab.link(path).clear_rules()
        if box.met_at_move:
            switch_off(box, lab)
        lab.place(path, cell.mover, 2)
    seconds = time.time() - moved_at
    download.target.unlink(missing_ok=True)
    inside, outside = (pcap.read(files[side], FILE[side]) for side in ("mobile", "server"))
    seen = view(inside, outside, Nginx.PORT)
    return Result(cell, judge(seen, cell.mover, ending), flight(seen, cell.mover, moved_at), seconds)


def _forget(lab: Boxes, path: Path) -> None:
    """What is left of the path's connections: one that could not move would go on trying, and hold its interface."""
    ends = [path.address("server", host) for host in (2, 3)]
    at = [end if path.version == 4 else f"[{end}]" for end in ends]
    for host, word in ((lab.mobile, "dst"), (lab.server, "src")):
        host.run(["ss", "-HtK", word, at[0], "or", word, at[1]], check=False)


def _move(lab: Boxes, path: Path, cell: Cell, download: Download) -> float:
    """Brings the situation about, and changes the address; when, in seconds since 1970."""
    link = lab.link(path)
    if cell.situation is Situation.IDLE:
        _wait_until_idle(lab, path, download)
    else:
        toward, kind = (path.name, "ack") if cell.situation is Situation.ACKS_LOST else ("mobile", "data")
        link.add_rule(f"drop {kind} 1- toward {toward}")
        end = time.monotonic() + OPENING_SECONDS
        while link.state()["rules"][0]["fired"] < 3 and time.monotonic() < end:
            time.sleep(0.002)
        if cell.situation is Situation.DATA_LOST:
            _wait_until_still(download)
    moved_at = time.time()
    lab.place(path, cell.mover, 3)
    link.clear_rules()
    return moved_at


def _wait_until_still(download: Download) -> None:
    """Until what was on its way is there, and acknowledged: nothing new for several round trips."""
    seen, since = download.received, time.monotonic()
    while time.monotonic() - since < 5 * ROUND_TRIP_SECONDS:
        time.sleep(0.005)
        if download.received != seen:
            seen, since = download.received, time.monotonic()


def _wait_until_idle(lab: Boxes, path: Path, download: Download) -> None:
    """Until the server has nothing outstanding on this path, and nothing new has come since the last look."""
    end = time.monotonic() + OPENING_SECONDS
    seen = -1
    while time.monotonic() < end:
        server = path.address("server", 2)
        at = server if path.version == 4 else f"[{server}]"
        words = ["ss", "-Htn", "state", "established", "src", at]
        queues = [line.split()[1] for line in lab.server.run(words).stdout.splitlines()]
        if all(queue == "0" for queue in queues) and download.received == seen:
            return
        seen = download.received
        time.sleep(0.01)


def _see_it_end(stage: Stage, path: Path, cell: Cell, download: Download) -> Ending:
    """The transfer is left alone while it goes on; where it does not, its old address comes back."""
    before, since = download.received, time.monotonic()
    while download.running and time.monotonic() - since < ALONE_SECONDS:
        time.sleep(0.02)
        if download.received > before + _IN_THE_QUEUE:
            before, since = download.received, time.monotonic()
    if download.running and cell.situation is not Situation.ACKS_LOST:
        return Ending(whole=False, unaided=False)
    if download.running:
        stage.lab.place(path, cell.mover, 2)
        since = time.monotonic()
        while download.running and time.monotonic() - since < RETURN_SECONDS:
            time.sleep(0.02)
        return Ending(not download.running and checksum(download.target) == stage.wanted, unaided=False)
    return Ending(checksum(download.target) == stage.wanted, unaided=True)


_IN_THE_QUEUE = 2000
"""Bytes that must come in before patience starts anew: one segment of a box that lets one through is not going on."""
