"""Makes the kernel speak to a peer from an address that its routes would not choose.

`connect` takes the source address from the route.  While a connection moves to an address that the host has but
its routes do not prefer, one policy rule and one route in a table of our own say otherwise.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from migrate.linux.addresses import LOOPBACK
from migrate.linux.maps import Address
from migrate.linux.routing import Routing

TABLE = 0xC0DE
PRIORITY = 1  # right behind the rule for the host's own addresses
STAND_IN_TABLE, STAND_IN_PRIORITY = TABLE + 1, 0  # before that one
STAND_IN_MARK = 0x4D494753  # SO_MARK of the socket that it is for
_LIFETIME_SECONDS = 10

_Step = tuple[Callable[[], None], Callable[[], None]]  # how something is made, and how it is taken away again


def _push(routing: Routing, remote: Address, source: Address) -> None:
    index, gateway = routing.way(remote, source)
    routing.put_route(TABLE, remote, index, source, gateway)
    routing.add_rule(TABLE, PRIORITY, remote)


def _pop(routing: Routing, remote: Address) -> None:
    with _gone_already():  # it was never made, or went with its interface
        routing.remove_rule(TABLE, PRIORITY, remote)
    with _gone_already():
        routing.remove_route(TABLE, remote)


@contextmanager
def _gone_already() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ESRCH):
            raise


def remove_all(routing: Routing) -> None:
    """Removes our rules and routes, also those that a killed daemon left."""
    for family in (socket.AF_INET, socket.AF_INET6):
        for table, priority in ((TABLE, PRIORITY), (STAND_IN_TABLE, STAND_IN_PRIORITY)):
            routing.remove_rules(family, table, priority)
            routing.flush(family, table)


@contextmanager
def speaking_from(
    routing: Routing, pairs: Iterable[tuple[Address, Address]], source_towards: Callable[[Address], Address | None]
) -> Iterator[None]:
    """For each (remote, source): connections made meanwhile to `remote` come from `source`.  `source_towards`: from
    where they would come else.

    Raises OSError where the host has no route to `remote` from `source`.
    """
    needed = {(remote, source) for remote, source in pairs if source_towards(remote) != source}
    pushed: list[Address] = []
    try:
        for remote, source in needed:
            pushed.append(remote)
            try:
                _push(routing, remote, source)
            except OSError as error:
                raise OSError(error.errno, f"no route from {source} to {remote}") from error
        yield
    finally:
        for remote in pushed:
            _pop(routing, remote)


@contextmanager
def at_hand(address: Address) -> Iterator[None]:
    """The host has that address meanwhile, on its loopback interface: for what is fed to a socket whose address has
    gone.  A daemon that is killed leaves it there for a few seconds; then it goes by itself.

    Raises OSError."""
    with Routing() as routing:
        step = (
            lambda: routing.add_address(LOOPBACK, address, _LIFETIME_SECONDS),
            lambda: routing.remove_address(LOOPBACK, address),
        )
        with _made(address, [step]):
            yield


@contextmanager
def standing_in(sock: socket.socket, remote: Address, source: Address, mark: int) -> Iterator[None]:
    """`sock` connects to `remote` from `source` meanwhile, whether the host has that address and a route or not: for a
    socket that gets back the pair that it had.  The loopback interface stands in, so it may send nothing.

    All others go on speaking to `remote` as they did: what they send is not for the loopback interface, where this
    host's own kernel would answer it by RST.  So it is `sock` that is marked (SO_MARK; `mark` is what it has had).

    Raises OSError."""
    rule = (STAND_IN_TABLE, STAND_IN_PRIORITY, remote, STAND_IN_MARK)
    with at_hand(source), Routing() as routing:
        steps: list[_Step] = [
            (
                lambda: routing.put_route(STAND_IN_TABLE, remote, LOOPBACK, source, None, local=True),
                lambda: routing.remove_route(STAND_IN_TABLE, remote),
            ),
            (lambda: routing.add_rule(*rule), lambda: routing.remove_rule(*rule)),
        ]
        with _made(source, steps):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, STAND_IN_MARK)
            try:
                yield
            finally:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)


@contextmanager
def _made(source: Address, steps: Iterable[_Step]) -> Iterator[None]:
    """Each of these, as far as it is not there already; taken away again afterwards."""
    undo: list[Callable[[], None]] = []
    try:
        for make, unmake in steps:
            try:
                make()
            except OSError as error:
                if error.errno != errno.EEXIST:
                    raise OSError(error.errno, f"{source} cannot stand in: {error.strerror}") from error
            else:
                undo.append(unmake)
        yield
    finally:
        for unmake in reversed(undo):
            with suppress(OSError):  # it has gone with its interface or its address
                unmake()
