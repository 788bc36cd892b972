"""Loads the eBPF programs and attaches them: sock_ops to the host's cgroup, tc to its interfaces.

What is attached and pinned outlives the daemon; a new daemon takes the maps over and replaces the programs.
`unload` takes everything away again, and nothing that others attached.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from migrate.linux import libbpf
from migrate.linux.build import SOURCES
from migrate.linux.maps import (
    COUNTERS,
    HANDSHAKE,
    PRIVATE_KEY_BYTES,
    PROOF,
    SETTINGS,
    STATE,
    TOKEN_BYTES,
    TUPLE,
    WATCH,
    Connections,
    Proofs,
    Switchboard,
)
from migrate.linux.position import Probe

# Where our filters sit in clsact: late enough that a host's own filters come first.
PRIORITY, HANDLE = 0xC0DE, 1
INGRESS, EGRESS = 0xFFFFFFF2, 0xFFFFFFF3
ARPHRD_ETHER, ARPHRD_LOOPBACK = 1, 772
SOCK_OPS_PIN = "sock_ops"
MAP_PINS = ("connections", "states", "handshakes", "watches", "settings", "counters", "private_keys")


class SetupError(Exception):
    """The daemon cannot work here; the message is one sentence that says what to do."""


@dataclass
class Programs:
    """The loaded programs and their maps."""

    pins: Path
    cgroup: Path
    route: IPRoute
    _object: libbpf.Object
    _probe_object: libbpf.Object

    @classmethod
    def load(cls, pins: Path, cgroup: Path, route: IPRoute) -> Programs:
        """Raises `SetupError`."""
        for name in ("migrate.bpf.o", "probe.bpf.o"):
            if not (SOURCES / name).exists():
                raise SetupError(f"{name} is not compiled: run python -m migrate.linux.build")
        try:
            pins.mkdir(mode=0o700, parents=True, exist_ok=True)
            migrate = libbpf.Object(SOURCES / "migrate.bpf.o", pins)
            probe = libbpf.Object(SOURCES / "probe.bpf.o")
        except libbpf.BpfError as error:
            raise SetupError(f"cannot load the eBPF programs: {error.strerror}") from error
        except OSError as error:
            raise SetupError(f"cannot make {pins}, is a BPF file system mounted there? ({error.strerror})") from error
        programs = cls(pins, cgroup, route, migrate, probe)
        programs._attach_cgroup()
        return programs

    def connections(self) -> Connections:
        states = self._object.map("states", TUPLE.size, STATE.size)
        return Connections(self._object.map("connections", TUPLE.size, HANDSHAKE.size), states)

    def switchboard(self) -> Switchboard:
        settings, counters = (
            self._object.map("settings", 4, SETTINGS.size),
            self._object.map("counters", 4, COUNTERS.size),
        )
        return Switchboard(settings, counters, self._object.map("watches", TUPLE.size, WATCH.size))

    def private_keys(self) -> libbpf.Map:
        return self._object.map("private_keys", 4, PRIVATE_KEY_BYTES)

    def handshakes(self) -> libbpf.Map:
        return self._object.map("handshakes", TUPLE.size, HANDSHAKE.size)

    def proofs(self) -> Proofs:
        return Proofs(self._object.map("proofs", TOKEN_BYTES, PROOF.size))

    def reports(self, receive: Callable[[bytes], None]) -> libbpf.RingBuffer:
        return libbpf.RingBuffer(self._object.map("reports", 0, 0), receive)

    def probe(self) -> Probe:
        return Probe(self._probe_object.program("position"))

    def _attach_cgroup(self) -> None:
        fd = os.open(self.cgroup, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self._detach_cgroup(fd)
            program = self._object.program("negotiate")
            libbpf.attach_sock_ops(program, fd)
            libbpf.pin(program, self.pins / SOCK_OPS_PIN)
        except libbpf.BpfError as error:
            raise SetupError(f"cannot attach to the cgroup {self.cgroup}: {error.strerror}") from error
        finally:
            os.close(fd)

    def _detach_cgroup(self, cgroup: int) -> None:
        """Detaches the program of an earlier daemon, known by its pin."""
        pin = self.pins / SOCK_OPS_PIN
        old = libbpf.open_pin(pin)
        if old is not None:
            libbpf.detach_sock_ops(old, cgroup)
            os.close(old)
            pin.unlink()

    def attach(self, index: int, kind: int) -> bool:
        """Watches one interface (`kind` is its ARPHRD number); false for loopback and one that has just gone."""
        if kind == ARPHRD_LOOPBACK:
            return False
        family = "ether" if kind == ARPHRD_ETHER else "bare"
        try:
            self._add_clsact(index)
            for parent, direction in ((INGRESS, "in"), (EGRESS, "out")):
                self.route.tc(
                    "replace-filter",
                    "bpf",
                    index,
                    HANDLE,
                    fd=self._object.program(f"{family}_{direction}"),
                    name=f"migrate_{direction}",
                    parent=parent,
                    prio=PRIORITY,
                    classid=1,
                    direct_action=True,
                )
        except NetlinkError as error:
            if error.code == errno.ENODEV:
                return False
            raise SetupError(f"cannot attach to interface {index}: {os.strerror(error.code)}") from error
        return True

    def _add_clsact(self, index: int) -> None:
        try:
            self.route.tc("add", "clsact", index)
        except NetlinkError as error:
            if error.code != errno.EEXIST:
                raise

    def unload(self, interfaces: list[int]) -> None:
        """Detaches everything and removes the pins; connections go on as plain TCP for good."""
        for index in interfaces:
            for parent in (INGRESS, EGRESS):
                try:
                    self.route.tc("del-filter", "bpf", index, HANDLE, parent=parent, prio=PRIORITY)
                except NetlinkError as error:
                    if error.code not in (errno.ENODEV, errno.ENOENT, errno.EINVAL):
                        raise
        fd = os.open(self.cgroup, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self._detach_cgroup(fd)
        finally:
            os.close(fd)
        for name in MAP_PINS:
            (self.pins / name).unlink(missing_ok=True)
        self.pins.rmdir()
