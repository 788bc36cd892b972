"""Programs with connections that last: SSH, Redis, TLS, and socat in both directions; all as Debian ships them.

Each has a `port` of the server's that is its own, so that its connection is found in captures, and ends with an exit
status and a check of its own.
"""

from __future__ import annotations

import ipaddress
import os
import select
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scenarios.programs import READY_SECONDS, ProgramError, _last_line, checksum
from topologies.nodes import Host


@dataclass
class Session:
    """A client program on the mobile and the files it moves; `wanted` and `got` are SHA-256 sums."""

    name: str
    port: int
    process: subprocess.Popen[Any]
    files: list[tuple[Path, Path]] = field(default_factory=list)
    """What was to be carried, and where it went."""

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def finish(self, patience: float) -> int:
        """Until it ends; its exit status, or `ProgramError`."""
        try:
            return self.process.wait(patience)
        except subprocess.TimeoutExpired:
            raise ProgramError(f"{self.name} does not end within {patience:.0f} s") from None

    @property
    def wanted(self) -> str:
        return " ".join(checksum(source) for source, _ in self.files)

    @property
    def got(self) -> str:
        return " ".join(checksum(target) for _, target in self.files)


class Dialogue(Session):
    """A program that is spoken to by lines and answers by lines."""

    def ask(self, line: str, answer: str, patience: float = READY_SECONDS) -> None:
        """Says a line and waits for one that contains `answer`; raises `ProgramError`."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())
        self.process.stdin.flush()
        self.hear(answer, patience)

    def hear(self, answer: str, patience: float = READY_SECONDS) -> None:
        assert self.process.stdout is not None
        pipe, said = self.process.stdout.fileno(), b""
        end = time.monotonic() + patience
        while answer.encode() not in said:
            if not select.select([pipe], [], [], max(0.0, end - time.monotonic()))[0]:
                raise ProgramError(f"{self.name} does not say {answer!r} within {patience:.0f} s, only {said[-200:]!r}")
            part = os.read(pipe, 4096)
            if not part:
                raise ProgramError(f"{self.name} has ended; it last said {said[-200:]!r}")
            said += part

    def leave(self, word: str, patience: float) -> int:
        """Says the word that ends it; its exit status."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n".encode())
        self.process.stdin.close()
        return self.finish(patience)


def at(address: str) -> str:
    """As it stands in a URL."""
    return f"[{address}]" if ipaddress.ip_address(address).version == 6 else address


def wait_for_port(host: Host, port: int, what: str, process: subprocess.Popen[Any], log: Path | None = None) -> None:
    """Until something on the host listens there; raises `ProgramError`."""
    end = time.monotonic() + READY_SECONDS
    while not host.run(["ss", "-Htln", "sport", "=", f":{port}"]).stdout:
        if process.poll() is not None or time.monotonic() > end:
            said = f": {_last_line(log)}" if log else ""
            raise ProgramError(f"{what} on {host.name} does not start{said}")
        time.sleep(0.02)


# --- SSH --------------------------------------------------------------------------------------------------------------


class Sshd:
    """Debian's OpenSSH server on two ports, with keys and settings of this run only."""

    PORTS = (2222, 2223)

    def __init__(self, host: Host, work: Path) -> None:
        work.mkdir()
        self.work = work
        for name in ("host_key", "user_key"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "migrate-lab", "-f", work / name], check=True
            )
        (work / "authorized_keys").write_text((work / "user_key.pub").read_text())
        Path("/run/sshd").mkdir(exist_ok=True)
        ports = "".join(f"Port {port}\n" for port in self.PORTS)
        (work / "sshd_config").write_text(
            f"{ports}HostKey {work}/host_key\nAuthorizedKeysFile {work}/authorized_keys\nPidFile none\n"
            "StrictModes no\nUsePAM no\nPermitRootLogin prohibit-password\nPasswordAuthentication no\n"
            "LogLevel DEBUG1\nPrintMotd no\nPrintLastLog no\nUseDNS no\nSubsystem sftp internal-sftp\n"
        )
        log = work / "sshd.log"
        with log.open("w") as said:
            process = host.spawn(["/usr/sbin/sshd", "-D", "-e", "-f", work / "sshd_config"], stderr=said)
        for port in self.PORTS:
            wait_for_port(host, port, "sshd", process, log)

    def _options(self, address: str) -> list[str | Path]:
        known = self.work / "known_hosts"
        key = (self.work / "host_key.pub").read_text()
        known.write_text("".join(f"[{address}]:{port} {key}" for port in self.PORTS))
        settings = [f"UserKnownHostsFile={known}", "StrictHostKeyChecking=yes", "BatchMode=yes", "CheckHostIP=no"]
        return ["-F", "none", "-i", self.work / "user_key", *(word for one in settings for word in ("-o", one))]

    def shell(self, host: Host, address: str) -> Dialogue:
        """A shell on a pseudo-terminal, which echoes nothing."""
        log = self.work / "ssh.log"
        with log.open("w") as said:
            process = host.spawn(
                ["ssh", *self._options(address), "-p", str(self.PORTS[0]), "-tt", f"root@{address}",
                 "stty -echo; exec sh"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said,
            )  # fmt: skip
        dialogue = Dialogue("ssh session", self.PORTS[0], process)
        dialogue.ask("echo $((6 * 7)) ready", "42 ready")
        return dialogue

    def copy(self, host: Host, source: Path, address: str, target: Path) -> Session:
        """scp to the server."""
        log = self.work / "scp.log"
        with log.open("w") as said:
            process = host.spawn(
                ["scp", *self._options(address), "-P", str(self.PORTS[1]), source,
                 f"root@{at(address)}:{target}"],
                stderr=said,
            )  # fmt: skip
        return Session("scp", self.PORTS[1], process, [(source, target)])


# --- Redis ------------------------------------------------------------------------------------------------------------


class Redis:
    """Debian's Redis, in memory only."""

    PORT = 6379

    def __init__(self, host: Host, work: Path) -> None:
        work.mkdir()
        log = work / "redis.log"
        process = host.spawn(
            ["redis-server", "--port", str(self.PORT), "--bind", "* -::*", "--protected-mode", "no", "--save", "",
             "--appendonly", "no", "--dir", work, "--logfile", log],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wait_for_port(host, self.PORT, "redis-server", process, log)

    def client(self, host: Host, address: str) -> Dialogue:
        """redis-cli, a command a line."""
        process = host.spawn(
            ["redis-cli", "-h", address, "-p", str(self.PORT)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        dialogue = Dialogue("redis-cli", self.PORT, process)
        dialogue.ask("PING", "PONG")
        return dialogue


# --- TLS --------------------------------------------------------------------------------------------------------------


def certificate(work: Path, name: str) -> tuple[Path, Path]:
    """A key and a certificate for a host name, signed by itself."""
    key, crt = work / "tls.key", work / "tls.crt"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=migrate-lab", "-addext", f"subjectAltName=DNS:{name}", "-keyout", key, "-out", crt],
        check=True, capture_output=True,
    )  # fmt: skip
    return key, crt


# --- socat ------------------------------------------------------------------------------------------------------------


SEND_BUFFER = 212_992
"""Bytes of payload and as many for the kernel's own: the most that a program may ask for."""


@dataclass
class Halves:
    """socat at both ends, each with a file for the other: who has read its file to the end sends a FIN and goes on
    receiving.  The FIN waits behind what the send buffer holds."""

    client: Session
    server: subprocess.Popen[Any]

    @classmethod
    def start(
        cls, mobile: Host, server: Host, address: str, port: int, files: list[tuple[Path, Path]], name: str
    ) -> Halves:
        """`files`: what the mobile sends and where it goes, then the same for the server."""
        version = ipaddress.ip_address(address).version
        patient = ["socat", "-t", "600", "STDIO"]  # the other direction may last so much longer
        (up, up_got), (down, down_got) = files
        with down.open("rb") as read, up_got.open("wb") as written:
            listener = server.spawn(
                [*patient, f"TCP{version}-LISTEN:{port},so-sndbuf={SEND_BUFFER}"], stdin=read, stdout=written
            )
        wait_for_port(server, port, "socat", listener)
        with up.open("rb") as read, down_got.open("wb") as written:
            process = mobile.spawn(
                [*patient, f"TCP{version}:{at(address)}:{port},so-sndbuf={SEND_BUFFER}"], stdin=read, stdout=written
            )
        return cls(Session(name, port, process, files), listener)
