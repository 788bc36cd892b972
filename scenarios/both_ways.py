"""Uploads, servers that move, both directions at once, half-closed connections: real programs at both ends.

First three connections that move once each, held against expected diagrams; then a crowd of programs, through which
both hosts change their addresses again and again, one after the other and at the same time.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analysis import diagram, keylog, stream
from analysis.checking import find
from analysis.pictures.ladder import ladder_text
from analysis.pictures.ladder_svg import ladder_svg
from analysis.pictures.view import names_of
from scenarios import both_ways_checks as judging
from scenarios import needs
from scenarios.base import Context, Scenario
from scenarios.both_ways_checks import FLOWING, IDLE, Outcome
from scenarios.both_ways_moves import Moves
from scenarios.programs import Migrated, Nginx, random_file, wait_until_closed
from scenarios.sessions import Dialogue, Halves, Redis, Session, Sshd, at, certificate
from scenarios.verdict import Check, Invalid
from topologies.both_ends import BothEnds, Changed
from topologies.capture import CaptureError
from topologies.measure import LinkNotAsDeclared
from topologies.profiles import PROFILES

PATIENCE_SECONDS = 120.0
TLS_NAME = "server.example"
SINGLE_BYTES = 1_000_000
BIG_BYTES = 6_000_000
HALF_BYTES = 3_500_000
SMALL_BYTES = 700_000
PROGRESS_BYTES = 75_000
"""By which every transfer must have come forward between two moves."""
DIAGRAMS = {judging.UPLOAD: "upload", judging.SERVER: "server-moves", judging.HALF: "half-closed"}
PORTS = {judging.UPLOAD: 8081, judging.SERVER: 8080, judging.HALF: 7000}
CROWD_PORTS = {"upload": 8082, "bound": 8083, "tls": 8443, "mobile closes first": 7001, "server closes first": 7002}


@dataclass
class Crowd:
    """The programs that live through all moves of the second part."""

    flowing: list[Session] = field(default_factory=list)
    halves: list[Halves] = field(default_factory=list)
    talking: list[Dialogue] = field(default_factory=list)

    @property
    def sessions(self) -> list[Session]:
        return [*self.flowing, *(one.client for one in self.halves), *self.talking]


class BothWaysScenario(Scenario):
    name = "both_ways"
    claim = (
        "Uploads, moving servers, half-closed connections, SSH, TLS and Redis survive moves of either end (slide 22)"
    )
    needs = (
        *needs.TOPOLOGY,
        *needs.MIGRATE,
        *needs.DOWNLOAD,
        needs.Program("openssl", version_arguments=("version",)),
        needs.Program("ssh", "openssh-client", ("-V",)),
        needs.Program("sshd", "openssh-server", ("-V",)),
        needs.Program("redis-server"),
        needs.Program("redis-cli", "redis-tools"),
        needs.Program("socat", version_arguments=("-V",)),
        needs.Program("tshark"),
    )

    def run(self, context: Context) -> list[Check]:
        self._context = context
        self._said = 0
        outcome = self._let_it_happen()
        context.step("reading the captures")
        keys = keylog.read_keys([context.out / "keys.log"])
        found = {
            vantage: stream.load([context.out / file for file in files], vantage, keys)
            for vantage, files in {"mobile": ("loc1.pcap", "loc2.pcap"), "server": ("server.pcap",)}.items()
        }
        outcome.streams = {
            vantage: {port: one for one in streams if (port := one.epochs[0].responder.port)}
            for vantage, streams in found.items()
        }
        outcome.counts = {
            vantage: {
                port: sum(one.epochs[0].responder.port == port for one in streams)
                for port in {one.epochs[0].responder.port for one in streams}
            }
            for vantage, streams in found.items()
        }
        for single, name in DIAGRAMS.items():
            seen = outcome.streams["server"].get(PORTS[single])
            if seen is not None:
                outcome.judged[single] = diagram.check(diagram.load(find(name)), seen, outcome.round_trip)
        context.step("drawing")
        self._draw(outcome)
        return judging.judge(context, outcome)

    # --- what happens -------------------------------------------------------------------------------------------------

    def _let_it_happen(self) -> Outcome:
        context = self._context
        context.step("building the topology")
        ip = 6 if context.ip == 6 else 4
        with BothEnds(ip=ip, profile=PROFILES[context.profile], seed=context.seed) as lab:
            self._lab = lab
            context.step("measuring the links")
            try:
                round_trip = lab.measure()["loc1"].small_round_trip_s
            except LinkNotAsDeclared as cause:
                raise Invalid(str(cause)) from None
            daemons = [Migrated(host, context.out) for host in (lab.server, lab.mobile)]
            self._moves = Moves(lab, daemons[0], daemons[1], PATIENCE_SECONDS)
            self._serve()
            captures = lab.capture(context.out)
            outcome = Outcome(round_trip=round_trip)
            try:
                self._single(outcome, judging.UPLOAD, self._upload_alone(), lab.move_mobile)
                self._single(outcome, judging.SERVER, self._download_alone(), lab.move_server)
                self._half_closed_alone(outcome)
                self.crowd(outcome)
                wait_until_closed((lab.mobile, lab.server), PATIENCE_SECONDS)
            except BaseException:
                for capture in captures.values():  # what they lack then is not what went wrong
                    with contextlib.suppress(CaptureError):
                        capture.stop()
                raise
            for capture in captures.values():
                capture.stop()
            for daemon in daemons:
                daemon.stop()
        outcome.moments = self._moves.moments
        return outcome

    def _serve(self) -> None:
        lab, out = self._lab, self._context.out
        self._root, work = out / "www", out / "nginx"
        for path in (self._root, work, self._root / "up", out / "got"):
            path.mkdir()
        self._root.chmod(0o755)
        key, self._crt = certificate(work, TLS_NAME)
        blocks = []
        for port, more in (
            (PORTS[judging.UPLOAD], "dav_methods PUT;"),
            (CROWD_PORTS["upload"], "dav_methods PUT;"),
            (CROWD_PORTS["bound"], ""),
            (CROWD_PORTS["tls"], f"ssl_certificate {self._crt}; ssl_certificate_key {key};"),
        ):
            ssl = " ssl" if "ssl_certificate" in more else ""
            listen = f"listen {port}{ssl}; listen [::]:{port}{ssl};"
            blocks.append(f"    server {{ {listen} root {self._root}; client_max_body_size 0; {more} }}\n")
        Nginx(lab.server, self._root, work, servers="".join(blocks))

    def _curl(self, name: str, port: int, url: str, files: tuple[Path, Path], *options: str | Path) -> Session:
        log = self._context.out / f"curl-{port}.log"
        with log.open("w") as said:
            process = self._lab.mobile.spawn(
                ["curl", "--silent", "--show-error", "--fail", "--no-buffer", *options, url], stderr=said
            )
        return Session(name, port, process, [files])

    def _file(self, name: str, size: int) -> Path:
        path = self._context.out / name
        random_file(path, size, self._context.random)
        return path

    def _upload(self, name: str, port: int, size: int) -> Session:
        source, target = self._file(f"{port}.up", size), self._root / "up" / str(port)
        url = f"http://{at(self._lab.server_address)}:{port}/up/{port}"
        return self._curl(name, port, url, (source, target), "--upload-file", source)

    def _download(self, name: str, port: int, size: int, *options: str | Path, host: str = "") -> Session:
        source = self._root / str(port)
        random_file(source, size, self._context.random)
        target = self._context.out / "got" / str(port)
        url = f"{host or 'http://' + at(self._lab.server_address)}:{port}/{port}"
        return self._curl(name, port, url, (source, target), "--output", target, *options)

    def _download_tls(self, name: str, port: int, size: int) -> Session:
        resolve = f"{TLS_NAME}:{port}:{self._lab.server_address}"
        options = ("--cacert", self._crt, "--resolve", resolve)
        return self._download(name, port, size, *options, host=f"https://{TLS_NAME}")

    def _upload_alone(self) -> Session:
        self._context.step("an upload whose mobile moves")
        return self._upload(judging.UPLOAD, PORTS[judging.UPLOAD], SINGLE_BYTES)

    def _download_alone(self) -> Session:
        self._context.step("a download whose server moves")
        return self._download(judging.SERVER, PORTS[judging.SERVER], SINGLE_BYTES)

    def _single(self, outcome: Outcome, name: str, session: Session, move: Callable[[], Changed]) -> None:
        """One program, one move in the middle of its transfer."""
        self._moves.wait_progress([session], SINGLE_BYTES // 4)
        self._moves.do(name, [session], move)
        self._finish(outcome, session)
        wait_until_closed((self._lab.mobile, self._lab.server), PATIENCE_SECONDS)

    def _half_closed_alone(self, outcome: Outcome) -> None:
        self._context.step("a half-closed connection whose mobile moves")
        halves = self._start_halves(judging.HALF, PORTS[judging.HALF], 50_000, SINGLE_BYTES)
        self._moves.wait_states(halves.client.port, "FIN-WAIT-2", "CLOSE-WAIT")
        states = {halves.client.port: ("FIN-WAIT-2", "CLOSE-WAIT")}
        self._moves.do(judging.HALF, [halves.client], self._lab.move_mobile, states)
        self._finish(outcome, halves.client, halves.server)
        wait_until_closed((self._lab.mobile, self._lab.server), PATIENCE_SECONDS)

    def _start_halves(self, name: str, port: int, up: int, down: int) -> Halves:
        got = self._context.out / "got"
        files = [
            (self._file(f"{port}.up", up), got / f"{port}.up"),
            (self._file(f"{port}.down", down), got / f"{port}.down"),
        ]
        lab = self._lab
        return Halves.start(lab.mobile, lab.server, lab.server_address, port, files, name)

    def crowd(self, outcome: Outcome) -> None:
        """The second part: many programs at once, and both hosts move."""
        context, lab, crowd = self._context, self._lab, Crowd()
        context.step("starting the crowd")
        out, address = context.out, lab.server_address
        sshd, redis = Sshd(lab.server, out / "ssh"), Redis(lab.server, out / "redis")
        crowd.talking = [sshd.shell(lab.mobile, address), redis.client(lab.mobile, address)]
        bound = ("--interface", lab.mobile_address)
        crowd.flowing = [
            self._upload("curl upload", CROWD_PORTS["upload"], BIG_BYTES),
            self._download("curl with a bound address", CROWD_PORTS["bound"], BIG_BYTES, *bound),
            self._download_tls("curl over TLS", CROWD_PORTS["tls"], BIG_BYTES),
            sshd.copy(lab.mobile, self._file("scp.up", BIG_BYTES), address, out / "got" / "scp"),
        ]
        self._progress(crowd)
        everyone = crowd.sessions
        for what, move in (("the mobile moves", lab.move_mobile), ("the server moves", lab.move_server)):
            context.step(what)
            self._moves.do(what, everyone, move)
            self._talk(crowd)
            self._progress(crowd)
        context.step("starting two more, in both directions")
        crowd.halves = [
            self._start_halves(
                "socat, the mobile closes first", CROWD_PORTS["mobile closes first"], SMALL_BYTES, HALF_BYTES
            ),
            self._start_halves(
                "socat, the server closes first", CROWD_PORTS["server closes first"], HALF_BYTES, SMALL_BYTES + 300_000
            ),
        ]
        first, second = CROWD_PORTS["mobile closes first"], CROWD_PORTS["server closes first"]
        everyone = crowd.sessions
        for what, until, move in (
            ("the mobile moves, its FIN behind data", (first, "FIN-WAIT-1", "ESTAB"), lab.move_mobile),
            ("the server moves, half-closed by the mobile", (first, "FIN-WAIT-2", "CLOSE-WAIT"), lab.move_server),
            ("the server moves, its FIN behind data", (second, "ESTAB", "FIN-WAIT-1"), lab.move_server),
            ("the mobile moves, half-closed by the server", (second, "CLOSE-WAIT", "FIN-WAIT-2"), lab.move_mobile),
            ("both move at once", None, self._moves.cross),
        ):
            context.step(what)
            if until is not None:
                self._moves.wait_states(*until)
            wanted = {until[0]: (until[1], until[2])} if until is not None else {}
            self._moves.do(what, everyone, move, wanted)
            self._talk(crowd)
            if until is None:
                self._progress(crowd)
        context.step("to the end of all transfers")
        for session in crowd.flowing:
            self._finish(outcome, session)
        for halves in crowd.halves:
            self._finish(outcome, halves.client, halves.server)
        for dialogue, word in zip(crowd.talking, ("exit 0", "QUIT"), strict=True):
            outcome.statuses[dialogue.name] = str(dialogue.leave(word, PATIENCE_SECONDS))
            outcome.ports[dialogue.name] = dialogue.port
            outcome.kinds[dialogue.name] = IDLE

    def _progress(self, crowd: Crowd) -> None:
        self._moves.wait_progress([*crowd.flowing, *(one.client for one in crowd.halves)], PROGRESS_BYTES)

    def _talk(self, crowd: Crowd) -> None:
        """Both sessions answer: a computation, and the next number."""
        shell, redis = crowd.talking
        self._said += 1
        shell.ask(f"echo $(({self._said} * 1000)) from the shell", f"{self._said * 1000} from the shell")
        redis.ask("INCR moves", f"{self._said}\n")

    def _finish(self, outcome: Outcome, session: Session, server: subprocess.Popen[bytes] | None = None) -> None:
        status = str(session.finish(PATIENCE_SECONDS))
        if server is not None:
            status += f" and {server.wait(PATIENCE_SECONDS)}"
        outcome.statuses[session.name] = status
        outcome.ports[session.name] = session.port
        outcome.kinds[session.name] = FLOWING
        outcome.sums[session.name] = (session.wanted, session.got)

    def _draw(self, outcome: Outcome) -> None:
        for single, judgement in outcome.judged.items():
            about: dict[str, Any] = {
                "expected": judgement.matches,
                "moves": [moment.changed.began_at for moment in outcome.moments if moment.what == single],
                "names": names_of(judgement.stream, "mobile", "server"),
                "title": f"{self.name}: {single}, at the server",
            }
            stem = DIAGRAMS[single]
            out = self._context.out
            (out / f"ladder-{stem}.txt").write_text(ladder_text(judgement.stream, colour=False, **about) + "\n")
            (out / f"ladder-{stem}.svg").write_text(ladder_svg(judgement.stream, **about))
