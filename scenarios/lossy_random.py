"""Downloads over links that lose packets at random, from a seed, while the mobile moves back and forth."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from analysis import keylog, measures, stream
from analysis.daemon_events import of, read
from scenarios.base import Context
from scenarios.lossy_checks import sent_although_sacked
from scenarios.mobility_checks import SENDER
from scenarios.one_move import moved, out_of_order
from scenarios.programs import Download, Migrated, Nginx, checksum, random_file
from scenarios.verdict import Check
from topologies.links import Cable
from topologies.mobility import Mobility
from topologies.profiles import PROFILES

RATES = (0.01, 0.05, 0.10)
OBJECT_BYTES = 400_000
MOVES = 4
LINK_BPS, DELAY_SECONDS = 500_000, 0.03
PATIENCE_SECONDS = 120.0


def run(context: Context) -> list[Check]:
    """One download for each loss rate, judged by what the server's interface shows and by the file."""
    checks: list[Check] = []
    with_blocks = 0
    for rate in RATES:
        percent = f"{rate * 100:g} % loss"
        context.step(f"downloading at {percent}")
        out = context.out / f"random-{rate * 100:g}"
        out.mkdir()
        wanted, got, status = _happen(context, rate, out)
        keys = keylog.read_keys([out / "keys.log"])
        seen = moved(stream.load([out / "server.pcap"], "server", keys), "server")
        moves = measures.moves(seen)
        held = sum(bool(move.kept(sender=SENDER)) for move in moves)
        with_blocks += held
        context.report(f"moves with data beyond holes at {percent}", held)
        again = sum(sent_although_sacked(seen, move) for move in moves)
        checks += [
            Check.equal(f"SHA-256 of the file received at {percent}", wanted, got),
            Check.equal(f"curl's exit status at {percent}", 0, status),
            # As the mobile has it: of two that follow each other closely the server may see the second only.
            Check.equal(f"moves at {percent}", MOVES, len(of(read(out / "mobile-events.jsonl"), "migrated"))),
            Check.equal(f"RSTs at {percent}", 0, len(measures.resets(seen))),
            Check.equal(f"bytes sent again that had been SACKed at {percent}", 0, again, "bytes"),
        ]
    return [*checks, Check.at_least("moves with data beyond holes at random losses", 1, with_blocks)]


def _happen(context: Context, rate: float, out: Path) -> tuple[str, str, int]:
    """SHA-256 of what was to be received and of what was, and curl's exit status."""
    root, work = out / "www", out / "nginx"
    root.mkdir()
    work.mkdir()
    wanted = random_file(root / "object", OBJECT_BYTES, context.random)
    link = Cable(rate_bps=LINK_BPS, delay_s=DELAY_SECONDS, queue_packets=100, arp=False)
    with Mobility(
        ip=6 if context.ip == 6 else 4, profile=PROFILES[context.profile], seed=context.seed, modem=link
    ) as lab:
        daemons = [Migrated(host, out) for host in (lab.server, lab.mobile)]
        Nginx(lab.server, root, work)
        captures = lab.capture(out)
        for modem in lab.modems.values():
            modem.set_properties(replace(link.there, loss=rate))
        download = Download(lab.mobile, lab.server_address, "object", out / "object")
        for number in range(1, MOVES + 1):
            download.wait_for(number * OBJECT_BYTES // (MOVES + 2), PATIENCE_SECONDS)
            _wait_for_a_hole(lab, download, (number + 1) * OBJECT_BYTES // (MOVES + 2))
            lab.move()
        status = download.finish(PATIENCE_SECONDS)
        for capture in captures.values():
            capture.stop()
        for daemon in daemons:
            daemon.stop()
    return wanted, checksum(out / "object"), status


def _wait_for_a_hole(lab: Mobility, download: Download, limit: int) -> None:
    """Until one more segment has come beyond a hole, or `limit` bytes are there."""
    before = out_of_order(lab)
    while out_of_order(lab) == before and download.running and download.received < limit:
        time.sleep(0.005)
