"""What a host and its migrated hold: counted before the first connection and after the last.

Everything is counted inside the sandbox of the run, so that what others do on the machine does not matter.  A program,
map or link of eBPF lives as long as a descriptor, a pin or an attachment holds it; so all of them are found from the
descriptors of migrated, the pins and what is attached to the hosts' interfaces and cgroups.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from migrate.daemon.service import SWEEP_SECONDS
from migrate.linux import libbpf
from migrate.linux.keyring import HANDSHAKE_SECONDS
from migrate.linux.maps import (
    HANDSHAKE,
    PLACE_BITS,
    PRIVATE_KEY_BYTES,
    PROOF,
    SETTINGS,
    SLOT,
    STATE,
    TOKEN_BYTES,
    TUPLE,
    WATCH,
    WATCH_HOLD,
    WATCH_MUTE_IN,
    WATCH_MUTE_OUT,
    WATCH_SYNACK,
    unpack_tuple,
)
from migrate.linux.places import PLACE, taken
from scenarios.soak.stage import frozen
from scenarios.verdict import Check
from topologies.nodes import Host

FORGOTTEN_SECONDS = HANDSHAKE_SECONDS + 2 * SWEEP_SECONDS + 10.0
"""So long after the last connection migrated has let go of all that it knew, key pairs last."""

PINS = Path("/sys/fs/bpf")
RULE_OF_A_REBIND = "49374"
MAPS = {
    "connections": (TUPLE.size, HANDSHAKE.size),
    "states": (TUPLE.size, STATE.size),
    "watches": (TUPLE.size, WATCH.size),
    "private_keys": (4, PRIVATE_KEY_BYTES),
    "proofs": (TOKEN_BYTES, PROOF.size),
}
"""Maps whose entries come and go, by name: bytes of key and value.  `proofs` is not pinned, its process holds it."""

Snapshot = dict[str, int | str]


class Serving(Protocol):
    """A host's migrated: its guardian, and the worker that does the work."""

    process: subprocess.Popen[Any]

    @property
    def worker(self) -> int | None:
        """Its process, None where it is not there."""


class Place(Protocol):
    """Hosts and their daemons by the hosts' names."""

    @property
    def hosts(self) -> Mapping[str, Host]: ...

    @property
    def daemons(self) -> Mapping[str, Serving]: ...


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def names_of_descriptors(pid: int | None) -> list[str]:
    """What each leads to, for who is to find out which is one too many."""
    found = []
    for path in sorted(Path(f"/proc/{pid}/fd").glob("*"), key=lambda path: int(path.name)):
        with contextlib.suppress(OSError):  # just closed
            found.append(f"{path.name} {os.readlink(path)}")
    return found


def memory(pid: int) -> int:
    """Bytes that are the process's own: not those of files or shared with others."""
    found = re.search(r"^RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.M)
    return int(found[1]) * 1024 if found else 0


def held(pid: int) -> tuple[set[int], set[int], set[int]]:
    """The ids of the eBPF programs, maps and links that the process has descriptors of."""
    found: tuple[set[int], set[int], set[int]] = (set(), set(), set())
    for path in Path(f"/proc/{pid}/fdinfo").iterdir():
        with contextlib.suppress(OSError):  # just closed
            text = path.read_text()
            for ids, word in zip(found, ("prog_id", "map_id", "link_id"), strict=True):
                ids |= {int(number) for number in re.findall(rf"^{word}:\s+(\d+)", text, re.M)}
    return found


def pins(host: Host) -> Path:
    """Where migrated has its pins for this host, unless it is told otherwise."""
    return PINS / f"migrate-{os.stat(host.namespace).st_ino}"


def entries(host: Host, worker: int) -> dict[str, int]:
    """How many entries the maps have, by name."""
    counts = {}
    by_name = _maps_by_name(held(worker)[1])
    for name, sizes in MAPS.items():
        if name in by_name:
            with _descriptor(by_name[name]) as fd:
                counts[name] = sum(1 for _ in libbpf.Map(fd, *sizes))
    with _pinned(host, "places", 4, PLACE.size) as places:
        counts["places"] = sum(taken(place) for place in places.values(1 << PLACE_BITS))
    with _pinned(host, "settings", 4, SETTINGS.size) as settings:
        _, _, _, _, _, *slots, _ = SETTINGS.unpack(settings.get(bytes(4)) or b"")
    # Those in a slot are to be there, of one set or of two.
    counts["private_keys"] -= len({SLOT.unpack(slot)[0] for slot in slots} - {0})
    return counts


def watched(host: Host) -> list[str]:
    """The address pairs that migrated has marked, and how: what is muted, held or awaited there."""
    names = {WATCH_MUTE_OUT: "mute-out", WATCH_MUTE_IN: "mute-in", WATCH_HOLD: "held", WATCH_SYNACK: "awaited"}
    lines = []
    with _pinned(host, "watches", TUPLE.size, WATCH.size) as table:
        for key, value in table.items():
            pair, (flags, until) = unpack_tuple(key), WATCH.unpack(value)
            seconds = (until - time.monotonic_ns()) / 1e9
            marks = ", ".join(name for flag, name in names.items() if flags & flag)
            ends = f"{pair.local_ip}.{pair.local_port} > {pair.remote_ip}.{pair.remote_port}"
            lines.append(f"{ends}: {marks}, for {seconds:.0f} s")
    return lines


@contextlib.contextmanager
def _pinned(host: Host, name: str, key_size: int, value_size: int) -> Iterator[libbpf.Map]:
    fd = libbpf.open_pin(pins(host) / name)
    if fd is None:
        raise OSError(errno.ENOENT, f"migrated has no map {name}")
    try:
        yield libbpf.Map(fd, key_size, value_size)
    finally:
        os.close(fd)


@contextlib.contextmanager
def _descriptor(number: int) -> Iterator[int]:
    fd = libbpf.library().bpf_map_get_fd_by_id(number)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "this eBPF map has just gone")
    try:
        yield fd
    finally:
        os.close(fd)


def _maps_by_name(numbers: set[int]) -> dict[str, int]:
    found = {}
    for number in numbers:
        with contextlib.suppress(OSError), _descriptor(number) as fd:
            info, length = ctypes.create_string_buffer(256), ctypes.c_uint32(256)
            if not libbpf.library().bpf_obj_get_info_by_fd(fd, info, ctypes.byref(length)):
                # struct bpf_map_info (linux/bpf.h): six words, then the name
                found[info.raw[24:40].split(b"\0")[0].decode()] = number
    return found


def attached(host: Host) -> set[int]:
    """The ids of the eBPF programs at the host's interfaces and at its programs' cgroup."""
    found = set[int]()
    directory = os.open(host.programs_cgroup, os.O_RDONLY | os.O_DIRECTORY)
    try:
        found |= _query(directory, libbpf.BPF_CGROUP_SOCK_OPS)
    finally:
        os.close(directory)
    with host.entered():
        for index, name in socket.if_nameindex():
            for point in (libbpf.BPF_TCX_INGRESS, libbpf.BPF_TCX_EGRESS):
                found |= _query(index, point)
            for way in ("ingress", "egress"):  # kernels without tcx
                said = host.run(["tc", "filter", "show", "dev", name, way], daemon=True).stdout
                found |= {int(number) for number in re.findall(r"\bid (\d+)", said)}
    return found


def _query(target: int, point: int) -> set[int]:
    count, flags, ids = ctypes.c_uint32(64), ctypes.c_uint32(), (ctypes.c_uint32 * 64)()
    if libbpf.library().bpf_prog_query(target, point, 0, ctypes.byref(flags), ids, ctypes.byref(count)):
        return set()
    return set(ids[: count.value])


def snapshot(stage: Place) -> Snapshot:
    """Everything that could be left behind, by a name that says whose it is.  Needs daemons that serve."""
    seen: Snapshot = {}
    for name, host in stage.hosts.items():
        daemon = stage.daemons[name]
        worker = daemon.worker
        assert worker is not None
        seen[f"{name}: descriptors of the guardian"] = descriptors(daemon.process.pid)
        seen[f"{name}: descriptors of the worker"] = descriptors(worker)
        programs, maps, links = (one | two for one, two in zip(held(worker), held(daemon.process.pid), strict=True))
        seen[f"{name}: eBPF programs"] = len(programs | attached(host))
        seen[f"{name}: eBPF programs attached"] = len(attached(host))
        seen[f"{name}: eBPF maps"] = len(maps)
        seen[f"{name}: eBPF links"] = len(links)
        seen[f"{name}: pins"] = len(list(pins(host).iterdir()))
        for which, count in entries(host, worker).items():
            seen[f"{name}: entries of the map {which}"] = count
        seen[f"{name}: processes of migrated"] = len((host.daemon_cgroup / "cgroup.procs").read_text().split())
        seen[f"{name}: processes of programs"] = len((host.programs_cgroup / "cgroup.procs").read_text().split())
        said = host.run(["ss", "-Htan", "exclude", "time-wait"], daemon=True).stdout
        seen[f"{name}: sockets"] = len(said.splitlines())
        seen[f"{name}: range of ports"] = " ".join(host.sysctl("net.ipv4.ip_local_port_range").split())
        rules = host.ip("-4", "rule") + host.ip("-6", "rule")
        rules += host.ip("-4", "route", "show", "table", "all") + host.ip("-6", "route", "show", "table", "all")
        seen[f"{name}: rules and routes of rebinds"] = rules.count(RULE_OF_A_REBIND)
        seen[f"{name}: standing still"] = frozen(host) or "nothing"
        with host.entered():
            seen[f"{name}: interfaces"] = len(socket.if_nameindex())
        journal = Path("/run", f"{pins(host).name}.journal")
        seen[f"{name}: bytes of the journal"] = journal.stat().st_size if journal.exists() else 0
    seen["network namespaces"] = len(_namespaces())
    seen["cgroups"] = sum(1 for _ in os.walk("/sys/fs/cgroup"))
    seen["mounts"] = len(Path("/proc/self/mountinfo").read_text().splitlines())
    return seen


def settle(stage: Place, before: Snapshot, seconds: float, meanwhile: Callable[[], None] = lambda: None) -> Snapshot:
    """The first snapshot that is as `before`, or the last one after so many seconds: kernels end what was left to them,
    and migrated forgets what is over."""
    end = time.monotonic() + seconds
    while True:
        meanwhile()
        after = snapshot(stage)
        if not differences(before, after) or time.monotonic() > end:
            return after
        time.sleep(0.5)


def _namespaces() -> set[str]:
    found = set()
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            with contextlib.suppress(OSError):  # it has just ended
                found.add(os.readlink(path / "ns/net"))
    return found


def differences(before: Snapshot, after: Snapshot) -> list[str]:
    """What is not as it was, in words."""
    return [f"{name}: {before.get(name)} before, {after.get(name)} after" for name in _names(before, after)
            if before.get(name) != after.get(name)]  # fmt: skip


def _names(before: Snapshot, after: Snapshot) -> list[str]:
    return list(dict.fromkeys([*before, *after]))


def checks(before: Snapshot, after: Snapshot) -> list[Check]:
    """One for each that is in either."""
    return [Check.equal(name, before.get(name, "none"), after.get(name, "none")) for name in _names(before, after)]
