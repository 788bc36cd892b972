"""This host's addresses and interfaces as they come and go (rtnetlink)."""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from migrate.linux.maps import Address
from migrate.linux.netlink import Netlink, attributes, kinds

RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR = 0x1, 0x10, 0x100
RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_ROUTE = 0x40, 0x400
IFF_UP, IFF_LOWER_UP = 0x1, 0x10000
IFA_F_TENTATIVE, IFA_F_DADFAILED = 0x40, 0x08
RTM_NEWLINK, RTM_DELLINK = 16, 17
RTM_GETLINK, RTM_GETADDR, RTM_GETROUTE = 18, 22, 26
RTA_DST, RTA_OIF, RTA_PREFSRC = 1, 4, 7
LOOPBACK = 1  # number of the loopback interface, in every namespace
IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS = 1, 2, 8

_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, change
_ADDRESS = struct.Struct("=BBBBI")  # struct ifaddrmsg: family, prefix length, flags, scope, index
_FLAGS = struct.Struct("=I")
_ROUTE = struct.Struct("=BB5xB4x")  # struct rtmsg: family, length of the destination's prefix, type
RTN_LOCAL = 2
_INDEX = struct.Struct("=I")


@dataclass(frozen=True, slots=True)
class Interface:
    index: int
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

    def drain(self) -> bool:
        """Takes the notices that wait; false where all of them are of addresses and routes, and none of a link."""
        links = False
        while True:
            try:
                notices = self._socket.recv(1 << 16)
                if not notices:
                    return links
                links = links or any(kind in (RTM_NEWLINK, RTM_DELLINK) for kind in kinds(notices))
            except BlockingIOError:
                return links
            except OSError as error:
                if error.errno != errno.ENOBUFS:  # notices were lost, and the look-up that follows makes up for it
                    raise
                links = True

    def close(self) -> None:
        self._socket.close()


class Tables:
    """This host's interfaces and addresses as the kernel has them now."""

    def __init__(self) -> None:
        self._netlink = Netlink(socket.NETLINK_ROUTE)
        self._delivered = frozenset[Address]()

    def interfaces(self) -> list[Interface]:
        found = []
        for message in self._netlink.dump(RTM_GETLINK, _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0)):
            _, kind, index, flags, _ = _LINK.unpack_from(message)
            found.append(Interface(index, kind, bool(flags & IFF_UP) and bool(flags & IFF_LOWER_UP)))
        return found

    def places(self) -> list[tuple[Address, int]]:
        """The addresses past duplicate detection, each with the number of its interface.

        The kernel tells of an address before it has the route by which it delivers to it, on a busy machine by
        milliseconds; until then what is sent there from this very host leaves by the interface.  It tells of the
        route, too, and so a new address without it is left out.
        """
        found = [
            (address, index)
            for address, index, flags in self._told()
            if not flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED)
        ]
        new = {address for address, _ in found} - self._delivered
        found = [(address, index) for address, index in found if address not in new or self._is_delivered(address)]
        self._delivered = frozenset(address for address, _ in found)
        return found

    def coming(self) -> set[Address]:
        """The addresses that `places` will tell of once they are past duplicate detection, and delivered to."""
        there = {address for address, _ in self.places()}
        return {address for address, _, flags in self._told() if not flags & IFA_F_DADFAILED} - there

    def _told(self) -> Iterator[tuple[Address, int, int]]:
        """Each address with the number of its interface and its flags."""
        for message in self._netlink.dump(RTM_GETADDR, _ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0)):
            _, _, flags, _, index = _ADDRESS.unpack_from(message)
            more = attributes(message, _ADDRESS.size)
            if IFA_FLAGS in more:
                (flags,) = _FLAGS.unpack(more[IFA_FLAGS])  # all 32 of them
            # On a point-to-point link IFA_ADDRESS is the other end's.
            yield ipaddress.ip_address(more.get(IFA_LOCAL) or more[IFA_ADDRESS]), index, flags

    def _is_delivered(self, address: Address) -> bool:
        route = self._route(address)
        return route is not None and _ROUTE.unpack_from(route)[2] == RTN_LOCAL

    def source_towards(self, remote: Address) -> Address | None:
        """The address from which this host would speak to `remote` now; None without a route.

        None, too, for the loopback address that IPv6 takes where a route has outlived its interface's last address."""
        way = self._way(remote)
        return way and way[0]

    def own_source_towards(self, remote: Address, places: Sequence[tuple[Address, int]]) -> Address | None:
        """As `source_towards`, if that is an address of the interface on which this host speaks to `remote`, or of no
        link at all.  Where that interface has none left, the kernel takes another's in IPv6, and who is asked from
        there finds no way back.  `places`: as `places` has just said."""
        source, out = self._way(remote) or (None, None)
        on = [index for address, index in places if address == source]
        return source if out is None or out in on or LOOPBACK in on else None

    def _way(self, remote: Address) -> tuple[Address, int | None] | None:
        """The source address and the interface's number."""
        said = self._route(remote)
        if said is None:
            return None
        route = attributes(said, _ROUTE.size)
        if RTA_PREFSRC not in route:
            return None  # there is a way, and no address to speak from
        source = ipaddress.ip_address(route[RTA_PREFSRC])
        if source.is_loopback and not remote.is_loopback:
            return None
        return source, _INDEX.unpack(route[RTA_OIF])[0] if RTA_OIF in route else None

    def _route(self, remote: Address) -> bytes | None:
        """struct rtmsg and its attributes; None without a route."""
        family = socket.AF_INET if remote.version == 4 else socket.AF_INET6
        request = _ROUTE.pack(family, remote.max_prefixlen, 0) + struct.pack("=HH", 4 + len(remote.packed), RTA_DST)
        try:
            return self._netlink.get(RTM_GETROUTE, request + remote.packed)[0]
        except OSError:
            return None

    def close(self) -> None:
        self._netlink.close()


def usable(places: Iterable[tuple[Address, int]], known: Iterable[Interface]) -> set[Address]:
    """The addresses that can be spoken from: on an interface with a carrier, and past duplicate detection."""
    up = {interface.index for interface in known if interface.up}
    return {address for address, index in places if index in up}
