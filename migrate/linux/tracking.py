"""Tells this host's own connection tracking of connections that move.

A host's own firewall sees but a part of segments 5, 6 and 7: what tc catches never reaches it, and 6 comes before the
socket is on its new address pair.  It would take all that follows for invalid.  So the pair is entered by hand, as
the established connection that it is (ctnetlink), before the first segment leaves.
"""

from __future__ import annotations

import errno
import socket

from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.nfnetlink.nfctsocket import NFCTSocket, nfct_msg

from migrate.core import FourTuple, Peer

_TCP, _ESTABLISHED = 6, 3
_SEEN_REPLY, _ASSURED, _CONFIRMED = 2, 4, 8
_LIBERAL = 8  # IP_CT_TCP_FLAG_BE_LIBERAL: it knows nothing of this connection's windows
_TIMEOUT_SECONDS = 600  # until the first packet; then the kernel's own
_NEW, _FLAGS = 0, 0x1 | 0x4 | 0x200 | 0x400  # IPCTNL_MSG_CT_NEW; REQUEST, ACK, EXCL, CREATE


class Tracking:
    """A netlink socket for each IP version, in the network namespace in which they are made."""

    def __init__(self) -> None:
        self._sockets = {
            version: NFCTSocket(nfgen_family=family) for version, family in ((4, socket.AF_INET), (6, socket.AF_INET6))
        }

    def enter(self, pair: FourTuple, ours: bool) -> None:
        """This pair is an established connection, begun by us or by the peer.  One that is known stays as it is.

        Raises OSError where the kernel refuses."""
        first, second = (pair.local, pair.remote) if ours else (pair.remote, pair.local)
        message = nfct_msg()
        flags = (_LIBERAL, _LIBERAL)
        tcp = [
            ("CTA_PROTOINFO_TCP_STATE", _ESTABLISHED),
            ("CTA_PROTOINFO_TCP_FLAGS_ORIGINAL", {"value": flags}),
            ("CTA_PROTOINFO_TCP_FLAGS_REPLY", {"value": flags}),
        ]
        message["attrs"] = [
            ("CTA_TUPLE_ORIG", _tuple(first, second)),
            ("CTA_TUPLE_REPLY", _tuple(second, first)),
            ("CTA_STATUS", _SEEN_REPLY | _ASSURED | _CONFIRMED),
            ("CTA_TIMEOUT", _TIMEOUT_SECONDS),
            ("CTA_PROTOINFO", {"attrs": [("CTA_PROTOINFO_TCP", {"attrs": tcp})]}),
        ]
        try:
            self._sockets[pair.local_ip.version].request(message, _NEW, msg_flags=_FLAGS)
        except NetlinkError as error:
            if error.code != errno.EEXIST:
                raise OSError(error.code, "connection tracking does not take a connection that moves") from error


def _tuple(source: Peer, destination: Peer) -> dict[str, object]:
    version = "V4" if source.ip.version == 4 else "V6"
    return {
        "attrs": [
            (
                "CTA_TUPLE_IP",
                {"attrs": [(f"CTA_IP_{version}_SRC", str(source.ip)), (f"CTA_IP_{version}_DST", str(destination.ip))]},
            ),
            (
                "CTA_TUPLE_PROTO",
                {
                    "attrs": [
                        ("CTA_PROTO_NUM", _TCP),
                        ("CTA_PROTO_SRC_PORT", source.port),
                        ("CTA_PROTO_DST_PORT", destination.port),
                    ]
                },
            ),
        ]
    }
