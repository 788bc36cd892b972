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

_NO_DUPLICATE_DETECTION, _OF_THE_HOST = 0x02, 254


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
def standing_in(remote: Address, source: Address) -> Iterator[None]:
    """Connections made meanwhile to `remote` come from `source`, whether the host has that address and a route or not:
    for a socket that gets back the pair that it had.  The loopback interface stands in, so nothing may be sent.

    Raises OSError."""
    family, loopback = _family(remote), socket.if_nametoindex("lo")
    address = {"family": family, "index": loopback, "address": str(source), "prefixlen": source.max_prefixlen}
    way = {"family": family, "table": STAND_IN_TABLE, "dst": str(remote), "dst_len": remote.max_prefixlen}
    local = way | {"oif": loopback, "prefsrc": str(source), "type": "local", "scope": _OF_THE_HOST}
    undo: list[tuple[Callable[..., object], dict[str, object]]] = []
    with IPRoute() as route:
        try:
            for make, do, where, more in (
                (route.addr, "add", address, {"flags": _NO_DUPLICATE_DETECTION} if source.version == 6 else {}),
                (route.route, "replace", local, {}),
                (route.rule, "add", way | {"priority": STAND_IN_PRIORITY}, {}),
            ):
                try:
                    make(do, **where, **more)
                except NetlinkError as error:
                    if error.code != errno.EEXIST:
                        raise
                else:
                    undo.append((make, where))
            yield
        except NetlinkError as error:
            raise OSError(error.code, f"{source} cannot stand in: {error}") from error
        finally:
            for make, where in reversed(undo):
                with suppress(NetlinkError):  # it has gone with its interface or its address
                    make("del", **where)
