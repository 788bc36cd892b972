"""Loads the eBPF programs and attaches them: sock_ops to the host's cgroup, tc to its interfaces.

The interfaces' programs are attached through tcx, which takes less time than clsact; where the kernel has no tcx
(before 6.6), through clsact.
What is attached and pinned outlives the daemon; a new daemon takes the maps over and replaces the programs.
The kernel takes its time to verify a program: those for interfaces without Ethernet headers are loaded where there is
such an interface.
`unload` takes everything away again, and nothing that others attached.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

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
from migrate.linux.places import OCCUPIED, PLACE, Places
from migrate.linux.position import Probe
from migrate.linux.routing import Routing
from migrate.linux.setup import SetupError

# Where our filters sit in clsact: late enough that a host's own filters come first.
PRIORITY, HANDLE = 0xC0DE, 1
CLSACT = {"in": 0xFFFFFFF2, "out": 0xFFFFFFF3}
TCX = {"in": libbpf.BPF_TCX_INGRESS, "out": libbpf.BPF_TCX_EGRESS}
ARPHRD_ETHER, ARPHRD_LOOPBACK = 1, 772
SOCK_OPS_PIN = "sock_ops"
LINK_PIN = "link_"  # then the interface's index and the direction
MAP_PINS = ("connections", "places", "occupied", "states", "watches", "settings", "counters", "private_keys")


@dataclass
class Programs:
    """The loaded programs and their maps."""

    pins: Path
    cgroup: Path
    _object: libbpf.Object
    _probe_object: libbpf.Object
    _bare_object: libbpf.Object | None = None

    @classmethod
    def load(cls, pins: Path, cgroup: Path) -> Programs:
        """Raises `SetupError`."""
        for name in ("migrate.bpf.o", "probe.bpf.o"):
            if not (SOURCES / name).exists():
                raise SetupError(f"{name} is not compiled: run python -m migrate.linux.build")
        try:
            pins.mkdir(mode=0o700, parents=True, exist_ok=True)
            migrate = libbpf.Object(SOURCES / "migrate.bpf.o", pins, ("negotiate", *_filters("ether")))
            probe = libbpf.Object(SOURCES / "probe.bpf.o")
        except libbpf.BpfError as error:
            raise SetupError(f"cannot load the eBPF programs: {error.strerror}") from error
        except OSError as error:
            raise SetupError(f"cannot make {pins}, is a BPF file system mounted there? ({error.strerror})") from error
        programs = cls(pins, cgroup, migrate, probe)
        programs._attach_cgroup()
        return programs

    def connections(self, seed: bytes) -> Connections:
        """`seed`: of the places, as the settings have it."""
        states = self._object.map("states", TUPLE.size, STATE.size)
        places, occupied = self._object.map("places", 4, PLACE.size), self._object.map("occupied", 4, OCCUPIED.size)
        return Connections(
            self._object.map("connections", TUPLE.size, HANDSHAKE.size), states, Places(places, occupied, seed)
        )

    def switchboard(self) -> Switchboard:
        settings, counters = (
            self._object.map("settings", 4, SETTINGS.size),
            self._object.map("counters", 4, COUNTERS.size * libbpf.processors()),
        )
        return Switchboard(settings, counters, self._object.map("watches", TUPLE.size, WATCH.size))

    def private_keys(self) -> libbpf.Map:
        return self._object.map("private_keys", 4, PRIVATE_KEY_BYTES)

    def proofs(self) -> Proofs:
        return Proofs(self._object.map("proofs", TOKEN_BYTES, PROOF.size))

    def reports(self, receive: Callable[[bytes], None]) -> libbpf.RingBuffer:
        return libbpf.RingBuffer(self._object.map("reports", 0, 0), receive)

    def probe(self) -> Probe:
        return Probe(self._probe_object.program("position"))

    def _attach_cgroup(self) -> None:
        fd = os.open(self.cgroup, os.O_RDONLY | os.O_DIRECTORY)
        try:
            _detach_cgroup(self.pins, fd)
            program = self._object.program("negotiate")
            # In this order: who is killed in between must not leave a program that nobody finds again.
            libbpf.pin(program, self.pins / SOCK_OPS_PIN)
            libbpf.attach_sock_ops(program, fd)
        except libbpf.BpfError as error:
            raise SetupError(f"cannot attach to the cgroup {self.cgroup}: {error.strerror}") from error
        finally:
            os.close(fd)

    def attach(self, index: int, kind: int, routing: Routing) -> bool:
        """Watches one interface (`kind` is its ARPHRD number); false for loopback and one that has just gone."""
        if kind == ARPHRD_LOOPBACK:
            return False
        try:
            for direction in TCX:
                program = self._filter(kind == ARPHRD_ETHER, direction)
                if not self._attach_tcx(index, direction, program):
                    _attach_clsact(routing, index, direction, program)
        except OSError as error:
            if error.errno == errno.ENODEV:
                return False
            raise SetupError(f"cannot attach to interface {index}: {os.strerror(error.errno or 0)}") from error
        return True

    def _filter(self, ether: bool, direction: str) -> int:
        if ether:
            return self._object.program(f"ether_{direction}")
        if self._bare_object is None:
            bare = _filters("bare")
            self._bare_object = libbpf.Object(SOURCES / "migrate.bpf.o", self.pins, bare, like=self._object)
        return self._bare_object.program(f"bare_{direction}")

    def _attach_tcx(self, index: int, direction: str, program: int) -> bool:
        """False where the kernel has no tcx."""
        pin = self.pins / f"{LINK_PIN}{index}_{direction}"
        old = libbpf.open_pin(pin)
        if old is not None:
            try:
                if libbpf.replace_in_link(old, program):
                    return True
            finally:
                os.close(old)
            pin.unlink()  # of an interface that had the same index
        link = libbpf.attach_tcx(program, index, TCX[direction])
        if link is None:
            return False
        try:
            libbpf.pin(link, pin)
        finally:
            os.close(link)
        return True

    def detach_all_but(self, present: Collection[int]) -> None:
        """Leaves alone the interfaces that this host no longer has.  One that went to another network namespace takes
        tcx programs along, and what it carries there is not this host's."""
        _detach_all_but(self.pins, present)


def unload(pins: Path, cgroup: Path, routing: Routing, interfaces: Collection[int]) -> None:
    """Detaches everything and removes the pins; connections go on as plain TCP for good."""
    _detach_all_but(pins, ())
    for index in interfaces:
        for parent in CLSACT.values():
            try:
                routing.remove_filter(index, parent, PRIORITY, HANDLE)
            except OSError as error:
                if error.errno not in (errno.ENODEV, errno.ENOENT, errno.EINVAL):
                    raise
    fd = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _detach_cgroup(pins, fd)
    finally:
        os.close(fd)
    if pins.exists():
        for name in MAP_PINS:
            (pins / name).unlink(missing_ok=True)
        pins.rmdir()


def _detach_cgroup(pins: Path, cgroup: int) -> None:
    """Detaches the program of an earlier daemon, known by its pin."""
    pin = pins / SOCK_OPS_PIN
    old = libbpf.open_pin(pin)
    if old is not None:
        libbpf.detach_sock_ops(old, cgroup)
        os.close(old)
        pin.unlink()


def _detach_all_but(pins: Path, present: Collection[int]) -> None:
    for pin in pins.glob(f"{LINK_PIN}*"):
        if int(pin.name.removeprefix(LINK_PIN).partition("_")[0]) not in present:
            link = libbpf.open_pin(pin)
            if link is not None:
                libbpf.detach_link(link)  # without its pin it would go too, but not at once
                os.close(link)
            pin.unlink()


def _attach_clsact(routing: Routing, index: int, direction: str, program: int) -> None:
    try:
        routing.add_clsact(index)
    except OSError as error:
        if error.errno != errno.EEXIST:
            raise
    routing.put_filter(index, CLSACT[direction], PRIORITY, HANDLE, program, f"migrate_{direction}")


def _filters(family: str) -> tuple[str, ...]:
    return tuple(f"{family}_{direction}" for direction in TCX)
