"""A mobile downloads over a 19.2 kbit/s modem and moves to another (slides 27 and 28)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from analysis import diagram, keylog, stream
from analysis.checking import find
from analysis.diagram import Verdict as Judgement
from analysis.pictures.ladder import ladder_text
from analysis.pictures.ladder_svg import ladder_svg
from analysis.pictures.time_sequence import draw_time_sequence
from analysis.stream import Stream
from scenarios import mobility_checks, needs
from scenarios.base import Context, Scenario
from scenarios.programs import Download, Migrated, Nginx, checksum, random_file, wait_until_closed
from scenarios.verdict import Check, Invalid
from topologies.measure import LinkNotAsDeclared
from topologies.mobility import Mobility, Move
from topologies.profiles import PROFILES

OBJECT_BYTES = 100_000
MOVE_AT_BYTES = 40_000
DIAGRAMS = {"mobile": "mobility", "server": "mobility-server"}
# What 100 KB and a lost window take on the modem, several times over.
PATIENCE_SECONDS = 240.0


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


class MobilityScenario(Scenario):
    name = "mobility"
    claim = "A download goes on from exactly the next byte while the mobile changes its address (slides 27, 28)"
    needs = (
        *needs.TOPOLOGY,
        *needs.MIGRATE,
        needs.Program("curl"),
        needs.Program("nginx", "nginx-light", ("-v",)),
        needs.Program("tshark"),
    )

    def run(self, context: Context) -> list[Check]:
        outcome = self._let_it_happen(context)
        context.step("reading the captures")
        keys = keylog.read_keys([context.out / "keys.log"])
        captures = {"mobile": ("loc1.pcap", "loc2.pcap"), "server": ("server.pcap",)}
        found = {
            vantage: stream.load([context.out / file for file in files], vantage, keys)
            for vantage, files in captures.items()
        }
        streams = {vantage: self._moved(found[vantage], vantage) for vantage in found}
        diagrams = {vantage: diagram.load(find(name)) for vantage, name in DIAGRAMS.items()}
        judged = {
            vantage: diagram.check(diagrams[vantage], streams[vantage], outcome.round_trip) for vantage in streams
        }
        context.step("drawing")
        self._draw(context, outcome, judged)
        seen = mobility_checks.Seen(
            judged=judged,
            connections={vantage: len(all_of_them) for vantage, all_of_them in found.items()},
            keys=keys,
            addresses=(outcome.move.old.address, outcome.move.new.address, outcome.server_address),
            object_bytes=OBJECT_BYTES,
            moved_at=outcome.move.lost_at,
            round_trip=outcome.round_trip,
        )
        return [
            *mobility_checks.judge(context, seen),
            Check.equal("curl's exit status", 0, outcome.exit_status),
            Check.equal("SHA-256 of the file received", outcome.wanted, outcome.got),
        ]

    def _let_it_happen(self, context: Context) -> Outcome:
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
            daemons = [Migrated(host, context.out) for host in (topology.server, topology.mobile)]
            Nginx(topology.server, root, work)
            captures = topology.capture(context.out)
            context.step("downloading at location 1")
            download = Download(topology.mobile, topology.server_address, "object", context.out / "object")
            download.wait_for(MOVE_AT_BYTES, PATIENCE_SECONDS)
            context.step("moving to location 2")
            move = topology.move()
            download.wait_for(MOVE_AT_BYTES + 10_000, PATIENCE_SECONDS)
            context.step("downloading at location 2")
            status = download.finish(PATIENCE_SECONDS)
            wait_until_closed((topology.mobile, topology.server), PATIENCE_SECONDS)
            for capture in captures.values():
                capture.stop()
            for daemon in daemons:
                daemon.stop()
        got = checksum(context.out / "object")
        round_trip = measured["loc2"].small_round_trip_s
        return Outcome(move, topology.server_address, round_trip, status, wanted, got)

    def _moved(self, found: list[Stream], vantage: str) -> Stream:
        moved = [one for one in found if len(one.epochs) > 1]
        if len(moved) != 1:
            raise Invalid(f"{len(moved)} connections moved in the captures at the {vantage}, 1 should have")
        return moved[0]

    def _draw(self, context: Context, outcome: Outcome, judged: dict[str, Judgement]) -> None:
        title = f"{self.name}, profile {context.profile}, IPv{context.ip}"
        moves = [outcome.move.lost_at]
        for vantage, judgement in judged.items():
            seen = judgement.stream
            here = f"{title}, at the {vantage}"
            about: dict[str, Any] = {"expected": judgement.matches, "moves": moves, "title": here}
            draw_time_sequence(seen, context.out / f"time-sequence-{vantage}.png", moves=moves, title=here)
            (context.out / f"ladder-{vantage}.txt").write_text(ladder_text(seen, colour=False, **about) + "\n")
            (context.out / f"ladder-{vantage}.svg").write_text(ladder_svg(seen, **about))
            as_json = diagram.as_json(diagram.load(find(DIAGRAMS[vantage])), [judgement])
            (context.out / f"diagram-{vantage}.json").write_text(json.dumps(as_json, indent=1))
