"""Why a download did not arrive whole, as the events of all programs tell it.

A connection is the client's as soon as it has its SYN/ACK, and the group's a moment later, when its server has told of
it; a request likewise.  Whoever's server dies in between is lost, as it would be without a group, and ends by a reset.
A server that is cut off from the group when a request comes does not know that nobody hears of it; it tells again with
the next refresh.  Nothing else may end otherwise than whole.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from scenarios.chaos.downloads import RESET_STATUSES, Download
from scenarios.chaos.replica import REFRESH_SECONDS

STALL_SECONDS = 1.5
"""From the take-over to the next byte at the client; a round trip is 20 ms at most."""
NOT_KNOWN = "that the client has sent are not known here"
"""What a wedge says that has taken a connection over whose last request it has not heard of."""


@dataclass(frozen=True, slots=True)
class Event:
    """A line of an events file."""

    time: float
    connection: str
    event: str
    cause: str
    port: int
    """The client's, in events of its migrated."""


@dataclass(frozen=True, slots=True)
class Stroke:
    """A line of the strikes: what was done to which replica."""

    time: float
    what: str
    replica: str


def read_strikes(path: Path) -> list[Stroke]:
    """In order."""
    lines = path.read_text().splitlines() if path.exists() else []
    found = [Stroke(one["time"], one["what"], one["replica"]) for one in map(json.loads, lines)]
    return sorted(found, key=lambda stroke: stroke.time)


def died_unheard(strikes: list[Stroke], replica: str, by: float) -> bool:
    """Was the replica cut off from the group at its last death before `by`, or less than a refresh before?"""
    ours = [one for one in strikes if one.replica == replica and one.time < by]
    death = max((one.time for one in ours if one.what.startswith("kill")), default=None)
    cut = max((one.time for one in ours if one.what == "partition" and death and one.time < death), default=None)
    if death is None or cut is None:
        return False
    back = min((one.time for one in ours if one.what == "rejoined" and one.time > cut), default=death)
    return death - back < REFRESH_SECONDS


def read(paths: Iterable[Path]) -> list[Event]:
    """Of all these files, in order."""
    found = []
    for path in paths:
        text = path.read_text() if path.exists() else ""
        for line in text[: text.rfind("\n") + 1].splitlines():
            one = json.loads(line)
            found.append(Event(one["time"], one["connection"], one["event"], one["cause"], one.get("local_port", 0)))
    return sorted(found, key=lambda event: event.time)


class Fates:
    """Of all downloads."""

    def __init__(
        self,
        downloads: list[Download],
        wedges: list[Event],
        clients: dict[str, list[Event]],
        strikes: Iterable[Stroke] = (),
    ) -> None:
        """Events of the wedges, and of the migrated of each client by the client's name."""
        self._strikes = list(strikes)
        self._clients = clients
        self.events = Counter(event.event for event in wedges)
        self._heard = {event.connection for event in wedges if event.event in ("heard", "taken-over")}
        self._unasked = {
            event.connection for event in wedges if event.event == "reset" and event.cause.endswith(NOT_KNOWN)
        }
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.stalls: list[tuple[Download, float, float]] = []
        """After a take-over: which download, seconds to the next byte, and when that was."""
        self._taken: dict[str, list[Event]] = {}
        for event in wedges:
            if event.event == "taken-over":
                self._taken.setdefault(event.connection, []).append(event)
        for download in downloads:
            fate = self._fate(download)
            self.counts[fate] += 1
            if fate == "ended otherwise":
                self.wrong.append(
                    f"download {download.number} of {', '.join(download.names)} at {download.client} from "
                    f"{download.server} over IPv{download.version}, {download.received} bytes: curl ended with "
                    f"{download.status} ({download.said}); connection {self._names(download) or 'not known'}"
                )
            elif fate == "wrong bytes":
                self.wrong.append(f"download {download.number} of {', '.join(download.names)} arrived wrong")
            if not download.rate:
                self._look_for_stalls(download)

    def _look_for_stalls(self, download: Download) -> None:
        for began, ended in download.pauses:
            for name in self._names(download):
                within = [one.time for one in self._taken.get(name, []) if began <= one.time <= ended]
                if within and ended - within[-1] > STALL_SECONDS:
                    self.stalls.append((download, ended - within[-1], ended))

    def _names(self, download: Download) -> list[str]:
        """Its connections, as far as anything happened to them."""
        found = {
            event.connection
            for event in self._clients[download.client]
            if event.port in download.ports and download.began <= event.time <= download.ended + 1
        }
        return sorted(found)

    def _fate(self, download: Download) -> str:
        if download.outcome != "ended early":
            return download.outcome
        names = self._names(download)[-1:]
        # The last of its objects is the one that failed; of that, nothing may have come.
        whole = download.right == len(download.ports) - 1 and not download.partial
        if download.status in RESET_STATUSES and any(self._unheard(name) for name in names):
            return "reset: its server was cut off from the group at the request, and died before the next refresh"
        if download.status not in RESET_STATUSES or not whole:
            return "ended otherwise"
        if not set(names) & self._heard:
            return "reset: its server died before the group had heard of it"
        if set(names) & self._unasked:
            return "reset: its server died before the group had heard of the request"
        return "ended otherwise"

    def _unheard(self, name: str) -> bool:
        """Has the one who took it over missed its request, because that was told while nobody could hear it?"""
        if name not in self._unasked or name not in self._taken:
            return False
        last = self._taken[name][-1]
        return died_unheard(self._strikes, last.cause.removeprefix("from "), last.time)
