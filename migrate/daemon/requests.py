"""What `migratectl` asks for: the connections of a host, what of them can move, and that they do."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from migrate.daemon.control import RequestError
from migrate.daemon.registry import Managed, identify
from migrate.linux import carryable
from migrate.linux.maps import Address, Negotiated
from migrate.linux.sockdiag import STATE_NAMES, SocketEntry, tcp_sockets

if TYPE_CHECKING:
    from migrate.daemon.service import Service

ADDRESS_SECONDS = 5.0
"""Duplicate detection of a new IPv6 address takes one to two."""
PAUSE_SECONDS = 0.002


class Requests:
    """Those about all connections of a host."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def describe(self) -> list[dict[str, Any]]:
        """Every TCP connection of this host and how Migrate sees it."""
        registry = self._service.registry
        known = {tuple_: negotiated for tuple_, negotiated, _ in registry.all()}
        busy = self._service.descriptors.look()
        rows = []
        for entry in tcp_sockets(layers=True):
            negotiated = known.get(entry.tuple)
            managed = registry.find(entry.tuple) if negotiated and entry.tuple in registry else None
            rows.append(
                {
                    "connection": identify(negotiated) if negotiated else "",
                    "local": f"{entry.tuple.local_ip}",
                    "local_port": entry.tuple.local_port,
                    "remote": f"{entry.tuple.remote_ip}",
                    "remote_port": entry.tuple.remote_port,
                    "tcp": STATE_NAMES.get(entry.state, str(entry.state)),
                    "migratable": negotiated is not None,
                    "insecure": negotiated is not None and negotiated.insecure,
                    "state": managed.machine.state.name if managed else ("ESTABLISHED" if negotiated else ""),
                    "moves": managed.moves if managed else 0,
                    "reason": self._reason(entry, negotiated, managed, busy),
                }
            )
        return rows

    def _reason(
        self, entry: SocketEntry, negotiated: Negotiated | None, managed: Managed | None, busy: set[int]
    ) -> str:
        """Why it cannot move: what the last try showed, or what is known before one."""
        if negotiated is None:
            return carryable.LAYERS.get(entry.ulp, "no Migrate-Permitted in its handshake")
        foreseen = carryable.foreseen(entry, self._service.probe(entry.tuple), busy)
        return foreseen or (managed.failure if managed else "")

    def status(self) -> dict[str, Any]:
        """How many connections there are, how many of them can move, and how often each reason says why not."""
        rows = self.describe()
        reasons = Counter(row["reason"] for row in rows if row["reason"])
        return {
            "connections": len(rows),
            "migratable": sum(row["migratable"] for row in rows),
            "movable": sum(row["migratable"] and not row["reason"] for row in rows),
            "not_movable": dict(reasons.most_common()),
        }

    async def migrate(self, to: Address, connection: str | None) -> list[dict[str, str]]:
        """Moves one connection, or all that can speak from `to`; an address that has just been added is waited for."""
        end = time.monotonic() + ADDRESS_SECONDS
        while to not in self._service.local():
            is_coming = to in self._service.coming() and time.monotonic() < end
            if not is_coming and to not in self._service.local():  # it may have come between two looks
                raise RequestError(f"this host has no address {to}; add it to an interface first")
            await asyncio.sleep(PAUSE_SECONDS)
        answers = []
        for tuple_, negotiated, _ in list(self._service.registry.all()):
            if connection not in (None, identify(negotiated)) or tuple_.local_ip.version != to.version:
                continue
            managed = self._service.registry.find(tuple_)
            if managed is None or tuple_.local_ip == to:
                continue
            reason = self._service.move(managed, to)
            answers.append({"connection": managed.name, "result": reason or "under way"})
        self._service.effects.flush()
        if connection is not None and not answers:
            raise RequestError(f"no migratable connection {connection} away from {to}; migratectl list shows them")
        return answers
