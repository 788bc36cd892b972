"""Attackers on and off the path try to move, reset or stall connections (slides 13, 16 and 23)."""

from __future__ import annotations

import time
from pathlib import Path
from typing import ClassVar

from scenarios import hijack_checks, hijack_floods, needs
from scenarios.base import Context, Scenario
from scenarios.hijack_attacks import Attacks
from scenarios.hijack_checks import Beaten, Takeover, of_takeover, verdict
from scenarios.hijack_knowing import known_numbers, overtaken, plain_reset
from scenarios.hijack_lab import PATIENCE, Battlefield, Gauge
from scenarios.programs import checksum
from scenarios.verdict import Check
from topologies.crossroads import Crossroads

BRAKE_BPS = 8_000_000
"""The links' rate while connections are attacked, so that transfers last as long as the attacks."""
LONG_BYTES, SHORT_BYTES = 60_000_000, 8_000_000
MOVES = 130
"""More than a turn of the request number's seven bits, from request 3 on."""
HEADING = ("attack", "the attacker lacks", "sent", "answered", "RSTs", "accepted", "outcome")


class HijackScenario(Scenario):
    name = "hijack"
    claim = "Nobody off the path moves, resets or stalls a connection; who is on it can move it (slides 13, 16, 23)"
    needs = (
        *needs.TOPOLOGY,
        *needs.MIGRATE,
        *needs.DOWNLOAD,
        needs.Program("nft", "nftables"),
    )
    alone: ClassVar[bool] = True

    def run(self, context: Context) -> list[Check]:
        context.step("building the topology")
        with Crossroads(ip=6 if context.ip == 6 else 4, profile=context.profile) as lab:  # type: ignore[arg-type]
            field = Battlefield(context, lab)
            field.start()
            lab.brake(BRAKE_BPS)
            return Run(context, field).all()


class Run:
    """One run's parts, and the checks that they give."""

    def __init__(self, context: Context, field: Battlefield) -> None:
        self._context, self._field = context, field
        self.checks: list[Check] = []
        self._rows: list[tuple[object, ...]] = [HEADING]

    def all(self) -> list[Check]:
        try:
            self.one_transfer()
            self._floods()
            self._on_the_path()
            self._insecure()
        except Beaten as attack:
            self._context.report("ended early", f"{attack} did what it must not")
        finally:
            self._field.end_capture()
            text = hijack_checks.table(self._rows)
            (self._context.out / "attacks.txt").write_text(text)
            for row in self._rows[1:]:
                self._context.report(f"{row[0]} (lacks {row[1]})", str(row[-1]))
            self._field.tidy()
        return self.checks

    def one_transfer(self) -> None:
        """A secure connection, and attackers who lack one thing or another."""
        field = self._field
        wanted = field.offer("object", LONG_BYTES)
        captures = field.capture("attacks")
        download = field.download("object")
        download.wait_for(100_000, PATIENCE)
        attacks = Attacks(field, captures, download, self._context.random)
        with Gauge(download) as gauge:
            try:
                attacks.against_one_transfer(MOVES)
            finally:
                for attack in attacks.done:
                    self.checks += hijack_checks.of_attack(attack)
                self._rows += hijack_checks.rows(attacks.done)
            self._reset_exactly(attacks, captures)
        self._draw(attacks, gauge)
        self._context.step("finishing the download")
        field.lab.brake(None)
        self.checks += [
            Check.equal("curl's exit status, after all this", 0, download.finish(PATIENCE)),
            Check.equal("SHA-256 of the file received", wanted, checksum(download.target)),
        ]
        field.end_capture(complete=True)

    def _reset_exactly(self, attacks: Attacks, captures: dict[str, Path]) -> None:
        """By an attacker who knows the number."""
        self._context.step("a RST with the right number")
        field = self._field
        began = time.time()
        gone = plain_reset(field, captures)
        attacks.besides.append(("a transfer of plain TCP beside it", began, time.time()))
        self.checks.append(Check.equal("RST exactly at rcv_nxt, plain TCP: the connection is gone", True, gone))
        self._rows.append(("RST exactly at rcv_nxt, plain TCP", "nothing", 1, 0, 0, 0, "resets it at once"))
        seen = attacks.exact_reset()
        attacks.goes_on()
        self.checks += hijack_checks.of_exact_reset(seen)
        outcome = "stalls it until the mobile moves, or 2MSL"
        self._rows.append(("RST exactly at rcv_nxt", "nothing", 1, 0, 0, 1, outcome))
        self._context.report("stall by a RST exactly at rcv_nxt, ended by a move", round(seen["stall"], 3), "s")
        self._context.report("RSTs that a blind attacker needs on average", 1 << 31, "packets")

    def _draw(self, attacks: Attacks, gauge: Gauge) -> None:
        """The transfer's rate under the attacks."""
        from analysis.pictures.attacks import Attempt, draw_attacks  # which loads all of matplotlib

        events = [
            Attempt(one.name, one.began, one.began + one.seconds, hijack_checks.verdict(hijack_checks.of_attack(one)))
            for one in attacks.done
        ]
        events += [Attempt(what, begin, end, "", attack=False) for what, begin, end in attacks.besides]
        events += [Attempt("RST exactly at rcv_nxt", *attacks.stalled, "stalls it until the next move", harm=True)]
        title = f"hijack, profile {self._context.profile}, IPv{self._context.ip}: one download under attack"
        events.sort(key=lambda one: one.begin)
        draw_attacks(gauge.samples, events, self._context.out / "attacks.png", title=title)

    def _floods(self) -> None:
        field = self._field
        field.lab.brake(BRAKE_BPS)
        captures = field.capture("flood")
        transfer = field.endless()
        events = field.events["server"]
        count = events.count("migrated")
        field.lab.move("loc2")
        events.wait(count + 1, "migrated")
        record = field.recorded(captures["server"])[-1]
        field.end_capture()
        field.lab.brake(None)
        rounds = hijack_floods.rounds(field, record, self._context.random)
        transfer.kill()
        transfer.wait()
        checks = hijack_checks.of_floods(rounds, hijack_floods.PACKETS, hijack_floods.PATIENCE)
        self.checks += checks
        report = self._context.report
        for kind in ("ordinary", "migrate"):
            own = [one for one in rounds if one.kind == kind]
            what = {"ordinary": "ordinary SYNs to a closed port", "migrate": "Migrate SYNs"}[kind]
            report(f"transfer slowed down by {what}", round(100 * hijack_checks.slowdown(rounds, kind), 1), "%")
            speed = sum(one.sent for one in own) / sum(one.seconds for one in own)
            report(f"{what}: sent at", round(speed), "packets/s")
            report(f"{what}: RSTs", sum(one.refused for one in own), "packets")
            report(f"{what}: migrated's processor time", round(sum(one.daemon_seconds for one in own), 3), "s")
        for kind in ("quiet", "ordinary", "migrate"):
            times = [one.move_seconds for one in rounds if one.kind == kind]
            report(f"a true move, {kind}", max(time if time is not None else -1.0 for time in times), "s")
            rate = hijack_checks.rate(rounds, kind)
            report(f"rate of the transfer, {kind}", round(8 * rate / 1e6), "Mbit/s")
        own = [one for one in rounds if one.kind == "migrate"]
        self._rows.append(
            ("flood of Migrate SYNs", "token, request or a new one", sum(one.sent for one in own),
             sum(one.answered for one in own), sum(one.refused for one in own), 0, verdict(checks))
        )  # fmt: skip

    def _on_the_path(self) -> None:
        """The café's access point hears the Migrate SYN and overtakes it."""
        field = self._field
        self._context.step("moving to the attacker's café")
        field.lab.brake(BRAKE_BPS)
        field.offer("object3", SHORT_BYTES)
        field.capture("cafe")
        download = field.download("object3")
        download.wait_for(50_000, PATIENCE)
        takeover = overtaken(field, 2)
        self._takeover("Migrate SYN captured on the path and overtaken", "nothing", takeover, "object3", True)
        had = download.received
        time.sleep(1)
        left = download.received - had
        self.checks.append(Check.equal("overtaken: bytes that the mobile still gets", 0, left, "bytes"))
        download.give_up()
        field.end_capture()

    def _insecure(self) -> None:
        """A connection without keys beside one with: an attacker off the path who knows all sequence numbers."""
        field = self._field
        self._context.step("the insecure variant")
        field.lab.move("loc1")
        wanted = field.offer("object4", SHORT_BYTES)
        captures = field.capture("insecure")
        secure = field.download("object4")
        secure.wait_for(50_000, PATIENCE)
        between = time.time()
        field.start_daemons("--insecure")
        insecure = field.download("object4")
        insecure.wait_for(50_000, PATIENCE)
        for name, opened, source, succeeds in (
            ("secure", between, 3, False), ("insecure", time.time(), 4, True),
        ):  # fmt: skip
            takeover = known_numbers(field, captures, opened, source)
            lacks = "the secret" if name == "secure" else "nothing: there is no secret"
            self._takeover(f"sequence numbers known, {name} connection", lacks, takeover, "object4", succeeds)
        insecure.give_up()
        self.checks += [
            Check.equal("curl's exit status, secure connection", 0, secure.finish(PATIENCE)),
            Check.equal("SHA-256 of the file received, secure connection", wanted, checksum(secure.target)),
        ]
        field.end_capture()

    def _takeover(self, name: str, lacks: str, takeover: Takeover, offered: str, succeeds: bool) -> None:
        checks = of_takeover(name, takeover, self._field.offered(offered), succeeds)
        self.checks += checks
        answered = int(takeover.loot.answer is not None)
        row = (name, lacks, 1, answered, int(takeover.loot.refused), takeover.migrated, verdict(checks, succeeds))
        self._rows.append(row)
