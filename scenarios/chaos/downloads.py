"""Downloads by unmodified curl, several at each client, one after the other; each file is compared by its checksum."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random

from scenarios.chaos.replica import MSL_SECONDS, PORT, VERSIONS, address
from scenarios.chaos.stage import PROBED, Stage
from scenarios.programs import checksum, random_file
from topologies.nodes import Host

SIZES = (1, 1_000, 1_000, 12_000, 60_000, 250_000, 250_000, 1_000_000, 3_000_000)
PADDED = "padded/"
"""A folder whose answers have heads of 24,000 bytes."""
_PAD = "x" * 3000
NGINX_LINES = f"location /{PADDED} {{ {' '.join(f'add_header X-Pad-{number} {_PAD};' for number in range(8))} }}"
AT_ONCE = {"c1": 4, "c2": 4, "c3": 4}
SLOW_SHARE, SLOW_RATES = 0.5, ["40k", "100k", "300k"]
"""Some read slowly: what has been sent then waits at both ends."""
SEVERAL_SHARE = 0.2
"""Some fetch three objects, one after the other on one connection."""
REFUSED = 7
RESET_STATUSES = (52, 56)
"""curl's, for a connection that ended without an answer, or by a reset."""
PAUSE_SECONDS = 1.0
"""A download to which nothing comes for longer has paused; when, is kept."""
ASKS_AFTER_SECONDS = 5
"""curl's TCP keepalive (usually a minute): the RST of a server that is killed behind a cut is lost, and who only
receives would wait for its data."""
STUCK_SECONDS = 2 * MSL_SECONDS + 30.0
LOOK_SECONDS = 0.05


def furnish(root: Path, random: Random) -> dict[str, str]:
    """Writes the objects; their checksums by name."""
    (root / PADDED).mkdir(parents=True)
    random_file(root / PROBED, 100, random)
    return {
        folder + str(size): random_file(root / folder / str(size), size, random)
        for folder in ("", PADDED) for size in dict.fromkeys(SIZES)
    }  # fmt: skip


@dataclass
class Download:
    """One curl.  Times are seconds since 1970."""

    number: int
    client: str
    server: str
    """Where it began."""
    version: int
    names: list[str]
    rate: str
    began: float
    ended: float = 0.0
    status: int | None = None
    ports: list[int] = field(default_factory=list)
    """Its own, of the connection of each object that arrived, or did not."""
    right: int = 0
    received: int = 0
    partial: bool = False
    """Of an object a part has arrived, and not all."""
    pauses: list[tuple[float, float]] = field(default_factory=list)
    """From when to when nothing came.  (With a rate, curl itself pauses.)"""
    said: str = ""
    outcome: str = ""


class _Running:
    """A curl under way."""

    def __init__(self, download: Download, host: Host, work: Path) -> None:
        self.download, self._work = download, work
        at = address(download.server, download.version)
        at = f"[{at}]" if download.version == 6 else at
        # Of several objects the first that fails ends it: else the status would be the last one's.
        words: list[str | Path] = ["curl", "--silent", "--show-error", "--fail", "--fail-early", "--no-buffer"]
        words += ["--keepalive-time", str(ASKS_AFTER_SECONDS)]
        words += ["--write-out", "%{local_port}\\n", *(["--limit-rate", download.rate] if download.rate else [])]
        self.targets = [work / f"{download.number}-{index}" for index in range(len(download.names))]
        for name, target in zip(download.names, self.targets, strict=True):
            words += ["--output", target, f"http://{at}:{PORT}/{name}"]
        self._log, self._errors = work / f"{download.number}.said", work / f"{download.number}.log"
        with self._log.open("w") as said, self._errors.open("w") as errors:
            self.process = host.spawn(words, stdout=said, stderr=errors)
        self.changed = time.time()

    def look(self, now: float, over: bool = False) -> None:
        """Notes how long nothing has come."""
        received = sum(target.stat().st_size for target in self.targets if target.exists())
        if received != self.download.received or over:
            if now - self.changed > PAUSE_SECONDS:
                self.download.pauses.append((self.changed, now))
            self.changed = now
        self.download.received = received

    @property
    def since(self) -> float:
        """Since when it stands still.  curl reads what is there at once, and then waits until that is its rate."""
        rate = self.download.rate
        due = self.download.began + self.download.received / (1e3 * float(rate.removesuffix("k"))) if rate else 0.0
        return max(self.changed, due)

    def finish(self, sums: dict[str, str], root: Path) -> Download:
        """After its end."""
        download = self.download
        self.look(time.time(), over=True)
        download.ended, download.status = time.time(), self.process.wait()
        download.ports = [int(port) for port in self._log.read_text().split()]
        download.said = self._errors.read_text().strip()
        pairs = list(zip(download.names, self.targets, strict=True))
        found = [checksum(target) == sums[name] for name, target in pairs]
        download.right = sum(found)
        download.partial = any(not right and target.exists() for right, target in zip(found, self.targets, strict=True))
        if download.status == 0:
            download.outcome = "right" if all(found) else "wrong bytes"
        elif any(target.exists() and not _begins(root / name, target) for name, target in pairs):
            download.outcome = "wrong bytes"
        elif download.status == REFUSED:
            download.outcome = "refused"
        else:
            download.outcome = "ended early"
        for path in (self._log, self._errors, *(self.targets if download.outcome != "wrong bytes" else [])):
            path.unlink(missing_ok=True)
        return download


def _begins(whole: Path, part: Path) -> bool:
    return whole.read_bytes().startswith(part.read_bytes())


class Downloads:
    """All of them."""

    def __init__(self, stage: Stage, out: Path, root: Path, sums: dict[str, str], random: Random) -> None:
        """`root`: where the objects are that `furnish` has written."""
        self._stage, self._root, self._sums, self._random = stage, root, sums, random
        self._work, self._file = out / "got", out / "downloads.jsonl"
        self._work.mkdir()
        self.running: list[_Running] = []
        self.over: list[Download] = []
        self.started = self.bytes = 0
        self._looked = 0.0
        self._seen = 0

    def step(self, begin: bool) -> list[Download]:
        """Looks at all; `begin`: starts others in the place of those that are over.  Those that have just begun."""
        now = time.time()
        if now > self._looked + LOOK_SECONDS:
            self._looked = now
            for one in self.running:
                one.look(now)
        for one in [one for one in self.running if one.process.poll() is not None]:
            self.running.remove(one)
            download = one.finish(self._sums, self._root)
            self.over.append(download)
            self.bytes += download.received
            with self._file.open("a") as file:
                file.write(json.dumps(asdict(download)) + "\n")
        return self._begin() if begin else []

    def _begin(self) -> list[Download]:
        """At most one: it takes a moment."""
        busy = [one.download.client for one in self.running]
        free = [client for client, most in AT_ONCE.items() if busy.count(client) < most]
        servers = [replica.name for replica in self._stage.replicas.values() if replica.serves]
        if not free or not servers:
            return []
        random = self._random
        client, server, version = random.choice(free), random.choice(servers), random.choice(VERSIONS)
        names = [random.choice(list(self._sums))]
        if random.random() < SEVERAL_SHARE:
            names = [random.choice([name for name in self._sums if len(name) < 7]) for _ in range(3)]
        rate = random.choice(SLOW_RATES) if random.random() < SLOW_SHARE else ""
        download = Download(self.started, client, server, version, names, rate, time.time())
        self.running.append(_Running(download, self._stage.clients[client], self._work))
        self.started += 1
        return [download]

    def wrong(self) -> str:
        """The first that ended as none may, in words; "" if there is none."""
        new, self._seen = self.over[self._seen :], len(self.over)
        for download in new:
            what = f"download {download.number} of {', '.join(download.names)} at {download.client}"
            if download.outcome == "wrong bytes":
                return f"{what} arrived wrong"
            if download.outcome == "ended early" and download.status not in RESET_STATUSES:
                return f"{what} ended after {download.received} bytes: {download.said}"
        return ""

    def stuck(self) -> str:
        """One to which nothing has come for too long, in words; "" if there is none."""
        for one in self.running:
            if time.time() > one.since + STUCK_SECONDS:
                download = one.download
                right = all(
                    _begins(self._root / name, target)
                    for name, target in zip(download.names, one.targets, strict=True)
                    if target.exists()
                )
                return (
                    f"download {download.number} at {download.client} stands still and has {download.received} bytes, "
                    f"{'all right' if right else 'wrong ones'}"
                )
        return ""
