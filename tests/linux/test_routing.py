"""What is written into the kernel's tables by hand, as iproute2 reads it."""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address

from migrate.linux import source_rule
from migrate.linux.addresses import LOOPBACK
from migrate.linux.maps import Address
from migrate.linux.routing import Routing
from tests.topologies.inside import in_sandbox

PAIRS = (("10.0.0.2", "10.0.0.1", 32), ("fd00::2", "fd00::1", 128))
TABLE, PRIORITY, MARK = source_rule.TABLE, source_rule.PRIORITY, source_rule.STAND_IN_MARK


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


def table(version: int, number: int) -> str:
    """A table that nothing was ever put into does not exist."""
    said = subprocess.run(["ip", f"-{version}", "route", "show", "table", str(number)], capture_output=True, text=True)
    return " ".join(said.stdout.split())


@contextmanager
def refused(number: int) -> Iterator[None]:
    got = 0
    try:
        yield
    except OSError as error:
        got = error.errno or -1
    assert got == number


def link() -> int:
    """A link whose other end has the second address of each pair, and behind it a gateway to everywhere."""
    ip("link", "add", "here", "type", "veth", "peer", "there")
    for name in ("here", "there"):
        ip("link", "set", name, "up")
    for (_, source, _), length in zip(PAIRS, (24, 64), strict=True):
        ip("address", "add", f"{source}/{length}", "dev", "here", *(["nodad"] if length == 64 else []))
    for remote, _, _ in PAIRS:
        ip("route", "add", "default", "via", remote.replace("2", "99") if "." in remote else "fd00::99")
    return socket.if_nametoindex("here")


@in_sandbox
def test_routes_and_rules() -> None:
    index = link()
    with Routing() as routing:
        for remote, source, length in ((ip_address(a), ip_address(b), n) for a, b, n in PAIRS):
            version = remote.version
            beyond, gateway = ip_address("198.51.100.1" if version == 4 else "2001:db8::1"), ("10.0.0.99", "fd00::99")
            assert routing.way(remote, source) == (index, None)
            assert routing.way(beyond, source) == (index, ip_address(gateway[version == 6]))
            routing.put_route(TABLE, remote, index, source, None)
            routing.put_route(TABLE, beyond, index, source, ip_address(gateway[version == 6]))
            routing.put_route(TABLE, beyond, index, source, ip_address(gateway[version == 6]))  # in its own place
            shown = table(version, TABLE)
            assert f"{remote} dev here proto static" in shown
            assert f"src {source}" in shown
            assert f"{beyond} via {gateway[version == 6]} dev here" in shown
            assert shown.count(str(beyond)) == 1
            routing.add_rule(TABLE, PRIORITY, remote)
            with refused(17):  # EEXIST
                routing.add_rule(TABLE, PRIORITY, remote)
            routing.add_rule(TABLE + 1, 0, remote, MARK)
            rules = ip(f"-{version}", "rule", "show")
            assert f"{PRIORITY}:\tfrom all to {remote} lookup {TABLE}" in rules
            assert f"0:\tfrom all to {remote} fwmark {MARK:#x} lookup {TABLE + 1}" in rules
            routing.put_route(TABLE + 1, remote, LOOPBACK, source, None, local=True)
            assert f"local {remote} dev lo" in table(version, TABLE + 1)
            routing.remove_rule(TABLE, PRIORITY, remote)
            with refused(2):  # ENOENT
                routing.remove_rule(TABLE, PRIORITY, remote)
            routing.remove_route(TABLE, remote)
            with refused(3):  # ESRCH
                routing.remove_route(TABLE, remote)
            left = table(version, TABLE)
            assert str(beyond) in left
            assert not left.startswith(f"{remote} ")
            source_rule.remove_all(routing)
            assert (table(version, TABLE), table(version, TABLE + 1)) == ("", "")
            assert str(TABLE) not in ip(f"-{version}", "rule", "show")
            assert str(TABLE + 1) not in ip(f"-{version}", "rule", "show")
            assert "default" in table(version, 254), "others' routes stay"
            source_rule.remove_all(routing)  # where there is nothing
            assert length == remote.max_prefixlen


@in_sandbox
def test_an_address_that_stands_in() -> None:
    for text in ("192.0.2.7", "2001:db8::7"):
        address: Address = ip_address(text)
        with Routing() as routing:
            routing.add_address(LOOPBACK, address, 10)
            with refused(17):  # EEXIST
                routing.add_address(LOOPBACK, address, 10)
            shown = ip("address", "show", "dev", "lo")
            assert f"{address}/{address.max_prefixlen}" in shown
            lifetimes = re.search(r"valid_lft (\d+)sec preferred_lft (\d+)sec", shown)
            assert lifetimes, shown
            assert all(5 < int(seconds) <= 10 for seconds in lifetimes.groups()), shown
            assert "tentative" not in shown
            with socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6) as sock:
                sock.bind((text, 0))  # at once
            routing.remove_address(LOOPBACK, address)
            assert text not in ip("address", "show", "dev", "lo")
            with refused(99):  # EADDRNOTAVAIL
                routing.remove_address(LOOPBACK, address)


@in_sandbox
def test_no_way_to_a_remote_is_an_error() -> None:
    with Routing() as routing, refused(101):  # ENETUNREACH
        routing.way(ip_address("203.0.113.1"), ip_address("127.0.0.1"))
