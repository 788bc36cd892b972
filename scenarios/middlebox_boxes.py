"""The middleboxes of the scenario `middlebox`: real ones, made of nftables, conntrack and haproxy on a router.

Each box is a text of nftables rules, the conntrack settings that it is about, and perhaps a program.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path as File

from scenarios.programs import Nginx, ProgramError
from topologies.boxes import Boxes, Path, Side
from topologies.nodes import Host

PUBLIC = {2: 12, 3: 13}
"""Address NAT: the mobile at .2 is .12 outside, at .3 it is .13."""
PROXY_PORT = 3128
MP_KIND, MIGRATE_KIND = 15, 16
_READY_SECONDS = 10.0

LIBERAL = {"net.netfilter.nf_conntrack_tcp_be_liberal": 1, "net.netfilter.nf_conntrack_tcp_loose": 1}
STRICT = {"net.netfilter.nf_conntrack_tcp_be_liberal": 0, "net.netfilter.nf_conntrack_tcp_loose": 0}
LINUX = {"net.netfilter.nf_conntrack_tcp_be_liberal": 0, "net.netfilter.nf_conntrack_tcp_loose": 1}
"""What Linux has by itself: sequence numbers are checked, a connection may be picked up in its middle."""


@dataclass(frozen=True)
class Box:
    """What a router does beside routing."""

    name: str
    """At most 8 letters: the router's."""
    title: str
    rules: Callable[[Path], str] = field(default=lambda path: "")
    """nftables text for a path."""
    settings: Mapping[str, int] = field(default_factory=dict)
    """Of conntrack, in the router's namespace."""
    hides: bool = False
    """The server knows no way to the mobile's own addresses."""
    proxy: bool = False
    on: Side | None = None
    """It is no box at all: the host of that side has these rules itself."""
    met_at_move: bool = False
    """An ordinary router until the move; the connection meets the box on its new path only."""


def _family(path: Path) -> str:
    return "ip" if path.version == 4 else "ip6"


def _address_nat(path: Path) -> str:
    ip = _family(path)
    pairs = [(path.address("mobile", own), path.address("server", public)) for own, public in PUBLIC.items()]
    out = "\n".join(f"    oifname {path.outer} {ip} saddr {own} snat to {public}" for own, public in pairs)
    back = "\n".join(f"    iifname {path.outer} {ip} daddr {public} dnat to {own}" for own, public in pairs)
    return f"""table {ip} nat {{
  chain back {{ type nat hook prerouting priority -100;
{back}
  }}
  chain out {{ type nat hook postrouting priority 100;
{out}
  }}
}}
"""


def _masquerade(path: Path) -> str:
    ip, protocol = _family(path), "ip protocol tcp" if path.version == 4 else "meta l4proto tcp"
    return f"""table {ip} nat {{
  chain out {{ type nat hook postrouting priority 100;
    oifname {path.outer} {protocol} masquerade to :20000-29999
  }}
}}
"""


def _forward(*rules: str) -> str:
    body = "\n".join(f"    {rule}" for rule in rules)
    # Whoever asks for addresses (IPv6 does it by ICMP) is not asked back.
    return f"""table inet filter {{
  chain forward {{ type filter hook forward priority 0; policy drop;
    meta l4proto {{ icmp, icmpv6 }} accept
{body}
  }}
}}
"""


_STATEFUL = (
    "ct state invalid counter drop",
    "ct state established,related accept",
    "tcp flags & (fin|syn|rst|ack) == syn ct state new accept",
)


def _stateful(path: Path) -> str:
    return _forward(*_STATEFUL)


def _outward(path: Path) -> str:
    return _forward("ct state established,related accept", f"iifname {path.inner} ct state new accept", "counter drop")


def _strip(*kinds: int) -> Callable[[Path], str]:
    return lambda path: _forward(*(f"reset tcp option {kind}" for kind in kinds), "accept")


def _refuse_unknown(path: Path) -> str:
    return _forward(*(f"tcp option {kind} exists counter drop" for kind in (MP_KIND, MIGRATE_KIND)), "accept")


def _intercept(path: Path) -> str:
    ip = _family(path)
    return f"""table {ip} nat {{
  chain in {{ type nat hook prerouting priority -100;
    iifname {{ {path.inner}, {path.outer} }} meta l4proto tcp redirect to :{PROXY_PORT}
  }}
}}
"""


def _own(side: Side) -> Callable[[Path], str]:
    """A host's own firewall, for its interface on this path: what is new begins with a SYN, both ways."""

    def rules(path: Path) -> str:
        interface = path.interface(side)
        body = "\n".join(f"    {rule}" for rule in (*_STATEFUL, "counter drop"))
        return f"""table inet own_{path.name.replace("-", "_")} {{
  chain in {{ type filter hook input priority 0; policy accept;
    iifname != {interface} accept
    meta l4proto {{ icmp, icmpv6 }} accept
{body}
  }}
  chain out {{ type filter hook output priority 0; policy accept;
    oifname != {interface} accept
    meta l4proto {{ icmp, icmpv6 }} accept
{body}
  }}
}}
"""

    return rules


BOXES = (
    Box("none", "plain router"),
    Box("nat", "address NAT, 1:1", _address_nat, LINUX, hides=True),
    Box("masq", "port-rewriting NAT (masquerade)", _masquerade, LINUX, hides=True),
    Box("strict", "stateful firewall, strict", _stateful, STRICT),
    Box("liberal", "stateful firewall, liberal", _stateful, LIBERAL),
    Box("own-m", "strict firewall on the mobile itself", _own("mobile"), STRICT, on="mobile"),
    Box("own-s", "strict firewall on the server itself", _own("server"), STRICT, on="server"),
    Box("outward", "firewall, connections outward only", _outward, LIBERAL),
    Box("strip", "router that strips both options", _strip(MP_KIND, MIGRATE_KIND)),
    Box("strip2", "such a router, met at the move", _strip(MP_KIND, MIGRATE_KIND), met_at_move=True),
    Box("refuse", "firewall that drops unknown options", _refuse_unknown),
    Box("proxy", "split-connection proxy (haproxy)", _intercept, proxy=True),
    Box("proxy2", "such a proxy, met at the move", _intercept, proxy=True, met_at_move=True),
)


def _where(box: Box, lab: Boxes) -> Host:
    return lab.host(box.on) if box.on else lab.paths[box.name].box


def install(box: Box, lab: Boxes, work: File) -> None:
    """Makes the path's router that box; one that is met at the move waits for `switch_on`.

    Raises `NodeError` or `ProgramError`."""
    path = lab.paths[box.name]
    for name, value in box.settings.items():
        _where(box, lab).sysctl(name, value)
    if box.hides and box.rules is _address_nat:
        for public in PUBLIC.values():
            path.box.add_address(path.outer, f"{path.address('server', public)}/{path.length}")
    if box.proxy:
        _haproxy(path, work)
    if not box.met_at_move:
        switch_on(box, lab)


def switch_on(box: Box, lab: Boxes) -> None:
    """The box's rules from now on."""
    if rules := box.rules(lab.paths[box.name]):
        _where(box, lab).run(["nft", "-f", "-"], stdin=rules, daemon=True)


def switch_off(box: Box, lab: Boxes) -> None:
    """An ordinary router from now on."""
    _where(box, lab).run(["nft", "flush", "ruleset"], daemon=True)


def _haproxy(path: Path, work: File) -> None:
    """Debian's haproxy in TCP mode: it ends the mobile's connection itself, and opens one of its own to the server."""
    configuration, log = work / f"{path.name}-haproxy.cfg", work / f"{path.name}-haproxy.log"
    at = "ipv4@:" if path.version == 4 else "ipv6@:::"
    server = path.address("server", 2)
    where = server if path.version == 4 else f"[{server}]"
    configuration.write_text(
        f"""defaults
    mode tcp
    timeout connect 30s
    timeout client 1h
    timeout server 1h
listen all
    bind {at}{PROXY_PORT}
    server one {where}:{Nginx.PORT}
"""
    )
    with log.open("w") as said:
        process = path.box.spawn(["haproxy", "-db", "-f", configuration], stdout=said, stderr=said)
    end = time.monotonic() + _READY_SECONDS
    while str(PROXY_PORT) not in path.box.run(["ss", "-Htln", "sport", "=", f":{PROXY_PORT}"]).stdout:
        if process.poll() is not None or time.monotonic() > end:
            lines = log.read_text(errors="replace").splitlines() or ["it said nothing"]
            raise ProgramError(f"haproxy on {path.name} does not start: {lines[-1]}")
        time.sleep(0.02)
