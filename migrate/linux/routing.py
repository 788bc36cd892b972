"""What the daemon changes in the kernel's routes, rules, addresses and filters (rtnetlink(7)).

Written by hand, for the messages are few and of fixed layout: a library for all of them takes longer to load than the
daemon, and a program may be standing still meanwhile.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from types import TracebackType
from typing import Self

from migrate.linux.maps import Address
from migrate.linux.netlink import NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, Netlink, attribute, attributes

_NEWADDR, _DELADDR, _NEWROUTE, _DELROUTE, _GETROUTE = 20, 21, 24, 25, 26
_NEWRULE, _DELRULE, _GETRULE = 32, 33, 34
_NEWQDISC, _NEWTFILTER, _DELTFILTER = 36, 44, 45

_ROUTE = struct.Struct("=BBBBBBBBI")  # rtmsg: family, prefix lengths, tos, table, protocol, scope, type, flags
_ADDRESS = struct.Struct("=BBBBI")  # ifaddrmsg: family, prefix length, flags, scope, index
_TRAFFIC = struct.Struct("=BxxxiIII")  # tcmsg: family, index, handle, parent, info
_WORD = struct.Struct("=I")
_LIFETIMES = struct.Struct("=IIII")  # ifa_cacheinfo: preferred, valid, and when it was made and changed

_RTA_DST, _RTA_SRC, _RTA_OIF, _RTA_GATEWAY, _RTA_PREFSRC, _RTA_TABLE = 1, 2, 4, 5, 7, 15
_FRA_DST, _FRA_PRIORITY, _FRA_FWMARK, _FRA_TABLE = 1, 6, 10, 15
_IFA_ADDRESS, _IFA_LOCAL, _IFA_CACHEINFO, _IFA_FLAGS = 1, 2, 6, 8
_TCA_KIND, _TCA_OPTIONS = 1, 2
_TCA_BPF_CLASSID, _TCA_BPF_FD, _TCA_BPF_NAME, _TCA_BPF_FLAGS = 3, 6, 7, 8

_COMPAT = 252  # RT_TABLE_COMPAT: the table's number does not fit, an attribute has it
_BY_HAND = 4  # RTPROT_STATIC
_EVERYWHERE, _OF_THE_HOST, _ANY_SCOPE = 0, 254, 255
_UNICAST, _LOCAL, _ANY_TYPE = 1, 2, 0
_TO_TABLE = 1  # FR_ACT_TO_TBL
_NO_DUPLICATE_DETECTION = 0x02
_CLSACT_HANDLE, _CLSACT_PARENT = 0xFFFF0000, 0xFFFFFFF1
_ALL_PROTOCOLS = 0x0300  # htons(ETH_P_ALL)
_DIRECT_ACTION = 1


def _family(address: Address) -> int:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


class Routing:
    """A socket for them, in the network namespace in which it is made.  Each call raises OSError where the kernel
    refuses."""

    def __init__(self) -> None:
        self._netlink = Netlink(socket.NETLINK_ROUTE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._netlink.close()

    # --- routes -------------------------------------------------------------------------------------------------------

    def way(self, remote: Address, source: Address) -> tuple[int, Address | None]:
        """Where packets go to `remote` that are from `source`: the interface's number, and the gateway if there is
        one."""
        lengths = remote.max_prefixlen, source.max_prefixlen
        body = _ROUTE.pack(_family(remote), *lengths, 0, 0, 0, _EVERYWHERE, _ANY_TYPE, 0)
        body += attribute(_RTA_DST, remote.packed) + attribute(_RTA_SRC, source.packed)
        found = attributes(self._netlink.get(_GETROUTE, body)[0], _ROUTE.size)
        gateway = found.get(_RTA_GATEWAY)
        return _WORD.unpack(found[_RTA_OIF])[0], None if gateway is None else ipaddress.ip_address(gateway)

    def put_route(
        self, table: int, remote: Address, index: int, source: Address, gateway: Address | None, local: bool = False
    ) -> None:
        """In place of what the table has for `remote`.  `local`: it is delivered on that interface."""
        scope, kind = (_OF_THE_HOST, _LOCAL) if local else (_EVERYWHERE, _UNICAST)
        body = _ROUTE.pack(_family(remote), remote.max_prefixlen, 0, 0, _COMPAT, _BY_HAND, scope, kind, 0)
        body += attribute(_RTA_TABLE, _WORD.pack(table)) + attribute(_RTA_DST, remote.packed)
        body += attribute(_RTA_OIF, _WORD.pack(index)) + attribute(_RTA_PREFSRC, source.packed)
        if gateway is not None:
            body += attribute(_RTA_GATEWAY, gateway.packed)
        self._netlink.change(_NEWROUTE, body, NLM_F_CREATE | NLM_F_REPLACE)

    def remove_route(self, table: int, remote: Address) -> None:
        self._remove_route(table, _family(remote), remote.max_prefixlen, remote.packed)

    def flush(self, family: int, table: int) -> None:
        """Removes all routes of a table of ours."""
        body = _ROUTE.pack(family, *bytes(8)) + attribute(_RTA_TABLE, _WORD.pack(table))
        for message in self._netlink.dump(_GETROUTE, body):
            found = attributes(message, _ROUTE.size)
            if found.get(_RTA_TABLE) == _WORD.pack(table):
                self._remove_route(table, family, _ROUTE.unpack_from(message)[1], found.get(_RTA_DST))

    def _remove_route(self, table: int, family: int, length: int, destination: bytes | None) -> None:
        body = _ROUTE.pack(family, length, 0, 0, _COMPAT, 0, _ANY_SCOPE, _ANY_TYPE, 0)
        body += attribute(_RTA_TABLE, _WORD.pack(table))
        self._netlink.change(_DELROUTE, body + (attribute(_RTA_DST, destination) if destination else b""))

    # --- rules --------------------------------------------------------------------------------------------------------

    def add_rule(self, table: int, priority: int, remote: Address, mark: int | None = None) -> None:
        """What is for `remote` (and has that mark) looks its route up in `table`."""
        body = _rule(_family(remote), remote.max_prefixlen, table, priority, remote.packed, mark)
        self._netlink.change(_NEWRULE, body, NLM_F_CREATE | NLM_F_EXCL)

    def remove_rule(self, table: int, priority: int, remote: Address, mark: int | None = None) -> None:
        body = _rule(_family(remote), remote.max_prefixlen, table, priority, remote.packed, mark)
        self._netlink.change(_DELRULE, body)

    def remove_rules(self, family: int, table: int, priority: int) -> None:
        """All that lead to a table of ours."""
        for message in self._netlink.dump(_GETRULE, _ROUTE.pack(family, *bytes(8))):
            found = attributes(message, _ROUTE.size)
            has = (found.get(_FRA_TABLE), found.get(_FRA_PRIORITY, bytes(_WORD.size)))
            if has == (_WORD.pack(table), _WORD.pack(priority)):
                length = _ROUTE.unpack_from(message)[1]
                self._netlink.change(_DELRULE, _rule(family, length, table, priority, found.get(_FRA_DST), None))

    # --- addresses ----------------------------------------------------------------------------------------------------

    def add_address(self, index: int, address: Address, seconds: int) -> None:
        """For so long, and usable at once."""
        body = _of_address(index, address) + attribute(_IFA_CACHEINFO, _LIFETIMES.pack(seconds, seconds, 0, 0))
        if address.version == 6:
            body += attribute(_IFA_FLAGS, _WORD.pack(_NO_DUPLICATE_DETECTION))
        self._netlink.change(_NEWADDR, body, NLM_F_CREATE | NLM_F_EXCL)

    def remove_address(self, index: int, address: Address) -> None:
        self._netlink.change(_DELADDR, _of_address(index, address))

    # --- filters ------------------------------------------------------------------------------------------------------

    def add_clsact(self, index: int) -> None:
        body = _TRAFFIC.pack(0, index, _CLSACT_HANDLE, _CLSACT_PARENT, 0) + attribute(_TCA_KIND, b"clsact\0")
        self._netlink.change(_NEWQDISC, body, NLM_F_CREATE | NLM_F_EXCL)

    def put_filter(self, index: int, parent: int, priority: int, handle: int, program: int, name: str) -> None:
        """An eBPF program that itself says what becomes of a packet, in place of the one that was there."""
        options = attribute(_TCA_BPF_CLASSID, _WORD.pack(1)) + attribute(_TCA_BPF_FD, _WORD.pack(program))
        options += attribute(_TCA_BPF_NAME, name.encode() + b"\0")
        options += attribute(_TCA_BPF_FLAGS, _WORD.pack(_DIRECT_ACTION))
        body = _filter(index, parent, priority, handle) + attribute(_TCA_OPTIONS, options)
        self._netlink.change(_NEWTFILTER, body, NLM_F_CREATE)

    def remove_filter(self, index: int, parent: int, priority: int, handle: int) -> None:
        self._netlink.change(_DELTFILTER, _filter(index, parent, priority, handle))


def _rule(family: int, length: int, table: int, priority: int, destination: bytes | None, mark: int | None) -> bytes:
    """struct fib_rule_hdr is laid out as struct rtmsg is."""
    body = _ROUTE.pack(family, length, 0, 0, _COMPAT, 0, 0, _TO_TABLE, 0)
    body += attribute(_FRA_TABLE, _WORD.pack(table)) + attribute(_FRA_PRIORITY, _WORD.pack(priority))
    if destination is not None:
        body += attribute(_FRA_DST, destination)
    return body + (attribute(_FRA_FWMARK, _WORD.pack(mark)) if mark is not None else b"")


def _of_address(index: int, address: Address) -> bytes:
    body = _ADDRESS.pack(_family(address), address.max_prefixlen, 0, 0, index) + attribute(_IFA_ADDRESS, address.packed)
    return body + (attribute(_IFA_LOCAL, address.packed) if address.version == 4 else b"")


def _filter(index: int, parent: int, priority: int, handle: int) -> bytes:
    info = priority << 16 | _ALL_PROTOCOLS
    return _TRAFFIC.pack(0, index, handle, parent, info) + attribute(_TCA_KIND, b"bpf\0")
