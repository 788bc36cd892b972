"""What the group is told of one connection, and when."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from migrate.failover import takeover
from migrate.failover.mapping import Mapper
from migrate.failover.standing import Standing
from migrate.failover.state import SoftState
from migrate.failover.takeover import Options, Secrets

if TYPE_CHECKING:
    from migrate.failover.wedge import Wedge

UNTOLD_SECONDS = 0.01
"""A quarter of what the kernel waits before it acknowledges a request whose answer it has not seen (TCP_DELACK_MIN)."""


class Subject:
    """A connection of this wedge.  `client` is its present address, `secrets` None where it is none of Migrate's."""

    def __init__(self, wedge: Wedge, sock: socket.socket, mapper: Mapper) -> None:
        """Raises OSError where the client has gone already."""
        self._wedge, self.sock, self._mapper = wedge, sock, mapper
        pair = takeover.pair_of(sock)
        self.client = (str(pair.remote_ip), pair.remote_port)
        self.secrets: Secrets | None = None
        self.options: Options | None = None
        self._at = Standing()
        self._exported: asyncio.Task[None] | None = None
        self.superseded = asyncio.Event()
        """Set when it is another member's."""
        self.ended = asyncio.Event()
        """Set when its socket is closed."""
        self._accepted = time.monotonic()
        self._told = self._tells = False
        self._unknown = ""
        """Why others cannot take it over, as migrated says."""
        self._waiting: asyncio.TimerHandle | None = None

    @property
    def name(self) -> str:
        """As in migrated's events."""
        return self.secrets.name if self.secrets else ""

    def state(self) -> SoftState | None:
        """What the group is told now; None where this connection is none of Migrate's."""
        if self.secrets is None or self.options is None:
            return None
        return self._at.state(self.client, self.secrets, self.options, self._mapper)

    async def export(self) -> None:
        """Asks migrated for the connection's secrets (again, after the client has moved)."""
        try:
            pair = takeover.pair_of(self.sock)
            self.secrets = await takeover.export(pair)
            self.options = self.options or Options.of(self.sock)
        except takeover.Refused as error:
            self._unknown = error.reason
            return
        except OSError:
            return  # the client has gone meanwhile
        self.client = (str(pair.remote_ip), pair.remote_port)
        self._wedge.know(self)

    def tell(self) -> None:
        """The group hears how it stands, as long as it does."""
        self._wait_no_more()
        if self.sock.fileno() < 0:
            return
        self._at.revision += 1
        if self.secrets is None and self._unknown and self._at.asked:
            # Not before it has asked for something: a check of the port is no client.
            self._wedge.plain(self, self._unknown)
        if not self._told and self.secrets is not None:
            self._told = True
            self._wedge.untold_ms.append(1e3 * (time.monotonic() - self._accepted))
        self._wedge.tell(self)

    def tell_new(self) -> None:
        """The group hears of a new connection as soon as migrated has said what others would need, before its first
        request if need be: whoever takes over then reads the request from the client, who still has it."""
        if not self._told and not self._tells:
            self.tell()

    @contextlib.contextmanager
    def about_to_tell(self) -> Iterator[None]:
        """Meanwhile `tell_new` is not needed."""
        self._tells = True
        try:
            yield
        finally:
            self._tells = False

    def tell_asked(self) -> None:
        """The group hears of a request with its answer, or before the kernel would acknowledge it: until then the
        client has it, and sends it again to whoever takes over."""
        if self._told and self._waiting is None:
            self._waiting = asyncio.get_running_loop().call_later(UNTOLD_SECONDS, self.tell)

    def _wait_no_more(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    async def renew(self) -> None:
        """The client may have moved: its address, and the counts of requests, are others now."""
        await self.export()
        self.tell()
