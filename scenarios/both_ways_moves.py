"""Moves of either end under many connections, and what those do before and after; they go by the server's port."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import time
from collections.abc import Callable

from migrate.daemon.control import SOCKET_NAME
from migrate.linux import sockdiag
from scenarios.both_ways_checks import Moment
from scenarios.programs import Migrated, ProgramError
from scenarios.sessions import Session
from scenarios.verdict import Invalid
from topologies.both_ends import BothEnds, Changed
from topologies.nodes import Host

_OF_SS = {"ESTABLISHED": "ESTAB", "FIN_WAIT1": "FIN-WAIT-1", "FIN_WAIT2": "FIN-WAIT-2"}


class Moves:
    """The moves of one run, noted in `moments`."""

    def __init__(self, lab: BothEnds, server: Migrated, mobile: Migrated, patience: float) -> None:
        """`patience` in seconds, for whatever is waited for."""
        self._patience = patience
        self._lab, self._daemons = lab, {"server": server, "mobile": mobile}
        self.moments: list[Moment] = []

    def do(
        self,
        what: str,
        sessions: list[Session],
        move: Callable[[], Changed],
        wanted: dict[int, tuple[str, str]] | None = None,
    ) -> None:
        """One move, in which all these connections take part; what they are doing just before is noted."""
        for session in sessions:
            if not session.running:
                raise Invalid(f"{session.name} was over before the move `{what}`: the move proves nothing for it")
        states = {port: self._states(port) for port in (session.port for session in sessions)}
        before = self._migrated()
        self._taking_part = [session.port for session in sessions]
        changed = move()
        self._settle(before, self._taking_part)
        self.moments.append(Moment(what, changed, states, wanted or {}))

    def cross(self) -> Changed:
        """Both hosts move at the same moment; for `do`."""
        before = self._migrated()
        return self._lab.cross(self._ask_all, lambda: self._settle(before, self._taking_part))

    def _ask_all(self, orders: list[tuple[Host, str]]) -> None:
        """Tells the daemon of each host to move everything to an address, all of them at the same moment."""
        with contextlib.ExitStack() as opened:
            asked = []
            for host, address in orders:
                with host.entered():  # an abstract name is its namespace's
                    sock = opened.enter_context(socket.socket(socket.AF_UNIX))
                    sock.connect(SOCKET_NAME)
                sock.settimeout(self._patience)
                asked.append((sock, json.dumps({"do": "migrate", "to": address}).encode() + b"\n"))
            for sock, request in asked:
                sock.sendall(request)
            for sock, _ in asked:
                answer = json.loads(opened.enter_context(sock.makefile()).readline())
                if wrong := [one for one in answer.get("result", [answer]) if one.get("result") != "under way"]:
                    raise ProgramError(f"migrated does not move a connection: {wrong[0]}")

    def _migrated(self) -> dict[tuple[str, int], int]:
        """How often each connection has moved, by host and the server's port."""
        found: dict[tuple[str, int], int] = {}
        for host, daemon in self._daemons.items():
            for line in daemon.events.read_text().splitlines():
                event = json.loads(line)
                if event["event"] == "migrated":
                    key = host, event["local_port"] if host == "server" else event["remote_port"]
                    found[key] = found.get(key, 0) + 1
        return found

    def _settle(self, before: dict[tuple[str, int], int], ports: list[int]) -> None:
        """Until each connection has moved at both ends; raises `ProgramError` otherwise."""
        end = time.monotonic() + self._patience
        while True:
            now = self._migrated()
            late = [(h, p) for h in ("server", "mobile") for p in ports if now.get((h, p), 0) <= before.get((h, p), 0)]
            if not late:
                return
            if time.monotonic() > end:
                raise ProgramError(f"connections have not moved within {self._patience:.0f} s: {late}")
            time.sleep(0.02)

    def _states(self, port: int) -> tuple[str, str]:
        """TCP's state at the mobile and at the server, as ss names it; "" where there is no such connection."""
        found = []
        for host, end in ((self._lab.mobile, "remote_port"), (self._lab.server, "local_port")):
            with host.entered():
                states = [one.state for one in sockdiag.tcp_sockets() if getattr(one.tuple, end) == port]
            name = sockdiag.STATE_NAMES[states[0]] if states else ""
            found.append(_OF_SS.get(name, name.replace("_", "-")))
        return found[0], found[1]

    def wait_states(self, port: int, mobile: str, server: str) -> None:
        end, before = time.monotonic() + self._patience, ("", "")
        while (states := self._states(port)) != (mobile, server):
            if time.monotonic() > end or (before != states == ("", "")):
                raise Invalid(f"the connection to port {port} was never {mobile} and {server}, now it is {states}")
            before = states
            time.sleep(0.005)

    def wait_progress(self, sessions: list[Session], more: int) -> None:
        """Until each has carried so many bytes more."""
        start = {one.port: self._carried(one.port) for one in sessions}
        end = time.monotonic() + self._patience
        while late := [one for one in sessions if one.running and self._carried(one.port) < start[one.port] + more]:
            if time.monotonic() > end:
                raise Invalid(f"{late[0].name} does not come forward")
            time.sleep(0.01)

    def _carried(self, port: int) -> int:
        """Bytes of both directions since the last move, as the server's TCP counts them."""
        said = self._lab.server.run(["ss", "-Htin", "state", "connected", "sport", "=", f":{port}"]).stdout
        return sum(int(count) for count in re.findall(r"bytes_(?:acked|received):(\d+)", said))
