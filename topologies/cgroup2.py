"""One cgroup v2 directory per run: where it can be made, and how it is emptied and removed.

Distributions mount cgroup v2 at /sys/fs/cgroup; where v1 is in use too (hybrid) it is at /sys/fs/cgroup/unified.
Where it is mounted nowhere, or read-only as in many containers, a detached mount serves, which nobody else sees.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import time
from pathlib import Path

from topologies import system


class NoCgroup2(Exception):
    """cgroup v2 cannot be used here; the text is one sentence that says what to do."""


def mounted(mountinfo: str) -> list[Path]:
    """The writable cgroup v2 mount points in the text of a /proc/PID/mountinfo, topmost last."""
    found = []
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split()
        if right.split()[:1] == ["cgroup2"] and "rw" in fields[5].split(","):
            found.append(Path(re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), fields[4])))
    return found


def root() -> Path:
    """A directory of the cgroup v2 tree in which this process can make directories.

    Raises `NoCgroup2`. The result may be a path below /proc/self/fd, valid in this process and its forks.
    """
    for place in mounted(Path("/proc/self/mountinfo").read_text()):
        if _is_usable(place):
            return place
    if "\tcgroup2\n" not in Path("/proc/filesystems").read_text():
        raise NoCgroup2("this kernel has no cgroup v2: use one built with CONFIG_CGROUPS (Linux 5.14 or later)")
    try:
        place = Path(f"/proc/self/fd/{system.detached_mount('cgroup2')}")
    except OSError as error:
        raise NoCgroup2(
            f"cgroup v2 is not mounted writable and cannot be mounted ({error.strerror}): "
            "run as root on the machine itself, or in a container started with --privileged"
        ) from error
    if not _is_usable(place):
        raise NoCgroup2(
            "the cgroup v2 tree is read-only here: run on the machine itself, "
            "or in a container started with --privileged"
        )
    return place


def _is_usable(place: Path) -> bool:
    return (place / "cgroup.procs").exists() and os.access(place, os.W_OK)


def join(directory: Path) -> None:
    """Move the calling process into the cgroup."""
    (directory / "cgroup.procs").write_text("0")


def processes(directory: Path) -> list[int]:
    """The processes in the cgroup itself, not below it; those of other PID namespaces appear as 0."""
    try:
        return [int(line) for line in (directory / "cgroup.procs").read_text().split()]
    except FileNotFoundError:
        return []


def await_empty(directory: Path, patience: float) -> bool:
    """Wait until no process is in the cgroup and below; False if that took over `patience` seconds."""
    end = time.monotonic() + patience
    while True:
        try:
            if "populated 0" in (directory / "cgroup.events").read_text():
                return True
        except OSError:  # it has gone altogether
            return True
        if time.monotonic() > end:
            return False
        time.sleep(0.005)


def remove(directory: Path, patience: float = 10.0) -> bool:
    """Kill whatever is in the cgroup and below, and remove the directories; False if that took over `patience` seconds.

    Idempotent: a directory that is not there counts as removed.
    """
    began = time.monotonic()
    end = began + patience
    while True:
        if not directory.exists():
            return True
        _kill_all(directory)
        for folder, _, _ in os.walk(directory, topdown=False):
            try:
                Path(folder).rmdir()
            except OSError:
                # Still populated, or another remover was faster: the next round sees which.
                continue
        if not directory.exists():
            return True
        now = time.monotonic()
        if now > end:
            return False
        time.sleep(min(0.5, 0.005 + (now - began) / 20))


def _kill_all(directory: Path) -> None:
    try:
        (directory / "cgroup.kill").write_text("1")
        return
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENODEV):
            raise
        # Linux before 5.14, or the directory has just gone
    for folder, _, _ in os.walk(directory):
        for pid in processes(Path(folder)):
            if pid > 0:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
