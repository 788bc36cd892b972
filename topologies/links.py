"""Links as they are declared (`Veth`, `Cable`), and the Mininet links that they become."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from topologies import offload, shaping
from topologies.cable import CableError
from topologies.cable_model import Properties
from topologies.mininet_api import Link
from topologies.nodes import Host, NodeError

_LONGEST_INTERFACE_NAME = 15


@dataclass(frozen=True)
class Veth:
    """An unimpaired Ethernet link: a veth pair."""

    offload: bool = False
    """Leave segmentation and checksum offload on: faster, but captures show packets that no wire would carry."""
    rate_bps: float | None = None
    """Shape both directions to so many bits per second (tbf); None: as fast as the machine is."""

    @property
    def there(self) -> Properties:
        """The direction from the first node to the second; the other is the same."""
        return Properties(rate_bps=self.rate_bps)

    back = there


@dataclass(frozen=True)
class Cable:
    """An impaired link. Unless `reverse` is given, both directions have the same properties."""

    rate_bps: float | None = None
    """Bits of IP packets per second; None: as fast as the machine is."""
    delay_s: float = 0.0
    queue_packets: int = 100
    loss: float = 0.0
    """Probability of a random loss, for each packet."""
    losses: Sequence[str] = ()
    """Scripted losses, in the language of `loss_rules`; `toward` takes the two nodes' names."""
    seed: int = 0
    reverse: Properties | None = None
    """The direction from the second node to the first."""
    kind: Literal["cable", "netem"] = "cable"
    arp: bool = True
    """False: a modem, on which nobody is asked for addresses; the hosts' neighbours have to be written down."""

    def __post_init__(self) -> None:
        if self.kind == "netem" and self.losses:
            raise ValueError('netem cannot lose chosen packets: use kind="cable" for scripted losses')

    @property
    def there(self) -> Properties:
        """The direction from the first node to the second."""
        return Properties(self.rate_bps, self.delay_s, self.queue_packets, self.loss)

    @property
    def back(self) -> Properties:
        """The direction from the second node to the first."""
        return self.reverse or self.there


class VethLink(Link):
    """A veth pair between two nodes."""

    def __init__(self, node1: Host, node2: Host, *, spec: Veth | None = None, **params: Any) -> None:
        self.spec = spec or Veth()
        super().__init__(node1, node2, up=False, **params)
        for intf in (self.intf1, self.intf2):
            if not self.spec.offload:
                offload.switch_off(intf.node, intf.name)
            if self.spec.rate_bps is not None:
                shaping.set_rate(intf.node, intf.name, self.spec.rate_bps)
            _set_up(intf)

    def stop(self) -> None:
        """Nothing to do: the pair goes with its nodes."""


class NetemLink(Link):
    """A veth pair with netem at either end."""

    def __init__(self, node1: Host, node2: Host, *, spec: Cable, **params: Any) -> None:
        self.spec = spec
        super().__init__(node1, node2, up=False, **params)
        for intf, properties in ((self.intf1, spec.there), (self.intf2, spec.back)):
            offload.switch_off(intf.node, intf.name)
            shaping.set_netem(intf.node, intf.name, properties)
            _set_up(intf, arp=spec.arp)

    def stop(self) -> None:
        """Nothing to do: the pair goes with its nodes."""


class CableLink(Link):
    """Two TAP interfaces with a cable process between them."""

    def __init__(self, node1: Host, node2: Host, *, spec: Cable | None = None, **params: Any) -> None:
        self.spec = spec or Cable()
        self._lock = threading.Lock()
        self._control, theirs = socket.socketpair()
        self._answers = self._control.makefile("r")
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "topologies.cable", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                cwd=Path(__file__).resolve().parent.parent,
                start_new_session=True,
            )
        try:
            super().__init__(node1, node2, up=False, **params)
            for intf in (self.intf1, self.intf2):
                offload.switch_off(intf.node, intf.name)
                _set_up(intf, arp=self.spec.arp)
        except BaseException:
            self.stop()
            raise

    def makeIntfPair(self, name1: str, name2: str, _mac1: Any, _mac2: Any, node1: Host, node2: Host, **_: Any) -> None:
        """Have the cable process make its two TAPs (Mininet calls this where other links make a veth pair)."""
        spec = self.spec
        self._ask(
            ends=[node1.name, node2.name],
            there=asdict(spec.there),
            back=asdict(spec.back),
            seed=spec.seed,
            rules=list(spec.losses),
            taps=[[name1, str(node1.namespace)], [name2, str(node2.namespace)]],
        )

    def add_rule(self, rule: str) -> None:
        """Add a scripted loss, in the language of `loss_rules`; it counts from now on. Raises `CableError`."""
        self._ask(do="add", rule=rule)

    def clear_rules(self) -> None:
        """Forget all scripted losses."""
        self._ask(do="clear")

    def set_properties(self, there: Properties, back: Properties | None = None) -> None:
        """Change rate, delay, queue and loss; packets that are in the cable keep their times."""
        self._ask(do="set", properties=[asdict(there), asdict(back or there)])

    def state(self) -> dict[str, Any]:
        """What the cable has done.

        `["toward"][NODE]`: counters of the direction that leads to the node; `["rules"]`: how many packets each has
        matched and fired on; `["firings"]`: which; `["worst_lateness_s"]`: how late a packet has been delivered.
        """
        return self._ask(do="state")

    def _ask(self, **request: Any) -> dict[str, Any]:
        with self._lock:
            try:
                self._control.sendall(json.dumps(request).encode() + b"\n")
                line = self._answers.readline()
            except (OSError, ValueError):  # ValueError: the file is closed
                line = ""
        if not line:
            raise CableError(f"the cable process has ended (exit status {self.process.poll()})")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise CableError(answer["error"])
        return answer

    def stop(self) -> None:
        """Pull the cable: both interfaces go. Idempotent."""
        with self._lock:
            self._answers.close()
            self._control.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    delete = stop


def _set_up(intf: Any, arp: bool = True) -> None:
    """Set an interface up, once all else about it is set (so that Mininet does not: `up=False`)."""
    intf.node.ip("link", "set", "dev", intf.name, "arp", "on" if arp else "off", "up")


def link_class(spec: Veth | Cable) -> type[Any]:
    """The Mininet link that a declaration becomes; raises `ShapingError` where this kernel cannot make it."""
    if isinstance(spec, Veth):
        return VethLink
    if spec.kind == "cable":
        return CableLink
    shaping.require_netem()
    return NetemLink


def check_interface_name(name: str) -> None:
    """Raise `NodeError` for a name that the kernel would not take."""
    if not 0 < len(name) <= _LONGEST_INTERFACE_NAME or "/" in name or any(letter.isspace() for letter in name):
        raise NodeError(f"{name!r} cannot name an interface: use 1 to {_LONGEST_INTERFACE_NAME} letters and digits")
