"""Migration through middleboxes: which pass it, which turn it into plain TCP, which stop it (slide 16)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from analysis import diagram, stream
from analysis.checking import find
from analysis.diagram import Tokens
from analysis.keylog import read_keys
from analysis.pictures.ladder import ladder_text
from analysis.pictures.ladder_svg import ladder_svg
from scenarios import needs
from scenarios.base import Context, Scenario
from scenarios.middlebox_boxes import BOXES, Box, install
from scenarios.middlebox_cells import PAUSE_RATE, Cell, Handshake, Result, Situation, Stage, try_out
from scenarios.middlebox_evidence import Outcome
from scenarios.middlebox_picture import table_svg, table_text
from scenarios.middlebox_table import cells, check, denied, name
from scenarios.programs import Migrated, Nginx, random_file
from scenarios.verdict import Check
from topologies.boxes import ACCESS, Boxes
from topologies.profiles import PROFILES

OBJECT_BYTES = 200_000
BEHIND_NAT = Cell("masq", "mobile", Situation.ACKS_LOST, Handshake.ADAPTED)
DIAGRAMS = {"mobile": ("inside.pcap", "behind-nat"), "server": ("outside.pcap", "behind-nat-server")}


class MiddleboxScenario(Scenario):
    name = "middlebox"
    claim = "Which NATs, firewalls, option strippers and proxies migration passes, from either side: a table (slide 16)"
    needs = (
        *needs.TOPOLOGY,
        *needs.MIGRATE,
        *needs.MIDDLEBOXES,
        *needs.DOWNLOAD,
        needs.Program("nft", "nftables"),
        needs.Program("haproxy", "haproxy", ("-v",)),
        needs.Program("tcpdump"),
        needs.Program("tshark"),
    )
    profiles = ("paper", "modern")
    boxes: Sequence[Box] = BOXES
    """What is tried; a test replaces it."""

    def run(self, context: Context) -> list[Check]:
        results = [result for handshake in Handshake for result in self._try_all(context, handshake)]
        context.step("drawing")
        title = f"Middleboxes, measured: {self.name}, profile {context.profile}, IPv{context.ip}"
        findings = denied(results)
        (context.out / "middlebox.txt").write_text(table_text(results, findings, title))
        (context.out / "middlebox.svg").write_text(table_svg(results, title))
        for result in results:
            context.report(name(result.cell), f"{result.finding.outcome}: {result.finding.why}")
        for outcome in Outcome:
            context.report(f"cells: {outcome}", sum(result.finding.outcome is outcome for result in results))
        context.report("cells that slide 16 claims and the draft's handshake does not pass", len(findings))
        context.step("behind a NAT, as both ends see it")
        return [*(check(result, context.profile) for result in results), *self._behind_nat(context)]

    def _behind_nat(self, context: Context) -> list[Check]:
        """One move behind the port-rewriting NAT, segment by segment: two addresses inside, two ports outside."""
        place, keys = context.out / BEHIND_NAT.directory, read_keys([context.out / BEHIND_NAT.handshake / "keys.log"])
        checks = []
        for vantage, (file, expected) in DIAGRAMS.items():
            moved = [one for one in stream.load([place / file], vantage, keys) if len(one.epochs) > 1]
            checks.append(Check.equal(f"connections that moved behind the NAT, {vantage}", 1, len(moved)))
            for one in moved:
                judged = diagram.check(diagram.load(find(expected)), one, 2 * ACCESS.delay_s)
                wrong, seen, title = judged.mismatch, judged.matches, f"Behind a NAT, at the {vantage}"
                (context.out / f"ladder-nat-{vantage}.svg").write_text(ladder_svg(one, expected=seen, title=title))
                text = ladder_text(one, expected=seen, title=title, colour=False)
                (context.out / f"ladder-nat-{vantage}.txt").write_text(text + "\n")
                said = "as expected" if wrong is None else f"line {wrong.label or wrong.number}: {wrong.actual}"
                checks.append(Check.equal(f"sequence diagram behind a NAT, {vantage}", "as expected", said))
                tokens = judged.tokens.value
                checks.append(Check.equal(f"Token and Request recomputed, {vantage}", Tokens.VERIFIED.value, tokens))
        return checks

    def _try_all(self, context: Context, handshake: Handshake) -> list[Result]:
        """Every box at once, each on a path of its own; what is tried behind one follows one after the other."""
        out = context.out / str(handshake)
        root, work = out / "www", out / "nginx"
        for directory in (root / "slow", work):
            directory.mkdir(parents=True)
        wanted = random_file(root / "object", OBJECT_BYTES, context.random)
        os.link(root / "object", root / "slow" / "object")
        context.step(f"building the topology, {handshake} handshake")
        with Boxes(
            [box.name for box in self.boxes],
            hidden=[box.name for box in self.boxes if box.hides],
            ip=6 if context.ip == 6 else 4,
            profile=PROFILES[context.profile],
        ) as lab:
            daemons = [Migrated(host, out, *handshake.options) for host in (lab.mobile, lab.server)]
            Nginx(lab.server, root, work, more=f"location /slow/ {{ limit_rate {PAUSE_RATE}; }}")
            for box in self.boxes:
                install(box, lab, work)
            context.step(f"moving behind {len(self.boxes)} boxes, {handshake} handshake")
            stage = Stage(lab, wanted, context.out)
            with ThreadPoolExecutor(len(self.boxes)) as pool:
                found = list(pool.map(lambda box: self._one_box(stage, box, handshake), self.boxes))
            for daemon in daemons:
                daemon.stop()
        return [result for one in found for result in one]

    def _one_box(self, stage: Stage, box: Box, handshake: Handshake) -> list[Result]:
        return [try_out(stage, box, cell) for cell in cells(box.name, handshake)]
