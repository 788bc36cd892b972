"""Makes the kernel speak to a peer from an address that its routes would not choose.

`connect` takes the source address from the route.  While a connection moves to an address that the host has but
its routes do not prefer, one policy rule and one route in a table of our own say otherwise.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from migrate.linux.maps import Address

TABLE = 0xC0DE
PRIORITY = 1  # right behind the rule for the host's own addresses
STAND_IN_TABLE, STAND_IN_PRIORITY = TABLE + 1, 0  # before that one
STAND_IN_MARK = 0x4D494753  # SO_MARK of the socket that it is for
_LIFETIME_SECONDS = 10

_NO_DUPLICATE_DETECTION, _OF_THE_HOST = 0x02, 254

_Make = tuple[Callable[..., object], str, dict[str, object], dict[str, object]]


def _family(address: Address) -> int:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


def _push(route: IPRoute, remote: Address, source: Address) -> None:
    family = _family(remote)
    found = route.route("get", family=family, dst=str(remote), src=str(source))[0]
    more = {"gateway": found.get("gateway")} if found.get("gateway") else {}
    route.route(
        "replace",
        family=family,
        table=TABLE,
        dst=str(remote),
        dst_len=remote.max_prefixlen,
        oif=found.get("oif"),
        prefsrc=str(source),
        **more,
    )
    route.rule("add", family=family, table=TABLE, priority=PRIORITY, dst=str(remote), dst_len=remote.max_prefixlen)


def _pop(route: IPRoute, remote: Address) -> None:
    where = {"family": _family(remote), "table": TABLE, "dst": str(remote), "dst_len": remote.max_prefixlen}
    for remove in (route.rule, route.route):
        try:
            remove("del", **where, **({"priority": PRIORITY} if remove == route.rule else {}))
        except NetlinkError as error:
            if error.code not in (errno.ENOENT, errno.ESRCH):  # it was never made, or went with its interface
                raise


def remove_all(route: IPRoute) -> None:
    """Removes our rules and routes, also those that a killed daemon left."""
    for family in (socket.AF_INET, socket.AF_INET6):
        for table, priority in ((TABLE, PRIORITY), (STAND_IN_TABLE, STAND_IN_PRIORITY)):
            for rule in route.get_rules(family=family):
                if rule.get("table") == table and (rule.get("priority") or 0) == priority:
                    where = {"dst": rule.get("dst"), "dst_len": rule["dst_len"]}
                    route.rule("del", family=family, table=table, priority=priority, **where)
            try:
                route.flush_routes(family=family, table=table)
            except NetlinkError as error:
                if error.code != errno.ENOENT:
                    raise


@contextmanager
def speaking_from(
    route: IPRoute, pairs: Iterable[tuple[Address, Address]], source_towards: Callable[[Address], Address | None]
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
            _push(route, remote, source)
        yield
    except NetlinkError as error:
        raise OSError(error.code, f"no route from {source} to {remote}") from error
    finally:
        for remote in pushed:
            _pop(route, remote)


@contextmanager
def at_hand(address: Address) -> Iterator[None]:
    """The host has that address meanwhile, on its loopback interface: for what is fed to a socket whose address has
    gone.  A daemon that is killed leaves it there for a few seconds; then it goes by itself.

    Raises OSError."""
    where = {"family": _family(address), "index": socket.if_nametoindex("lo"), "address": str(address)}
    where |= {"prefixlen": address.max_prefixlen}
    more: dict[str, object] = {"cacheinfo": {"preferred": _LIFETIME_SECONDS, "valid": _LIFETIME_SECONDS}}
    if address.version == 6:
        more["flags"] = _NO_DUPLICATE_DETECTION
    with IPRoute() as route, _made(address, [(route.addr, "add", where, more)]):
        yield


@contextmanager
def standing_in(sock: socket.socket, remote: Address, source: Address, mark: int) -> Iterator[None]:
    """`sock` connects to `remote` from `source` meanwhile, whether the host has that address and a route or not: for a
    socket that gets back the pair that it had.  The loopback interface stands in, so it may send nothing.

    All others go on speaking to `remote` as they did: what they send is not for the loopback interface, where this
    host's own kernel would answer it by RST.  So it is `sock` that is marked (SO_MARK; `mark` is what it has had).

    Raises OSError."""
    way = {"family": _family(remote), "table": STAND_IN_TABLE, "dst": str(remote), "dst_len": remote.max_prefixlen}
    local = {"oif": socket.if_nametoindex("lo"), "prefsrc": str(source), "type": "local", "scope": _OF_THE_HOST}
    rule = way | {"priority": STAND_IN_PRIORITY, "fwmark": STAND_IN_MARK}
    with at_hand(source), IPRoute() as route:
        makes: list[_Make] = [(route.route, "replace", way | local, {}), (route.rule, "add", rule, {})]
        with _made(source, makes):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, STAND_IN_MARK)
            try:
                yield
            finally:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)


@contextmanager
def _made(source: Address, makes: Iterable[_Make]) -> Iterator[None]:
    """Each of these, as far as it is not there already; taken away again afterwards."""
    undo: list[tuple[Callable[..., object], dict[str, object]]] = []
    try:
        for make, do, where, more in makes:
            try:
                make(do, **where, **more)
            except NetlinkError as error:
                if error.code != errno.EEXIST:
                    raise OSError(error.code, f"{source} cannot stand in: {error}") from error
            else:
                undo.append((make, where))
        yield
    finally:
        for make, where in reversed(undo):
            with suppress(NetlinkError):  # it has gone with its interface or its address
                make("del", **where)
