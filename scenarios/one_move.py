"""One download by modem during which the mobile moves once: what `mobility` and `lossy` have in common."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis import diagram, keylog, stream
from analysis.checking import find
from analysis.diagram import Verdict as Judgement
from analysis.pictures.ladder import ladder_text
from analysis.pictures.ladder_svg import ladder_svg
from analysis.pictures.view import names_of
from analysis.stream import Stream
from scenarios import needs
from scenarios.base import Context
from scenarios.mobility_checks import Seen
from scenarios.programs import Download, Migrated, Nginx, checksum, random_file, wait_until_closed
from scenarios.verdict import Check, Invalid
from topologies.measure import LinkNotAsDeclared
from topologies.mobility import Mobility, Move
from topologies.profiles import PROFILES

OBJECT_BYTES = 100_000
# What 100 KB and a lost window take on the modem, several times over.
PATIENCE_SECONDS = 240.0
NEEDS = (
    *needs.TOPOLOGY,
    *needs.MIGRATE,
    *needs.DOWNLOAD,
    needs.Program("tshark"),
)
CAPTURES = {"mobile": ("loc1.pcap", "loc2.pcap"), "server": ("server.pcap",)}

Wait = Callable[[Mobility, Download], None]


@dataclass(frozen=True)
class Outcome:
    """What happened, before anybody judges it."""

    move: Move
    server_address: str
    round_trip: float
    """Seconds, of small packets between the mobile's new location and the base station, measured beforehand."""
    exit_status: int
    wanted: str
    got: str

    def checks(self) -> list[Check]:
        """What the programs themselves have seen of it: nothing."""
        return [
            Check.equal("curl's exit status", 0, self.exit_status),
            Check.equal("SHA-256 of the file received", self.wanted, self.got),
        ]


def happen(context: Context, before_the_move: Wait, losses: Sequence[str] = ()) -> Outcome:
    """Builds the topology, with scripted losses on the first modem, and lets curl download; the mobile moves when
    `before_the_move` returns.  Leaves the captures, events and keys in the run's directory."""
    root, work = context.out / "www", context.out / "nginx"
    root.mkdir()
    work.mkdir()
    wanted = random_file(root / "object", OBJECT_BYTES, context.random)
    context.step("building the topology")
    with Mobility(ip=6 if context.ip == 6 else 4, profile=PROFILES[context.profile], seed=context.seed) as topology:
        context.step("measuring the links")
        try:
            measured = topology.measure()
        except LinkNotAsDeclared as cause:
            raise Invalid(str(cause)) from None
        for rule in losses:
            topology.modems["loc1"].add_rule(rule)
        daemons = [Migrated(host, context.out) for host in (topology.server, topology.mobile)]
        Nginx(topology.server, root, work)
        captures = topology.capture(context.out)
        context.step("downloading at location 1")
        download = Download(topology.mobile, topology.server_address, "object", context.out / "object")
        before_the_move(topology, download)
        context.step("moving to location 2")
        already = download.received
        move = topology.move()
        download.wait_for(already + 10_000, PATIENCE_SECONDS)
        context.step("downloading at location 2")
        status = download.finish(PATIENCE_SECONDS)
        wait_until_closed((topology.mobile, topology.server), PATIENCE_SECONDS)
        for capture in captures.values():
            capture.stop()
        for daemon in daemons:
            daemon.stop()
    got = checksum(context.out / "object")
    return Outcome(move, topology.server_address, measured["loc2"].small_round_trip_s, status, wanted, got)


def out_of_order(topology: Mobility) -> int:
    """Segments that have arrived beyond a hole since the mobile's connections began, or were last rebound."""
    said = topology.mobile.run(["ss", "-Htin", "state", "established"]).stdout
    return sum(int(number) for number in re.findall(r"rcv_ooopack:(\d+)", said))


def look(context: Context, outcome: Outcome, diagrams: Mapping[str, str]) -> Seen:
    """The captures, held against the diagram of each vantage point.  Raises `Invalid` unless one connection moved."""
    context.step("reading the captures")
    keys = keylog.read_keys([context.out / "keys.log"])
    found = {
        vantage: stream.load([context.out / file for file in files], vantage, keys)
        for vantage, files in CAPTURES.items()
    }
    judged = {
        vantage: diagram.check(diagram.load(find(diagrams[vantage])), moved(streams, vantage), outcome.round_trip)
        for vantage, streams in found.items()
    }
    return Seen(
        judged=judged,
        connections={vantage: len(all_of_them) for vantage, all_of_them in found.items()},
        keys=keys,
        addresses=(outcome.move.old.address, outcome.move.new.address, outcome.server_address),
        object_bytes=OBJECT_BYTES,
        moved_at=outcome.move.lost_at,
        round_trip=outcome.round_trip,
    )


def moved(found: Sequence[Stream], vantage: str) -> Stream:
    """The one connection that moved; raises `Invalid` where there is not exactly one."""
    several = [one for one in found if len(one.epochs) > 1]
    if len(several) != 1:
        raise Invalid(f"{len(several)} connections moved in the captures at the {vantage}, 1 should have")
    return several[0]


def draw(
    context: Context, name: str, diagrams: Mapping[str, str], outcome: Outcome, judged: Mapping[str, Judgement]
) -> None:
    """The pictures of both vantage points, and what the diagrams say of them."""
    if not context.pictures:
        return
    from analysis.pictures.time_sequence import draw_time_sequence  # which loads all of matplotlib

    context.step("drawing")
    title = f"{name}, profile {context.profile}, IPv{context.ip}"
    moves = [outcome.move.lost_at]
    for vantage, judgement in judged.items():
        seen = judgement.stream
        here = f"{title}, at the {vantage}"
        common: dict[str, Any] = {"moves": moves, "title": here, "names": names_of(seen, "mobile", "server")}
        draw_time_sequence(seen, context.out / f"time-sequence-{vantage}.png", **common)
        about = {"expected": judgement.matches, **common}
        (context.out / f"ladder-{vantage}.txt").write_text(ladder_text(seen, colour=False, **about) + "\n")
        (context.out / f"ladder-{vantage}.svg").write_text(ladder_svg(seen, **about))
        as_json = diagram.as_json(diagram.load(find(diagrams[vantage])), [judgement])
        (context.out / f"diagram-{vantage}.json").write_text(json.dumps(as_json, indent=1))
