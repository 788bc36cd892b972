"""What passes on one interface of a host, as it passes: for events that depend on a connection's numbers."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from migrate.core import Segment, SegmentError
from topologies.nodes import Host

_EVERY_PROTOCOL = 3
_SO_RCVBUFFORCE = 33  # beyond net.core.rmem_max


class NotHeard(Exception):
    """A segment that was waited for did not pass; one sentence."""


class Ear:
    """Hears all TCP segments, in both directions, from when it is made; a context manager."""

    def __init__(self, host: Host, interface: str) -> None:
        self._where = f"{interface} of {host.name}"
        with host.entered():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_EVERY_PROTOCOL))
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 22)
            self._socket.bind((interface, _EVERY_PROTOCOL))

    def wait_for(self, wanted: Callable[[Segment], bool], patience: float) -> Segment:
        """The next segment that is wanted; raises `NotHeard` after `patience` seconds."""
        end = time.monotonic() + patience
        while (left := end - time.monotonic()) > 0:
            if select.select([self._socket], [], [], left)[0] and (one := self._next()) and wanted(one):
                return one
        raise NotHeard(f"the segment waited for did not pass {self._where} within {patience:g} s")

    def newest(self, wanted: Callable[[Segment], bool]) -> Segment:
        """The last of those wanted that have passed and not been heard yet; raises `NotHeard` if there is none."""
        found = None
        while select.select([self._socket], [], [], 0)[0]:
            if (one := self._next()) and wanted(one):
                found = one
        if found is None:
            raise NotHeard(f"no such segment has passed {self._where}")
        return found

    def _next(self) -> Segment | None:
        try:
            return Segment.parse(self._socket.recv(65535))
        except SegmentError:
            return None

    def close(self) -> None:
        """Hear no more."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
