"""The mobile moves again before its last migration is finished, some 200 times in one download.

When it moves depends on how far the handshake before has come, at both ends, and on the seed; segments 5, 6 and 7 are
lost, doubled and delayed in turn, by the modem that the mobile moves to.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from itertools import cycle

from analysis.daemon_events import Told
from scenarios import needs, rapid_traces
from scenarios.base import Context, Scenario
from scenarios.following import Follower
from scenarios.programs import Download, Migrated, Nginx, checksum, random_file, wait_until_closed
from scenarios.rapid_seen import ENOUGH_MOVES, KINDS, MovedAway, Seen
from scenarios.verdict import Check, Invalid
from topologies.links import Cable
from topologies.measure import LinkNotAsDeclared
from topologies.mobility import Mobility
from topologies.nodes import Host
from topologies.profiles import PROFILES

LINK = Cable(rate_bps=8_000_000, delay_s=0.02, queue_packets=100)
OBJECT_BYTES = 8_000_000
AT_MOST_MOVES = 600
LATE_MS = 300
"""How late a delayed segment is: a newer Migrate SYN is there long before."""
PATIENCE_SECONDS = 60.0

RULES = {
    "5": "{action} migrate-syn 1{by} toward base",
    "6": "{action} syn-ack 1{by} toward mobile",
    "7": "{action} ack 1{by} after migrate-syn toward base",
}
"""What a modem does to the next segment of its kind; 7 is the first pure ACK behind a Migrate SYN."""
STAGES = ("5 has left", "6 has left", "7 has left", "7 has come", "data has come")
"""How far the handshake is when the mobile moves on."""
TURN = (None, *KINDS, None)
_UNTIL = {"5": "5 has left", "6": "6 has left", "7": "7 has left"}


@dataclass
class _Walk:
    """The experiment while it runs."""

    context: Context
    topology: Mobility
    download: Download
    mobile: Follower
    server: Follower
    round_trip: float

    def step(self, trouble: tuple[str, str] | None) -> MovedAway:
        """One move to the other location, whose modem makes that trouble; returns when the handshake is so far that
        the mobile moves on."""
        random = self.context.random
        here = self.topology.mobile_address
        other = next(name for name, place in self.topology.locations.items() if place.address != here)
        modem = self.topology.modems[other]
        modem.clear_rules()
        if trouble is not None:
            action, segment = trouble
            by = f" by {LATE_MS} ms" if action == "delay" else ""
            modem.add_rule(RULES[segment].format(action=action, by=by))
        stage = random.choice(STAGES)
        if trouble is not None and trouble[0] == "delay":
            stage = _UNTIL[trouble[1]]  # what is late is to meet a newer migration
        move = self.topology.move(other)
        self._wait(stage, move.lost_at, move.new.address)
        time.sleep(random.uniform(0, self.round_trip))
        return MovedAway(move.lost_at, move.new.address, stage)

    def _wait(self, stage: str, since: float, address: str) -> None:
        def asked(told: Told) -> bool:
            return told.event == "migrating" and told.cause.endswith(f" from {address}")

        migrating = self.mobile.wait_for(asked, PATIENCE_SECONDS, since)
        number = migrating.cause.split()[1]
        if stage == "5 has left":
            return
        if stage == "6 has left":
            answer = f"request {number} from {address}"
            self.server.wait_for(lambda told: told.event == "answered" and told.cause == answer, PATIENCE_SECONDS)
            return
        self.mobile.wait_for(
            lambda told: told.event == "migrated" and told.local[0] == address, PATIENCE_SECONDS, migrating.time
        )
        if stage == "7 has left":
            return
        self.server.wait_for(
            lambda told: told.event == "migrated" and told.remote[0] == address, PATIENCE_SECONDS, migrating.time
        )
        if stage == "data has come":
            wanted = self.download.received + self.context.random.randrange(40_000)
            self.download.wait_for(min(wanted, OBJECT_BYTES), PATIENCE_SECONDS)

    def accepted(self) -> int:
        """Different requests that the server has answered."""
        self.server.look()
        return len({told.cause for told in self.server.told if told.event == "answered"})

    def firings(self) -> Counter[tuple[str, str]]:
        """How often each trouble has been made, by (action, segment)."""
        found: Counter[tuple[str, str]] = Counter()
        names = {"migrate-syn": "5", "syn-ack": "6", "ack": "7"}
        for modem in self.topology.modems.values():
            for firing in modem.state()["firings"]:
                action, kind, *_ = firing["rule"].split()
                found[action, names[kind]] += 1
        return found


class Rapid(Scenario):
    name = "rapid"
    claim = "A mobile that moves on before its last migration is finished, 200 times in one download, loses nothing"
    needs = (
        *needs.TOPOLOGY,
        *needs.MIGRATE,
        *needs.DOWNLOAD,
        needs.Program("tshark"),
    )

    def run(self, context: Context) -> list[Check]:
        root, work = context.out / "www", context.out / "nginx"
        root.mkdir()
        work.mkdir()
        wanted = random_file(root / "object", OBJECT_BYTES, context.random)
        context.step("building the topology")
        with Mobility(
            ip=6 if context.ip == 6 else 4, profile=PROFILES[context.profile], seed=context.seed, modem=LINK
        ) as topology:
            context.step("measuring the links")
            try:
                measured = topology.measure()
            except LinkNotAsDeclared as cause:
                raise Invalid(str(cause)) from None
            server, mobile = (Migrated(host, context.out) for host in (topology.server, topology.mobile))
            Nginx(topology.server, root, work)
            captures = topology.capture(context.out)
            download = Download(topology.mobile, topology.server_address, "object", context.out / "object")
            download.wait_for(50_000, PATIENCE_SECONDS)
            walk = _Walk(
                *(context, topology, download, Follower(mobile.events), Follower(server.events)),
                measured["loc2"].small_round_trip_s,
            )
            moves = self._walk(context, walk)
            context.step("moved enough; the rest of the download")
            left = OBJECT_BYTES - download.received
            for modem in topology.modems.values():
                modem.clear_rules()
            walk._wait("7 has come", moves[-1].lost_at, moves[-1].address)
            ends = (_ends(topology.mobile, at_mobile=True), _ends(topology.server, at_mobile=False))
            status = download.finish(PATIENCE_SECONDS)
            wait_until_closed((topology.mobile, topology.server), PATIENCE_SECONDS)
            for capture in captures.values():
                capture.stop()
            for daemon in (server, mobile):
                daemon.stop()
            walk.mobile.look()
            walk.server.look()
            firings = walk.firings()
        context.step("reading the captures")
        seen = Seen(
            moves=tuple(moves),
            firings=dict(firings),
            round_trip=walk.round_trip,
            address=moves[-1].address,
            ends=ends,
            left=left,
            mobile_events=tuple(walk.mobile.told),
            server_events=tuple(walk.server.told),
            exit_status=status,
            wanted=wanted,
            got=checksum(context.out / "object"),
        )
        return rapid_traces.judge(context, seen)

    def _walk(self, context: Context, walk: _Walk) -> list[MovedAway]:
        moves: list[MovedAway] = []
        for trouble in cycle(TURN):
            accepted = walk.accepted()
            if len(moves) % 50 == 0:
                context.step(f"{len(moves)} moves, {accepted} requests accepted")
            if (accepted >= ENOUGH_MOVES and trouble is None) or len(moves) == AT_MOST_MOVES:
                return moves
            if not walk.download.running:
                raise Invalid(f"the download was over after {len(moves)} moves: give it a larger object")
            moves.append(walk.step(trouble))
        raise AssertionError("a cycle has no end")


def _ends(host: Host, at_mobile: bool) -> str:
    """The connection to nginx as this host's kernel has it: "MOBILE PORT - SERVER PORT"."""
    said = host.run(["ss", "-Htn", "state", "established"]).stdout.splitlines()
    pairs = [line.split()[2:4] for line in said]
    ends = [pair if at_mobile else pair[::-1] for pair in pairs]
    words = [" - ".join(end.replace("[", "").replace("]", "").rpartition(":")[::2][0] + " " + end.rpartition(":")[2]
                        for end in pair) for pair in ends]  # fmt: skip
    return ", ".join(words) or "none"
