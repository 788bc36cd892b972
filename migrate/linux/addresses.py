"""This host's addresses and interfaces as they come and go (rtnetlink)."""

from __future__ import annotations

import errno
import ipaddress
import socket
from dataclasses import dataclass

from pyroute2 import IPRoute

from migrate.linux.maps import Address

RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR = 0x1, 0x10, 0x100
RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_ROUTE = 0x40, 0x400
IFF_UP, IFF_LOWER_UP = 0x1, 0x10000
IFA_F_TENTATIVE, IFA_F_DADFAILED = 0x40, 0x08


@dataclass(frozen=True, slots=True)
class Interface:
    index: int
    name: str
    kind: int  # ARPHRD number
    up: bool


class Watch:
    """A descriptor that becomes readable when links, addresses or routes change.  What changed is looked up anew: a
    notice may be lost, the state cannot."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
        self._socket.bind(
            (0, RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE)
        )

    def fileno(self) -> int:
        return self._socket.fileno()

    def drain(self) -> None:
        """Takes the notices that wait."""
        while True:
            try:
                if not self._socket.recv(1 << 16):
                    return
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:  # notices were lost, and the look-up that follows makes up for it
                    raise

    def close(self) -> None:
        self._socket.close()


def interfaces(route: IPRoute) -> list[Interface]:
    found = []
    for link in route.get_links():
        flags = link["flags"]
        up = bool(flags & IFF_UP) and bool(flags & IFF_LOWER_UP)
        found.append(Interface(link["index"], link.get("ifname"), link["ifi_type"], up))
    return found


def local_addresses(route: IPRoute, known: list[Interface]) -> set[Address]:
    """The addresses that can be spoken from: on an interface with a carrier, and past duplicate detection."""
    up = {interface.index for interface in known if interface.up}
    found: set[Address] = set()
    for message in route.get_addr():
        flags = message.get("flags") or message["flags"]
        if message["index"] in up and not flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED):
            address = ipaddress.ip_address(message.get("local") or message.get("address"))
            found.add(address)
    return found


def source_towards(remote: Address) -> Address | None:
    """The address from which this host would speak to `remote` now; None without a route."""
    family = socket.AF_INET if remote.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:  # connecting a datagram socket sends nothing
        try:
            probe.connect((str(remote), 9))
        except OSError:
            return None
        return ipaddress.ip_address(probe.getsockname()[0])
