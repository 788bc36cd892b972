"""Small programs that the measurements run on the hosts of their topologies, and how they are spoken to."""

from __future__ import annotations

import select
import subprocess
import sys
from typing import Any

from benchmarks.measurement import NotMeasured
from topologies.nodes import Host


class Program:
    """One of them, ready when this returns; it is spoken to in lines."""

    def __init__(self, host: Host, name: str, *arguments: str | int, patience: float = 60.0) -> None:
        self.name = f"{name} on {host.name}"
        self._patience = patience
        self._process: subprocess.Popen[Any] = host.spawn(
            [sys.executable, "-m", f"benchmarks.programs.{name}", *(str(each) for each in arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if self.hear() != "ready":
            raise NotMeasured(f"{self.name} does not start")

    def tell(self, line: str) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        try:
            stdin.write(f"{line}\n")
            stdin.flush()
        except BrokenPipeError:
            raise NotMeasured(f"{self.name} has ended (status {self._process.poll()})") from None

    def hear(self) -> str:
        """The next line it says; raises `NotMeasured` where it ends or says nothing for long."""
        stdout = self._process.stdout
        assert stdout is not None
        if not select.select([stdout], [], [], self._patience)[0]:
            raise NotMeasured(f"{self.name} has said nothing for {self._patience:g} s")
        line = stdout.readline()
        if not line:
            raise NotMeasured(f"{self.name} has ended (status {self._process.wait(5)})")
        return str(line).strip()

    def ask(self, line: str) -> str:
        self.tell(line)
        return self.hear()
