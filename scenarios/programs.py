"""The real programs of the experiments, started on the hosts of a topology."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from random import Random

from topologies.nodes import Host

READY_SECONDS = 30.0


class ProgramError(Exception):
    """A program did not do what it was started for; one sentence with its own last words."""


class Migrated:
    """A host's migrated, serving when this returns."""

    MODULE = "migrate.migrated"

    def __init__(self, host: Host, out: Path, *options: str) -> None:
        self.events = out / f"{host.name}-events.jsonl"
        self.keylog = out / "keys.log"
        self._log = out / f"{host.name}-migrated.log"
        with self._log.open("w") as log:
            self._process = host.spawn(
                [
                    *(sys.executable, "-m", self.MODULE),
                    *("--cgroup", host.programs_cgroup),
                    *("--events", self.events, "--keylog", self.keylog),
                    *options,
                ],
                stdout=subprocess.PIPE,
                stderr=log,
                daemon=True,
                text=True,
            )
        assert self._process.stdout is not None
        waiting, _, _ = select.select([self._process.stdout], [], [], READY_SECONDS)
        if not waiting or self._process.stdout.readline().strip() != "ready":
            self._process.kill()
            raise ProgramError(f"migrated on {host.name} does not start: {_last_line(self._log)}")

    def stop(self) -> None:
        """Ends it in order; raises `ProgramError` if it has not lived until now."""
        if self._process.poll() is not None:
            raise ProgramError(f"migrated ended before its time: {_last_line(self._log)}")
        self._process.terminate()
        self._process.wait(READY_SECONDS)


class Nginx:
    """Debian's nginx with one worker and one directory of files."""

    PORT = 8080

    def __init__(
        self,
        host: Host,
        root: Path,
        work: Path,
        *,
        more: str = "",
        servers: str = "",
        main: str = "",
        error_level: str = "error",
        loopback: int | None = None,
    ) -> None:
        """`more`: lines for its server block; `servers`: further server blocks; `main`: lines outside of all blocks;
        `error_level` as in its error_log directive (a reset by the peer is told from "info" on); `loopback`: it
        listens on 127.0.0.1 only, at this port."""
        port = loopback or self.PORT
        listen = f"listen {port} backlog=4096; listen [::]:{port} backlog=4096;"
        if loopback:
            listen = f"listen 127.0.0.1:{port} backlog=4096;"
        configuration, self.log = work / "nginx.conf", work / "nginx.log"
        configuration.write_text(
            f"""daemon off;
user root;
worker_processes 1;
pid {work}/nginx.pid;
error_log {self.log} {error_level};
{main}
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {work}/client; proxy_temp_path {work}/proxy; fastcgi_temp_path {work}/fastcgi;
    uwsgi_temp_path {work}/uwsgi; scgi_temp_path {work}/scgi;
    sendfile on;
    keepalive_timeout 3600; send_timeout 3600;
    server {{ {listen} root {root}; {more} }}
{servers}}}
"""
        )
        self._process = host.spawn(
            ["nginx", "-p", work, "-e", self.log, "-c", configuration], stderr=subprocess.DEVNULL
        )
        end = time.monotonic() + READY_SECONDS
        while str(port) not in host.run(["ss", "-Htln", "sport", "=", f":{port}"]).stdout:
            if self._process.poll() is not None or time.monotonic() > end:
                raise ProgramError(f"nginx on {host.name} does not start: {_last_line(self.log)}")
            time.sleep(0.02)

    def signal(self, number: signal.Signals) -> None:
        """To the master and the worker."""
        os.killpg(self._process.pid, number)

    def stop(self) -> None:
        """Ends it at once, and its connections with it."""
        self._process.terminate()
        self._process.wait(READY_SECONDS)


class PythonServer:
    """Python's own HTTP server, which tells on stderr what the kernel told it."""

    PORT = 8000

    def __init__(self, host: Host, root: Path, log: Path) -> None:
        self.log = log
        argv = [sys.executable, "-u", "-m", "http.server", str(self.PORT), "--bind", "::", "--directory", str(root)]
        with log.open("w") as file:
            self._process = host.spawn(argv, stdout=file, stderr=file)
        end = time.monotonic() + READY_SECONDS
        while str(self.PORT) not in host.run(["ss", "-Htln", "sport", "=", f":{self.PORT}"]).stdout:
            if self._process.poll() is not None or time.monotonic() > end:
                raise ProgramError(f"http.server on {host.name} does not start: {_last_line(log)}")
            time.sleep(0.02)


class Download:
    """An unmodified curl, writing what it receives at once."""

    def __init__(self, host: Host, server: str, name: str, target: Path, *options: str, port: int = Nginx.PORT) -> None:
        self.target = target
        at = f"[{server}]" if ipaddress.ip_address(server).version == 6 else server
        target.unlink(missing_ok=True)  # what an earlier download has left there is none of this one's bytes
        self._errors = target.with_suffix(".curl.log")
        with self._errors.open("w") as errors:
            self._process = host.spawn(
                ["curl", "--silent", "--show-error", "--fail", "--no-buffer", *options, "--output", target,
                 f"http://{at}:{port}/{name}"],
                stderr=errors,
            )  # fmt: skip

    @property
    def received(self) -> int:
        """Bytes so far."""
        return self.target.stat().st_size if self.target.exists() else 0

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def wait_for(self, count: int, patience: float) -> None:
        """Until it has received so many bytes; raises `ProgramError` if it ends or `patience` seconds pass before."""
        end = time.monotonic() + patience
        while self.received < count:
            if not self.running:
                raise ProgramError(f"curl ended after {self.received} bytes: {_last_line(self._errors)}")
            if time.monotonic() > end:
                raise ProgramError(f"curl has received only {self.received} of {count} bytes after {patience:.0f} s")
            time.sleep(0.005)

    def give_up(self) -> None:
        """Ends it now, whatever it has."""
        self._process.kill()
        self._process.wait()

    def finish(self, patience: float) -> int:
        """Until it ends; its exit status."""
        try:
            return self._process.wait(patience)
        except subprocess.TimeoutExpired:
            raise ProgramError(f"curl has {self.received} bytes after {patience:.0f} s more and does not end") from None


def wait_until_closed(hosts: Iterable[Host], patience: float) -> None:
    """Until no connection of these hosts is left, TIME-WAIT apart: what a program leaves to the kernel, its FIN too.

    Raises `ProgramError` after `patience` seconds."""
    end = time.monotonic() + patience
    for host in hosts:
        while left := host.run(["ss", "-Htn", "state", "connected", "exclude", "time-wait"]).stdout.split("\n")[:-1]:
            if time.monotonic() > end:
                raise ProgramError(f"{len(left)} connections of {host.name} do not close: {' '.join(left[0].split())}")
            time.sleep(0.02)


def random_file(path: Path, size: int, random: Random) -> str:
    """Writes `size` bytes that the seed determines; their SHA-256."""
    path.write_bytes(random.randbytes(size))
    return checksum(path)


def checksum(path: Path) -> str:
    """SHA-256 of a file, "" where there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""


def _last_line(path: Path) -> str:
    lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()] if path.exists() else []
    return lines[-1] if lines else "it said nothing"
