"""What the programs of a soak do: downloads and uploads, one after the other, each checked by its sum."""

from __future__ import annotations

import contextlib
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from scenarios.programs import Nginx, checksum, random_file
from scenarios.sessions import Session, Sshd, at, certificate
from scenarios.soak.stage import Broken, Stage

SIZES = (60_000, 200_000, 500_000, 900_000, 1_500_000, 2_500_000, 4_000_000)
PORTS = {4: Nginx.PORT, 6: Nginx.PORT}
TLS_PORT, TLS_NAME = 8443, "server.example"
KINDS: tuple[tuple[str, int], ...] = (
    ("download", 4), ("download", 6), ("upload", 4), ("upload", 6), ("bound download", 4), ("tls download", 6),
    ("scp", 4),
)  # fmt: skip
"""What goes on side by side, each with its IP version."""


@dataclass
class Totals:
    """What the transfers that are over have shown."""

    started: int = 0
    right: int = 0
    bytes: int = 0
    wrong: list[str] = field(default_factory=list)
    """A sentence for each that did not end well."""


class Transfers:
    """The programs on both hosts."""

    def __init__(self, stage: Stage, out: Path, random: Random) -> None:
        self._stage, self._out, self._random = stage, out, random
        self.totals = Totals()
        self.running: dict[tuple[str, int], tuple[Session, int]] = {}
        self._was: dict[tuple[str, int], tuple[int, int]] = {}
        self._root, self._work, self._got = out / "www", out / "nginx", out / "got"
        for path in (self._root, self._root / "up", self._work, self._got):
            path.mkdir()
        self._root.chmod(0o755)
        self._sums = {size: random_file(self._root / str(size), size, random) for size in SIZES}
        server = stage.hosts["server"]
        key, self._certificate = certificate(self._work, TLS_NAME)
        listen = f"listen {TLS_PORT} ssl; listen [::]:{TLS_PORT} ssl;"
        keys = f"ssl_certificate {self._certificate}; ssl_certificate_key {key};"
        tls = f"server {{ {listen} root {self._root}; {keys} }}"
        more = "dav_methods PUT; client_max_body_size 0; client_body_timeout 3600;"
        Nginx(server, self._root, self._work, more=more, servers=f"    {tls}\n")
        self._sshd = Sshd(server, out / "ssh")

    def start(self) -> int:
        """Starts what is not going on; how many."""
        missing = [kind for kind in KINDS if kind not in self.running]
        for kind in missing:
            size = self._random.choice(SIZES)
            self.running[kind] = (self._session(*kind, size), size)
            self.totals.started += 1
        return len(missing)

    def collect(self) -> None:
        """Looks at what has ended.  Raises `Broken` for the first that has not ended well."""
        for kind, (session, size) in list(self.running.items()):
            if session.running:
                continue
            del self.running[kind]
            self._was.pop(kind, None)
            name = f"{kind[0]} over IPv{kind[1]} of {size} bytes"
            status = session.process.wait()
            (_, target), = session.files  # fmt: skip
            if status != 0:
                said = (self._out / f"{_word(kind)}.log").read_text().strip().splitlines()
                self.totals.wrong.append(f"{name} ended with status {status}: {said[-1] if said else 'nothing said'}")
            elif checksum(target) != self._sums[size]:
                self.totals.wrong.append(f"{name} arrived wrong: see {target.name}")
            else:
                self.totals.right += 1
                self.totals.bytes += size
                target.unlink()
                continue
            raise Broken(self.totals.wrong[-1])

    def stuck(self) -> str:
        """One that has not come forward since the last call that returned "", in words; "" if all have."""
        now = {kind: (session.process.pid, _carried(session)) for kind, (session, _) in self.running.items()}
        for kind, progress in now.items():
            if self._was.get(kind) == progress and self.running[kind][0].running:
                return f"{kind[0]} over IPv{kind[1]}"
        self._was = now
        return ""

    def _session(self, kind: str, version: int, size: int) -> Session:
        mobile = self._stage.hosts["mobile"]
        address = self._stage.present["server", version]
        assert address is not None
        word = _word((kind, version))
        source, target = self._root / str(size), self._got / word
        if kind == "scp":
            session = self._sshd.copy(mobile, source, address, target)
            (self._out / f"{word}.log").write_text("see ssh/scp.log\n")
            return session
        url = f"http://{at(address)}:{PORTS[version]}/{size}"
        options: list[str | Path] = ["--output", target]
        if kind == "upload":
            target = self._root / "up" / word
            url = f"http://{at(address)}:{PORTS[version]}/up/{word}"
            options = ["--upload-file", source]
        elif kind == "bound download":
            options += ["--interface", str(self._stage.present["mobile", version])]
        elif kind == "tls download":
            url = f"https://{TLS_NAME}:{TLS_PORT}/{size}"
            options += ["--cacert", self._certificate, "--resolve", f"{TLS_NAME}:{TLS_PORT}:{address}"]
        with (self._out / f"{word}.log").open("w") as said:
            process = mobile.spawn(
                ["curl", "--silent", "--show-error", "--fail", "--no-buffer", *options, url],
                stdout=subprocess.DEVNULL, stderr=said,
            )  # fmt: skip
        return Session(kind, 0, process, [(source, target)])


def _word(kind: tuple[str, int]) -> str:
    return f"{kind[0].replace(' ', '-')}-{kind[1]}"


def _carried(session: Session) -> int:
    """Bytes that the program has read and written, its files and sockets alike."""
    with contextlib.suppress(OSError, ValueError):
        lines = Path(f"/proc/{session.process.pid}/io").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith(("rchar", "wchar")))
    return 0
