"""Switch off what network cards do for the kernel, so that a capture shows packets as a wire carries them."""

from __future__ import annotations

import ctypes
import fcntl
import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from topologies.nodes import Host

_SIOCETHTOOL = 0x8946
_FEATURES = {
    "receive checksum": (0x14, 0x15),
    "send checksum": (0x16, 0x17),
    "TSO": (0x1E, 0x1F),
    "GSO": (0x23, 0x24),
    "GRO": (0x2B, 0x2C),
}


def switch_off(host: Host, interface: str) -> None:
    """Switch off TSO, GSO, GRO and send checksums of an interface; raises `OSError` if one stays on."""
    with host.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for name, (get, put) in _FEATURES.items():
            if name == "receive checksum":
                continue
            _ethtool(control, interface, put, 0)
            if _ethtool(control, interface, get, 0):
                raise OSError(f"{interface}: {name} cannot be switched off")


def _ethtool(control: socket.socket, interface: str, command: int, value: int) -> int:
    data = ctypes.create_string_buffer(struct.pack("II", command, value))
    request = struct.pack("16sP16x", interface.encode(), ctypes.addressof(data))
    fcntl.ioctl(control, _SIOCETHTOOL, request)
    return int(struct.unpack("II", data.raw[:8])[1])
