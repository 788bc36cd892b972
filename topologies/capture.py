"""A packet capture on one interface of a node: capturing for sure when made, complete when stopped."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from topologies.nodes import Host

SNAP_BYTES = 65_535
HEADER_BYTES = 160
"""Enough for all headers of a segment, where its payload does not matter."""
BUFFER_MIB = 16
# tcpdump in immediate mode has each packet at once; dumpcap asks the kernel for full blocks and waits up to 0.25 s.
_SETTLE_SECONDS = {"tcpdump": 0.1, "dumpcap": 0.5}
_PATIENCE_SECONDS = 10.0
_WORDS_BYTES = 1 << 16
# What tcpdump says when it is asked by SIGUSR1; its final words have a line for each number.
_REPORT = re.compile(r"(\d+) packets? captured, (\d+) packets? received by filter, (\d+) packets? dropped by kernel")


class CaptureError(Exception):
    """A capture could not be started, or is not complete; one sentence."""


class CaptureIncomplete(CaptureError):
    """Packets are missing from it: what it shows proves nothing."""


class Capture:
    """tcpdump (or dumpcap) writing `path`, with the kernel's times in nanoseconds.

    The file grows as packets pass, so that it can be followed while it is being written.
    """

    def __init__(self, host: Host, interface: str, path: Path, snap_bytes: int = SNAP_BYTES) -> None:
        """Start it, and wait until it captures; raises `CaptureError`. Of each packet, `snap_bytes` are kept."""
        self.interface = interface
        self.path = path
        self.host_name = host.name
        self._program = next((name for name in _SETTLE_SECONDS if shutil.which(name)), "")
        if not self._program:
            raise CaptureError("there is neither tcpdump nor dumpcap: install tcpdump")
        with contextlib.ExitStack() as opened:
            self._said = opened.enter_context(tempfile.TemporaryFile())
            command = _command(self._program, interface, path, snap_bytes)
            self._process = host.spawn(command, stdout=subprocess.DEVNULL, stderr=self._said, daemon=True)
            try:
                self._await_start()
            except BaseException:
                self._process.kill()
                self._process.wait()
                raise
            self._opened = opened.pop_all()

    def _await_start(self) -> None:
        end = time.monotonic() + _PATIENCE_SECONDS
        # Both say one of these once their socket is open and bound; from then on the kernel keeps packets for them.
        while not re.search("^File: |listening on ", self._words(), re.MULTILINE):
            if self._process.poll() is not None or time.monotonic() > end:
                raise CaptureError(f"{self.host_name}: no capture on {self.interface}: {self._last_words()}")
            time.sleep(0.005)

    @property
    def is_running(self) -> bool:
        """False once stopped, or if it has ended by itself."""
        return self._process.poll() is None

    def stop(self) -> Path:
        """Stop once the last packets are through; returns the path. Idempotent.

        Raises `CaptureIncomplete` if packets are missing from it, and `CaptureError` if it has ended by itself.
        """
        if self._said.closed:
            return self.path
        with self._opened:
            if not self.is_running:
                raise CaptureError(
                    f"{self.host_name}: the capture on {self.interface} ended early: {self._last_words()}"
                )
            time.sleep(_SETTLE_SECONDS[self._program])
            if self._program == "tcpdump":
                self._await_what_has_passed()
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(_PATIENCE_SECONDS)
            except subprocess.TimeoutExpired as error:
                self._process.kill()
                self._process.wait()
                raise CaptureError(f"{self.host_name}: the capture on {self.interface} would not stop") from error
            missing = missing_packets(self._words())
        if missing:
            raise CaptureIncomplete(
                f"{self.host_name}: {missing} packets are missing from {self.path}: the machine is too busy to capture"
            )
        return self.path

    def _await_what_has_passed(self) -> None:
        """Until tcpdump has written whatever the kernel holds for it by now: what it has not read it drops at its end.
        On a busy machine it may not have run for a while."""
        end, asked = time.monotonic() + _PATIENCE_SECONDS, 0
        while time.monotonic() < end and self.is_running:
            told = _REPORT.findall(self._words())
            if told and int(told[-1][0]) >= int(told[0][1]) - int(told[-1][2]):
                return
            if len(told) == asked:
                self._process.send_signal(signal.SIGUSR1)
                asked += 1
            time.sleep(0.002)

    def _words(self) -> str:
        # Not by seek and read: the program writes by the very same offset.
        return os.pread(self._said.fileno(), _WORDS_BYTES, 0).decode(errors="replace")

    def _last_words(self) -> str:
        lines = [line.strip() for line in self._words().splitlines() if line.strip()]
        return lines[-1] if lines else f"{self._program} said nothing"


def missing_packets(said: str) -> int:
    """How many packets a capture program's final words say did not reach the file; of those that had passed when it was
    first asked (SIGUSR1), where it was.

    Raises `CaptureError` where they say nothing of it.
    """
    tcpdump = re.search(r"(\d+) packets? captured\s+(\d+) packets? received.*\s+(\d+) packets? dropped", said)
    if tcpdump:
        captured, received, dropped = (int(number) for number in tcpdump.groups())
        asked = _REPORT.search(said)
        return max(0, (int(asked[2]) if asked else received) - captured) + dropped
    dumpcap = re.search(r"received/dropped on interface '.*': (\d+)/(\d+)", said)
    if dumpcap:
        return int(dumpcap[2])
    raise CaptureError(f"the capture program did not say what it captured: {said.strip() or 'nothing'}")


def _command(program: str, interface: str, path: Path, snap_bytes: int = SNAP_BYTES) -> list[str]:
    if program == "dumpcap":
        return ["dumpcap", "-q", "-i", interface, "-s", str(snap_bytes), "-B", str(BUFFER_MIB), "-w", str(path)]
    live = ["--immediate-mode", "-U", "-n", "--time-stamp-precision=nano"]
    sizes = ["-s", str(snap_bytes), "-B", str(BUFFER_MIB * 1024)]
    # -Z: root writes the file itself, also where only root may.
    return ["tcpdump", "-i", interface, *live, *sizes, "-Z", "root", "-w", str(path)]
