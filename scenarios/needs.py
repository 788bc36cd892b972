"""What scenarios need of a machine: kernel features and programs.

A look is harmless (see `probes`); looks at kernel features need root.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from scenarios import probes


class Need(Protocol):
    """Something that must be there."""

    @property
    def name(self) -> str: ...
    @property
    def blocks(self) -> str:
        """What cannot be done without it, as a clause ("no link has a rate")."""

    def missing(self) -> str | None:
        """Why it is not there and what to do, in one sentence; None if it is there."""


@dataclass(frozen=True)
class Feature:
    """A feature of the running kernel.  `probe` returns None or says in a few words what is wrong."""

    name: str
    blocks: str
    probe: Callable[[], str | None]

    def missing(self) -> str | None:
        wrong = self.probe()
        if wrong is None:
            return None
        where = "use the Vagrant machine (vagrant up)"
        return f"this kernel lacks {self.name} ({wrong}), and without it {self.blocks}: {where}"


@dataclass(frozen=True)
class Program:
    """A program on the PATH, from the distribution's `package` (its own name unless given)."""

    name: str
    package: str = ""
    version_arguments: tuple[str, ...] = ("--version",)

    @property
    def blocks(self) -> str:
        return "no scenario can run it"

    def missing(self) -> str | None:
        if shutil.which(self.name):
            return None
        package = self.package or self.name
        return f"the program {self.name} is missing: install the package {package}, or run vagrant/provision.sh"

    def version(self) -> str:
        """The first line that it says about its version, or why there is none."""
        try:
            done = subprocess.run(
                [self.name, *self.version_arguments], capture_output=True, text=True, timeout=20, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"unknown ({error})"
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        return lines[0].strip() if lines else "unknown (it says nothing)"


NAMESPACES = Feature("namespaces (PID, network, mount, UTS, cgroup)", "no scenario has a sandbox", probes.namespaces)
CGROUP2 = Feature(
    "cgroup v2 with freezer and kill", "no scenario has a sandbox and no program can be held still", probes.cgroup2
)
VETH = Feature("veth", "there are no links", lambda: probes.in_namespace("ip", "link", "add", "v0", "type", "veth"))
TUN = Feature(
    "TUN/TAP",
    "no link has a rate, a delay or losses",
    lambda: probes.in_namespace("ip", "tuntap", "add", "t", "mode", "tap"),
)
SOCK_OPS = Feature("eBPF sock_ops", "no host can negotiate Migrate", lambda: probes.load_program(probes.SOCK_OPS))
TC_BPF = Feature("eBPF for tc", "no handshake can carry a key", lambda: probes.load_program(probes.SCHED_CLS))
CLSACT = Feature(
    "tc clsact", "no interface can be watched", lambda: probes.in_namespace("tc", "qdisc", "add", "dev", "lo", "clsact")
)
BTF = Feature("BTF", "out-of-order data is lost at a move", probes.btf)
TCP_REPAIR = Feature("TCP_REPAIR", "no connection can be moved", probes.tcp_repair)
PIDFD_GETFD = Feature("pidfd_getfd", "no other program's connection can be moved", probes.pidfd_getfd)
PACKET = Feature("packet sockets", "there are no handshakes of migrations and no captures", probes.packet_socket)
NFTABLES = Feature(
    "nftables that resets TCP options", "no router can strip an option", lambda: probes.ruleset(probes.STRIPPING)
)
CONNTRACK = Feature(
    "connection tracking in nftables", "there is no stateful firewall", lambda: probes.ruleset(probes.STATEFUL)
)
NAT = Feature("NAT in nftables", "there is no NAT and no transparent proxy", lambda: probes.ruleset(probes.TRANSLATING))
CTNETLINK = Feature(
    "ctnetlink", "a host's own firewall cannot be told of a move", lambda: probes.in_child(probes.CTNETLINK)
)
IPV6 = Feature("IPv6", "no IPv6 variant can run", probes.ipv6)

FEATURES: tuple[Feature, ...] = (
    NAMESPACES, CGROUP2, VETH, TUN, SOCK_OPS, TC_BPF, CLSACT, BTF, TCP_REPAIR, PIDFD_GETFD, PACKET,
    NFTABLES, CONNTRACK, NAT, CTNETLINK, IPV6,
)  # fmt: skip
"""All of them, as `--check` lists them."""

MIGRATE: tuple[Need, ...] = (SOCK_OPS, TC_BPF, CLSACT, BTF, TCP_REPAIR, PIDFD_GETFD, PACKET, CGROUP2)
"""What a host that runs `migrated` needs."""

MIDDLEBOXES: tuple[Need, ...] = (NFTABLES, CONNTRACK, NAT, CTNETLINK)
"""What a router needs to be more than a router."""

TOPOLOGY: tuple[Need, ...] = (
    NAMESPACES,
    CGROUP2,
    VETH,
    TUN,
    Program("ip", "iproute2", ("-V",)),
    Program("mnexec", "mininet"),
)
"""What any topology with an impaired link needs."""

DOWNLOAD: tuple[Need, ...] = (Program("curl"), Program("nginx", "nginx-light", ("-v",)))
"""What most scenarios move: a client and its server."""


def missing(needs: Sequence[Need]) -> list[str]:
    """Sentences about those that are not there."""
    return [sentence for need in needs if (sentence := need.missing()) is not None]


def versions(needs: Sequence[Need]) -> dict[str, str]:
    """The versions of the programs among `needs`, by name."""
    return {need.name: need.version() for need in needs if isinstance(need, Program) and need.missing() is None}
