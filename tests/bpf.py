"""What the kernel says of eBPF maps and of programs attached to cgroups: a witness beside the project's own code.

Through libbpf, which the set-up installs; bpftool is not packaged alike on all the distributions.
"""

from __future__ import annotations

import ctypes
import os
import socket
from pathlib import Path

from migrate.linux.libbpf import BPF_CGROUP_SOCK_OPS, BPF_TCX_INGRESS

_ARRAY = 2  # BPF_MAP_TYPE_ARRAY
_ROOM = 64
_libbpf = ctypes.CDLL("libbpf.so.1", use_errno=True)


def _check(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def pin_new_map(name: str, path: Path) -> None:
    """Makes a small map of that name and pins it."""
    fd = _check(_libbpf.bpf_map_create(_ARRAY, name.encode(), 4, 4, 4, None))
    _check(_libbpf.bpf_obj_pin(fd, str(path).encode()))
    os.close(fd)


def maps(name: str) -> list[int]:
    """The ids of the machine's maps of that name."""
    found, number = [], ctypes.c_uint32(0)
    while not _libbpf.bpf_map_get_next_id(number, ctypes.byref(number)):
        fd = _libbpf.bpf_map_get_fd_by_id(number)
        if fd >= 0:  # else it has just gone
            if _info_name(fd, 24) == name:  # struct bpf_map_info: six words, then the name
                found.append(number.value)
            os.close(fd)
    return found


def sock_ops(cgroup: Path) -> list[str]:
    """The names of the sock_ops programs that are attached to a cgroup itself."""
    directory = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return [_program_name(number) for number in _attached(directory, BPF_CGROUP_SOCK_OPS)]
    finally:
        os.close(directory)


def has_tcx() -> bool:
    try:
        tcx_numbers("lo", BPF_TCX_INGRESS)
    except OSError:
        return False
    return True


def tcx(interface: str, point: int) -> list[str]:
    """The names of the programs at a tcx point of an interface of the present network namespace, as they run."""
    return [_program_name(number) for number in tcx_numbers(interface, point)]


def tcx_numbers(interface: str, point: int) -> list[int]:
    """Their ids."""
    return _attached(socket.if_nametoindex(interface), point)


def attach_tcx(program: int, interface: str, point: int) -> None:
    _check(_libbpf.bpf_prog_attach(program, socket.if_nametoindex(interface), point, 0))


def _attached(target: int, point: int) -> list[int]:
    count, flags, ids = ctypes.c_uint32(_ROOM), ctypes.c_uint32(), (ctypes.c_uint32 * _ROOM)()
    _check(_libbpf.bpf_prog_query(target, point, 0, ctypes.byref(flags), ids, ctypes.byref(count)))
    return list(ids[: count.value])


def _program_name(number: int) -> str:
    fd = _check(_libbpf.bpf_prog_get_fd_by_id(number))
    try:
        return _info_name(fd, 64)  # struct bpf_prog_info: eight fields, then the name
    finally:
        os.close(fd)


def _info_name(fd: int, offset: int) -> str:
    info, length = ctypes.create_string_buffer(256), ctypes.c_uint32(256)
    _check(_libbpf.bpf_obj_get_info_by_fd(fd, info, ctypes.byref(length)))
    return info.raw[offset : offset + 16].split(b"\0")[0].decode()
