"""Segments of the migration's own handshake: sent to the peer, or fed to this host's kernel."""

from __future__ import annotations

import socket

from migrate.core import Segment
from migrate.linux.maps import HANDSHAKE_MARK


class Wire:
    """Raw sockets of both IP versions, with the header written by us."""

    def __init__(self) -> None:
        self._v4 = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self._v6 = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
        for sock in (self._v4, self._v6):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, HANDSHAKE_MARK)

    def send(self, segment: Segment) -> None:
        """Raises OSError where there is no route to the destination, or its source is not ours."""
        sock = self._v4 if segment.dst.version == 4 else self._v6
        sock.sendto(segment.pack(), (str(segment.dst), 0))

    # A segment whose destination is this host itself goes over the loopback interface straight to the kernel's TCP.
    feed = send

    def close(self) -> None:
        self._v4.close()
        self._v6.close()
