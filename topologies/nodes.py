"""Hosts, base stations and routers: Mininet nodes whose programs run in the node's network namespace and cgroup.

A Mininet node is a shell in a network namespace (and a fresh /sys, which hides bpffs and cgroups). Programs are not
started by that shell: they enter its *network namespace only*, and a cgroup of the host's own:

    /sys/fs/cgroup/HOST/programs   what the experiment runs; Migrate attaches to it and freezes it
    /sys/fs/cgroup/HOST/daemon     what serves the experiment: migrated, captures
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import os
import shutil
import signal
import socket
import struct
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from topologies import cgroup2, sandbox, system
from topologies.capture import SNAP_BYTES, Capture
from topologies.ending import end_connections
from topologies.mininet_api import Node

CGROUP_ROOT = Path("/sys/fs/cgroup")
PROGRAM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Addresses are given, not found: no router discovery, no duplicate detection, no link-local address (mode 1), so that
# captures hold the experiment and nothing else.
_QUIET = ("accept_ra=0", "autoconf=0", "router_solicitations=0", "accept_dad=0", "dad_transmits=0", "addr_gen_mode=1")

_IP_SECONDS = 30.0
_SIOCGIFHWADDR = 0x8927  # netdevice(7)

# $0 is the cgroup, $1 the network namespace; each step replaces the last, so that the Popen is the program itself.
_ENTER = 'echo 0 > "$0/cgroup.procs" && net=$1 && shift && exec nsenter --net="$net" -- "$@"'


class NodeError(Exception):
    """Something cannot be done on a node; the text names the node, what was tried, and what went wrong."""


class Host(Node):
    """A machine of the experiment. Must be made in a sandbox."""

    forwards = False

    def __init__(self, name: str, **params: Any) -> None:
        if not sandbox.is_inside():
            raise NodeError(f"{name}: nodes are made in a sandbox only: python -m topologies.sandbox -- COMMAND")
        self.cgroup = CGROUP_ROOT / name
        if self.cgroup.exists():
            raise NodeError(f"{name}: this sandbox has a node, or a cgroup, of that name already: use another sandbox")
        super().__init__(name, **params)
        self.namespace = Path(f"/proc/{self.pid}/ns/net")
        self.programs_cgroup = self.cgroup / "programs"
        self.daemon_cgroup = self.cgroup / "daemon"
        self._running: list[subprocess.Popen[Any]] = []
        self._captures: list[Capture] = []
        for cgroup in (self.programs_cgroup, self.daemon_cgroup):
            cgroup.mkdir(parents=True)
        with self.entered():
            system.interface_up("lo")
        for family in ("ipv4", "ipv6"):
            self.sysctl(f"net.{family}.conf.all.forwarding", int(self.forwards))
        for setting in _QUIET:
            key, _, value = setting.partition("=")
            self.sysctl(f"net.ipv6.conf.default.{key}", value)

    # --- programs -----------------------------------------------------------------------------------------------------

    def spawn(
        self,
        argv: Sequence[str | Path],
        *,
        stdin: Any = subprocess.DEVNULL,
        stdout: Any = None,
        stderr: Any = None,
        env: Mapping[str, str] | None = None,
        daemon: bool = False,
        **popen: Any,
    ) -> subprocess.Popen[Any]:
        """Start a program in this host's network namespace and cgroup (`daemon`: the cgroup of its servants).

        `env` replaces the environment, as in Popen, which takes the other arguments too. The program has a session of
        its own, so that a Ctrl-C reaches the experiment and not the program. Raises `NodeError` if there is no such
        program. Safe to call from any thread.
        """
        words = [str(word) for word in argv]
        path = (os.environ if env is None else env).get("PATH", "")
        if shutil.which(words[0], path=path) is None:
            elsewhere = shutil.which(words[0], path=PROGRAM_PATH)
            if elsewhere is None:
                raise NodeError(f"{self.name}: there is no program {words[0]}: install it, or correct the name")
            words[0] = elsewhere
        cgroup = self.daemon_cgroup if daemon else self.programs_cgroup
        process = subprocess.Popen(
            ["/bin/sh", "-c", _ENTER, str(cgroup), str(self.namespace), *words],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=None if env is None else dict(env),
            start_new_session=True,
            **popen,
        )
        self._running.append(process)
        return process

    def run(
        self,
        argv: Sequence[str | Path],
        timeout: float = 30.0,
        *,
        check: bool = True,
        daemon: bool = False,
        stdin: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end (`stdin` is text for it).

        Raises `NodeError` if it takes over `timeout` seconds, or fails (unless `check` is off).
        """
        process = self.spawn(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, daemon=daemon, text=True
        )
        line = " ".join(str(word) for word in argv)
        try:
            out, err = process.communicate(stdin, timeout=timeout)
        except subprocess.TimeoutExpired as error:
            process.kill()
            process.communicate()
            raise NodeError(f"{self.name}: `{line}` did not end within {timeout:g} s") from error
        finally:
            if process.poll() is not None:
                self._running.remove(process)
        if check and process.returncode != 0:
            said = (err or out).strip() or f"exit status {process.returncode}"
            raise NodeError(f"{self.name}: `{line}` failed: {said}")
        return subprocess.CompletedProcess([str(word) for word in argv], process.returncode, out, err)

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Put the calling thread into this host's network namespace for a with block; sockets made there stay there."""
        with system.network_namespace(self.namespace):
            yield

    # --- network ------------------------------------------------------------------------------------------------------

    def ip(self, *arguments: str | int) -> str:
        """Run `ip ARGUMENTS` on this host; returns its output, raises `NodeError`."""
        words = [str(argument) for argument in arguments]
        done = self._ip(words)
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip() or f"exit status {done.returncode}"
            raise NodeError(f"{self.name}: `ip {' '.join(words)}` failed: {said}")
        return done.stdout

    def ip_batch(self, version: int, lines: Sequence[str]) -> None:
        """Run several `ip` commands in one process (version 4 or 6); the first that fails ends it with `NodeError`."""
        text = "".join(f"{line}\n" for line in lines)
        done = self._ip([f"-{version}", "-batch", "-"], text)
        if done.returncode != 0:
            raise NodeError(f"{self.name}: one of `ip {'`, `ip '.join(lines)}` failed: {done.stderr.strip()}")

    def _ip(self, words: list[str], stdin: str = "") -> subprocess.CompletedProcess[str]:
        # It is over before anything else happens: it needs no cgroup, and no two programs that lead it there.  In a
        # session of its own the kernel weighs it against all others together: an address is not gone for long.
        try:
            with self.entered():
                return subprocess.run(
                    ["ip", *words],
                    input=stdin,
                    capture_output=True,
                    text=True,
                    check=False,
                    timeout=_IP_SECONDS,
                    start_new_session=True,
                )
        except subprocess.TimeoutExpired as error:
            raise NodeError(f"{self.name}: `ip {' '.join(words)}` did not end within {_IP_SECONDS:g} s") from error

    def add_address(self, interface: str, address: str) -> None:
        """Give the interface an address with prefix length ("10.0.1.2/24", "fd00:1::2/64"), at once valid (no DAD)."""
        duplicate_detection = ["nodad"] if ipaddress.ip_interface(address).version == 6 else []
        self.ip("address", "add", address, "dev", interface, *duplicate_detection)

    def remove_address(self, interface: str, address: str) -> None:
        """Take an address away; with an interface's last IPv4 address the kernel drops its routes and neighbours."""
        self.ip("address", "del", address, "dev", interface)

    def default_route(self, via: str, dev: str, **metrics: str | int) -> None:
        """Set the default route; metrics as in ip-route(8), for example initcwnd=2, window=32120, congctl="cubic"."""
        self.route("default", via, dev, **metrics)

    def route(self, destination: str, via: str, dev: str, **metrics: str | int) -> None:
        """Set the route to `destination` ("default", "10.0.1.0/24")."""
        words = [str(word) for pair in metrics.items() for word in pair]
        version = ipaddress.ip_address(via).version
        self.ip(f"-{version}", "route", "replace", destination, "via", via, "dev", dev, *words)

    def neighbour(self, interface: str, address: str, mac: str) -> None:
        """Write a permanent neighbour entry, so that nobody has to be asked."""
        self.ip("neighbour", "replace", address, "lladdr", mac, "dev", interface, "nud", "permanent")

    def mac(self, interface: str) -> str:
        """The interface's Ethernet address; raises `NodeError` if there is no such interface."""
        with self.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            try:
                answer = fcntl.ioctl(control, _SIOCGIFHWADDR, struct.pack("16s24x", interface.encode()))
            except OSError as error:
                raise NodeError(f"{self.name}: {interface} tells no Ethernet address ({error.strerror})") from error
        return answer[18:24].hex(":")

    def sysctl(self, name: str, value: str | int | None = None) -> str:
        """Set a `net.` sysctl of this host's namespace if a value is given; returns what it is then.

        Raises `NodeError` if it does not exist or does not take the value. Only `net.` ones: others are the machine's.
        """
        if not name.startswith("net."):
            raise NodeError(f"{name} is not a net. sysctl: it would change the whole machine, not {self.name}")
        path = Path("/proc/sys", name.replace(".", "/"))
        with self.entered():
            try:
                if value is not None:
                    path.write_text(str(value))
                return path.read_text().strip()
            except OSError as error:
                wanted = "read" if value is None else f"be set to {value}"
                raise NodeError(f"{self.name}: {name} cannot {wanted} ({error.strerror})") from error

    def capture(self, interface: str, path: str | Path, snap_bytes: int = SNAP_BYTES) -> Capture:
        """Start a capture on the interface; it is capturing when this returns. Stop it, or stop the host."""
        capture = Capture(self, interface, Path(path), snap_bytes)
        self._captures.append(capture)
        return capture

    # --- end ----------------------------------------------------------------------------------------------------------

    def terminate(self) -> None:
        """End the host: its captures, programs, shell and cgroups (Mininet's name for it).

        Raises `CaptureError` for a capture that had ended by itself or lost packets, after all has been ended.
        """
        with contextlib.ExitStack() as ending:
            ending.callback(self._end_shell)
            ending.callback(self._end_connections)
            ending.callback(self._end_programs)
            for capture in self._captures:
                ending.callback(capture.stop)
            self._captures.clear()

    def _end_programs(self) -> None:
        """All that is in the host's cgroups dies, whatever it has forked."""
        if not cgroup2.remove(self.cgroup):
            raise NodeError(f"{self.name}: its programs cannot be ended: look for processes in state D")
        for process in self._running:
            process.wait()
        self._running.clear()

    def _end_connections(self) -> None:
        """Those whose program has gone too."""
        if self.shell and self.shell.poll() is None:
            end_connections(self.namespace)

    def _end_shell(self) -> None:
        if self.shell and self.shell.poll() is None:
            os.killpg(self.shell.pid, signal.SIGKILL)
        self.cleanup()


class Router(Host):
    """A host that forwards IPv4 and IPv6."""

    forwards = True


class BaseStation(Router):
    """The router at the fixed end of modems or radio links, with the queue that fills (slide 27)."""
