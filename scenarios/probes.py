"""Looks at the running kernel by trying things.

Each returns None if the thing works, else a few words on what is wrong.  What a look makes lies in namespaces that
end with it.  Most need root.
"""

from __future__ import annotations

import ctypes
import os
import re
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

_TCP_REPAIR = 19
_BPF = {"x86_64": 321, "aarch64": 280, "riscv64": 280}
_BPF_PROG_LOAD = 5
SCHED_CLS, SOCK_OPS = 3, 13
_PIDFD_OPEN, _PIDFD_GETFD = 434, 438


def tried(*command: str) -> str | None:
    """None if the command succeeds, else the last thing it says."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except FileNotFoundError:
        return f"the program {command[0]} is missing"
    except subprocess.TimeoutExpired:
        return f"{command[0]} did not answer"
    if done.returncode == 0:
        return None
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else f"{command[0]} ended with status {done.returncode}"


_CHAIN = "add table inet t; add chain inet t c {{ type {} hook {} priority 0; }}; add rule inet t c {}"
STRIPPING = _CHAIN.format("filter", "forward", "reset tcp option 15")
STATEFUL = _CHAIN.format("filter", "forward", "ct state invalid drop")
TRANSLATING = ";".join(
    (
        _CHAIN.format("nat", "postrouting", "meta l4proto tcp masquerade to :20000-29999"),
        _CHAIN.format("nat", "prerouting", "meta l4proto tcp redirect to :3128").replace(" c ", " d "),
    )
)


CTNETLINK = "from pyroute2.netlink.nfnetlink.nfctsocket import NFCTSocket; list(NFCTSocket().dump())"


def in_child(code: str) -> str | None:
    """Runs Python in a network namespace of its own."""
    return in_namespace(sys.executable, "-c", code)


def ruleset(text: str) -> str | None:
    """Loads nftables rules."""
    return in_namespace("nft", text)


def in_namespace(*command: str) -> str | None:
    return tried("unshare", "--net", "--", *command)


def namespaces() -> str | None:
    return tried(
        "unshare",
        "--pid",
        "--fork",
        "--net",
        "--mount",
        "--propagation",
        "unchanged",
        "--uts",
        "--cgroup",
        "--",
        "true",
    )


def cgroup2_mounts(mountinfo: str) -> list[Path]:
    """Where cgroup v2 is mounted, from the text of /proc/self/mountinfo."""
    mounts = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        if after.split()[:1] == ["cgroup2"]:
            place = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), before.split()[4])
            mounts.append(Path(place))
    return mounts


def cgroup2() -> str | None:
    mounts = cgroup2_mounts(Path("/proc/self/mountinfo").read_text())
    if not mounts:
        return "it is not mounted"
    try:
        directory = tempfile.mkdtemp(prefix="migrate-lab-look-", dir=mounts[0])
    except OSError as error:
        return f"{error.strerror} in {mounts[0]}"
    try:
        absent = [file for file in ("cgroup.freeze", "cgroup.kill") if not Path(directory, file).exists()]
    finally:
        Path(directory).rmdir()
    return f"without {' and '.join(absent)}" if absent else None


def load_program(kind: int) -> str | None:
    """Loads the smallest eBPF program of this type: return 0."""
    number = _BPF.get(os.uname().machine)
    if number is None:
        return f"not tried on {os.uname().machine}"
    code = struct.pack("<BBhiBBhi", 0xB7, 0, 0, 0, 0x95, 0, 0, 0)
    instructions, licence = ctypes.create_string_buffer(code), ctypes.create_string_buffer(b"GPL")
    attributes = struct.pack(
        "<IIQQIIQII", kind, 2, ctypes.addressof(instructions), ctypes.addressof(licence), 0, 0, 0, 0, 0
    )
    attributes = attributes.ljust(128, b"\0")
    fd = _syscall(number, _BPF_PROG_LOAD, attributes, len(attributes))
    return _closed(fd)


def pidfd_getfd() -> str | None:
    pidfd = _syscall(_PIDFD_OPEN, os.getpid(), 0)
    if pidfd < 0:
        return _closed(pidfd)
    try:
        with socket.socket() as sample:
            return _closed(_syscall(_PIDFD_GETFD, pidfd, sample.fileno(), 0))
    finally:
        os.close(pidfd)


def _syscall(number: int, *arguments: int | bytes) -> int:
    """The system call's result, or minus its errno."""
    libc = ctypes.CDLL(None, use_errno=True)
    converted = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    result: int = libc.syscall(ctypes.c_long(number), *converted)
    return result if result >= 0 else -ctypes.get_errno()


def _closed(fd: int) -> str | None:
    if fd < 0:
        return os.strerror(-fd)
    os.close(fd)
    return None


def _attempt(action: Callable[[], object]) -> str | None:
    try:
        action()
    except OSError as error:
        return error.strerror or str(error)
    return None


def tcp_repair() -> str | None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sample:
        return _attempt(lambda: sample.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 1))


def packet_socket() -> str | None:
    return _attempt(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close())


def ipv6() -> str | None:
    return None if Path("/proc/net/if_inet6").exists() else "it is switched off"


def btf() -> str | None:
    return None if Path("/sys/kernel/btf/vmlinux").exists() else "there is no /sys/kernel/btf/vmlinux"
